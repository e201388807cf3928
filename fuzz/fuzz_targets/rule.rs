//! Any rule and any question: compiling and matching never panic, and nothing is granted that was not asked for.
#![no_main]


use policy::acl::Acl;
use policy::rule::{Rule, RuleText};
use policy::pattern::{LabelValue, LabelValues};
use policy::{Answer, Budget, Question};
use policy::scope::{Action, Resource, parse_actions};
use libfuzzer_sys::fuzz_target;
use time::OffsetDateTime;

// One part a line: the rule's patterns first, then the question.
fuzz_target!(|text: &str| {
    let mut parts = text.split('\n');
    let mut pattern = || parts.next().filter(|part| *part != "~").map(str::to_owned);
    let mut rule = RuleText { account: pattern(), kind: pattern(), name: pattern(), service: pattern(), ip: pattern(), ..RuleText::default() };
    if let Some(label) = pattern() {
        rule.labels.insert("team".to_owned(), label);
    }
    rule.actions = pattern().unwrap_or_default().split(',').map(str::to_owned).collect();
    let Ok(rule) = Rule::compile(&rule) else { return };

    let account = pattern().unwrap_or_default();
    let service = pattern().unwrap_or_default();
    let name = pattern().unwrap_or_default();
    let asked = pattern().unwrap_or_default();
    let mut labels = LabelValues::new();
    let values = parts.take(8).map(|value| LabelValue::glob(value).unwrap_or_else(|_| LabelValue::literal(value)));
    labels.insert("team".to_owned(), values.collect());
    let Ok(resource) = Resource::new("repository", &name) else { return };
    let actions = parse_actions(asked.split(','));
    let question = Question {
        account: &account,
        labels: &labels,
        address: None,
        service: &service,
        resource: &resource,
        actions: &actions,
        reference: None,
        now: OffsetDateTime::UNIX_EPOCH,
    };
    if let Ok(Answer::Decided { actions: granted, .. }) = Acl::new(vec![rule]).decide(&question, &mut Budget::of_a_request()) {
        assert!(granted.iter().all(|action| actions.contains(action) || actions.contains(&Action::All)));
    }
});
