//! Patterns that nothing can match, and what their author probably meant.

use super::possible::Grammar;
use crate::glob::{GlobToken, Sense};
use crate::pattern::{Field, Pattern};
use crate::rule::Rule;
use crate::scope::OURS;

/// The words of placeholders, which people write without braces.
const PLACEHOLDERS: [&str; 5] = ["account", "type", "name", "service", "labels"];

/// Warns of patterns of a rule that match nothing, or not what they seem to, each by itself.
pub fn lint_impossible(rule: &Rule, warn: &mut impl FnMut(&str, String)) {
    // What is our own is called as accounts are.
    let is_ours = rule.pattern(Field::Type).and_then(Pattern::literal) == Some(OURS);
    let name = (!is_ours).then_some(Grammar::Name);
    let fields = [
        (rule.pattern(Field::Account), ".match.account", None),
        (rule.pattern(Field::Type), ".match.type", Some(Grammar::Type)),
        (rule.pattern(Field::Name), ".match.name", name),
        (rule.pattern(Field::Service), ".match.service", None),
        (rule.tag(), ".match.tag", Some(Grammar::Tag)),
    ];
    for (pattern, path, grammar) in fields {
        if let Some(message) = pattern.and_then(|pattern| lint_pattern(pattern, grammar)) {
            warn(path, message);
        }
    }
    for (label, pattern) in rule.label_patterns() {
        if let Some(message) = lint_pattern(pattern, None) {
            warn(&format!(".match.labels.{label}"), message);
        }
    }
}

/// Whether [`lint_impossible`] warns of a pattern on an account, a service or a label.
pub fn is_mistaken(pattern: &Pattern) -> bool {
    lint_pattern(pattern, None).is_some()
}

fn lint_pattern(pattern: &Pattern, grammar: Option<Grammar>) -> Option<String> {
    let text = pattern.text();
    // That is said already, and is reason enough.
    if pattern.unknown_placeholders().next().is_some() {
        return None;
    }
    if let Some((bare, whole)) = bare_placeholder(text, grammar) {
        let lacks = if bare.starts_with('$') { "braces" } else { "$" };
        return Some(format!("{bare} is not a placeholder without its {lacks}; write {whole}"));
    }
    if grammar == Some(Grammar::Type) && pattern.literal() == Some("catalog") {
        return Some("the catalog's type is registry; write type: registry and name: catalog".to_owned());
    }
    match grammar {
        Some(grammar) if !grammar.allows(pattern) => {
            let nothing = match grammar {
                Grammar::Name => "no repository can have such a name",
                Grammar::Type => "no resource has such a type",
                Grammar::Tag => "no tag looks like this",
            };
            return Some(format!("{nothing}, so the rule never matches: {}", meant(pattern, grammar)));
        }
        // Accounts, services and values of labels can be nearly any text.
        None if !pattern.is_regex() && is_surely_an_expression(text) => {
            return Some(format!("this is compared as plain text: {}", expression_advice(text)));
        }
        None if has_braces(text) && !pattern.is_regex() => {
            return Some(format!(
                "{{a,b}} is not supported here, so the braces are plain characters; {}",
                each_or(text)
            ));
        }
        Some(_) | None => {}
    }
    let excluding = |token: &GlobToken| match token {
        GlobToken::Set(set) => {
            set.sense == Sense::Takes && set.ranges.len() > 1 && set.ranges.first() == Some(&('!', '!'))
        }
        GlobToken::Text(_) | GlobToken::Run | GlobToken::One | GlobToken::Slot(_) => false,
    };
    // `[\!a]` says that it means the sign.
    if text.contains("[!") && pattern.tokens().is_some_and(|tokens| tokens.iter().any(excluding)) {
        return Some("\"[!…]\" matches \"!\" and the characters after it; write [^…] to match all others".to_owned());
    }
    None
}

/// Advice for a pattern that no text of the grammar matches.
fn meant(pattern: &Pattern, grammar: Grammar) -> String {
    let text = pattern.text();
    let allowed = match grammar {
        Grammar::Name => "a name consists of a-z and 0-9, with single . _ - between them and / between its parts",
        Grammar::Type => "the types are repository and registry",
        Grammar::Tag => "a tag consists of letters, digits, _ . and -; write one tag in each pattern",
    };
    let upper = text.contains(|letter: char| letter.is_ascii_uppercase());
    if pattern.is_regex() {
        return match (grammar, upper) {
            (Grammar::Name | Grammar::Type, true) => "upper-case letters are not allowed; write lower case".to_owned(),
            (Grammar::Name | Grammar::Type | Grammar::Tag, _) => allowed.to_owned(),
        };
    }
    if let Some((scheme, rest)) = text.split_once("://")
        && scheme.chars().all(|letter| letter.is_ascii_alphanumeric())
    {
        return without_host(rest);
    }
    if let Some(name) = text.strip_prefix("repository:") {
        return instead(name.split(':').next().unwrap_or_default(), "the type has its own key, match.type");
    }
    if grammar == Grammar::Type
        && let Some((kind, _)) = text.split_once('(').filter(|_| text.ends_with(')'))
    {
        return instead(kind, "rules see the type without the part in parentheses");
    }
    if is_expression(text) {
        return expression_advice(text);
    }
    if has_braces(text) {
        return format!("{{a,b}} is not supported here; {}", each_or(text));
    }
    if text.contains([',', ';', ' ', '|']) && pieces(text).count() > 1 {
        return format!("it is read as a single pattern; {}", each_or(text));
    }
    match (grammar, text.rsplit_once(':')) {
        (Grammar::Name, Some((_, after))) if after.contains('/') => return without_host(text),
        (Grammar::Name, Some((name, _))) => {
            let name = name.split_once('@').map_or(name, |(name, _)| name);
            return instead(
                name,
                "tags and digests are not part of a name (match.tag works in forward_auth and the gateway, which see them)",
            );
        }
        (Grammar::Name | Grammar::Type | Grammar::Tag, _) => {}
    }
    match grammar {
        Grammar::Name if text.starts_with('/') || text.ends_with('/') => {
            let inner = text.trim_matches('/');
            let below = if text.ends_with('/') { format!("{inner}/*") } else { inner.to_owned() };
            instead(&below, "a name neither begins nor ends with a slash")
        }
        Grammar::Name | Grammar::Type if upper => instead(&text.to_lowercase(), "upper-case letters are not allowed"),
        Grammar::Name | Grammar::Type | Grammar::Tag => allowed.to_owned(),
    }
}

/// The reason, with `name` as what to write if that is a valid name.
fn instead(name: &str, why: &str) -> String {
    match Pattern::compile(name) {
        Ok(pattern) if Grammar::Name.allows(&pattern) || Grammar::Type.allows(&pattern) => {
            format!("{why}; write \"{name}\"")
        }
        Ok(_) | Err(_) => why.to_owned(),
    }
}

/// Advice to leave the registry's host out of a name.
pub fn without_host(text: &str) -> String {
    let rest = text.split_once('/').map(|(_, rest)| rest).unwrap_or_default();
    instead(rest, "clients leave the registry's host out of a name")
}

/// A placeholder without its braces, or without its `$`, as written, and as it should be.
fn bare_placeholder(text: &str, grammar: Option<Grammar>) -> Option<(String, String)> {
    let placeholder_at = |at: usize, rest: &str| {
        let word = PLACEHOLDERS.iter().find(|word| rest.starts_with(**word))?;
        let after = rest.get(word.len()..)?;
        let more = match after.strip_prefix(':') {
            Some(which) => {
                let length = which.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                1 + length.unwrap_or(which.len())
            }
            None if *word == "labels" => return None,
            None if after.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_') => return None,
            None => 0,
        };
        let escaped = text.get(..at).is_some_and(|before| before.ends_with('\\'));
        let whole = rest.get(..word.len() + more)?;
        (!escaped).then(|| whole.to_owned())
    };
    let dollar = text.match_indices('$').find_map(|(at, _)| placeholder_at(at, text.get(at + 1..)?));
    if let Some(word) = dollar {
        return Some((format!("${word}"), format!("${{{word}}}")));
    }
    // Where braces can stand for themselves, nobody knows.
    grammar?;
    let brace = text.match_indices('{').find_map(|(at, _)| {
        let word = placeholder_at(at, text.get(at + 1..)?)?;
        let closed = text.get(at + 1 + word.len()..)?.starts_with('}');
        let dollar = text.get(..at)?.ends_with('$');
        (closed && !dollar).then_some(word)
    });
    brace.map(|word| (format!("{{{word}}}"), format!("${{{word}}}")))
}

/// Whether a text that is not a name looks like a regular expression.
fn is_expression(text: &str) -> bool {
    is_surely_an_expression(text)
        || text.ends_with('$')
        || [".*", ".+", "\\/", "\\.", "(", ")", "[^/"].iter().any(|sign| text.contains(sign))
}

/// Whether no account, service or label looks like this. Accounts of machines end in `$`, and others hold `|`.
fn is_surely_an_expression(text: &str) -> bool {
    text.starts_with('^') || text.starts_with("/^") || text.ends_with("$/") || with_flags(text).is_some()
}

/// The expression and the flags, in our syntax, of a text with flags at its end, as in Perl and JavaScript.
fn with_flags(text: &str) -> Option<(&str, String)> {
    let (inner, flags) = text.strip_prefix('/')?.rsplit_once('/')?;
    let is_flag = |letter: char| matches!(letter, 'g' | 'i' | 'm' | 's' | 'u');
    let has_sign = inner.starts_with('^') || inner.ends_with('$');
    let is_one = !flags.is_empty() && flags.chars().all(is_flag) && !inner.is_empty();
    // Those that have no meaning for one text are left out.
    let flags: String = flags.chars().filter(|letter| matches!(letter, 'i' | 'm' | 's')).collect();
    (is_one && (has_sign || !inner.contains('/'))).then(|| match flags.is_empty() {
        true => (inner, String::new()),
        false => (inner, format!("(?{flags})")),
    })
}

fn expression_advice(text: &str) -> String {
    if let Some((inner, flags)) = with_flags(text) {
        return format!("flags do not go after an expression; write {}", quoted(&format!("/{flags}{inner}/")));
    }
    let inner = text.strip_prefix('/').unwrap_or(text);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let (start, end) = (!inner.starts_with('^'), !inner.ends_with('$'));
    let inner = if (start || end) && inner.contains('|') { format!("(?:{inner})") } else { inner.to_owned() };
    let whole = format!("/{}{inner}{}/", if start { "^" } else { "" }, if end { "$" } else { "" });
    let why = "a regular expression is written between slashes";
    match Pattern::compile(&whole) {
        Ok(pattern) if pattern.is_regex() => format!("{why}; write {}", quoted(&whole)),
        Ok(_) | Err(_) => why.to_owned(),
    }
}

fn has_braces(text: &str) -> bool {
    let inside = |rest: &str| rest.split_once('}').is_some_and(|(inside, _)| inside.contains(','));
    text.match_indices('{').any(|(at, _)| text.get(at + 1..).is_some_and(inside))
}

/// The items of a text that was written as a list.
pub fn pieces(text: &str) -> impl Iterator<Item = &str> {
    text.split([',', ';', ' ', '|']).filter(|piece| !piece.is_empty())
}

/// The exception in a text such as `not bob`, which a pattern cannot express.
fn excepted(text: &str) -> Option<&str> {
    let (first, rest) = text.split_once(' ')?;
    ["not", "except", "!"].contains(&first.to_ascii_lowercase().as_str()).then_some(rest.trim())
}

/// Advice to write several rules, or one expression, for a text that was written as a list.
pub fn each_or(text: &str) -> String {
    if let Some(rest) = excepted(text) {
        return format!(
            "a pattern cannot say \"not\"; write a rule for \"{rest}\" with actions: [], and below it one that allows"
        );
    }
    let whole = match has_braces(text) {
        true => format!("/^{}$/", as_expression(text)),
        false => format!("/^({})$/", pieces(text).map(as_expression).collect::<Vec<_>>().join("|")),
    };
    match Pattern::compile(&whole) {
        Ok(_) => format!("write a rule for each, or the regular expression {}", quoted(&whole)),
        Err(_) => "write a rule for each".to_owned(),
    }
}

/// A glob as a part of a regular expression, with braces as shells have them.
fn as_expression(glob: &str) -> String {
    let mut out = String::new();
    let mut depth: usize = 0;
    let mut letters = glob.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // A placeholder stays one.
            '$' if letters.peek() == Some(&'{') => {
                out.push('$');
                for letter in letters.by_ref() {
                    out.push(letter);
                    if letter == '}' {
                        break;
                    }
                }
            }
            '{' => {
                depth += 1;
                out.push('(');
            }
            '}' if depth > 0 => {
                depth -= 1;
                out.push(')');
            }
            ',' if depth > 0 => out.push('|'),
            '*' if letters.peek() == Some(&'*') => {
                while letters.next_if_eq(&'*').is_some() {}
                out.push_str(".*");
            }
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '.' | '+' | '(' | ')' | '|' | '^' | '$' => out.push_str(&format!("[{letter}]")),
            other => out.push(other),
        }
    }
    out
}

/// The regular expression, in quotes, for a glob in which `**` was meant to cross slashes.
pub fn across_slashes(glob: &str) -> String {
    quoted(&format!("/^{}$/", as_expression(glob)))
}

/// Between quotes, so that YAML reads it as this text.
fn quoted(text: &str) -> String {
    if text.contains('\\') && !text.contains('\'') { format!("'{text}'") } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests;
