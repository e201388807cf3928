//! The unit for systemd that is shipped: systemd understands all of it, and grades it as little exposed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
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

/// The drop-ins of a page: what it has `systemctl edit` write.
fn drop_ins(page: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-to").join(page)).unwrap();
    // In a step of a list the lines begin with spaces, which systemd does not mind.
    let fences = text.split("```ini\n").skip(1);
    fences.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn systemd_knows_every_line_that_the_pages_have_one_add() {
    let mut tried = 0;
    for page in ["systemd.md", "rotate-key.md"] {
        for text in drop_ins(page) {
            let unit = unit(|text| text);
            let folder = unit.with_extension("service.d");
            fs::create_dir(&folder).unwrap();
            let file = scratch::write(&folder, "override.conf", &text);
            let said = part::run(part::client("systemd-analyze").arg("verify").arg(&unit)).well().text;
            assert!(!said.contains("override.conf"), "{page}: {said}");
            fs::write(&file, text.replace("[Service]\n", "[Service]\nLoadCredentials=a:b\n")).unwrap();
            let said = part::run(part::client("systemd-analyze").arg("verify").arg(&unit)).well().text;
            assert!(said.contains("override.conf"), "the drop-in is read: {said}");
            tried += 1;
        }
    }
    assert_eq!(tried, 3);
}

/// Rotation with the unit, without a restart: root makes the authority and the leaves, and the user whom systemd makes up reads them.
#[test]
fn root_rotates_the_leaf_of_the_service() {
    const SERVICE: u32 = 65534;
    let directory = scratch::directory("rotated");
    let at = |path: &str| directory.join(path);
    for folder in ["etc", "credentials", "state"] {
        fs::create_dir(at(folder)).unwrap();
    }
    chown(at("state"), Some(SERVICE), Some(SERVICE)).unwrap();
    fs::copy(dockwarden::program(), at("dockwarden")).unwrap();
    for open in ["", "etc", "credentials", "dockwarden"] {
        fs::set_permissions(at(open), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-to/rotate-key.md")).unwrap();
    let (_, section) = page.split_once("\n## With the Debian package\n").unwrap();
    let (_, text) = section.split_once("```yaml\n").unwrap();
    let text = text.split("```").next().unwrap();
    let text = format!("server: {{addr: \"127.0.0.1:0\"}}\n{text}users: {{}}\nacl: []\n");
    let here = |path: &str| at(path).display().to_string();
    let text = text
        .replace("/etc/dockwarden", &here("etc"))
        .replace("/run/credentials/dockwarden.service", &here("credentials"))
        .replace("/var/lib/dockwarden", &here("state"));
    let config = scratch::write(&at("etc"), "auth_config.yml", &text);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let command = |words: &[&str]| {
        let mut command = part::command_at(&at("dockwarden"));
        command.args(words).arg(&config);
        command
    };
    let authoritys = ("DOCKWARDEN__TOKEN__AUTHORITY__KEY", at("etc/tokens.key"));
    part::run(command(&["keys", "issue-leaf"]).env(authoritys.0, authoritys.1)).well();
    // As systemd hands it out.
    let handed_out = at("credentials/tokens.key");
    fs::copy(at("etc/tokens.key"), &handed_out).unwrap();
    chown(&handed_out, Some(SERVICE), Some(SERVICE)).unwrap();
    fs::set_permissions(&handed_out, fs::Permissions::from_mode(0o400)).unwrap();
    let service = |words: &[&str]| part::run(command(words).uid(SERVICE).gid(SERVICE));
    service(&["check"]).well();
    let leaf = || fs::read(at("state/leaf.key")).unwrap();
    let before = leaf();
    part::run(&mut command(&["keys", "issue-leaf"])).well();
    assert_ne!(leaf(), before);
    service(&["check"]).well();
    // The service can make the next one itself.
    service(&["keys", "issue-leaf"]).well();
}
