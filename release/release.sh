#!/usr/bin/env bash
# Makes a release of the commit that is checked out: release/release.sh OUTPUT
#
# For x86-64 and ARM64: the static program with its manual and completions, the Debian package; for both at once the two images as OCI
# archives; what the program is made of (CycloneDX); SHA256SUMS; and with DOCKWARDEN_RELEASE_KEY, a file of
# `cosign generate-key-pair`, the signature of SHA256SUMS. The same commit gives the same bytes, in whatever folder.
#
# It needs Rust's two targets, Debian's cross compiler for the other one (gcc-aarch64-linux-gnu, g++-aarch64-linux-gnu), busybox,
# mmdebstrap and python3; cosign for a signature.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD

fail() {
    echo "release/release.sh: $*" >&2
    exit 1
}
mkdir -p "$1"
output=$(realpath "$1")
[ -z "$(ls -A "$output")" ] || fail "$output is not empty"
need() { command -v "$1" >/dev/null || fail "$1 is missing: $2"; }

# What is not committed would be in no other build. DOCKWARDEN_RELEASE_DATE and DOCKWARDEN_RELEASE_REVISION are for sources without their
# history.
if [ -z "${DOCKWARDEN_RELEASE_DATE:-}" ]; then
    [ -z "$(git status --porcelain)" ] || fail "there are changes that are not committed"
    DOCKWARDEN_RELEASE_DATE=$(git log -1 --format=%ct)
    DOCKWARDEN_RELEASE_REVISION=$(git rev-parse HEAD)
fi
export DOCKWARDEN_RELEASE_REVISION
export SOURCE_DATE_EPOCH=$DOCKWARDEN_RELEASE_DATE
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
need aarch64-linux-gnu-g++ "apt-get install gcc-aarch64-linux-gnu g++-aarch64-linux-gnu"
need mmdebstrap "apt-get install mmdebstrap"
need busybox "apt-get install busybox-static"
[ -z "${DOCKWARDEN_RELEASE_KEY:-}" ] || DOCKWARDEN_RELEASE_KEY=$(realpath "$DOCKWARDEN_RELEASE_KEY")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022

# Neither this folder nor the home of whoever builds is in the program.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
flags="-C target-feature=+crt-static --remap-path-prefix=$here=/dockwarden --remap-path-prefix=$cargo_home=/cargo"
prefixes="-ffile-prefix-map=$here=/dockwarden -ffile-prefix-map=$cargo_home=/cargo"

# A tar file that says nothing of who made it, and when.
pack() { tar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf - "$@" | gzip -9n; }

machines=(x86_64 aarch64)
declare -A debian=([x86_64]=amd64 [aarch64]=arm64)
# All of it for every build: what only builds is linked as this machine's programs are, and would otherwise be compiled twice.
compilers=("RUSTFLAGS=$flags")
for machine in "${machines[@]}"; do
    name=${machine}_unknown_linux_gnu
    compilers+=("CARGO_TARGET_${name^^}_LINKER=$machine-linux-gnu-gcc" "CC_$name=$machine-linux-gnu-gcc"
        "CXX_$name=$machine-linux-gnu-g++" "AR_$name=$machine-linux-gnu-ar" "CFLAGS_$name=$prefixes" "CXXFLAGS_$name=$prefixes")
done
for machine in "${machines[@]}"; do
    triple=$machine-unknown-linux-gnu
    [ -d "$(rustc --print target-libdir --target "$triple")" ] || rustup target add "$triple"
    env "${compilers[@]}" cargo build --locked --release --bin dockwarden --target "$triple" --target-dir target
    install -D "target/$triple/release/dockwarden" "$work/$machine/dockwarden"

    # The other machine's program is run by qemu.
    emulator=()
    if [ "$machine" != "$(uname -m)" ]; then
        need "qemu-$machine-static" "apt-get install qemu-user-static"
        emulator=("qemu-$machine-static")
    fi
    said=$("${emulator[@]}" "$work/$machine/dockwarden" --version)
    [ "$said" = "dockwarden $version" ] || fail "the program for $machine says \"$said\" where it should say its version"
done

release/pages.sh "$work/$(uname -m)/dockwarden" "$work/pages"
notices=$work/THIRD-PARTY-NOTICES.txt
release/notices.py "$notices" "${machines[@]/%/-unknown-linux-gnu}"

release/changes.sh "$version" >"$work/CHANGELOG.md"
images=() shells=()
for machine in "${machines[@]}"; do
    architecture=${debian[$machine]}
    release/package.sh "$work/$machine/dockwarden" "$machine-unknown-linux-gnu" "$work/pages" "$notices" \
        "$output/dockwarden_${version}_$architecture.deb"

    folder=dockwarden-$version-linux-$architecture
    mkdir "$work/$folder"
    cp -r "$work/$machine/dockwarden" "$work/pages/man" "$work/pages/completions" LICENSE "$notices" "$work/CHANGELOG.md" \
        config.example.yml deploy/systemd/dockwarden.service deploy/monitoring deploy/nginx "$work/$folder"
    (cd "$work" && pack "$folder") >"$output/$folder.tar.gz"

    release/shell-base.sh "$architecture" "$work/$machine/shell"
    images+=("$architecture=$work/$machine/dockwarden")
    shells+=("$architecture=$work/$machine/dockwarden,$work/$machine/shell")
done
release/image.py "$output/dockwarden-$version-image.tar" "$version" "$notices" "${images[@]}"
release/image.py "$output/dockwarden-$version-shell-image.tar" "$version" "$notices" "${shells[@]}"

make --no-print-directory sbom SBOM=--shell
cp target/static/dockwarden.cdx.json "$output/dockwarden-$version.cdx.json"

cd "$output"
sha256sum -- * >"$work/SHA256SUMS"
cp "$work/SHA256SUMS" .
[ -z "${DOCKWARDEN_RELEASE_KEY:-}" ] || "$here/release/sign.sh" SHA256SUMS
ls -l
