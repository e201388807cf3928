//! What every identity backend owes: one table of credentials. It is asked in this process, and against real servers too.

use ::dockwarden::authn::{Account, Authenticator, Credentials, LookUp, Outcome, Secret};
use ::dockwarden::client_network::ClientNetwork;

/// The accounts that a backend has to know before [`conforms`] is asked. The second password is as long as bcrypt reads.
pub(crate) const ACCOUNTS: [(&str, &str); 2] =
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
    /// Where names have no case, accepted as the first account, however it was spelled; otherwise as above.
    TheFirstIfNamesHaveNoCase,
}

/// Whether a backend tells `Alice` from `alice`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// It does.
    Exact,
    /// It does not, and says which of them is the account.
    WithoutCase,
}

/// The credentials that every backend is asked about.
fn cases() -> Vec<(String, String, Owed)> {
    use Owed::{Accepted, NotAccepted, Rejected, TheFirstIfNamesHaveNoCase};
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
    for spelled in ["Alice", "ALICE", "aLicE"] {
        cases.push((spelled.to_owned(), right.to_owned(), TheFirstIfNamesHaveNoCase));
    }
    cases.push(("a".repeat(50_000), right.to_owned(), NotAccepted));
    cases
}

/// Asks a backend that knows [`ACCOUNTS`] about everything in the table.
pub(crate) async fn conforms(backend: &dyn Authenticator) {
    conforms_with(backend, Names::Exact).await;
}

/// The same, for a backend whose names are such.
pub(crate) async fn conforms_with(backend: &dyn Authenticator, names: Names) {
    for (account, password, owed) in cases() {
        let what = format!("{} / {}", shown(&account), shown(&password));
        let Some(name) = named(&account, owed) else { continue };
        let login = Credentials::Password { account: name, password: Secret::new(password) };
        let said = backend.authenticate(&login, ClientNetwork::Unknown).await;
        let said = said.unwrap_or_else(|error| panic!("{what}: {error:#}"));
        let kept = match (owed, &said) {
            (Owed::Accepted, Outcome::Accepted(identity)) => identity.name() == account,
            (Owed::Rejected | Owed::NotAccepted, Outcome::Rejected) | (Owed::NotAccepted, Outcome::NotMine) => true,
            (Owed::TheFirstIfNamesHaveNoCase, said) => match (names, said) {
                (Names::WithoutCase, Outcome::Accepted(identity)) => identity.name() == ACCOUNTS[0].0,
                (Names::Exact, said) => matches!(said, Outcome::Rejected | Outcome::NotMine),
                (Names::WithoutCase, _) => false,
            },
            (Owed::Accepted | Owed::Rejected | Owed::NotAccepted, _) => false,
        };
        assert!(kept, "{what}: {owed:?} is owed, {said:?} was said");
    }
    for (account, _, owed) in cases() {
        let Some(name) = named(&account, owed) else { continue };
        let said = backend.look_up(&name, ClientNetwork::Unknown).await;
        let said = said.unwrap_or_else(|error| panic!("{}: {error:#}", shown(&account)));
        let first = &ACCOUNTS[0].0;
        let kept = match (owed, &said) {
            (_, LookUp::OnlyByLogin) => true,
            (Owed::Accepted | Owed::Rejected, LookUp::Known(identity)) => identity.name() == account,
            (Owed::TheFirstIfNamesHaveNoCase, said) => match (names, said) {
                (Names::WithoutCase, LookUp::Known(identity)) => identity.name() == *first,
                (Names::Exact, LookUp::Unknown) => true,
                (Names::WithoutCase | Names::Exact, _) => false,
            },
            // It may be there with another password, and it is nobody else.
            (Owed::NotAccepted, LookUp::Known(identity)) => identity.name() == account,
            (Owed::NotAccepted, LookUp::Unknown) => account != *first,
            (Owed::Accepted | Owed::Rejected, LookUp::Unknown) => false,
        };
        assert!(kept, "{} looked up: {owed:?} is owed, {said:?} was said", shown(&account));
    }
    let said = backend
        .authenticate(&Credentials::Anonymous, ClientNetwork::Unknown)
        .await
        .unwrap_or_else(|error| panic!("anonymous: {error:#}"));
    assert_eq!(said, Outcome::NotMine, "anonymous clients are nobody's but the static users'");
}

/// The account of this name. What cannot be one gets to no backend, and has to be one that nobody is owed.
fn named(account: &str, owed: Owed) -> Option<Account> {
    let name = Account::parse(account).ok();
    assert!(name.is_some() || owed == Owed::NotAccepted, "{} is no account", shown(account));
    name
}

fn shown(text: &str) -> String {
    format!("{:?} ({} bytes)", text.chars().take(40).collect::<String>(), text.len())
}
