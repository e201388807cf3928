//! Accounts in OpenLDAP: who is let in, as whom, and with which labels.

mod explain;
mod far;
mod lasting;
mod outages;
mod tls;

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use ::dockwarden::authn::attempts::Attempts;
use ::dockwarden::authn::ldap::{DirectoryUsers, LdapSettings};
use ::dockwarden::authn::{Account, Authenticator as _, Credentials, Outcome, Secret};
use ::dockwarden::client_network::ClientNetwork;
use ::dockwarden::config::{Config, Secrets};

use crate::owed::{ACCOUNTS, Names, conforms_with};
use crate::support::dockwarden::{self, Dockwarden, SERVICE};
use crate::support::keys::{self, Kind, Pair};
use crate::support::process::{Process, until};
use crate::support::slapd::{GROUPS, ODD, PEOPLE, READER, Slapd, password, person};
use crate::support::{http, part, scratch, visit};

/// Labels and rules by which a token tells what was found.
const POLICY: &str = r#"
users: {}
acl:
  - match: {account: mallory}
    actions: []
  - match: {name: "${labels:title}/*"}
    actions: [pull]
  - match: {name: "${labels:group}/*"}
    actions: [push]
  - match: {account: Waldi, name: "waldi/*"}
    actions: ["*"]
  - match: {name: "open/*"}
    actions: [pull]
"#;

const LABELS: &str = r#"
  labels:
    title: {attribute: title, lower_case: true}
    group: {attribute: memberOf, parse_cn: true, lower_case: true}
"#;

/// A quick key: what these tests are about is not the signature.
fn pair() -> &'static Pair {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(|| keys::as_in_the_guide(Kind::P256))
}

/// The section that searches as the tree's reader; `servers` is what stands after `addr:`, `more` are further keys.
fn section(servers: &str, more: &str) -> String {
    let (name, secret) = READER;
    format!(
        "ldap_auth:\n  addr: {servers}\n  base: \"{PEOPLE}\"\n  filter: \"(uid=${{account}})\"\n  bind_dn: \"{name}\"\n  \
         bind_password: \"{secret}\"\n{more}\n"
    )
}

/// The same for tests that are not about time: a machine that is busy must not look like a directory that is away.
fn patient(servers: &str, more: &str) -> String {
    section(servers, &format!("  deadline: 30s\n  connect_timeout: 10s\n  timeout: 10s\n{more}"))
}

/// A file with this section and the policy.
fn file(section: &str) -> std::path::PathBuf {
    let directory = scratch::directory("ldap");
    scratch::write(&directory, "config.yml", &dockwarden::config(pair(), "", &format!("{POLICY}{section}")))
}

/// The backend by itself.
fn backend(section: &str) -> (tokio::runtime::Runtime, DirectoryUsers) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = Config::load(&file(section), [], Secrets::Read).unwrap();
    let inside = runtime.enter();
    let users =
        DirectoryUsers::new(config.backends.get::<LdapSettings>().unwrap().clone(), Arc::new(Attempts::new().unwrap()))
            .unwrap();
    drop(inside);
    (runtime, users)
}

/// What somebody turned out to be: the account and the labels; or what else was said, in a word.
fn said(users: &(tokio::runtime::Runtime, DirectoryUsers), account: &str, secret: &str) -> Result<Seen, String> {
    let who = Credentials::Password { account: Account::parse(account).unwrap(), password: Secret::new(secret) };
    match users.0.block_on(users.1.authenticate(&who, ClientNetwork::Unknown)) {
        Ok(Outcome::Accepted(identity)) => {
            let labels = identity
                .labels
                .iter()
                .map(|(label, values)| (label.clone(), values.iter().map(|value| value.text().to_owned()).collect()));
            Ok(Seen { account: identity.name().to_owned(), labels: labels.collect() })
        }
        Ok(Outcome::Rejected) => Err("rejected".to_owned()),
        Ok(Outcome::Closed(words)) => Err(format!("closed: {words}")),
        Ok(Outcome::NotMine) => Err("not mine".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Seen {
    account: String,
    labels: Vec<(String, Vec<String>)>,
}

fn account(seen: Result<Seen, String>) -> Result<String, String> {
    seen.map(|seen| seen.account)
}

/// The directory that tests share which only read.
fn shared() -> &'static Slapd {
    static SLAPD: OnceLock<Slapd> = OnceLock::new();
    SLAPD.get_or_init(Slapd::start)
}

#[test]
fn the_backend_conforms() {
    for (uid, secret) in ACCOUNTS {
        assert_eq!(password(uid), secret);
    }
    let (runtime, users) = backend(&patient(&shared().address(), ""));
    runtime.block_on(conforms_with(&users, Names::WithoutCase));
}

#[test]
fn the_backend_conforms_when_users_search_themselves() {
    let own = format!(
        "ldap_auth:\n  addr: {}\n  base: \"{PEOPLE}\"\n  filter: \"(uid=${{account}})\"\n  initial_bind_as_user: true\n  \
         bind_dn: \"uid=${{account}},{PEOPLE}\"\n  deadline: 30s\n{LABELS}",
        shared().address()
    );
    let users = backend(&own);
    users.0.block_on(conforms_with(&users.1, Names::WithoutCase));
    // The name is escaped as names are, not as filters are.
    assert_eq!(account(said(&users, ODD, &password(ODD))), Ok(ODD.to_owned()));
    let alice = said(&users, "ALICE", &password("alice")).unwrap();
    assert_eq!(alice.account, "alice");
    assert_eq!(alice.labels[0].1, ["developers", "team-web"]);
    let injected = format!("alice,{PEOPLE}");
    assert_eq!(said(&users, &injected, &password("alice")), Err("rejected".to_owned()));
}

#[test]
fn the_account_is_the_directorys_spelling_and_nothing_typed_is_a_filter() {
    let users = backend(&patient(&shared().address(), ""));
    for (typed, secret, expected) in [
        ("waldi", password("Waldi"), Ok("Waldi")),
        ("WALDI", password("Waldi"), Ok("Waldi")),
        ("Waldi", password("Waldi"), Ok("Waldi")),
        ("waldi", password("alice"), Err("rejected")),
        (ODD, password(ODD), Ok(ODD)),
        (ODD, password("alice"), Err("rejected")),
        // The directory finds these, since it does not count spaces; nobody is called so.
        (" waldi", password("Waldi"), Err("not mine")),
        ("waldi ", password("Waldi"), Err("not mine")),
        ("nobody", password("Waldi"), Err("not mine")),
        ("*", password("Waldi"), Err("not mine")),
        ("wald*", password("Waldi"), Err("not mine")),
        ("x)(uid=Waldi", password("Waldi"), Err("not mine")),
        ("Waldi)(uid=*", password("Waldi"), Err("not mine")),
        ("\\57aldi", password("Waldi"), Err("not mine")),
        ("Waldi\\00", password("Waldi"), Err("not mine")),
        ("Waldi", String::new(), Err("not mine")),
        ("Waldi", "\0".to_owned(), Err("not mine")),
        ("Waldi", format!("{}\0x", password("Waldi")), Err("not mine")),
        // Closed by an administrator; and to be changed first, although the bind succeeds.
        (
            "locked",
            password("locked"),
            Err("closed: the directory refuses a bind: the account is locked: code 49 (invalidCredentials)"),
        ),
        ("fresh", password("fresh"), Err("closed: the directory lets nobody in: the password must be changed first")),
    ] {
        let seen = account(said(&users, typed, &secret));
        assert_eq!(seen.as_deref().map_err(String::as_str), expected, "{typed:?}");
    }
    assert!(!shared().log().contains("(uid=*)"), "a wildcard got into a filter");
}

#[test]
fn more_than_one_entry_is_a_refusal_and_one_name_a_person_can_be_asked_for() {
    let by_mail = patient(&shared().address(), "")
        .replace("(uid=${account})", "(&(objectClass=person)(|(uid=${account})(mail=${account})))");
    let users = backend(&by_mail);
    for (typed, expected) in [("alice@example.org", Ok("Alice@Example.org")), ("ALICE", Ok("alice"))] {
        let seen = account(said(&users, typed, &password("alice")));
        assert_eq!(seen.as_deref().map_err(String::as_str), expected);
    }
    for twin in ["twin1", "twin2"] {
        assert_eq!(account(said(&users, twin, &password(twin))), Ok(twin.to_owned()));
        assert_eq!(account(said(&users, "twins@example.org", &password(twin))), Err("rejected".to_owned()));
    }
    let users = backend(&format!("{by_mail}  account_attribute: uid\n"));
    assert_eq!(account(said(&users, "MALLORY@example.org", &password("mallory"))), Ok("mallory".to_owned()));
    let users = backend(&format!("{by_mail}  account_attribute: employeeNumber\n"));
    let error = said(&users, "alice", &password("alice")).unwrap_err();
    assert!(error.contains("has no employeeNumber"), "{error}");
}

#[test]
fn labels_come_from_attributes_and_from_groups_without_member_of() {
    let labels = r#"
  labels:
    raw: {attribute: memberof}
    names: {attribute: memberOf, parse_cn: true}
    lower: {attribute: memberOf, parse_cn: true, lower_case: true}
    title: {attribute: title}
    chief: {attribute: title, parse_cn: true, regex: "(Chief|Developer)"}
    groups: {attribute: cn, from: groups}
    teams: {attribute: dn, from: groups, parse_cn: true, regex: "Team-(.*)", lower_case: true}
"#;
    let groups = format!("  group_base: \"{GROUPS}\"\n  group_filter: \"(|(member=${{dn}})(memberUid=${{account}}))\"");
    let users = backend(&patient(&shared().address(), &format!("{groups}{labels}")));
    let labels_of = |uid: &str, typed: &str| {
        let seen = said(&users, typed, &password(uid)).unwrap();
        let sorted = |mut values: Vec<String>| {
            values.sort();
            values
        };
        seen.labels.into_iter().map(|(label, values)| format!("{label} {:?}", sorted(values))).collect::<Vec<_>>()
    };
    let (developers, team) = (format!("cn=Developers,{GROUPS}"), format!("cn=Team-Web,{GROUPS}"));
    assert_eq!(
        labels_of("alice", "alice"),
        [
            "chief [\"Chief\", \"Developer\"]".to_owned(),
            "groups [\"Developers\", \"Team-Web\"]".to_owned(),
            "lower [\"developers\", \"team-web\"]".to_owned(),
            "names [\"Developers\", \"Team-Web\"]".to_owned(),
            format!("raw [{developers:?}, {team:?}]"),
            "teams [\"web\"]".to_owned(),
            "title [\"*\", \"CN=Chief,OU=Titles\", \"Developer\", \"Release Manager\"]".to_owned(),
        ]
    );
    // By the directory's own spelling, although another was typed: memberUid has its case.
    assert!(labels_of("Waldi", "waldi").contains(&"groups [\"Developers\", \"builders\"]".to_owned()));
    // A name that is full of signs with a meaning, as a value in the group filter.
    assert!(labels_of(ODD, ODD).contains(&"groups [\"Team-Web\"]".to_owned()));
    let nested =
        backend(&patient(&shared().address(), &format!("  group_base: \"{GROUPS}\"\n  nested_groups: true{labels}")));
    let alice = said(&nested, "alice", &password("alice")).unwrap();
    let groups = alice.labels.iter().find(|(label, _)| label == "groups").unwrap();
    assert!(groups.1.is_empty(), "OpenLDAP does not know the rule, and finds nothing by it: {groups:?}");
    assert!(shared().log().contains("(member:1.2.840.113556.1.4.1941:=") || shared().log().contains("(?=undefined)"));
}

/// What is granted of one scope, or the status of the refusal.
fn granted(server: &Dockwarden, account: &str, secret: &str, scope: &str) -> Result<Vec<String>, u16> {
    let authorization = visit::basic(account, secret);
    let target = format!("/auth?service={}&scope={}", http::form_encode(SERVICE), http::form_encode(scope));
    let request = http::request("GET", &target, &server.host(), &[("Authorization", &authorization)], b"");
    let reply = http::exchange(&server.address, &request);
    if reply.status != 200 {
        return Err(reply.status);
    }
    let access = visit::claims(reply.json()["token"].as_str().unwrap())["access"].clone();
    let actions = access[0]["actions"].as_array().cloned().unwrap_or_default();
    Ok(actions.iter().map(|action| action.as_str().unwrap().to_owned()).collect())
}

#[test]
fn rules_see_the_directorys_labels_and_its_spelling() {
    let server = Dockwarden::start_file(&file(&patient(&shared().address(), LABELS)));
    let all = |actions: &[&str]| Ok(actions.iter().map(|&action| action.to_owned()).collect::<Vec<_>>());
    for (uid, typed, scope, expected) in [
        ("alice", "alice", "repository:developer/x:pull,push", all(&["pull"])),
        ("alice", "alice", "repository:team-web/x:pull,push", all(&["push"])),
        // A title * that somebody gave themselves is a text, and not every title there is.
        ("alice", "alice", "repository:secret/x:pull,push", all(&[])),
        ("alice", "alice", "repository:open/x:pull,push", all(&["pull"])),
        ("Waldi", "Waldi", "repository:waldi/x:pull,push", all(&["pull", "push"])),
        ("Waldi", "WALDI", "repository:waldi/x:pull,push", all(&["pull", "push"])),
        // The rule that refuses mallory is not dodged.
        ("mallory", "mallory", "repository:open/x:pull", all(&[])),
        ("mallory", "Mallory", "repository:open/x:pull", all(&[])),
        ("mallory", "MALLORY", "repository:open/x:pull", all(&[])),
    ] {
        assert_eq!(granted(&server, typed, &password(uid), scope), expected, "{typed} {scope}");
    }
    assert_eq!(granted(&server, "alice", "wrong", "repository:a:pull"), Err(401));
    assert_eq!(granted(&server, "nobody", "wrong", "repository:a:pull"), Err(401));
}

#[test]
fn what_changes_in_the_directory_holds_at_once() {
    let slapd = Slapd::start();
    let users = backend(&patient(&slapd.address(), LABELS));
    let (dn, right) = (person("alice"), password("alice"));
    assert_eq!(account(said(&users, "alice", &right)), Ok("alice".to_owned()));
    slapd.change(&format!("dn: {dn}\nchangetype: modify\nreplace: userPassword\nuserPassword: new\n"));
    assert_eq!(said(&users, "alice", &right), Err("rejected".to_owned()));
    let seen = said(&users, "alice", "new").unwrap();
    assert!(seen.labels[0].1.contains(&"developers".to_owned()), "{seen:?}");
    slapd.change(&format!("dn: cn=Developers,{GROUPS}\nchangetype: modify\ndelete: member\nmember: {dn}\n"));
    assert_eq!(said(&users, "alice", "new").unwrap().labels[0].1, ["team-web"]);
    slapd.change(&format!(
        "dn: {dn}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n"
    ));
    let locked = said(&users, "alice", "new").unwrap_err();
    assert!(locked.starts_with("closed: the directory refuses a bind: the account is locked"), "{locked}");
    slapd.change(&format!("dn: {dn}\nchangetype: delete\n"));
    assert_eq!(said(&users, "alice", "new"), Err("not mine".to_owned()));
}

#[test]
fn no_password_is_in_any_log_whatever_is_logged() {
    let config = file(&patient(&shared().address(), LABELS));
    let mut serve = std::process::Command::new(dockwarden::program());
    serve.arg("serve").arg(&config).env_clear().env("RUST_LOG", "trace");
    let process = Process::start("dockwarden", &serve);
    let address = dockwarden::address(&process, "listening");
    let server = Dockwarden { process, address, config };
    let wrong = "a-wrong-password-of-mine";
    until("an answer", || granted(&server, "alice", &password("alice"), "repository:x:pull").ok());
    assert_eq!(granted(&server, "alice", wrong, "repository:x:pull"), Err(401));
    assert_eq!(granted(&server, "nobody", wrong, "repository:x:pull"), Err(401));
    // The log is written a moment after the reply.
    let log = server.process.until("the last refusal in the log", |process| {
        let log = process.log();
        let last = |line: &str| line.contains("\"refused\"") && line.contains("\"nobody\"");
        log.lines().any(last).then_some(log)
    });
    assert!(log.contains("the directory refuses a bind"), "{log}");
    for secret in [READER.1, wrong, &password("alice")] {
        assert!(!log.contains(secret), "the log holds {secret}");
        let encoded = visit::basic("alice", secret);
        assert!(!log.contains(encoded.trim_start_matches("Basic ")), "the log holds {secret} in base64");
        let bytes = format!("{:?}", secret.as_bytes());
        assert!(!log.contains(bytes.trim_matches(['[', ']'])), "the log holds the bytes of {secret}");
    }
}

/// The command on this file: its exit status, and what it says.
fn test_command(config: &std::path::Path, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = part::command_at(dockwarden::program());
    let said = part::run_with(command.args(["ldap", "test"]).arg(config).args(arguments), input.as_bytes());
    (said.success, said.text)
}

#[test]
fn the_command_shows_whom_a_login_would_find() {
    let config = file(&patient(&shared().address(), LABELS));
    let mut shown = String::new();
    for (arguments, input, well, pieces) in [
        (
            &["waldi"][..],
            "",
            true,
            &["filter:   (uid=waldi)\n", "entry:    uid=Waldi,ou=people,dc=example,dc=org\n", "account:  Waldi\n"][..],
        ),
        (&["waldi"], "", true, &["label:    group = [\"developers\"]\n", "label:    title = [\"*\"]\n"]),
        (&["waldi", "--bind"], "Waldi-pw\n", true, &["account:  Waldi\n", "password: right\n"]),
        (&["waldi", "--bind"], "wrong\n", false, &["password: refused: code 49 (invalidCredentials)\n"]),
        (&["waldi", "--bind"], "", false, &["an empty password"]),
        (&["a*)"], "", false, &["filter:   (uid=a\\2a\\29)\n", "the directory does not know this account"]),
        (&[" waldi"], "", false, &["does not spell it \" waldi\""]),
    ] {
        let (success, text) = test_command(&config, arguments, input);
        assert_eq!(success, well, "{arguments:?}: {text}");
        for piece in pieces {
            assert!(text.contains(piece), "{arguments:?}: {text}");
        }
        write!(shown, "{text}").unwrap();
    }
    assert!(!shown.contains("wrong") && !shown.contains("Waldi-pw"), "{shown}");
    let away = file(&section("127.0.0.1:1", ""));
    let (success, text) = test_command(&away, &["alice"], "");
    assert!(!success && text.contains("ldap://127.0.0.1:1: Connection refused"), "{text}");
}

/// Whatever the directory makes of a spelling, an account of the file stays the file's, and so does a closed one.
#[test]
fn an_account_of_the_file_is_not_opened_by_another_spelling() {
    let hash = dockwarden::hash("another");
    let users =
        format!("users:\n  Waldi: {{password: \"{hash}\", disabled: true}}\n  mallory: {{password: \"{hash}\"}}\n");
    let file = file(&patient(&shared().address(), LABELS));
    let text = std::fs::read_to_string(&file).unwrap().replace("users: {}\n", &users);
    std::fs::write(&file, text).unwrap();
    let server = Dockwarden::start_file(&file);
    let scope = "repository:open/x:pull";
    for (uid, typed) in [("Waldi", "WALDI"), ("Waldi", "waldi"), ("Waldi", "Waldi"), ("mallory", "MALLORY")] {
        assert_eq!(granted(&server, typed, &password(uid), scope), Err(401), "{typed}");
    }
    assert_eq!(granted(&server, "ALICE", &password("alice"), scope), Ok(vec!["pull".to_owned()]));
}
