//! What a registry's notifications are known by: a secret, of which no more than a digest is kept.

use std::fmt;

use time::OffsetDateTime;

use crate::digest;
use crate::random::{self, NoRandomBytes};
use crate::secret::Secret;
use crate::secret::lasting::drawn;

/// What the secrets begin with that are made here: scanners find them in what was published by mistake.
pub const PREFIX: &str = "dwe_";

/// A secret of a registry's events.
#[derive(Clone, PartialEq, Eq)]
pub struct EventsSecret {
    /// The digest of the secret.
    pub(crate) digest: [u8; 32],
    /// Where it was made here, and not written into the file.
    pub made: Option<Made>,
}

/// A secret that was made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its public name.
    pub id: String,
    /// When it was made.
    pub at: OffsetDateTime,
}

impl EventsSecret {
    /// One that somebody made elsewhere.
    pub fn from_text(text: &str) -> EventsSecret {
        EventsSecret { digest: digest_of(text), made: None }
    }

    /// A new one, and the text to hand out.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub(crate) fn draw(now: OffsetDateTime) -> Result<(Secret, EventsSecret), NoRandomBytes> {
        let text = drawn(PREFIX)?;
        let id = random::bytes::<5>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let at = now.replace_nanosecond(0).unwrap_or(now);
        let secret = EventsSecret { digest: digest_of(text.reveal()), made: Some(Made { id, at }) };
        Ok((text, secret))
    }
}

/// The digest that a secret is compared by.
pub(crate) fn digest_of(text: &str) -> [u8; 32] {
    digest::sha256([text])
}

impl fmt::Debug for EventsSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.made {
            Some(made) => write!(out, "[events secret {}]", made.id),
            None => out.write_str("[events secret]"),
        }
    }
}
