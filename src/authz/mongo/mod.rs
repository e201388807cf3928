//! Rules in MongoDB (`acl_mongo:`): read whole, in the order of `seq`, again and again; a set that is not right as a
//! whole is never used.

pub mod book;
mod changes;
pub mod documents;
mod guard;
pub mod import;
pub mod order;
pub mod text;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::settings::number::duration;
use ::settings::{At, Field, Refusal};
use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use mongodb::bson::{Document, doc};
use policy::Answer;
use policy::acl::Acl;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Authorizer, Freshness, Question, Shown, work};
use crate::authn::password::Passwords;
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::{Passage, jittered};
use crate::digest::sha256;
use crate::mongo::{self, Collection, all, settings};
use crate::reach::{Reach, Reachable};
use changes::Changes;
use documents::compile;

/// The row of the table.
pub const KIND: Kind = Kind { key: "acl_mongo", purpose: Purpose::Rules, read: |field| configured(read(field)) };

/// How often rules are read again, where the file does not say.
const USUAL_TTL: Duration = Duration::from_secs(10);
/// How long rules are used that cannot be read again, where the file does not say.
const USUAL_MAX_STALE: Duration = Duration::from_secs(600);
/// How long reading all rules may take.
const READING: Duration = Duration::from_secs(10);
/// How long after a change the rules are read: many changes are often made together.
const SETTLE: Duration = Duration::from_millis(50);
/// The longest pause after a failure: a server that is back is noticed within two seconds.
const RETRY: Duration = Duration::from_secs(1);
/// The pause after the server refused our own credentials: each reading is a failed login there, and servers lock accounts
/// that are tried again and again.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);
/// How often rules that change all the time are read, until they are left for a while.
const MAX_READINGS: usize = 5;
/// The number of rules that are read; ten thousand are many.
const MAX_RULES: usize = 100_000;

/// The `acl_mongo:` section.
#[derive(Clone, Debug, PartialEq)]
pub struct AclMongoSettings {
    collection: settings::CollectionSettings,
    cache_ttl: Duration,
    max_stale: Duration,
}

impl AclMongoSettings {
    /// Where the documents are.
    pub fn collection(&self) -> &settings::CollectionSettings {
        &self.collection
    }
}

/// Reads the `acl_mongo:` section.
pub fn read(field: Field<'_>) -> Option<AclMongoSettings> {
    let mut section = field.section()?;
    let collection = settings::read(&mut section, "acl");
    let cache_ttl = section.word("cache_ttl", |text| match duration(text)? {
        time if time < Duration::from_secs(1) => {
            Err(Refusal::says("rules are read once a second at most; 10s is usual"))
        }
        time => Ok(time),
    });
    let max_stale = section.word("max_stale", duration);
    let ttl = cache_ttl.map_or(USUAL_TTL, |at| at.value);
    if let Some(At { place, value }) = &max_stale
        && *value <= ttl
    {
        section.problem(
            place,
            "max_stale",
            "rules would be too old before they are read again; write more than cache_ttl",
        );
    }
    section.finish();
    let max_stale = max_stale.map_or(USUAL_MAX_STALE.max(ttl.saturating_mul(2)), |at| at.value);
    Some(AclMongoSettings { collection: collection?, cache_ttl: ttl, max_stale })
}

/// The rules of a collection as a source of rules. They are read in the background for as long as this lives.
struct MongoRules {
    rules: Arc<Rules>,
    _reading: Reading,
}

/// The background reading; it ends with the source.
struct Reading(AbortHandle);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Rules {
    settings: Arc<AclMongoSettings>,
    collection: Collection,
    in_use: ArcSwapOption<InUse>,
    reading: tokio::sync::Mutex<()>,
    changes: Changes,
    /// What is wrong with the documents that were read last; empty while nothing is.
    refused: Mutex<Vec<String>>,
}

/// A set of rules that is right as a whole.
struct InUse {
    acl: Arc<Acl>,
    /// The rules' own numbers, in their order.
    seqs: Vec<i64>,
    /// Of the documents it was compiled from.
    digest: [u8; 32],
    /// When it was last known to be all there is.
    seen: Mutex<Instant>,
}

impl InUse {
    fn age(&self) -> Duration {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    fn seen_at(&self, moment: Instant) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }
}

impl Configured for AclMongoSettings {
    /// There are no rules yet; they begin to be read in the background.
    fn open(self: Arc<Self>, _passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        let rules = Arc::new(Rules {
            collection: Collection::new(self.collection.clone()),
            settings: self,
            in_use: ArcSwapOption::empty(),
            reading: tokio::sync::Mutex::default(),
            changes: Changes::default(),
            refused: Mutex::default(),
        });
        let reader = Arc::clone(&rules);
        // One task for both, so that neither outlives the other, nor the rules.
        let work = async move {
            tokio::join!(reader.keep_reading(), changes::watch(&reader.collection, &reader.changes));
        };
        let reading = Reading(crate::background::spawn(work)?.abort_handle());
        Opened::rules(MongoRules { rules, _reading: reading })
    }

    fn facts(&self) -> Facts<'_> {
        Facts::RulesElsewhere
    }
}

impl Reachable for MongoRules {
    /// Reads the rules now; that they cannot be used is a failure too.
    fn reach(&self) -> Reach<'_> {
        Reach::server(self.rules.reach())
    }

    fn passage(&self) -> Option<Passage> {
        None
    }
}

impl Rules {
    async fn reach(&self) -> anyhow::Result<String> {
        match self.read().await {
            Ok(()) => {
                let count = self.in_use.load().as_ref().map_or(0, |in_use| in_use.seqs.len());
                Ok(format!("{} holds {count} rules", self.settings.collection.namespace()))
            }
            Err(trouble) => anyhow::bail!(trouble.with_advice()),
        }
    }
}

/// Why there is no newer set of rules.
enum Trouble {
    /// The server was not reached.
    Unread {
        cause: String,
        /// What an administrator can do.
        advice: &'static str,
        /// When it is tried again.
        again: Duration,
    },
    /// They were never the same twice in a row.
    Changing,
    /// Documents that cannot be used, each named with what is wrong.
    Wrong(Vec<String>),
}

impl Trouble {
    fn text(&self) -> String {
        match self {
            Trouble::Unread { cause, .. } => cause.clone(),
            Trouble::Changing => "the rules changed while they were read".to_owned(),
            Trouble::Wrong(problems) => problems.join("; "),
        }
    }

    /// For who runs a command: what can be done as well.
    fn with_advice(&self) -> String {
        let advice = match self {
            Trouble::Unread { advice, .. } => advice,
            Trouble::Changing => "try again",
            Trouble::Wrong(_) => "correct or remove these documents: no rule is used until then",
        };
        format!("{}; {advice}", self.text())
    }
}

impl Rules {
    async fn keep_reading(&self) {
        let mut last = String::new();
        loop {
            let began = crate::clock::now();
            let pause = match self.read().await {
                Ok(()) => {
                    if !last.is_empty() {
                        info!(reason = "rules_current", source = KIND.key, "the rules are up to date again");
                        last.clear();
                        self.changes.back.notify_one();
                    }
                    self.settings.cache_ttl
                }
                Err(trouble) => {
                    let text = trouble.text();
                    // Once for each trouble, not once a second.
                    if text != last {
                        self.tell(&trouble);
                        last = text;
                    }
                    match trouble {
                        Trouble::Unread { again: RETRY, .. } => self.settings.cache_ttl.min(RETRY),
                        Trouble::Unread { again, .. } => again,
                        // Nothing is wrong with the server, and whoever takes a right away in a busy hour waits for this.
                        Trouble::Changing => SETTLE.max(began.elapsed()).min(self.settings.cache_ttl),
                        Trouble::Wrong(_) => self.settings.cache_ttl,
                    }
                }
            };
            let took = began.elapsed();
            tokio::select! {
                () = tokio::time::sleep(jittered(pause)) => {}
                // One change seldom comes alone; and however many come, no more than half of the time is spent reading.
                () = self.changes.changed.notified() => tokio::time::sleep(SETTLE.max(took)).await,
            }
        }
    }

    fn tell(&self, trouble: &Trouble) {
        let until = match self.in_use.load().as_ref() {
            Some(in_use) => {
                let left = self.settings.max_stale.saturating_sub(in_use.age()).as_secs();
                format!("the last good ones stay in use for {left} seconds more, then decisions are answered with 503")
            }
            // At a reload that waits for them, others decide.
            None => "there are none yet, and a server with these settings answers decisions with 503".to_owned(),
        };
        match trouble {
            Trouble::Unread { .. } | Trouble::Changing => {
                let cause = trouble.text();
                warn!(reason = "rules_unread", source = KIND.key, cause, "the rules could not be read; {until}");
            }
            Trouble::Wrong(problems) => {
                for problem in problems {
                    error!(
                        reason = "rules_refused",
                        source = KIND.key,
                        cause = problem,
                        "the rules cannot be used as they are; {until}"
                    );
                }
            }
        }
    }

    async fn read(&self) -> Result<(), Trouble> {
        // Of two readings at the same time, the one that began earlier could end later, and put older rules back.
        let _alone = self.reading.lock().await;
        let mut seen = crate::clock::now();
        let mut documents = self.fetch().await?;
        let mut digest = digest_of(&documents);
        if let Some(in_use) = self.in_use.load().as_ref()
            && in_use.digest == digest
        {
            in_use.seen_at(seen);
            self.refused(Vec::new());
            return Ok(());
        }
        // While documents are moved under the reading, one can be missed, and it could be the one that refuses: what has
        // changed is taken over once two readings agree.
        let mut readings = 1;
        loop {
            let began = crate::clock::now();
            let again = self.fetch().await?;
            let digest_again = digest_of(&again);
            if digest_again == digest {
                break;
            }
            readings += 1;
            if readings > MAX_READINGS {
                return Err(Trouble::Changing);
            }
            (seen, documents, digest) = (began, again, digest_again);
        }
        // Many rules take a while to compile, and the requests on this thread would wait for it.
        let compiled = tokio::task::spawn_blocking(move || compile(&documents)).await.map_err(|_| Trouble::Unread {
            cause: "the rules could not be compiled: the thread died".to_owned(),
            advice: "try again",
            again: RETRY,
        })?;
        match compiled {
            Ok((acl, seqs)) => {
                let rules = seqs.len();
                self.in_use.store(Some(Arc::new(InUse { acl: Arc::new(acl), seqs, digest, seen: Mutex::new(seen) })));
                self.refused(Vec::new());
                info!(source = KIND.key, rules, "new rules are in use");
                Ok(())
            }
            Err(problems) => {
                self.refused(problems.iter().map(|problem| problem.document.clone()).collect());
                Err(Trouble::Wrong(problems.into_iter().map(|problem| problem.to_string()).collect()))
            }
        }
    }

    async fn fetch(&self) -> Result<Vec<Document>, Trouble> {
        fetch(&self.collection).await.map_err(|failure| Trouble::Unread {
            cause: failure.to_string(),
            advice: failure.advice(),
            again: match failure {
                mongo::Failure::Stranger { .. } => REFUSED_AGAIN,
                mongo::Failure::Down { .. } | mongo::Failure::Refused { .. } | mongo::Failure::Slow { .. } => RETRY,
            },
        })
    }

    fn refused(&self, documents: Vec<String>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = documents;
    }
}

#[async_trait]
impl Authorizer for MongoRules {
    async fn authorize(&self, question: &Question<'_>) -> anyhow::Result<Answer> {
        let in_use = self.rules.in_use.load_full();
        let Some(in_use) = in_use else { anyhow::bail!("no rules have been read yet") };
        let age = in_use.age();
        if age >= self.rules.settings.max_stale {
            anyhow::bail!("the rules were last up to date {} seconds ago, longer than max_stale", age.as_secs());
        }
        let rules = Arc::clone(&in_use);
        let answer = work::answer(question, move |question, budget| rules.acl.decide(question, budget)).await?;
        Ok(match answer {
            Answer::Decided { actions, mut by, until } => {
                by.seq = in_use.seqs.get(by.index).copied();
                Answer::Decided { actions, by, until }
            }
            none @ Answer::NoMatch { .. } => none,
        })
    }

    fn freshness(&self) -> Option<Freshness> {
        Some(Freshness {
            age: self.rules.in_use.load().as_ref().map(|in_use| in_use.age()),
            limit: self.rules.settings.max_stale,
            refused: self.rules.refused.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    }

    async fn rules(&self) -> anyhow::Result<Shown> {
        match self.rules.read().await {
            Ok(()) => {}
            Err(Trouble::Wrong(problems)) => anyhow::bail!(
                "the rules in {} cannot be used as they are; a server that runs keeps the last good ones:\n  {}",
                self.rules.settings.collection.namespace(),
                problems.join("\n  ")
            ),
            Err(trouble @ (Trouble::Unread { .. } | Trouble::Changing)) => anyhow::bail!(trouble.with_advice()),
        }
        let in_use = self.rules.in_use.load_full().context("no rules have been read yet")?;
        Ok(Shown::Rules { acl: Arc::clone(&in_use.acl), seqs: in_use.seqs.clone() })
    }
}

/// All documents of the collection, in the order of `seq`, and one more than there may be at most.
async fn fetch(collection: &Collection) -> Result<Vec<Document>, mongo::Failure> {
    let read = collection.ask_within(READING, |collection| async move {
        let most = i64::try_from(MAX_RULES).map_or(i64::MAX, |most| most.saturating_add(1));
        all(collection.find(doc! {}).sort(doc! { "seq": 1, "_id": 1 }).limit(most).max_time(READING).await?).await
    });
    read.await
}

/// Tells one state of the collection from another, so that rules are compiled only when they have changed.
fn digest_of(documents: &[Document]) -> [u8; 32] {
    // What was just read can be written; if it could not, the digest would only miss a change in it.
    sha256(documents.iter().map(|document| document.to_vec().unwrap_or_default()))
}
