#!/usr/bin/env bash
# Fuzzes what reads text or bytes one by one with libFuzzer under the address and
# undefined behaviour sanitizers: event types and topic patterns, the pattern
# translator, URI references, formats, trace context, CloudEvents attributes,
# durations, UUIDs, lists of offsets.  SECONDS_TO_RUN (default 30) chooses how long,
# SEED which; 77 = skipped, there is no clang or it has no libFuzzer.
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
	$src/topic.c $src/cloudevent_attr.c $src/duration.c $src/uuid7.c $src/offsets.c \
	-L"$(${PG_CONFIG:-pg_config} --libdir)" -L"$(${PG_CONFIG:-pg_config} --pkglibdir)" -lpgport -lm -o "$work/parsers"
mkdir "$work/corpus"
i=0
while IFS= read -r seed; do
	printf '%s' "$seed" >"$work/corpus/$((i++))"
done <<'SEEDS'
0^(?:[a-z\d_-]{1,63}\.)+\p{L}{2,}(?<!x)(?=y)\b$
0(?<year>\d{4})-\k<year>|[^\s\u{1F600}-\u{1F64F}\]]*?(a)\1{2,300}
1../x/./y?q#/a~1b%25
1//user@host:8080/%7Efoo/../bar;p?q=1#frag
22026-02-29T23:59:60+01:00
2[::ffff:1.2.3.4]
2"a b"@[IPv6:::1]
2a-b.example.com
300-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
3a@b=1,c=2
4order.line-2.placed_1
4a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q
6aGVsbG8gd29ybGQ=
6correlationid
7aaaaaaaabbbbcccc
8aaaaaaaabbbbcccc
9aaaaaaaabbbbccccddddeeeeffffgggg
SEEDS
printf '5order.a\norder.*\n!order.>\n>\n*.*' >"$work/corpus/topics"
printf '9\377\377\377\377\377\377\377\377\377\001\200\001' >"$work/corpus/offsets"
"$work/parsers" -max_total_time="${SECONDS_TO_RUN:-30}" -max_len=2000 -timeout=10 ${SEED:+-seed=$SEED} -print_final_stats=1 -artifact_prefix="$work/" "$work/corpus" 2>"$work/log" ||
	{ grep -A12 -E "ERROR|runtime error" "$work/log" || tail -40 "$work/log"; exit 1; }
grep -E 'stat::number_of_executed_units|DONE' "$work/log"
