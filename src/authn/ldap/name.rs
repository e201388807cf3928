//! Distinguished names as text (RFC 4514): the name that an account binds as, and the common name out of one.

use std::fmt::Write as _;

/// What stands for the account in templates.
pub(super) const ACCOUNT: &str = "${account}";
/// Stands for the account while a template is looked at.
pub(super) const MARK: &str = "0account0";

/// The name to bind as, with the account in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NameTemplate {
    text: String,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A distinguished name: what is put into it is escaped.
    Distinguished,
    /// `${account}@example.com` or `EXAMPLE\${account}`, as Active Directory takes them. They have no escaping. None is
    /// needed for safety: whoever binds so is searched for, and binds again as what was found.
    Principal,
}

impl NameTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// The text is not a distinguished name, or does not say where the account belongs.
    pub(super) fn parse(text: &str) -> Result<NameTemplate, String> {
        if !text.contains(ACCOUNT) {
            return Err(format!(
                "this is the same name for everybody; write where the account belongs: uid={ACCOUNT},…"
            ));
        }
        let filled = text.replace(ACCOUNT, MARK);
        if filled.contains("${") {
            return Err(format!("only {ACCOUNT} can stand in a name"));
        }
        let form = match pairs(&filled) {
            Some(pairs) if pairs.iter().any(|(kind, _)| kind.contains(MARK)) => {
                return Err(format!("{ACCOUNT} can stand for a value only, as in uid={ACCOUNT},…"));
            }
            Some(_) => Form::Distinguished,
            None if filled.contains('=') => {
                return Err("this is not a distinguished name; write uid=…,dc=example,dc=org".to_owned());
            }
            None => Form::Principal,
        };
        Ok(NameTemplate { text: text.to_owned(), form })
    }

    /// The name of this account.
    pub(super) fn of(&self, account: &str) -> String {
        match self.form {
            Form::Distinguished => self.text.replace(ACCOUNT, &escape(account)),
            Form::Principal => self.text.replace(ACCOUNT, account),
        }
    }

    /// The template as it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// A value as it stands in a distinguished name (RFC 4514, section 2.4). Without this, the account `x,ou=admins` would
/// be a place in the directory instead of a name.
pub(super) fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.chars().count().saturating_sub(1);
    for (position, letter) in value.chars().enumerate() {
        let is_special = match letter {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' | '=' => true,
            ' ' => position == 0 || position == last,
            '#' => position == 0,
            other => other.is_ascii_control(),
        };
        if is_special {
            // Nothing is lost where writing to a text fails, because it does not.
            write!(out, "\\{:02x}", u32::from(letter)).ok();
        } else {
            out.push(letter);
        }
    }
    out
}

/// The common name in a distinguished name, without its escapes; `None` where the text is not a distinguished name, or has no
/// common name.
pub(super) fn common_name(text: &str) -> Option<String> {
    pairs(text)?.into_iter().find(|(kind, _)| kind.eq_ignore_ascii_case("cn") || kind == "2.5.4.3")?.1
}

/// Whether the text is a distinguished name. The empty text does not count: it stands for nobody in particular.
pub(super) fn is_distinguished(text: &str) -> bool {
    pairs(text).is_some()
}

/// The attribute types of a distinguished name and their values, in order; a value in hexadecimal is left out.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, Option<String>)>> {
    let mut pairs = Vec::new();
    let mut rest = Some(text);
    while let Some(pair) = rest {
        let (kind, value) = pair.split_once('=')?;
        // Only the space means nothing there (RFC 4514, section 3): "cn=\u{a0}admins" is not "admins".
        let kind = kind.trim_matches(' ');
        let is_kind = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '.' | '_');
        if kind.is_empty() || !kind.chars().all(is_kind) {
            return None;
        }
        let (value, after) = read_value(value.trim_start_matches(' '))?;
        pairs.push((kind.to_owned(), value));
        rest = after;
    }
    Some(pairs)
}

/// The value at the beginning of a text, and what stands after the sign that ends it.
fn read_value(text: &str) -> Option<(Option<String>, Option<&str>)> {
    let mut bytes = Vec::new();
    // Spaces before the end of a value mean nothing, unless they are escaped.
    let mut kept = 0;
    let mut letters = text.char_indices();
    let mut after = None;
    let hexadecimal = text.starts_with('#');
    while let Some((position, letter)) = letters.next() {
        match letter {
            ',' | '+' | ';' => {
                after = text.get(position + 1..);
                break;
            }
            '\\' => {
                let (_, next) = letters.next()?;
                match (next, next.to_digit(16)) {
                    (_, Some(high)) => {
                        let low = letters.next()?.1.to_digit(16)?;
                        bytes.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    (' ' | '"' | '#' | '+' | ',' | ';' | '<' | '=' | '>' | '\\', None) => {
                        bytes.push(u8::try_from(next).ok()?);
                    }
                    (_, None) => return None,
                }
                kept = bytes.len();
            }
            '"' | '<' | '>' | '\0' => return None,
            other => {
                bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                if other != ' ' {
                    kept = bytes.len();
                }
            }
        }
    }
    bytes.truncate(kept);
    let value = String::from_utf8(bytes).ok()?;
    Some(((!hexadecimal).then_some(value), after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_put_into_a_name_stays_one_value() {
        let template = NameTemplate::parse("uid=${account},ou=people,dc=x");
        let Ok(template) = template else { unreachable!("{template:?}") };
        for (account, expected) in [
            ("alice", "uid=alice,ou=people,dc=x"),
            ("x,ou=admins", "uid=x\\2cou\\3dadmins,ou=people,dc=x"),
            ("a+cn=b", "uid=a\\2bcn\\3db,ou=people,dc=x"),
            ("\"q\";<>\\", "uid=\\22q\\22\\3b\\3c\\3e\\5c,ou=people,dc=x"),
            (" a b ", "uid=\\20a b\\20,ou=people,dc=x"),
            (" ", "uid=\\20,ou=people,dc=x"),
            ("#1#", "uid=\\231#,ou=people,dc=x"),
            ("a\0\n", "uid=a\\00\\0a,ou=people,dc=x"),
            ("ö", "uid=ö,ou=people,dc=x"),
            ("*)(", "uid=*)(,ou=people,dc=x"),
            ("${account}", "uid=${account},ou=people,dc=x"),
        ] {
            assert_eq!(template.of(account), expected);
            let read = pairs(expected).unwrap_or_default();
            assert_eq!(read.first().and_then(|(_, value)| value.as_deref()), Some(account), "{expected}");
            assert_eq!(read.len(), 3, "{expected}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_one_value_of_a_name(text in "[ -~ö\0\n]{1,20}") {
            let read = pairs(&format!("uid={},dc=x", escape(&text))).unwrap_or_default();
            let values: Vec<Option<String>> = read.into_iter().map(|(_, value)| value).collect();
            proptest::prop_assert_eq!(values, vec![Some(text), Some("x".to_owned())]);
        }
    }

    #[test]
    fn names_of_active_directory_are_left_as_they_are() {
        for (template, expected) in [
            ("${account}@example.com", "a,b@example.com"),
            ("EXAMPLE\\${account}", "EXAMPLE\\a,b"),
            ("${account}", "a,b"),
        ] {
            let template = NameTemplate::parse(template);
            assert_eq!(template.map(|template| template.of("a,b")), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn templates_without_a_place_for_the_account_are_refused() {
        for (text, expected) in [
            ("cn=admin,dc=x", "the same name for everybody"),
            ("${account}=x,dc=y", "can stand for a value only"),
            ("uid=${account},ou=${group}", "only ${account} can stand in a name"),
            ("uid=${account},dc", "this is not a distinguished name"),
        ] {
            let message = NameTemplate::parse(text).err().unwrap_or_default();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn the_common_name_is_found_and_its_escapes_undone() {
        for (name, expected) in [
            ("cn=developers,ou=groups,dc=x", Some("developers")),
            ("CN=Domain Admins,CN=Users,DC=x", Some("Domain Admins")),
            ("uid=a+cn=b c,dc=x", Some("b c")),
            ("uid=alice, cn = spaced out ,dc=x", Some("spaced out")),
            ("cn=a\\,b\\2cc\\20,dc=x", Some("a,b,c ")),
            ("cn=\\c3\\b6l,dc=x", Some("öl")),
            ("cn=\u{a0}admins,dc=x", Some("\u{a0}admins")),
            ("cn=\tadmins\u{2003},dc=x", Some("\tadmins\u{2003}")),
            ("cn\u{a0}=admins,dc=x", None),
            ("2.5.4.3=by number,dc=x", Some("by number")),
            ("ou=no,dc=x", None),
            ("cn=#0401ff,dc=x", None),
            ("cn=broken\\", None),
            ("cn=broken\\zz,dc=x", None),
            ("cn=\\ff,dc=x", None),
            ("Developer", None),
            ("", None),
            ("cn=x,", None),
        ] {
            assert_eq!(common_name(name).as_deref(), expected, "{name}");
        }
    }
}
