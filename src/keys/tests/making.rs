//! Tests of making pairs, in memory and as files.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Barrier;

use super::*;

#[test]
fn the_certificates_dates_warn_at_the_right_moments() {
    let made = generate(Algorithm::ES256, "auth.example.org", some_day()).unwrap();
    let key = loaded(made.key_pem.as_bytes(), made.certificate_pem.as_bytes());
    assert_eq!(key.not_before(), some_day() - Duration::hours(1));
    assert_eq!(key.not_after(), some_day() + Duration::days(3650));
    let (from, until) = (day(key.not_before()), day(key.not_after()));
    let second = Duration::seconds(1);
    for (moment, expected) in [
        (key.used_from() - second, vec![KeyWarning::NotYetValid(from)]),
        (key.used_from(), vec![]),
        (key.not_after() - Duration::days(30), vec![]),
        (key.not_after() - Duration::days(30) + second, vec![KeyWarning::ExpiresSoon(until.clone())]),
        (key.not_after(), vec![KeyWarning::ExpiresSoon(until.clone())]),
        (key.not_after() + second, vec![KeyWarning::Expired(until)]),
    ] {
        assert_eq!(key.warnings(moment), expected, "{moment}");
    }
}

#[test]
fn made_pairs_are_of_the_wanted_kind_and_name() {
    let long = "ü".repeat(80);
    for (algorithm, name, expected) in [
        (Algorithm::RS256, "auth.example.org", "CN=auth.example.org"),
        (Algorithm::ES256, " \n", "CN=Dockwarden"),
        (Algorithm::ES384, long.as_str(), &format!("CN={}", "ü".repeat(64))),
    ] {
        let made = generate(algorithm, name, some_day()).unwrap();
        let key = loaded(made.key_pem.as_bytes(), made.certificate_pem.as_bytes());
        assert_eq!(key.algorithm(), algorithm);
        let der = key.certificates().first().unwrap();
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).unwrap();
        assert_eq!(certificate.subject().to_string(), expected);
        assert!(certificate.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(!certificate.is_ca());
    }
    assert!(matches!(generate(Algorithm::HS256, "x", some_day()), Err(GenerateError::Algorithm(_))));
    let far = OffsetDateTime::from_unix_timestamp(253_402_300_799).unwrap();
    assert!(matches!(generate(Algorithm::ES256, "x", far), Err(GenerateError::Clock(_))));
}

#[test]
fn made_pairs_avoid_keys_whose_id_old_registries_compute_wrongly() {
    for _ in 0..300 {
        let made = generate(Algorithm::ES256, "x", some_day()).unwrap();
        let key = loaded(made.key_pem.as_bytes(), made.certificate_pem.as_bytes());
        assert_eq!(key.warnings(some_day()), []);
    }
}

fn create(key: &Path, certificate: &Path) -> Result<PairFiles, GenerateError> {
    create_pair(key, certificate, Algorithm::ES256, "auth.example.org", some_day())
}

fn read_pair(key: &Path, certificate: &Path) -> SigningKey {
    loaded(&fs::read(key).unwrap(), &fs::read(certificate).unwrap())
}

#[test]
fn a_missing_pair_is_made_once_for_its_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    let (key, certificate) = (directory.path().join("a/b/token.key"), directory.path().join("c/token.crt"));
    assert_eq!(create(&key, &certificate).unwrap(), PairFiles::Made);
    let first = read_pair(&key, &certificate).kid(KidForm::Libtrust).to_owned();
    assert_eq!(key_permission_warning(&key), None);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    for parent in [key.parent().unwrap(), certificate.parent().unwrap()] {
        assert_eq!(fs::read_dir(parent).unwrap().count(), 1, "no draft is left behind");
    }
    assert_eq!(create(&key, &certificate).unwrap(), PairFiles::Found);
    assert_eq!(read_pair(&key, &certificate).kid(KidForm::Libtrust), first);
}

#[test]
fn half_a_pair_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);

    fs::write(path("own.key"), file("p256-sec1.key")).unwrap();
    let error = create(&path("own.key"), &path("own.crt")).unwrap_err();
    assert!(matches!(error, GenerateError::CertificateMissing { .. }), "{error}");
    assert_eq!(fs::read(path("own.key")).unwrap(), file("p256-sec1.key"));

    fs::write(path("lone.crt"), file("p256.crt")).unwrap();
    let error = create(&path("lone.key"), &path("lone.crt")).unwrap_err();
    assert!(matches!(error, GenerateError::KeyMissing { .. }), "{error}");

    let error = create(&path("same"), &path("same")).unwrap_err();
    assert!(matches!(error, GenerateError::SameFile(_)), "{error}");

    let error = create(&path("own.key/token.key"), &path("x.crt")).unwrap_err();
    assert!(matches!(error, GenerateError::File { .. }), "{error}");

    let mut left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["lone.crt", "own.key"]);
}

#[test]
fn a_pair_that_was_interrupted_is_finished_with_the_same_key() {
    let directory = tempfile::tempdir().unwrap();
    let (key, certificate) = (directory.path().join("token.key"), directory.path().join("token.crt"));
    create(&key, &certificate).unwrap();
    let before = read_pair(&key, &certificate);
    fs::remove_file(&certificate).unwrap();
    assert_eq!(create(&key, &certificate).unwrap(), PairFiles::CertificateMade);
    assert_eq!(read_pair(&key, &certificate).kid(KidForm::Libtrust), before.kid(KidForm::Libtrust));
}

#[test]
fn starts_at_the_same_moment_end_with_one_matching_pair() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let (key, certificate) = (directory.path().join("token.key"), directory.path().join("token.crt"));
        let start = Barrier::new(4);
        let outcomes: Vec<PairFiles> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let outcome = create(&key, &certificate).unwrap();
                        (outcome, read_pair(&key, &certificate).kid(KidForm::Libtrust).to_owned())
                    })
                })
                .collect();
            let ended: Vec<_> = starts.into_iter().map(|start| start.join().unwrap()).collect();
            let ids: std::collections::BTreeSet<_> = ended.iter().map(|(_, id)| id.clone()).collect();
            assert_eq!(ids.len(), 1, "all use the same key");
            ended.into_iter().map(|(outcome, _)| outcome).collect()
        });
        let wrote = outcomes.iter().filter(|outcome| **outcome != PairFiles::Found).count();
        assert_eq!(wrote, 1, "one certificate was written: {outcomes:?}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "no draft is left behind");
    }
}

#[test]
fn keys_that_others_can_read_are_pointed_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token.key");
    fs::write(&path, "").unwrap();
    for (mode, words) in [
        (0o600, None),
        (0o400, None),
        (0o640, Some("its group")),
        (0o644, Some("everybody")),
        (0o604, Some("everybody")),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let warning = key_permission_warning(&path);
        match words {
            None => assert_eq!(warning, None, "{mode:o}"),
            Some(words) => assert!(warning.as_ref().is_some_and(|text| text.contains(words)), "{mode:o}: {warning:?}"),
        }
    }
    assert_eq!(key_permission_warning(&directory.path().join("missing")), None);
}
