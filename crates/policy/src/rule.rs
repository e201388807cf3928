//! One rule: what it names, whom it matches, and what it grants.
//!
//! Pure: no I/O, no clock. What rules mean is in `docs/POLICY.md`; patterns are in [`super::pattern`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use time::OffsetDateTime;

use super::Question;
use super::glob::Budget;
use super::pattern::{Bindings, Field, Pattern, Placeholder, TooComplex, Values};
use crate::scope::{Action, Actions, Reference};

/// A rule as somebody wrote it, whatever it was read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleText {
    /// Pattern on the account; absent matches any, as for the other fields.
    pub account: Option<String>,
    /// Pattern on the resource's type.
    pub kind: Option<String>,
    /// Pattern on the resource's name.
    pub name: Option<String>,
    /// Pattern on the service (audience).
    pub service: Option<String>,
    /// An address or a network in prefix notation.
    pub ip: Option<String>,
    /// Pattern on the tag that the request names; only doors that see the path know one.
    pub tag: Option<String>,
    /// `tag` or `digest`: what the request names a manifest or a blob by.
    pub reference: Option<String>,
    /// Label name to a pattern that at least one of the account's values must match.
    pub labels: BTreeMap<String, String>,
    /// What the rule grants: `["*"]` everything asked, `[]` nothing.
    pub actions: Vec<String>,
    /// Free text, shown where the rule decides.
    pub comment: Option<String>,
    /// The rule does not match before this moment.
    pub not_before: Option<OffsetDateTime>,
    /// The rule does not match from this moment on.
    pub not_after: Option<OffsetDateTime>,
}

/// The fields of a rule: those that can keep it from matching, and what it grants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MatchField {
    /// `match.account`
    Account,
    /// `match.type`
    Type,
    /// `match.name`
    Name,
    /// `match.service`
    Service,
    /// `match.ip`
    Ip,
    /// `match.tag`
    Tag,
    /// `match.reference`
    Reference,
    /// `match.labels`, and which of them
    Label(String),
    /// `actions`
    Actions,
    /// `not_before`: the rule does not hold yet.
    NotBefore,
    /// `not_after`: the rule holds no more.
    NotAfter,
}

impl std::fmt::Display for MatchField {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MatchField::Account => out.write_str("account"),
            MatchField::Type => out.write_str("type"),
            MatchField::Name => out.write_str("name"),
            MatchField::Service => out.write_str("service"),
            MatchField::Ip => out.write_str("ip"),
            MatchField::Tag => out.write_str("tag"),
            MatchField::Reference => out.write_str("reference"),
            MatchField::Label(label) => write!(out, "labels.{label}"),
            MatchField::Actions => out.write_str("actions"),
            MatchField::NotBefore => out.write_str("not_before"),
            MatchField::NotAfter => out.write_str("not_after"),
        }
    }
}

/// Why a rule cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// The field that is wrong.
    pub field: MatchField,
    /// What is wrong and what to write instead. Where a value was refused, it says what that is: `no action; write …`.
    pub message: String,
    /// The refused value. Whether a message may repeat it is for whoever writes the message to know: a secret can stand in any
    /// wrong place.
    pub refused: Option<String>,
}

/// What a rule gives to those it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grants {
    /// `["*"]`: everything that was asked for.
    All,
    /// The listed actions; none at all refuses.
    Listed(Actions),
}

impl Grants {
    /// What of `asked` is granted.
    pub fn of(&self, asked: &Actions) -> Actions {
        match self {
            Grants::All => asked.iter().filter(|action| action.is_known()).cloned().collect(),
            // Asking for "*" asks for everything there is: the answer is all that the rule lists.
            Grants::Listed(listed) if asked.contains(&Action::All) => listed.clone(),
            Grants::Listed(listed) => asked.intersection(listed).cloned().collect(),
        }
    }
}

/// What a rule wants a manifest or a blob to be named by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceKind {
    /// A tag.
    Tag,
    /// A digest.
    Digest,
}

impl ReferenceKind {
    /// The word for it in a rule.
    pub fn as_str(self) -> &'static str {
        match self {
            ReferenceKind::Tag => "tag",
            ReferenceKind::Digest => "digest",
        }
    }

    fn is_of(self, reference: &Reference) -> bool {
        match (self, reference) {
            (ReferenceKind::Tag, Reference::Tag(_)) | (ReferenceKind::Digest, Reference::Digest(_)) => true,
            (ReferenceKind::Tag, Reference::Digest(_)) | (ReferenceKind::Digest, Reference::Tag(_)) => false,
        }
    }
}

/// One rule, compiled.
#[derive(Debug)]
pub struct Rule {
    fields: [(Field, Option<Pattern>); 4],
    ip: Option<IpNet>,
    tag: Option<Pattern>,
    reference: Option<ReferenceKind>,
    labels: Vec<(String, Pattern)>,
    /// The capture groups that any of its patterns mentions.
    captures: Vec<(Field, usize)>,
    grants: Grants,
    pub(super) comment: Option<Arc<str>>,
    not_before: Option<OffsetDateTime>,
    not_after: Option<OffsetDateTime>,
}

/// What one rule says to one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything the rule names agrees. [`Rule::check`] says so only while the rule holds.
    Matches,
    /// This field is the first that does not agree.
    Fails(MatchField),
}

impl Rule {
    /// Compiles a rule.
    ///
    /// # Errors
    /// Everything that is wrong with it. A rule that cannot be compiled must not be left out of its list: what it
    /// refuses would then be decided by a later one.
    pub fn compile(text: &RuleText) -> Result<Rule, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        let mut compile = |field: MatchField, pattern: &str| match Pattern::compile(pattern) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                problems.push(RuleProblem { field, message: error.to_string(), refused: None });
                None
            }
        };
        let fields = [
            (Field::Account, text.account.as_deref().and_then(|pattern| compile(MatchField::Account, pattern))),
            (Field::Type, text.kind.as_deref().and_then(|pattern| compile(MatchField::Type, pattern))),
            (Field::Name, text.name.as_deref().and_then(|pattern| compile(MatchField::Name, pattern))),
            (Field::Service, text.service.as_deref().and_then(|pattern| compile(MatchField::Service, pattern))),
        ];
        let tag = text.tag.as_deref().and_then(|pattern| compile(MatchField::Tag, pattern));
        let mut labels = Vec::with_capacity(text.labels.len());
        for (label, pattern) in &text.labels {
            if let Some(pattern) = compile(MatchField::Label(label.clone()), pattern) {
                labels.push((label.clone(), pattern));
            }
        }
        let ip = text.ip.as_deref().and_then(|written| {
            let network = parse_network(written);
            if network.is_none() {
                let message =
                    "neither an address nor a network; write 10.1.2.3, 10.0.0.0/8 or 2001:db8::/32".to_owned();
                problems.push(RuleProblem { field: MatchField::Ip, message, refused: Some(written.to_owned()) });
            }
            network
        });
        let reference = match text.reference.as_deref() {
            None => None,
            Some("tag") => Some(ReferenceKind::Tag),
            Some("digest") => Some(ReferenceKind::Digest),
            Some(other) => {
                let message = "neither tag nor digest; to match the tag itself, write tag:".to_owned();
                problems.push(RuleProblem { field: MatchField::Reference, message, refused: Some(other.to_owned()) });
                None
            }
        };
        let grants = match text.actions.as_slice() {
            [all] if all == "*" => Grants::All,
            listed => Grants::Listed(read_actions(listed, &mut problems)),
        };
        if let (Some(start), Some(end)) = (text.not_before, text.not_after)
            && start >= end
        {
            let message = "the rule would end before it begins; swap not_before and not_after".to_owned();
            problems.push(RuleProblem { field: MatchField::NotAfter, message, refused: None });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let captures = captures_in(
            fields
                .iter()
                .filter_map(|(_, pattern)| pattern.as_ref())
                .chain(tag.as_ref())
                .chain(labels.iter().map(|(_, pattern)| pattern)),
        );
        let captures = in_order(captures, &fields);
        Ok(Rule {
            fields,
            ip,
            tag,
            reference,
            labels,
            captures,
            grants,
            comment: text.comment.as_deref().map(Arc::from),
            not_before: text.not_before,
            not_after: text.not_after,
        })
    }

    /// The pattern on one of the four text fields.
    pub fn pattern(&self, field: Field) -> Option<&Pattern> {
        self.fields.iter().find(|(own, _)| *own == field).and_then(|(_, pattern)| pattern.as_ref())
    }

    /// The network in `match.ip`.
    pub fn network(&self) -> Option<&IpNet> {
        self.ip.as_ref()
    }

    /// The pattern in `match.tag`.
    pub fn tag(&self) -> Option<&Pattern> {
        self.tag.as_ref()
    }

    /// What `match.reference` wants.
    pub fn reference(&self) -> Option<ReferenceKind> {
        self.reference
    }

    /// Whether only a door that sees which manifest or blob is asked for can match it; the token endpoint never does.
    pub fn needs_reference(&self) -> bool {
        self.tag.is_some() || self.reference.is_some()
    }

    /// The patterns on labels, by label name.
    pub fn label_patterns(&self) -> &[(String, Pattern)] {
        &self.labels
    }

    /// What the rule grants.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The rule's comment.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The moments between which the rule holds.
    pub fn window(&self) -> (Option<OffsetDateTime>, Option<OffsetDateTime>) {
        (self.not_before, self.not_after)
    }

    /// Whether the rule names nothing, and so matches every question.
    pub fn matches_everything(&self) -> bool {
        self.fields.iter().all(|(_, pattern)| pattern.is_none())
            && self.ip.is_none()
            && !self.needs_reference()
            && self.labels.is_empty()
    }

    /// Compares the rule with a question, time included.
    ///
    /// # Errors
    /// [`TooComplex`] where trying every combination of labels would take more work than is left for the request. The
    /// rule has then neither matched nor failed, and nothing may be granted: skipping it could skip a refusal.
    pub fn check(&self, question: &Question<'_>, budget: &mut Budget) -> Result<Verdict, TooComplex> {
        match self.check_match(question, budget)? {
            Verdict::Matches => Ok(match self.off_time(question.now) {
                Some(field) => Verdict::Fails(field),
                None => Verdict::Matches,
            }),
            failed @ Verdict::Fails(_) => Ok(failed),
        }
    }

    /// What placeholders stand for, in this rule, for this question.
    ///
    /// # Errors
    /// As [`Rule::check`].
    pub fn bindings<'a>(&self, question: &Question<'a>, budget: &mut Budget) -> Result<Bindings<'a>, TooComplex> {
        let values = values(question);
        let mut bindings = Bindings::new(values, question.labels);
        for &(field, group) in &self.captures {
            let Some(pattern) = self.pattern(field) else { continue };
            if let Some(text) = pattern.capture_within(values.get(field), group, &bindings, budget)? {
                bindings.capture(field, group, text);
            }
        }
        Ok(bindings)
    }

    fn off_time(&self, now: OffsetDateTime) -> Option<MatchField> {
        if self.not_before.is_some_and(|start| now < start) {
            return Some(MatchField::NotBefore);
        }
        self.not_after.is_some_and(|end| now >= end).then_some(MatchField::NotAfter)
    }

    pub(super) fn check_match(&self, question: &Question<'_>, budget: &mut Budget) -> Result<Verdict, TooComplex> {
        let bindings = self.bindings(question, budget)?;
        for (field, pattern) in &self.fields {
            let Some(pattern) = pattern else { continue };
            if !pattern.matches_within(bindings.values().get(*field), &bindings, budget)? {
                return Ok(Verdict::Fails(MatchField::from(*field)));
            }
        }
        if let Some(network) = &self.ip
            && !question.address.is_some_and(|address| network.contains(&address.to_canonical()))
        {
            return Ok(Verdict::Fails(MatchField::Ip));
        }
        if let Some(kind) = self.reference
            && !question.reference.is_some_and(|reference| kind.is_of(reference))
        {
            return Ok(Verdict::Fails(MatchField::Reference));
        }
        if let Some(pattern) = &self.tag {
            let matched = match question.reference {
                Some(Reference::Tag(tag)) => pattern.matches_within(tag, &bindings, budget)?,
                Some(Reference::Digest(_)) | None => false,
            };
            if !matched {
                return Ok(Verdict::Fails(MatchField::Tag));
            }
        }
        for (label, pattern) in &self.labels {
            let mut matched = false;
            for value in question.labels.get(label).map(Vec::as_slice).unwrap_or_default() {
                if pattern.matches_within(value.text(), &bindings, budget)? {
                    matched = true;
                    break;
                }
            }
            if !matched {
                return Ok(Verdict::Fails(MatchField::Label(label.clone())));
            }
        }
        Ok(Verdict::Matches)
    }
}

impl From<Field> for MatchField {
    fn from(field: Field) -> MatchField {
        match field {
            Field::Account => MatchField::Account,
            Field::Type => MatchField::Type,
            Field::Name => MatchField::Name,
            Field::Service => MatchField::Service,
        }
    }
}

/// Reads an address or a network; an IPv4 network written as IPv6 (`::ffff:10.0.0.0/104`) is the IPv4 one, because
/// addresses are compared in their IPv4 form.
pub fn parse_network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address.to_canonical()));
    }
    let network: IpNet = text.parse().ok()?;
    match (network.addr().to_canonical(), network) {
        (IpAddr::V4(address), IpNet::V6(network)) => {
            let prefix = network.prefix_len().checked_sub(96)?;
            Some(IpNet::new(address.into(), prefix).ok()?.trunc())
        }
        (_, network) => Some(network.trunc()),
    }
}

fn values<'a>(question: &Question<'a>) -> Values<'a> {
    Values {
        account: question.account,
        kind: question.resource.kind(),
        name: question.resource.name(),
        service: question.service,
    }
}

fn read_actions(listed: &[String], problems: &mut Vec<RuleProblem>) -> Actions {
    let mut actions = Actions::new();
    for word in listed {
        match Action::parse(word) {
            Some(action) => {
                actions.insert(action);
            }
            None => problems.push(RuleProblem {
                field: MatchField::Actions,
                message: "not an action; write pull, push, delete or \"*\"".to_owned(),
                refused: Some(word.clone()),
            }),
        }
    }
    actions
}

fn captures_in<'a>(patterns: impl Iterator<Item = &'a Pattern>) -> Vec<(Field, usize)> {
    let mut captures: Vec<(Field, usize)> = Vec::new();
    for placeholder in patterns.flat_map(Pattern::placeholders) {
        match placeholder {
            Placeholder::Capture(field, group) if !captures.contains(&(*field, *group)) => {
                captures.push((*field, *group))
            }
            Placeholder::Capture(..) | Placeholder::Value(_) | Placeholder::Label(_) => {}
        }
    }
    captures
}

/// The captures in the order in which they can be taken: one whose field's own pattern mentions others comes after
/// those. A field that waits for itself, also by way of others, catches nothing.
fn in_order(mut captures: Vec<(Field, usize)>, fields: &[(Field, Option<Pattern>)]) -> Vec<(Field, usize)> {
    let waits_for = |field: Field| {
        let mut all: Vec<Field> = Vec::new();
        let mut next = vec![field];
        while let Some(field) = next.pop() {
            let pattern = fields.iter().find(|(own, _)| *own == field).and_then(|(_, pattern)| pattern.as_ref());
            for placeholder in pattern.iter().flat_map(|pattern| pattern.placeholders()) {
                if let Placeholder::Capture(other, _) = placeholder
                    && !all.contains(other)
                {
                    all.push(*other);
                    next.push(*other);
                }
            }
        }
        all
    };
    captures.retain(|(field, _)| !waits_for(*field).contains(field));
    // Who waits for another waits for everything that one waits for, and for that one.
    captures.sort_by_key(|(field, _)| waits_for(*field).len());
    captures
}

#[cfg(test)]
mod tests;
