//! Leaves under an authority for tokens with real registries: rolled under load, judged by `check`, and taken back when a key was
//! stolen.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::dockwarden::{self, Dockwarden, SERVICE, users};
use crate::support::keys::Pair;
use crate::support::process::until;
use crate::support::registry::{Edition, Registry};
use crate::support::{canary, http, number, part, scratch, visit};

/// How often the leaf is rolled under load. `DOCKWARDEN_ROLLS=50` is the long run.
const ROLLS: usize = 5;
/// The clients of each registry at once.
const CLIENTS: usize = 2;
/// How long the steps of the runbook may take that we do, registries' starts included.
const RUNBOOK: Duration = Duration::from_secs(60);

/// The files of an authority and its leaf in one folder.
struct Files(PathBuf);

impl Files {
    fn new() -> Files {
        Files(scratch::directory("leaves"))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn leaf(&self) -> Pair {
        Pair { certificate: self.at("token.crt"), key: self.at("token.key") }
    }

    /// A server with an authority and what more the `token` section says.
    fn config(&self, authority: &str, more: &str) -> String {
        let (certificate, key) = (self.at(&format!("{authority}.crt")), self.at(&format!("{authority}.key")));
        let (certificate, key) = (certificate.display(), key.display());
        let authority =
            format!("  authority: {{certificate: \"{certificate}\", key: \"{key}\", generate: true}}\n{more}");
        let door = format!("forward_auth: {{trusted_proxies: [127.0.0.1], service: \"{SERVICE}\"}}\n");
        dockwarden::config(&self.leaf(), &authority, &(policy() + &door))
    }
}

fn policy() -> String {
    users(&[("waldi", "{}")]) + "acl: [{match: {account: waldi}, actions: [\"*\"]}]\n"
}

fn token(server: &Dockwarden) -> String {
    visit::token(&server.realm(), SERVICE, "waldi", &["repository:test:pull,push"])
}

fn taken(registry: &Registry, token: &str) -> bool {
    match visit::call(registry, Some(token), "POST", "/v2/test/blobs/uploads/", b"").status {
        202 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

/// Whether our own door takes it.
fn passes(server: &Dockwarden, token: &str) -> bool {
    let authorization = format!("Bearer {token}");
    let headers: &[(&str, &str)] =
        &[("Authorization", &authorization), ("X-Original-Method", "GET"), ("X-Original-URI", "/v2/test/manifests/v1")];
    let reply = http::exchange(&server.address, &http::request("GET", "/forward_auth", &server.host(), headers, b""));
    match reply.status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

fn kid(token: &str) -> String {
    visit::header(token)["kid"].as_str().unwrap().to_owned()
}

fn issue_leaf(config: &Path) {
    let said = part::run(part::command_at(dockwarden::program()).args(["keys", "issue-leaf"]).arg(config)).well();
    assert!(said.stdout.contains("a leaf that is valid until"), "{}", said.text);
}

/// Check 44, and 45 beside it.
#[test]
fn the_leaf_rolls_under_load_and_no_token_is_refused() {
    let files = Files::new();
    let server = Dockwarden::start(&files.config("ca", ""));
    canary::is_secret(&files.at("ca.key"));
    canary::is_secret(&files.at("token.key"));
    let registries = Edition::ALL.map(|edition| Registry::start(edition, &server, &files.at("ca.crt")));
    let (over, refused, asked) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let rolls = number("DOCKWARDEN_ROLLS", ROLLS);
    thread::scope(|scope| {
        for registry in &registries {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut before = token(&server);
                    while !over.load(Ordering::Relaxed) {
                        let now = token(&server);
                        // The one before is often of the leaf before.
                        for token in [&now, &before] {
                            asked.fetch_add(1, Ordering::Relaxed);
                            let good = taken(registry, token) && passes(&server, token);
                            refused.fetch_add(usize::from(!good), Ordering::Relaxed);
                        }
                        before = now;
                    }
                });
            }
        }
        let first = token(&server);
        for _ in 0..rolls {
            let before = kid(&token(&server));
            issue_leaf(&server.config);
            until("tokens by the new leaf", || (kid(&token(&server)) != before).then_some(()));
        }
        over.store(true, Ordering::Relaxed);
        assert!(registries.iter().all(|registry| taken(registry, &first)) && passes(&server, &first), "the oldest");
    });
    println!(
        "{rolls} leaves, {} tokens shown, {} refused",
        asked.load(Ordering::Relaxed),
        refused.load(Ordering::Relaxed)
    );
    assert_eq!(refused.load(Ordering::Relaxed), 0);
    assert!(asked.load(Ordering::Relaxed) > 10 * rolls, "there was no load");
    let changed = |log: &str| log.matches("\"reason\":\"leaf_changed\"").count();
    let log =
        server.process.until("a line for each leaf", |process| Some(process.log()).filter(|log| changed(log) >= rolls));
    assert_eq!(changed(&log), rolls, "{log}");
    assert!(!log.contains("signing_pair_changed"), "{log}");
}

/// A certificate, its key, and what it was made of.
struct Made {
    key: KeyPair,
    params: CertificateParams,
    pem: String,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(3600);
    params.not_after = OffsetDateTime::now_utc() + Duration::from_secs(200 * 24 * 3600);
    params
}

fn authority(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    change(&mut params);
    params
}

fn alone(params: CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    Made { key, params, pem }
}

fn below(top: &Made, params: CertificateParams) -> Made {
    let key = KeyPair::generate().unwrap();
    let pem = params.signed_by(&key, &Issuer::from_params(&top.params, &top.key)).unwrap().pem();
    Made { key, params, pem }
}

fn strange() -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
    extension.set_criticality(true);
    extension
}

fn constraints(tree: GeneralSubtree) -> Option<NameConstraints> {
    Some(NameConstraints { permitted_subtrees: vec![tree], excluded_subtrees: vec![] })
}

/// Whether a leaf's tokens are taken by registries of each generation with this bundle; a registry that does not start takes none.
fn judged(server: &Dockwarden, bundle: &Path) -> Vec<bool> {
    let token = token(server);
    Edition::ALL.map(|edition| taken(&Registry::start(edition, server, bundle), &token)).to_vec()
}

/// Check 47: `check` refuses what both registries refuse, and nothing that they take.
#[test]
fn what_check_says_of_a_leaf_is_what_registries_do() {
    let top = alone(authority("top", |_| {}));
    let narrow = alone(authority("narrow", |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))));
    let plain = alone(params("plain"));
    let no_sign = alone(authority("no sign", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]));
    let odd = alone(authority("odd", |params| params.custom_extensions = vec![strange()]));
    let named = alone(authority("named", |params| {
        params.name_constraints = constraints(GeneralSubtree::DnsName("acme.test".into()))
    }));
    let of_names = alone(authority("of names", |params| {
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, DnValue::Utf8String("Acme".to_owned()));
        params.name_constraints = constraints(GeneralSubtree::DirectoryName(name));
    }));
    let (between, below_narrow) =
        (below(&top, authority("between", |_| {})), below(&narrow, authority("between", |_| {})));
    let no_mark = below(&top, params("no mark"));
    let leaf = |by: &Made| below(by, params("leaf"));
    let called = |by: &Made, name: &str| {
        let mut params = params("leaf");
        params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        below(by, params)
    };
    let mut odd_leaf = params("leaf");
    odd_leaf.custom_extensions = vec![strange()];
    let odd_leaf = below(&top, odd_leaf);
    let good = "signing with ES256";
    let cases: Vec<(&Made, Made, Option<&Made>, &str)> = vec![
        (&top, leaf(&top), None, good),
        (&top, leaf(&between), Some(&between), good),
        (&top, leaf(&between), None, "is not from token.authority"),
        (&narrow, leaf(&narrow), None, good),
        (&narrow, leaf(&below_narrow), Some(&below_narrow), "(pathlen)"),
        (&plain, leaf(&plain), None, "CA:TRUE"),
        (&top, leaf(&no_mark), Some(&no_mark), "CA:TRUE"),
        (&no_sign, leaf(&no_sign), None, "no keyCertSign"),
        (&odd, leaf(&odd), None, "that is marked critical"),
        (&top, odd_leaf, None, "that is marked critical"),
        (&named, called(&named, "a.acme.test"), None, good),
        (&named, called(&named, "acme.example"), None, "outside the name constraints"),
        (&of_names, called(&of_names, "acme.test"), None, "of a kind that registries do not know"),
        (&top, leaf(&plain), None, "is not from token.authority"),
    ];
    for (top, leaf, between, expected) in cases {
        let directory = scratch::directory("judged");
        let bundle = scratch::write(&directory, "ca.crt", &top.pem);
        let chain = format!("{}{}", leaf.pem, between.map_or("", |between| &between.pem));
        let certificate = scratch::write(&directory, "leaf.crt", &chain);
        let key = scratch::write(&directory, "leaf.key", &leaf.key.serialize_pem());
        canary::is_secret(&key);
        part::run(part::client("chmod").arg("600").arg(&key)).well();
        let pair = Pair { certificate, key };
        let authority = format!("  authority: {{certificate: \"{}\"}}\n", bundle.display());
        let config = scratch::write(&directory, "checked.yml", &dockwarden::config(&pair, &authority, &policy()));
        let said = part::run(part::command_at(dockwarden::program()).arg("check").arg(&config));
        let is_good = expected == good;
        assert_eq!(said.success, is_good, "{expected}: {}", said.text);
        assert!(said.text.contains(expected), "{expected}: {}", said.text);
        // Without the section, anything signs that can.
        let server = Dockwarden::start(&dockwarden::config(&pair, "", &policy()));
        assert_eq!(judged(&server, &bundle), [is_good; 2], "{expected}");
    }
}

/// The steps of docs/how-to/stolen-key.md, with its steps in their order.
#[test]
fn a_stolen_key_is_shut_out_by_the_runbook() {
    let files = Files::new();
    let server = Dockwarden::start(&files.config("ca", ""));
    let old_bundle = files.at("ca.crt");
    let before = Edition::ALL.map(|edition| Registry::start(edition, &server, &old_bundle));
    // Whoever has the leaf's key makes tokens for whom they like.
    let stolen = scratch::directory("stolen");
    let copy = |name: &str| {
        let to = stolen.join(name);
        fs::copy(files.at(name), &to).unwrap();
        to
    };
    let pair = Pair { certificate: copy("token.crt"), key: copy("token.key") };
    let thief = Dockwarden::start(&dockwarden::config(&pair, "", &policy()));
    let forged = token(&thief);
    assert!(
        before.iter().all(|registry| taken(registry, &forged)) && passes(&server, &forged),
        "that is what it is about"
    );
    let honest = token(&server);

    let began = Instant::now();
    let moment = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap();
    let config = fs::read_to_string(&server.config).unwrap();
    let ports = config.replace("ca.crt", "ca2.crt").replace("ca.key", "ca2.key");
    fs::write(&server.config, ports.replace("  issuer:", &format!("  not_before: \"{moment}\"\n  issuer:"))).unwrap();
    issue_leaf(&server.config);
    until("tokens by a leaf of the new authority", || {
        let chain = visit::header(&token(&server))["x5c"].as_array().unwrap().clone();
        let known = visit::header(&honest)["x5c"].as_array().unwrap().clone();
        (chain != known).then_some(())
    });
    let doors = began.elapsed();
    for (whose, token) in [("forged", &forged), ("from before", &honest), ("forged now", &token(&thief))] {
        assert!(!passes(&server, token), "{whose}: our doors, at once");
    }
    drop(before);
    let after = Edition::ALL.map(|edition| Registry::start(edition, &server, &files.at("ca2.crt")));
    let registries = began.elapsed();
    for registry in &after {
        assert!(!taken(registry, &forged) && !taken(registry, &token(&thief)), "registries, once started anew");
        assert!(taken(registry, &token(&server)));
    }
    assert!(passes(&server, &token(&server)));
    println!("a stolen key shut out: at our doors after {doors:?}, at registries after {registries:?}");
    assert!(registries < RUNBOOK, "{registries:?}");
}

#[test]
fn a_leaf_that_is_two_thirds_over_is_renewed_while_it_serves() {
    let files = Files::new();
    let top = alone(authority("top", |_| {}));
    let mut old = params("old");
    old.not_before = OffsetDateTime::now_utc() - Duration::from_secs(21 * 24 * 3600);
    old.not_after = OffsetDateTime::now_utc() + Duration::from_secs(9 * 24 * 3600);
    let old = below(&top, old);
    for (name, text) in [
        ("ca.crt", &top.pem),
        ("ca.key", &top.key.serialize_pem()),
        ("token.crt", &old.pem),
        ("token.key", &old.key.serialize_pem()),
    ] {
        scratch::write(&files.0, name, text);
    }
    let server = Dockwarden::start(&files.config("ca", ""));
    let registry = Registry::start(Edition::V3, &server, &files.at("ca.crt"));
    let log = server.process.until("the new leaf", |process| {
        let log = process.log();
        log.contains("\"reason\":\"leaf_changed\"").then_some(log)
    });
    assert!(!log.contains("leaf_not_renewed"), "{log}");
    assert_ne!(fs::read_to_string(files.at("token.crt")).unwrap(), old.pem);
    let token = token(&server);
    assert!(taken(&registry, &token) && passes(&server, &token));
}
