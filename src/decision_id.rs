//! The id of a decision.

use time::OffsetDateTime;

/// The id that ties a reply (`X-Decision-Id`) to its line in the log.
#[derive(Clone, Debug)]
pub struct DecisionId(String);

impl DecisionId {
    /// A new id, of 8 random bytes.
    #[expect(clippy::new_without_default, reason = "two of them are never alike, so no value is the default one")]
    pub fn new() -> DecisionId {
        let mut bytes = [0_u8; 8];
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            // The id protects nothing: without random bytes the time still tells lines apart.
            #[expect(clippy::disallowed_methods, reason = "any number that differs from the last one will do")]
            let now = OffsetDateTime::now_utc().unix_timestamp_nanos().to_be_bytes();
            for (to, from) in bytes.iter_mut().rev().zip(now.iter().rev()) {
                *to = *from;
            }
        }
        DecisionId(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The id as 16 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
