//! Documents of users and rules among the records, as JSON with the keys that MongoDB's have.

use std::sync::Arc;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document as Bsons};

use super::{What, changed, inserted, is_found, seq_of};
use crate::identity::Account;
use crate::mongo::document::{list_of_json, of_json, to_json};
use crate::mongo::{self, NotChanged, Write};
use crate::records::{Changed, Document, Failure, Records, Settings, open};

/// So many users are read at once.
const PAGE: u32 = 1000;
/// How often a change is tried anew because others changed the rules at the same time.
const TRIES: usize = 8;

/// Documents in the records.
pub(crate) struct Kept {
    records: Arc<dyn Records>,
    settings: Settings,
    what: What,
}

impl Kept {
    pub(super) fn new(settings: &Settings, what: What) -> Kept {
        Kept { records: open(settings), settings: settings.clone(), what }
    }

    pub(super) fn place(&self) -> String {
        self.settings.place()
    }

    /// The documents that a filter finds.
    pub(super) async fn find(&self, filter: &Bsons) -> Result<Vec<Bsons>, mongo::Failure> {
        // Who only looks makes no file: where there is none yet, nothing is in it.
        if self.settings.is_unmade() {
            return Ok(Vec::new());
        }
        let mut documents = self.all().await.map_err(|failure| self.failure(failure))?;
        documents.retain(|document| is_found(document, filter));
        Ok(documents)
    }

    fn failure(&self, failure: Failure) -> mongo::Failure {
        let (Failure::Away { cause } | Failure::Unusable { cause }) = failure;
        mongo::Failure::Down { place: "the records".to_owned(), cause, advice: "nothing was read" }
    }

    fn unknown(&self, failure: Failure) -> NotChanged {
        NotChanged::Unknown(self.failure(failure))
    }

    fn unread(&self, failure: Failure) -> NotChanged {
        NotChanged::Unread(self.failure(failure))
    }

    async fn all(&self) -> Result<Vec<Bsons>, Failure> {
        match self.what {
            What::Rules => Ok(rules_of(&self.records.rules().await?)?),
            What::Users => {
                let (mut documents, mut after) = (Vec::new(), None);
                loop {
                    let page = self.records.users(after.as_ref(), PAGE).await?;
                    let Some((last, _)) = page.last() else { return Ok(documents) };
                    after = Account::parse(last).ok();
                    for (_, user) in &page {
                        documents.push(of_json(&user.text).ok_or_else(unreadable)?);
                    }
                }
            }
        }
    }

    pub(super) async fn insert(&self, document: &Bsons) -> Result<Write, NotChanged> {
        let mut document = document.clone();
        if !document.contains_key("_id") {
            document.insert("_id", ObjectId::new());
        }
        match self.what {
            What::Users => {
                let name = account_of(&document)?;
                let made = self.records.make_user(&name, &text_of(&document)).await;
                Ok(write_of(made.map_err(|failure| self.unknown(failure))?))
            }
            What::Rules => self.change_rules(|rules| inserted(rules, &document)).await,
        }
    }

    /// Changes or removes the one document that `filter` finds.
    pub(super) async fn change(
        &self,
        filter: &Bsons,
        change: impl Fn(&Bsons) -> Option<Bsons>,
    ) -> Result<Write, NotChanged> {
        match self.what {
            What::Users => {
                let name = match filter.get_document("username").and_then(|name| name.get_str("$eq")) {
                    Ok(name) => Account::parse(name).ok(),
                    Err(_) => None,
                };
                let Some(name) = name else { return Ok(Write::Conflict) };
                let Some(found) = self.records.user(&name).await.map_err(|failure| self.unread(failure))? else {
                    return Ok(Write::Conflict);
                };
                let before = of_json(&found.text).ok_or_else(|| self.unread(unreadable()))?;
                if !is_found(&before, filter) {
                    return Ok(Write::Conflict);
                }
                let changed = match change(&before) {
                    Some(after) => self.records.replace_user(&name, &text_of(&after), found.version).await,
                    None => self.records.remove_user(&name, found.version).await,
                };
                Ok(write_of(changed.map_err(|failure| self.unknown(failure))?))
            }
            What::Rules => self.change_rules(|rules| changed(rules, filter, &change)).await,
        }
    }

    /// Puts what `change` makes of the rules in their place; `None` is a conflict.
    async fn change_rules(&self, change: impl Fn(&[Bsons]) -> Option<Vec<Bsons>>) -> Result<Write, NotChanged> {
        for _ in 0..TRIES {
            let before = self.records.rules().await.map_err(|failure| self.unread(failure))?;
            let rules = rules_of(&before).map_err(|failure| self.unread(failure))?;
            let Some(mut rules) = change(&rules) else { return Ok(Write::Conflict) };
            rules.sort_by_key(seq_of);
            let text = to_json(&Bson::Array(rules.into_iter().map(Bson::Document).collect())).to_string();
            match self.records.replace_rules(&text, before.version).await.map_err(|failure| self.unknown(failure))? {
                Changed::Done => return Ok(Write::Applied),
                Changed::Missing | Changed::Conflict => {}
            }
        }
        Ok(Write::Conflict)
    }
}

fn unreadable() -> Failure {
    Failure::Unusable { cause: "what is kept there is not as this program writes it".to_owned() }
}

fn rules_of(document: &Document) -> Result<Vec<Bsons>, Failure> {
    list_of_json(&document.text).ok_or_else(unreadable)
}

fn account_of(document: &Bsons) -> Result<Account, NotChanged> {
    let name = document.get_str("username").unwrap_or_default();
    Account::parse(name).map_err(|wrong| NotChanged::Refused(wrong.to_string()))
}

fn text_of(document: &Bsons) -> String {
    to_json(&Bson::Document(document.clone())).to_string()
}

fn write_of(changed: Changed) -> Write {
    match changed {
        Changed::Done => Write::Applied,
        Changed::Missing | Changed::Conflict => Write::Conflict,
    }
}
