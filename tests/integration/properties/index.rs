//! The index of a list of rules against the list itself, read from top to bottom.

use policy::acl::{Acl, earliest};
use policy::pattern::{LabelValue, LabelValues};
use policy::rule::{MatchField, Rule, RuleMatch, RuleText};
use policy::scope::{Resource, parse_actions};
use policy::{Answer, Budget, Question, RuleRef};
use proptest::prelude::*;
use proptest::sample::select;
use time::OffsetDateTime;

/// Words that are long enough to be looked for, of which some hold others.
const WORDS: &[&str] = &["team", "eam", "teams", "cache", "bot", "x", "é-bot", "-"];

fn glob() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        5 => select(WORDS),
        3 => select(&["*", "?", "[a-z]", "[^x]eam", "/", "\\t", "${account}", "${labels:l}", "${account:1}"][..]),
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat().trim_start_matches('/').to_owned())
}

fn regex() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => select(WORDS),
        5 => select(&[
            ".*", "(team|cache)", "(team|)", "(?i:team)", "(bot)?", "(bot)+", "(bot){0}", "(te(am|ams))", "[a-z]+", "\\/", "^",
            "$", "\\b", "(?i)", "|", "${account}", "${labels:l}", "${account:1}", "\\Qte\\Eam",
        ][..]),
    ];
    let whole = select(&["/^", "/"][..]);
    let end = select(&["$/", "/"][..]);
    (whole, proptest::collection::vec(piece, 1..5), end)
        .prop_map(|(start, pieces, end)| format!("{start}{}{end}", pieces.concat()))
}

fn rule() -> impl Strategy<Value = RuleText> {
    let pattern = || prop_oneof![glob(), regex()];
    let moment = |seconds: &'static [i64]| proptest::option::weighted(0.2, select(seconds).prop_map(from_1970));
    let window = (moment(&[-2, -1, 0, 1]), moment(&[0, 1, 2]));
    let fields = (proptest::option::weighted(0.6, pattern()), proptest::option::weighted(0.8, pattern()));
    let actions = select(&["*", "pull", "push"][..]);
    (fields, actions, window).prop_map(|((account, name), actions, (not_before, not_after))| RuleText {
        account,
        name,
        actions: vec![actions.to_owned()],
        not_before,
        not_after,
        ..RuleText::default()
    })
}

fn from_1970(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(seconds).unwrap()
}

fn subject() -> impl Strategy<Value = String> {
    let piece = prop_oneof![4 => select(WORDS), 1 => select(&["/", "TEAM", "a", "\n", ""][..])];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// What the rules say, one after the other.
fn walk(rules: &[Rule], question: &Question<'_>) -> Answer {
    let mut until = None;
    for (index, rule) in rules.iter().enumerate() {
        match rule.check(question, &mut Budget::for_request()).unwrap() {
            RuleMatch::Matches => {
                return Answer::Decided {
                    actions: rule.grants().of(question.actions),
                    by: RuleRef { index, seq: None, id: Some(rule.id()), comment: None },
                    until: earliest(until, rule.window().1),
                };
            }
            // It would match once it begins, unless it has ended by then.
            RuleMatch::Fails(MatchField::NotBefore) => until = earliest(until, rule.window().0),
            RuleMatch::Fails(_) => {}
        }
    }
    Answer::NoMatch { until }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_changes_no_decision(
        rules in proptest::collection::vec(rule(), 0..20),
        subjects in proptest::collection::vec((subject(), subject()), 1..8),
        label in subject(),
    ) {
        // What makes no rule is left out: pieces at random may close what they did not open.
        let compiled: Vec<Rule> = rules.iter().filter_map(|text| Rule::compile(text).ok()).collect();
        let acl = Acl::new(rules.iter().filter_map(|text| Rule::compile(text).ok()).collect());
        let labels = LabelValues::from([("l".to_owned(), vec![LabelValue::literal(&label)])]);
        let actions = parse_actions(["pull", "push"]);
        for (account, name) in subjects {
            let Ok(resource) = Resource::new("repository", &name) else { continue };
            let question = Question {
                account: &account,
                labels: &labels,
                address: None,
                service: "registry",
                resource: &resource,
                actions: &actions,
                reference: None,
                now: OffsetDateTime::UNIX_EPOCH,
            };
            prop_assert_eq!(acl.decide(&question, &mut Budget::for_request()).unwrap(), walk(&compiled, &question), "{} and {}", account, name);
        }
    }
}
