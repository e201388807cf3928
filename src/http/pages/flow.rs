//! One sign-in at a provider, from the browser that begins it to the same browser's return.
//!
//! All of it hangs on one random state. The browser keeps it in a cookie that we signed, one a sign-in, so that tabs do not disturb
//! each other; the provider sends it back in the address. Nonce and verifier are made of it with our key, and are nowhere kept.

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{cookie, cookie_name, cookies, set_cookie};
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
/// So many sign-ins a browser may have begun. Of more, a page that sends it here again and again would make its header longer than any
/// server takes, and nobody there could sign in or do anything else for as long as the cookies live.
const MOST: usize = 8;

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
        let flow = Flow::read(cookie(headers, &cookie_name(prefix, &named(state)?))?, key)?;
        let age = now.unix_timestamp().saturating_sub(flow.began);
        (flow.state == state && (0..LONGEST).contains(&age)).then_some(flow)
    }

    fn read(signed: &str, key: &SealingKey) -> Option<Flow> {
        json::object(key.verified(FLOW, signed)?.as_bytes()).ok()
    }

    /// What takes away those that this browser began first, where there is no room for one more.
    pub(super) fn make_room(headers: &HeaderMap, (prefix, key): (&str, &SealingKey)) -> Vec<String> {
        let ours = cookie_name(prefix, FLOW);
        let begun = cookies(headers).filter_map(|(name, signed)| {
            let name = named(name.strip_prefix(&ours)?.strip_prefix('-')?)?;
            // What is not of ours goes first.
            Some((Flow::read(signed, key).map_or(0, |flow| flow.began), name))
        });
        let mut begun: Vec<(i64, String)> = begun.collect();
        begun.sort_by_key(|(began, _)| *began);
        let over = begun.len().saturating_add(1).saturating_sub(MOST);
        begun.into_iter().take(over).map(|(_, name)| set_cookie(prefix, &name, "", 0)).collect()
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use axum::http::HeaderValue;
    use axum::http::header::COOKIE;

    use super::*;

    #[test]
    fn the_sign_ins_that_were_begun_first_make_room() {
        let key = SealingKey::from_secret(Secret::new("b2Ygb3VyIG93biwgYW5kIG9mIG5vYm9keSBlbHNlIQ"));
        for prefix in ["", "/r"] {
            let (mut headers, mut names) = (HeaderMap::new(), Vec::new());
            // A browser sends none of them first for certain.
            for second in [3_i64, 1, 4, 0, 5, 9, 2, 6, 8, 7] {
                let now = OffsetDateTime::from_unix_timestamp(1_000_000 + second).unwrap();
                let flow = Flow::begin("provider", None, now).unwrap();
                let line = flow.cookie(prefix, &key).unwrap();
                headers.append(COOKIE, HeaderValue::from_str(line.split(';').next().unwrap()).unwrap());
                names.push((second, cookie_name(prefix, &named(&flow.state).unwrap())));
            }
            headers.append(COOKIE, HeaderValue::from_static("__Host-dockwarden-session=x; other=y"));
            names.sort();
            let gone = Flow::make_room(&headers, (prefix, &key));
            let expected: Vec<_> = names.iter().take(3).map(|(_, name)| format!("{name}=")).collect();
            assert_eq!(gone.len(), expected.len(), "{gone:?}");
            for (line, start) in gone.iter().zip(expected) {
                assert!(line.starts_with(&start) && line.contains("Max-Age=0"), "{line}");
            }
        }
    }
}
