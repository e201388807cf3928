//! The rule that decides a question which a rule below it matches as well: nearly always itself.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::acl::Acl;
use crate::pattern::{Field, LabelValue, LabelValues, Placeholder};
use crate::rule::Rule;
use crate::scope::{Actions, Resource};
use crate::{Budget, Question};

/// The rule that decides a question which this rule matches; `None` where no such question is quickly found.
///
/// A rule that decides its own question is hidden by nothing above it. Of very many rules nearly all are told apart so from those
/// that are, which takes a walk through all names for each rule near it.
pub(super) fn decides_for(acl: &Acl, number: usize, from: OffsetDateTime) -> Option<usize> {
    let rule = acl.rules().get(number)?;
    let asked = Asked::of(rule)?;
    let question = Question {
        account: &asked.account,
        labels: &asked.labels,
        address: rule.network().map(|network| network.network()),
        service: &asked.service,
        resource: &asked.resource,
        actions: &Actions::new(),
        reference: None,
        now: rule.window().0.map_or(from, |begins| begins.max(from)),
    };
    Some(acl.first_above(number, &question, &mut Budget::for_request()).ok()?.unwrap_or(number))
}

/// A question that a rule matches, but for the address and the moment.
struct Asked {
    account: String,
    labels: LabelValues,
    service: String,
    resource: Resource,
}

impl Asked {
    fn of(rule: &Rule) -> Option<Asked> {
        if rule.tag().is_some() || rule.reference().is_some() {
            return None;
        }
        let labels = labels(rule)?;
        let of_label = |label: &str| Some(labels.get(label)?.first()?.text().to_owned());
        let alone = |field: Field, otherwise: &str| match rule.pattern(field) {
            None => Some(otherwise.to_owned()),
            Some(pattern) => pattern.sample(&|placeholder| match placeholder {
                Placeholder::Label(label) => of_label(label),
                Placeholder::Value(_) | Placeholder::Capture(..) => None,
            }),
        };
        let (account, kind) = (alone(Field::Account, "x")?, alone(Field::Type, "repository")?);
        let service = alone(Field::Service, "x")?;
        let name = match rule.pattern(Field::Name) {
            None => "x".to_owned(),
            Some(pattern) => pattern.sample(&|placeholder| match placeholder {
                Placeholder::Value(Field::Account) => Some(account.clone()),
                Placeholder::Value(Field::Type) => Some(kind.clone()),
                Placeholder::Value(Field::Service) => Some(service.clone()),
                Placeholder::Label(label) => of_label(label),
                Placeholder::Value(Field::Name) | Placeholder::Capture(..) => None,
            })?,
        };
        // What is not anchored may have more before it, as where it begins with a slash, which no name does.
        let resource = Resource::new(&kind, &name).or_else(|_| Resource::new(&kind, &format!("x{name}"))).ok()?;
        Some(Asked { account, service, resource, labels })
    }
}

/// A value for each label that the rule speaks of.
fn labels(rule: &Rule) -> Option<LabelValues> {
    let mut labels: LabelValues = BTreeMap::new();
    for pattern in Field::ALL.into_iter().filter_map(|field| rule.pattern(field)) {
        for placeholder in pattern.placeholders() {
            match placeholder {
                Placeholder::Label(label) => _ = labels.insert(label.clone(), vec![LabelValue::literal("x")]),
                Placeholder::Value(_) | Placeholder::Capture(..) => {}
            }
        }
    }
    for (label, pattern) in rule.label_patterns() {
        let value = pattern.sample(&|_| None)?;
        labels.insert(label.clone(), vec![LabelValue::literal(&value)]);
    }
    Some(labels)
}
