//! One rule: its conditions and what it grants. What rules mean is in `docs/reference/rules.md`; patterns are in [`super::pattern`].

mod id;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use time::OffsetDateTime;

use super::Question;
use super::glob::Budget;
use super::pattern::{Bindings, Field, FieldValues, Pattern, Placeholder, TooComplex};
use crate::scope::{Action, Actions, Reference};

pub use id::RuleId;

/// A rule as it was written, whatever it was read from.
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
    /// Pattern on the tag in the request; token requests never name one.
    pub tag: Option<String>,
    /// `tag` or `digest`: the kind of reference in the request.
    pub reference: Option<String>,
    /// Label name to a pattern that at least one of the account's values must match.
    pub labels: BTreeMap<String, String>,
    /// The granted actions: `["*"]` all that are requested, `[]` none.
    pub actions: Vec<String>,
    /// Free text, shown when the rule decides.
    pub comment: Option<String>,
    /// The rule does not match before this moment.
    pub not_before: Option<OffsetDateTime>,
    /// The rule does not match from this moment on.
    pub not_after: Option<OffsetDateTime>,
}

/// The conditions of one text each, read or written. All fields are named, so that none can be forgotten: a rule that is
/// written back without one would match more than before.
macro_rules! conditions {
    ($rule:expr) => {{
        let RuleText {
            account,
            kind,
            name,
            service,
            ip,
            tag,
            reference,
            labels: _,
            actions: _,
            comment: _,
            not_before: _,
            not_after: _,
        } = $rule;
        [
            (MatchField::Account, account),
            (MatchField::Type, kind),
            (MatchField::Name, name),
            (MatchField::Service, service),
            (MatchField::Ip, ip),
            (MatchField::Tag, tag),
            (MatchField::Reference, reference),
        ]
    }};
}

impl RuleText {
    /// The conditions of one text each that the rule has: all of its `match` but the labels.
    pub fn conditions(&self) -> impl Iterator<Item = (MatchField, &str)> {
        conditions!(self).into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?)))
    }

    /// All conditions of one text each, to be filled from what [`MatchField::key`] names.
    pub fn conditions_mut(&mut self) -> [(MatchField, &mut Option<String>); 7] {
        conditions!(self)
    }
}

/// A field of a rule: a condition, or the actions.
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
    /// `match.labels`, with the label's name
    Label(String),
    /// `actions`
    Actions,
    /// `not_before`: the rule is not in force yet.
    NotBefore,
    /// `not_after`: the rule has expired.
    NotAfter,
}

impl MatchField {
    /// The key that it is written under, in `match` or beside it.
    pub const fn key(&self) -> &'static str {
        match self {
            MatchField::Account => "account",
            MatchField::Type => "type",
            MatchField::Name => "name",
            MatchField::Service => "service",
            MatchField::Ip => "ip",
            MatchField::Tag => "tag",
            MatchField::Reference => "reference",
            MatchField::Label(_) => "labels",
            MatchField::Actions => "actions",
            MatchField::NotBefore => "not_before",
            MatchField::NotAfter => "not_after",
        }
    }
}

impl std::fmt::Display for MatchField {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.key())?;
        if let MatchField::Label(label) = self {
            write!(out, ".{label}")?;
        }
        Ok(())
    }
}

/// A fault that keeps a rule from being used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// The field that is wrong.
    pub field: MatchField,
    /// The fault, and what to write instead. If a value was refused, the message follows on it: `not an action; write …`.
    pub message: String,
    /// The refused value. Whoever shows the message decides whether it may repeat the value: a secret can be in any wrong
    /// place.
    pub refused: Option<String>,
}

/// The actions that a rule grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grants {
    /// `["*"]`: all requested actions.
    All,
    /// The listed actions; none at all refuses.
    Listed(Actions),
}

impl Grants {
    /// The requested actions that are granted.
    pub fn of(&self, asked: &Actions) -> Actions {
        match self {
            Grants::All => asked.iter().filter(|action| action.is_known()).cloned().collect(),
            // Asking for "*" asks for everything there is: the answer is all that the rule lists.
            Grants::Listed(listed) if asked.contains(&Action::All) => listed.clone(),
            Grants::Listed(listed) => asked.intersection(listed).cloned().collect(),
        }
    }
}

/// The kind of reference that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceKind {
    /// A tag.
    Tag,
    /// A digest.
    Digest,
}

impl ReferenceKind {
    /// Its name in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            ReferenceKind::Tag => "tag",
            ReferenceKind::Digest => "digest",
        }
    }

    fn is_kind_of(self, reference: &Reference) -> bool {
        match (self, reference) {
            (ReferenceKind::Tag, Reference::Tag(_)) | (ReferenceKind::Digest, Reference::Digest(_)) => true,
            (ReferenceKind::Tag, Reference::Digest(_)) | (ReferenceKind::Digest, Reference::Tag(_)) => false,
        }
    }
}

/// One rule, compiled.
#[derive(Debug)]
pub struct Rule {
    id: RuleId,
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

/// The result of comparing a rule with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleMatch {
    /// All conditions agree. [`Rule::check`] says so only while the rule is in force.
    Matches,
    /// The first field that does not agree.
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
        let mut compile = |field: MatchField, pattern: Option<&String>| {
            Pattern::compile(pattern?)
                .map_err(|error| problems.push(RuleProblem { field, message: error.to_string(), refused: None }))
                .ok()
        };
        let fields = [
            (Field::Account, compile(MatchField::Account, text.account.as_ref())),
            (Field::Type, compile(MatchField::Type, text.kind.as_ref())),
            (Field::Name, compile(MatchField::Name, text.name.as_ref())),
            (Field::Service, compile(MatchField::Service, text.service.as_ref())),
        ];
        let tag = compile(MatchField::Tag, text.tag.as_ref());
        let mut labels = Vec::with_capacity(text.labels.len());
        for (label, pattern) in &text.labels {
            if let Some(pattern) = compile(MatchField::Label(label.clone()), Some(pattern)) {
                labels.push((label.clone(), pattern));
            }
        }
        let mut refuse = |field: MatchField, value: &str, message: &str| {
            problems.push(RuleProblem { field, message: message.to_owned(), refused: Some(value.to_owned()) });
        };
        let ip = text.ip.as_deref().and_then(|written| {
            let network = parse_network(written);
            if network.is_none() {
                let message = "neither an address nor a network; write 10.1.2.3, 10.0.0.0/8 or 2001:db8::/32";
                refuse(MatchField::Ip, written, message);
            }
            network
        });
        let reference = text.reference.as_deref().and_then(|written| {
            let kind = [ReferenceKind::Tag, ReferenceKind::Digest].into_iter().find(|kind| kind.as_str() == written);
            if kind.is_none() {
                let message = "neither tag nor digest; to match the tag itself, write tag:";
                refuse(MatchField::Reference, written, message);
            }
            kind
        });
        let grants = match text.actions.as_slice() {
            [all] if all == "*" => Grants::All,
            listed => {
                let mut actions = Actions::new();
                for word in listed {
                    match Action::parse(word) {
                        Some(action) => _ = actions.insert(action),
                        None => refuse(MatchField::Actions, word, "not an action; write pull, push, delete or \"*\""),
                    }
                }
                Grants::Listed(actions)
            }
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
            id: RuleId::of(text),
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

    /// What it is found by wherever it stands.
    pub fn id(&self) -> RuleId {
        self.id
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

    /// The kind of reference in `match.reference`.
    pub fn reference(&self) -> Option<ReferenceKind> {
        self.reference
    }

    /// Whether the rule matches only requests that name a tag or digest; token requests never do.
    pub fn needs_reference(&self) -> bool {
        self.tag.is_some() || self.reference.is_some()
    }

    /// The patterns on labels, by label name.
    pub fn label_patterns(&self) -> &[(String, Pattern)] {
        &self.labels
    }

    /// The actions that the rule grants.
    pub fn grants(&self) -> &Grants {
        &self.grants
    }

    /// The rule's comment.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    /// The start and the end of the time in which the rule is in force.
    pub fn window(&self) -> (Option<OffsetDateTime>, Option<OffsetDateTime>) {
        (self.not_before, self.not_after)
    }

    /// Whether the rule has no conditions, and so matches every question.
    pub fn matches_everything(&self) -> bool {
        self.fields.iter().all(|(_, pattern)| pattern.is_none())
            && self.ip.is_none()
            && !self.needs_reference()
            && self.labels.is_empty()
    }

    /// Compares the rule with a question, time included.
    ///
    /// # Errors
    /// [`TooComplex`] if trying every combination of labels would take more work than is left for the request. The rule has then
    /// neither matched nor failed, and nothing may be granted: skipping it could skip a refusal.
    pub fn check(&self, question: &Question<'_>, budget: &mut Budget) -> Result<RuleMatch, TooComplex> {
        match self.check_match(question, budget)? {
            RuleMatch::Matches => Ok(match self.off_time(question.now) {
                Some(field) => RuleMatch::Fails(field),
                None => RuleMatch::Matches,
            }),
            failed @ RuleMatch::Fails(_) => Ok(failed),
        }
    }

    /// The values of this rule's placeholders for this question.
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

    /// This field, and those whose patterns go by it, also by way of what other fields catch.
    fn going_by(&self, field: Field) -> Vec<Field> {
        let mut fields = vec![field];
        loop {
            let more = self.fields.iter().find(|(field, pattern)| {
                !fields.contains(field) && pattern.as_ref().is_some_and(|pattern| goes_by(pattern, &fields))
            });
            match more {
                Some((field, _)) => fields.push(*field),
                None => return fields,
            }
        }
    }

    /// The fields whose patterns go by the name.
    pub(crate) fn by_name(&self) -> Vec<Field> {
        self.going_by(Field::Name)
    }

    /// Whether the pattern of the name goes by this other field.
    pub(crate) fn names_by(&self, field: Field) -> bool {
        self.going_by(field).contains(&Field::Name)
    }

    /// The labels whose patterns go by the name.
    pub(crate) fn labels_by_name(&self) -> impl Iterator<Item = (&str, &Pattern)> {
        let fields = self.by_name();
        let labels = self.labels.iter().filter(move |(_, pattern)| goes_by(pattern, &fields));
        labels.map(|(label, pattern)| (label.as_str(), pattern))
    }

    /// Whether of its patterns only those of the name and of labels go by the name, and these by nothing that another field catches.
    pub(crate) fn names_by_itself(&self) -> bool {
        let is_of_name = |pattern: &Pattern| {
            pattern.placeholders().all(|placeholder| match placeholder {
                Placeholder::Capture(field, _) => *field == Field::Name,
                Placeholder::Value(_) | Placeholder::Label(_) => true,
            })
        };
        self.by_name() == [Field::Name]
            && self.pattern(Field::Name).is_none_or(is_of_name)
            && self.labels_by_name().all(|(_, pattern)| is_of_name(pattern))
    }

    /// Whether all that does not go by the name agrees with a question that names no tag; its name does not count.
    ///
    /// # Errors
    /// As [`Rule::check`].
    pub(crate) fn fits_beside_names(&self, question: &Question<'_>, budget: &mut Budget) -> Result<bool, TooComplex> {
        let by_name = self.by_name();
        if self.needs_reference() {
            return Ok(false);
        }
        if let Some(network) = &self.ip
            && !question.address.is_some_and(|address| network.contains(&address.to_canonical()))
        {
            return Ok(false);
        }
        let mut bindings = Bindings::new(values(question), question.labels);
        for &(field, group) in self.captures.iter().filter(|(field, _)| !by_name.contains(field)) {
            let Some(pattern) = self.pattern(field) else { continue };
            if let Some(text) = pattern.capture_within(values(question).get(field), group, &bindings, budget)? {
                bindings.capture(field, group, text);
            }
        }
        for (field, pattern) in self.fields.iter().filter(|(field, _)| !by_name.contains(field)) {
            let Some(pattern) = pattern else { continue };
            if !pattern.matches_within(bindings.values().get(*field), &bindings, budget)? {
                return Ok(false);
            }
        }
        for (label, pattern) in self.labels.iter().filter(|(_, pattern)| !goes_by(pattern, &by_name)) {
            let mut matched = false;
            for value in question.labels.get(label).map(Vec::as_slice).unwrap_or_default() {
                matched = matched || pattern.matches_within(value.text(), &bindings, budget)?;
            }
            if !matched {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn off_time(&self, now: OffsetDateTime) -> Option<MatchField> {
        if self.not_before.is_some_and(|start| now < start) {
            return Some(MatchField::NotBefore);
        }
        self.not_after.is_some_and(|end| now >= end).then_some(MatchField::NotAfter)
    }

    pub(super) fn check_match(&self, question: &Question<'_>, budget: &mut Budget) -> Result<RuleMatch, TooComplex> {
        let bindings = self.bindings(question, budget)?;
        for (field, pattern) in &self.fields {
            let Some(pattern) = pattern else { continue };
            if !pattern.matches_within(bindings.values().get(*field), &bindings, budget)? {
                return Ok(RuleMatch::Fails(MatchField::from(*field)));
            }
        }
        if let Some(network) = &self.ip
            && !question.address.is_some_and(|address| network.contains(&address.to_canonical()))
        {
            return Ok(RuleMatch::Fails(MatchField::Ip));
        }
        if let Some(kind) = self.reference
            && !question.reference.is_some_and(|reference| kind.is_kind_of(reference))
        {
            return Ok(RuleMatch::Fails(MatchField::Reference));
        }
        if let Some(pattern) = &self.tag {
            let matched = match question.reference {
                Some(Reference::Tag(tag)) => pattern.matches_within(tag, &bindings, budget)?,
                Some(Reference::Digest(_)) | None => false,
            };
            if !matched {
                return Ok(RuleMatch::Fails(MatchField::Tag));
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
                return Ok(RuleMatch::Fails(MatchField::Label(label.clone())));
            }
        }
        Ok(RuleMatch::Matches)
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

fn values<'a>(question: &Question<'a>) -> FieldValues<'a> {
    FieldValues {
        account: question.account,
        kind: question.resource.kind(),
        name: question.resource.name(),
        service: question.service,
    }
}

/// Whether a pattern mentions one of these fields, or what one of them catches.
fn goes_by(pattern: &Pattern, fields: &[Field]) -> bool {
    pattern.placeholders().any(|placeholder| match placeholder {
        Placeholder::Value(field) | Placeholder::Capture(field, _) => fields.contains(field),
        Placeholder::Label(_) => false,
    })
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
