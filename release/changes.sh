#!/usr/bin/env bash
# Prints CHANGELOG.md as a release has it: what is not released yet is released with it. release/changes.sh VERSION
set -euo pipefail
cd "$(dirname "$0")/.."

version=$1
: "${SOURCE_DATE_EPOCH:?}"
if grep -q "^## ${version//./\\.}, " CHANGELOG.md; then
    # `release/version.sh` has left an empty heading for the next one.
    sed '/^## Unreleased$/,/^$/d' CHANGELOG.md
else
    sed "s/^## Unreleased\$/## $version, $(date --utc --date "@$SOURCE_DATE_EPOCH" +%F)/" CHANGELOG.md
fi
