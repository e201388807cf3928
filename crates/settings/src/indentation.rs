//! What is wrong with a text that is not YAML, said as a person would: mostly a line that is indented by too much or too little.
//!
//! The parser sees only that a key, or a list's dash, does not stand where one can, sometimes a line late. Values are never
//! repeated: any of them may be a secret.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::refused::{holds_key, is_plain_word};

/// How far back from where the parser stopped a pasted key may begin, in lines.
const LONGEST_KEY: usize = 100;

/// The line to look at, counted from 1, and what is wrong there. `line` is where the parser stopped, and `info` what it said.
pub(crate) fn explain<'info>(text: &str, line: usize, info: &'info str) -> (usize, Cow<'info, str>) {
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
        _ if info.contains("did not find expected") || info.contains("invalid indentation") => {
            "this line does not go with those above it; look at its indentation, and at their colons, brackets and quotation \
             marks"
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

/// A block that is open.
#[derive(Clone, Copy)]
struct Block {
    column: usize,
    /// Of a list: the column of the keys of its last item, where that has keys.
    keys_of_item: Option<usize>,
    /// Whether keys stand in this column: those of a map, also where a list below one of them stands in the same column.
    is_map: bool,
}

/// The first line up to `last` that stands in no block which is open there, or with which something else is wrong that
/// the parser sees later.
fn misfit(lines: &[&str], last: usize) -> Option<(usize, String)> {
    let mut open: Vec<Block> = Vec::new();
    // A block of text (`|` or `>`): the column of its key, and that of its first line.
    let mut block: Option<(usize, Option<usize>)> = None;
    let mut opens = true;
    // The last line of what stands in brackets.
    let mut closed_in = 0;
    for (number, line) in (1..=last).zip(lines) {
        let content = line.trim_start_matches(' ').trim_end();
        let indent = line.len() - line.trim_start_matches(' ').len();
        if content.is_empty() || number <= closed_in {
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
        let is_deeper = open.last().is_none_or(|block| indent > block.column);
        // A text continues in the next line unless that is a key.
        let goes_on = is_deeper && !opens && dashes == 0;
        if !goes_on && lacks_space_after_dash(content) {
            return Some((number, "a space is missing after the dash; write \"- \"".to_owned()));
        }
        if goes_on && key_of(rest).is_none() {
            continue;
        }
        if is_deeper && !opens {
            let columns: Vec<usize> = open.iter().map(|block| block.column).collect();
            return Some((number, told(indent, &columns, rest)));
        }
        if is_deeper {
            let block = Block { column: indent, keys_of_item: None, is_map: dashes == 0 };
            open.push(block);
        } else {
            open.retain(|block| block.column <= indent);
            match open.last() {
                Some(block) if block.column == indent => {
                    if dashes == 0 && !block.is_map {
                        return Some((number, told_of_item(indent, block.keys_of_item, rest)));
                    }
                }
                Some(_) | None => return Some((number, told(indent, &open_at(lines, number), rest))),
            }
        }
        let is_key_alone = is_plain_word(content) && !content.starts_with('-');
        if is_key_alone && lines.get(number..).is_some_and(|below| goes_below(below, indent, !is_deeper)) {
            return Some((number, "a colon is missing after this key".to_owned()));
        }
        // `- key: value` opens a list and, behind the dash, a map.
        if dashes > 0 {
            let has_keys = key_of(rest).is_some();
            if let Some(block) = open.last_mut() {
                block.keys_of_item = has_keys.then_some(indent + dashes);
            }
            if has_keys {
                open.push(Block { column: indent + dashes, keys_of_item: None, is_map: true });
            }
        }
        // It only names or types what follows in the next lines.
        let is_decoration = |value: &str| value.starts_with(['&', '!']) && !value.contains(' ');
        let ends_open = key_of(rest).is_some_and(|value| value.is_empty() || is_decoration(value));
        opens = ends_open || (dashes > 0 && rest.is_empty());
        if ends_with_block_text(rest) {
            block = Some((indent, None));
        }
        // What goes on in further lines within quotes is not looked at.
        match unfinished(rest) {
            None => {}
            Some(Unfinished::Quotes) => return None,
            Some(Unfinished::Bracket(bracket)) => match closing_line(lines, number, indent + dashes) {
                Some(line) => closed_in = line,
                None => {
                    let message = format!(
                        "the {bracket} of this line is not closed; a value with such a character in it is written in quotes"
                    );
                    return Some((number, message));
                }
            },
        }
    }
    None
}

/// Whether a line is `-key: value` or `-{…}`, which is not a list item.
fn lacks_space_after_dash(content: &str) -> bool {
    let Some(rest) = content.strip_prefix('-') else { return false };
    let is_key = rest.split_once(':').is_some_and(|(key, value)| {
        is_plain_word(key) && !key.starts_with('-') && (value.is_empty() || value.starts_with(' '))
    });
    is_key || rest.starts_with(['{', '['])
}

/// Whether something stands below that could not if the line above were a value: a key, as deep or deeper. In the midst of
/// a map (`in_map`) no line alone is a value.
fn goes_below(below: &[&str], indent: usize, in_map: bool) -> bool {
    let next = below.iter().find(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    let is_key = |line: &&str| {
        let content = line.trim();
        line.len() - line.trim_start_matches(' ').len() >= indent && key_of(entry_of(content).1).is_some()
    };
    in_map || next.is_some_and(is_key)
}

/// The line in which the bracket is closed that a line opens; `None` where the next item or key comes first, or the end.
/// `column` is that of the line's key.
fn closing_line(lines: &[&str], number: usize, column: usize) -> Option<usize> {
    let opener = lines.get(number.checked_sub(1)?)?.trim_end();
    let means_more = opener.ends_with(['{', '[', ',']);
    let mut balance = balance_of(entry_of(opener.trim_start()).1);
    for (line, number) in lines.iter().skip(number).zip(number + 1..) {
        let content = line.trim();
        let indent = line.len() - line.trim_start_matches(' ').len();
        let is_next = content.starts_with("- ") || (!means_more && indent <= column && key_of(content).is_some());
        if is_next {
            return None;
        }
        balance += balance_of(content);
        if balance <= 0 {
            return Some(number);
        }
    }
    None
}

/// How many more brackets a line opens than it closes, those in quotes left out.
fn balance_of(line: &str) -> i64 {
    let mut balance = 0;
    let mut quote = None;
    let mut begins = true;
    for letter in line.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if begins => quote = Some(letter),
            (None, '{' | '[') => balance += 1,
            (None, '}' | ']') => balance -= 1,
            (None, '#') if begins => break,
            (None, _) => {}
        }
        begins = matches!(letter, '{' | '[' | ',' | ' ');
    }
    balance
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
        Some(key) => write!(told, "\"{key}\" has {} before it", spaces(indent)).ok(),
        None => write!(told, "this line begins with {}", spaces(indent)).ok(),
    };
    write!(told, ", and its neighbours have {}; give it as many", near.join(" or ")).ok();
    told
}

/// How a line stands that is as far left as the dash above it.
fn told_of_item(indent: usize, keys: Option<usize>, rest: &str) -> String {
    let key = rest.split_once(':').map(|(key, _)| key).filter(|key| is_plain_word(key));
    match key.zip(keys) {
        Some((key, keys)) => format!(
            "\"{key}\" has {} before it and belongs to the list item above, whose keys have {keys}; give it as many",
            spaces(indent)
        ),
        None => "this line stands among the items of a list; a dash and a space come first".to_owned(),
    }
}

fn spaces(number: usize) -> String {
    match number {
        1 => "1 space".to_owned(),
        number => format!("{number} spaces"),
    }
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

fn ends_with_block_text(rest: &str) -> bool {
    let value = key_of(rest).unwrap_or(rest);
    value.starts_with(['|', '>']) && value.len() <= 3
}

/// What is open at the end of a line.
enum Unfinished {
    Bracket(char),
    Quotes,
}

/// What is open at the end of a line, roughly.
fn unfinished(rest: &str) -> Option<Unfinished> {
    let value = key_of(rest).unwrap_or(rest);
    match value.chars().next() {
        Some(bracket @ ('{' | '[')) => (balance_of(value) > 0).then_some(Unfinished::Bracket(bracket)),
        Some(quote @ ('"' | '\'')) => (value.matches(quote).count() % 2 == 1).then_some(Unfinished::Quotes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::yaml::parse;

    #[test]
    fn each_slip_is_told_with_its_own_line_and_no_value_is_repeated() {
        let indented = "this is not YAML: ";
        // What is said most.
        let whole = |expected: &str| {
            expected
                .replace('…', " before it, and its neighbours have ")
                .replace('§', " before it and belongs to the list item above, whose keys have ")
        };
        for (text, line, expected) in [
            ("token:\n  issuer: A\n   key: Hunter2\n", 3, "\"key\" has 3 spaces…2;"),
            ("users:\n  a:\n    b: x\n     c: {}\n  d: {}\n", 4, "\"c\" has 5 spaces…4;"),
            ("users:\n  a:\n    b: x\n   c: {}\n  d: {}\n", 4, "\"c\" has 3 spaces…2 or 4;"),
            ("server: {}\n token: {}\nusers: {}\n", 2, "\"token\" has 1 space…0;"),
            ("token:\n   issuer: A\n  key: k\n", 3, "\"key\" has 2 spaces…3;"),
            ("acl:\n  - match: {}\n    actions: []\n   - match: {}\n     actions: []\n", 4, "\"match\" has 3 spaces…2"),
            (
                "acl:\n  - match: {}\n    actions: []\n - match: {}\n",
                4,
                "has 1 space before it, and its neighbours have",
            ),
            ("acl:\n  - match: {}\n   actions: []\n", 3, "\"actions\" has 3 spaces before it, and its neighbours have"),
            ("acl:\n  - match: {}\n     actions: []\n", 3, "\"actions\" has 5 spaces…4;"),
            ("token:\r\n  issuer: A\r\n   key: k\r\n", 3, "\"key\" has 3 spaces"),
            ("a:\n  b: |\n    text\n      more: text\n   c: d\n", 5, "\"c\" has 3 spaces"),
            ("a:\n  b: some text\n    that goes on\n   Hunter2: d\n", 4, "this line begins with 3 spaces"),
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
            ("a:\n  b: {Hunter2\n  c: x\n", 2, "the { of this line is not closed"),
            (
                "acl:\n  - match: {account: bob\n    actions: [pull]\n  - match: {}\n    actions: []\n",
                2,
                "the { of this line is not closed",
            ),
            ("acl:\n  - {match: {account: bob}, actions: [pull]\n  - match: {}\n", 2, "the { of this line"),
            ("acl:\n  - match: {}\n    actions: [pull\n", 3, "the [ of this line"),
            ("a: {\n  b: c,\n  d: \"}\",\n  e: f\n", 1, "the { of this line"),
            ("a: {\n  b: c,\n  d: e\n}\nb:\n  c: d\n   e: f\n", 7, "\"e\" has 3 spaces"),
            ("a: {b: \"{\"}\nb:\n  c: d\n   e: f\n", 4, "\"e\" has 3 spaces"),
            ("acl:\n  - match: {account: bob}\n  actions: [pull]\n", 3, "\"actions\" has 2 spaces§4;"),
            (
                "a:\n  acl:\n  - match: {}\n    actions: []\n  -   match:\n        account: bob\n   actions: []\n",
                7,
                "\"actions\" has 3 spaces before it",
            ),
            ("acl:\n - match:\n     account: bob\n actions: []\n", 4, "\"actions\" has 1 space§3;"),
            ("acl:\n  - match: {}\n    actions:\n      - pull\n      push\n", 5, "a dash and a space come first"),
            ("acl:\n  -match: {}\n   actions: []\n", 2, "a space is missing after the dash"),
            ("acl:\n  -match: {}\n    actions: []\n", 2, "a space is missing after the dash"),
            ("acl:\n  -{match: {}, actions: []}\n", 2, "a space is missing after the dash"),
            (
                "acl:\n  - match: {}\n    actions: []\n  -{match: {}, actions: []}\n",
                4,
                "a space is missing after the dash",
            ),
            ("token:\n  issuer: x\nusers\n  bob: {}\n", 3, "a colon is missing after this key"),
            ("users\n  bob: {}\n", 1, "a colon is missing after this key"),
            ("users\nacl: []\n", 1, "a colon is missing after this key"),
            ("users:\n  bob\n    labels: {}\n", 2, "a colon is missing after this key"),
            ("acl:\n  - match\n      account: bob\n", 3, "account"),
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
                problem.message.starts_with(indented) && problem.message.contains(&whole(expected)),
                "{text}{}",
                problem.message
            );
            assert!(!problem.message.contains("Hunter2"), "{text}{}", problem.message);
        }
    }
}
