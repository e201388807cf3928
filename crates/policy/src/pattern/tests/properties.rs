//! What holds for any data and any pattern.

use proptest::prelude::*;

use super::*;

/// Text made mostly of what is syntax in globs, regular expressions and placeholders.
fn spiky() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(vec![
            "*", "?", "[", "]", "\\", "(", ")", ".", "+", "^", "$", "{", "}", "|", "/", "-", "a", "b", "é", "😀", ".*",
            "[a-z]", "\\E", "\\Q"
        ])
        .prop_map(str::to_owned),
        proptest::sample::select(vec![
            "${account}",
            "${name}",
            "${labels:x}",
            "${account:1}",
            "${labels:",
            "(?i)",
            "{2}",
            "/.*/"
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// A subject that has to do with the data: equal to it, around it, or unrelated.
fn subject_for(data: &str, other: &str, how: u8) -> String {
    match how % 5 {
        0 => data.to_owned(),
        1 => format!("{data}/{other}"),
        2 => format!("{other}{data}"),
        3 => other.to_owned(),
        _ => format!("{other}/{data}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The right answer is known without any pattern: the data as plain text.
    #[test]
    fn data_never_widens_a_pattern(data in spiky(), other in spiky(), how in any::<u8>()) {
        let subject = subject_for(&data, &other, how);
        let all = labels([("x", literals(&[&data]))]);
        let within = subject.strip_prefix(data.as_str()).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| !rest.contains('/'));
        for placeholder in ["${account}", "${account:1}", "${labels:x}"] {
            prop_assert_eq!(holds(placeholder, &subject, &data, &all), subject == data);
            prop_assert_eq!(holds(&format!("/^{placeholder}$/"), &subject, &data, &all), subject == data);
            prop_assert_eq!(holds(&format!("{placeholder}/*"), &subject, &data, &all), within);
            prop_assert_eq!(holds(&format!("/^{placeholder}\\/[^\\/]*$/"), &subject, &data, &all), within);
            prop_assert_eq!(holds(&format!("/{placeholder}/"), &subject, &data, &all), subject.contains(&data));
            prop_assert_eq!(holds(&format!("/^(a|{placeholder})*$/"), "", &data, &all), true);
        }
    }

    /// No combination of values is built, and the answer is still the one of all combinations.
    #[test]
    fn labels_decide_as_all_their_combinations_would(
        pieces in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "/", "*", "?", "[a-b]", "${labels:x}", "${labels:y}", "${labels:x}"]), 1..6),
        x in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "ab", "", "a*", "?b", "a/b"]), 0..4),
        y in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "ba", "*", "/", "?"]), 1..4),
        subject in "[ab/]{0,6}",
    ) {
        let written = pieces.concat();
        let glob = written.clone();
        prop_assume!(!(glob.len() > 2 && glob.starts_with('/') && glob.ends_with('/')));
        let all = labels([("x", globs(&x)), ("y", globs(&y))]);
        let none = LabelValues::new();
        let filled = |x: &str, y: &str| written.replace("${labels:x}", x).replace("${labels:y}", y);
        let uses_x = written.contains("${labels:x}");
        let choices: Vec<&str> = if uses_x { x.clone() } else { vec![""] };
        let expected = choices.iter().any(|x| y.iter().any(|y| {
            // A glob in a group of its own, so that what is between slashes stays a glob.
            glob::matches(&glob::parse(&filled(x, y), &[]).unwrap(), &subject)
        }));
        prop_assert_eq!(holds(&glob, &subject, "", &all), expected, "{} with {:?} {:?} on {:?}", written, x, y, subject);
        // The same as a regular expression.
        let regex = format!("/^{}$/", written.replace('*', "[^/]*").replace('?', "[^/]"));
        prop_assert_eq!(holds(&regex, &subject, "", &all), expected, "{} with {:?} {:?} on {:?}", regex, x, y, subject);
        prop_assert_eq!(holds(&glob, &subject, "", &none), expected && !written.contains("${labels:"));
    }

    #[test]
    fn nothing_panics(pattern in prop_oneof![any::<String>(), spiky()], regex in any::<bool>(), data in prop_oneof![any::<String>(), spiky()], subject in prop_oneof![any::<String>(), spiky()]) {
        let text = if regex { format!("/{pattern}/") } else { pattern };
        let mut values = literals(&[&data]);
        values.extend(LabelValue::glob(&data));
        let all = labels([("x", values)]);
        let mut bindings = Bindings::new(FieldValues { account: &data, kind: &data, name: &subject, service: &data }, &all);
        bindings.capture(Field::Account, 1, &data);
        if let Ok(compiled) = Pattern::compile(&text) {
            let matched = compiled.matches(&subject, &bindings);
            prop_assert!(compiled.is_regex() || compiled.capture(&subject, 1, &bindings) == Ok(None));
            prop_assert!(compiled.expand(&bindings).len() >= usize::from(!text.is_empty() && compiled.placeholders().count() == 0));
            // Data never makes a pattern invalid: a filled-in form that cannot be compiled would be reported as too complex.
            prop_assert!(matched.is_ok());
            let _ = compiled.is_anchored();
        }
    }

    /// Placeholders decide as the library does that plain expressions are compiled by, with the values written in.
    #[test]
    fn placeholders_in_expressions_decide_as_what_they_stand_for(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "a", "b", "K", "/", "\n", ".", "[ab]", "[^a]", "\\w", "\\pL", "^", "$", "\\b", "\\B", "\\A", "\\z", "(?i)", "(?s)", "(?m)", "(?U)",
            "(", "(?:", "(?i:", ")", ")*", ")+", "){1,3}?", "(${labels:x}|b)*", "(?:${labels:y}a?)+", "(a|${labels:x}){2}", "|", "*", "+?", "{2,}", "${labels:x}", "${labels:y}", "${labels:x}", "${labels:x}?",
        ]), 1..9),
        x in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "ab", "k", "s", "\u{212A}", "b/", "", "\n", "é"]), 1..4),
        y in proptest::collection::vec(proptest::sample::select(vec!["a", "B", "a-", "É", "/"]), 1..3),
        subject in "[abAB/kKsſ\u{212A}éÉ_\n-]{0,7}",
    ) {
        let written = format!("/{}/", pieces.concat());
        let compiled = Pattern::compile(&written);
        // Half of them have parentheses that do not fit together.
        let Ok(compiled) = compiled else { return Ok(()) };
        let all = labels([("x", literals(&x)), ("y", literals(&y))]);
        let bindings = Bindings::new(FieldValues::default(), &all);
        let group = |value: &str| format!("(?:{})", value.replace('/', "\\/"));
        let filled = |x: &str, y: &str| {
            let text = written.replace("${labels:x}", &group(x)).replace("${labels:y}", &group(y));
            Pattern::compile(&text).unwrap()
        };
        let combinations = || x.iter().flat_map(|x| y.iter().map(move |y| (x, y)));
        let expected = combinations().any(|(x, y)| filled(x, y).matches(&subject, &bindings).unwrap());
        prop_assert_eq!(compiled.matches(&subject, &bindings), Ok(expected), "{:?} with {:?} {:?} on {:?}", written, x, y, subject);
        // What a group catches is decided by other code, which agrees whether there is a match at all.
        prop_assert_eq!(compiled.capture(&subject, 0, &bindings).map(|caught| caught.is_some()), Ok(expected));
        if let ([x], [y]) = (x.as_slice(), y.as_slice()) {
            for number in 0..3 {
                prop_assert_eq!(compiled.capture(&subject, number, &bindings), filled(x, y).capture(&subject, number, &bindings));
            }
        }
    }
}
