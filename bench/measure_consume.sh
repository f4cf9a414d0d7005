# shellcheck shell=bash
# Draining inside the server.

# Fills the queue of a new subscription with batches of $1 events; $2 more arguments.
fill_bus()
{
	bus_reset
	q bus -c "SELECT eb_subscribe('one', batch_size => $1${2:-})" >/dev/null
	q bus -c "CALL bench.load($EVENTS, 20000)"
	relay_idle
	q bus -c "VACUUM eventbus.event" # as autovacuum would have done by itself
}

# Runs a CALL in database $1; with PERF=1 under perf, written to $3.
profiled()
{
	if [ -z "${PERF:-}" ]; then
		q "$1" -c "$2"
	else
		psql -XqAt -d "$1" -c "SELECT pg_backend_pid()" -c "SELECT pg_sleep(0.5)" -c "$2" >"$BENCH/call.out" &
		local child=$! pid
		while ! pid=$(head -n 1 "$BENCH/call.out" 2>/dev/null) || [ -z "$pid" ]; do sleep 0.02; done
		perf record -q -e cpu-clock -g -o "$RESULTS/perf-$3.data" -p "$pid" >/dev/null 2>&1
		wait $child
		tail -n 1 "$BENCH/call.out"
	fi
}

measure_drain()
{
	local i per
	mkdir -p "$RESULTS"
	for per in 100 1000; do
		for ((i = 0; i < ROUNDS; i++)); do
			fill_bus $per
			sample_both drain$per.bus "$(profiled bus "CALL bench.drain_batches('one', $per, $EVENTS)" drain$per)"
			if [ -n "$HAVE_PGQ" ]; then
				q pgq -c "CALL bench.reset()" -c "CALL bench.load($((EVENTS / 5)), $per)"
				sample_both drain$per.pgq "$(q pgq -c "CALL bench.drain($((EVENTS / 5)))")"
			fi
		done
	done
	rate_row "fetch + ack, batches of 100 (events/s)" drain100 "" 2 500000
	rate_row "fetch + ack, batches of 1,000 (events/s)" drain1000 "" 2 1500000
}
