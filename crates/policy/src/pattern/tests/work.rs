//! What deciding costs, and where it is given up.

use super::*;

/// Decides, and says how many steps it took.
fn steps(pattern: &str, subject: &str, all: &LabelValues) -> (Result<bool, TooComplex>, u64) {
    let mut budget = Budget::new(STEPS, Compiling::Allowed);
    let bindings = Bindings::new(FieldValues::default(), all);
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
        ("/^${labels:a}\\/${labels:a}$/", "team-998/team-999", false, 40_000),
        ("/^(?:${labels:a}\\/?)+-${labels:a}$/", "team-998/team-999-team-999", false, 60_000),
        ("/(?i)^(?:${labels:a}|${labels:b})\\/${labels:c}$/", "TEAM-998/Team-999", true, 60_000),
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
    // An odd number of letters: each value by itself fits, and no combination does.
    assert_eq!(steps(&format!("/^{glob}$/"), &"a".repeat(1001), &all).0, Err(TooComplex));
}

#[test]
fn catching_groups_costs_what_there_is_to_compile() {
    let long = "x".repeat(200);
    let none = LabelValues::new();
    let bindings = Bindings::new(FieldValues { account: &long, ..FieldValues::default() }, &none);
    let caught = |pattern: &str, subject: &str, steps: u64| {
        let pattern = Pattern::compile(pattern).unwrap();
        let Body::Regex(expression) = &pattern.body else { unreachable!("it is a regular expression") };
        let mut budget = Budget::new(steps, Compiling::Allowed);
        let caught =
            expression.capture(1, &pattern.template, subject, &bindings, &mut budget).map(|text| text.map(str::len));
        (caught, steps - budget.left())
    };
    let (twice, thrice) = (format!("{long}{long}-a"), long.repeat(3));
    let (one, small) = caught("/^${account}{2}-(.)$/", &twice, STEPS);
    assert_eq!(one, Ok(Some(1)));
    // What does not match is never compiled.
    let (no, least) = caught("/^${account}{20}(.)$/", &thrice, STEPS);
    assert_eq!(no, Ok(None));
    assert!(least < small / 10, "{least} {small}");
    // Too little is left to compile it: no answer, and nothing larger than that is made.
    assert_eq!(caught("/^${account}{2}-(.)$/", &twice, small / 2).0, Err(TooComplex));
    assert_eq!(caught("/^(?:${account}{20}){20}|(x)/", &thrice, STEPS).0, Err(TooComplex));
}

#[test]
fn an_expression_is_compiled_once_for_all_rules_when_it_is_needed_and_never_where_others_wait() {
    let expression = |pattern: &Pattern| match &pattern.body {
        Body::Regex(expression) => Arc::clone(expression),
        Body::Literal(_) | Body::Glob(_) | Body::GlobTemplate(_) => unreachable!("it is a regular expression"),
    };
    let text = "/^only-here-(once|twice)$/";
    let one = Pattern::compile(text).unwrap();
    let none = LabelValues::new();
    let bindings = Bindings::new(FieldValues::default(), &none);
    let asked = |pattern: &Pattern, subject: &str, compiling: Compiling| {
        pattern.matches_within(subject, &bindings, &mut Budget::new(1000, compiling))
    };
    // What cannot match needs nothing compiled.
    assert_eq!(asked(&one, "somewhere", Compiling::Elsewhere), Ok(false));
    assert_eq!(asked(&one, "only-here-once", Compiling::Elsewhere), Err(TooComplex));
    assert_eq!(asked(&one, "only-here-once", Compiling::Allowed), Ok(true));
    let other = Pattern::compile(text).unwrap();
    assert!(Arc::ptr_eq(&expression(&one), &expression(&other)));
    assert_eq!(asked(&other, "only-here-twice", Compiling::Elsewhere), Ok(true));
    // Nothing of it is left when the last rule that has it is gone.
    let left = Arc::downgrade(&expression(&one));
    drop((one, other));
    assert_eq!(left.strong_count(), 0);
    // What is repeated or stands twice is known of one that was read before, too.
    let twice = ["/^(${labels:never}-?)+$/"; 2].map(|text| Pattern::compile(text).unwrap());
    assert_eq!(
        twice.map(|pattern| pattern.template.slots.iter().map(|slot| slot.uses).collect::<Vec<_>>()),
        [[2], [2]]
    );
}
