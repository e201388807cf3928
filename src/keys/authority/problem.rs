//! What registries refuse of an authority or a leaf under it, and what to do about it.

use crate::keys::{KeyProblem, KeyWarning};

/// How an authority for tokens is made anew where one is not fit: without its file, `generate` makes it.
const ANOTHER: &str = "name files in token.authority that are not there yet, with generate: true, and it is made";

/// A reason why a certificate cannot be the authority, or its key cannot sign leaves. No text holds any part of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityProblem {
    /// A file cannot be read as PEM, or holds something else.
    #[error(transparent)]
    File(#[from] KeyProblem),
    /// A certificate does not parse; its place in the file, from 1.
    #[error(
        "certificate number {0} of the authority's file cannot be read; check it with `openssl x509 -in FILE -noout -text`"
    )]
    Unreadable(usize),
    /// It has no mark as an authority.
    #[error(
        "the certificate of {0} is not marked as an authority (basicConstraints CA:TRUE), so registries refuse every leaf that it \
         signs; a pair that token.generate made is none and cannot become one: {another}",
        another = ANOTHER
    )]
    NotMarked(String),
    /// Its key usage leaves signing certificates out.
    #[error(
        "the certificate of {0} may not sign certificates (its key usage has no keyCertSign), so registries refuse every leaf \
         that it signs; make it again with keyUsage=critical,keyCertSign, or {another}",
        another = ANOTHER
    )]
    MayNotSign(String),
    /// Not every registry takes a key of this kind.
    #[error(
        "the certificate of {0} has a key that is {1}, which not every registry accepts (registry 2.8 does not even start with \
         an Ed25519 certificate in its bundle); make one with an RSA key (2048 bits or more) or an elliptic curve key (P-256 or \
         P-384), or {another}",
        another = ANOTHER
    )]
    Kind(String, String),
    /// It has a critical extension that registries do not understand.
    #[error(
        "the certificate of {0} has an extension (OID {1}) that is marked critical and that registries do not know, so they refuse \
         every leaf that it signs; make it again without, or {another}",
        another = ANOTHER
    )]
    UnknownExtension(String, String),
    /// The key belongs to none of the certificates.
    #[error(
        "the authority's key ({0}) does not belong to any certificate of its file; compare `openssl x509 -in CERTIFICATE -noout \
         -pubkey` with `openssl pkey -in KEY -pubout`"
    )]
    OthersKey(String),
    /// Its name cannot be written in a leaf again.
    #[error("the authority's name is written in a way that a leaf cannot repeat; {another}", another = ANOTHER)]
    Name,
}

/// A reason why registries that trust the authority refuse a leaf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainProblem {
    /// A certificate does not parse.
    #[error("a certificate of the chain cannot be read")]
    Unreadable,
    /// More certificates than are looked at.
    #[error("the chain has {0} certificates, and 6 at most are looked at; leave out those that nobody needs")]
    TooLong(usize),
    /// Nobody whom registries know has signed it.
    #[error(
        "the certificate of {subject} is not from token.authority (it is from {issuer}), so registries that trust the authority \
         alone refuse every token; put a leaf of the authority in its place: `dockwarden keys issue-leaf CONFIG` makes one, with \
         the authority's key; where another authority stands between, put its certificate behind the leaf's"
    )]
    Stranger {
        /// The leaf's subject.
        subject: String,
        /// Who issued it.
        issuer: String,
    },
    /// The issuer's name is right, its key is not.
    #[error(
        "the certificate of {0} names {1} as who signed it, but that is not so: another key signed, perhaps of an authority that was \
         replaced; make the leaf anew with `dockwarden keys issue-leaf CONFIG`"
    )]
    Signature(String, String),
    /// Signed with a hash that registries no longer accept.
    #[error(
        "the certificate of {0} is signed with {1}, which registries refuse; make the leaf anew with `dockwarden keys issue-leaf CONFIG`"
    )]
    WeakSignature(String, String),
    /// One between has no mark as an authority.
    #[error(
        "the certificate of {0} stands between the leaf and the authority and is not marked as an authority (basicConstraints \
         CA:TRUE), so registries refuse every token; sign the leaf with the authority itself"
    )]
    NotMarked(String),
    /// One above may not sign certificates.
    #[error(
        "the certificate of {0} may not sign certificates (its key usage has no keyCertSign), so registries refuse every token; \
         make it again with keyUsage=critical,keyCertSign"
    )]
    MayNotSign(String),
    /// More certificates between than an authority allows.
    #[error(
        "the authority {authority} allows fewer certificates (pathlen) than stand between it and the leaf ({between}), so registries \
         refuse every token; sign the leaf with the authority itself"
    )]
    PathLength {
        /// Its subject.
        authority: String,
        /// How many stand between.
        between: usize,
    },
    /// A name that an authority may not certify.
    #[error(
        "the leaf's alternative name {name} is outside the name constraints of {authority}, so registries refuse every token; make \
         the leaf without alternative names, which tokens do not need"
    )]
    OutsideNames {
        /// The name.
        name: String,
        /// The authority's subject.
        authority: String,
    },
    /// A critical constraint of a kind that registries do not know.
    #[error(
        "{0} has critical name constraints of a kind that registries do not know, so they refuse every token; make it again without"
    )]
    UnknownConstraint(String),
    /// A critical extension that registries do not understand.
    #[error(
        "the certificate of {0} has an extension (OID {1}) that is marked critical and that registries do not know, so they refuse \
         every token; make it again without"
    )]
    UnknownExtension(String, String),
}

/// What the owner of an authority should know, although it can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthorityWarning {
    /// Something about its file.
    #[error(transparent)]
    File(KeyWarning),
    /// A public authority.
    #[error(
        "{0} is a public authority: whoever has any certificate from it can make tokens for every registry that has it in its bundle; \
         use an authority for tokens alone: {another}",
        another = ANOTHER
    )]
    Public(String),
    /// It is meant for TLS.
    #[error(
        "{0} signs certificates for TLS (by its extended key usage): any server's or client's certificate from it can make tokens for \
         every registry that has it in its bundle; use an authority for tokens alone: {another}",
        another = ANOTHER
    )]
    ForTls(String),
    /// Another authority has signed it.
    #[error(
        "{0} was certified by {1}, so it looks like an authority of a whole company: whatever certificates it signs besides can make \
         tokens for every registry that has it in its bundle; if it signs leaves for tokens alone, all is well; otherwise {another}",
        another = ANOTHER
    )]
    Below(String, String),
    /// It signed the certificate that our own listener shows.
    #[error(
        "this authority has also signed the certificate that server speaks TLS with: any web server's certificate from it can make \
         tokens for every registry that has it in its bundle; use an authority for tokens alone: {another}",
        another = ANOTHER
    )]
    SignsServers,
    /// Its time is over.
    #[error(
        "{0} was valid until {1}: registries refuse every token; make a new authority, put its certificate into the bundle of every \
         registry, and restart them"
    )]
    Ended(String, String),
    /// Its time has not begun.
    #[error("{0} is not valid before {1}: registries refuse every token until then; check this machine's clock")]
    NotBegun(String, String),
    /// It ends within 90 days.
    #[error(
        "{0} is valid only until {1}, and leaves and tokens end with it; make a new authority, and put its certificate beside this one into \
         the bundle of every registry before that day"
    )]
    EndsSoon(String, String),
}
