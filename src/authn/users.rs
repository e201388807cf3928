//! The static users of the configuration file (`users:`), the identity backend that needs nothing else.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;

use super::attempts::Spelled;
use super::hash_kind::HashKind;
use super::password::{Check, Memory, PasswordHash, Passwords, usual_hash};
use super::{AccountState, Alike, Authenticator, Credentials, Identity, LookUp, Outcome, Secret, Standing, Time};
use crate::authz::pattern::{LabelValue, LabelValues};
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::config::problem::At;
use crate::config::refused::shown_name;
use crate::config::section::{DayEnd, Problems, Section, texts_of};
use crate::config::yaml::{Entry, Node, Value};

/// One user of the file.
#[derive(Clone, Debug)]
pub struct User {
    /// The bcrypt hash of the password; only the anonymous user (`""`) has none.
    pub password: Option<At<PasswordHash>>,
    /// The labels. Their values are globs: an administrator wrote them.
    pub labels: Arc<LabelValues>,
    /// Whether and when the account may be used.
    pub standing: Standing,
}

/// The `users:` section: account to user.
pub type Users = BTreeMap<String, User>;

/// What is said of `alice:$2y$…`.
const A_LINE: &str = "this is a line of an htpasswd file; write alice: {password: \"…\"} with what stands after the colon, or \
                      name the file in htpasswd_auth";

fn is_htpasswd_line(text: &str) -> bool {
    text.split_once(':').is_some_and(|(_, after)| HashKind::of(after).is_some())
}

/// What a key that a user does not have is meant for: a name for labels, mostly.
fn meant_in_user(entry: &Entry) -> Option<String> {
    const LABELS: &[&str] = &["group", "groups", "team", "teams", "role", "roles", "project", "projects"];
    let key = LABELS.iter().find(|word| **word == entry.key)?;
    Some(format!("there is no such key; a label is written labels: {{{key}: […]}}"))
}

/// Reads the `users:` section. Files with passwords are read here and added to `files`.
pub fn read(section: &Node, problems: &Problems, files: &mut Vec<PathBuf>) -> Users {
    let mut users = Users::new();
    let entries = match &section.value {
        Value::Map(entries) => entries.as_slice(),
        Value::Null => &[],
        Value::Text(_) | Value::List(_) => {
            let message = match &section.value {
                Value::Text(text) if is_htpasswd_line(text) => A_LINE,
                Value::Text(_) | Value::Null | Value::List(_) | Value::Map(_) => {
                    "accounts and their settings are expected here: users: {alice: {password: …}}"
                }
            };
            problems.add(&section.place, "users", message);
            return users;
        }
    };
    for entry in entries {
        let path = format!("users.{}", if entry.key.is_empty() { "\"\"" } else { shown_name(&entry.key) });
        if entry.key.contains(|letter: char| letter.is_control()) {
            problems.add(&entry.place, "users", "an account's name must not contain control characters");
            continue;
        }
        if let Some((_, after)) = entry.key.split_once(':') {
            let message = match HashKind::of(after) {
                Some(_) => A_LINE,
                None => "an account's name cannot contain a colon: nobody could log in with it (RFC 7617)",
            };
            problems.add(&entry.place, path, message);
            continue;
        }
        if matches!(&entry.node.value, Value::Text(text) if HashKind::of(text).is_some()) {
            let name = shown_name(&entry.key);
            problems.add(
                &entry.node.place,
                path,
                format!("a hash stands here alone; write {name}: {{password: \"…\"}}"),
            );
            continue;
        }
        let Some(fields) = Section::open(&entry.node, path, problems) else { continue };
        if let Some(user) = read_user(&entry.key, fields, problems, files) {
            users.insert(entry.key.clone(), user);
        }
    }
    users
}

fn read_user(account: &str, mut fields: Section<'_>, problems: &Problems, files: &mut Vec<PathBuf>) -> Option<User> {
    let given = is_given(fields.node("password")) || is_given(fields.node("password_file"));
    let written = read_password(&mut fields, files);
    let labels = Arc::new(read_labels(&mut fields, problems));
    let state = match fields.flag("disabled") {
        Some(At { value: true, .. }) => AccountState::Disabled,
        Some(At { value: false, .. }) | None => AccountState::Enabled,
    };
    let not_before = fields.moment("not_before", DayEnd::Start);
    let not_after = fields.moment("not_after", DayEnd::End);
    if let (Some(start), Some(end)) = (&not_before, &not_after)
        && start.value >= end.value
    {
        fields.problem(
            &end.place,
            "not_after",
            "the account would expire before it begins; swap not_before and not_after",
        );
    }
    let place = fields.place().clone();
    let password = match (account.is_empty(), written) {
        (true, Some(written)) => {
            fields.problem(
                &written.place,
                "password",
                "the anonymous user has no password; write \"\": {} or give the account a name",
            );
            Err(())
        }
        // What was given could not be read, and that is said already.
        (_, None) if given => Err(()),
        (true, None) => Ok(None),
        (false, None) => {
            // Without a password docker_auth lets in everybody who knows the name.
            fields.problem(
                &place,
                "password",
                "a named user needs a bcrypt hash; make one with: dockwarden hash-password",
            );
            Err(())
        }
        (false, Some(written)) => PasswordHash::from_str(&written.value)
            .map(|value| Some(At { place: written.place.clone(), value }))
            .map_err(|message| fields.problem(&written.place, "password", message)),
    };
    fields.finish_with(meant_in_user);
    let standing =
        Standing { state, not_before: not_before.map(|at| at.value), not_after: not_after.map(|at| at.value) };
    Some(User { password: password.ok()?, labels, standing })
}

/// Whether something stands there that should have been a password; an empty text is as if the key were left out.
fn is_given(node: Option<&Node>) -> bool {
    node.is_some_and(|node| !matches!(&node.value, Value::Text(text) if text.is_empty()))
}

/// The password's hash as written, in the file itself or in one of its own.
fn read_password(fields: &mut Section<'_>, files: &mut Vec<PathBuf>) -> Option<At<String>> {
    let (inline, file) = (fields.filled("password"), fields.path("password_file"));
    let Some(file) = file else { return inline };
    if fields.node("password").is_some() {
        fields.problem(&file.place, "password_file", "give password or password_file, not both");
        return None;
    }
    let text = crate::config::read_secret(&file.value);
    files.push(file.value.clone());
    match text {
        Ok(value) => Some(At { place: file.place, value }),
        Err(message) => {
            fields.file_problem(&file, "password_file", &message);
            None
        }
    }
}

fn read_labels(fields: &mut Section<'_>, problems: &Problems) -> LabelValues {
    let mut labels = LabelValues::new();
    let path = fields.path_of("labels");
    let Some(node) = fields.node("labels") else { return labels };
    let Value::Map(entries) = &node.value else {
        problems.add(&node.place, path, "labels are names with lists of values: labels: {team: [web, api]}");
        return labels;
    };
    for entry in entries {
        let path = format!("{path}.{}", shown_name(&entry.key));
        let mut values = Vec::new();
        for text in texts_of(&entry.node, &path, problems) {
            match LabelValue::glob(&text.value) {
                Ok(value) => values.push(value),
                Err(error) => problems.add(&text.place, &path, error.to_string()),
            }
        }
        labels.insert(entry.key.clone(), values);
    }
    labels
}

/// The static users as an identity backend.
pub struct StaticUsers {
    users: Users,
    spelled: HashSet<Spelled>,
    usual: PasswordHash,
    passwords: Arc<Passwords>,
}

impl StaticUsers {
    /// A backend over these users.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn new(users: Users, passwords: Arc<Passwords>) -> anyhow::Result<StaticUsers> {
        let usual = usual_hash(users.values().filter_map(|user| user.password.as_ref()).map(|hash| hash.value.cost()))?;
        let named = users.keys().filter(|account| !account.is_empty());
        let spelled = named.map(|account| passwords.attempts().spelled(account)).collect();
        Ok(StaticUsers { users, spelled, usual, passwords })
    }
}

impl User {
    /// Who this is under the name that the file has.
    fn identity(&self, account: &str) -> Identity {
        Identity { account: account.to_owned(), labels: Arc::clone(&self.labels), standing: self.standing }
    }
}

#[async_trait]
impl Authenticator for StaticUsers {
    fn name(&self) -> &'static str {
        "users"
    }

    fn alike(&self, name: &Spelled) -> Alike {
        match self.spelled.contains(name) {
            true => Alike::Taken,
            false => Alike::Free,
        }
    }

    fn passage(&self) -> Option<Passage> {
        None
    }

    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> anyhow::Result<Outcome> {
        match who {
            Credentials::Anonymous => Ok(match self.users.get("") {
                Some(user) => Outcome::Accepted(user.identity("")),
                None => Outcome::NotMine,
            }),
            Credentials::Password { account, password } => {
                let Some((user, hash)) = self.users.get(account).and_then(|user| Some((user, user.password.as_ref()?)))
                else {
                    return Ok(Outcome::NotMine);
                };
                let memory = Memory::of(&user.standing);
                Ok(match self.passwords.check(account, password, &hash.value, memory, from).await? {
                    Check::Right => Outcome::Accepted(user.identity(account)),
                    Check::Wrong => Outcome::Rejected,
                })
            }
        }
    }

    async fn look_up(&self, account: &str, _from: ClientNetwork) -> anyhow::Result<LookUp> {
        Ok(self.users.get(account).map_or(LookUp::Unknown, |user| LookUp::Known(user.identity(account))))
    }

    async fn take_time(&self, account: &str, password: &Secret, from: ClientNetwork) -> anyhow::Result<Time> {
        self.passwords.check_nobody(account, password, &self.usual, from).await?;
        Ok(Time::Taken)
    }
}
