#!/usr/bin/env bash
# The official JSON Schema test suite's cases against eb_schema_valid.
# JSON_SCHEMA_TEST_SUITE names the folder that holds draft7/ and draft2020-12/
# (the suite's own tests/ folder will do).  A group of cases is refused when its schema
# is as not supported (0A000): remote references and dialects, as documented.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
suite=${JSON_SCHEMA_TEST_SUITE:-${EB_ROOT:-$here/../..}/../shared/json-schema-test-suite}
if [ ! -d "$suite/draft7" ]; then
	echo "SKIPPED: no JSON Schema test suite at $suite (set JSON_SCHEMA_TEST_SUITE)" >&2
	exit 77
fi
command -v psql >/dev/null || PATH="$(pg_config --bindir):$PATH"
psql() { command psql -X -q -v ON_ERROR_STOP=1 "$@"; }

run() {
	local draft=$1 file
	{
		cat "$here/conformance.sql"
		find "$suite/$draft" -maxdepth 1 -name '*.json' | sort | while read -r file; do
			echo "\\set content \`cat '$file'\`"
			echo "SELECT pg_temp.run('$draft', '$(basename "$file" .json)', :'content');"
		done
		cat <<-'SQL'
			SELECT format('%s %s: %s: %s', outcome, file, description, detail)
			FROM outcome WHERE outcome <> 'passed' ORDER BY 1;
			SELECT format('%s: %s passed, %s failed, %s refused', min(draft),
			              count(*) FILTER (WHERE outcome = 'passed'),
			              count(*) FILTER (WHERE outcome IN ('failed', 'wrongly refused')),
			              count(*) FILTER (WHERE outcome = 'refused'))
			FROM outcome;
			SELECT count(*) > 0 AS bad FROM outcome WHERE outcome NOT IN ('passed', 'refused') \gset
			\if :bad
			\! touch "$EB_CONFORMANCE_FAILED"
			\endif
		SQL
	} | psql -At -f - | grep -v '^$'
}

EB_CONFORMANCE_FAILED=$(mktemp -u)
export EB_CONFORMANCE_FAILED
for draft in draft7 draft2020-12; do
	run "$draft"
done
if [ -e "$EB_CONFORMANCE_FAILED" ]; then
	rm -f "$EB_CONFORMANCE_FAILED"
	exit 1
fi
