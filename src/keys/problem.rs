//! What can be wrong with a signing key or its certificate, and what to do about it.

use crate::pem::{PairFile, PemProblem};

/// A reason why a pair cannot sign tokens. Every text says what is wrong and what to do about it; none holds any
/// part of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// One of the files cannot be read as PEM, or holds something else.
    #[error(transparent)]
    Pem(#[from] PemProblem),

    /// Not every registry accepts the key's kind.
    #[error(
        "the key is {0}, which not every registry accepts{because}; make an RSA key (2048 to 4096 bits) or an elliptic curve key (P-256 or P-384), for example with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out NEW`",
        because = refused_because(.0)
    )]
    KeyKind(String),
    /// An RSA key of fewer than 2048 bits.
    #[error(
        "the RSA key has {0} bits, too few to be safe; make one of 2048 to 4096 bits, for example with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out NEW`"
    )]
    RsaTooSmall(usize),
    /// An RSA key of more than 4096 bits.
    #[error(
        "the RSA key has {0} bits; more than 4096 makes every signature slow and the tokens long without need; make one of 2048 to 4096 bits, for example with `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072 -out NEW`"
    )]
    RsaTooLarge(usize),
    /// An RSA key whose public exponent registries cannot read.
    #[error(
        "the RSA key's public exponent is larger than 2147483647, which registries refuse to read; make a key with the usual exponent 65537"
    )]
    RsaExponent,
    /// The private key does not parse, or is not consistent in itself.
    #[error("the private key cannot be read ({0}); check it with `openssl pkey -in FILE -check -noout`")]
    KeyUnreadable(String),

    /// The certificate file holds a signing request.
    #[error(
        "the certificate file holds a signing request (CSR), not a certificate; make the certificate from it with `openssl x509 -req -signkey KEY -in CSR -days 365 -out CERTIFICATE`"
    )]
    CertificateIsRequest,
    /// The certificate file holds a PEM block of another kind.
    #[error("the certificate file holds `{0}`, but `CERTIFICATE` is wanted, which is also all that a registry's `rootcertbundle` reads{hint}", hint = certificate_hint(.0))]
    CertificateIsOther(String),
    /// Not every registry accepts the kind of the certificate's key.
    #[error("the certificate is for a key that is {0}, which not every registry accepts{because}; make a new pair", because = refused_because(.0))]
    CertificateKind(String),
    /// One of the certificates does not parse.
    #[error(
        "certificate number {number} of the file cannot be read ({what}); check it with `openssl x509 -in FILE -noout -text`"
    )]
    CertificateUnreadable {
        /// Its place in the file, from 1.
        number: usize,
        /// What the parser met.
        what: String,
    },
    /// The certificate that belongs to the key is not the first one.
    #[error(
        "certificate number {number} of the file ({subject}) belongs to the key, but it is not the first; put it first, then the certificates of the authorities above it"
    )]
    CertificateNotFirst {
        /// Its place in the file, from 1.
        number: usize,
        /// Its subject.
        subject: String,
    },
    /// The key and the certificate belong to different pairs.
    #[error(
        "the certificate ({subject}, {certificate_kind}) does not belong to the key ({key_kind}): their public keys differ; compare `openssl x509 -in CERTIFICATE -noout -pubkey` with `openssl pkey -in KEY -pubout`"
    )]
    Mismatch {
        /// The certificate's subject.
        subject: String,
        /// The kind of the certificate's key, for example `RSA 2048`.
        certificate_kind: String,
        /// The kind of the private key.
        key_kind: String,
    },
    /// The certificate writes the public key in a form that registries do not read.
    #[error(
        "the certificate writes its public key in an unusual form ({0}), which registries cannot read; make it again with `openssl req -x509 -new -key KEY -days 3650 -subj /CN=NAME -out CERTIFICATE`"
    )]
    CertificateForm(String),
    /// A trial signature by the key was not verified by the certificate.
    #[error(
        "a trial signature with the key was not accepted by the certificate ({0}); the pair is damaged, make a new one"
    )]
    SelfTest(String),
}

impl KeyProblem {
    /// The file that a configuration error should point to.
    pub fn file(&self) -> PairFile {
        match self {
            KeyProblem::Pem(problem) => problem.file(),
            KeyProblem::KeyKind(_)
            | KeyProblem::RsaTooSmall(_)
            | KeyProblem::RsaTooLarge(_)
            | KeyProblem::RsaExponent
            | KeyProblem::KeyUnreadable(_)
            | KeyProblem::SelfTest(_) => PairFile::Key,
            KeyProblem::CertificateIsRequest
            | KeyProblem::CertificateIsOther(_)
            | KeyProblem::CertificateKind(_)
            | KeyProblem::CertificateUnreadable { .. }
            | KeyProblem::CertificateNotFirst { .. }
            | KeyProblem::Mismatch { .. }
            | KeyProblem::CertificateForm(_) => PairFile::Certificate,
        }
    }
}

fn refused_because(kind: &str) -> &'static str {
    match kind {
        "Ed25519" => " (registry 2.8 does not even start with such a certificate in its bundle)",
        _ => "",
    }
}

fn certificate_hint(label: &str) -> &'static str {
    match label {
        "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => "; rewrite it with `openssl x509 -in OLD -out NEW`",
        "PKCS7" | "CMS" => "; take the certificates out with `openssl pkcs7 -in OLD -print_certs -out NEW`",
        _ => "",
    }
}

/// Something that the owner of a pair should know, although the pair can sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyWarning {
    /// The chain is not valid yet.
    #[error(
        "the certificate is not valid before {0}; until then tokens carry the key's id only (`kid`), which not every registry setup accepts; check this machine's clock"
    )]
    NotYetValid(String),
    /// The chain has expired.
    #[error(
        "the certificate was valid until {0}; tokens now carry the key's id only (`kid`), which not every registry setup accepts; make a new certificate and give it to the registries"
    )]
    Expired(String),
    /// The chain expires within 30 days.
    #[error(
        "the certificate is valid only until {0}; make a new one and add it to the registries' `rootcertbundle` before that day"
    )]
    ExpiresSoon(String),
    /// A leaf under an authority for tokens ends soon, and should have been renewed by now.
    #[error(
        "the leaf that signs tokens is valid only until {0}, and should have been renewed by now; tokens end with it; look in the log for why \
         it was not (leaf_not_renewed), or, where token.authority has no key, run `dockwarden keys issue-leaf CONFIG` or look after \
         whoever else writes it"
    )]
    LeafEndsSoon(String),
    /// A leaf under an authority for tokens has ended.
    #[error(
        "the leaf that signs tokens was valid until {0}, so no token is made any more; run `dockwarden keys issue-leaf CONFIG` where the \
         authority's key is"
    )]
    LeafEnded(String),
    /// The key usage extension is there and does not list digital signatures.
    #[error(
        "the certificate's key usage does not list digitalSignature; registries do not look at it today, a stricter verifier would refuse the tokens"
    )]
    KeyUsage,
    /// A certificate above the first one may not sign others, so registries will not accept the chain.
    #[error(
        "the certificate of {0} is used as an authority but is not marked as one (basicConstraints CA:TRUE); registries accept the tokens only if their bundle holds the first certificate of the file itself"
    )]
    NotAnAuthority(String),
    /// A certificate of the file is not above the first one, and is left out of the tokens.
    #[error(
        "the certificate of {0} is not in the chain of the first certificate of the file; it is left out of the tokens"
    )]
    NotInChain(String),
    /// The certificate is signed by an authority with a hash that registries no longer accept.
    #[error(
        "the certificate of {0} is signed with {1}, which registries refuse; they accept the tokens only if their bundle holds the first certificate of the file itself"
    )]
    WeakSignature(String, String),
    /// The certificate file also holds a private key.
    #[error(
        "the certificate file also holds a private key; that file is the one given to registries, so keep the key in a file of its own"
    )]
    CertificateHoldsKey,
    /// The file holds several private keys.
    #[error("the key file holds {0} private keys; the first is used")]
    SeveralKeys(usize),
    /// A registry would skip the block, because line breaks or padding are missing that were put back to read it.
    #[error(
        "the certificate that begins on line {0} of the certificate file has lost its line breaks, or the `=` at its end, as in a secret store or an environment variable; it is read here, but a registry that gets this file as its `rootcertbundle` skips that certificate and refuses every token; copy it again from where it was made"
    )]
    NotAsWritten(usize),
    /// A registry would skip the block, because its BEGIN line does not start the line.
    #[error(
        "line {0} of the certificate file does not start with `-----BEGIN` (a byte order mark or spaces come first); a registry that gets this file as its `rootcertbundle` skips that certificate; save it without"
    )]
    BeginNotFirst(usize),
    /// An elliptic curve key whose RFC 7638 thumbprint some registries compute wrongly.
    #[error(
        "the key's {0} coordinate starts with a zero byte; registries up to 3.1.1 compute another thumbprint for such a key, so with `token.header: kid` and `disable_legacy_key_id` give them the JWKS, or make a new key"
    )]
    ShortCoordinate(&'static str),
}
