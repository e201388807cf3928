#!/usr/bin/env bash
# Runs the tests with real parts in three groups, which leave none out. Most tests wait for something, so more of them run at
# once than there are cores.
set -euo pipefail
cd "$(dirname "$0")/../.."

# They measure how soon somebody is answered, how fast something recovers or what a crowd costs, or which layers an engine fetches
# that has no image of the others yet: they have the machine to themselves, two at a time.
measuring=(
    attacks::connections:: chaos:: crash:: crowd:: gateway::bounds:: gateway::clients::docker
    ldap::far:: ldap::outages:: lifecycle:: revocation:: timing:: as_long_as
)
# They make images, and bring up compose files, whose names and ports are there once: one after the other, beside the rest.
images=(compose:: package::)
# Tests of the rest at once.
at_once=5

run() { cargo test --locked --test real -- --test-threads "$@"; }

cargo test --locked --test real --no-run
status=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run 1 "${images[@]}" >"$log" 2>&1 &
others=()
for name in "${measuring[@]}" "${images[@]}"; do others+=(--skip "$name"); done
run "$at_once" "${others[@]}" || status=$?
wait $! || status=$?
cat "$log"
run 2 "${measuring[@]}" || status=$?
exit "$status"
