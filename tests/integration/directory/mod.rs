//! The directory: the labels that it gives, the standard rules over them, and the logins of its services.

mod accounts;
mod config;
mod kept;
mod logins;
mod named;
mod odd_names;
mod refusals;
mod standard;

use crate::bed::{ALICE_HASH, BOB_HASH, Bed, Caller};

/// The registries, groups, users, apps and services of the reference's checks. All users have Alice's password, `web@n1` has it
/// as well, and the other services have Bob's.
pub(crate) const DIRECTORY: &str = r#"
registries:
  reg: {url: "http://127.0.0.1:5000", restricted: false, publications: [dev], responsibles: [ops]}
  vault: {url: "https://vault.example.org", restricted: true, publications: [dev, ops], responsibles: [ops]}
directory:
  groups: {dev: {id: 10}, ops: {id: 20}, fin: {id: 30}}
  users:
    ann: {id: 1, groups: [dev], privileges: [puller, pusher]}
    bob: {id: 2, groups: [dev], privileges: [DockerRegistriesPuller]}
    cat: {id: 3, groups: [dev, "20"], privileges: [puller, pusher, manager]}
    dan: {id: 4, privileges: [puller, pusher]}
    eve: {id: 5, groups: [dev]}
  apps:
    web: {id: 100, responsibles: [dev], publications: [dev]}
    bank: {id: 101, responsibles: [fin], publications: [dev]}
  services:
    "web@n1": {app: web, secrets: ["$ALICE"]}
    "web@n2": {app: web, secrets: ["$BOB"]}
    "bank@n1": {app: "101", secrets: ["$BOB"]}
"#;

/// A configuration around [`DIRECTORY`].
pub(crate) fn opensvc() -> String {
    let users: String =
        ["ann", "bob", "cat", "dan", "eve"].map(|name| format!("  {name}: {{password: \"{ALICE_HASH}\"}}\n")).concat();
    let directory = DIRECTORY.replace("$ALICE", ALICE_HASH).replace("$BOB", BOB_HASH);
    format!("users:\n{users}acl: []\nstandard_rules: opensvc\n{directory}")
}

/// Somebody of the directory, by the right password.
pub(crate) fn person(name: &'static str) -> Caller {
    Caller::Account(name, if name == "bank@n1" || name == "web@n2" { "bob-pw" } else { "alice-pw" })
}

/// Has the records ready, and what they have of the directory read.
pub(crate) async fn ready(bed: &Bed) {
    bed.app.prepare().await.unwrap();
    bed.app.snapshot().access.directory().unwrap().read_again().await.unwrap();
}

/// What is granted of one scope at a registry, as the token says it: `pull,push`, or nothing.
pub(crate) async fn granted(bed: &Bed, who: &'static str, scope: &str, service: &str) -> String {
    let reply = bed.get(&format!("/auth?service={service}&scope={scope}")).by(person(who)).send().await.ok();
    let access = reply.access();
    let [entry] = access.as_slice() else { panic!("{access:?}") };
    entry.rsplit(':').next().unwrap().to_owned()
}
