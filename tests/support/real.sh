#!/usr/bin/env bash
# Runs the tests with real parts in groups, which leave out none but those of `make long`: tests/support/real.sh [COMMAND…]
# Most tests wait for something, so more of them run at once than there are cores, and the command beside the first group.
set -euo pipefail
cd "$(dirname "$0")/../.."

# They bring up compose files, and start containers, whose names and ports are there once: one after the other, each kind at an
# engine of its own.
compose=compose::
package=package::
# They measure how soon somebody is answered or what a crowd costs, or which layers an engine fetches that has no image of the
# others yet: they have the machine to themselves, two at a time.
measuring=(
    attacks::connections:: crash:: crowd:: gateway::bounds:: gateway::clients::docker ldap::outages:: lifecycle:: revocation::
    timing:: as_long_as
)
# One of them waits for a minute, and asks for next to nothing meanwhile.
waiting=attacks::connections::connections_that_only_hold
# They measure how fast something recovers, and mostly wait for it to be away long enough.
outages=(chaos:: ldap::far:: records::outages:: sql::outages::)
# They need what is installed for `make long` alone, which runs them.
long=long::

log=$(mktemp)
trap 'rm -f "$log"*' EXIT
status=0
run() { cargo test --locked --test real -- --test-threads "$@"; }
# The same with what the tests write in memory, not the images.
memory=$(tests/support/scratch.sh)
in_memory() { TMPDIR=$memory run "$@"; }
skip() { printf -- '--skip %s ' "$@"; }
# Runs something beside what follows, until `join`, which shows what it said.
jobs=()
beside() {
    "$@" >"$log.${#jobs[@]}" 2>&1 &
    jobs+=($!)
}
join() {
    for number in "${!jobs[@]}"; do
        wait "${jobs[number]}" || status=$?
        cat "$log.$number"
    done
    jobs=()
}

cargo test --locked --test real --no-run
[ $# -eq 0 ] || beside nice "$@"
beside run 1 "$compose"
beside run 1 "$package"
in_memory 6 $(skip "$compose" "$package" "${measuring[@]}" "${outages[@]}" "$long") || status=$?
join
beside run 1 "$waiting"
run 2 "${measuring[@]}" $(skip "$waiting" "${outages[@]}") || status=$?
join
in_memory 3 "${outages[@]}" || status=$?
exit "$status"
