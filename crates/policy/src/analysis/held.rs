//! What is left of a rule once the account, its labels, the type and the service are known: sets of names and of tags.

use crate::Question;
use crate::glob::{Budget, Compiling};
use crate::pattern::{ANYTHING, Field, LabelValues, Language, Pattern, Placeholder};
use crate::rule::Rule;
use crate::scope::{Actions, Resource};

/// The work that holding one rule against one account may take, in steps.
const STEPS: u64 = 200_000;

/// What is left of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Left {
    /// The names that it matches.
    pub(super) name: String,
    /// The tags that it matches, where it looks at them.
    pub(super) tag: Option<String>,
    /// Whether it is exactly these, or no others than these.
    pub(super) exact: bool,
    /// What all its names begin with.
    pub(super) beginning: String,
}

impl Left {
    /// Whether no name is matched by both.
    pub(super) fn is_apart(&self, beginning: &str) -> bool {
        !self.beginning.starts_with(beginning) && !beginning.starts_with(&self.beginning)
    }
}

/// Whether another field than the name takes something from the name: nobody can then tell the names that match without trying.
pub(super) fn is_tied(rule: &Rule) -> bool {
    let fields = [Field::Account, Field::Type, Field::Service].into_iter().filter_map(|field| rule.pattern(field));
    let labels = rule.label_patterns().iter().map(|(_, pattern)| pattern);
    fields.chain(rule.tag()).chain(labels).any(|pattern| pattern.mentions(Field::Name))
}

/// What is left of a rule for an account; `None` where it matches nothing that this account asks.
pub(super) fn left(rule: &Rule, account: &str, labels: &LabelValues, kind: &str, service: &str) -> Option<Left> {
    // Most rules are about somebody or something else, and that is soon told.
    let is_other = |(field, subject)| rule.pattern(field).and_then(Pattern::literal).is_some_and(|own| own != subject);
    if [(Field::Account, account), (Field::Type, kind), (Field::Service, service)].into_iter().any(is_other) {
        return None;
    }
    let unknown = || {
        let tag = rule.tag().map(|_| ANYTHING.to_owned());
        Some(Left { name: ANYTHING.to_owned(), tag, exact: false, beginning: String::new() })
    };
    let any = Resource::of_type(kind, "x");
    let Ok(any) = any else { return None };
    let question = Question {
        account,
        labels,
        address: None,
        service,
        resource: &any,
        actions: &Actions::new(),
        reference: None,
        now: time::OffsetDateTime::UNIX_EPOCH,
    };
    let mut budget = Budget::new(STEPS, Compiling::Allowed);
    let tied = is_tied(rule);
    let Ok(bindings) = rule.bindings(&question, &mut budget) else { return unknown() };
    for (field, subject) in [(Field::Account, account), (Field::Type, kind), (Field::Service, service)] {
        let Some(pattern) = rule.pattern(field).filter(|pattern| !waits(rule, pattern)) else { continue };
        match pattern.matches_within(subject, &bindings, &mut budget) {
            Ok(true) => {}
            Ok(false) => return None,
            Err(_) => return unknown(),
        }
    }
    for (label, pattern) in rule.label_patterns() {
        let values = labels.get(label).map(Vec::as_slice).unwrap_or_default();
        if values.is_empty() {
            return None;
        }
        if waits(rule, pattern) {
            continue;
        }
        let mut matched = false;
        for value in values {
            match pattern.matches_within(value.text(), &bindings, &mut budget) {
                Ok(does) => matched |= does,
                Err(_) => return unknown(),
            }
        }
        if !matched {
            return None;
        }
    }
    let is_open = |placeholder: &Placeholder| match placeholder {
        Placeholder::Value(field) => *field == Field::Name,
        // What is caught may depend on the name by way of others.
        Placeholder::Capture(field, _) => *field == Field::Name || tied,
        Placeholder::Label(_) => false,
    };
    let any = || Language::Exactly(ANYTHING.to_owned());
    let name = rule.pattern(Field::Name).map_or_else(any, |pattern| pattern.language(&bindings, &is_open));
    let tag = rule.tag().map(|pattern| pattern.language(&bindings, &is_open));
    if name == Language::Nothing || tag == Some(Language::Nothing) {
        return None;
    }
    let exact = !tied && name.is_exact() && tag.as_ref().is_none_or(Language::is_exact);
    let source = |language: Language| language.source().to_owned();
    // What is taken from the name itself stands for what is not known here.
    let pattern = rule.pattern(Field::Name).filter(|pattern| !tied && !pattern.placeholders().any(is_open));
    let beginning = pattern.map(|pattern| pattern.beginning_with(&bindings)).unwrap_or_default();
    Some(Left { name: source(name), tag: tag.map(source), exact, beginning })
}

/// The tags that a rule matches when it is asked about a name, or about any that there may be.
pub(super) fn tags(
    rule: &Rule,
    account: &str,
    labels: &LabelValues,
    (kind, name): (&str, Option<&str>),
) -> Option<Language> {
    let asked = name.unwrap_or("x");
    let resource = Resource::of_type(kind, asked);
    let question = Question {
        account,
        labels,
        address: None,
        service: "",
        resource: &resource.ok()?,
        actions: &Actions::new(),
        reference: None,
        now: time::OffsetDateTime::UNIX_EPOCH,
    };
    let tag = rule.tag()?;
    let bindings = rule.bindings(&question, &mut Budget::new(STEPS, Compiling::Allowed)).ok()?;
    let is_open = |placeholder: &Placeholder| match placeholder {
        Placeholder::Value(Field::Service) | Placeholder::Capture(Field::Service, _) => true,
        Placeholder::Value(Field::Name) | Placeholder::Capture(..) => name.is_none(),
        Placeholder::Value(Field::Account | Field::Type) | Placeholder::Label(_) => false,
    };
    Some(tag.language(&bindings, &is_open))
}

/// Whether a pattern takes something from the name, be it by way of what another field's expression catches.
fn waits(rule: &Rule, pattern: &Pattern) -> bool {
    let caught = |placeholder: &Placeholder| match placeholder {
        Placeholder::Capture(field, _) => {
            rule.pattern(*field).is_some_and(|pattern| pattern.placeholders().next().is_some())
        }
        Placeholder::Value(_) | Placeholder::Label(_) => false,
    };
    pattern.mentions(Field::Name) || (is_tied(rule) && pattern.placeholders().any(caught))
}
