//! Users in the records (`records_auth:`), looked up one by one: what a command changes there holds at the next login.

use std::sync::Arc;

use ::settings::Field;
use anyhow::Context as _;
use async_trait::async_trait;
use mongodb::bson::Document;

use super::mongo::read_user;
use super::password::Passwords;
use super::stored::{Greeting, SAMPLE, StoredUsers, User, UserStore};
use super::{Account, LabelSyntax};
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::mongo::document::{Single, of_json};
use crate::reach::{Reach, Reachable};
use crate::records::{self, Records, Settings};

/// The row of the table.
pub const KIND: Kind = Kind { key: "records_auth", purpose: Purpose::Identity, read: |field| configured(read(field)) };

/// The `records_auth:` section.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordsAuthSettings {
    label_values: LabelSyntax,
    /// Where the records are, once the whole file is read.
    store: Option<Settings>,
}

impl RecordsAuthSettings {
    /// What the values of labels are there.
    pub fn label_values(&self) -> LabelSyntax {
        self.label_values
    }
}

/// Reads the `records_auth:` section.
pub fn read(field: Field<'_>) -> Option<RecordsAuthSettings> {
    let mut section = field.section()?;
    let label_values = LabelSyntax::read(&mut section, LabelSyntax::Glob);
    section.finish();
    Some(RecordsAuthSettings { label_values, store: None })
}

impl Configured for RecordsAuthSettings {
    /// Begins to look at what is there in the background.
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        let store = self.store.as_ref().context("no records are configured")?;
        let users = RecordsUsers { records: records::open_for(store, KIND.key), label_values: self.label_values };
        // A store that is not there yet has no users to learn from, and who only looks must not make it.
        let greeting = if store.is_unmade() { Greeting::Later } else { Greeting::AtOnce };
        StoredUsers::open(users, passwords, greeting)
    }

    fn facts(&self) -> Facts<'_> {
        Facts::AccountsElsewhere(self.store.as_ref().map_or_else(|| records::NAME.to_owned(), Settings::place))
    }

    fn kept_in(&self, store: &Settings) -> Option<Arc<dyn Configured>> {
        Some(Arc::new(RecordsAuthSettings { store: Some(store.clone()), ..self.clone() }))
    }
}

/// The users of the records.
struct RecordsUsers {
    records: Arc<dyn Records>,
    label_values: LabelSyntax,
}

impl Reachable for RecordsUsers {
    fn reach(&self) -> Reach<'_> {
        self.records.reach()
    }

    fn passage(&self) -> Option<Passage> {
        self.records.passage()
    }
}

#[async_trait]
impl UserStore for RecordsUsers {
    async fn find(&self, account: &Account) -> anyhow::Result<Option<User>> {
        let Some(found) = self.records.user(account).await? else { return Ok(None) };
        let document: Document = of_json(&found.text).context("a user in the records is no JSON")?;
        let user = read_user(&document, self.label_values, Single::IsAList);
        user.map(Some)
            .map_err(|problems| anyhow::anyhow!("a user in the records cannot be used: {}", problems.join("; ")))
    }

    async fn hashes(&self) -> Vec<String> {
        // What fails is in the log, and is met again by the first login.
        let users = self.records.users(None, SAMPLE).await.unwrap_or_default();
        let documents = users.iter().filter_map(|(_, user)| of_json(&user.text));
        documents.filter_map(|document: Document| document.get_str("password").ok().map(str::to_owned)).collect()
    }
}
