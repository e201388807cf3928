//! The kinds of password hashes, told apart by how they begin, for messages about hashes that are not bcrypt.

/// The kind of a password hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// bcrypt; the hash may be cut off or damaged.
    Bcrypt,
    /// Another kind, in words that follow "this is" or "it has".
    Other(&'static str),
}

/// The beginnings of hashes of other kinds.
const OTHERS: &[(&str, &str)] = &[
    ("$apr1$", "an MD5 hash ($apr1$)"),
    ("$1$", "an MD5 hash ($1$)"),
    ("{MD5}", "an MD5 hash ({MD5})"),
    ("{SMD5}", "a salted MD5 hash ({SMD5})"),
    ("{SHA}", "a SHA-1 hash ({SHA})"),
    ("{SSHA}", "a salted SHA-1 hash ({SSHA})"),
    ("{SHA256}", "a SHA-256 hash ({SHA256})"),
    ("{SSHA256}", "a salted SHA-256 hash ({SSHA256})"),
    ("{SHA512}", "a SHA-512 hash ({SHA512})"),
    ("{SSHA512}", "a salted SHA-512 hash ({SSHA512})"),
    ("{CRYPT}", "a hash of crypt ({CRYPT})"),
    ("$sha1$", "a SHA-1 hash ($sha1$)"),
    ("$5$", "a SHA-256 hash ($5$)"),
    ("$6$", "a SHA-512 hash ($6$)"),
    ("$argon2id$", "an Argon2 hash ($argon2id$)"),
    ("$argon2i$", "an Argon2 hash ($argon2i$)"),
    ("$argon2d$", "an Argon2 hash ($argon2d$)"),
    ("$scrypt$", "a scrypt hash ($scrypt$)"),
    ("$7$", "a scrypt hash ($7$)"),
    ("$y$", "a yescrypt hash ($y$)"),
    ("$gy$", "a yescrypt hash ($gy$)"),
    ("$pbkdf2", "a PBKDF2 hash ($pbkdf2…)"),
    ("pbkdf2_sha256$", "a PBKDF2 hash (pbkdf2_sha256$)"),
    ("$P$", "a hash of phpass ($P$)"),
    ("$H$", "a hash of phpass ($H$)"),
    ("$$2", "a bcrypt hash whose dollar signs are doubled ($$2…), as only compose files want them"),
];

impl HashKind {
    /// The kind of the hash that begins like this text; `None` where none does.
    pub fn from_prefix(text: &str) -> Option<HashKind> {
        if let Some((_, kind)) = OTHERS.iter().find(|(begin, _)| text.starts_with(begin)) {
            return Some(HashKind::Other(kind));
        }
        text.starts_with("$2").then_some(HashKind::Bcrypt)
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use super::super::password::PasswordHash;
    use super::*;

    #[test]
    fn the_kind_of_a_hash_is_named_and_the_hash_never_repeated() {
        for (begin, kind) in OTHERS {
            for (text, expected) in [
                (format!("{begin}Hunter2"), format!("this is {kind}, not a bcrypt hash")),
                (format!("bob:{begin}Hunter2"), format!("this is {kind}, not a bcrypt hash")),
            ] {
                let message = PasswordHash::from_str(&text).err().unwrap_or_default();
                assert!(message.starts_with(&expected) && !message.contains("Hunter2"), "{text}: {message}");
            }
        }
        let whole = "$2b$10$.aUGXSuuixCSv8TZKcEs9u05qUoA.BheTkNfe21wSrKjbNJjjEeYi";
        assert!(PasswordHash::from_str(whole).is_ok());
        for (text, expected) in [
            (format!("bob:{whole}"), "take what follows the colon"),
            (whole.chars().take(40).collect(), "60 characters in all; this one has 40"),
            ("Hunter2".to_owned(), "this is not a bcrypt hash ("),
            ("a:b".to_owned(), "this is not a bcrypt hash ("),
        ] {
            let message = PasswordHash::from_str(&text).err().unwrap_or_default();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
