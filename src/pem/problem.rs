//! What can be wrong with a PEM file whatever it is for, said so that the reader knows what to type next.

use std::fmt;

/// What a file is to hold.
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

/// A reason why a file is not read as PEM. None of the texts holds any part of it.
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
    /// The file holds something else around what it should hold.
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
}

impl PemProblem {
    /// What the file was to hold.
    pub fn file(&self) -> PairFile {
        match self {
            PemProblem::Empty(file)
            | PemProblem::NotPem(file)
            | PemProblem::Der(file)
            | PemProblem::Utf16(file)
            | PemProblem::Wrapped { file, .. }
            | PemProblem::Damaged { file, .. } => *file,
        }
    }
}

/// The label that such a file begins with.
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
