//! `dockwarden explain` where accounts are in a directory: its search account finds them, and what is said is what the server does.

use serde_json::{Value, json};

use super::{LABELS, file, granted, patient, shared};
use crate::support::dockwarden::{self, Dockwarden, SERVICE};
use crate::support::part;
use crate::support::slapd::password;

#[test]
fn explain_says_what_the_server_does_with_accounts_of_a_directory() {
    let server = Dockwarden::start_file(&file(&patient(&shared().address(), LABELS)));
    let cases = [
        ("alice", "alice", "developer/x"),
        ("alice", "alice", "team-web/x"),
        ("alice", "alice", "secret/x"),
        ("Waldi", "WALDI", "waldi/x"),
        ("mallory", "MALLORY", "open/x"),
    ];
    let question = |name: &str, typed: &str| json!({ "account": typed, "service": SERVICE, "type": "repository", "name": name, "actions": ["pull", "push"] });
    let questions: Vec<Value> = cases.iter().map(|(_, typed, name)| question(name, typed)).collect();
    for ((uid, typed, name), answer) in cases.iter().zip(server.explain(&questions)) {
        let said = granted(&server, typed, &password(uid), &format!("repository:{name}:pull,push"));
        assert_eq!(json!(said.unwrap()), answer["granted"], "{typed} {name}");
    }

    let explain = |config: &std::path::Path, account: &str| {
        let mut command = part::command_at(dockwarden::program());
        part::run(command.arg("explain").arg(config).args(["--account", account, "repository:open/x:pull"]))
    };
    let waldi = explain(&server.config, "waldi").well();
    assert!(waldi.stdout.starts_with("Waldi, labels group=["), "{}", waldi.text);
    let nobody = explain(&server.config, "nobody");
    assert!(
        nobody.stdout.starts_with("nobody (not among the users of this file or of ldap_auth), no labels\n")
            && nobody.stdout.contains("no section knows this account: the server answers 401"),
        "{}",
        nobody.text
    );
    // An administrator locked it, which a look-up sees as a login does.
    let locked = explain(&server.config, "locked");
    assert_eq!(granted(&server, "locked", &password("locked"), "repository:open/x:pull"), Err(401));
    assert!(locked.stdout.contains("the account is disabled: nobody can log in with it"), "{}", locked.text);
    assert!(!waldi.text.contains("nobody can log in"), "{}", waldi.text);

    // A directory that does not answer is no reason to say that nobody knows the account.
    let away = explain(&file(&patient("ldap://127.0.0.1:1", LABELS)), "waldi");
    assert!(!away.success && away.text.contains("ldap_auth: ") && away.stdout.is_empty(), "{}", away.text);
}
