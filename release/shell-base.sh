#!/usr/bin/env bash
# Puts what stands below the image with a shell into a directory: release/shell-base.sh ARCHITECTURE OUTPUT
#
# Debian's static busybox under the name of each of its commands, and the public authorities. The Dockerfile takes Alpine for that; a
# release takes what apt has verified, for any architecture, without running any of it.
set -euo pipefail

architecture=$1 output=$2
suite=${SHELL_BASE_SUITE:-bookworm}
files=$(mktemp -d)
trap 'rm -rf "$files"' EXIT

mmdebstrap --quiet --variant=extract --architectures="$architecture" --include=busybox-static,ca-certificates \
    "$suite" "$files/root"
mkdir -p "$output"/{bin,etc/ssl/certs,tmp}
chmod 1777 "$output/tmp"
cp "$files"/root/{usr/,}bin/busybox "$output/bin/" 2>/dev/null || [ -x "$output/bin/busybox" ]
for package in busybox-static ca-certificates; do
    install -D -m 644 "$files/root/usr/share/doc/$package/copyright" "$output/usr/share/doc/$package/copyright"
done
install -D -m 644 /usr/share/common-licenses/GPL-2 "$output/usr/share/common-licenses/GPL-2"
cat "$files"/root/usr/share/ca-certificates/mozilla/*.crt >"$output/etc/ssl/certs/ca-certificates.crt"
# Debian builds the same commands into it everywhere, so this machine's says what they are.
for command in $(busybox --list); do
    [ "$command" = busybox ] || ln -sf busybox "$output/bin/$command"
done
