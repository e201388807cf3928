//! What patterns and their placeholders match, pinned case by case.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use proptest::prelude::*;

use super::*;

fn labels<'l>(all: impl IntoIterator<Item = (&'l str, Vec<LabelValue>)>) -> LabelValues {
    all.into_iter().map(|(name, values)| (name.to_owned(), values)).collect()
}

fn globs(values: &[&str]) -> Vec<LabelValue> {
    values.iter().map(|value| LabelValue::glob(value).unwrap()).collect()
}

fn literals(values: &[&str]) -> Vec<LabelValue> {
    values.iter().map(|value| LabelValue::literal(value)).collect()
}

/// Whether a pattern matches for one account, whose name is also the only capture.
fn holds(pattern: &str, subject: &str, account: &str, labels: &LabelValues) -> bool {
    let values = Values { account, kind: "repository", name: subject, service: "registry.example" };
    let mut bindings = Bindings::new(values, labels);
    bindings.capture(Field::Account, 1, account);
    Pattern::compile(pattern).unwrap().matches(subject, &bindings).unwrap()
}

#[test]
fn what_is_a_regex_is_decided_by_the_written_text() {
    let cases = [
        ("", Kind::Literal),
        ("/", Kind::Literal),
        ("//", Kind::Literal),
        ("///", Kind::Regex),
        ("/a/", Kind::Regex),
        ("/a", Kind::Literal),
        ("a/", Kind::Literal),
        ("abc", Kind::Literal),
        ("a*", Kind::Glob),
        ("${account}", Kind::Glob),
        ("/${account}/", Kind::Regex),
    ];
    for (text, kind) in cases {
        assert_eq!(Pattern::compile(text).unwrap().kind(), kind, "{text:?}");
    }
    // docker_auth makes a regex of this label, which matches everything.
    let all = labels([("p", globs(&["/.*/", "/*/"])), ("q", literals(&["/.*/"]))]);
    assert!(!holds("${labels:q}", "anything", "a", &all));
    assert!(!holds("${labels:p}", "anything", "a", &all));
    assert!(holds("${labels:p}", "/x/", "a", &all));
    assert!(!holds("${account}", "anything", "/.*/", &all));
    assert!(holds("${account}", "/.*/", "/.*/", &all));
}

#[test]
fn matching_is_docker_auths() {
    let none = LabelValues::new();
    let cases = [
        ("", "", true),
        ("", "alice", false),
        ("*", "", true),
        ("*", "a/b", false),
        ("**", "a/b", false),
        ("a/**/c", "a/b/c", true),
        ("a/**/c", "a/c", false),
        ("?", "/", false),
        ("[!a]", "b", false),
        ("{a,b}", "a", false),
        ("//", "//", true),
        ("//", "a", false),
        (r"a\*", "a*", true),
        ("/b/", "abc", true),
        ("/admin1|admin2/", "notadmin1x", true),
        ("/^a$/", "a\n", false),
        ("/^a$/", "a", true),
        ("/.+/", "", false),
        ("/^$/", "", true),
    ];
    for (pattern, subject, expected) in cases {
        assert_eq!(holds(pattern, subject, "alice", &none), expected, "{pattern:?} on {subject:?}");
    }
}

#[test]
fn placeholders_stand_for_text() {
    let none = LabelValues::new();
    // Pattern, account, subject.
    let cases = [
        ("${account}/*", "alice", "alice/app", true),
        ("${account}/*", "alice", "bob/app", false),
        ("${account}/*", "*", "bob/app", false),
        ("${account}/*", "*", "*/app", true),
        ("${account}", "a.b", "a.b", true),
        ("${account}", "a.b", "axb", false),
        ("${account}", "[a-z]", "b", false),
        ("${account}", r"a\", r"a\", true),
        ("${account}${account}", "ab", "abab", true),
        ("${account}${account}", "ab", "abba", false),
        ("/^${account}$/", "a.b", "axb", false),
        ("/^${account}$/", "a.b", "a.b", true),
        ("/^${account}/", "a|", "b", false),
        ("/^${account}+$/", "ab", "abab", true),
        ("/^${account}+$/", "ab", "abb", false),
        ("/^(?i)${account}$/", "aB", "Ab", true),
        ("/^${account}$/", "aB", "Ab", false),
        ("/^${account}$/", "(", "(", true),
        ("/^${account}$/", "x\n", "x", false),
        // Whatever the account holds is never read again.
        ("${account}", "${name}", "anything", false),
        ("${account}", "${name}", "${name}", true),
        ("/^${account}$/", "${name}", "${name}", true),
        // The regular expression of docker_auth's known hole, and its glob.
        ("${account:1}/*", "*", "victim/x", false),
        ("${account:1}/*", "*", "*/x", true),
        ("/^${account:1}\\//", ".*", "victim/a/b", false),
        ("${Account:1}/*", "alice", "alice/x", true),
        ("${account:01}/*", "alice", "alice/x", true),
        ("${account:2}/*", "alice", "alice/x", false),
        ("${account:2}/*", "alice", "/x", false),
        ("${account:99999999999999999999999}/*", "alice", "${account:99999999999999999999999}/x", false),
        ("/^(${account:2}|pub)\\//", "alice", "pub/x", true),
        ("/^(${account:2}|pub)\\//", "alice", "/x", false),
        ("${type}", "a", "repository", true),
        ("${service}", "a", "registry.example", true),
        ("${name}", "a", "whatever/it/is", true),
        // These are no placeholders.
        ("${foo}", "alice", "${foo}", true),
        ("${ACCOUNT:1}", "alice", "${ACCOUNT:1}", true),
        ("${account:0}", "alice", "${account:0}", true),
        ("/^${foo}$/", "alice", "${foo}", false),
        ("/${foo}/", "alice", "{foo}", false),
        ("$account", "alice", "$account", true),
        ("${account", "alice", "${account", true),
        ("${x${account}}", "alice", "${xalice}", true),
    ];
    for (pattern, account, subject, expected) in cases {
        assert_eq!(holds(pattern, subject, account, &none), expected, "{pattern:?} for {account:?} on {subject:?}");
    }
}

#[test]
fn labels_stand_for_their_values() {
    let all = labels([
        ("g", globs(&["web*", "b?t", "[x-z]", "plain"])),
        ("l", literals(&["*", "team.a"])),
        ("p", globs(&["x", "y"])),
        ("q", globs(&["1", "2"])),
        ("brace", literals(&["${account}", ""])),
        ("empty", Vec::new()),
    ]);
    let cases = [
        ("${labels:g}/app", "website/app", true),
        ("${labels:g}/app", "web/site/app", false),
        ("${labels:g}/app", "bat/app", true),
        ("${labels:g}/app", "y/app", true),
        ("${labels:g}/app", "plain/app", true),
        ("${labels:g}/app", "plainer/app", false),
        ("/^${labels:g}\\/app$/", "website/app", true),
        ("/^${labels:g}\\/app$/", "web/site/app", false),
        ("/^${labels:g}\\/app$/", "bat/app", true),
        ("/^${labels:g}\\/app$/", "y/app", true),
        ("/^${labels:g}\\/app$/", "a/app", false),
        ("${labels:l}/app", "anything/app", false),
        ("${labels:l}/app", "*/app", true),
        ("${labels:l}/app", "teamxa/app", false),
        ("/^${labels:l}$/", "teamxa", false),
        ("/^${labels:l}$/", "team.a", true),
        // The same value both times, and every combination of different labels.
        ("${labels:p}-${labels:p}", "x-x", true),
        ("${labels:p}-${labels:p}", "x-y", false),
        ("/^${labels:p}-${labels:p}$/", "y-y", true),
        ("/^${labels:p}-${labels:p}$/", "x-y", false),
        ("${labels:p}${labels:q}", "x2", true),
        ("${labels:p}${labels:q}", "y1", true),
        ("${labels:p}${labels:q}", "xy", false),
        ("${labels:p}${labels:q}${labels:p}${labels:q}", "x2x2", true),
        ("${labels:p}${labels:q}${labels:p}${labels:q}", "x2x1", false),
        ("/^(${labels:p}${labels:q})+$/", "x2y1", true),
        ("/^${labels:p}${labels:q}${labels:p}${labels:q}$/", "x2x2", true),
        ("/^${labels:p}${labels:q}${labels:p}${labels:q}$/", "x2y2", false),
        ("/^(?i)${labels:p}-${labels:p}$/", "X-x", true),
        // A wildcard used twice may take different text.
        ("${labels:g}/${labels:g}", "web1/web2", true),
        ("${labels:g}/${labels:g}", "web1/bat", false),
        // Values are not expanded again.
        ("${labels:brace}", "alice", false),
        ("${labels:brace}", "${account}", true),
        ("a${labels:brace}b", "ab", true),
        // A label that is missing matches nothing, but not everything needs it.
        ("${labels:none}/app", "/app", false),
        ("${labels:none}/app", "${labels:none}/app", false),
        ("${labels:empty}/app", "/app", false),
        ("/^(${labels:none}|pub)\\/.*$/", "pub/x", true),
        ("/^(${labels:none}|pub)\\/.*$/", "/x", false),
        ("/^(${labels:empty}|pub)\\/.*$/", "pub/x", true),
        ("${labels:}", "${labels:}", true),
        ("${labels}", "${labels}", true),
    ];
    for (pattern, subject, expected) in cases {
        assert_eq!(holds(pattern, subject, "alice", &all), expected, "{pattern:?} on {subject:?}");
    }
}

#[test]
fn the_guides_labels_work() {
    let busy = labels([
        ("project", globs(&["website"])),
        ("tier", globs(&["frontend", "backend"])),
        ("group", globs(&["webdev", "design"])),
    ]);
    let pattern = "${labels:project}/${labels:group}-${labels:tier}";
    assert!(holds(pattern, "website/webdev-backend", "busy-guy", &busy));
    assert!(!holds(pattern, "website/backend-webdev", "busy-guy", &busy));
    let access = labels([("full-access", globs(&["test", "socke*"]))]);
    for (name, expected) in [("test", true), ("socken-test", true), ("test-socke", false)] {
        assert_eq!(holds("${labels:full-access}", name, "waldi", &access), expected, "{name}");
    }
}

#[test]
fn a_bad_pattern_says_where_and_what_to_write_instead() {
    let cases = [
        ("[a", "character 1", "\\["),
        ("é[]a]", "character 3", "\\]"),
        ("[a-]", "character 4", "\\-"),
        ("a\\", "character 2", "\\\\"),
        ("\\${account}", "character 1", "placeholder"),
        ("[${account}]", "character 1", "placeholder"),
        ("[a${labels:x}", "character 1", "placeholder"),
        ("/(/", "character 2", "\\("),
        ("/é**/", "character 4", "(?:…)"),
        ("/\\${account}/", "character 2", "placeholder"),
        ("/[${account}]/", "character 2", "placeholder"),
        ("/[^x${account}/", "character 2", "placeholder"),
        ("/a{${account}}/", "character 3", "\\{"),
        ("/a{2,${account}}/", "character 3", "\\{"),
        ("/\\Q${account}\\E/", "character 2", "placeholder"),
        ("/(?P<${account}>a)/", "character 2", "placeholder"),
        ("/(?<${account:1}>a)/", "character 2", "placeholder"),
        ("/(?${account})/", "character 2", "placeholder"),
        ("/\\x${account}/", "character 2", "placeholder"),
        ("/\\x{${account}}/", "character 2", "\\x7F"),
        ("/\\p${account}/", "character 2", "placeholder"),
        ("/\\p{${account}}/", "character 2", "placeholder"),
        ("/[[:${account}:]]/", "character 2", "placeholder"),
        ("/abc\\/", "character 5", "lone"),
        ("/a(?=b)/", "character 3", "looking"),
    ];
    for (pattern, place, advice) in cases {
        let message = Pattern::compile(pattern).unwrap_err().to_string();
        assert!(message.contains(&format!("{place}:")), "{pattern:?}: {message}");
        assert!(message.contains(advice), "{pattern:?}: {message}");
    }
    let big = Pattern::compile("/(\\pL{100}){10}/").unwrap_err();
    assert!(matches!(big, PatternError::TooBig { .. }), "{big}");
    assert!(big.to_string().contains("256 KiB"), "{big}");
    assert!(matches!(Pattern::compile(&"a".repeat(PATTERN_BYTES + 1)), Err(PatternError::TooLong { .. })));
    let many: String = (0..=PATTERN_PLACEHOLDERS).map(|label| format!("${{labels:{label}}}")).collect();
    assert!(matches!(Pattern::compile(&many), Err(PatternError::TooManyPlaceholders { .. })));
    assert!(LabelValue::glob("[a").is_err());
}

#[test]
fn a_brace_or_dollar_beside_a_placeholder_is_plain() {
    let none = LabelValues::new();
    assert!(holds(r"/^\{${account}}$/", "{alice}", "alice", &none));
    assert!(holds("{${account}}", "{alice}", "alice", &none));
    assert!(holds(r"\\${account}", r"\alice", "alice", &none));
    assert!(holds(r"/^\\${account}$/", r"\alice", "alice", &none));
    // The digits of an octal escape do not run on into data.
    assert!(holds(r"/^\0${account}$/", "\u{0}12", "12", &none));
}

#[test]
fn literals_and_placeholders_are_listed() {
    let pattern = |text: &str| Pattern::compile(text).unwrap();
    assert_eq!(pattern(r"a\*\b").literal(), Some("a*b"));
    assert_eq!(pattern("").literal(), Some(""));
    assert_eq!(pattern("${foo}").literal(), Some("${foo}"));
    for text in ["a*", "a?", "[a]", "${account}", "/^a$/"] {
        assert_eq!(pattern(text).literal(), None, "{text}");
    }
    let listed = pattern("${Name:2}/${account}/${labels:a b}/${account}/${acount}/${labels}/${2}/${labels:}");
    assert_eq!(
        listed.placeholders().cloned().collect::<Vec<_>>(),
        [
            Placeholder::Capture(Field::Name, 2),
            Placeholder::Value(Field::Account),
            Placeholder::Label("a b".to_owned())
        ]
    );
    assert_eq!(listed.unknown_placeholders().collect::<Vec<_>>(), ["${acount}", "${labels}", "${labels:}"]);
    assert_eq!(
        listed.placeholders().map(ToString::to_string).collect::<Vec<_>>(),
        ["${name:2}", "${account}", "${labels:a b}"]
    );
    assert_eq!(pattern("/^a{2}$/").unknown_placeholders().count(), 0);
    assert!(pattern("a").is_anchored());
    assert!(pattern("/^a$/").is_anchored());
    assert!(!pattern("/a/").is_anchored());
    assert!(!pattern("/^${account}/").is_anchored());
}

#[test]
fn captures_come_from_regular_expressions_only() {
    let none = LabelValues::new();
    let mut bindings = Bindings::new(Values { account: "alice", ..Values::default() }, &none);
    let cases = [
        ("/^(.+)@(.+)$/", "alice@test", 1, Some("alice")),
        ("/^(.+)@(.+)$/", "alice@test", 2, Some("test")),
        ("/^(.+)@(.+)$/", "alice@test", 3, None),
        ("/^(.+)@(.+)$/", "alice", 1, None),
        ("/^(a)|(b)$/", "b", 1, Some("")),
        ("/^(a){0}b/", "b", 1, Some("")),
        ("/^(?P<n>a)/", "a", 1, Some("a")),
        ("/^(?:a)/", "a", 1, None),
        ("/(${account}+)-/", "alicealice-", 1, Some("alicealice")),
        ("/^(a)${labels:none}/", "ab", 1, None),
        ("(a)", "(a)", 1, None),
        ("a*", "ab", 1, None),
    ];
    for (pattern, subject, group, expected) in cases {
        assert_eq!(
            Pattern::compile(pattern).unwrap().capture(subject, group, &bindings),
            Ok(expected),
            "{pattern:?} on {subject:?}"
        );
    }
    bindings.capture(Field::Account, 1, "x");
    bindings.capture(Field::Account, 1, "y");
    let pattern = Pattern::compile("${account:1}").unwrap();
    assert_eq!((pattern.matches("x", &bindings), pattern.matches("y", &bindings)), (Ok(false), Ok(true)));
    bindings.clear_captures();
    assert_eq!(pattern.matches("y", &bindings), Ok(false));
}

#[test]
fn expansion_reads_well() {
    let many: Vec<String> = (0..12).map(|n| format!("v{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let all = labels([("one", globs(&["web*"])), ("two", globs(&["a", "b"])), ("many", globs(&many))]);
    let mut bindings = Bindings::new(Values { account: "al*ce", name: "n", ..Values::default() }, &all);
    bindings.capture(Field::Account, 1, "al");
    let cases = [
        ("plain", "plain"),
        ("${account}/${labels:one}/${labels:two}", "al*ce/web*/{a|b}"),
        ("/^${account}\\/(${labels:two})$/", "/^al*ce\\/({a|b})$/"),
        ("${account:1}-${account:2}", "al-${account:2}"),
        ("${labels:none}/${foo}", "${labels:none}/${foo}"),
        ("${labels:many}", "{v0|v1|v2|v3|v4|v5|v6|v7|v8|v9|… 2 more}"),
    ];
    for (pattern, expected) in cases {
        assert_eq!(Pattern::compile(pattern).unwrap().expand(&bindings), expected);
    }
}

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
    let Body::RegexTemplate(regex) = &pattern.body else { unreachable!("it has a placeholder") };
    assert_eq!(regex.compiled.lock().unwrap().len(), REMEMBERED);
}

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
        let mut bindings = Bindings::new(Values { account: &data, kind: &data, name: &subject, service: &data }, &all);
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
}
