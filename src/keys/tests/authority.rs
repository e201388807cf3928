//! Tests of authorities for tokens and their leaves: what registries take and refuse, and what stands in the files.

use std::sync::Barrier;

use rcgen::{
    BasicConstraints, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType,
};

use super::*;
use crate::keys::authority::AuthorityWarning;

/// A certificate and its key.
struct Made {
    key: KeyPair,
    params: CertificateParams,
    der: Vec<u8>,
}

impl Made {
    fn pem(&self) -> String {
        pem::write("CERTIFICATE", &self.der)
    }

    fn key_pem(&self) -> String {
        pem::write("PRIVATE KEY", self.key.serialized_der())
    }
}

/// Days around [`some_day`] in which a certificate is valid.
type Days = (i64, i64);

fn params(name: &str, (from, until): Days) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (some_day() + Duration::days(from), some_day() + Duration::days(until));
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name, (-1, 3650));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn self_signed(params: CertificateParams) -> Made {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Made { key, params, der }
}

fn signed(by: &Made, params: CertificateParams) -> Made {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let der = params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)).unwrap().der().to_vec();
    Made { key, params, der }
}

fn leaf(by: &Made) -> Made {
    signed(by, params("leaf", (-1, 29)))
}

fn authority(of: &[&Made]) -> Authority {
    let pem: String = of.iter().map(|made| made.pem()).collect();
    Authority::from_pem(pem.as_bytes()).unwrap_or_else(|problems| panic!("{problems:?}")).0
}

fn with(params: CertificateParams, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = params;
    change(&mut params);
    params
}

fn unknown_extension() -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    extension.set_criticality(true);
    extension
}

fn only_below(tree: &str) -> Option<NameConstraints> {
    Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(tree.to_owned())],
        excluded_subtrees: vec![],
    })
}

/// The table of what registries 2.8 and 3.1 were seen to do; `tests/real/leaves.rs` asks them again.
#[test]
fn a_chain_is_judged_as_registries_judge_it() {
    let top = self_signed(authority_params("top"));
    let narrow = self_signed(with(authority_params("narrow"), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    }));
    let without_usage = self_signed(with(authority_params("usual"), |params| params.key_usages.clear()));
    let between = signed(&top, authority_params("between"));
    let below_narrow = signed(&narrow, authority_params("between"));
    let no_mark = signed(&top, params("no mark", (-1, 3650)));
    let may_not =
        signed(&top, with(authority_params("may not"), |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]));
    let named =
        self_signed(with(authority_params("named"), |params| params.name_constraints = only_below("acme.test")));
    let san = |name: &str| vec![SanType::DnsName(name.try_into().unwrap())];
    let with_san = |by: &Made, name: &str| {
        signed(by, with(params("leaf", (-1, 29)), |params| params.subject_alt_names = san(name)))
    };
    let namesake = self_signed(authority_params("top"));
    let renewed = {
        let der = with(authority_params("top"), |params| params.not_after = some_day() + Duration::days(5000))
            .self_signed(&top.key);
        Made { key: KeyPair::generate().unwrap(), params: authority_params("top"), der: der.unwrap().der().to_vec() }
    };
    let any_usage = signed(
        &top,
        with(params("leaf", (-1, 29)), |params| {
            params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }),
    );
    let strange =
        signed(&top, with(params("leaf", (-1, 29)), |params| params.custom_extensions = vec![unknown_extension()]));
    let (of_top, of_between, of_narrow) = (leaf(&top), leaf(&between), leaf(&narrow));
    let (deep, of_no_mark, of_may_not, usual) =
        (leaf(&below_narrow), leaf(&no_mark), leaf(&may_not), leaf(&without_usage));
    let (inside, outside, nameless) = (with_san(&named, "a.acme.test"), with_san(&named, "acme.example"), leaf(&named));

    let good = "";
    let cases: &[(&str, &[&Made], &[&Made], &str)] = &[
        ("the leaf", &[&top], &[&of_top], good),
        ("with its authority", &[&top], &[&of_top, &top], good),
        ("with one between", &[&top], &[&of_between, &between], good),
        ("one between alone in the bundle", &[&between], &[&of_between], good),
        ("one between missing", &[&top], &[&of_between], "is not from token.authority"),
        ("pathlen 0", &[&narrow], &[&of_narrow], good),
        ("pathlen 0 and one between", &[&narrow], &[&deep, &below_narrow], "allows fewer certificates (pathlen)"),
        ("no keyUsage", &[&without_usage], &[&usual], good),
        ("one between without CA:TRUE", &[&top], &[&of_no_mark, &no_mark], "not marked as an authority"),
        ("one between without keyCertSign", &[&top], &[&of_may_not, &may_not], "no keyCertSign"),
        ("any usage, itself an authority", &[&top], &[&any_usage], good),
        ("a namesake's", &[&namesake], &[&of_top], "another key signed"),
        ("a namesake before it", &[&namesake, &top], &[&of_top], good),
        ("the authority renewed with its key", &[&renewed], &[&of_top], good),
        ("a name inside the constraints", &[&named], &[&inside], good),
        ("a name outside", &[&named], &[&outside], "acme.example) is outside the name constraints"),
        ("no name at all", &[&named], &[&nameless], good),
        ("an unknown critical extension", &[&top], &[&strange], "OID 1.3.6.1.4.1.99999.1"),
        ("somebody else's", &[&top], &[&usual], "is not from token.authority"),
        ("itself", &[&top], &[&top], good),
        ("nothing", &[&top], &[], "cannot be read"),
        ("too much", &[&top], &[&of_top, &top, &top, &top, &top, &top, &top], "7 certificates"),
    ];
    for (what, bundle, chain, expected) in cases {
        let chain: Vec<&[u8]> = chain.iter().map(|made| made.der.as_slice()).collect();
        match (authority(bundle).certifies(&chain), *expected) {
            (Ok(_), "") => {}
            (Err(problem), expected) if !expected.is_empty() => {
                let told = problem.to_string();
                assert!(told.contains(expected), "{what}: {told}");
            }
            (seen, _) => panic!("{what}: {seen:?}"),
        }
    }
    assert!(authority(&[&top]).certifies(&[b"no certificate"]).is_err());
}

#[test]
fn a_chain_is_valid_while_all_of_it_is() {
    let top = self_signed(with(authority_params("top"), |params| params.not_after = some_day() + Duration::days(10)));
    let window = authority(&[&top]).certifies(&[leaf(&top).der]).unwrap();
    let day = |days| some_day() + Duration::days(days);
    assert_eq!(window, Window { from: day(-1), until: day(10), authority_until: day(10) });
}

#[test]
fn an_authority_that_registries_refuse_is_refused_and_a_doubtful_one_is_named() {
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let ed25519 = pem::write("CERTIFICATE", authority_params("ed").self_signed(&ed25519).unwrap().der());
    let pair = generate(Algorithm::ES256, "a pair", some_day()).unwrap();
    let changed = |change: fn(&mut CertificateParams)| self_signed(with(authority_params("top"), change)).pem();
    for (what, pem, expected) in [
        ("our own pair", pair.certificate_pem, vec!["CA:TRUE", "no keyCertSign"]),
        (
            "no keyCertSign",
            changed(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign]),
            vec!["no keyCertSign"],
        ),
        ("Ed25519", ed25519, vec!["2.8 does not even start"]),
        (
            "an extension",
            changed(|params| params.custom_extensions = vec![unknown_extension()]),
            vec!["OID 1.3.6.1.4.1.99999.1"],
        ),
        (
            "all at once",
            changed(|params| {
                params.is_ca = IsCa::ExplicitNoCa;
                params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            }),
            vec!["CA:TRUE", "no keyCertSign"],
        ),
        ("nothing", String::new(), vec!["empty"]),
    ] {
        let problems = Authority::from_pem(pem.as_bytes()).expect_err(what);
        assert_eq!(problems.len(), expected.len(), "{what}: {problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.to_string().contains(expected), "{what}: {problem}");
        }
    }

    let top = self_signed(authority_params("top"));
    let public = &[
        (DnType::CountryName, "US"),
        (DnType::OrganizationName, "Internet Security Research Group"),
        (DnType::CommonName, "ISRG Root X1"),
    ];
    let public = self_signed(with(authority_params("top"), |params| {
        params.distinguished_name = DistinguishedName::new();
        for (kind, text) in public {
            let text = rcgen::string::PrintableString::try_from(*text).unwrap();
            params.distinguished_name.push(kind.clone(), rcgen::DnValue::PrintableString(text));
        }
    }));
    let isrg = "C=US, O=Internet Security Research Group, CN=ISRG Root X1".to_owned();
    let of_tls = changed(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let ends = |days| {
        self_signed(with(authority_params("top"), |params| params.not_after = some_day() + Duration::days(days)))
    };
    let name = || "CN=top".to_owned();
    let day = |days| super::day(some_day() + Duration::days(days));
    let ours = generate_authority(Algorithm::ES256, "Acme", some_day()).unwrap();
    for (what, pem, expected) in [
        ("ours", ours.certificate_pem, vec![]),
        ("an openssl one", top.pem(), vec![]),
        ("public", public.pem(), vec![AuthorityWarning::Public(isrg)]),
        ("for TLS", of_tls, vec![AuthorityWarning::ForTls(name())]),
        (
            "a company's",
            signed(&top, authority_params("below")).pem(),
            vec![AuthorityWarning::Below("CN=below".to_owned(), name())],
        ),
        ("soon over", ends(89).pem(), vec![AuthorityWarning::EndsSoon(name(), day(89))]),
        ("over", ends(-1).pem(), vec![AuthorityWarning::Ended(name(), day(-1))]),
    ] {
        let (authority, mut warnings) =
            Authority::from_pem(pem.as_bytes()).unwrap_or_else(|problems| panic!("{what}: {problems:?}"));
        warnings.extend(authority.warnings(some_day()));
        assert_eq!(warnings, expected, "{what}");
    }
}

fn issuing(made: &Made) -> IssuingAuthority {
    IssuingAuthority::from_pem(made.pem().as_bytes(), made.key_pem().as_bytes())
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[test]
fn a_leaf_lives_thirty_days_and_not_longer_than_its_authority() {
    let top = self_signed(authority_params("top"));
    for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::RS256] {
        let made = issuing(&top).leaf(algorithm, "Acme", some_day()).unwrap();
        let key = loaded(made.key_pem.as_bytes(), made.certificate_pem.as_bytes()).under(&authority(&[&top])).unwrap();
        assert_eq!(key.algorithm(), algorithm);
        assert_eq!(key.not_before(), some_day() - Duration::hours(1));
        assert_eq!(key.not_after(), some_day() + Duration::days(30));
        // At two thirds of its life, which began an hour ago.
        assert_eq!(key.renew_at(), Some(some_day() + Duration::days(20) - Duration::minutes(20)));
        let at = |days| key.warnings(some_day() + Duration::days(days));
        assert_eq!((at(0), at(20), at(22)), (vec![], vec![], vec![]));
        let end = day(key.not_after());
        assert_eq!((at(23), at(31)), (vec![KeyWarning::LeafEndsSoon(end.clone())], vec![KeyWarning::LeafEnded(end)]));
        assert_eq!(key.renewals(), []);
    }

    let short = self_signed(with(authority_params("top"), |params| params.not_after = some_day() + Duration::days(3)));
    let made = issuing(&short).leaf(Algorithm::ES256, "Acme", some_day()).unwrap();
    let key = loaded(made.key_pem.as_bytes(), made.certificate_pem.as_bytes()).under(&authority(&[&short])).unwrap();
    // The next one would end with the authority too: it is not renewed again and again until then.
    assert_eq!((key.not_after(), key.renew_at()), (some_day() + Duration::days(3), None));
    let ended = issuing(&short).leaf(Algorithm::ES256, "Acme", some_day() + Duration::days(3));
    assert!(matches!(ended, Err(LeafError::AuthorityEnded(_))));
}

/// An authority whose name and key are written in other ways than ours: the guide's, of version 1.
#[test]
fn leaves_are_issued_by_openssls_authorities_and_not_with_anothers_key() {
    let (certificate, key) = (file("guide-rsa4096.crt"), file("guide-rsa4096.key"));
    let issuing = IssuingAuthority::from_pem(&certificate, &key).unwrap_or_else(|problems| panic!("{problems:?}"));
    let begins = SigningKey::from_pem(&key, &certificate).unwrap().not_before();
    let made = issuing.leaf(Algorithm::ES256, "Acme", begins + Duration::days(1)).unwrap();
    let (authority, _) = Authority::from_pem(&certificate).unwrap();
    assert!(authority.has_signed(made.certificate_pem.as_bytes()).is_ok());

    let problems = IssuingAuthority::from_pem(&certificate, &file("p256-sec1.key")).err().unwrap();
    assert_eq!(problems, [AuthorityProblem::OthersKey("P-256".to_owned())]);
}

/// The four files of an authority and its leaf, in a folder of their own.
fn files_in(folder: &Path) -> LeafFiles {
    let at = |name: &str| folder.join(name);
    LeafFiles {
        authority_certificate: at("ca.crt"),
        authority_key: at("ca.key"),
        certificate: at("t.crt"),
        key: at("t.key"),
    }
}

fn put_authority(files: &LeafFiles, made: &Made) {
    fs::write(&files.authority_certificate, made.pem()).unwrap();
    fs::write(&files.authority_key, made.key_pem()).unwrap();
}

fn leaf_in(files: &LeafFiles) -> SigningKey {
    let (authority, _) = Authority::from_pem(&fs::read(&files.authority_certificate).unwrap()).unwrap();
    loaded(&fs::read(&files.key).unwrap(), &fs::read(&files.certificate).unwrap()).under(&authority).unwrap()
}

#[test]
fn a_leaf_is_made_where_it_is_needed_and_nobody_elses_pair_is_replaced() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let files = files_in(folder.path());
    assert!(matches!(files.issue(When::Needed, "Acme", some_day()), Err(LeafError::Unread { .. })), "no authority");
    assert_eq!(files.make_authority("Acme", some_day()).unwrap(), PairFiles::Made);
    let authority = fs::read(&files.authority_certificate).unwrap();
    assert_eq!(files.make_authority("Acme", some_day()).unwrap(), PairFiles::Found);
    assert_eq!(fs::read(&files.authority_certificate).unwrap(), authority, "never replaced");

    let issue = |when, day: i64| files.issue(when, "Acme", some_day() + Duration::days(day));
    let kid = || leaf_in(&files).kid(KidForm::Thumbprint).to_owned();
    assert_eq!(issue(When::Needed, 0).unwrap(), Issued::Made);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&files.key), mode(&files.certificate)), (0o600, 0o644));
    assert_eq!((mode(&files.authority_key), mode(&files.authority_certificate)), (0o600, 0o644));
    let first = kid();
    assert_eq!((issue(When::Needed, 19).unwrap(), kid()), (Issued::Found, first.clone()));
    assert_eq!(issue(When::Needed, 20).unwrap(), Issued::Made);
    let second = kid();
    assert_ne!(second, first);
    assert_eq!(issue(When::Always, 20).unwrap(), Issued::Made);
    let old_certificate = fs::read(&files.certificate).unwrap();
    assert_eq!(issue(When::Always, 20).unwrap(), Issued::Made);
    assert_ne!(kid(), second);

    // Stopped between the two files, and after the first of them.
    fs::write(&files.certificate, &old_certificate).unwrap();
    assert_eq!(issue(When::Needed, 20).unwrap(), Issued::Made);
    fs::remove_file(&files.certificate).unwrap();
    assert_eq!(issue(When::Needed, 20).unwrap(), Issued::Made);
    leaf_in(&files);

    // Somebody's own pair, for whatever it may be.
    let theirs = [file("p256-sec1.key"), file("p256.crt")];
    fs::write(&files.key, &theirs[0]).unwrap();
    fs::write(&files.certificate, &theirs[1]).unwrap();
    for when in [When::Needed, When::Always] {
        assert!(matches!(issue(when, 20), Err(LeafError::OthersPair(_))));
    }
    assert_eq!([&files.key, &files.certificate].map(|path| fs::read(path).unwrap()), theirs);
    // A leaf that openssl made is one of the authority's all the same.
    let top = self_signed(authority_params("top"));
    put_authority(&files, &top);
    let own = signed(&top, params("leaf", (-25, 5)));
    fs::write(&files.key, own.key_pem()).unwrap();
    fs::write(&files.certificate, own.pem()).unwrap();
    assert_eq!(issue(When::Needed, 0).unwrap(), Issued::Made);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "no drafts stay: {names:?}");
}

#[test]
fn what_stands_at_the_paths_is_judged_before_it_is_made_anew() {
    let top = self_signed(authority_params("top"));
    let trusted = authority(&[&top]);
    let made = issuing(&top).leaf(Algorithm::ES256, "Acme", some_day()).unwrap();
    let next = issuing(&top).leaf(Algorithm::ES256, "Acme", some_day()).unwrap();
    let alone = generate(Algorithm::ES256, "Acme", some_day()).unwrap();
    let theirs = (file("p256.crt"), file("p256-sec1.key"));
    let (of, key_of) = (
        |pair: &GeneratedPair| pair.certificate_pem.clone().into_bytes(),
        |pair: &GeneratedPair| pair.key_pem.clone().into_bytes(),
    );
    for (what, certificate, key, expected) in [
        ("nothing", None, None, "needed"),
        ("a leaf", Some(of(&made)), Some(key_of(&made)), "leaf"),
        ("halves of two leaves", Some(of(&made)), Some(key_of(&next)), "needed"),
        ("its certificate alone", Some(of(&made)), None, "needed"),
        ("its key alone", None, Some(key_of(&made)), "needed"),
        ("somebody's key alone", None, Some(theirs.1.clone()), "a key that was not made here"),
        ("our own pair", Some(of(&alone)), Some(key_of(&alone)), "is not from token.authority"),
        ("somebody's pair", Some(theirs.0.clone()), Some(theirs.1.clone()), "is not from token.authority"),
        ("a leaf with somebody's key", Some(of(&made)), Some(theirs.1.clone()), "does not belong to the key"),
        ("somebody's certificate alone", Some(theirs.0), None, "is not from token.authority"),
        ("no key", Some(of(&made)), Some(b"x".to_vec()), "holds no PEM block"),
    ] {
        let seen = match standing(certificate.as_deref(), key.as_deref(), &trusted) {
            Ok(Standing::Leaf(_)) => "leaf".to_owned(),
            Ok(Standing::Needed) => "needed".to_owned(),
            Err(problems) => problems.iter().map(ToString::to_string).collect(),
        };
        assert!(seen.contains(expected), "{what}: {seen}");
    }
}

/// Several replicas with one folder: one leaf, whose halves fit.
#[test]
fn many_who_make_a_leaf_at_once_end_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let files = files_in(folder.path());
    for round in 0..5 {
        let barrier = Barrier::new(8);
        let now = some_day() + Duration::days(25 * round);
        let made: usize = std::thread::scope(|scope| {
            let one = || {
                barrier.wait();
                files.make_authority("Acme", now).unwrap();
                usize::from(files.issue(When::Needed, "Acme", now).unwrap() == Issued::Made)
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(made, 1, "round {round}");
        leaf_in(&files);
    }
}

/// Whoever sends a token chooses its chain: certificates of one name that could stand in any order cost no more than a few.
#[test]
fn a_chain_of_strangers_is_not_tried_in_every_order() {
    let top = self_signed(authority_params("top"));
    let strangers: Vec<Vec<u8>> = {
        let key = KeyPair::generate().unwrap();
        let one = |serial: u8| with(authority_params("top"), |params| params.serial_number = Some(vec![serial].into()));
        (1..=6).map(|serial| one(serial).self_signed(&key).unwrap().der().to_vec()).collect()
    };
    let (judged, signatures) = authority(&[&top]).judge(&strangers);
    assert!(judged.is_err() && signatures <= 16, "{signatures} signatures");
    let one = authority(&[&top]).certifies(&[&leaf(&top).der, strangers.first().unwrap()]);
    assert!(one.is_ok(), "a stranger beside it does no harm: {one:?}");
}
