//! Users out of a text: the `users:` of a configuration file, or the lines of an htpasswd file.
//!
//! Everything that is wrong is found in one reading and reported with its line; a message never holds a hash.

use std::path::Path;

use policy::pattern::LabelValue;
use settings::text::without_mark;
use settings::yaml::{self, Value};
use settings::{Problem, Reading, Secrets};

use super::accounts::{NewUser, check_name};
use super::labels::check_label;
use crate::authn::htpasswd;
use crate::authn::users::{self, Users};

/// The users of a text.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Those who log in with a password, by name.
    pub users: Vec<NewUser>,
    /// What the text holds and the store does not.
    pub notes: Vec<String>,
}

/// Reads the users of a text; `file` is named in messages.
///
/// # Errors
/// Everything that is wrong, a line each, ready to be shown.
pub fn parse(file: &Path, text: &str) -> Result<Parsed, Vec<String>> {
    let text = without_mark(text);
    let users = match is_htpasswd(text).then(|| htpasswd::parse(file, text)) {
        Some((users, wrong)) if wrong.is_empty() => users,
        Some((_, wrong)) => return Err(wrong),
        None => from_configuration(file, text)?,
    };
    let mut parsed = Parsed::default();
    if users.anonymous.is_some() {
        parsed.notes.push(
            "the anonymous user stays in the file: write users: {\"\": {}} where clients without an account may come in"
                .to_owned(),
        );
    }
    for (name, user) in users.named {
        let Some(hash) = user.password else { continue };
        let values = |values: &[LabelValue]| values.iter().map(|value| value.text().to_owned()).collect();
        let labels = user.labels.iter().filter(|(_, all)| !all.is_empty());
        let labels = labels.map(|(label, all)| (label.clone(), values(all))).collect();
        parsed.users.push(NewUser { name, hash: hash.value, labels, standing: user.standing });
    }
    let wrong: Vec<String> = parsed.users.iter().flat_map(|user| problems_of(file, user)).collect();
    if wrong.is_empty() { Ok(parsed) } else { Err(wrong) }
}

/// Whether the first line that says anything is an account, a colon and its hash: in YAML a space or nothing follows a colon.
fn is_htpasswd(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    first.is_some_and(|line| {
        !line.starts_with(['{', '[', '"', '\'', '-'])
            && line.split_once(':').is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with([' ', '\t']))
    })
}

fn from_configuration(file: &Path, text: &str) -> Result<Users, Vec<String>> {
    let root = yaml::parse(text).map_err(|problem| vec![problem.in_file(file)])?;
    let section = match &root.value {
        Value::Map(entries) => entries.iter().find(|entry| entry.key == "users").map(|entry| &entry.node),
        Value::Null | Value::Text(_) | Value::List(_) => None,
    };
    let Some(section) = section else {
        let message = "there are neither a configuration's users in it nor lines of an htpasswd file";
        return Err(vec![Problem::new(root.place.clone(), "", message).in_file(file)]);
    };
    let reading = Reading::default();
    let users = users::read(reading.field(section, "users", Secrets::Read)).unwrap_or_default();
    let problems = reading.into_findings().problems;
    if problems.is_empty() { Ok(users) } else { Err(problems.iter().map(|problem| problem.in_file(file)).collect()) }
}

fn problems_of(file: &Path, user: &NewUser) -> Vec<String> {
    let of_name = check_name(&user.name).err();
    let of_labels = user.labels.keys().filter_map(|label| check_label(label).err());
    let named = |message: String| format!("{}: \"{}\": {message}", file.display(), user.name.escape_debug());
    of_name.into_iter().chain(of_labels).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2y$04$E9a5RCZ8chDNzMzK6rBSluBSPqili1AuAUfsGpVfcuMOCPHEQzfIC";

    /// Names with their labels, notes, or what is wrong.
    fn read(text: &str) -> Result<(Vec<String>, usize), String> {
        let text = text.replace("HASH", HASH);
        let parsed = parse(Path::new("old.yml"), &text).map_err(|wrong| wrong.join("\n"))?;
        let shown = |user: &NewUser| format!("{} {:?} {:?}", user.name, user.labels, user.standing.state);
        Ok((parsed.users.iter().map(shown).collect(), parsed.notes.len()))
    }

    #[test]
    fn users_come_from_a_configuration_or_an_htpasswd_file() {
        let two = vec!["alice {} Enabled".to_owned(), "bob {} Enabled".to_owned()];
        for text in [
            "alice:HASH\nbob:HASH\n",
            "\u{feff}# accounts\r\n\r\nalice:HASH\r\nbob:HASH:a remark\r\n",
            "users:\n  alice: {password: \"HASH\"}\n  bob: {password: \"HASH\"}\n",
            "server: {addr: \":5001\"}\nunknown: x\nusers: {alice: {password: \"HASH\"}, bob: {password: \"HASH\"}}\nacl: []\n",
            "{\"users\": {\"bob\": {\"password\": \"HASH\"}, \"alice\": {\"password\": \"HASH\"}}}",
        ] {
            assert_eq!(read(text), Ok((two.clone(), 0)), "{text}");
        }
        let whole =
            "users:\n  x: {password: \"HASH\", labels: {team: [web, \"a*\"], none: []}, disabled: true}\n  \"\": {}\n";
        assert_eq!(read(whole), Ok((vec!["x {\"team\": [\"web\", \"a*\"]} Disabled".to_owned()], 1)));
        assert_eq!(read("users: {}\n"), Ok((vec![], 0)));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_no_hash() {
        for (text, expected) in [
            ("alice:HASH\nbob:$apr1$x$y\n", "old.yml:2: \"bob\" has an MD5 hash ($apr1$)"),
            ("alice:hunter2\n", "old.yml:1: \"alice\" has a hash of crypt, or no hash at all"),
            ("users:\n  alice: {password: hunter2}\n", "old.yml:2: users.alice.password: this is not a bcrypt hash"),
            ("users:\n  alice: {}\n", "old.yml:2: users.alice.password: a named user needs a bcrypt hash"),
            (
                "users: {alice: {password: \"HASH\", labels: {a.b: [x]}}}\n",
                "old.yml: \"alice\": the label's name \"a.b\"",
            ),
            ("acl: []\n", "old.yml:1: there are neither a configuration's users in it nor lines of an htpasswd file"),
            ("", "there are neither"),
            ("- alice\n", "there are neither"),
        ] {
            let wrong = read(text).err().unwrap_or_default();
            assert!(wrong.contains(expected), "{text}: {wrong}");
            assert!(!wrong.contains("hunter2") && !wrong.contains(HASH), "{wrong}");
        }
        let long = format!("{}:HASH\n", "x".repeat(256));
        assert!(read(&long).is_err_and(|wrong| wrong.contains("has 256 bytes")));
    }
}
