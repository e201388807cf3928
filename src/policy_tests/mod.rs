//! Tests of the policy (`tests:`): what somebody may do, as it was promised, and whether the rules still say so.
//!
//! They are decided by the rules that a server decides by, and by nothing else: no directory, database or program is asked about an
//! account. What they mean is in `docs/reference/config-tests.md`.

mod action;
mod coverage;
mod gate;
mod read;
mod run;
mod told;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use policy::pattern::LabelValues;
use policy::scope::{Actions, Reference, Resource, Scope, ScopeError, parse_actions};
use settings::Place;
use time::OffsetDateTime;

use crate::identity::Account;

pub use action::PolicyAction;
pub use coverage::{Coverage, CoveredRule};
pub use gate::{Failing, PolicyGate};
pub use read::{Comments, Read, read};
pub(crate) use run::named;
pub use run::{Outcome, Run, Verdict, run};
pub use told::{Summary, junit, unusable};

/// The section of the file.
pub const NAME: &str = "tests";

/// One question, and the answer that is promised.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// What it is called; those of one entry share it.
    pub name: Arc<str>,
    /// Where it stands.
    pub place: Place,
    /// The file, where it is not the configuration's.
    pub file: Option<Arc<PathBuf>>,
    /// Who asks; `None` is a client without an account.
    pub account: Option<Account>,
    /// The labels that the account has; without them, those that the configuration gives it.
    pub labels: Option<Arc<LabelValues>>,
    /// From where.
    pub address: Option<IpAddr>,
    /// For which service.
    pub service: Arc<str>,
    /// When; needed only where the answer hangs on it.
    pub at: Option<OffsetDateTime>,
    /// What is asked for, with the tag or digest that the request names.
    pub scope: Scope,
    /// What is granted, no more and no less.
    pub want: Arc<Actions>,
    /// The comment of the rule that decides.
    pub rule: Option<Arc<str>>,
}

/// The tests of a configuration, each question by itself.
pub type Tests = Arc<[Test]>;

/// A scope as a client asks for it, or something of Dockwarden's own, which is called as accounts are.
///
/// # Errors
/// The part that is not in the grammar.
pub fn scope_from(text: &str) -> Result<Scope, ScopeError> {
    let rest = text.strip_prefix(policy::scope::OURS).and_then(|rest| rest.strip_prefix(':'));
    match rest.and_then(|rest| rest.rsplit_once(':')) {
        None => Scope::parse(text),
        Some((name, words)) => Ok(Scope {
            resource: Resource::ours(name)?,
            class: None,
            actions: parse_actions(words.split(',')),
            reference: None,
        }),
    }
}

impl Test {
    /// The tag or digest that the request names.
    pub fn reference(&self) -> Option<&Reference> {
        self.scope.reference.as_ref()
    }

    /// Who asks, as rules have it: empty for a client without an account.
    pub fn asker(&self) -> &str {
        self.account.as_ref().map_or("", Account::as_str)
    }
}
