//! The cache folder, what is refused in it, and the proof for the authority, without an authority.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer as _, EcPrivateKeyRfc5915Der};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rcgen::{CertificateParams, KeyPair};
use time::Duration;
use url::Url;

use super::*;
use crate::pem;

const HOST: &str = "auth.example.org";

fn settings(folder: &Path, authority: &str) -> Settings {
    Settings {
        host: HOST.to_owned(),
        email: "admin@example.org".to_owned(),
        cache_dir: folder.to_owned(),
        directory_url: Url::parse(authority).unwrap(),
        authorities: None,
    }
}

/// A pair in one text, key first, as docker_auth writes it; it is valid from the moment for so many days.
fn pair(name: &str, from: OffsetDateTime, days: i64) -> String {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.not_before, params.not_after) = (from, from + Duration::days(days));
    let certificate = params.self_signed(&key).unwrap();
    pem::write("PRIVATE KEY", key.serialized_der()) + &pem::write("CERTIFICATE", certificate.der())
}

fn some_day() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// The folder, below one that is not there yet.
fn folder(within: &tempfile::TempDir) -> PathBuf {
    within.path().join("state").join("acme")
}

#[test]
fn the_folder_is_its_owners_and_gives_back_what_is_kept_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder(&directory);
    let cache = Cache::new(&settings(&folder, "https://one.example.org/dir"));
    assert!(cache.certificate().unwrap().is_none() && cache.account_key().unwrap().is_none());
    cache.keep_certificate(&pair(HOST, some_day(), 90)).unwrap();
    let held = cache.certificate().unwrap().unwrap();
    assert_eq!((held.not_before, held.renew_at()), (some_day(), some_day() + Duration::days(60)));
    assert!(!held.is_elsewhere);
    assert_eq!((mode(&folder), mode(&folder.join(HOST))), (0o700, 0o600));

    // Whoever asks another authority shows it, and orders.
    let other = AcmeCertificate::open(settings(&folder, "https://two.example.org/dir"));
    assert_eq!(other.standing(), Standing::Shown(some_day() + Duration::days(90)));
    assert!(other.shown.held().unwrap().is_elsewhere);

    // docker_auth's files: nobody says who issued the certificate, and the account's key is written in another way.
    fs::write(folder.join(HOST), pair(HOST, some_day(), 30)).unwrap();
    assert!(cache.certificate().unwrap().is_some_and(|held| !held.is_elsewhere));
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let older: EcPrivateKeyRfc5915Der<'_> = key.private_key().as_der().unwrap();
    fs::write(folder.join("acme_account+key"), pem::write("EC PRIVATE KEY", older.as_ref())).unwrap();
    let read = cache.account_key().unwrap().unwrap();
    assert_eq!(read.secret_pkcs8_der(), key.to_pkcs8v1().unwrap().as_ref());
    cache.keep_account_key(&read).unwrap();
    assert_eq!(cache.account_key().unwrap(), Some(read));

    // One of them orders at a time.
    let leave = cache.lock().unwrap();
    assert!(leave.is_some() && cache.lock().unwrap().is_none());
    drop(leave);
    assert!(cache.lock().unwrap().is_some());
}

#[test]
fn what_is_kept_and_of_no_use_is_named_and_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder(&directory);
    fs::create_dir_all(&folder).unwrap();
    let settings = settings(&folder, "https://one.example.org/dir");
    let cache = Cache::new(&settings);
    let (own, other) = (pair(HOST, some_day(), 90), pair(HOST, some_day(), 90));
    let [key, certificate] = [&own, &other].map(|pair| pair.split_once("-----BEGIN CERTIFICATE").unwrap());
    for (content, piece) in [
        (pair("other.example.org", some_day(), 90), "it is not for auth.example.org"),
        (format!("{}-----BEGIN CERTIFICATE{}", key.0, certificate.1), "the key does not belong to the certificate"),
        (key.0.to_owned(), "certificate"),
        ("Zq7XvCanary9Kd".to_owned(), "PEM"),
    ] {
        fs::write(folder.join(HOST), &content).unwrap();
        let problem = cache.certificate().unwrap_err();
        assert!(problem.contains(piece) && problem.contains("acme/auth.example.org: "), "{problem}");
        assert!(!problem.contains("Zq7XvCanary9Kd"), "{problem}");
        assert_eq!(AcmeCertificate::open(settings.clone()).standing(), Standing::Missing, "{piece}");
    }
    fs::write(folder.join("acme_account+key"), "Zq7XvCanary9Kd").unwrap();
    let problem = cache.account_key().unwrap_err();
    assert!(problem.contains("this is no key on P-256") && !problem.contains("Zq7XvCanary9Kd"), "{problem}");
}

#[tokio::test]
async fn a_proof_is_shown_while_it_is_asked_for_by_whoever_shares_the_folder_and_for_the_name_alone() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&folder(&directory), "https://one.example.org/dir");
    let (orders, shares) = (AcmeCertificate::open(settings.clone()), AcmeCertificate::open(settings.clone()));
    let proof = challenge::proof(HOST, &[7; 32]).unwrap();
    {
        let _answering = orders.challenge.begin(&proof).unwrap();
        orders.cache.keep_challenge(&proof).unwrap();
        for replica in [&orders, &shares] {
            let answer = replica.answer("AUTH.example.org").await.unwrap();
            assert_eq!(answer.alpn_protocols, [CHALLENGE_PROTOCOL]);
            assert!(replica.answer("other.example.org").await.is_none());
        }
    }
    orders.cache.forget_challenge();
    // Another replica that is started now: what was found is remembered for half a second.
    for replica in [&orders, &AcmeCertificate::open(settings)] {
        assert!(replica.answer(HOST).await.is_none());
    }
    let block = pem::blocks(proof.as_bytes(), pem::PairFile::Certificate).unwrap().pop().unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&block.der).unwrap();
    let own = certificate.extensions().iter().find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
    let own = own.unwrap();
    // An octet string of 32 bytes (RFC 8737, section 3).
    assert!(own.critical && own.value == [&[4, 32][..], &[7; 32]].concat(), "{own:?}");
}
