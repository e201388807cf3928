//! The keys whose tokens are still good where an authority for tokens stands above the one that signs.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;

use super::{Claims, Issuer, NotOurs};
use crate::keys::{Authority, SigningKey, VerifyingKey};

/// The most keys that are remembered; the oldest go first. Tokens of any leaf that is in its time are good all the same if they
/// bring its certificate.
const MOST_LIVING: usize = 16;
/// For how long after a key was replaced tokens are still dated by which it signs: requests under way hold on to it, and other
/// replicas see the new one a moment later.
const LATE: time::Duration = time::Duration::seconds(10);
/// How far this machine's clock may be behind that of who made a leaf.
const CLOCK_BEHIND: time::Duration = time::Duration::seconds(90);

/// Whose tokens are ours besides those of the key that signs.
///
/// - Those of keys that signed before it, until the last of their tokens ends. Such a key verifies nothing that is dated later
///   than its end: a key that was stolen and replaced makes no new tokens.
/// - Those that bring the certificate of any leaf of the authority, as registries take them: of other replicas, and of leaves that
///   signed before this process began.
#[derive(Clone, Debug)]
pub struct Trust {
    authority: Arc<Authority>,
    /// The longest life of a token that the key which signs may have made.
    life: Duration,
    retired: Vec<Retired>,
}

/// A key that signed before, and whose last token has not ended.
#[derive(Clone, Debug)]
struct Retired {
    key: VerifyingKey,
    /// When the next one took over.
    at: OffsetDateTime,
    /// The end of the last token that it can have signed.
    until: OffsetDateTime,
}

/// What signed before: an issuer, and how long its tokens lived.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    /// The issuer.
    pub issuer: &'a Issuer,
    /// How long its tokens lived.
    pub life: Duration,
}

impl Trust {
    /// The authority's leaves, for tokens that live for `life`. `key` signs from `now` on, and `before` signed until now, if
    /// anybody did. Where tokens from before a moment are refused, keys that were replaced before it count for nothing, and so does
    /// any key that is replaced by the configuration which says so first: they may be stolen, and who has one dates tokens at will.
    pub fn new(
        (authority, not_before): (Arc<Authority>, Option<OffsetDateTime>),
        life: Duration,
        key: &SigningKey,
        before: Option<Before<'_>>,
        now: OffsetDateTime,
    ) -> Trust {
        let mut trust = Trust { authority, life, retired: Vec::new() };
        let Some(Before { issuer, life }) = before else { return trust };
        let longest = issuer.trust.as_ref().map_or(life, |trust| trust.life.max(life));
        trust.retired.extend(issuer.trust.iter().flat_map(|trust| &trust.retired).cloned());
        let is_same = |one: &VerifyingKey| one.is_called(key.public().kid(crate::keys::KidForm::Thumbprint));
        if is_same(issuer.key.public()) {
            trust.life = trust.life.max(longest);
        } else {
            let until = now + longest;
            let until = issuer.leaf_ends().map_or(until, |ends| ends.min(until));
            trust.retired.push(Retired { key: issuer.key.public().clone(), at: now, until });
        }
        let is_new = not_before != issuer.not_before;
        let is_withdrawn = |at: OffsetDateTime| not_before.is_some_and(|moment| is_new || at < moment);
        trust.retired.retain(|retired| now < retired.until && !is_same(&retired.key) && !is_withdrawn(retired.at));
        let surplus = trust.retired.len().saturating_sub(MOST_LIVING);
        trust.retired.drain(..surplus);
        trust
    }

    /// The keys that signed before, with tokens that are still good.
    pub(super) fn living(&self, now: OffsetDateTime) -> impl Iterator<Item = &VerifyingKey> {
        self.retired.iter().filter(move |retired| now < retired.until).map(|retired| &retired.key)
    }

    /// The claims of a token by the key that signs, if its leaf is in its time, or by another that we trust. `read` verifies a
    /// token with a key.
    pub(super) fn verify(
        &self,
        token: &str,
        (signing, is_in_time): (&SigningKey, bool),
        now: OffsetDateTime,
        read: impl Fn(&VerifyingKey) -> Result<Claims, NotOurs>,
    ) -> Result<Claims, NotOurs> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| NotOurs::Forged)?;
        let kid = header.kid.as_deref().unwrap_or_default();
        if signing.public().is_called(kid) {
            let claims = read(signing.public())?;
            return if is_in_time { Ok(claims) } else { Err(NotOurs::OutOfTime) };
        }
        let signed_before = |retired: &Retired| {
            let claims = read(&retired.key).ok()?;
            let is_its = claims.iat <= (retired.at + LATE).unix_timestamp()
                && claims.exp <= (retired.until + LATE).unix_timestamp();
            is_its.then_some(claims)
        };
        let mut of_that_name = self.retired.iter().filter(|retired| now < retired.until && retired.key.is_called(kid));
        match of_that_name.find_map(signed_before) {
            Some(claims) => Ok(claims),
            None => self.by_certificate(&header, now, read),
        }
    }

    /// The claims of a token that brings its leaf, verified as registries do.
    fn by_certificate(
        &self,
        header: &jsonwebtoken::Header,
        now: OffsetDateTime,
        read: impl Fn(&VerifyingKey) -> Result<Claims, NotOurs>,
    ) -> Result<Claims, NotOurs> {
        let chain = header.x5c.iter().flatten().map(|text| STANDARD.decode(text)).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|_| NotOurs::Forged)?;
        let window = self.authority.certifies(&chain).map_err(|_| NotOurs::Forged)?;
        let key = chain.first().and_then(|leaf| VerifyingKey::from_certificate(leaf)).ok_or(NotOurs::Forged)?;
        let claims = read(&key)?;
        let is_in_time = (window.from.saturating_sub(CLOCK_BEHIND)..=window.until).contains(&now);
        match is_in_time && claims.exp <= window.until.unix_timestamp() {
            true => Ok(claims),
            false => Err(NotOurs::OutOfTime),
        }
    }
}
