//! The form of a secret that lasts: a prefix that says its kind, 30 random characters, and six of a checksum.
//!
//! `dwp_`, `dwr_`, `dwi_` or `dws_`, then `[0-9A-Za-z]{36}`: scanners find it in what was published by mistake, and a typing error
//! is noticed without asking anybody.

use std::fmt;

use aws_lc_rs::digest;

use super::Secret;
use crate::random::{self, NoRandomBytes};

/// What a secret is for. Each kind has a prefix of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretKind {
    /// `dwp_`: a person's own, in place of the password.
    Personal,
    /// `dwr_`: a robot's.
    Robot,
    /// `dwi_`: an identity token, which `docker login` keeps in place of the password (a refresh token of the token endpoint).
    Refresh,
    /// `dws_`: the session of a workload that proved itself by somebody else's token.
    Session,
}

impl SecretKind {
    /// All of them.
    pub const ALL: [SecretKind; 4] =
        [SecretKind::Personal, SecretKind::Robot, SecretKind::Refresh, SecretKind::Session];

    /// What its secrets begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            SecretKind::Personal => "dwp_",
            SecretKind::Robot => "dwr_",
            SecretKind::Refresh => "dwi_",
            SecretKind::Session => "dws_",
        }
    }

    /// Its name in lists and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            SecretKind::Personal => "personal",
            SecretKind::Robot => "robot",
            SecretKind::Refresh => "refresh",
            SecretKind::Session => "session",
        }
    }
}

/// The SHA-256 digest that a secret is found by. 178 random bits need no slow hash and no key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretHash(pub [u8; 32]);

/// It is what a backup is searched by: never printed.
impl fmt::Debug for SecretHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[hash]")
    }
}

/// What is hashed before the secret, so that no digest of one means anything elsewhere.
const HASHED_BEFORE: &[u8] = b"dockwarden-secret:";
/// The digits of the random part and of the checksum.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The length of a prefix.
const PREFIX: usize = 4;
/// The number of random characters.
const RANDOM: usize = 30;
/// The number of digits of the checksum: 62^6 is more than 2^32.
const CHECKSUM: usize = 6;
/// The characters by which people recognise a secret.
const SHOWN: usize = 4;

/// A secret that lasts, as it is handed out and presented. Its checksum is right. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct LastingSecret {
    kind: SecretKind,
    text: Secret,
}

impl fmt::Debug for LastingSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[{} secret]", self.kind.as_str())
    }
}

/// What a text is that was presented in place of a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Something else: a password, or somebody else's token.
    Otherwise,
    /// It has the form, and its checksum is wrong: a typing error, or a guess. Nobody need be asked about it.
    Mistyped,
    /// A secret of ours, as far as can be seen.
    Lasting(LastingSecret),
}

impl Form {
    /// Whether it is a secret of ours, or was meant as one: then it is shown to nobody, wherever it was typed.
    pub fn is_ours(&self) -> bool {
        match self {
            Form::Lasting(_) | Form::Mistyped => true,
            Form::Otherwise => false,
        }
    }
}

impl LastingSecret {
    /// A new secret.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub(crate) fn draw(kind: SecretKind) -> Result<LastingSecret, NoRandomBytes> {
        Ok(LastingSecret { kind, text: drawn(kind.prefix())? })
    }

    /// Reads what was presented. White space behind it, such as the line's end of `echo`, is not part of it.
    pub fn read(text: &str) -> Form {
        let text = text.trim_ascii_end();
        let Some((prefix, rest)) = text.split_at_checked(PREFIX) else { return Form::Otherwise };
        let Some(kind) = SecretKind::ALL.into_iter().find(|kind| kind.prefix() == prefix) else {
            return Form::Otherwise;
        };
        let has_form = rest.len() == RANDOM + CHECKSUM && rest.bytes().all(|letter| letter.is_ascii_alphanumeric());
        match text.split_at_checked(PREFIX + RANDOM) {
            Some((checked, sum)) if has_form => match checksum(checked) == sum {
                true => Form::Lasting(LastingSecret { kind, text: Secret::new(text) }),
                false => Form::Mistyped,
            },
            Some(_) | None => Form::Otherwise,
        }
    }

    /// What it is for.
    pub fn kind(&self) -> SecretKind {
        self.kind
    }

    /// The secret itself, for the one place that hands it out.
    pub fn reveal(&self) -> &str {
        self.text.reveal()
    }

    /// What it is found by.
    pub fn hash(&self) -> SecretHash {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(HASHED_BEFORE);
        context.update(self.reveal().as_bytes());
        let mut hash = [0; 32];
        hash.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        SecretHash(hash)
    }

    /// Its last four characters, by which people recognise it. They are of the checksum, and tell nothing that helps to guess the
    /// rest.
    pub fn last4(&self) -> String {
        let text = self.reveal();
        text.get(text.len().saturating_sub(SHOWN)..).unwrap_or_default().to_owned()
    }
}

/// A new text of the form, with this prefix of four characters.
///
/// # Errors
/// The system gave no random bytes.
pub(crate) fn drawn(prefix: &str) -> Result<Secret, NoRandomBytes> {
    let mut text = String::with_capacity(PREFIX + RANDOM + CHECKSUM);
    text.push_str(prefix);
    while text.len() < PREFIX + RANDOM {
        for byte in random::bytes::<64>()? {
            // Six bits each. 62 and 63 are drawn anew: otherwise some digits would come more often.
            if let Some(digit) = DIGITS.get(usize::from(byte >> 2))
                && text.len() < PREFIX + RANDOM
            {
                text.push(char::from(*digit));
            }
        }
    }
    text.push_str(&checksum(&text));
    Ok(Secret::new(text))
}

/// The CRC-32 (IEEE 802.3) of a text as six digits of base 62, the most significant first.
fn checksum(text: &str) -> String {
    let mut crc = u32::MAX;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            let carried = crc & 1;
            crc >>= 1;
            if carried == 1 {
                crc ^= 0xEDB8_8320;
            }
        }
    }
    let mut left = !crc;
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        let place = usize::try_from(left % 62).unwrap_or_default();
        *digit = DIGITS.get(place).copied().unwrap_or(b'0');
        left /= 62;
    }
    digits.map(char::from).iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// CRC-32 of "123456789" is 0xCBF43926, the check value of every list of such sums; the rest was computed by other hands
    /// (Python's zlib.crc32 and divmod by 62).
    #[test]
    fn the_checksum_is_crc_32_in_base_62() {
        assert_eq!(checksum("123456789"), "3jZRME");
        assert_eq!(checksum(""), "000000");
        assert_eq!(checksum("dwp_000000000000000000000000000000"), "29LdFJ");
    }

    #[test]
    fn what_is_drawn_is_read_again_and_is_never_printed() -> anyhow::Result<()> {
        let mut seen = BTreeSet::new();
        for kind in SecretKind::ALL {
            for _ in 0..50 {
                let drawn = LastingSecret::draw(kind)?;
                let text = drawn.reveal().to_owned();
                assert_eq!((text.len(), text.starts_with(kind.prefix())), (40, true));
                assert_eq!(LastingSecret::read(&text), Form::Lasting(drawn.clone()));
                let printed = format!("{drawn:?} {:?} {:?}", LastingSecret::read(&text), drawn.hash());
                assert!(!printed.contains(text.get(4..).unwrap_or_default()), "{printed}");
                assert!(text.ends_with(&drawn.last4()) && drawn.last4().len() == 4);
                assert!(seen.insert(text));
            }
        }
        let digits: BTreeSet<char> = seen.iter().flat_map(|text| text.chars().skip(4).take(30)).collect();
        assert_eq!(digits.len(), 62, "every digit is drawn");
        Ok(())
    }

    #[test]
    fn other_texts_are_passwords_and_typing_errors_are_noticed() -> anyhow::Result<()> {
        let text = LastingSecret::draw(SecretKind::Personal)?.reveal().to_owned();
        for other in [
            "",
            "dwp_",
            "password",
            &text[..39],
            &format!("{text}x"),
            &text.replace("dwp_", "dwq_"),
            &text.replace("dwp_", "DWP_"),
            &format!("{}\u{fc}", &text[..38]),
            &format!("{}-{}", &text[..20], &text[21..]),
        ] {
            assert_eq!(LastingSecret::read(other), Form::Otherwise, "{other:?}");
        }
        // Another kind has another sum, and so has a text with two letters swapped or one changed.
        assert_eq!(LastingSecret::read(&text.replace("dwp_", "dwr_")), Form::Mistyped);
        for place in 4..40 {
            let mut letters: Vec<char> = text.chars().collect();
            if let Some(letter) = letters.get_mut(place) {
                *letter = if *letter == 'x' { 'y' } else { 'x' };
            }
            assert_eq!(LastingSecret::read(&letters.iter().collect::<String>()), Form::Mistyped, "{place}");
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn nothing_that_is_read_makes_the_reader_fail(text in any::<String>(), random in "[0-9A-Za-z]{30}", kind in 0_usize..4) {
            prop_assert_eq!(LastingSecret::read(&text), Form::Otherwise);
            let kind = SecretKind::ALL.get(kind).copied().unwrap_or(SecretKind::Personal);
            let checked = format!("{}{random}", kind.prefix());
            let whole = format!("{checked}{}", checksum(&checked));
            let read = LastingSecret::read(&whole);
            prop_assert!(matches!(&read, Form::Lasting(secret) if secret.kind() == kind && secret.reveal() == whole));
        }
    }
}
