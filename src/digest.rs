//! Digests of lists: short names by which lists are compared, and from which no part can be read back.
//!
//! Each part goes in with its length before it, so that no two lists read the same (`ab`, `c` and `a`, `bc`).

use aws_lc_rs::{digest, hmac};

use crate::random::{self, NoRandomBytes};

/// The SHA-256 digest of a list. Whoever knows all parts but one can test guesses at that one: where a part is a secret,
/// use a [`DigestKey`].
pub(crate) fn sha256<Part: AsRef<[u8]>>(parts: impl IntoIterator<Item = Part>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    update_with(parts, |bytes| context.update(bytes));
    first_bytes(context.finish().as_ref())
}

/// A random key for digests of secrets. It never leaves the process, and without it no guess at a secret can be tested.
pub(crate) struct DigestKey(hmac::Key);

impl DigestKey {
    /// A new key.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub(crate) fn random() -> Result<DigestKey, NoRandomBytes> {
        Ok(DigestKey(hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<32>()?)))
    }

    /// The first bytes (32 at most) of a list's HMAC-SHA-256.
    pub(crate) fn digest<const BYTES: usize, Part: AsRef<[u8]>>(
        &self,
        parts: impl IntoIterator<Item = Part>,
    ) -> [u8; BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        update_with(parts, |bytes| context.update(bytes));
        first_bytes(context.sign().as_ref())
    }
}

fn update_with<Part: AsRef<[u8]>>(parts: impl IntoIterator<Item = Part>, mut update: impl FnMut(&[u8])) {
    for part in parts {
        let part = part.as_ref();
        update(&(part.len() as u64).to_be_bytes());
        update(part);
    }
}

fn first_bytes<const BYTES: usize>(digest: &[u8]) -> [u8; BYTES] {
    const { assert!(BYTES <= 32, "SHA-256 has 32 bytes") };
    let mut first = [0; BYTES];
    for (to, from) in first.iter_mut().zip(digest) {
        *to = *from;
    }
    first
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn only_the_same_list_under_the_same_key_has_the_same_digest() -> anyhow::Result<()> {
        let (key, other) = (DigestKey::random()?, DigestKey::random()?);
        let lists = [&["ab", "c"][..], &["a", "bc"], &["abc"], &["abc", ""], &["", "abc"], &["c", "ab"], &[""], &[]];
        let short: HashSet<[u8; 8]> = lists.iter().map(|list| key.digest(*list)).collect();
        let plain: HashSet<[u8; 32]> = lists.iter().map(|list| sha256(*list)).collect();
        assert_eq!((short.len(), plain.len()), (lists.len(), lists.len()));
        for list in lists {
            let digest: [u8; 32] = key.digest(list);
            assert_eq!(digest, key.digest(list));
            assert_ne!(digest, other.digest(list), "the key is drawn");
            assert_ne!(digest, sha256(list));
            assert_eq!(digest[..8], key.digest::<8, _>(list));
        }
        Ok(())
    }
}
