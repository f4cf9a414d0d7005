#!/usr/bin/env bash
# Fuzzes the pattern translator, URI references, formats and trace context with
# libFuzzer under the address and undefined behaviour sanitizers.
# SECONDS_TO_RUN (default 30) chooses how long.
set -euo pipefail
cd "$(dirname "$0")"
src=../../src
command -v clang >/dev/null || { echo "SKIPPED: no clang" >&2; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return 0; }' >"$work/probe.c"
clang -fsanitize=fuzzer,address "$work/probe.c" -o "$work/probe" 2>/dev/null ||
	{ echo "SKIPPED: clang lacks libFuzzer (libclang-rt-dev)" >&2; exit 77; }
clang -g -O1 -Wno-ignored-attributes -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -D_GNU_SOURCE \
	-I"$(${PG_CONFIG:-pg_config} --includedir-server)" -I$src -I. \
	parsers_fuzz.c stubs.c $src/schema_regex_translate.c $src/schema_regex_escape.c $src/schema_regex_group.c \
	$src/schema_charset.c $src/schema_unicode.c $src/schema_uri.c $src/schema_format.c $src/tracecontext.c \
	-L"$(${PG_CONFIG:-pg_config} --libdir)" -L"$(${PG_CONFIG:-pg_config} --pkglibdir)" -lpgport -lm -o "$work/parsers"
mkdir "$work/corpus"
i=0
while IFS= read -r seed; do
	printf '%s' "$seed" >"$work/corpus/$((i++))"
done <<'SEEDS'
0^(?:[a-z\d_-]{1,63}\.)+\p{L}{2,}(?<!x)(?=y)\b$
0(?<year>\d{4})-\k<year>|[^\s\u{1F600}-\u{1F64F}\]]*?(a)\1{2,300}
2../x/./y?q#/a~1b%25
32026-02-29T23:59:60+01:00
3[::ffff:1.2.3.4]
3"a b"@[IPv6:::1]
400-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
4a@b=1,c=2
SEEDS
"$work/parsers" -max_total_time="${SECONDS_TO_RUN:-30}" -max_len=2000 -timeout=10 -print_final_stats=1 -artifact_prefix="$work/" "$work/corpus" 2>"$work/log" ||
	{ grep -A12 -E "ERROR|runtime error" "$work/log" || tail -40 "$work/log"; exit 1; }
grep -E 'stat::number_of_executed_units|DONE' "$work/log"
