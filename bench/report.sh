# shellcheck shell=bash
# Medians and the table.

# sample KEY VALUE: one run's figure.
sample()
{
	echo "$1 $2" >>"$BENCH/samples"
	printf '   %-28s %s\n' "$1" "$2" >&2
}

# sample_both KEY RATE|CPU-RATE: by the clock, and by the processor as KEY.cpu.
sample_both()
{
	sample "$1" "${2%|*}"
	sample "$1.cpu" "${2#*|}"
}

# The median of a key's samples; nothing if there is none.
median()
{
	awk -v k="$1" '$1 == k { print $2 }' "$BENCH/samples" | sort -g |
		awk '{ v[NR] = $1 } END { if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (a == "" || b == "" || b == 0) print ""; else printf "%.2f", a / b }'; }

# 12345678 as 12.3 M and the like.
human()
{
	awk -v x="$1" 'BEGIN {
		if (x == "") print "";
		else if (x >= 1e6) printf "%.2f M\n", x / 1e6;
		else if (x >= 1e4) printf "%.0f k\n", x / 1e3;
		else if (x >= 1000) printf "%.1f k\n", x / 1e3;
		else if (x >= 100 || x == int(x)) printf "%.0f\n", x;
		else printf "%.2f\n", x }'
}

# at_least VALUE FLOOR, at_most VALUE LIMIT: "yes" or "NO".
at_least() { awk -v a="$1" -v b="$2" 'BEGIN { print (a == "" ? "-" : (a >= b ? "yes" : "NO")) }'; }
at_most()  { awk -v a="$1" -v b="$2" 'BEGIN { print (a == "" ? "-" : (a <= b ? "yes" : "NO")) }'; }

# row MEASURE EVENTBUS INSERT PGQ FLOOR-TEXT FIGURE MET
row()
{
	printf '| %s | %s | %s | %s | %s | %s | %s |\n' "$@" >>"$BENCH/table"
}

# rate_row MEASURE KEY FLOOR-TO-INSERT FLOOR-TO-PGQ FLOOR-ABSOLUTE; "" = no such floor
rate_row()
{
	local ours ins pgq first=1
	ours=$(median "$2.bus") ins=$(median "$2.insert") pgq=$(median "$2.pgq")
	floor_row()
	{
		if [ -n "$first" ]; then
			row "$1" "$(human "$ours")" "$(human "$ins")" "$(human "$pgq")" "${@:2}"
		else
			row "" "" "" "" "${@:2}"
		fi
		first=
	}
	[ -z "$5" ] || floor_row "$1" ">= $(human "$5")" "$(human "$ours")" "$(at_least "$ours" "$5")"
	[ -z "$3" ] || floor_row "$1" ">= $3 x INSERT" "$(ratio "$ours" "$ins")" "$(at_least "$(ratio "$ours" "$ins")" "$3")"
	[ -z "$4" ] || floor_row "$1" ">= $4 x PgQ" "$(ratio "$ours" "$pgq")" "$(at_least "$(ratio "$ours" "$pgq")" "$4")"
	[ -z "$(median "$2.bus.cpu")" ] ||
		row "... per processor second of the server or backend" "$(human "$(median "$2.bus.cpu")")" "$(human "$(median "$2.insert.cpu")")" \
			"$(human "$(median "$2.pgq.cpu")")" "" "" ""
}

report_begin()
{
	rm -f "$BENCH/samples" "$BENCH/table"
	touch "$BENCH/samples"
	BEGUN=$(date +%s)
}

report_head()
{
	echo "$(date -u +%Y-%m-%d), $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)," \
		"$(nproc) processors, $(awk '/MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo)," \
		"load $(cut -d' ' -f1-3 /proc/loadavg) at the end, Linux $(uname -r | cut -d- -f1)"
	echo
	echo "PostgreSQL $(pg_config --version | cut -d' ' -f2), eventbus $(q bus -c "SELECT extversion FROM pg_extension WHERE extname = 'eventbus'")${HAVE_PGQ:+, PgQ $(q pgq -c "SELECT extversion FROM pg_extension WHERE extname = 'pgq'")}; fsync ${FSYNC:-off}, shared_buffers 1GB"
	echo
	echo "\`make bench MEASURE=\"$MEASURE\" ROUNDS=$ROUNDS SECONDS_EACH=$SECONDS_EACH EVENTS=$EVENTS\`, $(($(date +%s) - BEGUN)) s"
}

report_end()
{
	mkdir -p "$RESULTS"
	{
		report_head
		echo
		echo "| measure | eventbus | INSERT | PgQ | floor | seen | met |"
		echo "|---|---|---|---|---|---|---|"
		cat "$BENCH/table"
	} | tee "$RESULTS/last.md"
	cp "$BENCH/samples" "$RESULTS/last.samples"
}
