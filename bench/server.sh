# shellcheck shell=bash
# The private server and its three databases: bus (eventbus), plain (INSERT) and
# pgq.

q()
{
	psql -XqAt -v ON_ERROR_STOP=1 -d "$1" "${@:2}" || die "psql failed in database $1: ${*:2}"
}

server_start()
{
	rm -rf "$BENCH"
	mkdir -p "$BENCH" && SOCK=$(mktemp -d /tmp/eb-bench.XXXXXX) || exit 1
	initdb -D "$BENCH/data" -U bench -A trust -E UTF8 --no-locale --no-sync \
		>"$BENCH/initdb.log" 2>&1 || die "initdb; see $BENCH/initdb.log"
	cat >>"$BENCH/data/postgresql.conf" <<-CONF
		shared_preload_libraries = 'eventbus'
		listen_addresses = ''
		unix_socket_directories = '$SOCK'
		port = ${BENCH_PORT:-5432}
		fsync = ${FSYNC:-off}
		track_commit_timestamp = ${COMMIT_TS:-off}
		shared_buffers = 1GB
		max_wal_size = 16GB
		checkpoint_timeout = 1h
		max_worker_processes = 16
		max_parallel_workers = 0
		jit = off
		${BENCH_CONF:-}
	CONF
	export PGHOST=$SOCK PGUSER=bench PGPORT=${BENCH_PORT:-5432} PGDATABASE=bus
	pg_ctl -D "$BENCH/data" -l "$BENCH/server.log" -w -s start </dev/null >/dev/null ||
		die "the server did not start; see $BENCH/server.log"
}

# With track_commit_timestamp on, which costs the others something.
server_restart_with_commit_ts()
{
	echo "track_commit_timestamp = on" >>"$BENCH/data/postgresql.conf"
	server_restart
}

server_restart_without_commit_ts()
{
	echo "track_commit_timestamp = off" >>"$BENCH/data/postgresql.conf"
	server_restart
}

server_restart()
{
	pg_ctl -D "$BENCH/data" -l "$BENCH/server.log" -m fast -w -s restart </dev/null >/dev/null ||
		die "the server did not restart; see $BENCH/server.log"
	wait_for bus "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE datname = 'bus' AND application_name = 'eventbus relay'"
}

server_stop()
{
	[ ! -e "$BENCH/data/postmaster.pid" ] ||
		pg_ctl -D "$BENCH/data" -m immediate -w -s stop
	[ -n "${KEEP:-}" ] || rm -rf "$SOCK" "$BENCH/data"
}

# Until the query gives t, or two minutes are over.
wait_for()
{
	local i
	for ((i = 0; i < 2400; i++)); do
		[ "$(q "$1" -c "$2")" != t ] || return 0
		sleep 0.05
	done
	die "waited for nothing: $2"
}

databases_create()
{
	createdb bus && createdb plain || die createdb
	q plain -f bench/plain.sql
	q bus -c "CREATE EXTENSION eventbus" -f bench/bus.sql
	HAVE_PGQ=
	if [ -e "$(pg_config --sharedir)/extension/pgq.control" ]; then
		HAVE_PGQ=1
		createdb pgq || die createdb
		q pgq -c "SET client_min_messages = warning" -c "CREATE EXTENSION pgq" -f bench/pgq.sql
	else
		warn "PgQ is not installed: no PgQ column"
	fi
	relay_ready
}

relay_ready()
{
	wait_for bus "SELECT count(*) = 1 FROM pg_stat_activity
		WHERE datname = 'bus' AND application_name = 'eventbus relay'"
}

# The relay has seen all that is in the log.
relay_idle()
{
	wait_for bus "SELECT bench.routed() >= eb_last_offset()"
}

# Nothing is subscribed, queued or in the log's way.
bus_reset()
{
	q bus -c "SELECT eb_unsubscribe(name) FROM eventbus.subscription" >/dev/null
	wait_for bus "SELECT count(*) = 0 FROM eventbus.delivery"
	q bus -c "VACUUM eventbus.delivery" -c "VACUUM eventbus.progress"
}

# No INSERT or dirty buffer of an earlier run in the way of the next.
settle()
{
	q bus -c CHECKPOINT
}

# Hundredths of a second of a processor that the server has taken, ended backends too.
server_cpu()
{
	local postmaster
	postmaster=$(head -n 1 "$BENCH/data/postmaster.pid")
	cat "/proc/$postmaster/stat" $(sed 's|[0-9][0-9]*|/proc/&/stat|g' "/proc/$postmaster/task/$postmaster/children") 2>/dev/null |
		awk -v p="$postmaster" '{ t += $1 == p ? $16 + $17 : 0; sub(/.*\) /, ""); t += $12 + $13 } END { print t }'
}
