#!/usr/bin/env bash
# Runs each fuzz target for some seconds, and prints a line of what came of it. Fails if anything was found.
# usage: fuzz/run.sh SECONDS [TARGET]...
set -euo pipefail
cd "$(dirname "$0")"
seconds=$1
shift
# cargo fuzz knows no --locked: this fails if the lock file is not what would be built.
cargo +nightly fetch --locked
cargo +nightly fuzz build
targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo +nightly fuzz list)
found=0
for target in "${targets[@]}"; do
    # What is new goes here first, so that the kept corpus changes only when it is asked for.
    new=target/corpus/$target log=target/corpus/$target.log
    mkdir -p "$new" "corpus/$target" "artifacts/$target"
    crashes=0
    cargo +nightly fuzz run "$target" "$new" "corpus/$target" "regressions/$target" -- \
        -max_total_time="$seconds" -timeout=20 -detect_leaks=0 -malloc_limit_mb=64 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 \
        >"$log" 2>&1 || crashes=1
    stat() { sed -n "s/^stat::$1: *//p" "$log"; }
    reached() { grep -ao "$1: [0-9]*" "$log" | tail -1 | cut -d ' ' -f 2; }
    printf '%-10s %10s executions %7s/s %6s edges covered %6s inputs %s\n' "$target" "$(stat number_of_executed_units)" \
        "$(stat average_exec_per_sec)" "$(reached cov)" "$(reached corp)" "$([ $crashes = 0 ] && echo 'nothing found' || echo "FOUND: $log")"
    found=$((found + crashes))
    if [ -n "${KEEP:-}" ] && [ $crashes = 0 ]; then
        # The fewest short inputs that reach what all of them do.
        mkdir "$new.kept"
        cargo +nightly fuzz run "$target" "$new.kept" "corpus/$target" "$new" -- \
            -set_cover_merge=1 -use_counters=0 -max_len=1200 -detect_leaks=0 >>"$log" 2>&1
        rm -r "corpus/$target" "$new"
        mv "$new.kept" "corpus/$target"
    fi
done
exit $((found > 0))
