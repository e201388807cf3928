//! What somebody who grades TLS says of ours: sslyze, by Mozilla's intermediate profile.

use crate::support::dockwarden;
use crate::support::keys::{self, Kind};
use crate::support::part;
use crate::support::scratch;

#[test]
fn tls_is_what_mozillas_intermediate_profile_asks_for() {
    let chain = keys::for_localhost();
    let config = dockwarden::config(&keys::as_in_the_guide(Kind::P256), "", "users: {}\nacl: []\n");
    let config = dockwarden::with_tls(&config, &chain.leaf);
    let config = scratch::write(&scratch::directory("grade"), "auth_config.yml", &config);
    let (_process, address) = dockwarden::listening(&config);
    let server = address.replace("127.0.0.1", "localhost");

    let grade = |authority: &std::path::Path| {
        let mut sslyze = part::client("sslyze");
        sslyze.arg("--mozilla_config=intermediate").arg("--certinfo_ca_file").arg(authority).arg(&server);
        part::run(&mut sslyze)
    };
    // It ends with 1 if anything is amiss: versions, ciphers, curves, the certificate and its life.
    let said = grade(&chain.authority).well();
    assert!(said.stdout.contains("OK - Compliant."), "{}", said.text);
    // And would say so if it were: here the certificate is under an authority that nobody trusts.
    grade(&keys::for_localhost().authority).refused(&["FAILED - Not compliant."]);
}
