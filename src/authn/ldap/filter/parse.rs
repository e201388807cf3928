//! Reading a filter from its text (RFC 4515, section 3).

use settings::refused::is_harmless;

use super::{Comparison, Part, Piece, Place, Value};

/// No filter that a person wrote is nested deeper.
const DEEPEST: usize = 32;

/// Reads a whole filter.
///
/// # Errors
/// Says what to write instead.
pub(super) fn filter(text: &str, places: &[Place]) -> Result<Part, String> {
    let mut reader = Reader { rest: text.trim(), places };
    let part = reader.part(0)?;
    match reader.rest {
        "" => Ok(part),
        more => Err(format!("something follows the filter: \"{}\"; put all of it into one (&…)", brief(more))),
    }
}

struct Reader<'text> {
    rest: &'text str,
    places: &'text [Place],
}

/// The beginning of a text, for a message, unless it could be a secret.
fn brief(text: &str) -> String {
    let text: String = text.chars().take(20).collect();
    // A placeholder's name is not a secret.
    if is_harmless(&text.replace("${", "")) { text } else { "…".to_owned() }
}

impl<'text> Reader<'text> {
    fn take(&mut self, sign: &str) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// White space between the parts of a filter, as in a text of several lines.
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn part(&mut self, depth: usize) -> Result<Part, String> {
        if depth > DEEPEST {
            return Err(format!("brackets are nested deeper than {DEEPEST} times"));
        }
        self.skip_space();
        if !self.take("(") {
            return Err(match self.rest {
                "" => "a bracket is missing; write a filter such as (uid=${account})".to_owned(),
                rest => {
                    format!("\"(\" is expected before \"{}\"; write a filter such as (uid=${{account}})", brief(rest))
                }
            });
        }
        self.skip_space();
        let part = if self.take("&") {
            Part::All(self.parts(depth)?)
        } else if self.take("|") {
            Part::Any(self.parts(depth)?)
        } else if self.take("!") {
            Part::Not(Box::new(self.part(depth + 1)?))
        } else {
            return self.item();
        };
        self.skip_space();
        match self.take(")") {
            true => Ok(part),
            false => Err(match self.rest {
                "" => "a closing bracket is missing at the end".to_owned(),
                rest => format!("\")\" is expected before \"{}\"", brief(rest)),
            }),
        }
    }

    fn parts(&mut self, depth: usize) -> Result<Vec<Part>, String> {
        let mut parts = Vec::new();
        loop {
            self.skip_space();
            match self.rest.chars().next() {
                Some(')') if !parts.is_empty() => return Ok(parts),
                _ => parts.push(self.part(depth + 1)?),
            }
        }
    }

    /// `attribute=value` and its like, with the closing bracket.
    fn item(&mut self) -> Result<Part, String> {
        let (left, rest) =
            self.rest.split_once('=').ok_or_else(|| format!("\"=\" is missing after \"{}\"", brief(self.rest)))?;
        self.rest = rest;
        let (how, left) = match left.chars().next_back() {
            Some('>') => (Some(Comparison::AtLeast), left.strip_suffix('>')),
            Some('<') => (Some(Comparison::AtMost), left.strip_suffix('<')),
            Some('~') => (Some(Comparison::About), left.strip_suffix('~')),
            Some(':') => (None, left.strip_suffix(':')),
            _ => (Some(Comparison::Equal), Some(left)),
        };
        let left = left.unwrap_or_default().trim();
        let values = self.values()?;
        let one = |values: Vec<Value>| match <[Value; 1]>::try_from(values) {
            Ok([value]) => Ok(value),
            Err(_) => Err(format!("* stands for anything after = only; in \"{}\" write \\2a", brief(left))),
        };
        let Some(how) = how else { return rule(left, one(values)?) };
        let attribute = attribute(left)?;
        match how {
            Comparison::Equal => {}
            Comparison::AtLeast | Comparison::AtMost | Comparison::About => {
                return Ok(Part::Compare { how, attribute, value: one(values)? });
            }
        }
        let mut values = values.into_iter();
        let (first, mut middle) = (values.next().unwrap_or_default(), values.collect::<Vec<Value>>());
        let Some(last) = middle.pop() else { return Ok(Part::Compare { how, attribute, value: first }) };
        if first.0.is_empty() && last.0.is_empty() && middle.iter().all(|value| value.0.is_empty()) {
            return Ok(Part::Present(attribute));
        }
        middle.retain(|value| !value.0.is_empty());
        let filled = |value: Value| (!value.0.is_empty()).then_some(value);
        Ok(Part::Pieces { attribute, first: filled(first), middle, last: filled(last) })
    }

    /// The value up to the closing bracket, cut at each `*`.
    fn values(&mut self) -> Result<Vec<Value>, String> {
        let mut values = vec![];
        let mut value = Value::default();
        let mut bytes = Vec::new();
        let end = |value: &mut Value, bytes: &mut Vec<u8>| {
            if !bytes.is_empty() {
                value.0.push(Piece::Bytes(std::mem::take(bytes)));
            }
        };
        loop {
            let mut letters = self.rest.chars();
            let Some(letter) = letters.next() else { return Err("a closing bracket is missing at the end".to_owned()) };
            let rest = letters.as_str();
            match letter {
                ')' => {
                    self.rest = rest;
                    end(&mut value, &mut bytes);
                    values.push(value);
                    return Ok(values);
                }
                '*' => {
                    end(&mut value, &mut bytes);
                    values.push(std::mem::take(&mut value));
                    self.rest = rest;
                }
                '(' => return Err(format!("a bracket in a value is written \\28: \"({}\"", brief(rest))),
                '\0' => return Err("NUL in a value is written \\00".to_owned()),
                '\\' => {
                    let digits = rest.split_at_checked(2).and_then(|(digits, after)| {
                        let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                        Some((u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?, after))
                    });
                    let Some((byte, after)) = digits else {
                        return Err(format!(
                            "two hexadecimal digits follow a backslash (\\5c is one itself): \"\\{}\"",
                            brief(rest)
                        ));
                    };
                    bytes.push(byte);
                    self.rest = after;
                }
                '$' if rest.starts_with('{') => {
                    let (place, after) = self.place()?;
                    end(&mut value, &mut bytes);
                    value.0.push(Piece::Place(place));
                    self.rest = after;
                }
                other => {
                    bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                    self.rest = rest;
                }
            }
        }
    }

    fn place(&self) -> Result<(Place, &'text str), String> {
        let written = |place: &Place| match place {
            Place::Account => "${account}",
            Place::Name => "${dn}",
        };
        for place in self.places {
            if let Some(after) = self.rest.strip_prefix(written(place)) {
                return Ok((*place, after));
            }
        }
        let known: Vec<&str> = self.places.iter().map(written).collect();
        Err(format!(
            "\"{}\" stands for nothing here; {} does, and \\24 is a dollar sign",
            brief(self.rest),
            known.join(" and ")
        ))
    }
}

/// `attribute:dn:rule`, each of the three optional, without the `:` before the `=`.
fn rule(left: &str, value: Value) -> Result<Part, String> {
    let mut words = left.split(':');
    let name = words.next().unwrap_or_default();
    let name = if name.is_empty() { None } else { Some(attribute(name)?) };
    let mut words: Vec<&str> = words.collect();
    let with_name = words.first().is_some_and(|word| word.eq_ignore_ascii_case("dn"));
    if with_name {
        words.remove(0);
    }
    let rule = match words.as_slice() {
        [] if name.is_some() => None,
        [rule] => Some(attribute(rule)?),
        _ => return Err(format!("\"{}:=\" names no rule; write (attribute:rule:=value)", brief(left))),
    };
    Ok(Part::Rule { rule, attribute: name, with_name, value })
}

/// An attribute's name, or a rule's.
///
/// # Errors
/// The text is not the name of an attribute.
fn attribute(text: &str) -> Result<String, String> {
    if super::is_attribute(text) {
        return Ok(text.to_owned());
    }
    Err(format!("\"{}\" is not an attribute; the account can stand on the right of = only", brief(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_filter_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("", "write a filter such as (uid=${account})"),
            ("uid=${account}", "\"(\" is expected before \"uid="),
            ("(uid=${account}", "a closing bracket is missing"),
            ("(&(uid=${account})", "a bracket is missing"),
            ("(&)", "\"(\" is expected"),
            ("(!(a=b)(c=d))", "\")\" is expected before \"(c=d))\""),
            ("(uid=${account}))", "something follows the filter: \")\""),
            ("(uid=${account})(a=b)", "put all of it into one (&…)"),
            ("(uid)", "\"=\" is missing after \"uid)\""),
            ("(${account}=x)", "is not an attribute"),
            ("(=x)", "is not an attribute"),
            ("(uid=${acount})", "\"${acount})\" stands for nothing here; ${account} does"),
            ("(uid=${dn})", "stands for nothing here"),
            ("(uid=a\\zz)", "two hexadecimal digits follow a backslash"),
            ("(uid=a\\2)", "two hexadecimal digits"),
            ("(uid=a\\+1)", "two hexadecimal digits"),
            ("(uid=CORP\\ü)", "two hexadecimal digits"),
            ("(uid=a(b)", "a bracket in a value is written \\28"),
            ("(uid>=a*)", "* stands for anything after = only"),
            ("(:=x)", "names no rule"),
            ("(a:dn:b:c:=x)", "names no rule"),
        ] {
            let message = filter(text, &[Place::Account]).err().unwrap_or_default();
            assert!(message.contains(expected), "{text}: {message}");
        }
        let deep = format!("{}(a=b){}", "(!".repeat(100), ")".repeat(100));
        assert!(filter(&deep, &[]).is_err_and(|message| message.contains("nested deeper")));
    }

    #[test]
    fn a_filter_of_several_lines_is_one() {
        let spread = filter(" (&\n  (uid=${account})\n  ( objectClass=person )\n)\n", &[Place::Account]);
        let expected = filter("(&(uid=${account})(objectClass=person ))", &[Place::Account]);
        assert!(spread.is_ok());
        assert_eq!(spread, expected);
    }

    #[test]
    fn what_is_escaped_is_a_byte_and_nothing_else() {
        let value = |text| match filter(text, &[Place::Account]) {
            Ok(Part::Compare { value, .. }) => value,
            other => unreachable!("{text}: {other:?}"),
        };
        assert_eq!(value("(a=\\2a\\28\\29\\5c\\00)").0, [Piece::Bytes(b"*()\\\0".to_vec())]);
        assert_eq!(value("(a=\\24{account})").0, [Piece::Bytes(b"${account}".to_vec())]);
        assert_eq!(
            value("(a=$x${account}$)").0,
            [Piece::Bytes(b"$x".to_vec()), Piece::Place(Place::Account), Piece::Bytes(b"$".to_vec())]
        );
    }
}
