//! Decisions by a program of the administrator's (`ext_authz`), asked as docker_auth asks it: all or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::bail;
use async_trait::async_trait;
use policy::rule::Grants;
use policy::scope::{Action, Actions};
use policy::{Answer, RuleRef};
use serde::Serialize;
use settings::Field;

use super::{Authorizer, Freshness, Gate, InUse, Question, Shown};
use crate::authn::password::Passwords;
use crate::backend::rules::label_texts;
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::program::{self, Program, ProgramSettings};
use crate::reach::{Reach, Reachable};

/// The row of the table.
pub const KIND: Kind = Kind { key: "ext_authz", purpose: Purpose::Rules, read: |field| configured(read(field)) };

/// Exit status: all that was asked for is granted.
const ALLOWED: i32 = 0;
/// Exit status: nothing is granted.
const DENIED: i32 = 1;

/// Reads the `ext_authz:` section. `None` where something is wrong, which is said then.
pub fn read(field: Field<'_>) -> Option<ProgramSettings> {
    let mut section = field.section()?;
    let program = program::read(&mut section);
    section.finish();
    program
}

/// The program as a source of rules. It always decides: sources after it are never asked.
pub struct ProgramAuthz {
    program: Program,
}

impl ProgramAuthz {
    /// A source that asks this program.
    pub fn new(settings: ProgramSettings) -> ProgramAuthz {
        ProgramAuthz { program: Program::new(KIND.key, settings) }
    }
}

/// The question, with the names that docker_auth's programs know.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ProgramQuestion<'a> {
    account: &'a str,
    #[serde(rename = "Type")]
    kind: &'a str,
    name: &'a str,
    service: &'a str,
    /// Empty where it is not known.
    #[serde(rename = "IP")]
    address: String,
    actions: Vec<&'a str>,
    labels: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> ProgramQuestion<'a> {
    fn from(question: &Question<'a>) -> ProgramQuestion<'a> {
        ProgramQuestion {
            account: question.asked.account,
            kind: question.asked.resource.kind(),
            name: question.asked.resource.name(),
            service: question.asked.service,
            address: question.asked.address.map(|address| address.to_string()).unwrap_or_default(),
            actions: question.asked.actions.iter().map(Action::as_str).collect(),
            labels: label_texts(&question.asked),
        }
    }
}

impl Configured for ProgramSettings {
    fn open(self: Arc<Self>, _passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        Opened::rules(ProgramAuthz::new(Self::clone(&self)))
    }

    fn facts(&self) -> Facts<'_> {
        Facts::Decisions
    }
}

impl Reachable for ProgramAuthz {
    fn reach(&self) -> Reach<'_> {
        Reach::Program(self.program.find())
    }

    fn passage(&self) -> Option<Passage> {
        None
    }
}

#[async_trait]
impl Authorizer for ProgramAuthz {
    async fn authorize(&self, question: &Question<'_>) -> anyhow::Result<Answer> {
        let input = serde_json::to_vec(&ProgramQuestion::from(question))?;
        let actions = match self.program.ask(&input, None, question.client(), question.began).await?.status {
            ALLOWED => Grants::All.of(question.asked.actions),
            DENIED => Actions::new(),
            other => bail!("{} ended with {other}; {ALLOWED} grants all, {DENIED} nothing", self.program.name()),
        };
        Ok(Answer::Decided { actions, by: RuleRef { index: 0, seq: None, id: None, comment: None }, until: None })
    }

    fn compiled(&self) -> anyhow::Result<Option<Arc<policy::acl::Acl>>> {
        Ok(None)
    }

    fn freshness(&self) -> Option<Freshness> {
        None
    }

    async fn rules(&self) -> anyhow::Result<Shown> {
        Ok(Shown::Decisions)
    }

    fn in_use(&self) -> InUse {
        InUse::Elsewhere
    }

    /// There are no rules here that could change.
    fn guard(&self, _gate: &Arc<dyn Gate>) {}
}
