//! The name of an account, checked once where it comes in.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The longest account name, in bytes. A directory may spell one longer than anybody types it.
const MAX_ACCOUNT: usize = 1024;
/// The longest account name that a client can log in with, in bytes.
pub const MAX_TYPED: usize = 255;

/// The name of an account: not empty, at most 1,024 bytes, and without control characters. It reads as a text, compared byte by
/// byte: how it is spelled is for its backend to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account(Arc<str>);

/// Why a text cannot be the name of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnAccount {
    /// It is empty, as for anonymous.
    #[error("an account's name must not be empty")]
    Empty,
    /// It is too long; its length, in bytes.
    #[error("an account's name of {0} bytes is longer than {MAX_ACCOUNT}")]
    TooLong(usize),
    /// A line, a terminal or another program could read it as something else.
    #[error("an account's name must not contain control characters")]
    ControlCharacter,
}

impl Account {
    /// Reads the name of an account.
    ///
    /// # Errors
    /// Why no account can have this name. The name itself is not repeated: it could be a secret in the wrong place.
    pub fn parse(text: &str) -> Result<Account, NotAnAccount> {
        match text {
            "" => Err(NotAnAccount::Empty),
            text if text.contains(char::is_control) => Err(NotAnAccount::ControlCharacter),
            text if text.len() > MAX_ACCOUNT => Err(NotAnAccount::TooLong(text.len())),
            text => Ok(Account(text.into())),
        }
    }

    /// Reads the name of an account where an empty text means every client without one, such as a token's `sub`.
    ///
    /// # Errors
    /// Why no account can have this name.
    pub fn parse_or_anonymous(text: &str) -> Result<Option<Account>, NotAnAccount> {
        match text {
            "" => Ok(None),
            text => Account::parse(text).map(Some),
        }
    }

    /// The name as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a client can log in with it.
    pub fn is_typed(&self) -> bool {
        self.len() <= MAX_TYPED
    }
}

impl Deref for Account {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Account {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_short_text_without_control_characters() {
        let (typed, longest, longer) = ("a".repeat(255), "ö".repeat(512), "a".repeat(1025));
        for (text, is_typed) in [
            ("alice", true),
            ("ali+ce@example.com", true),
            ("wal di", true),
            (" ", true),
            ("a:b", true),
            ("*", true),
            ("{\"$gt\": \"\"}", true),
            (&typed, true),
            (&longer[..256], false),
            (&longest, false),
        ] {
            let account = Account::parse(text);
            assert_eq!(account.as_deref(), Ok(text));
            assert_eq!(account.map(|account| account.is_typed()), Ok(is_typed), "{text}");
        }
        for (text, expected) in [
            ("", NotAnAccount::Empty),
            ("\0", NotAnAccount::ControlCharacter),
            ("alice\0", NotAnAccount::ControlCharacter),
            ("al\nice", NotAnAccount::ControlCharacter),
            ("\talice", NotAnAccount::ControlCharacter),
            ("alice\u{7f}", NotAnAccount::ControlCharacter),
            ("alice\u{85}", NotAnAccount::ControlCharacter),
            (&longer, NotAnAccount::TooLong(1025)),
        ] {
            assert_eq!(Account::parse(text), Err(expected), "{text:?}");
            let or_anonymous = if text.is_empty() { Ok(None) } else { Err(expected) };
            assert_eq!(Account::parse_or_anonymous(text), or_anonymous, "{text:?}");
        }
    }
}
