//! The key of sign-ins: what browsers keep for us is signed with it, and what the records keep of providers' tokens is sealed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Secret;

/// The key, which is the same on all replicas.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey(Secret);

/// Something could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token of a provider cannot be read: it was kept under another sign_in.secret")]
pub(crate) struct NotOpened;

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("[key of sign-ins]")
    }
}

impl SealingKey {
    /// The key that a secret is, of at least 32 characters.
    pub fn from_secret(secret: Secret) -> SealingKey {
        SealingKey(secret)
    }

    /// 32 bytes that nobody can make who does not have the key. Two purposes never share them.
    pub fn tag(&self, purpose: &str, text: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, self.0.reveal().as_bytes()));
        for part in [purpose, text] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut tag = [0; 32];
        for (to, from) in tag.iter_mut().zip(context.sign().as_ref()) {
            *to = *from;
        }
        tag
    }

    /// The same in base64url, which can stand in an address or a cookie.
    pub fn word(&self, purpose: &str, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.tag(purpose, text))
    }

    /// A text that cannot be changed by whoever keeps it for us; it can be read.
    pub fn signed(&self, purpose: &str, text: &str) -> String {
        let body = URL_SAFE_NO_PAD.encode(text);
        let tag = self.word(purpose, &body);
        format!("{body}.{tag}")
    }

    /// The text that was signed for this purpose; `None` for anything else.
    pub fn verified(&self, purpose: &str, signed: &str) -> Option<String> {
        let (body, tag) = signed.split_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        constant_time::verify_slices_are_equal(&self.tag(purpose, body), &tag).ok()?;
        String::from_utf8(URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }

    /// A secret that only this key opens, and only for whom it was sealed: moved to another's record, it opens nothing.
    pub(crate) fn seal(&self, whose: &str, secret: &Secret) -> Result<String, NotOpened> {
        let mut sealed = secret.reveal().as_bytes().to_vec();
        let nonce = self.cipher()?.seal_in_place_append_tag(Aad::from(whose), &mut sealed).map_err(|_| NotOpened)?;
        let mut whole = nonce.as_ref().to_vec();
        whole.append(&mut sealed);
        Ok(URL_SAFE_NO_PAD.encode(whole))
    }

    /// What was sealed for this one.
    pub(crate) fn open(&self, whose: &str, sealed: &str) -> Result<Secret, NotOpened> {
        let whole = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| NotOpened)?;
        let (nonce, body) = whole.split_at_checked(NONCE_LEN).ok_or(NotOpened)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotOpened)?;
        let mut body = body.to_vec();
        let text = self.cipher()?.open_in_place(nonce, Aad::from(whose), &mut body).map_err(|_| NotOpened)?;
        std::str::from_utf8(text).map(Secret::new).map_err(|_| NotOpened)
    }

    fn cipher(&self) -> Result<RandomizedNonceKey, NotOpened> {
        RandomizedNonceKey::new(&AES_256_GCM, &self.tag("tokens of providers", "")).map_err(|_| NotOpened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_or_sealed_is_good_for_one_purpose_and_one_key() {
        let key = |text: &str| SealingKey::from_secret(Secret::new(text.repeat(32)));
        let (own, other) = (key("a"), key("b"));
        let signed = own.signed("flow", "text; of = a flow");
        assert_eq!(own.verified("flow", &signed).as_deref(), Some("text; of = a flow"));
        let changed = signed.replacen('d', "e", 1);
        for (key, purpose, text) in [
            (&other, "flow", &signed),
            (&own, "session", &signed),
            (&own, "flow", &changed),
            (&own, "flow", &String::new()),
        ] {
            assert_eq!(key.verified(purpose, text), None, "{purpose} {text}");
        }
        let secret = Secret::new("refresh");
        let sealed = own.seal("alice", &secret);
        let Ok(sealed) = sealed else { unreachable!("{sealed:?}") };
        assert_eq!(own.open("alice", &sealed), Ok(secret.clone()));
        assert_ne!(own.seal("alice", &secret).as_ref(), Ok(&sealed), "each has a nonce of its own");
        for (key, whose, text) in [
            (&other, "alice", sealed.as_str()),
            (&own, "mallory", &sealed),
            (&own, "alice", "short"),
            (&own, "alice", ""),
        ] {
            assert_eq!(key.open(whose, text), Err(NotOpened), "{whose}");
        }
    }
}
