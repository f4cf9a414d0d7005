#!/usr/bin/env bash
# The worked example: what Effect's JSONSchema.make prints today is what is
# committed, it registers, it binds eb_emit, and what eb_typescript() prints compiles
# under tsc --strict together with a consumer that handles every event.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
example=$here/../../examples/domain-events
for tool in node npm; do
	command -v $tool >/dev/null || { echo "SKIPPED: no $tool, so nothing compiles TypeScript" >&2; exit 77; }
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$example"/*.mjs "$example"/*.json "$example"/*.ts "$work"
(cd "$work" && npm ci --silent >/dev/null 2>&1) ||
	{ echo "SKIPPED: npm could not install effect and typescript" >&2; exit 77; }
command -v psql >/dev/null || PATH="$(pg_config --bindir):$PATH"
psql() { command psql -XqAt -v ON_ERROR_STOP=1 "$@"; }

(cd "$work" && node generate.mjs) | diff - "$example/domain-events.sql"
echo "ok - the committed script is what Effect prints"
psql -1 -f "$example/domain-events.sql" >/dev/null
psql -1 -f "$example/domain-events.sql" | sort -u | diff - <(echo 1)
echo "ok - it registers, twice the same"
psql -c "SELECT eb_emit('system.stopped', '{\"service\": \"api\", \"exitCode\": 0}') IS NOT NULL" | diff - <(echo t)
! psql -c "SELECT eb_emit('system.stopped', '{\"service\": \"api\", \"exitCode\": 256}')" 2>"$work/error"
grep -q '/exitCode: must be at most 255' "$work/error"
echo "ok - it binds"
psql -c 'SELECT eb_typescript()' >"$work/events.ts"
(cd "$work" && node_modules/.bin/tsc --strict --exactOptionalPropertyTypes --noUncheckedIndexedAccess --noEmit --module nodenext --skipLibCheck consumer.ts events.ts)
echo "ok - eb_typescript() compiles under tsc --strict, exhaustively"
psql -c "SELECT eb_drop_type(t) FROM (SELECT DISTINCT type FROM eb_types) s(t)" >/dev/null
