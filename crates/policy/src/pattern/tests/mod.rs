//! What patterns and their placeholders match, pinned case by case.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod properties;
mod refused;
mod samples;
mod work;

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
    let values = FieldValues { account, kind: "repository", name: subject, service: "registry.example" };
    let mut bindings = Bindings::new(values, labels);
    bindings.capture(Field::Account, 1, account);
    Pattern::compile(pattern).unwrap().matches(subject, &bindings).unwrap()
}

/// What a pattern is written in.
#[derive(Debug, PartialEq)]
enum Kind {
    Literal,
    Glob,
    Regex,
}

fn kind(pattern: &Pattern) -> Kind {
    match (pattern.is_regex(), pattern.literal()) {
        (true, _) => Kind::Regex,
        (false, Some(_)) => Kind::Literal,
        (false, None) => Kind::Glob,
    }
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
    for (text, expected) in cases {
        assert_eq!(kind(&Pattern::compile(text).unwrap()), expected, "{text:?}");
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
        ("${account:}", "alice", "${account:}", true),
        ("${account:x}", "alice", "${account:x}", true),
        ("${account:1x}", "alice", "${account:1x}", true),
        ("${account:99999999999999999999999}/*", "alice", "${account:99999999999999999999999}/x", false),
        ("/^(${account:2}|pub)\\//", "alice", "pub/x", true),
        ("/^(${account:2}|pub)\\//", "alice", "/x", false),
        ("${type}", "a", "repository", true),
        ("${service}", "a", "registry.example", true),
        ("${name}", "a", "whatever/it/is", true),
        // These are not placeholders.
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
        // A repetition repeats the value, too.
        ("/^(${labels:p}${labels:q})+$/", "x2x2", true),
        ("/^(${labels:p}${labels:q})+$/", "x2y1", false),
        ("/^(a|(${labels:p}-)?)*$/", "x-ax-", true),
        ("/^(a|(${labels:p}-)?)*$/", "x-ay-", false),
        ("/^${labels:p}{2}$/", "yy", true),
        ("/^${labels:p}{1,2}$/", "xy", false),
        ("/^(${labels:p}?){1}$/", "y", true),
        ("/^${labels:g}+$/", "web1/", false),
        ("/^${labels:g}+$/", "batbet", true),
        ("/^${labels:p}${labels:q}${labels:p}${labels:q}$/", "x2x2", true),
        ("/^${labels:p}${labels:q}${labels:p}${labels:q}$/", "x2y2", false),
        ("/^(?i)${labels:p}-${labels:p}$/", "X-x", true),
        // A wildcard used twice may take different text.
        ("${labels:g}/${labels:g}", "web1/web2", true),
        ("${labels:g}/${labels:g}", "web1/bat", false),
        // FieldValues are not expanded again.
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
fn repetitions_of_placeholders_are_counted() {
    let none = LabelValues::new();
    for (pattern, times) in [
        ("/^(?:${account}){2}$/", &[2][..]),
        ("/^(?:${account}){1,3}$/", &[1, 2, 3]),
        ("/^(?:${account}){2,3}?$/", &[2, 3]),
        ("/^(?:${account}){3,}$/", &[3, 4, 5, 6]),
        ("/^(?:(?:${account}){2}){1,2}$/", &[2, 4]),
        ("/^${account}?(?:${account}${account})*$/", &[0, 1, 2, 3, 4, 5, 6]),
    ] {
        let matching: Vec<usize> = (0..7).filter(|times| holds(pattern, &"ab".repeat(*times), "ab", &none)).collect();
        assert_eq!(matching, times, "{pattern}");
    }
}

#[test]
fn wildcards_of_labels_are_compared_without_regard_to_case_where_the_expression_says_so() {
    let all = labels([("x", globs(&["a[k]*", "b[^s]?", "É[α-γ]"]))]);
    for (subject, exact, folded) in [
        ("akx", true, true),
        ("AKx", false, true),
        ("A\u{212A}", false, true),
        ("ak/", false, false),
        ("Bt.", false, true),
        // The long s is an s in another case.
        ("b\u{17F}.", true, false),
        ("bS.", true, false),
        ("éΒ", false, true),
        ("éω", false, false),
    ] {
        assert_eq!(holds("/^${labels:x}$/", subject, "", &all), exact, "{subject}");
        assert_eq!(holds("/(?i)^${labels:x}$/", subject, "", &all), folded, "{subject}");
    }
}

#[test]
fn places_in_expressions_with_placeholders_are_those_of_go() {
    let none = LabelValues::new();
    for (pattern, account, subject, expected) in [
        ("/(?m)^${account}$/", "a", "x\na\ny", true),
        ("/(?m)^${account}$/", "a", "xa\ny", false),
        ("/(?m)^${account}$/", "a", "x\nay", false),
        ("/^${account}$/", "a", "x\na", false),
        ("/^${account}$/", "a", "a\nx", false),
        ("/\\b${account}\\b/", "ab", "x-ab-y", true),
        ("/\\b${account}\\b/", "ab", "x_ab-y", false),
        ("/\\b${account}\\b/", "ab", "x-ab1", false),
        ("/\\b${account}\\b/", "ab", "ab", true),
        ("/\\b${account}/", "-", "a-", true),
        ("/\\b${account}/", "-", "--", false),
        ("/\\B${account}\\B/", "ab", "xaby", true),
        ("/\\B${account}\\B/", "ab", "x-aby", false),
        ("/\\B${account}\\B/", "ab", "xab-y", false),
    ] {
        assert_eq!(holds(pattern, subject, account, &none), expected, "{pattern} for {account} on {subject:?}");
    }
}

#[test]
fn letters_are_folded_as_unicode_does() {
    let all = labels([("set", globs(&["[a-c]x", "[^a-z]y", "[\u{3b1}-\u{3b3}]z"]))]);
    for (pattern, account, subject, expected) in [
        ("/(?i)^${account}$/", "k", "\u{212a}", true),
        ("/(?i)^${account}$/", "\u{212a}", "K", true),
        ("/(?i)^${account}$/", "s", "\u{17f}", true),
        ("/(?i)^${account}$/", "é", "É", true),
        ("/(?i)^${account}$/", "é", "e", false),
        ("/(?i)^${account}$/", "k", "j", false),
        ("/^${account}$/", "k", "K", false),
        ("/(?i)^${labels:set}$/", "", "BX", true),
        ("/(?i)^${labels:set}$/", "", "bx", true),
        ("/(?i)^${labels:set}$/", "", "DX", false),
        ("/(?i)^${labels:set}$/", "", "dx", false),
        ("/(?i)^${labels:set}$/", "", "1Y", true),
        ("/(?i)^${labels:set}$/", "", "QY", false),
        ("/(?i)^${labels:set}$/", "", "\u{392}Z", true),
        ("/(?i)^${labels:set}$/", "", "\u{394}Z", false),
    ] {
        assert_eq!(holds(pattern, subject, account, &all), expected, "{pattern} for {account} on {subject:?}");
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
    let all = labels([("p", literals(&["a", "b"])), ("q", literals(&["c", "d"])), ("wild", globs(&["a*"]))]);
    let mut bindings = Bindings::new(FieldValues { account: "alice", ..FieldValues::default() }, &all);
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
        // A value's wildcards take as much as they can; what (?U) turns around is the expression's own.
        ("/(?U)^(${labels:wild})(.+)b$/", "a__b/b", 1, Some("a__b")),
        ("/(?U)^(a[^/]*)(.+)b$/", "a__b/b", 1, Some("a")),
        ("/^(a)${labels:none}/", "ab", 1, None),
        // FieldValues are tried in their order: as alternatives at the first place where one fits, or, where a value has to
        // stay the same, one after the other.
        ("/(.)${labels:p}/", "1b2a", 1, Some("1")),
        ("/(.)${labels:p}$|(.)${labels:p}/", "1b2a", 1, Some("2")),
        ("/(.)${labels:p}+${labels:q}+/", "1bc2ad3ac", 1, Some("3")),
        ("/(.)${labels:p}+${labels:q}+/", "1bc2bd3ad", 1, Some("3")),
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
    let bindings = Bindings::new(bindings.values(), &none);
    assert_eq!(pattern.matches("y", &bindings), Ok(false));
}

#[test]
fn expansion_reads_well() {
    let many: Vec<String> = (0..12).map(|n| format!("v{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let shown = globs(many.get(..10).unwrap());
    let all =
        labels([("one", globs(&["web*"])), ("two", globs(&["a", "b"])), ("shown", shown), ("many", globs(&many))]);
    let mut bindings = Bindings::new(FieldValues { account: "al*ce", name: "n", ..FieldValues::default() }, &all);
    bindings.capture(Field::Account, 1, "al");
    let cases = [
        ("plain", "plain"),
        ("${account}/${labels:one}/${labels:two}", "al*ce/web*/{a|b}"),
        ("/^${account}\\/(${labels:two})$/", "/^al*ce\\/({a|b})$/"),
        ("${account:1}-${account:2}", "al-${account:2}"),
        ("${labels:none}/${foo}", "${labels:none}/${foo}"),
        ("${labels:shown}", "{v0|v1|v2|v3|v4|v5|v6|v7|v8|v9}"),
        ("${labels:many}", "{v0|v1|v2|v3|v4|v5|v6|v7|v8|v9|… 2 more}"),
    ];
    for (pattern, expected) in cases {
        assert_eq!(Pattern::compile(pattern).unwrap().expand(&bindings), expected);
    }
}
