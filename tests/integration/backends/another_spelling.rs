//! An account that one section calls by the name of an account in a section before it: whatever was typed, the earlier
//! section keeps the name, closed or not.

use dockwarden::backend::Purpose;
use dockwarden::backends::BACKENDS;
use serde_json::{Value, json};

use super::ldap::{liar, section as directory, with};
use super::program::{AMPLE, script};
use super::sql;
use super::stand_in::{Act, StandIn};
use crate::bed::{ALICE_HASH, Bed, Folder, Reply};
use crate::logs::{Form, Log};

const LOGIN: &str = "/auth?service=registry&scope=repository:Carol/app:pull";

/// A section that comes first, by what it says of `Carol`; it has never heard of `carol`.
enum First {
    /// What stands in the configuration.
    Section(&'static str),
    /// A line of this account in an htpasswd file.
    Htpasswd,
    /// A program that ends so where it is asked about Carol, and knows nobody else.
    Program(u8),
    /// A row in a table of docker_auth's.
    Row,
    /// A directory that holds her, and is searched so.
    Directory(&'static str),
}

/// Sections that have a closed or an open account `Carol`.
const FIRST: &[(&str, First)] = &[
    ("users, disabled", First::Section("users: {Carol: {password: \"HASH\", disabled: true}}\n")),
    ("users, expired", First::Section("users: {Carol: {password: \"HASH\", not_after: 2026-01-01}}\n")),
    ("users, not yet", First::Section("users: {Carol: {password: \"HASH\", not_before: 2999-01-01}}\n")),
    ("users, in use", First::Section("users: {Carol: {password: \"HASH\"}}\n")),
    ("htpasswd_auth", First::Htpasswd),
    ("ext_auth that refuses her", First::Program(1)),
    ("ext_auth that takes the password", First::Program(0)),
    ("ldap_auth", First::Directory("")),
    ("xorm_auth", First::Row),
    ("ldap_auth without a search of its own", First::Directory("  initial_bind_as_user: true\n")),
];

impl First {
    /// Its text in the file, and its name in the log.
    fn configured(&self, folder: &Folder) -> (String, &'static str) {
        match self {
            First::Section(text) => (text.replace("HASH", ALICE_HASH), "users"),
            First::Htpasswd => {
                folder.put("htpasswd", &format!("Carol:{ALICE_HASH}\n"));
                ("users: {}\nhtpasswd_auth: {path: $DIR/htpasswd}\n".to_owned(), "htpasswd_auth")
            }
            First::Program(status) => {
                let text = format!("case $(cat) in Carol\\ *) exit {status} ;; *) exit 2 ;; esac\n");
                let program = script(folder, "auth.sh", &text, AMPLE);
                let section = format!(
                    "users: {{}}\next_auth: {{command: {:?}, args: {:?}, timeout: 30s}}\n",
                    program.command, program.args
                );
                (section, "ext_auth")
            }
            First::Row => {
                sql::tables(&folder.path("auth.db"), &[("Carol", ALICE_HASH)]);
                let section = "users: {}\nxorm_auth: {database_type: sqlite3, conn_string: $DIR/auth.db}\n";
                (section.to_owned(), "xorm_auth")
            }
            First::Directory(more) => {
                let mut section = directory(&liar(with("Carol", "Carol")), more);
                if !more.is_empty() {
                    section = section
                        .replace("bind_dn: cn=reader,dc=x", "bind_dn: \"uid=${account},dc=x\"")
                        .replace("  bind_password: hunter2\n", "");
                }
                (format!("users: {{}}\n{section}"), "ldap_auth")
            }
        }
    }
}

/// An API that takes any password that ends in `_pw`, and calls everybody by a capital letter.
fn capital() -> StandIn {
    StandIn::start(|asked| {
        let account = asked.header("x-user");
        let (first, rest) = account.split_at(account.len().min(1));
        match asked.header("x-key").ends_with("_pw") {
            true => Act::Say(200, json!({"name": format!("{}{rest}", first.to_uppercase())}).to_string()),
            false => Act::Say(401, String::new()),
        }
    })
}

fn api(capital: &StandIn) -> String {
    let headers = "headers: {X-User: \"${account}\", X-Key: \"${password}\"}, account: \"$.name\"";
    format!("http_auth: {{url: \"{}/check\", {headers}}}\n", capital.origin())
}

async fn login(bed: &Bed, account: &str, password: &str) -> Reply {
    bed.get(LOGIN).basic(account, password).send().await
}

/// What a client sees of a refusal, but for its id and the time.
fn seen(reply: &Reply) -> (u16, String, Vec<(String, String)>) {
    let headers = reply.headers.iter().filter(|(name, _)| *name != "x-decision-id" && *name != "date");
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (reply.status, reply.text(), headers.collect())
}

/// Asks as Carol under another spelling, and as somebody whom no other section knows.
async fn keeps_its_name(what: &str, folder: Folder, first: &str, later: (&str, &str), owner: &str) {
    let (later, later_section) = later;
    let bed = Bed::in_folder(folder, &format!("{first}{later_section}"));
    let log = Log::start(Form::Json);
    let taken = login(&bed, "carol", "carol_pw").await;
    let lines: Vec<Value> = log.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().find(|line| line["reason"] == "name_taken");
    let line = line.unwrap_or_else(|| panic!("{what} before {later}: {} {lines:?}", taken.text()));
    let cause = line["cause"].as_str().unwrap();
    assert!(cause.contains(owner) && cause.contains(later), "{cause}");
    assert_eq!(line["decision.outcome"], "refused");
    assert!(!log.text().contains("carol_pw"));
    // As any other refusal, whichever section it comes from.
    let unknown = Bed::with("users: {}\n").get(LOGIN).basic("nobody", "x").send().await;
    assert_eq!(seen(&taken), seen(&unknown), "{what} before {later}");
    let open = login(&bed, "dave", "dave_pw").await;
    assert_eq!(open.ok().claims()["sub"], "Dave", "{what} before {later}");
}

/// A section before the API that is not among the first ones here would not be tried.
#[test]
fn every_section_that_is_asked_before_the_api_is_tried() {
    let identities = BACKENDS.iter().filter(|kind| kind.purpose == Purpose::Identity).map(|kind| kind.key);
    for key in identities.take_while(|key| *key != "http_auth") {
        // MongoDB is among the tests with real parts.
        // It has the names of a database, as they are there: of another spelling it says that nobody knows. So have those who
        // signed in at a provider, whom the tests of signing in try.
        let of_databases =
            ["mongo_auth", "records_auth", "google_auth", "github_auth", "gitlab_auth", "oidc_auth"].contains(&key);
        let is_tried = of_databases || FIRST.iter().any(|(what, _)| what.starts_with(key));
        assert!(is_tried, "{key} is not in FIRST");
    }
}

#[tokio::test]
async fn an_earlier_section_keeps_its_names_from_an_api_that_respells() {
    let capital = capital();
    for (what, first) in FIRST {
        let folder = Folder::new();
        let (text, owner) = first.configured(&folder);
        keeps_its_name(what, folder, &text, ("http_auth", &api(&capital)), owner).await;
    }
}

#[tokio::test]
async fn an_earlier_section_keeps_its_names_from_a_directory_that_respells() {
    for (what, first) in FIRST {
        let folder = Folder::new();
        let (text, owner) = first.configured(&folder);
        match first {
            // There is one directory.
            First::Directory(_) => continue,
            // They are asked after it.
            First::Row => continue,
            First::Section(_) | First::Htpasswd | First::Program(_) => {}
        }
        let later = directory(
            &liar(|id, tag, request| {
                let is = |text: &[u8]| request.windows(text.len()).any(|window| window == text);
                match is(b"dave") {
                    true => with("dave", "Dave")(id, tag, request),
                    false => with("carol", "Carol")(id, tag, request),
                }
            }),
            "",
        );
        keeps_its_name(what, folder, &text, ("ldap_auth", &later), owner).await;
    }
}

/// An account that stays as it was typed is another name for the same person: it opens nothing that is closed under the first.
#[tokio::test]
async fn a_name_of_the_file_is_taken_in_every_spelling() {
    // Whoever has a password.
    let anybody = StandIn::start(|asked| match asked.is_trial() {
        true => Act::Say(401, String::new()),
        false => Act::Say(200, String::new()),
    });
    let headers = "headers: {Authorization: \"Basic ${basic}\"}";
    let api = format!("http_auth: {{url: \"{}/check\", {headers}}}\n", anybody.origin());
    for (_, first) in FIRST.iter().take(5) {
        let folder = Folder::new();
        let (text, owner) = first.configured(&folder);
        let bed = Bed::in_folder(folder, &format!("{text}{api}"));
        for typed in ["carol", "CAROL", "Ｃａｒｏｌ", "Cárol", "Ca\u{200b}rol", "caro\u{301}l"] {
            let log = Log::start(Form::Json);
            assert_eq!(login(&bed, typed, &format!("{typed}_pw")).await.status, 401, "{typed} beside {owner}");
            assert!(log.text().contains("name_taken"), "{typed} beside {owner}: {}", log.text());
        }
        for typed in ["carola", "carol.", "carol1", "сarol"] {
            assert_eq!(login(&bed, typed, &format!("{typed}_pw")).await.ok().claims()["sub"], typed, "{owner}");
        }
    }
}

/// What cannot be found out is never a yes.
#[tokio::test]
async fn an_earlier_section_that_cannot_say_closes() {
    let capital = capital();
    let folder = Folder::new();
    let (text, _) = First::Program(7).configured(&folder);
    let bed = Bed::in_folder(folder, &format!("{text}{}", api(&capital)));
    assert_eq!(login(&bed, "carol", "carol_pw").await.status, 503);
    assert_eq!(login(&bed, "dave", "dave_pw").await.status, 200);
}

/// A guesser who found the password of a name that is taken is not told so by the count of wrong ones.
#[tokio::test]
async fn a_taken_name_counts_as_a_wrong_password() {
    let capital = capital();
    let (text, _) = FIRST[0].1.configured(&Folder::new());
    let bed = Bed::with(&format!("{text}{}", api(&capital)));
    let mut statuses = Vec::new();
    for number in 0..12 {
        statuses.push(login(&bed, "carol", &format!("{number}_pw")).await.status);
    }
    assert_eq!(statuses.first(), Some(&401));
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
}

/// The name is kept at every door.
#[tokio::test]
async fn no_door_opens_a_taken_name() {
    let capital = capital();
    let (text, _) = FIRST[0].1.configured(&Folder::new());
    let doors = "forward_auth: {trusted_proxies: [192.0.2.1], service: registry}\n\
                 gateway: {service: registry, upstreams: [{url: \"http://127.0.0.1:1\", host: gateway.test}]}\n";
    let bed = Bed::with(&format!("{text}{}{doors}", api(&capital)));
    for (account, status) in [("dave", 200), ("carol", 401)] {
        let password = format!("{account}_pw");
        let asked = bed.get("/forward_auth").header("x-original-method", "GET").header("x-original-uri", "/v2/");
        assert_eq!(asked.basic(account, &password).send().await.status, status, "forward auth, {account}");
        let gateway = bed.get("/v2/").header("host", "gateway.test").basic(account, &password).send().await;
        assert_eq!(gateway.status, status, "gateway, {account}");
    }
}
