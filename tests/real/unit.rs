//! The unit for systemd that is shipped: systemd understands all of it, and grades it as little exposed.

use std::fs;
use std::path::Path;

use crate::support::dockwarden;
use crate::support::{part, scratch};

const UNIT: &str = "deploy/systemd/dockwarden.service";

/// The unit with this machine's program, in a file of its own.
fn unit(change: impl Fn(String) -> String) -> std::path::PathBuf {
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(UNIT)).unwrap();
    let program = dockwarden::program();
    let here = shipped.replace("ExecStart=/usr/bin/dockwarden ", &format!("ExecStart={} ", program.display()));
    assert_ne!(here, shipped);
    scratch::write(&scratch::directory("unit"), "dockwarden.service", &change(here))
}

#[test]
fn systemd_knows_every_line_of_the_unit() {
    // It says what it does not understand, and ends well all the same.
    let said = |unit: &Path| part::run(part::client("systemd-analyze").arg("verify").arg(unit)).well().text;
    let complaints = |text: &str| text.lines().filter(|line| line.contains("dockwarden.service:")).count();
    let shipped = said(&unit(|text| text));
    assert_eq!(complaints(&shipped), 0, "{shipped}");
    let misspelt = said(&unit(|text| text.replace("ProtectHome=", "ProtectHomes=")));
    assert_eq!(complaints(&misspelt), 1, "{misspelt}");
}

#[test]
fn the_unit_is_exposed_by_one_and_a_half_at_most() {
    let grade = |unit: &Path| {
        let mut analyze = part::client("systemd-analyze");
        part::run(analyze.args(["security", "--offline=true", "--threshold=15"]).arg(unit))
    };
    let shipped = grade(&unit(|text| text)).well();
    assert!(shipped.text.contains("Overall exposure level for dockwarden.service: 1."), "{}", shipped.text);
    grade(&unit(|text| text.replace("PrivateUsers=yes\n", "").replace("CapabilityBoundingSet=\n", "")))
        .refused(&["Overall exposure level for dockwarden.service"]);
}

/// The key that systemd hands out is the one that signs, and what the unit names in its environment is a key of the file.
#[test]
fn the_unit_hands_out_the_key_by_its_variable() {
    let directory = scratch::directory("credentials");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys");
    let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(UNIT)).unwrap();
    let set = shipped.lines().find_map(|line| line.strip_prefix("Environment=")).unwrap();
    let (variable, value) = set.split_once('=').unwrap();
    // What systemd makes of `%d`.
    let value = value.replace("%d", directory.to_str().unwrap());
    let credential = shipped.lines().find_map(|line| line.strip_prefix("LoadCredential=")).unwrap();
    let (name, _) = credential.split_once(':').unwrap();
    fs::copy(fixtures.join("guide-rsa4096.key"), directory.join(name)).unwrap();
    let config = format!(
        "server: {{addr: \"127.0.0.1:0\"}}\n\
         token: {{issuer: i, services: [s], certificate: {}, key: /etc/dockwarden/token.key}}\n\
         users: {{}}\nacl: []\n",
        fixtures.join("guide-rsa4096.crt").display()
    );
    let config = scratch::write(&directory, "auth_config.yml", &config);
    let check = || {
        let mut command = part::command_at(dockwarden::program());
        command.arg("check").arg(&config);
        command
    };
    part::run(check().env(variable, &value)).well();
    part::run(&mut check()).refused(&["token.key"]);
}
