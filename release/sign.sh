#!/usr/bin/env bash
# Signs a file with the key that DOCKWARDEN_RELEASE_KEY names (`cosign generate-key-pair`): release/sign.sh FILE
#
# The signature is FILE.sigstore.json. The password is COSIGN_PASSWORD. Nothing is asked or told on the Internet, neither a list of
# trusted services nor a public log: whoever verifies has the key.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)

file=$1
: "${DOCKWARDEN_RELEASE_KEY:?}"
PATH=$PATH:${DOCKWARDEN_TOOLS:-$here/target/tools/bin}/long
command -v cosign >/dev/null || {
    echo "release/sign.sh: cosign is missing: tests/support/install.sh long" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cosign signing-config create --out "$work/services.json"
cosign trusted-root create --out "$work/root.json"
cosign sign-blob --yes --key "$DOCKWARDEN_RELEASE_KEY" --signing-config "$work/services.json" --trusted-root "$work/root.json" \
    --bundle "$work/bundle.json" "$file"
install -m 644 "$work/bundle.json" "$file.sigstore.json"
