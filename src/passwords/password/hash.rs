//! bcrypt hashes: reading one, making one of a new password, and making one that no password has.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bcrypt::HashParts;

use super::super::hash_kind::HashKind;
use crate::random;

/// The number of bytes of a password that bcrypt uses. A longer one is refused: it would be equal to every other password
/// with the same beginning.
pub const MAX_PASSWORD: usize = 72;
/// The cost for unknown accounts where no account is known.
const USUAL_COST: u32 = 10;
/// bcrypt's own least cost.
const LEAST_COST: u32 = 4;
/// The largest cost: a hash above it takes many seconds, in which nobody else can log in.
pub const MAX_COST: u32 = 16;

/// The hashes in our own examples and in docker_auth's, with which many files begin.
const PUBLISHED: [&str; 5] = [
    "$2b$10$MsqvqhkO90ZkPh/07vciqOUh2/5Sq8wG3GSpMztZv97BcrHG/lzBu",
    "$2b$10$.aUGXSuuixCSv8TZKcEs9u05qUoA.BheTkNfe21wSrKjbNJjjEeYi",
    "$2y$10$LQjRsihpHBw9IrvTWXG3auDzBfrVpTK7EFoyYz2mLyKPWxqGjhUSe",
    "$2y$05$LO.vzwpWC5LZGqThvEfznu8qhb5SGqvBSWY1J3yZ4AxtMRZ3kN5jC",
    "$2y$05$WuwBasGDAgr.QCbGIjKJaep4dhxeai9gNZdmBnQXqpKly57oNutya",
];

/// A valid bcrypt hash.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: String,
    cost: u32,
}

impl PasswordHash {
    /// The work factor.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// The hash itself, for the one place that stores it and the one that compares it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the hash is from an example, where everybody can read its password.
    pub fn is_published(&self) -> bool {
        PUBLISHED.contains(&self.text.as_str())
    }

    /// A hash that no known password has, for comparison with the passwords of unknown accounts. It costs what most of
    /// `costs` do.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub(crate) fn nobodys(costs: impl IntoIterator<Item = u32>) -> anyhow::Result<PasswordHash> {
        let mut counts = BTreeMap::<u32, usize>::new();
        for cost in costs {
            *counts.entry(cost).or_default() += 1;
        }
        let cost = counts.into_iter().max_by_key(|(cost, count)| (*count, *cost)).map_or(USUAL_COST, |(cost, _)| cost);
        let alphabet = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        let letter = |byte: u8| alphabet.get(usize::from(byte % 64)).copied().map_or('.', char::from);
        let mut body = random::bytes::<53>()?.map(letter);
        // The last character of the salt and of the hash carry fewer than six bits; "O" and "." are valid there.
        (body[21], body[52]) = ('O', '.');
        let text = format!("$2b${cost:02}${}", String::from_iter(body));
        PasswordHash::from_str(&text).map_err(anyhow::Error::msg)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[bcrypt, cost {}]", self.cost)
    }
}

impl FromStr for PasswordHash {
    type Err = String;

    fn from_str(text: &str) -> Result<PasswordHash, String> {
        let wrong = "this is not a bcrypt hash ($2a$, $2b$ or $2y$ and 60 characters in all); make one with: dockwarden hash-password";
        let after_colon = text.split_once(':').and_then(|(_, after)| HashKind::from_prefix(after));
        match (after_colon, HashKind::from_prefix(text)) {
            (Some(HashKind::Bcrypt), _) => {
                return Err("this is a line of an htpasswd file; take what follows the colon".to_owned());
            }
            (Some(HashKind::Other(kind)), _) | (None, Some(HashKind::Other(kind))) => {
                return Err(format!("this is {kind}, not a bcrypt hash; make one with: dockwarden hash-password"));
            }
            (None, Some(HashKind::Bcrypt)) if text.len() != 60 => {
                return Err(format!(
                    "this is not a bcrypt hash ($2a$, $2b$ or $2y$ and 60 characters in all; this one has {}): a shell or \
                     a compose file takes what follows a dollar sign for a variable, unless it is quoted with '…' or the \
                     dollar sign is doubled",
                    text.len()
                ));
            }
            (None, Some(HashKind::Bcrypt) | None) => {}
        }
        let known = ["$2a$", "$2b$", "$2y$"].iter().any(|version| text.starts_with(version));
        // This parser used to panic on a non-ASCII text of the right length (RUSTSEC-2026-0199).
        if !text.is_ascii() || text.len() != 60 || !known {
            return Err(wrong.to_owned());
        }
        let cost = HashParts::from_str(text).map_err(|_| wrong.to_owned())?.get_cost();
        if cost < LEAST_COST {
            return Err(format!("a bcrypt cost of {cost} does not exist; the least is {LEAST_COST}, and 10 is usual"));
        }
        if cost > MAX_COST {
            return Err(format!(
                "a bcrypt cost of {cost} takes very long for each login; use 10 to 12 (at most {MAX_COST})"
            ));
        }
        Ok(PasswordHash { text: text.to_owned(), cost })
    }
}

/// Makes the hash of a new password.
///
/// # Errors
/// Says why the password or the cost cannot be used.
pub fn hash(password: &str, cost: u32) -> Result<String, String> {
    if password.is_empty() {
        return Err("the password is empty".to_owned());
    }
    if password.len() > MAX_PASSWORD {
        return Err(format!("the password has {} bytes; bcrypt uses no more than {MAX_PASSWORD}", password.len()));
    }
    if password.contains('\0') {
        return Err("the password contains a NUL byte".to_owned());
    }
    let hashed = bcrypt::hash_with_result(password, cost).map_err(|error| error.to_string())?;
    Ok(hashed.format_for_version(bcrypt::Version::TwoB))
}
