#!/usr/bin/env bash
# Makes the Debian package of a static program: release/package.sh PROGRAM TRIPLE PAGES NOTICES OUTPUT [--fast]
#
# PAGES holds man/ and completions/, as release/pages.sh makes them; NOTICES is from release/notices.py. TRIPLE is the program's, such
# as aarch64-unknown-linux-gnu. The dates in the package are SOURCE_DATE_EPOCH, so that the same program gives the same bytes. --fast
# compresses less.
set -euo pipefail
cd "$(dirname "$0")/.."

program=$(realpath "$1") triple=$2 pages=$(realpath "$3") notices=$(realpath "$4") output=$5
shift 5
: "${SOURCE_DATE_EPOCH:?}"
cargo deb --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-deb

# cargo-deb takes what cargo has built from here, and Cargo.toml says what goes where.
staging=$(mktemp -d)
trap 'rm -rf "$staging"' EXIT
built=$staging/$triple/release
mkdir -p "$built"
cp "$program" "$built/dockwarden"
cp -r "$pages/man" "$pages/completions" "$built"
ln -s dockwarden "$built/docker-credential-dockwarden"
ln -s dockwarden-login.8.gz "$built/man/docker-credential-dockwarden.8.gz"
gzip -9nc "$notices" >"$built/notices.gz"

maintainer=${DEBIAN_MAINTAINER:-$(sed -n 's/^maintainer = "\(.*\)"$/\1/p' Cargo.toml)}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
gzip -9n >"$built/changelog.gz" <<END
dockwarden ($version) stable; urgency=medium

  * What changed is in /usr/share/doc/dockwarden/CHANGELOG.md.

 -- $maintainer  $(LC_ALL=C date --utc --rfc-email --date "@$SOURCE_DATE_EPOCH")
END

# The pages are in the same folder there.
release/changes.sh "$version" | sed 's|](docs/|](|g' >"$built/CHANGELOG.md"

# What is built for another architecture is not stripped here: cargo has done it.
CARGO_TARGET_DIR=$staging cargo deb --quiet --no-build --no-strip --locked --target "$triple" --maintainer "$maintainer" \
    --output "$output" "$@"
