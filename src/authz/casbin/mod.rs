//! Decisions by a Casbin model and policy (`casbin_authz`), as docker_auth has them: two files that are read with the
//! configuration.
//!
//! Read here and not by the library for Rust. That decides by a script language, in which a matcher written for Go means
//! something else or nothing ('pull', `in`, `=~`), panics where an address is none, and needs a crate that nobody looks after
//! (RUSTSEC-2026-0249).

mod condition;
mod expression;
mod matcher;
mod model;
mod policy;
mod roles;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use ::policy::pattern::TooComplex;
use ::policy::scope::{Action, Actions};
use ::policy::{Answer, Budget, RuleRef};
use anyhow::Context as _;
use async_trait::async_trait;
use settings::files::read_named_text;
use settings::refused::ShownPath;
use settings::yaml::Value;
use settings::{At, Field, Section};

use self::condition::Asked;
use self::model::Remark;
use self::policy::{Policy, Wrong};
use super::{Authorizer, Decides, Freshness, Gate, InUse, Question, Shown, work};
use crate::authn::password::Passwords;
use crate::backend::rules::label_texts;
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::breaker::Passage;
use crate::digest::sha256;
use crate::reach::{Reach, Reachable};
use crate::shown::counted;

/// The row of the table.
pub const KIND: Kind = Kind { key: "casbin_authz", purpose: Purpose::Rules, read: |field| configured(read(field)) };

/// Where the model is.
const MODEL: &str = "model_path";
/// Where the policy is.
const POLICY: &str = "policy_path";
/// Of a file with many wrong lines, so many are named.
const MOST_NAMED: usize = 20;
/// So many lines of the policy are named that granted something.
const MOST_LINES: usize = 4;

/// A model and its policy; nothing where the files were not read.
#[derive(Clone, Debug, PartialEq)]
pub struct Casbin(Option<Read>);

/// A model and its policy, with the digest of their texts.
#[derive(Clone, Debug)]
struct Read {
    policy: Arc<Policy>,
    digest: [u8; 32],
}

/// The same texts decide alike.
impl PartialEq for Read {
    fn eq(&self, other: &Read) -> bool {
        self.digest == other.digest
    }
}

/// Reads the `casbin_authz:` section and its files. Everything that is wrong with a file is said, each with its line.
fn read(field: Field<'_>) -> Option<Casbin> {
    let mut section = field.section()?;
    let model = named(&mut section, MODEL, "a Casbin model is needed; write model_path: /path/to/model.conf");
    let policy = named(&mut section, POLICY, "a Casbin policy is needed; write policy_path: /path/to/policy.csv");
    let (Some(model), Some(policy)) = (model, policy) else {
        section.finish();
        return None;
    };
    let text = |at: &At<PathBuf>, key| section.read_file(at, key, read_named_text).ok().flatten();
    let (model_text, policy_text) = (text(&model, MODEL), text(&policy, POLICY));
    let casbin = model_text.and_then(|text| {
        let read = model::read(&text);
        if let Ok((_, doubts)) = &read {
            tell(doubts, &model, |message| section.warn(&model.place, MODEL, message));
        }
        let wrong = |remarks: &[Remark]| tell(remarks, &model, |message| section.problem(&model.place, MODEL, message));
        let (read, _) = read.map_err(|remarks| wrong(&remarks)).ok()?;
        let policy_text = policy_text?;
        match policy::read(&read, &policy_text) {
            Ok((read, doubts)) => {
                tell(&doubts, &policy, |message| section.warn(&policy.place, POLICY, message));
                Some(Read { policy: Arc::new(read), digest: sha256([&text, &policy_text]) })
            }
            Err(Wrong::Model(remark)) => {
                wrong(&[remark]);
                None
            }
            Err(Wrong::Lines(remarks)) => {
                tell(&remarks, &policy, |message| section.problem(&policy.place, POLICY, message));
                None
            }
        }
    });
    section.finish();
    Some(Casbin(casbin))
}

/// The path under this key, which has to be there.
fn named(section: &mut Section<'_>, key: &'static str, needed: &str) -> Option<At<PathBuf>> {
    let path = section.path(key);
    if path.is_none()
        && section.field(key).is_none_or(|field| matches!(field.value(), Value::Text(text) if text.is_empty()))
    {
        section.missing(key, needed);
    }
    path
}

/// Says what there is to say about a file, with its lines, as far as anybody reads on.
fn tell(remarks: &[Remark], file: &At<PathBuf>, say: impl Fn(String)) {
    let name = ShownPath(&file.value);
    for Remark { line, message } in remarks.iter().take(MOST_NAMED) {
        say(format!("{name}:{line}: {message}"));
    }
    if let more @ 1.. = remarks.len().saturating_sub(MOST_NAMED) {
        let lines = counted(more, "more line");
        say(format!("{name} has {lines} of which the same or the like is to be said"));
    }
}

impl Configured for Casbin {
    fn open(self: Arc<Self>, _passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        let read = self.0.as_ref().context("the model and the policy were not read")?;
        Opened::rules(CasbinAuthz(Arc::clone(&read.policy)))
    }

    /// They cannot be shown as rules, but `explain` can ask them like any other.
    fn facts(&self) -> Facts<'_> {
        Facts::RulesElsewhere
    }
}

/// The policy as a source of rules. It always decides: sources after it are never asked.
struct CasbinAuthz(Arc<Policy>);

impl Reachable for CasbinAuthz {
    fn reach(&self) -> Reach<'_> {
        Reach::Nothing
    }

    fn passage(&self) -> Option<Passage> {
        None
    }
}

#[async_trait]
impl Authorizer for CasbinAuthz {
    async fn authorize(&self, question: &Question<'_>) -> anyhow::Result<Answer> {
        let policy = Arc::clone(&self.0);
        work::answer(question, move |question, budget| answer(&policy, question, budget)).await
    }

    fn compiled(&self) -> anyhow::Result<Option<Arc<::policy::acl::Acl>>> {
        Ok(None)
    }

    fn freshness(&self) -> Option<Freshness> {
        None
    }

    async fn rules(&self) -> anyhow::Result<Shown> {
        Ok(Shown::Decisions)
    }

    fn in_use(&self) -> InUse {
        InUse::Policy(Arc::clone(&self.0) as Arc<dyn Decides>)
    }

    /// What changes its files is a reload.
    fn guard(&self, _gate: &Arc<dyn Gate>) {}
}

impl Decides for Policy {
    fn decide(&self, question: &::policy::Question<'_>, budget: &mut Budget) -> Result<Answer, TooComplex> {
        answer(self, question, budget)
    }
}

/// Asks the policy about each action, as docker_auth does.
fn answer(policy: &Policy, question: &::policy::Question<'_>, budget: &mut Budget) -> Result<Answer, TooComplex> {
    let (mut granted, mut lines) = (Actions::new(), BTreeSet::new());
    let labels = label_texts(question);
    let written = labels_as_written(&labels);
    for action in question.actions {
        let verdict = policy.decide(&asked(question, action, &labels, &written), budget)?;
        if verdict.is_granted {
            granted.insert(action.clone());
            lines.extend(verdict.line);
        }
    }
    let comment = (!lines.is_empty()).then(|| said_of(&lines).into());
    Ok(Answer::Decided { actions: granted, by: RuleRef { index: 0, seq: None, id: None, comment }, until: None })
}

fn asked<'a>(
    question: &::policy::Question<'a>,
    action: &'a Action,
    labels: &'a BTreeMap<&'a str, Vec<&'a str>>,
    written: &'a str,
) -> Asked<'a> {
    // As Go writes an address that is none.
    let address = question.address.map_or("<nil>".to_owned(), |address| address.to_string());
    let (resource, account) = (question.resource, question.account);
    let texts = [account, resource.kind(), resource.name(), question.service];
    let [account, kind, name, service] = texts.map(Cow::Borrowed);
    let rest = [Cow::Owned(address), Cow::Borrowed(action.as_str()), Cow::Borrowed(written)];
    let [address, action, written] = rest;
    Asked { values: [account, kind, name, service, address, action, written], address: question.address, labels }
}

/// The labels as Go writes them in JSON: no character of HTML stands there by itself.
fn labels_as_written(labels: &BTreeMap<&str, Vec<&str>>) -> String {
    let mut written = serde_json::json!(labels).to_string();
    for letter in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        written = written.replace(letter, &format!("\\u{:04x}", u32::from(letter)));
    }
    written
}

/// The lines that granted something, for the log.
fn said_of(lines: &BTreeSet<usize>) -> String {
    let named: Vec<String> = lines.iter().take(MOST_LINES).map(usize::to_string).collect();
    let more = if lines.len() > MOST_LINES { " and more" } else { "" };
    format!("{} {}{more}", if lines.len() == 1 { "line" } else { "lines" }, named.join(", "))
}

#[cfg(test)]
mod tests;
