//! What globs match, pinned case by case.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
use super::parse::{DASH, EMPTY_SET, OPEN_SET, TRAILING};
use super::*;

/// Both ways of deciding: the one for plain globs, and the one for globs with placeholders.
fn both(glob: &str, name: &str) -> (bool, bool) {
    let tokens = parse(glob, &[]).unwrap();
    let mut walk = Walk::new(name);
    let mut to = Positions::none(name.len());
    walk.tokens(&tokens, &walk.start(), &mut to, &mut Budget::new(1_000_000, Compiling::Allowed)).unwrap();
    (matches(&tokens, name), to.has(name.len()))
}

#[test]
fn a_glob_matches_whole_names_as_go_does() {
    let cases = [
        ("abc", "abc", true),
        ("abc", "abcd", false),
        ("abc", "xabc", false),
        ("", "", true),
        ("", "a", false),
        ("*", "", true),
        ("*", "abc", true),
        ("*", "a/b", false),
        ("**", "a/b", false),
        ("**", "ab", true),
        ("*/*", "a/b", true),
        ("*/*", "a/b/c", false),
        ("a/**/c", "a/b/c", true),
        ("a/**/c", "a/c", false),
        ("a/**/c", "a/b/b/c", false),
        ("a*", "a", true),
        ("a*b*c", "aXbYc", true),
        ("a*b*c", "aXbYcd", false),
        ("*.test", "a.test", true),
        ("?", "a", true),
        ("?", "é", true),
        ("?", "😀", true),
        ("?", "/", false),
        ("?", "", false),
        ("[a-c]", "b", true),
        ("[a-c]", "d", false),
        ("[c-a]", "b", false),
        ("[^a]", "b", true),
        ("[^a]", "a", false),
        ("[^a]", "/", true),
        ("[!a]", "!", true),
        ("[!a]", "b", false),
        ("[a^]", "^", true),
        (r"[\]]", "]", true),
        (r"[\-x]", "-", true),
        ("[[]", "[", true),
        ("[é-ü]", "ö", true),
        ("]", "]", true),
        (r"\*", "*", true),
        (r"\*", "a", false),
        (r"\a", "a", true),
        (r"\\", r"\", true),
        ("{a,b}", "a", false),
        ("{a,b}", "{a,b}", true),
        ("//", "//", true),
        ("a.b", "axb", false),
        ("*é*", "xéy", true),
    ];
    for (glob, name, expected) in cases {
        assert_eq!(both(glob, name), (expected, expected), "{glob:?} on {name:?}");
    }
}

#[test]
fn the_first_fit_after_a_star_is_final_as_in_go() {
    assert_eq!(both("*[^x]*b", "a/b"), (false, true));
}

#[test]
fn a_bad_glob_is_told_with_its_place() {
    let cases = [
        ("[a", 0, OPEN_SET),
        ("x[", 1, OPEN_SET),
        ("[]a]", 1, EMPTY_SET),
        ("[^]a]", 2, EMPTY_SET),
        ("[a-]", 3, DASH),
        ("[-a]", 1, DASH),
        ("[a--]", 3, DASH),
        ("a\\", 1, TRAILING),
        ("[\\", 1, TRAILING),
        ("nothing/matches/before[a", 22, OPEN_SET),
    ];
    for (glob, at, why) in cases {
        assert_eq!(parse(glob, &[]), Err(BadGlob { at, why }), "{glob:?}");
    }
}

#[test]
fn the_budget_ends_a_walk() {
    let tokens = parse("*a*", &[]).unwrap();
    let mut walk = Walk::new("aaaaaaaaaa");
    let mut to = Positions::none(10);
    assert_eq!(walk.tokens(&tokens, &walk.start(), &mut to, &mut Budget::new(5, Compiling::Allowed)), Err(Spent));
}
