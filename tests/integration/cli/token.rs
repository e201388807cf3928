//! `dockwarden token` and `user sign-out`, beside a server that serves from the same records.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use super::{Run, run};
use crate::bed::{ALICE_HASH, BOB_HASH, Bed};

const LASTING: &str = "records: {sqlite: $DIR/dockwarden.db}\nlasting: {longest: 400d}\n";

/// A server, and the path of its file.
fn served() -> (Bed, String) {
    let bed = Bed::with(LASTING);
    let file = bed.folder.path("config.yml").to_str().unwrap().to_owned();
    (bed, file)
}

/// Runs `token ACTION CONFIG …`; `words` are the rest, without a space in one of them.
fn token(action: &str, file: &str, words: &str) -> Run {
    run(["token", action, file].into_iter().chain(words.split_whitespace()))
}

/// The secret that a command printed, alone; and its id, from what stands on standard error.
fn handed(run: &Run) -> (String, String) {
    assert_eq!(run.code, 0, "{}", run.err);
    let secret = run.out.strip_suffix('\n').unwrap().to_owned();
    assert!(secret.len() == 40 && secret.starts_with("dw") && !secret.contains('\n'), "{secret}");
    assert!(!run.err.contains(&secret) && run.err.contains("shown this once"), "{}", run.err);
    (secret, run.err.split(':').next().unwrap().to_owned())
}

fn listed(file: &str, words: &str) -> Vec<Value> {
    let run = token("list", file, &format!("--json {words}"));
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    serde_json::from_str::<Value>(&run.out).unwrap()["tokens"].as_array().unwrap().clone()
}

fn word(kept: &Value, key: &str) -> String {
    kept[key].as_str().unwrap().to_owned()
}

async fn status(bed: &Bed, account: &str, secret: &str) -> u16 {
    bed.get("/auth?service=registry&scope=repository:web/app:pull").basic(account, secret).send().await.status
}

#[tokio::test]
async fn a_secret_is_made_used_renewed_and_revoked_while_the_server_runs() {
    let (bed, file) = served();
    let limits = "--allow repository:web/*:pull --from 192.0.2.0/24 --service registry --not-before 2020-01-31";
    let (secret, id) =
        handed(&token("create", &file, &format!("--account alice --name laptop --expires 90d {limits}")));
    assert!(secret.starts_with("dwp_"));
    let reply = bed.get("/auth?service=registry&scope=repository:web/app:pull,push").basic("alice", &secret);
    assert_eq!(reply.send().await.ok().access(), ["repository:web/app:pull"], "check 19");
    bed.app.snapshot().access.lasting().unwrap().write_uses().await.unwrap();

    let all = listed(&file, "");
    assert_eq!(all.len(), 1);
    let kept = &all[0];
    for (key, value) in
        [("id", id.as_str()), ("kind", "personal"), ("account", "alice"), ("name", "laptop"), ("state", "active")]
    {
        assert_eq!(kept[key], value, "{key} in {kept}");
    }
    assert_eq!(kept["last4"], secret[36..]);
    assert_eq!(
        (&kept["last_used"]["network"], &kept["allow"][0]),
        (&"192.0.2.0/24".into(), &"repository:web/*:pull".into())
    );
    for words in ["--json", ""] {
        let shown = token("show", &file, &format!("{id} {words}"));
        assert_eq!((shown.code, shown.err.as_str()), (0, ""));
        assert!(shown.out.contains("laptop") && shown.out.contains(&id) && !shown.out.contains(&secret[4..34]));
    }
    let lines = token("list", &file, "--account alice").out;
    assert!(lines.starts_with(&format!("{id}  active")) && lines.contains("ends 20"), "{lines}");

    let (renewed, same) = handed(&token("renew", &file, &format!("{id} --expires 2027-01-31")));
    assert_eq!((same == id, listed(&file, "")[0]["expires"].as_str()), (true, Some("2027-02-01T00:00:00Z")));
    assert_eq!((status(&bed, "alice", &secret).await, status(&bed, "alice", &renewed).await), (401, 200));
    let revoked = token("revoke", &file, &id);
    assert_eq!((revoked.code, revoked.out), (0, format!("{id}: revoked\n")));
    assert_eq!(status(&bed, "alice", &renewed).await, 401);
    assert_eq!(listed(&file, "")[0]["state"], "revoked");
    // Nothing of a secret is in the file of the records, and what is there is nobody else's to read.
    for file in ["dockwarden.db", "dockwarden.db-wal"] {
        let bytes = fs::read(bed.folder.path(file)).unwrap_or_default();
        for secret in [&secret, &renewed] {
            assert!(!bytes.windows(30).any(|window| window == &secret.as_bytes()[4..34]), "check 28: {file}");
        }
    }
}

/// Check 23 at the command line: a robot's secret is changed without an outage.
#[tokio::test]
async fn a_robot_has_two_secrets_of_which_the_older_goes() {
    let (bed, file) = served();
    let create = |words: &str| token("create", &file, &format!("--robot ci {words} --expires 30d"));
    let unknown = create("");
    assert!(unknown.code == 1 && unknown.err.contains("--owner-label team=web"), "{}", unknown.err);
    let (first, id) = handed(&create("--owner-label team=web,api"));
    assert!(first.starts_with("dwr_"));
    let others = create("--owner-label team=ops");
    assert!(others.code == 1 && others.err.contains("with other labels"), "{}", others.err);
    let (second, _) = handed(&create(""));
    let full = create("");
    assert!(full.code == 1 && full.err.contains("two living secrets"), "{}", full.err);
    for secret in [&first, &second] {
        assert_eq!(status(&bed, "robot+ci", secret).await, 200);
        assert_eq!(status(&bed, "<token>", secret).await, 200);
    }
    let (third, _) = handed(
        &token("renew", &file, &format!("{id} --expires never"))
            .refused_then(|| token("renew", &file, &format!("{id} --expires 300d"))),
    );
    let works = [status(&bed, "robot+ci", &first).await, status(&bed, "robot+ci", &second).await];
    let living = works.iter().filter(|status| **status == 200).count();
    assert_eq!((living, status(&bed, "robot+ci", &third).await), (1, 200), "{works:?}");
    assert_eq!(listed(&file, "--robot robot+ci").len(), 3);
    let out = run(["user", "sign-out", &file, "robot+ci"]);
    assert_eq!((out.code, out.err.as_str()), (0, ""), "{}", out.out);
    assert_eq!(status(&bed, "robot+ci", &third).await, 401);
    // Both places are free again, and both of a robot's secrets are revoked at once.
    let anew = [handed(&create("")).0, handed(&create("")).0];
    for secret in &anew {
        assert_eq!(status(&bed, "robot+ci", secret).await, 200);
    }
    for (words, code, said) in [
        ("--robot ci", 0, "robot+ci: 2 secrets revoked\n"),
        ("--robot robot+ci", 0, "robot+ci: 0 secrets revoked\n"),
        ("--robot other", 1, ""),
        ("", 2, ""),
        ("x --robot ci", 2, ""),
    ] {
        let revoked = token("revoke", &file, words);
        assert_eq!((revoked.code, revoked.out.as_str()), (code, said), "{words}: {}", revoked.err);
        for secret in &anew {
            assert_eq!(status(&bed, "robot+ci", secret).await, 401, "{words}");
        }
    }
}

impl Run {
    /// This run was refused because of `lasting.longest`; then the other one.
    fn refused_then(self, other: impl FnOnce() -> Run) -> Run {
        assert!(self.code == 1 && self.err.contains("lasting.longest"), "{}", self.err);
        other()
    }
}

#[tokio::test]
async fn signing_out_ends_all_that_an_account_has_and_no_other() {
    let (bed, file) = served();
    let make = |account: &str, name: &str| {
        handed(&token("create", &file, &format!("--account {account} --name {name} --expires 90d"))).0
    };
    let (one, two, bobs) = (make("alice", "one"), make("alice", "two"), make("bob", "one"));
    let out = run(["user", "sign-out", &file, "alice"]);
    assert_eq!((out.code, out.err.as_str()), (0, ""));
    assert_eq!(out.out, "alice: signed out everywhere; no secret that was made before works any more\n");
    for (account, secret, expected) in [("alice", &one, 401), ("alice", &two, 401), ("bob", &bobs, 200)] {
        assert_eq!(status(&bed, account, secret).await, expected, "{account}");
    }
    let states: Vec<Value> = listed(&file, "--account alice").iter().map(|kept| kept["state"].clone()).collect();
    assert_eq!(states, ["signed_out", "signed_out"]);
    assert_eq!(status(&bed, "alice", &make("alice", "three")).await, 200);
    let nobody = run(["user", "sign-out", &file, "carol"]);
    assert!(nobody.code == 0 && nobody.err.contains("warning: nobody of this name is known"), "{}", nobody.err);
}

/// A list says of a secret what would be said of it if it were presented.
#[tokio::test]
async fn what_became_of_a_secrets_owner_is_told() {
    let (bed, file) = served();
    let make =
        |account: &str| handed(&token("create", &file, &format!("--account {account} --name one --expires 90d")));
    let (_, id) = make("bob");
    make("alice");
    let users = |bob: &str, more: &str| {
        format!("{LASTING}users:\n  alice: {{password: \"{ALICE_HASH}\", labels: {{team: [web, api]}}}}\n{bob}{more}")
    };
    let closed = "  bob: {password: \"$HASH\", disabled: true}\n".replace("$HASH", BOB_HASH);
    let away = "http_auth: {url: \"http://127.0.0.1:1/login\", headers: {Authorization: \"Basic ${basic}\"}, look_up: {url: \"http://127.0.0.1:1/${account}\"}}\n";
    for (config, state) in [
        (users(&format!("  bob: {{password: \"{BOB_HASH}\"}}\n"), ""), "active"),
        (users(&format!("  bob: {{password: \"{ALICE_HASH}\"}}\n"), ""), "owner_changed"),
        (users("", ""), "owner_gone"),
        (users(&closed, ""), "owner_closed"),
        (users("", "ext_auth: {command: /bin/false}\n"), "owner_hidden"),
        (users("", away), "unknown"),
    ] {
        bed.folder.configure(&config);
        assert_eq!(listed(&file, "--account bob")[0]["state"], state, "{config}");
        // Whoever can be told of is, in whichever order they are asked about.
        let all: BTreeMap<String, String> =
            listed(&file, "").iter().map(|kept| (word(kept, "account"), word(kept, "state"))).collect();
        assert_eq!(all, BTreeMap::from([("alice".into(), "active".into()), ("bob".into(), state.into())]), "{config}");
        let shown = token("show", &file, &format!("{id} --json")).out;
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap()["state"], state, "{shown}");
    }
}

#[test]
fn what_cannot_be_made_is_refused_and_says_what_to_write() {
    let (bed, file) = served();
    let account = "--account alice --name n";
    let secret = handed(&token("create", &file, "--account alice --name real --expires 1d")).0;
    for (action, words, code, says) in [
        ("create", "--account carol --name n --expires 90d", 1, "no backend knows this account"),
        ("create", "--account robot+ci --name n --expires 90d", 1, "no backend knows this account"),
        ("create", &format!("{account} --expires 401d"), 1, "no secret may live longer than 400 days here"),
        ("create", &format!("{account} --expires never"), 1, "lasting.longest"),
        ("create", &format!("{account} --expires 2001-01-01"), 1, "it would end before it begins"),
        (
            "create",
            &format!("{account} --expires 90d --allow web/*:pull"),
            1,
            "write for example repository:team/*:pull",
        ),
        ("create", &format!("{account} --expires 90d --from 10.0.0.0/40"), 1, "a network is written 10.0.0.0/8"),
        ("create", &format!("{account} --expires 90d --not-before soon"), 1, "a first moment is written 2027-01-31"),
        ("create", "--account alice --name real --expires 90d", 1, "take another name"),
        ("create", "--robot Ci --owner-label team=web --expires 90d", 1, "a robot's name is of lower-case letters"),
        ("create", "--robot ci --owner-label team --expires 90d", 1, "a robot's label is written team=web"),
        ("create", account, 2, "--expires"),
        ("create", &format!("{account} --expires soon"), 2, "an end is written 90d, 12h"),
        ("create", "--account alice --expires 90d", 2, "--name"),
        ("create", "--name n --expires 90d", 2, "--account"),
        ("create", "--account alice --robot ci --name n --expires 90d", 2, "cannot be used with"),
        ("create", "--account alice --name n --owner-label team=web --expires 90d", 2, "cannot be used with"),
        ("list", "--account a --robot b", 2, "cannot be used with"),
        ("show", "00000000000000000000", 1, "there is no secret of this id"),
        ("revoke", "00000000000000000000", 1, "there is no secret of this id"),
        ("renew", "00000000000000000000 --expires 90d", 1, "there is no secret of this id"),
        ("renew", "00000000000000000000", 2, "--expires"),
        ("revoke", &secret, 1, "this is a secret itself"),
        ("revoke", &format!("x --id={secret}"), 2, "a secret is never given on the command line"),
    ] {
        let run = token(action, &file, words);
        assert_eq!((run.code, run.out.as_str()), (code, ""), "{action} {words}: {}", run.err);
        assert!(run.err.contains(says), "{action} {words}: {}", run.err);
        assert!(!run.err.contains(&secret), "{}", run.err);
    }
    drop(bed);
    // Who can only be asked by a login; whose records are nowhere; and a disabled account.
    let program = format!("{LASTING}users: {{}}\next_auth: {{command: /bin/true}}\n");
    let without = "";
    let disabled = format!(
        "{LASTING}users: {{alice: {{password: \"{ALICE_HASH}\", disabled: true}}, bob: {{password: \"{BOB_HASH}\"}}}}\n"
    );
    for (config, says) in [
        (program.as_str(), "tells who it is only at a login"),
        (without, "there are no records in it, and so no secrets"),
        (&disabled, "the account is disabled"),
    ] {
        let bed = Bed::with(config);
        let file = bed.folder.path("config.yml");
        let run = token("create", file.to_str().unwrap(), "--account alice --name n --expires 90d");
        assert_eq!((run.code, run.out.as_str()), (1, ""), "{}", run.err);
        assert!(run.err.contains(says), "{}", run.err);
    }
}

/// Rules about secrets are explained as others are, although accounts are called otherwise than repositories.
#[test]
fn rights_over_secrets_are_explained_and_pointed_out() {
    let rules = "acl:\n  - match: {type: dockwarden, name: \"tokens/${account}\"}\n    actions: [list, create]\n";
    let bed = Bed::with(&format!("{LASTING}api: {{listen: main}}\n{rules}"));
    let file = bed.folder.path("config.yml").to_str().unwrap().to_owned();
    for (scope, code) in [
        ("dockwarden:tokens/alice:list,create", 0),
        ("dockwarden:tokens/alice:revoke", 3),
        ("dockwarden:tokens/robot+ci:list", 3),
    ] {
        let run = run(["explain", &file, "--account", "alice", scope]);
        assert_eq!(run.code, code, "{scope}: {}{}", run.out, run.err);
        assert!(!run.out.contains("is not an action"), "{}", run.out);
    }
    let checked = run(["check", &file]);
    assert!(!checked.out.contains("is not an action"), "{}", checked.out);
    let bed = Bed::with(&format!("{LASTING}api: {{listen: main}}\n{}", rules.replace("[list, create]", "[\"*\"]")));
    let checked = run(["check", bed.folder.path("config.yml").to_str().unwrap()]);
    assert!(
        checked.out.contains("acl[0].actions: gives nothing: \"*\" stands for what registries know"),
        "{}",
        checked.out
    );
}
