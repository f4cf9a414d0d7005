# The session in README.md is real: run what was typed, compare what came back.
# Ids and receipts differ from run to run; the receipt to acknowledge is the one
# that the first half of the session got.
set -u
readme=../../README.md
work=$(mktemp -d)
trap 'rm -rf "$work"; psql -Xqc "DROP DATABASE IF EXISTS shop (FORCE)" postgres' EXIT

v7='[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}'
tidy()
{
	sed -E "s/$v7/UUID/; s/^ +[0-9]+ \|/RECEIPT |/; s/eb_ack\([0-9]+\)/eb_ack(RECEIPT)/; s/ +$//; /^[-+ ]*$/d" |
		tr -s ' '
}

awk '/^```/ { inside = !inside && /psql$/; next } inside' "$readme" >"$work/session"
sed -n 's/^shop=[#*]* //p' "$work/session" >"$work/typed"
[ -s "$work/typed" ] || { echo "not ok 1 - README.md has a psql session"; exit 1; }
createdb shop || exit 1
sed 's/^shop=[#*]* //' "$work/session" | tidy >"$work/expected"
{
	sed '/eb_ack/,$d' "$work/typed" | psql -X -e -d shop -f - >"$work/first" 2>&1
	cat "$work/first"
	receipt=$(sed -nE 's/^ +([0-9]+) \|.*/\1/p' "$work/first" | tail -n 1)
	sed -n '/eb_ack/,$p' "$work/typed" | sed -E "s/eb_ack\([0-9]+\)/eb_ack($receipt)/" |
		psql -X -e -d shop -f - 2>&1
} | tidy >"$work/result"
if diff -u "$work/expected" "$work/result"; then
	echo "ok 1 - README.md shows what the server says"
else
	echo "not ok 1 - README.md shows what the server says"
	exit 1
fi
