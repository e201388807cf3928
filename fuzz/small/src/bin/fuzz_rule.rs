//! Any rule and any question: compiling and matching never panic, nothing is granted that was not asked for, and `explain` and
//! the index tell of the same decision.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy::acl::Acl;
use policy::explain::{RuleOutcome, explain};
use policy::lint::lint_impossible;
use policy::pattern::{LabelValue, LabelValues};
use policy::rule::{Rule, RuleText};
use policy::scope::{Action, Resource, parse_actions};
use policy::{Answer, Budget, Question};
use time::OffsetDateTime;

// One part a line: the rule's patterns first, then the question.
fuzz_target!(|text: &str| {
    let mut parts = text.split('\n');
    let mut pattern = || parts.next().filter(|part| *part != "~").map(str::to_owned);
    let mut rule = RuleText {
        account: pattern(),
        kind: pattern(),
        name: pattern(),
        service: pattern(),
        ip: pattern(),
        ..RuleText::default()
    };
    if let Some(label) = pattern() {
        rule.labels.insert("team".to_owned(), label);
    }
    rule.actions = pattern().unwrap_or_default().split(',').map(str::to_owned).collect();
    let Ok(rule) = Rule::compile(&rule) else { return };
    let mut never_matches = false;
    lint_impossible(&rule, &mut |_, message| never_matches |= message.contains("so the rule never matches"));

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
    let rules = Acl::new(vec![rule]);
    let Ok(answer) = rules.decide(&question, &mut Budget::for_request()) else { return };
    let decided = match answer {
        Answer::Decided { actions: granted, .. } => {
            assert!(granted.iter().all(|action| actions.contains(action) || actions.contains(&Action::All)));
            true
        }
        Answer::NoMatch { .. } => false,
    };
    assert!(!(decided && never_matches), "a rule that never matches decides");
    if let Ok(steps) = explain(&rules, &question, &mut Budget::for_request()) {
        assert_eq!(steps.iter().any(|step| step.said == RuleOutcome::Decides), decided);
    }
});
