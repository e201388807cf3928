//! Signs that somebody else replaces a certificate again and again, as certbot and cert-manager do with what they fetched.

use std::fmt;

use time::Duration;
use x509_parser::certificate::X509Certificate;

/// A certificate that lives for less than this is renewed by a program: nobody would do it by hand four times a year.
const SHORT_LIFE: Duration = Duration::days(120);
/// Where a public authority puts the logs' receipts for a certificate (RFC 6962, section 3.3). Browsers insist on them, and
/// nobody else asks for them.
const RECEIPTS: &str = "1.3.6.1.4.1.11129.2.4.2";

/// By what one sees that a certificate is replaced while nobody looks. The texts go on after "the pair".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It is of a public authority; its name.
    PublicAuthority(String),
    /// It lives for so many days.
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

/// What of it can be seen from a key's own certificate and those above it.
pub(super) fn signs_of<'a>(
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

/// The roots are kept without what their names begin with in a certificate, the mark of a sequence and its length.
fn is_issued_by_a_public_root(certificate: &X509Certificate<'_>) -> bool {
    let issuer = certificate.issuer().as_raw();
    webpki_roots::TLS_SERVER_ROOTS.iter().any(|root| {
        let name: &[u8] = root.subject.as_ref();
        issuer.strip_suffix(name).is_some_and(|mark| matches!(mark.len(), 2..=4))
    })
}
