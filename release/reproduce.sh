#!/usr/bin/env bash
# Makes the release of this commit once more, in another folder, and compares it: release/reproduce.sh RELEASE
set -euo pipefail
cd "$(dirname "$0")/.."

release=$(realpath "$1")
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
mkdir "$again/elsewhere"
git archive HEAD | tar -x -C "$again/elsewhere"
DOCKWARDEN_RELEASE_KEY='' DOCKWARDEN_RELEASE_DATE=$(git log -1 --format=%ct) \
    DOCKWARDEN_RELEASE_REVISION=$(git rev-parse HEAD) "$again/elsewhere/release/release.sh" "$again/release"
diff "$release/SHA256SUMS" "$again/release/SHA256SUMS"
echo "the same bytes in two folders"
