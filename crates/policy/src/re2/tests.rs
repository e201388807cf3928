//! What regular expressions mean in Go, pinned case by case.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use super::parser::DEEPEST;
use super::*;

fn printed(text: &str) -> String {
    parse(text, &[])
        .unwrap()
        .segments
        .iter()
        .map(|segment| match segment {
            Segment::Text(text) => text.as_str(),
            Segment::Slot { .. } => "SLOT",
        })
        .collect()
}

fn matches(text: &str, subject: &str) -> bool {
    regex::Regex::new(&printed(text)).unwrap().is_match(subject)
}

#[test]
fn what_go_and_rust_read_differently_is_read_as_go_does() {
    let cases = [
        // Classes are ASCII, and \s has no vertical tab.
        (r"^\d$", "٣", false),
        (r"^\w$", "é", false),
        (r"^\w$", "_", true),
        (r"^\W$", "é", true),
        (r"^\s$", "\u{b}", false),
        (r"^[[:space:]]$", "\u{b}", true),
        (r"^\s$", "\u{a0}", false),
        (r"é\b", "aé", false),
        (r"^\Bé", "é", true),
        // But a `.` is one character of any alphabet.
        (r"^.$", "😀", true),
        (r"^.$", "\n", false),
        (r"(?s)^.$", "\n", true),
        // The end is the end.
        (r"a$", "a\n", false),
        (r"(?m)a$", "a\n", true),
        (r"(?m)^a", "\na", true),
        // Braces that are not a repetition.
        (r"^a{$", "a{", true),
        (r"^{x}$", "{x}", true),
        (r"^a{,2}$", "a{,2}", true),
        (r"^a{01}$", "a{01}", true),
        (r"^a{2,01}$", "a{2,01}", true),
        (r"^a{2}$", "aa", true),
        (r"^a{0,1000}$", "a", true),
        (r"^a{1000,}$", "a", false),
        (r"^(?:a{500}){2}$", "a", false),
        (r"^(?:a{1000}){0,1}$", "", true),
        (r"${foo}", "{foo}", false),
        // Operators of classes that Go does not have.
        (r"^[a&&b]+$", "a&b", true),
        (r"^[+--]$", ",", true),
        (r"^[a~~b]$", "~", true),
        (r"^[[a]+$", "[a", true),
        (r"^[]a]+$", "]a", true),
        (r"^[^]a]$", "]", false),
        (r"^[a-]+$", "a-", true),
        (r"^[a-a]$", "a", true),
        // Quoting, numbers, names.
        (r"^\Qa.b\E.$", "a.bc", true),
        (r"^\Qa.b\E$", "axb", false),
        (r"^\Qa.b", "a.b", true),
        (r"^ab\Q\E*$", "abbb", true),
        (r"^\101\x42\x{43}\07$", "ABC\u{7}", true),
        (r"^(?P<one>a)(?<two>b)(?P<one>c)$", "abc", true),
        (r"^\p{Greek}\pL\P{^Lu}$", "αbC", true),
        (r"^\p{greek}$", "β", true),
        (r"^\p{Greek}x$", "αy", false),
        (r"^\PL$", "a", false),
        (r"^\p{Any}$", "a", true),
        (r"^\P{any}$", "a", false),
        (r"^\p{ASCII}$", "a", true),
        (r"^\p{ASCII}$", "é", false),
        (r"^\p{Assigned}$", "a", true),
        (r"^\p{Assigned}$", "\u{378}", false),
        (r"^\p{Cs}$", "a", false),
        (r"^\P{Cs}$", "a", true),
        (r"^\a\f\n\r\t\v$", "\u{7}\u{c}\n\r\t\u{b}", true),
        // Flags, also with a repetition after them.
        (r"(?i)^abc$", "aBC", true),
        (r"^(?i:k)$", "\u{212A}", true),
        (r"^a(?i)b|c$", "C", true),
        (r"^(?:(?i)a)b$", "AB", false),
        (r"^a(?i)*$", "aaa", true),
        (r"(?i)^a(?-i)b$", "Ab", true),
        (r"(?i)^a(?-i)b$", "AB", false),
        (r"(?i)^a(?-i:b)c$", "AbC", true),
        (r"^(?)(?:)a$", "a", true),
        (r"^#x y$", "#x y", true),
        (r"^[\x{D800}]$", "a", false),
        (r"^[^\x{D800}]$", "a", true),
    ];
    for (text, subject, expected) in cases {
        assert_eq!(matches(text, subject), expected, "/{text}/ on {subject:?} as {}", printed(text));
    }
}

#[test]
fn what_go_refuses_is_refused() {
    let cases = r"( ) a( (a a) * +a ? {2} a|* (*) (?i)* a** a+* a{2}{3} a*?? a{1001} a{2,1} a{99999999999} a{1001,} a{0,1001}
        (a{100}){100} (a{100}){0,100} (a{100}){100,} (a{501}){2} [ [] [^ [a [z-a] [a-\d] [[:nope:]] [\b] [\Q] \ a\ \8 \1
        \Z \C \E \G \h \u{41} \u0041 \U00000041 [a--b] \x \x4 \xg \x{} \x{110000} \x{41 \é \p \p{ \p{} \p{Grek} \p{Nope}
        \p{Alphabetic} \p{sc=Greek} \p{IsGreek} \p{IsL} \p{_} \p{L&} (?x)a (?u)a (?R)a (?-u:a) (?=a) (?!a) (?<=a) (?<!a)
        (?#a) (?>a) (?P=n) (?P<>a) (?P<n-m>a) (?P<n (?<é>a) (?'n'a) (?i-) (?i-:a) (?i--s) (?i-s-m) (?-) (? (?i";
    let accepted: Vec<&str> = cases.split_whitespace().filter(|text| parse(text, &[]).is_ok()).collect();
    assert_eq!(accepted, Vec::<&str>::new());
    // Go does take these two, with a meaning of their own: a plain `<`, and an edge of a word before `{start}`.
    assert!(matches(r"^\<$", "<"));
    assert!(matches(r"a\b{start}", "a{start}"));
}

#[test]
fn depth_is_limited_and_the_deepest_still_compiles() {
    let deep = |depth: usize| format!("{}a{}", "((?i:".repeat(depth / 2), ")*|b)+".repeat(depth / 2));
    assert!(regex::RegexBuilder::new(&printed(&deep(DEEPEST))).nest_limit(2000).build().is_ok());
    assert!(parse(&deep(DEEPEST + 2), &[]).is_err());
    assert!(parse(&"(".repeat(100_000), &[]).is_err());
    assert!(parse(&format!("a*{}", "(?i)*".repeat(3)), &[]).is_ok());
    assert!(parse(&format!("a*{}", "(?i)*".repeat(4)), &[]).is_err());
    assert!(parse(&format!("a*{}", "(?i)*".repeat(100)), &[]).is_err());
}

#[test]
fn loose_ends_are_told() {
    let held = r"^a$ \Aa\z ^(a|b)$ (^a$|^b$) (?:^a)b$ (?:^a$)+ .* .+ ^a.* ^(a.*|b$) ^\bab\b$";
    let loose = "(?:^a$)* a ^a a$ ^a|b$ ^?a$ (?m)^a$ a.?";
    for (texts, expected) in [(held, Ends::Held), (loose, Ends::Loose), ("", Ends::Loose)] {
        for text in texts.split(' ') {
            assert_eq!(parse(text, &[]).unwrap().ends, expected, "/{text}/");
        }
    }
}

#[test]
fn what_every_match_holds_is_known_or_not_named_at_all() {
    let cases: &[(&str, &[&str])] = &[
        ("^team-7-[a-z]+$", &["team-7-"]),
        ("^[a-z]+-bot$", &["-bot"]),
        ("team", &["team"]),
        ("^(mirror|cache)-7\\/.*$", &["-7/"]),
        ("^(mirror|cache)$", &["mirror", "cache"]),
        ("^(mirror|cache-[0-9])", &["mirror", "cache-"]),
        ("^(mirror|.*)$", &[]),
        ("^(mirror|)$", &[]),
        ("(?i)team", &[]),
        ("(?i:te)am", &["am"]),
        ("^(team)?x$", &["x"]),
        ("^(team)*$", &[]),
        ("^(team)+$", &["team"]),
        ("^(team){2,}$", &["team"]),
        ("^(team){0}x$", &["x"]),
        ("^teams?$", &["team"]),
        ("^te[a]m$", &["te"]),
        ("^te.am$", &["te"]),
        ("^team$|^cache$", &["team", "cache"]),
        (r"^\Qa.b\E", &["a.b"]),
        ("^$", &[]),
        (".*", &[]),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text, &[]).unwrap().needed, *expected, "{text}");
    }
    let names: Vec<String> = (10..27).map(|number| format!("project-{number}")).collect();
    let needed = |names: &[String]| parse(&format!("^({})$", names.join("|")), &[]).unwrap().needed;
    let (sixteen, _) = names.split_at(16);
    assert_eq!(needed(sixteen), sixteen);
    assert_eq!(needed(&names), [""; 0]);
}

#[test]
fn placeholders_that_are_taken_more_than_once_are_known() {
    for (text, expected) in [
        ("^${a}$", &[][..]),
        ("^(${a})?$", &[]),
        ("^(${a}){1}$", &[]),
        ("^(${a}){0,2}$", &[0]),
        ("^(${a})*$", &[0]),
        ("^(x|(?:${a}y)+)$", &[0]),
    ] {
        let start = text.find('$').unwrap();
        let span = Span { start, end: start + "${a}".len(), slot: 0 };
        assert_eq!(parse(text, &[span]).unwrap().repeated, expected, "{text}");
    }
}

#[test]
fn a_glob_takes_the_same_names_inside_an_expression() {
    for (glob, name, expected) in [
        ("a[b-d]", "ac", true),
        ("a[b-d]", "ae", false),
        ("a[^b-d]", "ae", true),
        ("a[^b-d]", "ac", false),
        ("a[^b-d]", "a/", true),
        ("a?", "ab", true),
        ("a?", "a/", false),
        ("a*b", "axxb", true),
        ("a*b", "a/b", false),
        ("a.b", "axb", false),
    ] {
        let mut inside = String::new();
        push_glob(&mut inside, &crate::glob::parse(glob, &[]).unwrap());
        assert_eq!(regex::Regex::new(&format!("^(?:{inside})$")).unwrap().is_match(name), expected, "{glob}, {name}");
    }
}
