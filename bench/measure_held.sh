# shellcheck shell=bash
# What a held xmin horizon costs.  Four databases of one server are loaded at the
# same time, each with 2,000 events a second: eventbus and PgQ free, and eventbus and
# PgQ beside a repeatable-read transaction, which holds the horizon of its own
# database only.  So whatever else the machine does falls on all four alike.  Then
# the same, shorter, beside an idle replication slot, which holds everybody's.

HELD_RATE=2000
HELD_EVERY=5 # seconds between looks at the disk, and a point of the plots

held_databases()
{
	createdb bus_held || die createdb
	q bus_held -c "CREATE EXTENSION eventbus" -f bench/bus.sql -f bench/held_bus.sql
	q bus -f bench/held_bus.sql
	HELD_DBS="bus bus_held"
	[ -n "$HAVE_PGQ" ] || return 0
	createdb pgq_held || die createdb
	q pgq_held -c "SET client_min_messages = warning" -c "CREATE EXTENSION pgq" -f bench/pgq.sql -f bench/held_pgq.sql
	q pgq -f bench/held_pgq.sql
	HELD_DBS="bus bus_held pgq pgq_held"
}

# Subscribes anew and forgets what was seen.
held_reset()
{
	local db
	for db in $HELD_DBS; do
		case $db in
		bus*) q "$db" -c "SELECT eb_unsubscribe(name) FROM eventbus.subscription" -c "SELECT eb_subscribe('one')" >/dev/null ;;
		pgq*) q "$db" -c "CALL bench.reset()" -c "SELECT pgq.set_queue_config('q', 'rotation_period', '30 s')" >/dev/null ;;
		esac
		q "$db" -c "TRUNCATE bench.seen"
	done
}

# A transaction that holds the horizon of database $1 and has nothing to do with the queue.
held_begin()
{
	psql -Xq -d "$1" -c "BEGIN ISOLATION LEVEL REPEATABLE READ" -c "SELECT 1 AS bench_holder" -c "SELECT pg_sleep(1000000)" >/dev/null 2>&1 &
	wait_for "$1" "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database()
		AND query LIKE '%pg_sleep(1000000)' AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()"
}

held_end()
{
	q "$1" -c "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
		AND query LIKE '%pg_sleep(1000000)' AND pid <> pg_backend_pid()" >/dev/null
}

# held_run PREFIX SECONDS: loads, consumes and samples; PREFIX.size and PREFIX.points in $RESULTS.
held_run()
{
	local db begun loads="" until
	held_reset
	mkdir -p "$RESULTS"
	begun=$(date +%s)
	until="now() + '$(($2 + 5)) s'"
	for db in $HELD_DBS; do
		q "$db" -c "CALL bench.consume($until)" &
		loads="$loads $!"
	done
	for db in $HELD_DBS; do
		pgbench -n -M prepared -c 2 -j 1 -R $HELD_RATE -T "$2" -f "$BENCH/${db%_held}.pgbench" "$db" >"$BENCH/pgbench.$db.out" 2>"$BENCH/pgbench.$db.log" &
		loads="$loads $!"
	done
	: >"$RESULTS/$1.size"
	while [ $(($(date +%s) - begun)) -lt "$2" ]; do
		for db in $HELD_DBS; do
			echo "$db $(($(date +%s) - begun)) $(q "$db" -c "SELECT bench.queue_size()")" >>"$RESULTS/$1.size"
		done
		sleep $HELD_EVERY
	done
	wait $loads
	for db in $HELD_DBS; do
		q "$db" -F ' ' -c "SELECT '$db', p.* FROM bench.points($HELD_EVERY) p"
	done >"$RESULTS/$1.points"
}

held_p99() { q "$1" -c "SELECT round((percentile_disc(0.99) WITHIN GROUP (ORDER BY fetch_ms))::numeric, 3) FROM bench.seen"; }
held_delay() { q "$1" -c "SELECT round((percentile_disc(0.99) WITHIN GROUP (ORDER BY delay_ms))::numeric, 1) FROM bench.seen"; }
held_rate() { q "$1" -c "SELECT round(sum(events) / extract(epoch FROM max(at) - min(at))) FROM bench.seen"; }
held_peak() { awk -v db="$2" '$1 == db && $3 > m { m = $3 } END { printf "%.1f", m / 1048576 }' "$RESULTS/$1.size"; }

last() { awk -v k="$1" '$1 == k { v = $2 } END { print v }' "$BENCH/samples"; }

# How fast a queue of 200,000 events is drained afterwards, free and held in turns.
held_drains()
{
	local i db n=200000
	for ((i = 0; i < ROUNDS; i++)); do
		for db in bus bus_held; do
			q "$db" -c "SELECT eb_unsubscribe('one')" -c "SELECT eb_subscribe('one', batch_size => 100)" -c "CALL bench.load($n, 20000)" >/dev/null
			wait_for "$db" "SELECT bench.routed() >= eb_last_offset()"
			sample_both "held.drain.$db" "$(q "$db" -c "CALL bench.drain_batches('one', 100, $n)")"
		done
		sample held.drain.ratio "$(ratio "$(last held.drain.bus_held.cpu)" "$(last held.drain.bus.cpu)")"
	done
}

held_plots()
{
	local names="bus=eventbus,bus_held=eventbus held,pgq=PgQ,pgq_held=PgQ held"
	perl bench/plot.pl "$RESULTS/$1-disk.svg" "Disk that the queue takes, $2" "MB" "$names" 3 1048576 <"$RESULTS/$1.size"
	perl bench/plot.pl "$RESULTS/$1-fetch.svg" "Fetching a batch, 99th percentile of $HELD_EVERY s, $2" "ms" "$names" 4 1 <"$RESULTS/$1.points"
	perl bench/plot.pl "$RESULTS/$1-rate.svg" "Events consumed per second, $2" "1/s" "$names" 3 1 <"$RESULTS/$1.points"
}

# held_rows PREFIX SECONDS WHAT FREE HELD PGQ-FREE PGQ-HELD
held_rows()
{
	local r
	r=$(ratio "$(held_rate "$5")" "$(held_rate "$4")")
	row "$3, $2 s: events consumed at $HELD_RATE/s, to free ($(held_rate "$4"))" "$(held_rate "$5")" "" \
		"${HAVE_PGQ:+$(held_rate "$7")}" ">= 0.95 x" "$r" "$(at_least "$r" 0.95)"
	r=$(ratio "$(held_p99 "$5")" "$(held_p99 "$4")")
	row "... fetch p99 (ms), to free ($(held_p99 "$4")${HAVE_PGQ:+, PgQ $(held_p99 "$6")})" "$(held_p99 "$5")" "" \
		"${HAVE_PGQ:+$(held_p99 "$7")}" "<= 1.5 x" "$r" "$(at_most "$r" 1.5)"
	row "... emit to return, p99 (ms), free $(held_delay "$4")${HAVE_PGQ:+, PgQ $(held_delay "$6")}" "$(held_delay "$5")" "" \
		"${HAVE_PGQ:+$(held_delay "$7")}" "" "" ""
	row "... peak of the queue's disk (MB), free $(held_peak "$1" "$4")${HAVE_PGQ:+, PgQ $(held_peak "$1" "$6")}" "$(held_peak "$1" "$5")" "" \
		"${HAVE_PGQ:+$(held_peak "$1" "$7")}" "<= 64" "$(held_peak "$1" "$5")" "$(at_most "$(held_peak "$1" "$5")" 64)"
}

# A standby that sends feedback and goes away leaves a slot that holds xmin.
held_slot()
{
	local standby=$BENCH/standby
	rm -rf "$standby"
	q bus -c "SELECT pg_create_physical_replication_slot('idle', true)" >/dev/null
	pg_basebackup -D "$standby" -X stream -R -S idle -c fast >"$BENCH/basebackup.log" 2>&1 || die "pg_basebackup; see $BENCH/basebackup.log"
	printf "port = %s\nhot_standby_feedback = on\nwal_receiver_status_interval = 1s\n" $((${BENCH_PORT:-5432} + 1)) >>"$standby/postgresql.conf"
	pg_ctl -D "$standby" -l "$BENCH/standby.log" -w -s start </dev/null >/dev/null || die "the standby did not start; see $BENCH/standby.log"
	wait_for bus "SELECT xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = 'idle'"
	pg_ctl -D "$standby" -m immediate -w -s stop
	wait_for bus "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'idle'"
	rm -rf "$standby"
}

measure_held()
{
	local seconds=$HELD_SECONDS short=$((HELD_SECONDS > 300 ? HELD_SECONDS / 4 : HELD_SECONDS))
	local r
	write_scripts
	held_databases
	held_begin bus_held
	[ -z "$HAVE_PGQ" ] || held_begin pgq_held
	held_run held "$seconds"
	held_plots held "beside a held snapshot"
	held_rows held "$seconds" "a transaction holds xmin" bus bus_held pgq pgq_held
	held_drains
	r=$(median held.drain.ratio)
	row "... fetch + ack afterwards, median of pairs, batches of 100 (events/s of a processor), to free ($(human "$(median held.drain.bus.cpu)"))" \
		"$(human "$(median held.drain.bus_held.cpu)")" "" "" ">= 0.95 x" "$r" "$(at_least "$r" 0.95)"
	held_end bus_held
	[ -z "$HAVE_PGQ" ] || held_end pgq_held

	held_slot
	HELD_DBS="bus${HAVE_PGQ:+ pgq}"
	row "an idle slot holds xmin, $short s: as above" "" "" "" "" "" ""
	local free_p99 free_rate pgq_p99=""
	free_p99=$(held_p99 bus) free_rate=$(held_rate bus)
	[ -z "$HAVE_PGQ" ] || pgq_p99=$(held_p99 pgq)
	held_run slot "$short"
	held_plots slot "beside an idle replication slot"
	r=$(ratio "$(held_rate bus)" "$free_rate")
	row "... events consumed per second, to free ($free_rate)" "$(held_rate bus)" "" "${HAVE_PGQ:+$(held_rate pgq)}" \
		">= 0.95 x" "$r" "$(at_least "$r" 0.95)"
	r=$(ratio "$(held_p99 bus)" "$free_p99")
	row "... fetch p99 (ms), to free ($free_p99${pgq_p99:+, PgQ $pgq_p99})" "$(held_p99 bus)" "" "${HAVE_PGQ:+$(held_p99 pgq)}" \
		"<= 1.5 x" "$r" "$(at_most "$r" 1.5)"
	row "... peak of the queue's disk (MB)" "$(held_peak slot bus)" "" "${HAVE_PGQ:+$(held_peak slot pgq)}" "<= 64" \
		"$(held_peak slot bus)" "$(at_most "$(held_peak slot bus)" 64)"
	q bus -c "SELECT pg_drop_replication_slot('idle')" >/dev/null
	say "plots: $RESULTS/held-*.svg $RESULTS/slot-*.svg"
}
