//! Beds: one server under test with a registry of each generation behind it.

use std::ops::Deref;
use std::sync::OnceLock;

use super::dockwarden::{self, Dockwarden};
use super::keys::{self, Kind, Pair};
use super::registry::{Edition, Registry};

/// The guide's policy, with static users in place of MongoDB. `boss` is the guide's full access to everything.
const GUIDE_ACL: &str = r#"
acl:
  - match: {name: "${labels:full-access}"}
    actions: ["*"]
    comment: "full access"
  - match: {name: "${labels:read-only-access}"}
    actions: ["pull"]
    comment: "pull access"
  - match: {name: "${labels:project}/${labels:group}-${labels:tier}"}
    actions: ["push", "pull"]
    comment: "Contrived multiple label match rule"
"#;

/// The guide's users and their labels, as YAML.
const GUIDE_USERS: [(&str, &str); 3] = [
    ("waldi", r#"{"full-access": ["test", "socke*"], "read-only-access": ["prod/*"]}"#),
    ("busy-guy", r#"{"group": ["web", "webdev"], "project": ["website", "api"], "tier": ["frontend", "backend"]}"#),
    ("boss", r#"{"full-access": ["*", "*/*"]}"#),
];

/// A server and both registries.
#[derive(Debug)]
pub(crate) struct Bed {
    /// The server under test.
    pub(crate) dockwarden: Dockwarden,
    registries: [Registry; 2],
}

impl Bed {
    /// Starts a bed whose registries trust the pair's own certificate.
    pub(crate) fn start(pair: &Pair, policy: &str) -> Self {
        Self::around(Dockwarden::start(&dockwarden::config(pair, "", policy)), pair)
    }

    /// Puts registries that trust the pair's own certificate behind a server that runs.
    pub(crate) fn around(dockwarden: Dockwarden, pair: &Pair) -> Self {
        let registries = Edition::ALL.map(|edition| Registry::start(edition, &dockwarden, &pair.certificate));
        Self { dockwarden, registries }
    }

    /// The registry of that generation.
    pub(crate) fn registry(&self, edition: Edition) -> &Registry {
        let [v2, v3] = &self.registries;
        match edition {
            Edition::V2 => v2,
            Edition::V3 => v3,
        }
    }
}

/// A bed that several tests share. It stays up until the run ends; a test that fails while it holds the bed shows
/// what the programs of the bed said.
#[derive(Debug)]
pub(crate) struct Shared(&'static Bed);

impl Shared {
    /// The bed in `cell`, started by the first test that comes.
    pub(crate) fn get(cell: &'static OnceLock<Bed>, start: impl FnOnce() -> Bed) -> Self {
        Self(cell.get_or_init(start))
    }
}

impl Deref for Shared {
    type Target = Bed;

    fn deref(&self) -> &Bed {
        self.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0.dockwarden.process.tail());
            for registry in &self.0.registries {
                eprintln!("{}", registry.process.tail());
            }
            return;
        }
        // Nobody drops the bed itself.
        self.0.dockwarden.process.keeps_secrets();
    }
}

/// The guide's users and rules.
pub(crate) fn guide_policy() -> String {
    dockwarden::users(&GUIDE_USERS) + GUIDE_ACL
}

/// The guide's setup: its users, its rules, and its key pair of 4096 bits with a version 1 certificate.
pub(crate) fn guide() -> Shared {
    static BED: OnceLock<Bed> = OnceLock::new();
    Shared::get(&BED, || Bed::start(&keys::as_in_the_guide(Kind::Rsa), &guide_policy()))
}
