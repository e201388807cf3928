//! A signing pair that is replaced while registries run: who goes on, who does not, and what is said.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::dockwarden::{Dockwarden, SERVICE, config, users};
use crate::support::keys::{self, Kind, Pair};
use crate::support::registry::{Edition, Registry};
use crate::support::{scratch, visit};

/// The files that a program like certbot keeps up to date.
struct Live(Pair);

impl Live {
    fn with(pair: &Pair) -> Live {
        let directory = scratch::directory("live");
        let live = Live(Pair { certificate: directory.join("fullchain.pem"), key: directory.join("privkey.pem") });
        live.renew(pair);
        live
    }

    /// Puts another pair in the place of the one that is there.
    fn renew(&self, pair: &Pair) {
        for (from, to) in [(&pair.key, &self.0.key), (&pair.certificate, &self.0.certificate)] {
            let beside = to.with_extension("new");
            fs::copy(from, &beside).unwrap();
            fs::rename(beside, to).unwrap();
        }
    }
}

fn bundle(certificates: &[&Path]) -> PathBuf {
    let text: String = certificates.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    scratch::write(&scratch::directory("bundle"), "bundle.pem", &text)
}

fn policy() -> String {
    users(&[("waldi", "{}")]) + "acl: [{match: {account: waldi}, actions: [\"*\"]}]\n"
}

/// Whether a registry takes a token that is given now.
fn taken(registry: &Registry, dockwarden: &Dockwarden) -> bool {
    let token = visit::token(&dockwarden.realm(), SERVICE, "waldi", &["repository:test:pull,push"]);
    match visit::call(registry, Some(&token), "POST", "/v2/test/blobs/uploads/", b"").status {
        202 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

/// The line that says so.
fn told(dockwarden: &Dockwarden) -> Value {
    dockwarden.process.until("the line of the changed pair", |process| {
        let lines = process.log();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| line["reason"] == "signing_pair_changed")
    })
}

/// A server that signs with `old` and then with `new`, and whether registries of both generations take its tokens before and
/// after, which were started before with this bundle.
fn roll(old: &Pair, new: &Pair, bundle: &Path) -> (Dockwarden, Vec<(bool, bool)>) {
    let live = Live::with(old);
    let dockwarden = Dockwarden::start(&config(&live.0, "", &policy()));
    let registries = Edition::ALL.map(|edition| Registry::start(edition, &dockwarden, bundle));
    let before = registries.each_ref().map(|registry| taken(registry, &dockwarden));
    live.renew(new);
    told(&dockwarden);
    let after = registries.each_ref().map(|registry| taken(registry, &dockwarden));
    (dockwarden, before.into_iter().zip(after).collect())
}

fn kid(pair: &Pair) -> String {
    let server = Dockwarden::start(&config(pair, "", &policy()));
    let token = visit::token(&server.realm(), SERVICE, "waldi", &[]);
    visit::header(&token)["kid"].as_str().unwrap().to_owned()
}

#[test]
fn a_renewed_pair_is_refused_by_registries_that_run_and_both_keys_are_named() {
    let [old, new] = [(), ()].map(|()| keys::as_in_the_guide(Kind::P256));
    let (dockwarden, taken) = roll(&old, &new, &old.certificate);
    assert_eq!(taken, [(true, false); 2]);
    let line = told(&dockwarden);
    assert_eq!(line["level"], "WARN");
    assert_eq!((line["kid.before"].as_str().unwrap(), line["kid.now"].as_str().unwrap()), (&*kid(&old), &*kid(&new)));
    assert!(line["message"].as_str().unwrap().contains("refuses every token until its bundle"), "{line}");
}

/// As docs/how-to/rotate-key.md says how to do it.
#[test]
fn with_both_certificates_or_their_authority_in_the_bundle_nobody_has_to_restart() {
    let [old, new] = [(), ()].map(|()| keys::as_in_the_guide(Kind::P256));
    let (_, taken) = roll(&old, &new, &bundle(&[&old.certificate, &new.certificate]));
    assert_eq!(taken, [(true, true); 2], "both certificates");
    let ([old, new], authority) = keys::two_under_an_authority();
    let (_, taken) = roll(&old, &new, &authority);
    assert_eq!(taken, [(true, true); 2], "their authority's");
}

/// A certificate is not taken for its key: certbot's `--reuse-key` is no way round.
#[test]
fn another_certificate_of_the_same_key_has_to_be_in_the_bundle_too() {
    let guides = keys::as_in_the_guide(Kind::P256);
    let as_certbots = keys::with_another_certificate(&guides);
    for old in [guides, as_certbots] {
        let new = keys::with_another_certificate(&old);
        let (dockwarden, taken) = roll(&old, &new, &old.certificate);
        assert_eq!(taken, [(true, false); 2]);
        let line = told(&dockwarden);
        assert_eq!(line["kid.before"], line["kid.now"]);
        assert!(line["message"].as_str().unwrap().contains("another certificate of the same key"), "{line}");
        let (_, taken) = roll(&old, &new, &bundle(&[&old.certificate, &new.certificate]));
        assert_eq!(taken, [(true, true); 2]);
    }
}
