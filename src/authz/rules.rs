//! The rules of the file (`acl:`): compiled, with the place of each; and as a source of rules. How they are written is in `crates/rulefile`.

use std::sync::Arc;

use async_trait::async_trait;
use policy::Answer;
use policy::acl::Acl;
use policy::rule::Rule;
use settings::{At, Field, Place};

pub(crate) use rulefile::{about_rule, key_of, needs_match, read_rule};

use super::{Authorizer, Freshness, Gate, InUse, Question, Shown, work};
use crate::authn::password::Passwords;
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::reach::{Reach, Reachable};

/// The row of the table.
pub const KIND: Kind = Kind { key: "acl", purpose: Purpose::Rules, read: |field| configured(read(field)) };

/// The `acl:` section.
#[derive(Debug)]
pub struct Rules {
    /// The rules, in order.
    pub acl: Arc<Acl>,
    /// Where each of them stands.
    pub places: Vec<Place>,
}

impl FromIterator<At<Rule>> for Rules {
    fn from_iter<I: IntoIterator<Item = At<Rule>>>(rules: I) -> Rules {
        let (rules, places) = rules.into_iter().map(|At { place, value }| (value, place)).unzip();
        Rules { acl: Arc::new(Acl::new(rules)), places }
    }
}

/// Rules that were read anew are others: it costs nothing to put them in place.
impl PartialEq for Rules {
    fn eq(&self, other: &Rules) -> bool {
        Arc::ptr_eq(&self.acl, &other.acl)
    }
}

impl Configured for Rules {
    fn open(self: Arc<Self>, _passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        Opened::rules(StaticRules(Arc::clone(&self.acl)))
    }

    fn facts(&self) -> Facts<'_> {
        Facts::Rules
    }
}

/// The rules of the file as a source of rules.
pub(super) struct StaticRules(pub(super) Arc<Acl>);

impl Reachable for StaticRules {
    fn reach(&self) -> Reach<'_> {
        Reach::Nothing
    }

    fn passage(&self) -> Option<Passage> {
        None
    }
}

#[async_trait]
impl Authorizer for StaticRules {
    async fn authorize(&self, question: &Question<'_>) -> anyhow::Result<Answer> {
        let acl = Arc::clone(&self.0);
        work::answer(question, move |question, budget| acl.decide(question, budget)).await
    }

    fn compiled(&self) -> anyhow::Result<Option<Arc<Acl>>> {
        Ok(Some(Arc::clone(&self.0)))
    }

    fn freshness(&self) -> Option<Freshness> {
        None
    }

    async fn rules(&self) -> anyhow::Result<Shown> {
        Ok(Shown::Rules { acl: Arc::clone(&self.0), seqs: Vec::new() })
    }

    fn in_use(&self) -> InUse {
        InUse::Rules { acl: Arc::clone(&self.0), seqs: Arc::from([]) }
    }

    /// What changes them is a reload.
    fn guard(&self, _gate: &Arc<dyn Gate>) {}
}

/// Reads the `acl:` list.
pub(crate) fn read(list: Field<'_>) -> Option<Rules> {
    Some(Rules::from_iter(rulefile::read_rules(&list)?))
}
