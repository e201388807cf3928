//! Accounts in a file of htpasswd's format (`htpasswd_auth`): one `account:hash` a line, of which bcrypt hashes are taken.
//!
//! The file is read with the configuration, and a change to it is a change of the configuration.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use settings::files::read_named_text;
use settings::refused::shown_name;
use settings::text::without_mark;
use settings::yaml::Value;
use settings::{At, Field, Place};

use super::hash_kind::HashKind;
use super::password::{PUBLISHED_HASH, PasswordHash, Passwords, WEAK_BELOW};
use super::users::{ROBOTS_NAME, StaticUsers, User, Users, hashes};
use super::{Account, NotAnAccount};
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::secrets::is_robots;
use crate::shown::counted;

/// Of a file with many wrong lines, so many are named.
const MOST_NAMED: usize = 20;

/// The row of the table.
pub const KIND: Kind = Kind { key: "htpasswd_auth", purpose: Purpose::Identity, read: |field| configured(read(field)) };

/// The accounts of the file, users without labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Accounts(pub Arc<Users>);

/// Reads the `htpasswd_auth:` section and its file. Everything that is wrong with the file is said, each with its line.
/// `None` where the section itself is of no use.
pub fn read(field: Field<'_>) -> Option<Accounts> {
    let mut section = field.section()?;
    let path = section.path("path");
    if path.is_none() && section.field("path").is_none_or(|field| matches!(field.value(), Value::Text(_))) {
        section.missing("path", "a file is needed; write path: /path/to/htpasswd");
    }
    let accounts = path.map(|at| {
        let Ok(Some(text)) = section.read_file(&at, "path", read_named_text) else { return Users::default() };
        let At { place, value: file } = &at;
        let (accounts, wrong) = parse(file, &text);
        for message in wrong.iter().take(MOST_NAMED) {
            section.problem(place, "path", message);
        }
        if let more @ 1.. = wrong.len().saturating_sub(MOST_NAMED) {
            let lines = counted(more, "more line");
            let are = if more == 1 { "is" } else { "are" };
            section.problem(place, "path", format!("{} has {lines} that {are} wrong", file.display()));
        }
        for message in doubts(file, &accounts) {
            section.warn(place, "path", message);
        }
        accounts
    });
    section.finish();
    accounts.map(|accounts| Accounts(Arc::new(accounts)))
}

/// The accounts of a file's text, and what is wrong with it. A message never holds what stands in place of a hash:
/// it could be a password.
pub(super) fn parse(file: &Path, text: &str) -> (Users, Vec<String>) {
    let mut accounts = Users::default();
    let mut wrong = Vec::new();
    for (line, number) in without_mark(text).lines().zip(1..) {
        let line = line.trim_end();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(line) {
            Ok((account, _)) if accounts.named.contains_key(&account) => {
                wrong.push(format!(
                    "{}:{number}: the account \"{}\" is here twice",
                    file.display(),
                    shown_name(&account)
                ));
            }
            Ok((account, hash)) => {
                accounts.named.insert(account, User::from_hash(At { place: Place::Line(number), value: hash }));
            }
            Err(message) => wrong.push(format!("{}:{number}: {message}", file.display())),
        }
    }
    (accounts, wrong)
}

fn parse_line(line: &str) -> Result<(Account, PasswordHash), String> {
    let (account, rest) = line.split_once(':').ok_or("an account, a colon and its hash are expected here")?;
    let account = Account::parse(account).map_err(|wrong| match wrong {
        NotAnAccount::Empty => "the account's name is missing before the colon".to_owned(),
        NotAnAccount::ControlCharacter | NotAnAccount::TooLong(_) => wrong.to_string(),
    })?;
    if account.trim() != account.as_str() {
        return Err("an account's name must not have white space around it".to_owned());
    }
    if is_robots(&account) {
        return Err(ROBOTS_NAME.to_owned());
    }
    // A file of another kind stands here at times, with a secret in the first column.
    let shown = shown_name(&account);
    // As Apache and nginx read it: after a second colon stands a remark.
    let hash = rest.split_once(':').map_or(rest, |(hash, _)| hash);
    let named = |kind: &str| format!("\"{shown}\" has {kind}; only bcrypt is read here, made by: htpasswd -B");
    match HashKind::from_prefix(hash) {
        _ if hash.is_empty() => Err(format!("\"{shown}\" has no hash; make one with: htpasswd -B")),
        Some(HashKind::Bcrypt) => {
            let hash = PasswordHash::from_str(hash).map_err(|wrong| format!("\"{shown}\": {wrong}"));
            hash.map(|hash| (account.clone(), hash))
        }
        Some(HashKind::Other(kind)) => Err(named(kind)),
        None => Err(named("a hash of crypt, or no hash at all")),
    }
}

/// What can be used but is probably not meant.
fn doubts(file: &Path, accounts: &Users) -> Vec<String> {
    let file = file.display();
    let mut doubts = Vec::new();
    let hashes = || hashes(accounts).map(|(account, hash)| (account.as_str(), &hash.value));
    let costs = || hashes().map(|(_, hash)| hash.cost());
    let weak: Vec<&str> = hashes().filter(|(_, hash)| hash.cost() < WEAK_BELOW).map(|(account, _)| account).collect();
    if let Some(first) = weak.first() {
        let number = weak.len();
        doubts.push(format!(
            "{file}: {number} hash(es) of a cost below {WEAK_BELOW} are weak (\"{first}\" has the first); make new ones \
             with: htpasswd -B -C {WEAK_BELOW}"
        ));
    }
    if let Some((account, _)) = hashes().find(|(_, hash)| hash.is_published()) {
        doubts.push(format!("{file}: \"{account}\": {PUBLISHED_HASH}"));
    }
    if costs().min() != costs().max() {
        doubts.push(format!(
            "{file}: hashes of different cost take different time, which tells who exists; use one cost for all"
        ));
    }
    doubts
}

impl Configured for Accounts {
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        Opened::identities(StaticUsers::new(Arc::clone(&self.0), Arc::clone(passwords))?)
    }

    fn facts(&self) -> Facts<'_> {
        match self.0.is_empty() {
            // It may not have been read.
            true => Facts::AccountsElsewhere(KIND.key.to_owned()),
            false => self.0.facts(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$04$E9a5RCZ8chDNzMzK6rBSluBSPqili1AuAUfsGpVfcuMOCPHEQzfIC";

    fn wrong(text: &str) -> Vec<String> {
        parse(Path::new("users.htpasswd"), text).1
    }

    #[test]
    fn lines_are_accounts_remarks_or_nothing() {
        let text =
            format!("\u{feff}alice:{HASH}\r\n\r\n# bob:old\r\n  \r\nbob:{HASH}:a remark\r\ncarol with space:{HASH}  ");
        let (accounts, wrong) = parse(Path::new("f"), &text);
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(
            accounts.named.keys().map(Account::as_str).collect::<Vec<_>>(),
            ["alice", "bob", "carol with space"]
        );
        assert!(hashes(&accounts).all(|(_, hash)| Ok(&hash.value) == PasswordHash::from_str(HASH).as_ref()));
        assert_eq!(parse(Path::new("f"), ""), (Users::default(), Vec::new()));
    }

    #[test]
    fn what_is_not_read_is_named_with_its_line_and_never_shown() {
        let cases = [
            ("$apr1$hk3m3Zx7$GYOZRVtPZBJaMhVh1ZIg9.", "MD5 hash ($apr1$)"),
            ("$1$hk3m3Zx7$GYOZRVtPZBJaMhVh1ZIg9.", "MD5 hash ($1$)"),
            ("{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=", "SHA-1 hash ({SHA})"),
            ("{SSHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=", "salted SHA-1"),
            ("$5$rounds=5000$saltsalt$hash", "SHA-256"),
            ("$6$rounds=5000$saltsalt$hash", "SHA-512"),
            ("rqXexS6ZhobKA", "crypt, or no hash at all"),
            ("hunter2", "crypt, or no hash at all"),
            ("$2y$04$tooshort", "this is not a bcrypt hash"),
            ("$2y$31$E9a5RCZ8chDNzMzK6rBSluBSPqili1AuAUfsGpVfcuMOCPHEQzfIC", "a bcrypt cost of 31"),
            ("$2x$04$E9a5RCZ8chDNzMzK6rBSluBSPqili1AuAUfsGpVfcuMOCPHEQzfIC", "this is not a bcrypt hash"),
            ("", "has no hash"),
        ];
        for (hash, piece) in cases {
            let found = wrong(&format!("# accounts\nalice:{hash}\nbob:{HASH}\n"));
            let [message] = found.as_slice() else { unreachable!("{hash}: {found:?}") };
            assert!(message.starts_with("users.htpasswd:2: \"alice\""), "{message}");
            assert!(message.contains(piece), "{message}");
            assert!(hash.is_empty() || !message.contains(hash), "{message}");
        }
        for (text, expected) in [
            (
                format!("alice:{HASH}\nbob:{HASH}\nalice:{HASH}"),
                "users.htpasswd:3: the account \"alice\" is here twice",
            ),
            (HASH.to_owned(), "users.htpasswd:1: an account, a colon and its hash are expected here"),
            (format!(":{HASH}"), "users.htpasswd:1: the account's name is missing before the colon"),
            (format!(" alice:{HASH}"), "users.htpasswd:1: an account's name must not have white space around it"),
            (format!("al\u{7}ice:{HASH}"), "users.htpasswd:1: an account's name must not contain control characters"),
        ] {
            let found = wrong(&text);
            assert!(found.len() == 1 && found.iter().all(|message| message.starts_with(expected)), "{found:?}");
        }
    }
}
