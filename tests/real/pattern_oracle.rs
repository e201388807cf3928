//! Random globs and regular expressions decided by the rule language and by Go's own `path.Match` and `regexp`,
//! which docker_auth's rules were written for: both must agree on what is valid, what matches, and what is caught.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failure here is the test's outcome")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use policy::pattern::{Bindings, FieldValues, LabelValues, Pattern, PatternError};
use serde_json::{Value, json};

use crate::support::dice::Dice;
use crate::support::number;

/// Enough to see rare disagreements, and still a matter of seconds. `PATTERN_ORACLE_CASES` asks for more.
const CASES: u64 = 40_000;
/// The same cases every time, so that a failure can be repeated. `PATTERN_ORACLE_SEED` asks for others.
const SEED: u64 = 20_240_229;

const GLOB_PIECES: &[&str] = &[
    "a", "b", "c", "a", "b", "/", "/", ".", "-", "é", "😀", "*", "*", "*", "**", "?", "?", "[", "]", "[a-c]", "[^a]",
    "[^/]", "[^é]", "[!a]", "[a", "[]", "[^]", "[a-]", "[-a]", "[c-a]", "[.-0]", "[é-ü]", "[\\]]", "[\\-a]", "[[]",
    "\\", "\\*", "\\\\", "\\a", "^", "!", "{", "}", ",", "$",
];

const SUBJECT_PIECES: &[&str] = &[
    "a", "b", "c", "a", "b", "a", "/", "/", ".", "-", "é", "😀", "[", "]", "*", "?", "\\", "^", "!", "{", "}", ",", "$",
];

const REGEX_ATOMS: &[&str] = &[
    "a",
    "b",
    "c",
    "k",
    "S",
    "é",
    "É",
    "Σ",
    "-",
    "_",
    "/",
    " ",
    "#",
    ".",
    "^",
    "$",
    "\\d",
    "\\D",
    "\\w",
    "\\W",
    "\\s",
    "\\S",
    "\\b",
    "\\B",
    "\\A",
    "\\z",
    "\\.",
    "\\/",
    "\\_",
    "\\-",
    "\\x41",
    "\\x{e9}",
    "\\x{D800}",
    "\\101",
    "\\07",
    "\\0",
    "\\n",
    "\\v",
    "\\t",
    "\\pL",
    "\\PL",
    "\\p{Greek}",
    "\\p{^Lu}",
    "\\P{lowercase letter}",
    "\\pN",
    "\\p{any}",
    "\\p{ASCII}",
    "\\Qa.b\\E",
    "\\Q*\\E",
    "\\Q\\E",
    "[a-c]",
    "[^a]",
    "[^a-c/]",
    "[]a]",
    "[^]a]",
    "[a-]",
    "[-a]",
    "[a&&b]",
    "[a--b]",
    "[a~~b]",
    "[[a]",
    "[\\d-z]",
    "[\\w.]",
    "[^\\W]",
    "[\\D]",
    "[[:alpha:]]",
    "[[:^alnum:]_]",
    "[^[:space:]]",
    "[\\]]",
    "[\\x{0}-\\x{10FFFF}]",
    "[^\\x00-\\x{10FFFF}]",
    "[\\x{D800}-\\x{E000}]",
    "[^\\x{D800}]",
    "[é-ü]",
    "[#-/]",
    "{",
    "}",
    "{,2}",
    "{x}",
    "${foo}",
    "\"",
    "~",
    "&&",
];

const REGEX_JUNK: &[&str] = &[
    "(",
    ")",
    "|",
    "*",
    "+",
    "?",
    "{2}",
    "{1,}",
    "{0,2}",
    "{2,1}",
    "{1001}",
    "{01}",
    "{1",
    "{",
    "}",
    "[",
    "]",
    "[^",
    "[:",
    ":]",
    "[[:nope:]]",
    "[z-a]",
    "[a-\\d]",
    "\\",
    "\\8",
    "\\1",
    "\\u{41}",
    "\\u0041",
    "\\<",
    "\\>",
    "\\b{start}",
    "\\Z",
    "\\C",
    "\\E",
    "\\Q",
    "\\x",
    "\\x{",
    "\\x{}",
    "\\x4",
    "\\x{110000}",
    "\\p",
    "\\p{",
    "\\p{}",
    "\\p{Nope}",
    "\\p{Grek}",
    "\\p{L=u}",
    "\\p{Alphabetic}",
    "(?i)",
    "(?s)",
    "(?m)",
    "(?U)",
    "(?-i)",
    "(?i-s)",
    "(?i-)",
    "(?)",
    "(?x)",
    "(?u)",
    "(?R)",
    "(?:",
    "(?i:",
    "(?P<n>",
    "(?<n>",
    "(?P<n-m>",
    "(?P<>",
    "(?P=n)",
    "(?=",
    "(?!",
    "(?<=",
    "(?#",
    "(?P>",
    "(?'n'",
    "a",
    "b",
];

const REGEX_SUBJECT: &[&str] = &[
    "a", "b", "c", "a", "b", "A", "k", "K", "\u{212A}", "s", "S", "ſ", "é", "É", "Σ", "σ", "ς", "1", "7", "_", "-",
    "/", ".", " ", "\n", "\t", "\u{b}", "#", "[", "]", "{", "}", "foo", "$", "*", "&", "~", "\"", "\0", "\u{7}", "😀",
];

fn glob(dice: &mut Dice) -> (String, String) {
    let pattern = dice.several(GLOB_PIECES, 7);
    let subject = match dice.below(3) {
        0 => dice.several(SUBJECT_PIECES, 7),
        // A subject made from the pattern, so that many cases match.
        _ => pattern
            .chars()
            .map(|c| match c {
                '*' => dice.several(SUBJECT_PIECES, 2),
                '?' | '[' => dice.pick(SUBJECT_PIECES).to_owned(),
                ']' | '\\' | '^' => String::new(),
                plain => plain.to_string(),
            })
            .collect(),
    };
    (pattern, subject)
}

fn regex(dice: &mut Dice) -> (String, String) {
    let mut pattern = match dice.below(4) {
        0 => (0..=dice.below(6))
            .map(|_| if dice.below(2) == 0 { dice.pick(REGEX_JUNK) } else { dice.pick(REGEX_ATOMS) })
            .collect(),
        _ => expression(dice, 3),
    };
    if pattern.is_empty() {
        pattern.push('a');
    }
    (pattern, dice.several(REGEX_SUBJECT, 7))
}

/// An expression that is well formed for the most part.
fn expression(dice: &mut Dice, depth: usize) -> String {
    let mut out = String::new();
    for _ in 0..=dice.below(3) {
        match dice.below(if depth == 0 { 6 } else { 9 }) {
            0..=5 => out.push_str(dice.pick(REGEX_ATOMS)),
            6 => {
                let open =
                    dice.pick(&["(", "(?:", "(?i:", "(?s:", "(?m:", "(?U:", "(?P<n>", "(?<m>", "(?i-s:", "((?i)"]);
                out.push_str(open);
                out.push_str(&expression(dice, depth - 1));
                out.push(')');
            }
            7 => {
                out.push('(');
                out.push_str(&expression(dice, depth - 1));
                out.push('|');
                out.push_str(&expression(dice, depth - 1));
                out.push(')');
            }
            _ => out.push_str(dice.pick(&["|", "(?i)", "(?m)", "(?s)", "(?U)", "(?-i)", "(|a)", "()", "(?:)"])),
        }
        if dice.below(3) == 0 {
            out.push_str(dice.pick(&["*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{1,2}?", "{0}"]));
        }
    }
    out
}

/// What both sides say about one pattern and subject.
#[derive(Debug, PartialEq)]
enum Reading {
    Refused,
    NoMatch,
    Match(Vec<String>),
}

fn ours(pattern: &Pattern, subject: &str, groups: usize) -> Reading {
    let labels: LabelValues = BTreeMap::new();
    let bindings = Bindings::new(FieldValues::default(), &labels);
    if !pattern.matches(subject, &bindings).unwrap() {
        return Reading::NoMatch;
    }
    assert!(
        !pattern.is_regex() || pattern.capture(subject, groups + 1, &bindings).unwrap().is_none(),
        "{} has more groups in Rust",
        pattern.text()
    );
    Reading::Match(
        (1..=groups)
            .map(|group| pattern.capture(subject, group, &bindings).unwrap().unwrap_or("no such group").to_owned())
            .collect(),
    )
}

fn gos(answer: &Value) -> Reading {
    if answer["ok"] != json!(true) {
        return Reading::Refused;
    }
    if answer["match"] != json!(true) {
        return Reading::NoMatch;
    }
    let groups = answer["groups"].as_array().map(Vec::as_slice).unwrap_or_default();
    Reading::Match(groups.iter().map(|group| group.as_str().unwrap().to_owned()).collect())
}

/// Go's globs step through a name byte by byte after a `*`, so that a `?` or a set may take a part of a character
/// there. That is a slip of Go's, and rules here compare whole characters.
fn splits_characters(pattern: &str, subject: &str) -> bool {
    !subject.is_ascii() && pattern.contains('*') && (pattern.contains('?') || pattern.contains('['))
}

#[test]
fn patterns_mean_what_go_reads_in_them() {
    let mut dice = Dice(number("PATTERN_ORACLE_SEED", SEED));
    let cases: Vec<(&str, String, String)> = (0..number("PATTERN_ORACLE_CASES", CASES))
        .map(|case| {
            if case % 2 == 0 {
                let (pattern, subject) = glob(&mut dice);
                ("glob", pattern, subject)
            } else {
                let (pattern, subject) = regex(&mut dice);
                ("regex", pattern, subject)
            }
        })
        .filter(|(kind, pattern, subject)| {
            // What stands between slashes is no glob in a rule, and see `splits_characters`.
            *kind == "regex"
                || !(pattern.len() > 2 && pattern.starts_with('/') && pattern.ends_with('/')
                    || splits_characters(pattern, subject))
        })
        .collect();

    let mut oracle =
        Command::new(crate::support::oracle_binary()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut questions = oracle.stdin.take().unwrap();
    let text: String = cases
        .iter()
        .map(|(kind, pattern, subject)| {
            format!("{}\n", json!({ "kind": kind, "pattern": pattern, "subject": subject }))
        })
        .collect();
    let asking = std::thread::spawn(move || questions.write_all(text.as_bytes()));
    let answers: Vec<Value> = BufReader::new(oracle.stdout.take().unwrap())
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    asking.join().unwrap().unwrap();
    assert!(oracle.wait().unwrap().success());
    assert_eq!(answers.len(), cases.len());

    let (mut refused, mut matched, mut too_big) = (0, 0, 0);
    let mut differences = Vec::new();
    for ((kind, pattern, subject), answer) in cases.iter().zip(&answers) {
        let go = gos(answer);
        let groups = if let Reading::Match(groups) = &go { groups.len() } else { 0 };
        let written = if *kind == "regex" { format!("/{pattern}/") } else { pattern.clone() };
        let rust = match Pattern::compile(&written) {
            Ok(compiled) => ours(&compiled, subject, groups),
            Err(PatternError::Glob { .. } | PatternError::Regex { .. }) => Reading::Refused,
            // Unicode classes inside repetitions: Go takes more of them than a rule may.
            Err(PatternError::TooBig { .. }) => {
                too_big += 1;
                continue;
            }
            Err(other @ (PatternError::TooLong { .. } | PatternError::TooManyPlaceholders { .. })) => panic!("{other}"),
        };
        match go {
            Reading::Refused => refused += 1,
            Reading::Match(_) => matched += 1,
            Reading::NoMatch => {}
        }
        if rust != go {
            differences.push(format!("{written:?} on {subject:?}: Go {go:?}, here {rust:?}"));
        }
    }
    assert!(
        differences.is_empty(),
        "{} differences, the first are:\n{}",
        differences.len(),
        differences.get(..20).unwrap_or(&differences).join("\n")
    );
    // Cases that are all refused, or never match, would prove little.
    assert!(too_big * 100 < cases.len(), "{too_big} of {} are too big", cases.len());
    assert!(
        refused * 20 > cases.len() && matched * 20 > cases.len(),
        "{refused} refused and {matched} matched of {}",
        cases.len()
    );
}
