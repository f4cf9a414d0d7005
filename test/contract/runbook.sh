#!/usr/bin/env bash
# docs/runbook.md has a section for every row of eb_health(), and for nothing else;
# docs/operations.md names every component and every setting.
set -u
docs=../../docs
n=0 bad=0

check()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		bad=1
	fi
}

components=$(psql -XqAt -v ON_ERROR_STOP=1 -c 'SELECT component FROM eb_health()') || exit 1
while read -r component; do
	grep -qxF "## $component" $docs/runbook.md
	check $? "the runbook has a section on $component"
	grep -qF "| $component |" $docs/operations.md
	check $? "docs/operations.md explains $component"
done <<<"$components"
while read -r heading; do
	grep -qxF "$heading" <<<"$components"
	check $? "eb_health() has a row $heading"
done < <(sed -n 's/^## //p' $docs/runbook.md)
while read -r setting; do
	grep -qF "$setting" $docs/*.md
	check $? "setting $setting is documented"
done < <(psql -XqAt -c "SELECT name FROM pg_settings WHERE name LIKE 'eventbus.%'")
echo "1..$n"
exit $bad
