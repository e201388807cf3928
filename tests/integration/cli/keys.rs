//! `dockwarden keys`, and what `check` says of an authority for tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use dockwarden::keys::{Authority, GeneratedPair, SigningKey, generate, generate_authority};
use jsonwebtoken::Algorithm;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use time::{Duration, OffsetDateTime};

use super::{command, finish, run, strong_users};
use crate::bed::Folder;

/// A folder, and the path of its file, whose `token` section has a leaf and this besides.
fn configured(token: &str) -> (Folder, String) {
    let folder = Folder::new();
    let leaf = "certificate: $DIR/leaf.crt\n  key: $DIR/leaf.key";
    let text = format!("token:\n  issuer: Acme\n  {leaf}\n  {token}\n{}acl: []\n", strong_users());
    let file = folder.configure(&text).to_str().unwrap().to_owned();
    (folder, file)
}

const OURS: &str = "authority: {certificate: $DIR/ca.crt, key: $DIR/ca.key, generate: true}";

fn leaf(folder: &Folder) -> SigningKey {
    let read = |name: &str| fs::read(folder.path(name)).unwrap();
    let pair = SigningKey::from_pem(&read("leaf.key"), &read("leaf.crt")).unwrap();
    pair.under(&Authority::from_pem(&read("ca.crt")).unwrap().0).unwrap()
}

#[test]
fn a_leaf_is_issued_where_the_authoritys_key_is() {
    let (folder, file) = configured(OURS);
    let first = run(["keys", "issue-leaf", &file]);
    assert_eq!((first.code, first.err.as_str()), (0, ""));
    assert!(first.out.contains("made an authority for tokens") && first.out.contains("a leaf that is valid until"));
    let (authority, made) = (fs::read(folder.path("ca.crt")).unwrap(), leaf(&folder));
    for key in ["ca.key", "leaf.key"] {
        assert_eq!(fs::metadata(folder.path(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
    }
    let second = run(["keys", "issue-leaf", &file]);
    assert_eq!(second.code, 0, "{}", second.err);
    assert!(!second.out.contains("made an authority"), "{}", second.out);
    assert_eq!(fs::read(folder.path("ca.crt")).unwrap(), authority);
    assert_ne!(leaf(&folder).certificates(), made.certificates());
    let checked = run(["check", &file]);
    assert_eq!((checked.code, checked.err.as_str()), (0, ""), "{}", checked.out);
    assert!(checked.out.ends_with("ok (2 users, 0 rules, signing with ES256)\n"), "{}", checked.out);

    // The same file where the key is not, and with it by a variable.
    let (elsewhere, file) = configured("authority: {certificate: $DIR/ca.crt}");
    for name in ["ca.crt", "ca.key"] {
        fs::copy(folder.path(name), elsewhere.path(name)).unwrap();
    }
    let without = run(["keys", "issue-leaf", &file]);
    assert!(without.code == 1 && without.err.contains("DOCKWARDEN__TOKEN__AUTHORITY__KEY"), "{}", without.err);
    let checked = run(["check", &file]);
    assert!(
        checked.code == 1 && checked.err.contains("token.certificate: there is no leaf of the authority here"),
        "{}",
        checked.err
    );
    let mut with = command(["keys", "issue-leaf", &file]);
    with.env("DOCKWARDEN__TOKEN__AUTHORITY__KEY", elsewhere.path("ca.key"));
    let with = finish(with, "");
    assert_eq!(with.code, 0, "{}", with.err);
    assert_eq!(run(["check", &file]).code, 0);
}

#[test]
fn nothing_is_issued_without_an_authority_or_over_anothers_pair() {
    let (_folder, file) = configured("generate: true");
    let none = run(["keys", "issue-leaf", &file]);
    assert!(none.code == 1 && none.err.contains("token.authority: there is no authority"), "{}", none.err);

    let (folder, file) = configured(OURS);
    let theirs = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/p256-sec1.key")).unwrap();
    fs::write(folder.path("leaf.key"), &theirs).unwrap();
    let refused = run(["keys", "issue-leaf", &file]);
    assert!(refused.code == 1 && refused.err.contains("it is not replaced"), "{}", refused.err);
    assert_eq!(fs::read(folder.path("leaf.key")).unwrap(), theirs);
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// The pair of an authority, with a change.
fn authority(change: impl FnOnce(&mut CertificateParams)) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "company");
    params.not_before = now() - Duration::days(1);
    params.not_after = now() + Duration::days(1000);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    change(&mut params);
    (params, KeyPair::generate().unwrap())
}

fn put(folder: &Folder, name: &str, pair: &GeneratedPair) {
    folder.put(&format!("{name}.crt"), &pair.certificate_pem);
    let key = folder.put(&format!("{name}.key"), &pair.key_pem);
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}

/// What `check` says of an authority whose leaf was issued by the command.
fn checked((params, key): (CertificateParams, KeyPair), server: bool) -> super::Run {
    let folder = Folder::new();
    let pair = GeneratedPair { key_pem: key.serialize_pem(), certificate_pem: params.self_signed(&key).unwrap().pem() };
    put(&folder, "ca", &pair);
    let tls = if server {
        "server:\n  addr: \"127.0.0.1:0\"\n  certificate: $DIR/tls.crt\n  key: $DIR/tls.key\n"
    } else {
        ""
    };
    if server {
        let own = KeyPair::generate().unwrap();
        let shown = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let shown = shown.signed_by(&own, &Issuer::from_params(&params, &key)).unwrap();
        put(&folder, "tls", &GeneratedPair { key_pem: own.serialize_pem(), certificate_pem: shown.pem() });
    }
    let authority = "authority:\n    certificate: $DIR/ca.crt\n    key: $DIR/ca.key";
    let leaf = "certificate: $DIR/leaf.crt\n  key: $DIR/leaf.key";
    let text = format!("{tls}token:\n  issuer: Acme\n  {leaf}\n  {authority}\n{}acl: []\n", strong_users());
    let file = folder.configure(&text).to_str().unwrap().to_owned();
    assert_eq!(run(["keys", "issue-leaf", &file]).code, 0);
    run(["check", &file])
}

/// Check 47's other half: what registries take, and should not have.
#[test]
fn check_warns_of_a_companys_authority() {
    let clean = checked(authority(|_| {}), false);
    assert!(clean.code == 0 && !clean.out.contains("warning:"), "{}", clean.out);
    let of_tls =
        checked(authority(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]), false);
    let servers = checked(authority(|_| {}), true);
    let ends = checked(authority(|params| params.not_after = now() + Duration::days(40)), false);
    for (said, expected) in [
        (of_tls, "config.yml:7: token.authority.certificate: CN=company signs certificates for TLS"),
        (
            servers,
            "config.yml:10: token.authority.certificate: this authority has also signed the certificate that server speaks",
        ),
        (ends, "config.yml:7: token.authority.certificate: CN=company is valid only until"),
    ] {
        assert!(said.code == 0 && said.out.contains(expected), "{expected}: {}{}", said.out, said.err);
    }
}

#[test]
fn what_is_wrong_with_the_section_has_its_line() {
    let two = "authority: {certificate: $DIR/ca.crt, key: $DIR/leaf.key}";
    let tomorrow = (now() + Duration::days(1)).date();
    let not_before = format!("not_before: {tomorrow}");
    for (token, expected) in [
        ("authority: {key: $DIR/ca.key}", "6: token.authority.certificate: the authority's certificate is needed"),
        (
            "authority: {certificate: $DIR/ca.crt, generate: true}",
            "6: token.authority.generate: an authority is made together with its key",
        ),
        ("authority: {certificate: $DIR/ca.crt, days: 3}", "6: token.authority.days: there is no such key"),
        (two, "5: token.authority: one file is named twice"),
        ("authority: {certificate: $DIR/nowhere.crt}", "6: token.authority.certificate: "),
        (not_before.as_str(), "6: token.not_before: this moment has not come"),
    ] {
        let (_folder, file) = configured(token);
        let said = run(["check", &file]);
        assert!(said.code == 1 && said.err.contains(&format!("{file}:{expected}")), "{token}: {}", said.err);
    }
    // A leaf has paths of its own, never the listener's.
    let folder = Folder::new();
    let file = folder.configure(
        "server: {addr: \"127.0.0.1:0\", certificate: $DIR/token.crt, key: $DIR/token.key}\ntoken: {issuer: Acme, authority: {certificate: $DIR/ca.crt}}\n",
    );
    let said = run(["check", file.to_str().unwrap()]);
    assert!(
        said.err.contains("token.certificate: with an authority, certificate and key name the leaf"),
        "{}",
        said.err
    );
    // A pair alone in the authority's place, and a leaf of nobody.
    let (folder, file) = configured("authority: {certificate: $DIR/ca.crt, key: $DIR/ca.key}");
    put(&folder, "ca", &generate(Algorithm::ES256, "alone", now()).unwrap());
    let said = run(["check", &file]);
    assert!(
        said.code == 1
            && said
                .err
                .contains(&format!("{file}:6: token.authority.certificate: the certificate of CN=alone is not marked")),
        "{}",
        said.err
    );
    put(&folder, "ca", &generate_authority(Algorithm::ES256, "top", now()).unwrap());
    put(&folder, "leaf", &generate(Algorithm::ES256, "mine", now()).unwrap());
    let said = run(["check", &file]);
    assert!(
        said.code == 1
            && said.err.contains(&format!(
                "{file}:4: token.certificate: the certificate of CN=mine is not from token.authority"
            )),
        "{}",
        said.err
    );
}

/// A file to start from: nothing is there yet, and nothing is made by looking at it.
#[test]
fn check_makes_nothing() {
    let (folder, file) = configured(&format!("{OURS}\n  generate: true"));
    let said = run(["check", &file]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.out.contains("a leaf, made at the start in"), "{}", said.out);
    assert!(
        said.out.contains("config.yml:7: token.generate: with an authority, no pair of its own is made"),
        "{}",
        said.out
    );
    assert!(["ca.crt", "ca.key", "leaf.crt", "leaf.key"].iter().all(|name| !folder.path(name).exists()));
}
