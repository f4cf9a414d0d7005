#!/usr/bin/env bash
# What contracts cost; PGHOST and the like name a server with eventbus installed.
# RUNS (default 5) and EVENTS (default 100000) choose how long it takes.
set -euo pipefail
command -v psql >/dev/null || PATH="$(pg_config --bindir):$PATH"
exec psql -XqAt -v ON_ERROR_STOP=1 -v runs="${RUNS:-5}" -v events="${EVENTS:-100000}" -f "$(dirname "$0")/contract.sql"
