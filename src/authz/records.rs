//! Rules in the records (`acl_records:`), in the order of `seq`: one list, changed as a whole, whose version is asked for all the
//! time.

use std::sync::Arc;
use std::time::Duration;

use ::settings::Field;
use anyhow::Context as _;
use async_trait::async_trait;

use super::kept::{self, Again, Changes, Compiled, Keeper, Times, Unread, Wrong};
use super::mongo::documents::compile;
use crate::authn::password::Passwords;
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::digest::sha256;
use crate::mongo::document::list_of_json;
use crate::records::{self, Document, Records, Settings, Version};

/// The row of the table.
pub const KIND: Kind = Kind { key: "acl_records", purpose: Purpose::Rules, read: |field| configured(read(field)) };

/// How often it is asked whether there are other rules.
const ASKED_EVERY: Duration = Duration::from_secs(1);

/// The `acl_records:` section.
#[derive(Clone, Debug, PartialEq)]
pub struct AclRecordsSettings {
    times: Times,
    /// Where the records are, once the whole file is read.
    store: Option<Settings>,
}

/// Reads the `acl_records:` section.
pub fn read(field: Field<'_>) -> Option<AclRecordsSettings> {
    let mut section = field.section()?;
    let times = Times::read(&mut section);
    section.finish();
    Some(AclRecordsSettings { times, store: None })
}

impl Configured for AclRecordsSettings {
    fn open(self: Arc<Self>, _passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        let store = self.store.as_ref().context("no records are configured")?;
        let keeper = RecordsRules { records: records::open_for(store, KIND.key), store: store.clone() };
        kept::open(keeper, self.times)
    }

    fn facts(&self) -> Facts<'_> {
        Facts::RulesElsewhere
    }

    fn kept_in(&self, store: &Settings) -> Option<Arc<dyn Configured>> {
        Some(Arc::new(AclRecordsSettings { store: Some(store.clone()), ..self.clone() }))
    }
}

/// The rules of the records.
struct RecordsRules {
    records: Arc<dyn Records>,
    store: Settings,
}

#[async_trait]
impl Keeper for RecordsRules {
    const KEY: &'static str = KIND.key;
    type Entries = Document;

    fn place(&self) -> String {
        self.store.place()
    }

    fn unmade(&self) -> anyhow::Result<Option<String>> {
        self.store.unmade()
    }

    async fn fetch(&self) -> Result<Document, Unread> {
        let read = self.records.rules().await;
        read.map_err(|failure| Unread {
            cause: failure.to_string(),
            advice: "see to the records first",
            again: Again::Soon,
        })
    }

    fn digest(entries: &Document) -> [u8; 32] {
        sha256([&entries.text])
    }

    fn compile(entries: Document) -> Result<Compiled, Vec<Wrong>> {
        let Some(documents) = list_of_json(&entries.text) else {
            let message = "this is no list of rules in JSON".to_owned();
            return Err(vec![Wrong { document: "the rules".to_owned(), message }]);
        };
        let (acl, seqs) = compile(&documents)?;
        Ok(Compiled { acl, seqs: seqs.into_iter().map(Some).collect(), remark: None })
    }

    /// Asks for the version again and again, which costs the store next to nothing.
    async fn watch(&self, changes: &Changes) {
        let mut last: Option<Version> = None;
        loop {
            // What fails is told by who reads the rules.
            if let Ok(version) = self.records.rules_version().await {
                if last.is_some_and(|last| last != version) {
                    changes.changed.notify_one();
                }
                last = Some(version);
            }
            tokio::time::sleep(ASKED_EVERY).await;
        }
    }
}
