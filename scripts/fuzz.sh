#!/usr/bin/env bash
# Feeds the parsers of outside input what a fuzzer makes up, a target after the other.
#
#   scripts/fuzz.sh                    every target for 60 seconds
#   scripts/fuzz.sh 600                every target for 600 seconds
#   scripts/fuzz.sh 600 jwt cat        these targets; `tests/fuzz/src/lib.rs` lists them
#   scripts/fuzz.sh again jwt FILE     one input again, such as one that was found
#
# Builds with the stable toolchain: libFuzzer comes with the crate libfuzzer-sys and needs a C++ compiler. What was tried
# is kept in tests/fuzz/corpus, what was found in tests/fuzz/found; the exit status is 1 then.
set -eu

if [ "${1:-}" = again ]; then
    file=$(realpath "$3")
    targets=("$2")
else
    file=
    seconds=${1:-60}
    if [ "$#" -gt 0 ]; then shift; fi
    targets=("$@")
fi
cd "$(dirname "$0")/../tests/fuzz"
if [ "${#targets[@]}" = 0 ]; then
    mapfile -t targets < <(sed -n 's/^ *Target { name: "\([a-z_]*\)".*/\1/p' src/lib.rs)
fi
host=$(rustc -vV | sed -n 's/^host: //p')

# The node's own versions, and what the fuzzer needs beside.
cp ../../Cargo.lock Cargo.lock

# What libFuzzer is led by: which edges of the program an input reaches, and what it is compared with.
flags="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS=$flags CARGO_TARGET_DIR=../../target/fuzz cargo build --release --target "$host"
program=$PWD/../../target/fuzz/$host/release/forebay-fuzz

run() {
    local target=$1 corpus=corpus/$1
    mkdir -p "$corpus" found
    FUZZ_TARGET=$target SEEDS=$corpus "$program" >"found/$target.log" 2>&1 || return
    FUZZ_TARGET=$target "$program" "$corpus" seeds -max_total_time="$seconds" -max_len=4200 -timeout=1 -rss_limit_mb=2048 \
        -artifact_prefix="found/$target-" -print_final_stats=1 -verbosity=0 >"found/$target.log" 2>&1
}

if [ -n "$file" ]; then
    FUZZ_TARGET=${targets[0]} exec "$program" -timeout=1 "$file"
fi

status=0
for target in "${targets[@]}"; do
    if run "$target"; then
        inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "found/$target.log")
        echo "fuzz: $target: $inputs inputs in $seconds s, nothing found"
    else
        status=1
        echo "fuzz: $target: FOUND, see tests/fuzz/found/$target.log"
        grep -E 'panicked at|ERROR:|^SUMMARY|Test unit written' -A 1 "found/$target.log" | head -n 12
    fi
done
exit "$status"
