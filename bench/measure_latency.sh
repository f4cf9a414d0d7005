# shellcheck shell=bash
# From the commit to the return of the consumer's call, at 2,000 events a second.

SAMPLES="SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ms) FROM bench.latency"

# The load that is listened to.
load_at_rate()
{
	pgbench -n -M prepared -c 2 -j 1 -R 2000 -T "$2" -f "$BENCH/$1.pgbench" "$1" >/dev/null 2>"$BENCH/pgbench.log" ||
		die "pgbench; see $BENCH/pgbench.log"
}

sample_latency()
{
	local p
	p=$(q "$1" -c "$SAMPLES")
	sample "latency.$2.p50" "${p%|*}"
	sample "latency.$2.p99" "${p#*|}"
}

latency_bus()
{
	bus_reset
	q bus -c "SELECT eb_subscribe('one')" -c "TRUNCATE bench.got" >/dev/null
	q bus -c "CALL bench.listen('one', now() + '$((SECONDS_EACH + 1)) s')" &
	sleep 0.5
	load_at_rate bus "$SECONDS_EACH"
	wait $!
	sample_latency bus bus
}

latency_pgq()
{
	q pgq -c "CALL bench.reset()" -c "TRUNCATE bench.got"
	q pgq -c "CALL bench.listen(true, now() + '$((SECONDS_EACH + 1)) s')" &
	sleep 0.5
	load_at_rate pgq "$SECONDS_EACH"
	wait $!
	sample_latency pgq pgq
}

# Once: pgqd's period and the queue's settings as they come.
latency_pgq_default()
{
	q pgq -c "CALL bench.reset()" -c "TRUNCATE bench.got" \
		-c "UPDATE pgq.queue SET queue_ticker_max_count = 500, queue_ticker_max_lag = '3 s', queue_ticker_idle_period = '1 min'"
	q pgq -c "CALL bench.tick_as_pgqd(now() + '10 s')" &
	q pgq -c "CALL bench.listen(false, now() + '11 s')" &
	sleep 0.5
	load_at_rate pgq 7
	wait
	sample_latency pgq pgq-default
}

ms() { awk -v a="$1" 'BEGIN { if (a != "") printf "%.2f", a }'; }

measure_latency()
{
	local i b50 b99 p50
	write_scripts
	server_restart_with_commit_ts
	for ((i = 0; i < ROUNDS; i++)); do
		latency_bus
		[ -z "$HAVE_PGQ" ] || latency_pgq
	done
	[ -z "$HAVE_PGQ" ] || latency_pgq_default
	server_restart_without_commit_ts
	b50=$(median latency.bus.p50) b99=$(median latency.bus.p99) p50=$(median latency.pgq.p50)
	row "commit to eb_fetch return, 2,000 events/s, p50 (ms)" "$(ms "$b50")" "" "$(ms "$p50")" \
		"<= 0.8" "$(ms "$b50")" "$(at_most "$b50" 0.8)"
	row "" "" "" "" "<= 0.7 x PgQ at 1 ms" "$(ratio "$b50" "$p50")" "$(at_most "$(ratio "$b50" "$p50")" 0.7)"
	row "... p99 (ms)" "$(ms "$b99")" "" "$(ms "$(median latency.pgq.p99)")" "<= 3" "$(ms "$b99")" "$(at_most "$b99" 3)"
	row "... PgQ at its default settings, p50 and p99 (ms)" "" "" \
		"$(ms "$(median latency.pgq-default.p50)") $(ms "$(median latency.pgq-default.p99)")" "" "" ""
}
