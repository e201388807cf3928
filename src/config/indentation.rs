//! What is wrong with a text that is not YAML, said as a person would: mostly a line that is indented by too much or too little.
//!
//! The parser sees only that a key, or a list's dash, does not stand where one can, sometimes a line late. Values are never
//! repeated: any of them may be a secret.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::refused::{holds_key, is_plain_word};

/// How far back from where the parser stopped a pasted key may begin, in lines.
const LONGEST_KEY: usize = 100;

/// The line to look at, counted from 1, and what is wrong there. `line` is where the parser stopped, and `info` what it said.
pub(super) fn explain<'info>(text: &str, line: usize, info: &'info str) -> (usize, Cow<'info, str>) {
    let said = |line: usize, message: String| (line, Cow::Owned(message));
    let lines: Vec<&str> = text.lines().collect();
    if let Some(number) = tab(&lines, line) {
        return said(number, "this line is indented with a tab; indent with spaces".to_owned());
    }
    let before = lines.iter().take(line).skip(line.saturating_sub(LONGEST_KEY));
    let mut numbered = before.zip(line.saturating_sub(LONGEST_KEY) + 1..);
    if let Some((_, number)) = numbered.find(|(text, _)| holds_key(text)) {
        let message = "a key or a certificate itself stands here; write it into a file, and the file's name here";
        return said(number, message.to_owned());
    }
    if let Some((number, message)) = misfit(&lines, line) {
        return said(number, message);
    }
    if let Some(number) = [line, line.saturating_sub(1)].into_iter().find(|number| lacks_space(&lines, *number)) {
        return said(number, "a space is missing after the colon".to_owned());
    }
    let message = match info {
        _ if info.contains("flow") || info.contains("misplaced bracket") => {
            "a { or [ of this line or one above is not closed, or a comma is missing; a value with such a character in it is \
             written in quotes"
        }
        _ if info.contains("quoted scalar") || info.contains("trailing content") => {
            "a quotation mark ends too early, too late or never; within \"…\" a backslash is written \\\\, within '…' a \
             quotation mark is written ''"
        }
        "mapping values are not allowed in this context" => {
            "a value with a colon and a space in it is written in quotes"
        }
        "simple key expect ':'" => "a key and a colon are expected here",
        _ if begins_badly(info) => {
            "a value that begins with a character such as @ ` % & * ! | > or - is written in quotes"
        }
        other => other,
    };
    (line, Cow::Borrowed(message))
}

/// What the parser says of a value's first character. It repeats the character itself.
fn begins_badly(info: &str) -> bool {
    const SAID: &[&str] = &[
        "unexpected character",
        "anchor",
        "tag",
        "handle",
        "block scalar",
        "block sequence entries",
        "mapping keys",
        "plain scalar cannot start",
        "expected node content",
    ];
    SAID.iter().any(|said| info.contains(said))
}

/// The line with a tab before its text, where the parser stopped or the one below.
fn tab(lines: &[&str], line: usize) -> Option<usize> {
    let is_tabbed = |number: &usize| {
        let text = number.checked_sub(1).and_then(|index| lines.get(index)).copied().unwrap_or_default();
        let content = text.trim_start_matches([' ', '\t']);
        !content.is_empty() && text.get(..text.len() - content.len()).is_some_and(|indent| indent.contains('\t'))
    };
    [line, line + 1].into_iter().find(is_tabbed)
}

/// Whether a line is `key:value`, as in `password:x`.
fn lacks_space(lines: &[&str], number: usize) -> bool {
    let Some(text) = number.checked_sub(1).and_then(|index| lines.get(index)) else { return false };
    let content = text.trim_start().trim_start_matches("- ").trim_start();
    content
        .split_once(':')
        .is_some_and(|(key, value)| is_plain_word(key) && !value.is_empty() && !value.starts_with(' '))
}

/// The first line up to `last` that stands in no block which is open there.
fn misfit(lines: &[&str], last: usize) -> Option<(usize, String)> {
    // The columns of the blocks that are open.
    let mut open: Vec<usize> = Vec::new();
    // A block of text (`|` or `>`): the column of its key, and that of its first line.
    let mut block: Option<(usize, Option<usize>)> = None;
    let mut opens = true;
    for (number, line) in (1..=last).zip(lines) {
        let content = line.trim_start_matches(' ').trim_end();
        let indent = line.len() - line.trim_start_matches(' ').len();
        if content.is_empty() {
            continue;
        }
        if let Some((key, first)) = block {
            let first = first.unwrap_or(indent);
            block = Some((key, Some(first)));
            if indent > key && indent >= first {
                continue;
            }
        }
        block = None;
        if content.starts_with('#') {
            continue;
        }
        if content.starts_with("---") || content.starts_with("...") || content.starts_with('%') {
            (open, opens) = (Vec::new(), true);
            continue;
        }
        let (dashes, rest) = entry_of(content);
        let is_deeper = open.last().is_none_or(|column| indent > *column);
        if is_deeper && !opens {
            // A text goes on in the next line where that is no key.
            if dashes == 0 && key_of(rest).is_none() {
                continue;
            }
            return Some((number, told(indent, &open, rest)));
        }
        if is_deeper {
            open.push(indent);
        } else {
            open.retain(|column| *column <= indent);
            if open.last() != Some(&indent) {
                let neighbours = open_at(lines, number);
                return Some((number, told(indent, &neighbours, rest)));
            }
        }
        // `- key: value` opens a list and, behind the dash, a map.
        if dashes > 0 && key_of(rest).is_some() {
            open.push(indent + dashes);
        }
        let ends_open = key_of(rest).is_some_and(|value| value.is_empty() || is_decoration(value));
        opens = ends_open || (dashes > 0 && rest.is_empty());
        if ends_with_block_text(rest) {
            block = Some((indent, None));
        }
        // What goes on in further lines within brackets or quotes is not looked at.
        if is_unfinished(rest) {
            return None;
        }
    }
    None
}

/// The columns of the lines above that a line could have belonged with, as far as the one that is less indented than it.
fn open_at(lines: &[&str], number: usize) -> Vec<usize> {
    let indent_of = |line: &&str| line.len() - line.trim_start_matches(' ').len();
    let own = lines.get(number.saturating_sub(1)).map(indent_of).unwrap_or_default();
    let above = lines.iter().take(number.saturating_sub(1)).rev();
    let mut columns: Vec<usize> = Vec::new();
    for line in above.filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#')) {
        let indent = indent_of(line);
        if columns.last().is_none_or(|least| indent < *least) {
            columns.push(indent);
        }
        if indent < own {
            break;
        }
    }
    columns.reverse();
    columns
}

/// How a line stands, and how the nearest of its neighbours do.
fn told(indent: usize, open: &[usize], rest: &str) -> String {
    let nearest = open.iter().map(|column| column.abs_diff(indent)).min().unwrap_or_default();
    let near: Vec<String> =
        open.iter().filter(|column| column.abs_diff(indent) == nearest).map(ToString::to_string).collect();
    let key = rest.split_once(':').map(|(key, _)| key).filter(|key| is_plain_word(key));
    let mut told = String::new();
    // Nothing is lost where writing to a text fails, because it does not.
    match key {
        Some(key) => write!(told, "\"{key}\" has {indent} space(s) before it").ok(),
        None => write!(told, "this line begins with {indent} space(s)").ok(),
    };
    write!(told, ", and its neighbours have {}; give it as many", near.join(" or ")).ok();
    told
}

/// How many characters the dashes of a list take at the beginning, and what follows.
fn entry_of(content: &str) -> (usize, &str) {
    let mut rest = content;
    while let Some(after) = rest.strip_prefix('-').filter(|after| after.is_empty() || after.starts_with(' ')) {
        rest = after.trim_start_matches(' ');
    }
    (content.len() - rest.len(), rest)
}

/// What follows the colon, where this is a key; without a comment.
fn key_of(rest: &str) -> Option<&str> {
    let (key, value) = match rest.strip_suffix(':') {
        Some(key) => (key, ""),
        None => rest.split_once(": ")?,
    };
    let value = value.trim_start();
    (!key.is_empty() && !key.starts_with(['{', '['])).then_some(if value.starts_with('#') { "" } else { value })
}

/// Whether what stands behind a colon only names or types what follows in the next lines.
fn is_decoration(value: &str) -> bool {
    value.starts_with(['&', '!']) && !value.contains(' ')
}

fn ends_with_block_text(rest: &str) -> bool {
    let value = key_of(rest).unwrap_or(rest);
    value.starts_with(['|', '>']) && value.len() <= 3
}

/// Whether brackets or quotes are open at the end of a line, roughly.
fn is_unfinished(rest: &str) -> bool {
    let value = key_of(rest).unwrap_or(rest);
    let count = |letter: char| value.matches(letter).count();
    match value.chars().next() {
        Some('{' | '[') => count('{') + count('[') != count('}') + count(']'),
        Some(quote @ ('"' | '\'')) => count(quote) % 2 == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::parse;

    #[test]
    fn each_slip_is_told_with_its_own_line_and_no_value_is_repeated() {
        let indented = "this is not YAML: ";
        for (text, line, expected) in [
            (
                "token:\n  issuer: A\n   key: Hunter2\n",
                3,
                "\"key\" has 3 space(s) before it, and its neighbours have 2;",
            ),
            (
                "users:\n  a:\n    b: x\n     c: {}\n  d: {}\n",
                4,
                "\"c\" has 5 space(s) before it, and its neighbours have 4;",
            ),
            (
                "users:\n  a:\n    b: x\n   c: {}\n  d: {}\n",
                4,
                "\"c\" has 3 space(s) before it, and its neighbours have 2 or 4;",
            ),
            (
                "server: {}\n token: {}\nusers: {}\n",
                2,
                "\"token\" has 1 space(s) before it, and its neighbours have 0;",
            ),
            ("token:\n   issuer: A\n  key: k\n", 3, "\"key\" has 2 space(s) before it, and its neighbours have 3;"),
            (
                "acl:\n  - match: {}\n    actions: []\n   - match: {}\n     actions: []\n",
                4,
                "\"match\" has 3 space(s) before it, and its neighbours have 2",
            ),
            (
                "acl:\n  - match: {}\n    actions: []\n - match: {}\n",
                4,
                "has 1 space(s) before it, and its neighbours have",
            ),
            (
                "acl:\n  - match: {}\n   actions: []\n",
                3,
                "\"actions\" has 3 space(s) before it, and its neighbours have",
            ),
            (
                "acl:\n  - match: {}\n     actions: []\n",
                3,
                "\"actions\" has 5 space(s) before it, and its neighbours have 4;",
            ),
            ("token:\r\n  issuer: A\r\n   key: k\r\n", 3, "\"key\" has 3 space(s)"),
            ("a:\n  b: |\n    text\n      more: text\n   c: d\n", 5, "\"c\" has 3 space(s)"),
            ("a:\n  b: some text\n    that goes on\n   Hunter2: d\n", 4, "this line begins with 3 space(s)"),
            ("users:\n\talice: {}\n", 2, "this line is indented with a tab; indent with spaces"),
            ("a:\n  b: x\n\tc: y\n", 3, "this line is indented with a tab"),
            ("users:\n  alice:\n    password:Hunter2\n    labels: {}\n", 3, "a space is missing after the colon"),
            (
                "users:\n  alice:\n    labels: {}\n    password:Hunter2\n  bob: {}\n",
                4,
                "a space is missing after the colon",
            ),
            ("a:\n  b: @Hunter2\n", 2, "is written in quotes"),
            ("a:\n  b: *Hunter2\n", 2, "is written in quotes"),
            ("a:\n  b: !x!Hunter2 y\n", 2, "is written in quotes"),
            ("a:\n  b: |Hunter2\n", 2, "is written in quotes"),
            ("a:\n  b: Hunter2: x\n", 2, "a value with a colon and a space in it is written in quotes"),
            ("a:\n  b: \"Hun\"ter2\n", 2, "a quotation mark ends too early"),
            ("a:\n  b: {Hunter2\n  c: x\n", 4, "a { or [ of this line or one above is not closed"),
            (
                "a:\n  key: -----BEGIN PRIVATE KEY-----\nHunter2\n-----END PRIVATE KEY-----\n",
                2,
                "a key or a certificate itself",
            ),
        ] {
            let Err(problem) = parse(text) else { unreachable!("{text}") };
            let place = problem.place.to_string();
            assert_eq!(place, format!("line {line}"), "{text}{}", problem.message);
            assert!(
                problem.message.starts_with(indented) && problem.message.contains(expected),
                "{text}{}",
                problem.message
            );
            assert!(!problem.message.contains("Hunter2"), "{text}{}", problem.message);
        }
    }
}
