//! What every identity backend owes, whatever stands behind it: one table of credentials, and one of what an outage is.

use dockwarden::authn::{Authenticator, Credentials, Outcome, Secret};

use crate::bed::{ALICE, BOB, Bed, Caller};

/// The accounts that a backend has to know before [`conforms`] is asked. The second password is as long as bcrypt reads.
pub(super) const ACCOUNTS: [(&str, &str); 2] =
    [("alice", "alice-pw"), ("longest", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")];

/// What a backend has to answer. None of it is an error: the backend is well, and a "no" is a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// Accepted, as the account that was given.
    Accepted,
    /// Rejected: the account is known, and nobody else may let it in.
    Rejected,
    /// Rejected, or not known here.
    NotAccepted,
}

/// The credentials that every backend is asked about.
fn cases() -> Vec<(String, String, Owed)> {
    use Owed::{Accepted, NotAccepted, Rejected};
    let [(alice, right), (longest, full)] = ACCOUNTS;
    let mut cases = vec![
        (alice.to_owned(), right.to_owned(), Accepted),
        (longest.to_owned(), full.to_owned(), Accepted),
        // One byte more than bcrypt reads.
        (longest.to_owned(), format!("{full}x"), Rejected),
        (alice.to_owned(), "y".repeat(50_000), Rejected),
        (longest.to_owned(), right.to_owned(), Rejected),
        (alice.to_owned(), full.to_owned(), Rejected),
    ];
    let wrong =
        ["wrong", "Alice-pw", "alice-p", "alice-pww", "*", ")(", "alice-pw)(", "{\"$ne\": null}", "' OR '1'='1"];
    cases.extend(wrong.map(|password| (alice.to_owned(), password.to_owned(), Rejected)));
    let impossible = ["", " ", "\0", "alice-pw\0", "\0alice-pw", "alice-pw\n", "alice-pw\r\nx", " alice-pw"];
    cases.extend(impossible.map(|password| (alice.to_owned(), password.to_owned(), NotAccepted)));
    let nobody = [
        "mallory",
        "Alice",
        "alic",
        "alice2",
        "",
        " ",
        " alice",
        "alice ",
        "alice x",
        "alice\tx",
        "alice\u{a0}x",
        "alice\nx",
        "alice\0",
        "*",
        "a*",
        ")(",
        "alice)(|(uid=*",
        "alice,dc=example",
        "{\"$gt\": \"\"}",
        "$ne",
        "alice'--",
        "alice:alice-pw",
        "../alice",
        "-alice",
        "#alice",
        "$(id)",
        "%61lice",
    ];
    cases.extend(nobody.map(|account| (account.to_owned(), right.to_owned(), NotAccepted)));
    cases.push(("a".repeat(50_000), right.to_owned(), NotAccepted));
    cases
}

/// Asks a backend that knows [`ACCOUNTS`] about everything in the table.
pub(super) async fn conforms(backend: &dyn Authenticator) {
    let name = backend.name();
    for (account, password, owed) in cases() {
        let what = format!("{name}: {} / {}", shown(&account), shown(&password));
        let password = Secret::new(password);
        let said = backend.authenticate(&Credentials::Password { account: account.clone(), password }).await;
        let said = said.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        let kept = match (owed, &said) {
            (Owed::Accepted, Outcome::Accepted(identity)) => identity.account == account,
            (Owed::Rejected | Owed::NotAccepted, Outcome::Rejected) | (Owed::NotAccepted, Outcome::NotMine) => true,
            (Owed::Accepted | Owed::Rejected | Owed::NotAccepted, _) => false,
        };
        assert!(kept, "{what}: {owed:?} is owed, {said:?} was said");
    }
    let said = backend.authenticate(&Credentials::Anonymous).await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    assert_eq!(said, Outcome::NotMine, "{name}: anonymous clients are nobody's but the static users'");
}

fn shown(text: &str) -> String {
    format!("{:?} ({} bytes)", text.chars().take(40).collect::<String>(), text.len())
}

const ASK: &str = "/auth?service=registry&scope=repository:pub/app:pull";

/// A server whose backend cannot answer, whatever the reason: nobody gets in through it, nobody is told that a password
/// is wrong, and the static users (the test bed's Alice and Bob) do not notice.
pub(super) async fn outage_closes_and_says_so(bed: &Bed, what: &str) {
    for (account, password) in [("carol", "carol-pw"), ("carol", "wrong"), ("dave", "x"), ("Alice", "alice-pw")] {
        let reply = bed.get(ASK).by(Caller::Account(account, password)).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"), "{what}: {account}");
        assert!(!reply.text().contains(password), "{what}: {}", reply.text());
        let form = format!("grant_type=password&service=registry&username={account}&password={password}");
        assert_eq!(bed.post("/auth", &form).send().await.status, 503, "{what}: {account} by POST");
    }
    for caller in [ALICE, BOB] {
        assert_eq!(bed.get(ASK).by(caller).send().await.status, 200, "{what}: {caller:?}");
    }
    let wrong = bed.get(ASK).by(Caller::Account("alice", "wrong")).send().await;
    assert_eq!(wrong.status, 401, "{what}: a static user's wrong password is wrong");
    assert_eq!(bed.get(ASK).send().await.status, 200, "{what}: anonymous");
}
