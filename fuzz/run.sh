#!/usr/bin/env bash
# Runs each fuzz target for some seconds (10 if not said): fuzz/run.sh [SECONDS [TARGET…]]
# What cargo-fuzz does, without having to install it: coverage instrumentation by the stable compiler.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-10}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(scope rule config basic_header forwarded_header target)
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# With the target named, the flags are for the product alone and not for build scripts and macros.
host=$(rustc -vV | sed -n 's/^host: //p')
# Not --locked: a new dependency of the product would otherwise stop this until somebody thinks of the second lock file.
cargo build --release --target "$host"
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "artifacts/$target"
  echo "== $target, $seconds s"
  log=$(mktemp)
  status=0
  "target/$host/release/$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=4096 \
    -artifact_prefix="artifacts/$target/" -print_final_stats=1 "corpus/$target" "seeds/$target" >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 60 "$log"
    echo "fuzz target $target failed; the input is under fuzz/artifacts/$target"
    exit 1
  fi
  grep -E 'number_of_executed_units|peak_rss_mb' "$log"
  rm -f "$log"
done
