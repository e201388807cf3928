//! The private key of a PEM file, whatever it is used for.

use super::{Block, Headers, PairFile, PemProblem, blocks};

/// A private key in DER.
pub(crate) struct KeyBlock {
    pub(crate) encoding: KeyEncoding,
    pub(crate) der: Vec<u8>,
    /// The number of private keys in the file, of which this is the first.
    pub(crate) keys: usize,
}

/// The structure of a private key's DER.
pub(crate) enum KeyEncoding {
    /// RFC 5958, for any kind of key.
    Pkcs8,
    /// RFC 8017, appendix A.1.2: RSA.
    Pkcs1,
    /// RFC 5915: an elliptic curve key.
    Sec1,
    /// Another one, with its label.
    Other(String),
}

impl KeyBlock {
    /// Finds the first private key of a file.
    ///
    /// # Errors
    /// The file cannot be read as PEM, or holds no private key, or one that is encrypted or in
    /// OpenSSH's format.
    pub(crate) fn from_pem(bytes: &[u8]) -> Result<KeyBlock, PemProblem> {
        let blocks = blocks(bytes, PairFile::Key)?;
        let keys = blocks.iter().filter(|block| block.is_key()).count();
        // `openssl ecparam` writes the curve's parameters first; what comes after them is what was meant.
        let meant = blocks.iter().position(|block| block.label != "EC PARAMETERS").unwrap_or_default();
        let first = blocks.iter().position(Block::is_key).unwrap_or(meant);
        let Some(Block { label, headers, der, .. }) = blocks.into_iter().nth(first) else {
            return Err(PemProblem::NotPem(PairFile::Key));
        };
        let encoding = match (label.as_str(), headers) {
            ("CERTIFICATE", _) => return Err(PemProblem::KeyIsCertificate),
            _ if keys == 0 => return Err(PemProblem::KeyIsOther(label)),
            (_, Headers::Encrypted) | ("ENCRYPTED PRIVATE KEY", Headers::Plain) => {
                return Err(PemProblem::KeyEncrypted);
            }
            ("OPENSSH PRIVATE KEY", Headers::Plain) => return Err(PemProblem::KeyOpenSsh),
            ("PRIVATE KEY", Headers::Plain) => KeyEncoding::Pkcs8,
            ("RSA PRIVATE KEY", Headers::Plain) => KeyEncoding::Pkcs1,
            ("EC PRIVATE KEY", Headers::Plain) => KeyEncoding::Sec1,
            (_, Headers::Plain) => KeyEncoding::Other(label),
        };
        Ok(KeyBlock { encoding, der, keys })
    }
}
