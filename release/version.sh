#!/usr/bin/env bash
# Gives the next release its version, everywhere it is written: release/version.sh 0.2.0
#
# In the manifests, lock files and charts, and as the heading of what CHANGELOG.md has below "Unreleased". It commits nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

new=${1:-}
[[ $new =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.]+)?$ ]] || {
    echo "release/version.sh: which version? release/version.sh 0.2.0" >&2
    exit 2
}
old=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
! grep -q "^## ${new//./\\.}, " CHANGELOG.md || {
    echo "release/version.sh: CHANGELOG.md has $new already" >&2
    exit 1
}
grep -q '^## Unreleased$' CHANGELOG.md || {
    echo 'release/version.sh: CHANGELOG.md has no "## Unreleased"' >&2
    exit 1
}
quoted=${old//./\\.}
sed -i "s/^version = \"$quoted\"\$/version = \"$new\"/; /package = \"dockwarden-/s/version = \"$quoted\"/version = \"$new\"/" \
    Cargo.toml crates/*/Cargo.toml
find deploy -name Chart.yaml -exec sed -i -E "s/^((appV|v)ersion: \"?)$quoted(\"?)\$/\\1$new\\3/" {} +
sed -i "s/^## Unreleased\$/## Unreleased\n\n## $new, $(date --utc +%F)/" CHANGELOG.md
for manifest in Cargo.toml bench/Cargo.toml fuzz/Cargo.toml; do
    cargo update --quiet --offline --workspace --manifest-path "$manifest"
done
echo "the next release is $new: look at CHANGELOG.md, and commit"
