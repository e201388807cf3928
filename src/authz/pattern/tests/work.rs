//! What deciding costs, and where it is given up.

use super::*;
use crate::authz::pattern::expression::{Form, REMEMBERED};

/// Decides, and says how many steps it took.
fn steps(pattern: &str, subject: &str, all: &LabelValues) -> (Result<bool, TooComplex>, u64) {
    let mut budget = Budget::new(STEPS);
    let bindings = Bindings::new(Values::default(), all);
    let decision = Pattern::compile(pattern).unwrap().matches_within(subject, &bindings, &mut budget);
    (decision, STEPS - budget.left())
}

#[test]
fn a_thousand_values_in_three_places_are_cheap() {
    let values: Vec<String> = (0..1000).map(|n| format!("team-{n}")).collect();
    let exact: Vec<LabelValue> = values.iter().map(|value| LabelValue::literal(value)).collect();
    let wild: Vec<LabelValue> = values.iter().map(|value| LabelValue::glob(&format!("{value}*")).unwrap()).collect();
    let all = labels([("a", exact.clone()), ("b", exact.clone()), ("c", exact), ("w", wild)]);
    // Pattern, subject, answer, most steps; all combinations would be 1,000,000,000.
    let cases = [
        ("${labels:a}/${labels:b}/${labels:c}", "team-998/team-999/team-997", true, 10_000),
        ("${labels:a}/${labels:b}/${labels:c}", "team-998/team-999/other", false, 10_000),
        ("${labels:a}/${labels:a}/${labels:a}", "team-999/team-999/team-999", true, 10_000),
        ("${labels:a}/${labels:b}/${labels:a}", "team-999/team-1/team-998", false, 20_000),
        ("${labels:w}/${labels:a}", "team-998x/team-7", true, 20_000),
        ("*${labels:a}*${labels:b}*${labels:c}*", "x-team-1-team-2-team-3-x", true, 200_000),
        ("/^${labels:a}\\/${labels:b}\\/${labels:c}$/", "team-998/team-999/team-997", true, 40_000),
        ("/^${labels:a}\\/${labels:a}$/", "team-998/team-999", false, 200_000),
    ];
    for (pattern, subject, expected, most) in cases {
        let (decision, taken) = steps(pattern, subject, &all);
        assert_eq!(decision, Ok(expected), "{pattern:?} on {subject:?}");
        assert!(taken <= most, "{pattern:?} on {subject:?} took {taken} steps");
    }
}

#[test]
fn what_takes_too_much_work_is_no_answer() {
    let values: Vec<String> = (1..200).map(|n| "a".repeat(n)).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let all = labels([("a", literals(&values)), ("b", literals(&values)), ("c", literals(&values))]);
    let subject = format!("{}b", "a".repeat(1000));
    let glob = "${labels:a}${labels:b}${labels:c}${labels:a}${labels:b}${labels:c}";
    assert_eq!(steps(glob, &subject, &all).0, Err(TooComplex));
    assert_eq!(steps(&format!("/^{glob}$/"), &subject, &all).0, Err(TooComplex));
    // Too big to compile once it is filled in.
    let long = "x".repeat(2_000);
    let all = labels([("a", vec![LabelValue::literal(&long)])]);
    assert_eq!(steps("/^(${labels:a}{20}){20}/", &long, &all).0, Err(TooComplex));
}

#[test]
fn filled_in_expressions_are_remembered_up_to_a_limit() {
    let none = LabelValues::new();
    let pattern = Pattern::compile("/^${account}$/").unwrap();
    for n in 0..REMEMBERED + 10 {
        let account = format!("user{n}");
        let bindings = Bindings::new(Values { account: &account, ..Values::default() }, &none);
        assert_eq!(pattern.matches(&account, &bindings), Ok(true));
        assert_eq!(pattern.matches("somebody", &bindings), Ok(false));
    }
    let Body::Regex(expression) = &pattern.body else { unreachable!("it is a regular expression") };
    let Form::Template { compiled, .. } = &expression.form else { unreachable!("it has a placeholder") };
    assert_eq!(compiled.lock().unwrap().len(), REMEMBERED);
}
