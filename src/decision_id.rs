//! The id of a decision.

use time::OffsetDateTime;

use crate::random;

/// The id that ties a reply (`X-Decision-Id`) to its line in the log.
#[derive(Clone, Debug)]
pub struct DecisionId(String);

impl DecisionId {
    /// A new id, of 8 random bytes.
    #[expect(clippy::new_without_default, reason = "two of them are never alike, so no value is the default one")]
    pub fn new() -> DecisionId {
        let number = random::bytes().map(u64::from_be_bytes);
        // The id protects nothing: without random bytes the time still tells lines apart.
        #[expect(clippy::disallowed_methods, reason = "any number that differs from the last one will do")]
        let number = number.unwrap_or_else(|_| OffsetDateTime::now_utc().unix_timestamp_nanos() as u64);
        DecisionId(format!("{number:016x}"))
    }

    /// The id as 16 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
