//! What every source of rules owes, and what it is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use policy::acl::Acl;
use policy::pattern::{LabelValue, TooComplex};
use policy::{Answer, Budget};
use tokio::time::Instant;

use super::work::Work;
use crate::client_network::ClientNetwork;
use crate::reach::Reachable;
use crate::turns::Client;

/// One question to a source of rules.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// What is asked.
    pub asked: policy::Question<'a>,
    /// When deciding the whole request began. A source that waits for somebody else counts its deadline from here: a
    /// request has many scopes, and with a deadline for each it could wait for minutes.
    pub began: Instant,
    /// The work that may still be done for the whole request.
    pub work: &'a Work,
}

impl Question<'_> {
    /// Whose turns it has, where deciding it is costly or somebody else has to be asked.
    pub(crate) fn client(&self) -> Client {
        Client { network: ClientNetwork::of(self.asked.address), lane: self.work.lane() }
    }
}

/// The labels of who asks, each with the texts of its values.
pub(crate) fn label_texts<'a>(asked: &policy::Question<'a>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let labels = asked.labels.iter();
    labels.map(|(name, values)| (name.as_str(), values.iter().map(LabelValue::text).collect())).collect()
}

/// A source of rules. Nothing here has a default, so that no source can forget it.
#[async_trait]
pub trait Authorizer: Reachable {
    /// Decides one question.
    ///
    /// # Errors
    /// "Could not find out". The caller grants nothing and answers 503; it never asks the next source instead, since
    /// a rule that refuses might have been missed.
    async fn authorize(&self, question: &Question<'_>) -> anyhow::Result<Answer>;

    /// The rules that it decides by now, and nothing else; `None` for a source that has to be asked about each question.
    ///
    /// # Errors
    /// As [`Authorizer::authorize`].
    fn compiled(&self) -> anyhow::Result<Option<Arc<Acl>>>;

    /// How fresh its rules are; `None` for a source that cannot fall behind.
    fn freshness(&self) -> Option<Freshness>;

    /// Its rules as they are now, for an administrator who asks why.
    ///
    /// # Errors
    /// They could not be read, or cannot be used as they are: says why. The message is printed.
    async fn rules(&self) -> anyhow::Result<Shown>;

    /// What it decides by at this moment, without asking anybody.
    fn in_use(&self) -> InUse;

    /// Lets this gate say from now on whether newer rules take the place of those in use. What was put in place before is seen by
    /// [`in_use`](Authorizer::in_use) once this returns.
    fn guard(&self, gate: &Arc<dyn Gate>);
}

/// What a source of rules decides by.
#[derive(Clone)]
pub enum InUse {
    /// Rules.
    Rules {
        /// The rules.
        acl: Arc<Acl>,
        /// The rules' own numbers, in the same order, where it has such.
        seqs: Arc<[Option<i64>]>,
    },
    /// Something that is compared here, and has no rules to show.
    Policy(Arc<dyn Decides>),
    /// Rules of which none have been read yet.
    Unread,
    /// Somebody else, who has to be asked.
    Elsewhere,
}

/// Something that decides questions by itself.
pub trait Decides: Send + Sync {
    /// Decides a question within a budget of work.
    ///
    /// # Errors
    /// It would take more work than that.
    fn decide(&self, question: &policy::Question<'_>, budget: &mut Budget) -> Result<Answer, TooComplex>;
}

/// Says whether newer rules of a source may take the place of those in use.
pub trait Gate: Send + Sync {
    /// Calls `put` if they may. Nothing else takes a place meanwhile, in any source behind the same gate.
    ///
    /// This may take seconds, and so must not run on a thread that serves requests.
    ///
    /// # Errors
    /// What keeps them out.
    fn pass(&self, source: &'static str, newer: InUse, put: &mut dyn FnMut()) -> Result<(), Vec<KeptOut>>;
}

/// A test that newer rules would fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptOut {
    /// Its name.
    pub test: Arc<str>,
    /// What is wrong.
    pub message: String,
}

/// What a source of rules shows of itself.
pub enum Shown {
    /// Its rules, in the order in which they are compared.
    Rules {
        /// The rules.
        acl: Arc<Acl>,
        /// The rules' own numbers, in the same order, where it has such.
        seqs: Vec<i64>,
    },
    /// Nothing: it decides by itself.
    Decisions,
}

/// How fresh the rules of a source are that reads them from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// How long ago the rules in use were last known to be all there is; `None` while there are none.
    pub age: Option<Duration>,
    /// The age from which on nothing is decided by them.
    pub limit: Duration,
    /// The documents that keep newer rules from being used, as the log names them.
    pub refused: Vec<String>,
}

impl Freshness {
    /// Whether there are rules to decide by.
    pub fn is_enough(&self) -> bool {
        self.age.is_some_and(|age| age < self.limit)
    }
}
