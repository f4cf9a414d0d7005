# shellcheck shell=bash
# A million events in one transaction: memory, and what it does to others.

# Kilobytes that belong to a process alone.
anon_kb() { awk '/^RssAnon/ { print $2 }' "/proc/$1/status" 2>/dev/null; }

# Follows a process until it ends or $3 is gone; writes its peak to a file.
watch_memory()
{
	local peak=0 now
	while [ -e "$3" ] && now=$(anon_kb "$1") && [ -n "$now" ]; do
		[ "$now" -le "$peak" ] || peak=$now
		echo "$peak" >"$2"
		sleep 0.01
	done
}

big_round()
{
	local n=1000000 relay emitter base rbase flag=$BENCH/flag out=$BENCH/big.out others listener
	bus_reset
	q bus -c "TRUNCATE bench.got" -c "SELECT eb_subscribe('big', '{order.*}', batch_size => 1000), eb_subscribe('other', '{other.*}')" >/dev/null
	server_relay_base
	touch "$flag"
	psql -XqAt -d bus -c "CALL bench.listen('other', now() + '25 s')" &
	listener=$!
	echo "SELECT eb_emit('other.thing', '$PAYLOAD');" >"$BENCH/other.pgbench"
	pgbench -n -M prepared -c 1 -R 100 -T 24 -f "$BENCH/other.pgbench" bus >/dev/null 2>&1 &
	others=$!
	sleep 1
	rm -f "$out"
	rm -f "$BENCH/pipe"
	mkfifo "$BENCH/pipe" 2>/dev/null
	psql -XqAt -d bus -f "$BENCH/pipe" >"$out" 2>&1 &
	local big=$!
	exec 7>"$BENCH/pipe"
	echo "SELECT pg_backend_pid(); SELECT eb_emit('other.warm', '{}') IS NULL;" >&7
	while [ ! -s "$out" ]; do sleep 0.02; done
	emitter=$(head -n 1 "$out")
	sleep 0.2
	base=$(anon_kb "$emitter")
	rbase=$(anon_kb "$RELAY")
	watch_memory "$emitter" "$BENCH/peak.emitter" "$flag" &
	watch_memory "$RELAY" "$BENCH/peak.relay" "$flag" &
	echo "SELECT count(eb_emit('order.placed', payload(), k::text)) FROM (SELECT generate_series(1, $n) AS k) s;" >&7
	printf "SELECT 'done';\n\\q\n" >&7
	while ! grep -q done "$out"; do sleep 0.05; done
	relay_idle
	exec 7>&-
	wait $big
	rm -f "$flag" "$BENCH/pipe"
	kill $others 2>/dev/null
	wait $others $listener 2>/dev/null
	sample big.emitter $((($(cat "$BENCH/peak.emitter") - base) / 1024))
	sample big.relay $((($(cat "$BENCH/peak.relay") - rbase) / 1024))
	# Who committed while the flush went on had to wait for its commit.
	sample big.others "$(q bus -c "WITH big AS (SELECT max(pg_xact_commit_timestamp(xmin)) AS at FROM eventbus.event
		WHERE \"offset\" = (SELECT max(\"offset\") FROM eventbus.event WHERE type = 'order.placed'))
		SELECT round(max(extract(epoch FROM l.at - greatest(l.committed, CASE WHEN l.committed < big.at AND l.at > big.at THEN big.at END)))::numeric, 3)
		FROM bench.latency l, big WHERE l.type LIKE 'other.%'")"
}

server_relay_base()
{
	RELAY=$(q bus -c "SELECT pid FROM pg_stat_activity WHERE datname = 'bus' AND application_name = 'eventbus relay'")
}

measure_big()
{
	write_scripts
	server_restart_with_commit_ts
	big_round
	server_restart_without_commit_ts
	row "1,000,000 events in one transaction: emitter over its base (MB)" "$(median big.emitter)" "" "" "<= 64" \
		"$(median big.emitter)" "$(at_most "$(median big.emitter)" 64)"
	row "... relay over its base (MB)" "$(median big.relay)" "" "" "<= 64" "$(median big.relay)" "$(at_most "$(median big.relay)" 64)"
	row "... others' events after the flush, slowest (s)" "$(median big.others)" "" "" "<= 1" \
		"$(median big.others)" "$(at_most "$(median big.others)" 1)"
}
