#!/usr/bin/env bash
# Fuzzes the schema compiler, the evaluator, the compatibility check and
# eb_typescript() inside a private server whose eventbus is built with the undefined behaviour
# sanitizer: the schemas of compiler.sql, mutated at random.  The address sanitizer cannot be loaded
# into a server that was built without it; PG_CONFIG=$(tools/pg-source make sanitize) has both.
# ROUNDS (default 2000) and SEED choose how much and which.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
pg_config=${PG_CONFIG:-pg_config}
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0
bin=$($pg_config --bindir)
work=$(mktemp -d)
chmod 755 "$work"
as() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }
trap 'as "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true; rm -rf "$work"' EXIT
[ -e "$(gcc -print-file-name=libubsan.so)" ] || { echo "SKIPPED: gcc has no libubsan" >&2; exit 77; }

# a relocated copy of the server, so that nothing is installed into the real one
mkdir -p "$work/tree" "$work/pg"
cp -a "$root"/{Makefile,eventbus.control,src,sql} "$work/tree/"
find "$work/tree" \( -name '*.o' -o -name '*.bc' \) -delete
lib=$($pg_config --pkglibdir)
share=$($pg_config --sharedir)
prefix=${bin%/bin}
# the server finds its files by their place relative to each other: keep that below the root of them all
common=$(dirname "$(dirname "$(dirname "$(dirname "$prefix")")")")
for d in "$prefix" "$share"; do
	mkdir -p "$work/pg/$(dirname "${d#"$common"}")"
	cp -a "$d" "$work/pg/$(dirname "${d#"$common"}")/"
done
server=$work/pg/${prefix#"$common"}
make -s -C "$work/tree" PG_CONFIG="$pg_config" with_llvm=no \
	COPT='-O1 -g -fsanitize=undefined -fno-sanitize=alignment -fno-omit-frame-pointer' >/dev/null
cp "$work/tree/eventbus.so" "$work/pg/${lib#"$common"}/"
cp "$work/tree/eventbus.control" "$work/tree"/build/eventbus--*.sql "$work/pg/${share#"$common"}/extension/"

[ "$(id -u)" = 0 ] && chown -R postgres "$work"
as "$server/bin/initdb" -D "$work/data" -A trust -U postgres -E UTF8 --locale=C.UTF-8 >/dev/null
cat >>"$work/data/postgresql.conf" <<X
shared_preload_libraries = 'eventbus'
listen_addresses = ''
port = 5432
unix_socket_directories = '$work'
fsync = off
jit = off
log_min_messages = fatal
X
as env UBSAN_OPTIONS=print_stacktrace=1:log_path="$work/report" ASAN_OPTIONS="$ASAN_OPTIONS:log_path=$work/report" \
	"$server/bin/pg_ctl" -D "$work/data" -l "$work/log" -w start >/dev/null || { cat "$work/log"; exit 1; }
seed=${SEED:-$RANDOM}
echo "seed $seed"
PGHOST=$work PGUSER=postgres PGDATABASE=postgres PGPORT=5432 "$server/bin/psql" -XqAt -v ON_ERROR_STOP=1 \
	-v rounds="${ROUNDS:-2000}" -v seed="$seed" -f "$here/compiler.sql" || status=1
if ls "$work"/report.* >/dev/null 2>&1; then
	head -60 "$work"/report.*
	exit 1
fi
exit "${status:-0}"
