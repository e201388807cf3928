//! Accounts in an htpasswd file.

use std::sync::Arc;

use dockwarden::authn::htpasswd::Accounts;
use dockwarden::authn::password::{self, Passwords};
use dockwarden::authn::users::StaticUsers;
use dockwarden::config::{Config, Secrets};

use super::conformance::{ACCOUNTS, conforms};
use crate::bed::{ALICE_HASH, BOB_HASH, Bed, Caller, Folder};

const ASK: &str = "/auth?service=registry&scope=repository:pub/app:pull";
const SECTION: &str = "htpasswd_auth: {path: $DIR/htpasswd}\n";

#[tokio::test]
async fn the_backend_conforms() {
    let folder = Folder::new();
    let lines = ACCOUNTS.map(|(account, right)| format!("{account}:{}\n", password::hash(right, 4).unwrap()));
    folder.put("htpasswd", &lines.concat());
    let file = folder.configure(SECTION);
    let config = Config::load(&file, [], Secrets::Read).unwrap();
    let passwords = Arc::new(Passwords::new(|_| {}).unwrap());
    let Accounts(accounts) = config.backends.get::<Accounts>().unwrap();
    conforms(&StaticUsers::new(Arc::clone(accounts), passwords).unwrap()).await;
}

/// A hash is computed for each login that is not remembered, whether the account exists or not, and as costly; one, and
/// not one for each backend that does not know the account.
#[tokio::test]
async fn an_unknown_account_costs_as_much_as_a_wrong_password() {
    let folder = Folder::new();
    folder.put("htpasswd", &format!("carol:{ALICE_HASH}\n"));
    let bed = Bed::in_folder(folder, &format!("users: {{dave: {{password: \"{BOB_HASH}\"}}}}\n{SECTION}"));
    let hashes = async || {
        let metrics = bed.get("/metrics").send().await.text();
        let count = metrics.lines().find_map(|line| line.strip_prefix("dockwarden_password_hash_seconds_count "));
        count.unwrap().parse::<u32>().unwrap()
    };
    for (account, password, status, cost) in [
        ("carol", "wrong", 401, 1),
        ("dave", "wrong", 401, 1),
        ("mallory", "wrong", 401, 1),
        ("mallory", "alice-pw", 401, 1),
        ("carol", "alice-pw", 200, 1),
        // Remembered.
        ("carol", "alice-pw", 200, 0),
    ] {
        let before = hashes().await;
        assert_eq!(bed.get(ASK).basic(account, password).send().await.status, status, "{account} {password}");
        assert_eq!(hashes().await - before, cost, "{account} {password}");
    }
}

/// A static user of the same name comes first, and a wrong password there is final.
#[tokio::test]
async fn static_users_come_first_and_a_changed_file_holds_at_once() {
    let folder = Folder::new();
    folder.put("htpasswd", &format!("carol:{ALICE_HASH}\nbob:{ALICE_HASH}\n"));
    let bed = Bed::in_folder(folder, SECTION);
    let status = async |account, password| bed.get(ASK).basic(account, password).send().await.status;
    assert_eq!((status("bob", "bob-pw").await, status("bob", "alice-pw").await), (200, 401));
    assert_eq!((status("carol", "alice-pw").await, status("carol", "bob-pw").await), (200, 401));
    let scopes = "/auth?service=registry&scope=repository:carol/app:push&scope=repository:web/app:push";
    let reply = bed.get(scopes).by(Caller::Account("carol", "alice-pw")).send().await.ok();
    assert_eq!(reply.claims()["sub"], "carol");
    assert_eq!(reply.access(), ["repository:carol/app:push", "repository:web/app:"], "no labels come from the file");

    assert!(bed.app.files().contains(&bed.folder.path("htpasswd")), "a change to it is seen");
    for (lines, old, new) in [
        (format!("carol:{BOB_HASH}\n"), 401, 200),
        (format!("carol:{ALICE_HASH}\n"), 200, 401),
        (format!("dave:{ALICE_HASH}\n"), 401, 401),
        (format!("carol:{ALICE_HASH}\n"), 200, 401),
        // A file that cannot be used changes nothing.
        (format!("carol:{BOB_HASH}\ndave:hunter2\n"), 200, 401),
        (format!("carol:{BOB_HASH}\ncarol:{BOB_HASH}\n"), 200, 401),
        (format!("carol:{BOB_HASH}\ndave:{BOB_HASH}\n"), 401, 200),
        (String::new(), 401, 401),
    ] {
        bed.folder.put("htpasswd", &lines);
        bed.app.reload();
        assert_eq!((status("carol", "alice-pw").await, status("carol", "bob-pw").await), (old, new), "{lines}");
        assert_eq!(status("bob", "bob-pw").await, 200, "{lines}");
    }
    std::fs::remove_file(bed.folder.path("htpasswd")).unwrap();
    bed.app.reload();
    assert!(bed.app.files().contains(&bed.folder.path("htpasswd")), "its return is seen");
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_line_and_account() {
    let folder = Folder::new();
    let lines: Vec<String> = (0..30).map(|number| format!("user{number}:hunter2\n")).collect();
    let told = |section: &str| match Config::load(&folder.configure(section), [], Secrets::Read) {
        Ok(config) => panic!("{section} is not refused: {config:?}"),
        Err(invalid) => invalid.to_string(),
    };
    folder.put(
        "htpasswd",
        &format!("carol:{ALICE_HASH}\ndave:$apr1$hk3m3Zx7$GYOZRVtPZBJaMhVh1ZIg9.\ncarol:{BOB_HASH}\n"),
    );
    let message = told(SECTION);
    assert!(message.contains("htpasswd:2: \"dave\" has an MD5 hash ($apr1$); only bcrypt is read here"), "{message}");
    assert!(message.contains("htpasswd:3: the account \"carol\" is here twice"), "{message}");
    folder.put("htpasswd", &lines.concat());
    let message = told(SECTION);
    assert_eq!(message.lines().count(), 21, "{message}");
    assert!(message.contains("has 10 more lines that are wrong") && !message.contains("hunter2"), "{message}");
    for (section, piece) in [
        ("htpasswd_auth: {path: $DIR/nowhere}\n", "nowhere cannot be read"),
        ("htpasswd_auth: {}\n", "htpasswd_auth.path: a file is needed"),
        ("htpasswd_auth: {path: \"\"}\n", "htpasswd_auth.path: a file is needed"),
        ("htpasswd_auth: {pathh: a}\n", "did you mean \"path\"?"),
    ] {
        let message = told(section);
        assert!(message.contains(piece), "{message}");
    }
    // Without the keys the file is not looked at: it need not be on a machine that explains rules.
    let file = folder.configure("htpasswd_auth: {path: $DIR/nowhere}\n");
    assert!(Config::load(&file, [], Secrets::Skip).is_ok());
}

#[test]
fn weak_and_mixed_hashes_are_warnings() {
    let folder = Folder::new();
    let (weak, strong) = (password::hash("x", 4).unwrap(), password::hash("x", 10).unwrap());
    folder.put("htpasswd", &format!("carol:{strong}\ndave:{weak}\n"));
    let config = Config::load(&folder.configure(SECTION), [], Secrets::Read).unwrap();
    let warnings: Vec<&str> = config.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("1 hash(es) of a cost below 10 are weak (\"dave\" has the first)"), "{warnings:?}");
    assert!(warnings[1].contains("use one cost for all"), "{warnings:?}");
}
