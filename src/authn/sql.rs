//! Users in an SQL database (`xorm_auth:`), in the table that docker_auth makes there, looked up one by one: what an
//! administrator changes there holds at the next login.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Arc;

use ::settings::Field;
use async_trait::async_trait;
use policy::pattern::LabelValues;
use serde_json::Value as Json;

use super::password::{PasswordHash, Passwords};
use super::stored::{FIRST_ANSWER, Greeting, StoredUsers, User, UserStore, found};
use super::{Account, LabelSyntax, Standing};
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::json::Unambiguous;
use crate::reach::{Reach, Reachable};
use crate::sql::{Database, Dialect, Failure, Outage, Row, Settings, conn_string};

/// The row of the table.
pub const KIND: Kind = Kind { key: "xorm_auth", purpose: Purpose::Identity, read: |field| configured(read(field)) };

/// How many rows one name may have: the newest counts, and MySQL finds some more that are no more than alike.
const MOST_ROWS: usize = 100;
/// The hashes that are looked at when the server starts, to learn what a wrong password costs.
const SAMPLED: &str = "SELECT password_hash FROM xorm_user LIMIT 100";
const COUNT: &str = "SELECT COUNT(*) FROM xorm_user";
const OUTAGE: Outage = Outage {
    backend: KIND.key,
    trial: "SELECT id FROM xorm_user WHERE username = '' LIMIT 1",
    down: "users cannot be looked up; logins of theirs are answered with 503 until they can",
    back: "users are looked up again",
};

/// The rows of a name, the newest first.
fn look_up(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => {
            "SELECT id, username, password_hash, labels FROM xorm_user WHERE username = $1 ORDER BY id DESC LIMIT 100"
        }
        // Of JSON, the driver would make something else than its text.
        Dialect::Postgres => {
            "SELECT id, username, password_hash, labels::text FROM xorm_user WHERE username = $1 ORDER BY id DESC LIMIT 100"
        }
        // The column's own collation takes ALICE and álice for alice.
        Dialect::MySql => {
            "SELECT id, username, password_hash, labels FROM xorm_user WHERE username = $1 COLLATE utf8mb4_bin \
             ORDER BY id DESC LIMIT 100"
        }
    }
}

/// The `xorm_auth:` section.
#[derive(Clone, Debug, PartialEq)]
pub struct XormAuthSettings {
    database: Settings,
    label_values: LabelSyntax,
}

impl XormAuthSettings {
    /// Where the users are.
    pub fn database(&self) -> &Settings {
        &self.database
    }

    /// What the values of labels are there.
    pub fn label_values(&self) -> LabelSyntax {
        self.label_values
    }
}

/// Reads the `xorm_auth:` section.
pub fn read(field: Field<'_>) -> Option<XormAuthSettings> {
    let mut section = field.section()?;
    let database = conn_string::read(&mut section);
    let label_values = LabelSyntax::read(&mut section, LabelSyntax::Glob);
    section.finish();
    Some(XormAuthSettings { database: database?, label_values })
}

/// The users of a database.
struct SqlUsers {
    database: Database,
    label_values: LabelSyntax,
}

impl Configured for XormAuthSettings {
    /// Begins to connect in the background.
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        let database = Database::new(self.database.clone(), OUTAGE);
        StoredUsers::open(SqlUsers { database, label_values: self.label_values }, passwords, Greeting::AtOnce)
    }

    fn facts(&self) -> Facts<'_> {
        Facts::AccountsElsewhere(self.database.place())
    }
}

impl Reachable for SqlUsers {
    fn reach(&self) -> Reach<'_> {
        Reach::server(self.reach())
    }

    fn passage(&self) -> Option<Passage> {
        Some(self.database.passage())
    }
}

impl SqlUsers {
    async fn reach(&self) -> anyhow::Result<String> {
        let (settings, began) = (self.database.settings(), crate::clock::now());
        let asked = async {
            // Longer than a login may take: that is to be measured.
            let counted = self.database.read_within(FIRST_ANSWER, COUNT, &[]).await?;
            let connecting = began.elapsed();
            self.database.read_within(FIRST_ANSWER, look_up(settings.dialect()), &["".into()]).await?;
            Ok::<_, Failure>((counted, connecting, began.elapsed() - connecting))
        };
        match asked.await {
            Ok((counted, connecting, looking)) => {
                let count = counted.first().and_then(|row| row.integer(0).ok()).unwrap_or_default();
                Ok(found(&settings.place(), count.unsigned_abs(), (connecting, looking, settings.answer_within)))
            }
            Err(failure) => anyhow::bail!("{failure}; {}", failure.advice()),
        }
    }
}

#[async_trait]
impl UserStore for SqlUsers {
    async fn find(&self, account: &Account) -> anyhow::Result<Option<User>> {
        let settings = self.database.settings();
        let rows = self.database.read(look_up(settings.dialect()), &[account.as_str().into()]).await?;
        // MySQL does not see spaces at the end, and any database can be told to compare otherwise. A name that is only alike
        // must not log in: a rule may name the one, and would miss the other.
        let named = rows.iter().find(|row| row.text(1) == Ok(account.as_str()));
        match named {
            Some(row) => read_user(row, self.label_values).map(Some).map_err(|problem| {
                let id = row.integer(0).map_or_else(|_| "?".to_owned(), |id| id.to_string());
                anyhow::anyhow!("the user with the id {id} in {} cannot be used: {problem}", settings.place())
            }),
            None if rows.len() >= MOST_ROWS => {
                anyhow::bail!("{MOST_ROWS} users in {} have a name that is like this one", settings.place())
            }
            None => Ok(None),
        }
    }

    async fn hashes(&self) -> Vec<String> {
        // What fails is in the log.
        let rows = self.database.read(SAMPLED, &[]).await.unwrap_or_default();
        rows.iter().filter_map(|row| row.text(0).ok().map(str::to_owned)).collect()
    }
}

/// Reads a user's row.
///
/// # Errors
/// What is wrong with it. Such a user gets no answer: what a wrong row means to say, nobody can know, and "wrong password"
/// would make clients throw a good one away.
fn read_user(row: &Row, label_values: LabelSyntax) -> Result<User, String> {
    let id = row.integer(0).map_err(|error| error.to_string())?.to_string();
    let password = row.text(2).map_err(|error| error.to_string())?;
    let password = PasswordHash::from_str(password).map_err(|message| format!("password_hash: {message}"))?;
    let labels = row.optional_text(3).map_err(|error| error.to_string())?;
    let labels = read_labels(labels.unwrap_or_default(), label_values)?;
    Ok(User { id, password, labels, standing: Standing::default() })
}

/// Reads `{"label": ["value", …], …}`. An empty text, as `NULL`, is no labels.
fn read_labels(text: &str, label_values: LabelSyntax) -> Result<LabelValues, String> {
    if text.is_empty() {
        return Ok(LabelValues::new());
    }
    // The reader's own words would quote the text.
    let Unambiguous(read) = serde_json::from_str(text).map_err(|_| "labels: this is not JSON, or has a name twice")?;
    let labels = match read {
        Json::Null => return Ok(LabelValues::new()),
        Json::Object(labels) => labels,
        Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => {
            return Err("labels: an object is expected here, {\"label\": [\"value\"]}".to_owned());
        }
    };
    let values = |(label, values): (String, Json)| {
        let wrong = |what: &str| format!("labels.{label}: {what}");
        let items = match values {
            Json::Null => Vec::new(),
            Json::Array(items) => items,
            // docker_auth takes no text for a list of it, and nobody knows whether a comma in it parts it.
            Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => {
                return Err(wrong("a list of texts is expected here"));
            }
        };
        let texts: Option<Vec<&str>> = items.iter().map(Json::as_str).collect();
        let texts = texts.ok_or_else(|| wrong("the list must hold texts"))?;
        let values = label_values.values(texts).map_err(|error| wrong(&error.to_string()))?;
        Ok((label, values))
    };
    labels.into_iter().map(values).collect::<Result<BTreeMap<_, _>, String>>()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "a test fails by panicking")]

    use policy::pattern::LabelValue;

    use super::*;

    /// Check 53 of the reference among them.
    #[test]
    fn labels_are_lists_of_texts_or_nothing_and_all_else_closes_the_user() {
        let read = |text| read_labels(text, LabelSyntax::Glob);
        let labels =
            read(r#"{"team": ["web", "api-*"], "none": [], "null": null}"#).unwrap_or_else(|error| panic!("{error}"));
        let texts =
            |label: &str| labels.get(label).map(|values| values.iter().map(LabelValue::text).collect::<Vec<_>>());
        assert_eq!(
            (texts("team"), texts("none"), texts("null")),
            (Some(vec!["web", "api-*"]), Some(vec![]), Some(vec![]))
        );
        for text in ["", "null", "{}"] {
            assert_eq!(read(text).map(|labels| labels.len()), Ok(0), "{text}");
        }
        for (text, message) in [
            (r#"{"team": "web"}"#, "labels.team: a list of texts is expected here"),
            (r#"{"team": ["web", 7]}"#, "labels.team: the list must hold texts"),
            (r#"{"team": ["[web"]}"#, "labels.team: "),
            (r#"{"team": ["web"], "team": []}"#, "labels: this is not JSON, or has a name twice"),
            (r#"["web"]"#, "labels: an object is expected here"),
            (r#""hunter2""#, "labels: an object is expected here"),
            ("{hunter2", "labels: this is not JSON"),
        ] {
            let problem = read(text).err().unwrap_or_else(|| panic!("{text} was read"));
            assert!(problem.contains(message) && !problem.contains("hunter2"), "{text}: {problem}");
        }
    }
}
