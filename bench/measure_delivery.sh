# shellcheck shell=bash
# What the delivery features cost: retry, filter, order, delay.

measure_retry()
{
	local i r
	for ((i = 0; i < ROUNDS; i++)); do
		fill_bus 100
		sample_both retry.clean "$(q bus -c "CALL bench.storm('one', 100, 0, $EVENTS)")"
		fill_bus 100 ", max_attempts => 100, backoff => '5 ms', backoff_max => '5 ms'"
		sample_both retry.storm "$(q bus -c "CALL bench.storm('one', 100, 0.3, $EVENTS)")"
	done
	r=$(ratio "$(median retry.storm)" "$(median retry.clean)")
	row "30 % nacks (events/s), to a clean drain ($(human "$(median retry.clean)"))" "$(human "$(median retry.storm)")" \
		"" "" ">= 0.30 x" "$r" "$(at_least "$r" 0.30)"
	r=$(ratio "$(median retry.storm.cpu)" "$(median retry.clean.cpu)")
	row "... per processor second of the backend, to $(human "$(median retry.clean.cpu)")" \
		"$(human "$(median retry.storm.cpu)")" "" "" "" "$r" ""
}

# Nanoseconds of a processor that the relay has taken so far.
relay_ns()
{
	cut -d' ' -f1 "/proc/$(q bus -c "SELECT pid FROM pg_stat_activity WHERE datname = 'bus' AND application_name = 'eventbus relay'")/schedstat"
}

# A subscription that starts in the past of a log with a match in a thousand.
measure_filter()
{
	local i n=1000000 first ms before
	bus_reset
	first=$(q bus -c "SELECT eb_last_offset() + 1")
	q bus -c "DO \$\$ BEGIN FOR i IN 0 .. 9 LOOP
		PERFORM eb_emit('order.placed', payload() || jsonb_build_object('k', k % 1000), k::text)
		FROM generate_series(1, $n / 10) k; COMMIT; END LOOP; END \$\$" -c "VACUUM eventbus.event"
	for ((i = 0; i < ROUNDS; i++)); do
		bus_reset
		before=$(relay_ns)
		ms=$(statement_ms bus "CALL bench.filtered($first, $((n / 1000)))")
		sample filter.bus "$(per_second $n "$ms")"
		sample filter.bus.cpu "$(per_second $n $((($(relay_ns) - before) / 1000000)))"
	done
	row "selective filter, 1 in 1,000 (events scanned/s)" "$(human "$(median filter.bus)")" "" "" ">= 2 M" \
		"$(human "$(median filter.bus)")" "$(at_least "$(median filter.bus)" 2000000)"
	row "... per processor second of the relay" "$(human "$(median filter.bus.cpu)")" "" "" "" "" ""
}

# Four consumers at once; events per second of wall-clock time.
drain_by_four()
{
	local i begun
	begun=$(date +%s.%N)
	for i in 1 2 3 4; do
		q bus -c "CALL bench.compete('one', 100)" >/dev/null &
	done
	wait
	awk -v a="$begun" -v b="$(date +%s.%N)" -v n="$EVENTS" 'BEGIN { printf "%.0f", n / (b - a) }'
	[ "$(q bus -c "SELECT count(*) FROM eventbus.delivery")" = 0 ] || die "something was left"
}

measure_ordered()
{
	local i r
	for ((i = 0; i < ROUNDS; i++)); do
		fill_bus 100
		sample ordered.none "$(drain_by_four)"
		fill_bus 100 ", ordering => 'aggregate'"
		sample ordered.aggregate "$(drain_by_four)"
	done
	r=$(ratio "$(median ordered.aggregate)" "$(median ordered.none)")
	row "ordered, 4 consumers (events/s), to unordered ($(human "$(median ordered.none)"))" \
		"$(human "$(median ordered.aggregate)")" "" "" ">= 0.40 x" "$r" "$(at_least "$r" 0.40)"
}

# A stream without priorities, alone and beside 100,000 events that are due tomorrow.
measure_priority()
{
	local i r
	for ((i = 0; i < ROUNDS; i++)); do
		fill_bus 100
		sample_both priority.without "$(q bus -c "CALL bench.drain_batches('one', 100, $EVENTS)")"
		fill_bus 100
		q bus -c "SELECT count(eb_emit('order.late', payload(), deliver_at => now() + '1 day')) FROM generate_series(1, 100000)" >/dev/null
		relay_idle
		sample_both priority.with "$(q bus -c "CALL bench.drain_batches('one', 100, $EVENTS)")"
	done
	r=$(ratio "$(median priority.with)" "$(median priority.without)")
	row "drain beside 100,000 delayed events (events/s), to that without ($(human "$(median priority.without)"))" \
		"$(human "$(median priority.with)")" "" "" ">= 0.95 x" "$r" "$(at_least "$r" 0.95)"
	r=$(ratio "$(median priority.with.cpu)" "$(median priority.without.cpu)")
	row "... per processor second of the backend, to $(human "$(median priority.without.cpu)")" \
		"$(human "$(median priority.with.cpu)")" "" "" "" "$r" ""
}
