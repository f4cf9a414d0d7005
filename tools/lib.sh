# shellcheck shell=bash
# Sourced by the scripts of this folder.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
SUPPORTED="15 16 17 18"
# shellcheck disable=SC2034 # used by deps
UNPACKED=${EVENTBUS_CHROOTS:-/var/cache/eventbus}/programs	# packages that are not installed

say()  { printf '%s\n' "$*" >&2; }
warn() { printf '*** %s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$*" >&2; exit 1; }

# A pg_config with everything an extension needs to be built and run.
pg_complete()
{
	local pgc=$1 major
	[ -x "$pgc" ] && [ -x "$("$pgc" --bindir)/postgres" ] &&
		[ -e "$("$pgc" --pgxs)" ] &&
		[ -e "$("$pgc" --includedir-server)/postgres.h" ] || return 1
	major=$(pg_major "$pgc")
	[[ " $SUPPORTED " == *" $major "* ]]
}

pg_major()
{
	"$1" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/'
}

# Run a command as the user the tests run as.
as_user()
{
	if [ "$(id -un)" = "$RUNAS" ]; then
		"$@"
	else
		setpriv --reuid="$RUNAS" --regid="$(id -g "$RUNAS")" --init-groups \
			env HOME=/nonexistent USER="$RUNAS" LOGNAME="$RUNAS" "$@"
	fi
}

# PostgreSQL does not run as root: the owner of the checkout is the best
# choice, so that nothing in it ends up with another owner.
choose_user()
{
	RUNAS=$(id -un)
	[ "$(id -u)" = 0 ] || return 0
	for RUNAS in "$(stat -c %U "$ROOT")" postgres nobody; do
		if [ "$RUNAS" != root ] && id -u "$RUNAS" >/dev/null 2>&1; then
			return 0
		fi
	done
	die "found no unprivileged user to run PostgreSQL as"
}

# Where everything that is built, installed and run goes: build/ in the
# checkout.  Where the user cannot reach that, or where it has a name that make
# and PGXS choke on, a private folder in /var/tmp that is a function of the
# checkout and the user.
choose_work()
{
	local sum build=$ROOT/build
	AWAY=
	if [[ $ROOT != *[!A-Za-z0-9/._+@-]* ]] && as_user test -x "$ROOT"; then
		mkdir -p "$build" 2>/dev/null
		if [ "$(id -u)" = 0 ]; then
			chown "$(stat -c %u:%g "$ROOT")" "$build"
			install -d -o "$RUNAS" "$build/$1" 2>/dev/null
		else
			mkdir -p "$build/$1" 2>/dev/null
		fi
		WORK=$build/$1
		as_user test -w "$WORK" && return 0
	fi
	sum=$(printf %s "$ROOT" | cksum | cut -d' ' -f1)
	AWAY=/var/tmp/eventbus-$RUNAS-$sum
	as_user mkdir -m 700 "$AWAY" 2>/dev/null
	[ ! -L "$AWAY" ] && [ "$(stat -c %U "$AWAY")" = "$RUNAS" ] ||
		die "$AWAY belongs to somebody else"
	WORK=$AWAY/$1
	as_user mkdir -p "$WORK" || die "cannot create $WORK"
}
