# shellcheck shell=bash
# Emitting: one event a transaction, many in one, WAL, and many subscriptions.

PAD=$(printf 'x%.0s' $(seq 160))
PAYLOAD="{\"order_id\": 4711, \"pad\": \"$PAD\"}"

write_scripts()
{
	echo "SELECT eb_emit('order.placed', '$PAYLOAD', '4711');" >"$BENCH/bus.pgbench"
	echo "INSERT INTO event (type, payload, aggregate_id) VALUES ('order.placed', '$PAYLOAD', '4711');" >"$BENCH/plain.pgbench"
	echo "SELECT pgq.insert_event('q', 'order.placed', '$PAYLOAD', '4711', NULL, NULL, NULL);" >"$BENCH/pgq.pgbench"
}

# Transactions per second of one run, by the clock and by the server's processor time.
pgbench_tps()
{
	local before cpu
	before=$(server_cpu)
	pgbench -n -M prepared -c 4 -j 2 -T "$SECONDS_EACH" -f "$BENCH/$1.pgbench" "$1" >"$BENCH/pgbench.out" 2>"$BENCH/pgbench.log"
	sleep 0.1
	cpu=$(($(server_cpu) - before))
	awk -v cpu=$cpu '/^tps = / { tps = $3 } /transactions actually/ { n = $6 }
		END { printf "%.0f|%.0f\n", tps, (cpu > 0 ? n * 100 / cpu : 0) }' "$BENCH/pgbench.out"
}

# Milliseconds of one statement with its commit.
statement_ms()
{
	psql -XqAt -d "$1" -c '\timing on' -c "$2" | sed -n 's/^Time: \([0-9.]*\).*/\1/p'
}

measure_emit()
{
	local i
	write_scripts
	bus_reset
	q bus -c "SELECT eb_subscribe('one')" >/dev/null
	[ -z "$HAVE_PGQ" ] || q pgq -c "CALL bench.reset()"
	for ((i = 0; i < ROUNDS; i++)); do
		sample_both emit.insert "$(pgbench_tps plain)"
		sample_both emit.bus "$(pgbench_tps bus)"
		[ -z "$HAVE_PGQ" ] || sample_both emit.pgq "$(pgbench_tps pgq)"
		q plain -c "TRUNCATE event"
	done
	rate_row "one event per transaction, 4 clients (1/s)" emit 1.0 1.05 ""
}

per_second() { awk -v n="$1" -v ms="$2" 'BEGIN { if (ms > 0) printf "%.0f", n * 1000 / ms }'; }

measure_bulk()
{
	local i n=300000
	bus_reset
	q bus -c "SELECT eb_subscribe('one')" >/dev/null
	[ -z "$HAVE_PGQ" ] || q pgq -c "CALL bench.reset()"
	for ((i = 0; i < ROUNDS; i++)); do
		q plain -c "TRUNCATE event"
		sample bulk.insert "$(per_second $n "$(statement_ms plain "INSERT INTO event (type, aggregate_id, payload)
			SELECT 'order.placed', k::text, payload() FROM generate_series(1, $n) k")")"
		sample bulk.bus "$(per_second $n "$(statement_ms bus "SELECT count(eb_emit('order.placed', payload(), k::text))
			FROM generate_series(1, $n) k")")"
		relay_idle
		[ -z "$HAVE_PGQ" ] ||
			sample bulk.pgq "$(per_second $n "$(statement_ms pgq "SELECT count(pgq.insert_event('q', 'order.placed', payload(), k::text, NULL, NULL, NULL))
				FROM generate_series(1, $n) k")")"
	done
	rate_row "300,000 events in one transaction (1/s)" bulk 0.80 3 ""
}

wal_bytes()
{
	q "$1" -c "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
}

# Bytes of WAL an event of "$3", after a warm-up that makes the pages.
measure_wal()
{
	local i n=50000 before
	for ((i = 0; i < ROUNDS; i++)); do
		q plain -c "CALL load(5000, 100)"
		before=$(wal_bytes plain)
		q plain -c "CALL load($n, 100)"
		sample wal.insert $((($(wal_bytes plain) - before) / n))
		bus_reset
		q bus -c "SELECT eb_subscribe('one')" -c "CALL bench.load(5000, 100)" >/dev/null
		relay_idle
		q bus -c "CALL bench.drain('one', 100, 5000)" >/dev/null
		before=$(wal_bytes bus)
		q bus -c "CALL bench.load($n, 100)"
		relay_idle
		q bus -c "CALL bench.drain('one', 100, $n)" >/dev/null
		sample wal.bus $((($(wal_bytes bus) - before) / n))
		if [ -n "$HAVE_PGQ" ]; then
			q pgq -c "CALL bench.reset()" -c "CALL bench.load(5000, 100)"
			before=$(wal_bytes pgq)
			q pgq -c "CALL bench.load($n, 100)"
			q pgq -c "CALL bench.drain($n + 5000)" >/dev/null
			sample wal.pgq $((($(wal_bytes pgq) - before) / n))
		fi
	done
	local r
	r=$(ratio "$(median wal.bus)" "$(median wal.insert)")
	row "WAL per event, emit to ack, batches of 100 (bytes)" "$(median wal.bus)" "$(median wal.insert)" \
		"$(median wal.pgq)" "<= 1.3 x INSERT" "$r" "$(at_most "$r" 1.3)"
}

# Subscriptions make rows, and rows cost the relay, not the emitters.
measure_fanout()
{
	local i r
	write_scripts
	bus_reset
	for ((i = 0; i < ROUNDS; i++)); do
		q bus -c "SELECT eb_subscribe('one')" >/dev/null
		sleep 0.3
		sample_both fanout.1 "$(pgbench_tps bus)"
		q bus -c "SELECT eb_subscribe('s' || i) FROM generate_series(1, 99) i" >/dev/null
		sleep 0.3
		sample_both fanout.100 "$(pgbench_tps bus)"
		relay_idle
		bus_reset
	done
	r=$(ratio "$(median fanout.100)" "$(median fanout.1)")
	row "emit rate with 100 subscriptions (1/s), to that with one ($(human "$(median fanout.1)"))" \
		"$(human "$(median fanout.100)")" "" "" ">= 0.9 x" "$r" "$(at_least "$r" 0.9)"
}
