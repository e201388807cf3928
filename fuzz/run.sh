#!/usr/bin/env bash
# Runs each fuzz target for some seconds (10 if not said; 0: it is only built), two at a time: fuzz/run.sh [SECONDS [TARGET…]]
# What cargo-fuzz does, without having to install it, with the stable compiler and what the tests are built from already.
# Targets of `small/` alone (fuzz/run.sh 10 scope target pattern rule) are built without the program.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-10}
shift || true
targets=("$@")
names() { basename -as .rs "$1"/src/bin/*.rs | sed 's/^fuzz_//'; }
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(names small && names .)
package=dockwarden-fuzz-small
for target in "${targets[@]}"; do
  [ -e "small/src/bin/fuzz_$target.rs" ] || package=dockwarden-fuzz
done
# Not --locked: a new dependency of the product would otherwise stop this until somebody thinks of the second lock file.
# To optimise the program takes longer than all the fuzzing of a moment, which tries about as much without it. For long runs all is
# worth that, and minutes: CARGO_PROFILE_DEV_OPT_LEVEL=3.
program="profile.dev.package.dockwarden.opt-level=${CARGO_PROFILE_DEV_OPT_LEVEL:-0}"
RUSTC_WRAPPER=$PWD/instrument.sh cargo build --config "$program" --target-dir ../target -p dockwarden-fuzz-small -p "$package"
[ "$seconds" != 0 ] || exit 0

fuzz() {
  mkdir -p "corpus/$1" "artifacts/$1"
  log=$(mktemp)
  status=0
  "../target/debug/fuzz_$1" -max_total_time="$2" -timeout=5 -rss_limit_mb=1024 -max_len=4096 \
    -artifact_prefix="artifacts/$1/" -print_final_stats=1 "corpus/$1" "seeds/$1" >"$log" 2>&1 || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 60 "$log"
    echo "fuzz target $1 failed; the input is under fuzz/artifacts/$1"
  else
    echo "== $1, $2 s:" $(sed -n 's/^stat::\(number_of_executed_units\|peak_rss_mb\): */\1 /p' "$log")
  fi
  rm -f "$log"
  return "$status"
}
export -f fuzz
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'fuzz "$@"' fuzz {} "$seconds"
