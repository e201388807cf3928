//! What a message may say of a value that was refused: nothing, where it could be a secret.
//!
//! A message is printed by `check`, logged at start and at each reload, and pasted into reports. A password that begins with
//! `!`, a key where its file's name belongs, and an address with a login in it are refused like any other slip.

use std::fmt;
use std::path::Path;

/// The longest value that is quoted, in bytes: a longer one is not a misspelt word.
const LONGEST_QUOTED: usize = 64;
/// The longest path that Linux opens, in bytes.
const LONGEST_PATH: usize = 4095;
/// How keys and certificates begin that lost their file: PEM, the same in base64 once more, and DER in base64.
const KEY_TEXTS: &[&str] = &["LS0tLS1CRUdJTi", "MII", "MIG", "MHcCAQ", "MHgCAQ", "MC4CAQ"];

/// What the value of a key can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A word out of a few, a number, a time, a network, the name of a service: it is quoted if it looks like one.
    Words,
    /// A secret, an address, a file's name, or anything that could be taken for one: it is never shown.
    Secrets,
}

/// Why a value is refused, in words that do not repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(Why);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// What follows "it is".
    Is(String),
    /// A whole sentence.
    Says(String),
}

impl Refusal {
    /// The value is this: `not an address; write https://…`.
    pub fn is(what: impl Into<String>) -> Refusal {
        Refusal(Why::Is(what.into()))
    }

    /// A sentence that needs no value: `a token must live at least one second`.
    pub fn says(what: impl Into<String>) -> Refusal {
        Refusal(Why::Says(what.into()))
    }

    /// The message about a value of such a key.
    pub fn about(&self, value: &str, holds: Holds) -> String {
        match &self.0 {
            Why::Is(what) => format!("{} is {what}", Refused { value, holds }),
            Why::Says(what) => what.clone(),
        }
    }
}

impl From<String> for Refusal {
    fn from(message: String) -> Refusal {
        Refusal::says(message)
    }
}

impl From<&str> for Refusal {
    fn from(message: &str) -> Refusal {
        Refusal::says(message)
    }
}

/// A value that was refused. What it prints as depends on its key: itself in quotes, or "this".
struct Refused<'value> {
    value: &'value str,
    holds: Holds,
}

impl fmt::Display for Refused<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.holds {
            Holds::Words if is_harmless(self.value) => write!(out, "\"{}\"", self.value),
            Holds::Words | Holds::Secrets => out.write_str("this"),
        }
    }
}

/// Whether a text is a word, a number or the like, and not a secret that stands in the wrong place: it is short, is no
/// address with a login in it, and is not made of small letters, capitals and digits, as passwords are.
pub fn is_harmless(text: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| text.as_bytes().iter().any(kind);
    let is_mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
    text.len() <= LONGEST_QUOTED
        && !is_mixed
        && !text.contains(['@', '$'])
        && !text.contains("://")
        && !text.contains(char::is_control)
        && !holds_key(text)
}

/// Whether a text is a name as keys have them: small letters with `_` and `-` between.
pub fn is_plain_word(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|letter| letter.is_ascii_lowercase() || matches!(letter, b'_' | b'-'))
}

/// What may be shown of a name that somebody chose (an account, a label, a header), in the path of a key. What follows a
/// colon may be a value without the space before it.
pub fn shown_name(name: &str) -> &str {
    let before = name.split_once(':').map_or(name, |(before, _)| before);
    // Most accounts are addresses of e-mail.
    match before.split('@').all(is_harmless) {
        true => before,
        false => "…",
    }
}

/// Whether a text holds a private key or a certificate.
pub fn holds_key(text: &str) -> bool {
    text.contains("-----BEGIN") || (text.len() > 48 && KEY_TEXTS.iter().any(|begin| text.starts_with(begin)))
}

/// Why a text cannot be a file's name: mostly it is what the file should hold.
pub fn refusal_of_path(text: &str) -> Option<Refusal> {
    if holds_key(text) {
        return Some(Refusal::says(
            "a key or a certificate itself stands here; write it into a file, and the file's name here",
        ));
    }
    let is_one = text.len() <= LONGEST_PATH && !text.contains(char::is_control);
    (!is_one).then(|| Refusal::says("a file's name is expected here: one line, and at most 4095 bytes"))
}

/// A file's name for a message. A password that stands where the name of its file belongs is a name that leads nowhere:
/// such a one is shown only if it looks like a path, and like no secret.
pub struct ShownPath<'path>(pub &'path Path);

impl fmt::Display for ShownPath<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string_lossy();
        let is_plain = !text.contains(char::is_whitespace) && !text.contains("://");
        let parts_are_harmless = text.contains(['/', '.']) && text.split('/').all(is_harmless);
        // Where its folder is there, this is a path, whatever it looks like. The root is there for every text.
        let folder = self.0.parent().filter(|folder| !matches!(folder.as_os_str().as_encoded_bytes(), b"" | b"/"));
        let has_folder = || folder.is_some_and(Path::is_dir);
        let is_path = (is_plain && (parts_are_harmless || has_folder())) || std::fs::symlink_metadata(self.0).is_ok();
        match refusal_of_path(&text).is_none() && is_path {
            true => write!(out, "{}", self.0.display()),
            false => out.write_str("the file that is named here"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_value_is_quoted_only_where_it_can_be_no_secret() {
        let refusal = Refusal::is("not a number from 1 to 8");
        for (value, holds, expected) in [
            ("many", Holds::Words, "\"many\" is not a number from 1 to 8"),
            ("-5", Holds::Words, "\"-5\" is not a number from 1 to 8"),
            ("many", Holds::Secrets, "this is not a number from 1 to 8"),
            ("Hunter2", Holds::Words, "this is not a number from 1 to 8"),
            ("http://proxy:3128", Holds::Words, "this is not a number from 1 to 8"),
            ("reader:hunter@proxy", Holds::Words, "this is not a number from 1 to 8"),
            ("two\nlines", Holds::Words, "this is not a number from 1 to 8"),
        ] {
            assert_eq!(refusal.about(value, holds), expected, "{value}");
        }
        assert_eq!(Refusal::says("write less").about("many", Holds::Words), "write less");
    }

    #[test]
    fn of_a_name_nothing_is_shown_that_follows_a_colon_or_could_be_a_secret() {
        for (name, expected) in [
            ("alice", "alice"),
            ("alice@example.com", "alice@example.com"),
            ("robot-7", "robot-7"),
            ("bob:$2b$10$abc", "bob"),
            ("Authorization:Bearer Hunter2", "Authorization"),
            ("$2b$10$abc", "…"),
            ("Hunter2", "…"),
            ("", ""),
        ] {
            assert_eq!(shown_name(name), expected, "{name}");
        }
    }

    #[test]
    fn what_is_no_path_is_seen_and_what_may_be_a_secret_is_not_shown_as_one() {
        let pem = "-----BEGIN PRIVATE KEY----- MIIEvQIBADANBgkq";
        for text in [pem, "one\ntwo", &format!("MIIEvQIBADANBgkqh{}", "A/b1".repeat(20)), &"x".repeat(5000)] {
            assert!(refusal_of_path(text).is_some(), "{text}");
        }
        for (path, expected) in [
            ("certs/token.key", "certs/token.key"),
            ("/nowhere/at/all", "/nowhere/at/all"),
            ("Hunter2", "the file that is named here"),
            ("hunter", "the file that is named here"),
            ("/bin/sh -c hunter", "the file that is named here"),
            ("Hun/Ter2x", "the file that is named here"),
            ("/etc/Zq7Xv", "/etc/Zq7Xv"),
            ("/Zq7Xv", "the file that is named here"),
            ("https://host/?hunter", "the file that is named here"),
        ] {
            assert_eq!(ShownPath(Path::new(path)).to_string(), expected);
        }
    }
}
