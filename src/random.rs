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
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| NoRandomBytes)?;
    Ok(bytes)
}
