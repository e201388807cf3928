//! Tests of the signs that a program replaces a pair.

use rcgen::string::PrintableString;
use rcgen::{BasicConstraints, CustomExtension, DistinguishedName, DnValue, IsCa, Issuer, KeyPair};

use super::*;

/// The parameters of a certificate that is valid for this number of days.
fn params(days: i64, extensions: Vec<CustomExtension>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "auth.example.org");
    params.not_before = some_day();
    params.not_after = some_day() + Duration::days(days);
    params.custom_extensions = extensions;
    params
}

fn receipts() -> Vec<CustomExtension> {
    vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], vec![4, 2, 0, 0])]
}

/// An authority's key and certificate, with a name as authorities write theirs.
fn authority(name: &[(DnType, &str)]) -> (KeyPair, CertificateParams) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, text) in name {
        params
            .distinguished_name
            .push(kind.clone(), DnValue::PrintableString(PrintableString::try_from(*text).unwrap()));
    }
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (KeyPair::generate().unwrap(), params)
}

#[test]
fn what_a_program_renews_is_recognised() {
    let lets_encrypt: &[(DnType, &str)] = &[
        (DnType::CountryName, "US"),
        (DnType::OrganizationName, "Internet Security Research Group"),
        (DnType::CommonName, "ISRG Root X1"),
    ];
    let own: &[(DnType, &str)] = &[(DnType::OrganizationName, "Acme"), (DnType::CommonName, "ISRG Root X1")];
    let public = |name: &str| Renewal::PublicAuthority(name.to_owned());
    let isrg = "C=US, O=Internet Security Research Group, CN=ISRG Root X1";
    for (what, issuer, days, extensions, expected) in [
        ("made by us", None, 3650, vec![], vec![]),
        ("not yet short", None, 120, vec![], vec![]),
        ("short", None, 119, vec![], vec![Renewal::ShortLived(119)]),
        ("under an authority of one's own", Some(own), 3650, vec![], vec![]),
        ("cert-manager's with such an authority", Some(own), 90, vec![], vec![Renewal::ShortLived(90)]),
        ("a public root's", Some(lets_encrypt), 397, vec![], vec![public(isrg)]),
        ("certbot's", Some(lets_encrypt), 90, receipts(), vec![public(isrg), Renewal::ShortLived(90)]),
        // An intermediate's name is in no list.
        ("of a file without the rest", Some(own), 397, receipts(), vec![public("O=Acme, CN=ISRG Root X1")]),
    ] {
        let key = KeyPair::generate().unwrap();
        let leaf = params(days, extensions);
        let certificate = match issuer {
            None => leaf.self_signed(&key).unwrap(),
            Some(name) => {
                let (own_key, own_params) = authority(name);
                leaf.signed_by(&key, &Issuer::from_params(&own_params, &own_key)).unwrap()
            }
        };
        let pem = pem::write("CERTIFICATE", certificate.der());
        let loaded = loaded(pem::write("PRIVATE KEY", key.serialized_der()).as_bytes(), pem.as_bytes());
        assert_eq!(loaded.renewals(), expected, "{what}");
    }
}

/// Let's Encrypt's file: the certificate, and one between it and the root, which is not in the file.
#[test]
fn a_public_root_is_recognised_above_a_chain() {
    let (root_key, root) = authority(&[
        (DnType::CountryName, "US"),
        (DnType::OrganizationName, "Internet Security Research Group"),
        (DnType::CommonName, "ISRG Root X1"),
    ]);
    let (middle_key, middle) = authority(&[(DnType::OrganizationName, "Let's Encrypt"), (DnType::CommonName, "R11")]);
    let key = KeyPair::generate().unwrap();
    let leaf = params(365, vec![]).signed_by(&key, &Issuer::from_params(&middle, &middle_key)).unwrap();
    let above = middle.signed_by(&middle_key, &Issuer::from_params(&root, &root_key)).unwrap();
    let file = pem::write("CERTIFICATE", leaf.der()) + &pem::write("CERTIFICATE", above.der());
    let loaded = loaded(pem::write("PRIVATE KEY", key.serialized_der()).as_bytes(), file.as_bytes());
    assert_eq!(loaded.certificates().len(), 2);
    assert_eq!(loaded.renewals(), [Renewal::PublicAuthority("O=Let's Encrypt, CN=R11".to_owned())]);
}
