//! A record as docker_auth writes it: a docker password, what the provider is asked by, and the labels of before.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::json;
use crate::passwords::password::PasswordHash;
use crate::secret::Secret;
use crate::sign_in::found::MOST_VALUES;

/// What a key begins with, before the person's name.
pub(super) const PREFIX: &str = "t:";
/// The key of somebody's record.
pub(in crate::sign_in) fn key_of(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// The longest record, in bytes. One has two tokens of a provider, and the names of groups.
const LONGEST: usize = 256 * 1024;
/// The most labels of one.
const MOST_LABELS: usize = 100;

/// Somebody's docker password of docker_auth's.
#[derive(Clone, Debug)]
pub(in crate::sign_in) struct OldRecord {
    /// What the provider called them when they signed in.
    pub(in crate::sign_in) name: String,
    pub(in crate::sign_in) password: PasswordHash,
    pub(in crate::sign_in) access_token: Option<Secret>,
    pub(in crate::sign_in) refresh_token: Option<Secret>,
    /// When the provider was to be asked again.
    pub(in crate::sign_in) valid_until: OffsetDateTime,
    pub(in crate::sign_in) labels: BTreeMap<String, Vec<String>>,
}

/// Why a record cannot be used. No value of it is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::sign_in) enum Unusable {
    #[error("its key is not t: and a name")]
    Key,
    #[error("it is longer than {LONGEST} bytes")]
    Long,
    #[error("it is not as docker_auth writes it")]
    Form,
    #[error("valid_until is not a date and time")]
    Moment,
    #[error("docker_password is not a hash: {0}")]
    Password(String),
    #[error("it has more labels than {MOST_LABELS}, or one of more values than {MOST_VALUES}")]
    Labels,
}

/// The text, with docker_auth's names. Go leaves out what is empty.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: String,
    valid_until: String,
    #[serde(default)]
    docker_password: String,
    #[serde(default)]
    labels: Option<BTreeMap<String, Option<Vec<String>>>>,
}

impl OldRecord {
    /// Reads a record under its key.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(in crate::sign_in) fn parse(key: &[u8], text: &[u8]) -> Result<OldRecord, Unusable> {
        let name = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(PREFIX)).ok_or(Unusable::Key)?;
        if text.len() > LONGEST {
            return Err(Unusable::Long);
        }
        let written: Written = json::object(text).map_err(|_| Unusable::Form)?;
        let valid_until = OffsetDateTime::parse(&written.valid_until, &Rfc3339).map_err(|_| Unusable::Moment)?;
        let password = PasswordHash::from_str(&written.docker_password).map_err(Unusable::Password)?;
        let labels: BTreeMap<String, Vec<String>> = written
            .labels
            .unwrap_or_default()
            .into_iter()
            .map(|(label, values)| (label, values.unwrap_or_default()))
            .collect();
        if labels.len() > MOST_LABELS || labels.values().any(|values| values.len() > MOST_VALUES) {
            return Err(Unusable::Labels);
        }
        let token = |text: String| Some(text).filter(|text| !text.is_empty()).map(Secret::new);
        Ok(OldRecord {
            name: name.to_owned(),
            password,
            access_token: token(written.access_token),
            refresh_token: token(written.refresh_token),
            valid_until,
            labels,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$2a$10$gBzOzsfI2FDp578beYt0WO66NjTZDBQ3bwp5ACzAk750kugGy7m/u";

    #[test]
    fn a_record_is_read_as_go_writes_it_and_nothing_of_it_is_repeated() {
        let good = format!(
            r#"{{"token_type":"Bearer","access_token":"gho_a","valid_until":"2026-03-04T05:06:07.123456789+02:00","docker_password":"{HASH}","labels":{{"teams":["dev","ops"],"none":null}}}}"#
        );
        let read = OldRecord::parse(b"t:ada", good.as_bytes());
        let read = read.map(|read| {
            assert_eq!(read.access_token.map(|token| token.reveal().to_owned()).as_deref(), Some("gho_a"));
            (read.name, read.refresh_token.is_none(), read.valid_until.unix_timestamp(), read.labels)
        });
        let labels = BTreeMap::from([
            ("teams".to_owned(), vec!["dev".to_owned(), "ops".to_owned()]),
            ("none".to_owned(), Vec::new()),
        ]);
        assert_eq!(read, Ok(("ada".to_owned(), true, 1_772_593_567, labels)));
        let values = format!("[{}\"x\"]", "\"x\",".repeat(MOST_VALUES));
        let long = "x".repeat(LONGEST);
        for (key, text, expected) in [
            ("ada", good.clone(), Unusable::Key),
            ("t:ada", format!("[{good}]"), Unusable::Form),
            ("t:ada", "hunter2".to_owned(), Unusable::Form),
            ("t:ada", good.replace("\"valid_until\"", "\"until\""), Unusable::Form),
            ("t:ada", good.replace("2026-03-04T", "2026-03-04 at "), Unusable::Moment),
            ("t:ada", good.replace("[\"dev\",\"ops\"]", &values), Unusable::Labels),
            ("t:ada", good.replace("gho_a", &long), Unusable::Long),
        ] {
            assert_eq!(OldRecord::parse(key.as_bytes(), text.as_bytes()).err(), Some(expected), "{key}");
        }
        let plain = OldRecord::parse(b"t:ada", good.replace(HASH, "hunter2").as_bytes()).err();
        let told = plain.map(|unusable| unusable.to_string()).unwrap_or_default();
        assert!(told.starts_with("docker_password is not a hash") && !told.contains("hunter2"), "{told}");
    }
}
