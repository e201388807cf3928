//! Random bytes from the system's cryptographic generator: for keys, and for ids that nobody may guess.

/// The system gave no random bytes. Whatever needed a secret must not go on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes")]
pub(crate) struct NoRandomBytes;

/// An array of random bytes.
///
/// # Errors
/// The system gave none.
pub(crate) fn bytes<const COUNT: usize>() -> Result<[u8; COUNT], NoRandomBytes> {
    let mut bytes = [0; COUNT];
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the generator for bytes")]
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    filled.map(|()| bytes).map_err(|_| NoRandomBytes)
}
