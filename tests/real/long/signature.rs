//! The signature of a release: cosign takes it with the key alone, and for no other bytes.

use std::fs;
use std::path::Path;

use crate::support::{part, scratch};

#[test]
fn the_signature_holds_for_what_was_signed_and_nothing_else() {
    let directory = scratch::directory("signature");
    let cosign = || {
        let mut cosign = part::client("long/cosign");
        cosign.current_dir(&directory).env("HOME", &directory).env("COSIGN_PASSWORD", "of the key");
        cosign
    };
    part::run(cosign().arg("generate-key-pair")).well();
    let sums = scratch::write(&directory, "SHA256SUMS", "0123  dockwarden\n");
    let mut sign = part::command_at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("release/sign.sh"));
    sign.env("HOME", &directory).env("COSIGN_PASSWORD", "of the key");
    if let Some(tools) = std::env::var_os("DOCKWARDEN_TOOLS") {
        sign.env("DOCKWARDEN_TOOLS", tools);
    }
    sign.env("DOCKWARDEN_RELEASE_KEY", directory.join("cosign.key")).arg(&sums);
    let said = part::run(&mut sign).well();
    assert!(!said.text.contains("WARNING"), "it asked somebody: {}", said.text);

    // As docs/how-to/install.md says.
    let verify = || {
        let words =
            "verify-blob --key cosign.pub --bundle SHA256SUMS.sigstore.json --insecure-ignore-tlog=true SHA256SUMS";
        part::run(cosign().args(words.split(' ')))
    };
    verify().well();
    fs::write(&sums, "0123  dockwardem\n").unwrap();
    verify().refused(&["invalid signature"]);
}
