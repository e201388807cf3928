#!/usr/bin/env bash
# Names the folder in which tests write: in memory where there is much of it, since a database that waits for a disk which builds and
# images keep busy answers too late.
set -euo pipefail

memory=/dev/shm
gigabytes() { awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo; }
free() { df --output=avail -B 1G "$memory" 2>/dev/null | tail -1; }
if [ "$(gigabytes)" -ge 12 ] && [ "$(free)" -ge 8 ] && ! findmnt -no OPTIONS "$memory" | grep -q noexec; then
    echo "$memory"
else
    echo "${TMPDIR:-/tmp}"
fi
