//! Signs that a program such as certbot or cert-manager replaces a certificate regularly.

use std::fmt;

use time::Duration;
use x509_parser::certificate::X509Certificate;
use x509_parser::x509::X509Name;

/// The lifetime below which a certificate is taken to be renewed by a program: nobody does it by hand four times a year.
const SHORT_LIFE: Duration = Duration::days(120);
/// The extension in which public authorities put the receipts of certificate logs (RFC 6962, section 3.3). Only browsers
/// require them.
const RECEIPTS: &str = "1.3.6.1.4.1.11129.2.4.2";

/// A sign that a program replaces a certificate. The texts continue a sentence that begins with "the pair".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The certificate is from a public authority, with this name.
    PublicAuthority(String),
    /// The certificate is valid for this number of days.
    ShortLived(i64),
}

impl fmt::Display for Renewal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Renewal::PublicAuthority(name) => write!(out, "has its certificate from a public authority ({name})"),
            Renewal::ShortLived(days) => write!(out, "lives for {days} days"),
        }
    }
}

/// The signs in a key's own certificate and those above it.
pub(super) fn signs_in<'a>(
    leaf: &X509Certificate<'_>,
    chain: impl IntoIterator<Item = &'a X509Certificate<'a>>,
) -> Vec<Renewal> {
    let mut signs = Vec::new();
    let has_receipts = leaf.extensions().iter().any(|extension| extension.oid.to_id_string() == RECEIPTS);
    if has_receipts || chain.into_iter().any(is_issued_by_a_public_root) {
        signs.push(Renewal::PublicAuthority(leaf.issuer().to_string()));
    }
    let validity = leaf.validity();
    let life = validity.not_after.to_datetime() - validity.not_before.to_datetime();
    if life < SHORT_LIFE {
        signs.push(Renewal::ShortLived(life.whole_days()));
    }
    signs
}

/// Whether the issuer is a public root.
fn is_issued_by_a_public_root(certificate: &X509Certificate<'_>) -> bool {
    is_public_root(certificate.issuer())
}

/// Whether this is the name of a public root. The list has the roots' names without the tag and the length that they begin
/// with in a certificate.
pub(super) fn is_public_root(name: &X509Name<'_>) -> bool {
    webpki_roots::TLS_SERVER_ROOTS.iter().any(|root| {
        let root: &[u8] = root.subject.as_ref();
        name.as_raw().strip_suffix(root).is_some_and(|mark| matches!(mark.len(), 2..=4))
    })
}
