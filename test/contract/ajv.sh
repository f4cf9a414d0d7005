#!/usr/bin/env bash
# Differential fuzzing against ajv and JavaScript's RegExp.  PAIRS and SEED choose
# how much and which; a full run is PAIRS=100000.
set -euo pipefail
cd "$(dirname "$0")/../ajv"
for tool in node npm; do
	command -v $tool >/dev/null || { echo "SKIPPED: no $tool, so ajv cannot be compared with" >&2; exit 77; }
done
[ -d node_modules/ajv ] || npm ci --silent >/dev/null 2>&1 ||
	{ echo "SKIPPED: npm could not install ajv" >&2; exit 77; }
command -v psql >/dev/null || PATH="$(pg_config --bindir):$PATH"
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
node fuzz.mjs --pairs "${PAIRS:-10000}" --seed "$seed"
node patterns.mjs --pairs "$((${PAIRS:-10000} / 10))" --seed "$seed"
