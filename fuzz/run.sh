#!/usr/bin/env bash
# Fuzzing with a nightly compiler and cargo-fuzz, one format at a time.
#
#     fuzz/run.sh NAME [ARGUMENT OF LIBFUZZER]...
#     fuzz/run.sh --all [SECONDS [JOBS [NAME]...]]
#
# A name is one of tests/fuzz/checks/mod.rs, or `cuts`. With --all every format, or those named, has its
# SECONDS (600), JOBS (the number of cores) at once; what came of each goes into fuzz/results.tsv with
# the name of its sources, and what stands there with as many seconds is passed over.
set -euo pipefail
cd "$(dirname "$0")/.."

sanitizer="${DIGSTORE_FUZZ_SANITIZER:-address}"
mkdir -p fuzz/corpus fuzz/artifacts
memory=/dev/shm
[[ -d $memory && -w $memory ]] || memory="${TMPDIR:-/tmp}"
scratch="$(mktemp -d -p "$memory" digstore-fuzz.XXXXXX)"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

names() {
    sed -n 's/^ *target("\([a-z_]*\)",.*/\1/p' tests/fuzz/checks/mod.rs
    echo cuts
}

run() {
    local name="$1" target=formats
    shift
    if [[ $name == cuts ]]; then
        target=cuts
    else
        # Written into the corpus before it is read.
        export DIGSTORE_FUZZ="$name" DIGSTORE_FUZZ_SEEDS="fuzz/corpus/$name"
    fi
    mkdir -p "fuzz/corpus/$name" "fuzz/artifacts/$name"
    # What is local to a thread that is just ending counts as a leak, and safe code makes few others: what
    # grows is found by the allocator that counts, and by the limits below.
    export TMPDIR="$scratch" ASAN_OPTIONS="detect_leaks=0:quarantine_size_mb=16:${ASAN_OPTIONS:-}"
    cargo +nightly fuzz run --sanitizer "$sanitizer" "$target" \
        "fuzz/corpus/$name" -- \
        -artifact_prefix="fuzz/artifacts/$name/" -rss_limit_mb=512 -malloc_limit_mb=256 -timeout=20 \
        -detect_leaks=0 -print_final_stats=1 "$@"
}

# One line: name, seconds, executions, edges covered, inputs that failed.
line() {
    local name="$1" seconds="$2" log="$scratch/log" executions coverage crashes
    # What failed before stays, and is not counted again.
    [[ ! -d fuzz/artifacts/$name ]] || mv "fuzz/artifacts/$name" "fuzz/artifacts/$name.before.$(date +%s)"
    run "$name" -max_total_time="$seconds" >"$log" 2>&1 || true
    executions="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)"
    coverage="$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)"
    crashes="$(find "fuzz/artifacts/$name" -type f ! -name 'slow-unit-*' | wc -l)"
    if [[ -z $executions ]]; then
        tail -20 "$log" >&2
        printf '%s was not run\n' "$name" >&2
        return 1
    fi
    printf '%s\t%s\t%s\t%s\t%s\n' "$name" "$seconds" "$executions" "${coverage:-0}" "$crashes"
    if ((crashes > 0)); then
        cp "$log" "fuzz/artifacts/$name/log.txt"
    fi
}

# Runs one format, unless it was run as long before, and notes and tells what came of it.
one() {
    local name="$1" seconds="$2" results=fuzz/results.tsv found
    touch "$results"
    found="$(awk -F'\t' -v n="$name" -v s="$seconds" '$1 == n && $2 >= s' "$results" | tail -1)"
    if [[ -z $found ]]; then
        found="$(line "$name" "$seconds")"
        # What failed is run again.
        [[ $found != *$'\t0' ]] || printf '%s\t%s\n' "$found" "$(git rev-parse --short=12 HEAD:src)" >>"$results"
    fi
    printf '%s\n' "$found" | awk -F'\t' \
        '{ printf "%-14s %5d s %12d executions %6d edges %3d failed\n", $1, $2, $3, $4, $5; exit $5 != 0 }'
}

all() {
    local seconds="${1:-600}" jobs="${2:-$(nproc)}"
    shift $(($# < 2 ? $# : 2))
    # Once, before several ask for it.
    cargo +nightly fuzz build --sanitizer "$sanitizer"
    if (($# > 0)); then printf '%s\n' "$@"; else names; fi |
        xargs -P "$jobs" -I NAME fuzz/run.sh --one NAME "$seconds"
}

case "${1:-}" in
    --all) shift && all "$@" ;;
    --one) one "$2" "$3" ;;
    "" | -*) printf 'usage: fuzz/run.sh NAME [ARGUMENT]... | --all [SECONDS [JOBS [NAME]...]]; names:\n' >&2; names >&2; exit 2 ;;
    *) run "$@" ;;
esac
