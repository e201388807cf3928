//! Generated targets through our reading and through the real registries' own: what a registry asks a token for is what
//! we decide on.

use std::collections::{BTreeMap, BTreeSet};

use policy::target::Target;

use super::targets::{METHODS, target};
use crate::support::at_length;
use crate::support::dice::Dice;
use crate::support::http::Connection;
use crate::support::keys::{self, Kind};
use crate::support::registry::{Edition, Registry, Trust};
use crate::support::visit::challenge;

/// Targets that we accept, for each registry, and five times as many at length.
const CASES: usize = 10_000;
const SEED: u64 = 19_890_309;

/// What is needed of each resource.
type Needs = BTreeMap<String, BTreeSet<String>>;

fn united<'a>(scopes: impl Iterator<Item = (String, &'a str)>) -> Needs {
    let mut needs = Needs::new();
    for (resource, actions) in scopes {
        needs.entry(resource).or_default().extend(actions.split(',').map(str::to_owned));
    }
    needs
}

/// A method and a target that we accept, and what we would decide on.
fn accepted(dice: &mut Dice) -> (&'static str, String, Needs) {
    loop {
        let (method, target) = (dice.pick(METHODS), target(dice));
        let Ok(read) = Target::parse(&target) else { continue };
        if matches!(read, Target::Outside(_)) {
            continue;
        }
        let Ok(scopes) = read.scopes(method) else { continue };
        let texts: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        let needs = united(
            texts
                .iter()
                .filter_map(|text| text.rsplit_once(':').map(|(resource, actions)| (resource.to_owned(), actions))),
        );
        return (method, target, needs);
    }
}

#[test]
fn what_we_decide_on_is_what_the_registry_asks_for() {
    let trust = Trust::Bundle(keys::as_in_the_guide(Kind::P256).certificate);
    let mut dice = Dice(SEED);
    let cases: Vec<_> = (0..at_length(CASES)).map(|_| accepted(&mut dice)).collect();
    std::thread::scope(|scope| {
        for edition in Edition::ALL {
            let (trust, cases) = (&trust, &cases);
            scope.spawn(move || agree(edition, trust, cases));
        }
    });
}

fn agree(edition: Edition, trust: &Trust, cases: &[(&str, String, Needs)]) {
    let registry = Registry::start_with(edition, "http://localhost/auth", trust);
    let mut connection = Connection::open(&registry.address()).unwrap();
    let (mut asked, mut elsewhere, mut mounts) = (0, 0, 0);
    for (method, target, ours) in cases {
        let raw = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let reply = connection.send(raw.as_bytes()).unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        match reply.status {
            401 => {
                let theirs = challenge(&reply).scope;
                let theirs = united(theirs.split_whitespace().filter_map(|text| {
                    text.rsplit_once(':').map(|(resource, actions)| (resource.to_owned(), actions))
                }));
                assert_eq!(*ours, theirs, "{edition:?} {method} {target}");
                asked += 1;
                mounts += usize::from(theirs.len() > 1);
            }
            // It has no such route (referrers), or says where it is (`/v2`): nothing is served there.
            404 | 301 => elsewhere += 1,
            other => panic!("{edition:?} {method} {target}: {other} {}", reply.text()),
        }
    }
    assert!(
        asked > cases.len() / 2 && mounts > cases.len() / 100,
        "{edition:?}: {asked} asked, {mounts} of two, {elsewhere} nowhere"
    );
}
