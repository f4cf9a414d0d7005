# shellcheck shell=bash disable=SC2034
# Sourced by run-tests: what differs when the server is built to find mistakes
# in C.  FLAVOUR is empty, assert, sanitize or valgrind; tools/test-flavour sets
# it together with a PG_CONFIG from tools/pg-source.

FLAVOUR=${FLAVOUR:-}
SLOW=1			# how much longer a test may take
REPORTS=$LOGS/report	# reports are written to $REPORTS.PID
POSTGRES=		# the program that pg_ctl starts instead of postgres

# Leaks are the business of memory contexts.  The stack-depth check takes the
# address of a local, which must not be on a fake stack.
flavour_init()
{
	case $FLAVOUR in
		assert)
			SLOW=3
			;;
		sanitize)
			SLOW=5
			export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=1:log_path=$REPORTS
			export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1:log_path=$REPORTS
			;;
		valgrind)
			SLOW=20
			command -v valgrind >/dev/null || die "valgrind is not installed"
			POSTGRES=$RUN/postgres-valgrind
			cat >"$POSTGRES" <<-SH
				#!/bin/sh
				exec valgrind --quiet --leak-check=no --gen-suppressions=all \\
					--num-callers=25 --suppressions='$("$PG_CONFIG" --sharedir)/valgrind.supp' \\
					--log-file='$REPORTS.%p' '$("$PG_CONFIG" --bindir)/postgres' "\$@"
			SH
			chmod +x "$POSTGRES"
			;;
	esac
	[ "$SLOW" = 1 ] || export EB_SLACK=${EB_SLACK:-$((5 * SLOW))}
}

# Lines in servers' logs that tell of a mistake in C, whichever the flavour.
complaints()
{
	grep -hE 'TRAP:|AddressSanitizer|runtime error:|was terminated by signal (4|6|7|8|11):|stack smashing' "$@"
}

# Fails if a process left a report.
check_reports()
{
	local f log=$LOGS/reports.log
	: >"$log"
	for f in "$REPORTS".*; do
		[ ! -s "$f" ] || sed "s/^/${f##*/}: /" "$f" >>"$log"
	done
	record "no report${FLAVOUR:+ ($FLAVOUR)}" "$(is_empty "$log")" "$log" 0.0 no
}
