//! One sign-in at a provider, from the browser that begins it to the same browser's return.
//!
//! All of it hangs on one random state. The browser keeps it in a cookie that we signed, one a sign-in, so that tabs do not disturb
//! each other; the provider sends it back in the address. Nonce and verifier are made of it with our key, and are nowhere kept.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{cookie, cookie_name, set_cookie};
use crate::json;
use crate::random::{self, NoRandomBytes};
use crate::secret::Secret;
use crate::secret::sealing::SealingKey;

/// What the cookies are signed for, and what their names begin with.
const FLOW: &str = "flow";
/// How long a sign-in may take, in seconds.
pub(super) const LONGEST: i64 = 600;
/// So much of the state is in the cookie's name.
const NAMED: usize = 8;

/// What the cookie says.
#[derive(Serialize, Deserialize)]
pub(super) struct Flow {
    pub(super) state: String,
    pub(super) section: String,
    pub(super) way: Option<String>,
    pub(super) began: i64,
}

impl Flow {
    /// Begins one.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub(super) fn begin(section: &str, way: Option<&str>, now: OffsetDateTime) -> Result<Flow, NoRandomBytes> {
        Ok(Flow {
            state: URL_SAFE_NO_PAD.encode(random::bytes::<32>()?),
            section: section.to_owned(),
            way: way.map(str::to_owned),
            began: now.unix_timestamp(),
        })
    }

    /// The flow of this state that this browser began, if it did and it is not over.
    pub(super) fn of(
        headers: &HeaderMap,
        (prefix, key): (&str, &SealingKey),
        state: &str,
        now: OffsetDateTime,
    ) -> Option<Flow> {
        let signed = cookie(headers, &cookie_name(prefix, &named(state)?))?;
        let flow: Flow = json::object(key.verified(FLOW, signed)?.as_bytes()).ok()?;
        let age = now.unix_timestamp().saturating_sub(flow.began);
        (flow.state == state && (0..LONGEST).contains(&age)).then_some(flow)
    }

    /// The cookie that the browser keeps meanwhile.
    pub(super) fn cookie(&self, prefix: &str, key: &SealingKey) -> Option<String> {
        let text = serde_json::to_string(self).ok()?;
        Some(set_cookie(prefix, &named(&self.state)?, &key.signed(FLOW, &text), LONGEST.unsigned_abs()))
    }

    /// What takes it away.
    pub(super) fn end(&self, prefix: &str) -> Option<String> {
        Some(set_cookie(prefix, &named(&self.state)?, "", 0))
    }

    pub(super) fn nonce(&self, key: &SealingKey) -> String {
        key.word("nonce", &self.state)
    }

    pub(super) fn verifier(&self, key: &SealingKey) -> Secret {
        Secret::new(key.word("verifier", &self.state))
    }
}

fn named(state: &str) -> Option<String> {
    let start = state.get(..NAMED)?;
    start
        .bytes()
        .all(|letter| letter.is_ascii_alphanumeric() || b"-_".contains(&letter))
        .then(|| format!("{FLOW}-{start}"))
}
