//! What can be wrong with a PEM file, whatever it is used for, and what to do about it.

use std::fmt;

/// One of the two files of a pair, by what it should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairFile {
    /// The private key (as `token.key`).
    Key,
    /// The certificate, or several of them (as `token.certificate`).
    Certificate,
}

impl fmt::Display for PairFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PairFile::Key => "key",
            PairFile::Certificate => "certificate",
        })
    }
}

/// A reason why a file cannot be used. No text holds any part of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemProblem {
    /// The file has no bytes.
    #[error("the {0} file is empty; write the PEM text into it")]
    Empty(PairFile),
    /// The file holds no PEM block at all.
    #[error(
        "the {0} file holds no PEM block; it must hold a line such as `-----BEGIN {example}-----`",
        example = example_label(.0)
    )]
    NotPem(PairFile),
    /// The file holds PEM text in another form, or something else.
    #[error("the {file} file holds {what}")]
    Wrapped {
        /// The file.
        file: PairFile,
        /// What was seen, and what to do.
        what: &'static str,
    },
    /// The file is binary DER.
    #[error(
        "the {0} file is binary (DER), but PEM text is wanted; convert it with `openssl {tool} -inform DER -in OLD -out NEW`",
        tool = openssl_tool(.0)
    )]
    Der(PairFile),
    /// The file is UTF-16 text, as some Windows shells write it.
    #[error("the {0} file is UTF-16 text, as PowerShell's `>` writes it; save it as plain ASCII or UTF-8")]
    Utf16(PairFile),
    /// A block of the file is damaged.
    #[error("the {file} file is damaged: {what}; copy it again from where it was made")]
    Damaged {
        /// The file.
        file: PairFile,
        /// What was seen, with the line.
        what: String,
    },
    /// The key file holds a certificate.
    #[error(
        "the key file holds a certificate and no private key; name the private key here (are the two files swapped?)"
    )]
    KeyIsCertificate,
    /// The key file holds something other than a private key.
    #[error("the key file holds `{0}` and no private key; name the file with the private key here")]
    KeyIsOther(String),
    /// The key is encrypted with a pass phrase.
    #[error(
        "the key is encrypted, and there is nobody to type its pass phrase at startup; store it without one, readable by its owner only: `openssl pkey -in OLD -out NEW`"
    )]
    KeyEncrypted,
    /// The key is in OpenSSH's own format.
    #[error("the key is in OpenSSH's format; rewrite the file as PEM with `ssh-keygen -p -N '' -m PEM -f FILE`")]
    KeyOpenSsh,
    /// The certificate file holds a private key and no certificate.
    #[error(
        "the certificate file holds a private key and no certificate; name the certificate here (are the two files swapped?)"
    )]
    CertificateIsKey,
}

impl PemProblem {
    /// The file that the problem is about.
    pub fn file(&self) -> PairFile {
        match self {
            PemProblem::Empty(file)
            | PemProblem::NotPem(file)
            | PemProblem::Der(file)
            | PemProblem::Utf16(file)
            | PemProblem::Wrapped { file, .. }
            | PemProblem::Damaged { file, .. } => *file,
            PemProblem::KeyIsCertificate
            | PemProblem::KeyIsOther(_)
            | PemProblem::KeyEncrypted
            | PemProblem::KeyOpenSsh => PairFile::Key,
            PemProblem::CertificateIsKey => PairFile::Certificate,
        }
    }
}

/// The usual label in such a file.
pub(super) fn example_label(file: &PairFile) -> &'static str {
    match file {
        PairFile::Key => "PRIVATE KEY",
        PairFile::Certificate => "CERTIFICATE",
    }
}

fn openssl_tool(file: &PairFile) -> &'static str {
    match file {
        PairFile::Key => "pkey",
        PairFile::Certificate => "x509",
    }
}
