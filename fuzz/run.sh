#!/usr/bin/env bash
# Runs each fuzz target for some seconds (10 if not said): fuzz/run.sh [SECONDS [TARGET…]]
# What cargo-fuzz does, without having to install it, with the stable compiler and what the tests are built from already.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-10}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(scope rule config basic_header forwarded_header target ldap documents)
# Not --locked: a new dependency of the product would otherwise stop this until somebody thinks of the second lock file.
RUSTC_WRAPPER=$PWD/instrument.sh cargo build --target-dir ../target
for target in "${targets[@]}"; do
  mkdir -p "corpus/$target" "artifacts/$target"
  echo "== $target, $seconds s"
  log=$(mktemp)
  status=0
  "../target/debug/fuzz_$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -max_len=4096 \
    -artifact_prefix="artifacts/$target/" -print_final_stats=1 "corpus/$target" "seeds/$target" >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 60 "$log"
    echo "fuzz target $target failed; the input is under fuzz/artifacts/$target"
    exit 1
  fi
  grep -E 'number_of_executed_units|peak_rss_mb' "$log"
  rm -f "$log"
done
