//! Users in MongoDB (`mongo_auth:`), looked up one by one: what an administrator changes there holds at the next login.

pub mod accounts;
pub mod import;
pub mod labels;

use std::str::FromStr as _;
use std::sync::Arc;

use ::settings::{DayEnd, Field};
use anyhow::Context as _;
use async_trait::async_trait;
use mongodb::bson::{Bson, Document, doc};
use tracing::{info, warn};

use super::password::{PasswordHash, Passwords};
use super::stored::{FIRST_ANSWER, Greeting, SAMPLE, StoredUsers, User, UserStore, found};
use super::{Account, AccountState, LabelSyntax, Standing};
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::{Breaker, Passage, Trial, trials_of};
use crate::mongo::document::{Fields, Single, Unknown, name_of, texts_of};
use crate::mongo::{Collection, Failure, all, settings};
use crate::reach::{Reach, Reachable};

/// The row of the table.
pub const KIND: Kind = Kind { key: "mongo_auth", purpose: Purpose::Identity, read: |field| configured(read(field)) };

/// The `mongo_auth:` section.
#[derive(Clone, Debug, PartialEq)]
pub struct MongoAuthSettings {
    collection: settings::CollectionSettings,
    label_values: LabelSyntax,
}

impl MongoAuthSettings {
    /// Where the documents are.
    pub fn collection(&self) -> &settings::CollectionSettings {
        &self.collection
    }
}

/// Reads the `mongo_auth:` section.
pub fn read(field: Field<'_>) -> Option<MongoAuthSettings> {
    let mut section = field.section()?;
    let collection = settings::read(&mut section, "users");
    let label_values = LabelSyntax::read(&mut section, LabelSyntax::Glob);
    section.finish();
    Some(MongoAuthSettings { collection: collection?, label_values })
}

/// The users of a collection.
struct MongoUsers(Arc<Users>);

struct Users {
    collection: Collection,
    label_values: LabelSyntax,
    breaker: Breaker,
}

impl Configured for MongoAuthSettings {
    /// Begins to connect in the background.
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        let collection = Collection::new(self.collection.clone());
        let users = Users { collection, label_values: self.label_values, breaker: Breaker::default() };
        StoredUsers::open(MongoUsers(Arc::new(users)), passwords, Greeting::AtOnce)
    }

    fn facts(&self) -> Facts<'_> {
        Facts::AccountsElsewhere(self.collection.namespace())
    }
}

impl Reachable for MongoUsers {
    fn reach(&self) -> Reach<'_> {
        Reach::server(self.0.reach())
    }

    fn passage(&self) -> Option<Passage> {
        Some(self.0.breaker.passage())
    }
}

impl Users {
    async fn reach(&self) -> anyhow::Result<String> {
        let (collection, began) = (&self.collection, crate::clock::now());
        let asked = async {
            // Longer than a login may take: that is to be measured.
            let counting =
                |collection: mongodb::Collection<Document>| async move { collection.estimated_document_count().await };
            let count = collection.ask_within(FIRST_ANSWER, counting).await?;
            let connecting = began.elapsed();
            self.look_up("").await?;
            Ok::<_, Failure>((count, connecting, began.elapsed() - connecting))
        };
        match asked.await {
            Ok((count, connecting, looking)) => {
                let took = (connecting, looking, collection.settings().deadline());
                Ok(found(&collection.settings().namespace(), count, took))
            }
            Err(failure) => anyhow::bail!("{failure}; {}", failure.advice()),
        }
    }

    async fn hashes(self: &Arc<Self>) -> Vec<String> {
        let Ok(pass) = self.breaker.admit() else { return Vec::new() };
        let sampled = self.collection.ask(|collection| async move {
            all(collection.find(doc! {}).projection(doc! { "password": 1 }).limit(SAMPLE.into()).await?).await
        });
        match sampled.await {
            Ok(documents) => {
                documents.iter().filter_map(|document| document.get_str("password").ok().map(str::to_owned)).collect()
            }
            Err(failure) => {
                self.failed(pass, &failure);
                Vec::new()
            }
        }
    }

    /// The documents with this very name; one more than there may be, so that two are noticed.
    async fn look_up(&self, account: &str) -> Result<Vec<Document>, Failure> {
        // Typed as a text: a name that looks like an operator is a name.
        let filter = doc! { "username": Bson::String(account.to_owned()) };
        let limit = self.collection.settings().answer_within();
        self.collection
            .ask(|collection| {
                let filter = filter.clone();
                async move { all(collection.find(filter).limit(2).max_time(limit).await?).await }
            })
            .await
    }

    async fn find(self: &Arc<Self>, account: &Account) -> anyhow::Result<Option<User>> {
        let pass = self.breaker.admit().with_context(|| self.collection.settings().namespace())?;
        let mut documents = self.look_up(account).await.inspect_err(|failure| self.failed(pass, failure))?;
        // A collection that compares without regard to case would give Mallory's document for mallory, whom a rule
        // may name.
        documents.retain(|document| document.get("username") == Some(&Bson::String(account.to_string())));
        let Some(document) = documents.pop() else { return Ok(None) };
        if let Some(other) = documents.pop() {
            anyhow::bail!(
                "two documents of {} have this username: {} and {}; remove one, and make an index on username unique",
                self.collection.settings().namespace(),
                name_of(&document),
                name_of(&other)
            );
        }
        let user = read_user(&document, self.label_values, Single::IsAList).map_err(|problems| {
            anyhow::anyhow!(
                "the document {} of {} cannot be used: {}",
                name_of(&document),
                self.collection.settings().namespace(),
                problems.join("; ")
            )
        })?;
        Ok(Some(user))
    }

    /// Closes the door after a failure that other questions would meet too.
    fn failed(self: &Arc<Self>, pass: crate::breaker::Pass, failure: &Failure) {
        match failure {
            // The server is there: who asks something that it refuses must not keep everybody else out.
            Failure::Refused { .. } | Failure::Slow { .. } => return,
            Failure::Down { .. } | Failure::Stranger { .. } => {}
        }
        let trial = trials_of(self, |users| async move {
            match users.look_up("").await {
                Ok(_) => Trial::Answered,
                // Each is a failed login there.
                Err(Failure::Stranger { .. }) => Trial::Refused,
                Err(Failure::Down { .. } | Failure::Refused { .. } | Failure::Slow { .. }) => Trial::Failed,
            }
        });
        let closed = self.breaker.fail(pass, trial, || {
            info!(reason = "backend_back", backend = KIND.key, "users are looked up again");
        });
        if closed {
            warn!(reason = "backend_down", backend = KIND.key, cause = %failure,
                "users cannot be looked up; logins of theirs are answered with 503 until they can");
        }
    }
}

#[async_trait]
impl UserStore for MongoUsers {
    async fn find(&self, account: &Account) -> anyhow::Result<Option<User>> {
        self.0.find(account).await
    }

    async fn hashes(&self) -> Vec<String> {
        self.0.hashes().await
    }
}

/// Reads a user's document.
///
/// # Errors
/// Everything that is wrong with it. Such a user gets no answer: what a wrong document means to say, nobody can know,
/// and "wrong password" would make clients throw a good one away.
pub fn read_user(document: &Document, label_values: LabelSyntax, single: Single) -> Result<User, Vec<String>> {
    let mut fields = Fields::open(document, "");
    let _name = fields.value("username");
    let password = match fields.value("password") {
        Some(_) => fields.text("password"),
        None => {
            // docker_auth lets in everybody who knows the name.
            fields.problem("password", "a bcrypt hash is needed; make one with: dockwarden hash-password");
            None
        }
    };
    let password = password.and_then(|text| match PasswordHash::from_str(text) {
        Ok(hash) => Some(hash),
        Err(message) => {
            fields.problem("password", message);
            None
        }
    });
    let labels =
        fields.map("labels", |value| label_values.values(texts_of(value, single)?).map_err(|error| error.to_string()));
    let state = match fields.flag("disabled") {
        Some(true) => AccountState::Disabled,
        Some(false) | None => AccountState::Enabled,
    };
    let not_before = fields.moment("not_before", DayEnd::Start);
    let not_after = fields.moment("not_after", DayEnd::End);
    let problems = fields.finish(Unknown::LeftAloneUnlessNear);
    match password {
        Some(password) if problems.is_empty() => {
            let id = document.get("_id").map(ToString::to_string).unwrap_or_default();
            Ok(User { id, password, labels, standing: Standing { state, not_before, not_after } })
        }
        Some(_) | None => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use policy::pattern::LabelValue;

    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu9UGc9IJbl39mlDZvvYWvWECKJosLcIu";

    fn read_with(more: Document) -> Result<User, Vec<String>> {
        let mut document = doc! { "username": "waldi", "password": HASH };
        document.extend(more);
        read_user(&document, LabelSyntax::Glob, Single::IsAList)
    }

    #[test]
    fn a_document_is_a_user_with_labels_and_standing() {
        let user = read_with(doc! {
            "labels": { "team": ["web", "api-*"], "one": "alone", "none": null },
            "disabled": true,
            "not_before": "2026-01-01",
            "not_after": mongodb::bson::DateTime::from_millis(1_800_000_000_000),
            "created_by": "somebody else's program",
        });
        let Ok(user) = user else { unreachable!("{:?}", user.err()) };
        let texts =
            |label: &str| -> Vec<&str> { user.labels.get(label).into_iter().flatten().map(LabelValue::text).collect() };
        assert_eq!((texts("team"), texts("one"), texts("none")), (vec!["web", "api-*"], vec!["alone"], vec![]));
        assert_eq!(user.standing.state, AccountState::Disabled);
        assert_eq!(user.standing.not_before.map(|moment| moment.unix_timestamp()), Some(1_767_225_600));
        assert_eq!(user.standing.not_after.map(|moment| moment.unix_timestamp()), Some(1_800_000_000));
    }

    #[test]
    fn whatever_is_wrong_with_a_document_closes_it_and_is_named() {
        for (more, expected) in [
            (doc! { "password": null }, "password: a bcrypt hash is needed"),
            (doc! { "password": 7 }, "password: a text is expected here, not a number"),
            (doc! { "password": "secret" }, "password: this is not a bcrypt hash"),
            (doc! { "password": "" }, "password: this is not a bcrypt hash"),
            (doc! { "labels": ["web"] }, "labels: a document with keys is expected here, not a list"),
            (doc! { "labels": { "team": [1] } }, "labels.team: the list must hold texts, not a number"),
            (
                doc! { "labels": { "team": { "$gt": "" } } },
                "labels.team: a list of texts is expected here, not a document",
            ),
            (doc! { "labels": { "team": ["[a"] } }, "labels.team: "),
            (doc! { "disabled": "true" }, "disabled: true or false is expected here, not a text"),
            (doc! { "disabled": 1 }, "disabled: true or false is expected here, not a number"),
            (doc! { "disable": true }, "disable: there is no such key; did you mean \"disabled\"?"),
            (doc! { "not_after": 5 }, "not_after: a date is expected here, not a number"),
            (doc! { "not_before": "soon" }, "not_before: \"soon\" is not a date or time"),
        ] {
            let problems = read_with(more.clone()).err().unwrap_or_default();
            assert!(problems.iter().any(|problem| problem.starts_with(expected)), "{more}: {problems:?}");
            assert!(!problems.concat().contains("secret"), "{problems:?}");
        }
    }

    #[test]
    fn literal_labels_hold_any_text() {
        let document = doc! { "username": "x", "password": HASH, "labels": { "team": ["[a", "*"] } };
        let user = read_user(&document, LabelSyntax::Literal, Single::IsAList);
        let Ok(user) = user else { unreachable!("{:?}", user.err()) };
        assert_eq!(
            user.labels.get("team").map(Vec::as_slice),
            Some([LabelValue::literal("[a"), LabelValue::literal("*")].as_slice())
        );
    }
}
