#!/usr/bin/env bash
# What the node does for a request, measured part by part: times by criterion, and beside them the instructions that
# gungraun counts. Without valgrind, or gungraun's runner (scripts/setup.sh bench), the counts are left out.
#
#   scripts/micro.sh          within a minute and a half, when it is built: part of `make bench`
#   scripts/micro.sh long     within five minutes: `make micro`
#
# A second word is what the names of cases hold: `scripts/micro.sh long token` measures tokens alone, `long key/reload` one
# case. What criterion and gungraun say beside the table is in target/micro.log.
set -eu -o pipefail

cd "$(dirname "$0")/.."
PATH="$PWD/target/tools/bin:$PATH"
log=target/micro.log
form=${1:-short}
filter=${2:-}

# bench TARGET OPTION...: builds a benchmark and runs it.
bench() {
    local target=$1
    shift
    cargo bench --locked --quiet -p forebay --bench "$target" -- "$@"
}

fail() {
    tail -n 20 "$log" >&2
    echo "micro: $1 has failed; all that it said is in $log" >&2
    exit 1
}

case $form in
    short) effort=() ;;
    long) effort=(--warm-up-time 1 --measurement-time 5 --sample-size 100) ;;
    *) echo "micro: $form is no form; the forms are short and long" >&2 && exit 2 ;;
esac

mkdir -p target
echo "micro: building" >&2
cargo bench --locked --quiet -p forebay --bench instructions --bench times --no-run
: >"$log"
# What an earlier run has counted is nothing to show beside this one's times.
rm -rf target/gungraun
if command -v valgrind >/dev/null 2>&1 && command -v gungraun-runner >/dev/null 2>&1; then
    echo "micro: counting instructions" >&2
    # A case that is GROUP/NAME in the table is GROUP::NAME there.
    bench instructions --save-summary=json --parallel=2 ${filter:+"**${filter//\//::}**"} >>"$log" 2>&1 || fail "counting"
else
    echo "micro: no valgrind, or no gungraun-runner (scripts/setup.sh bench): instructions are left out" >&2
fi
echo "micro: taking times" >&2
bench times --quiet ${effort[@]+"${effort[@]}"} ${filter:+"$filter"} 2>>"$log" | tee -a "$log" | sed -n '/^one turn/,$p' \
    || fail "taking times"
