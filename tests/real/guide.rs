//! The guide's scenario with docker itself, against both generations of the registry.

use serde_json::Value;

use crate::support::bed;
use crate::support::dockwarden::{events, password};
use crate::support::part;
use crate::support::person::Person;
use crate::support::registry::Edition;
use crate::support::{http, scratch, visit};

/// What docker prints when a registry refuses.
pub(crate) const DENIED: &str = "denied: requested access to the resource is denied";

fn waldi_pushes_pulls_and_is_refused(edition: Edition) {
    let bed = bed::guide();
    let registry = bed.registry(edition);
    let waldi = Person::new(&registry.host());
    let local = format!("guide-{edition:?}").to_lowercase();
    waldi.build(&local);

    waldi.login("waldi", "not the password").refused(&["unauthorized", "401"]);
    waldi.login("nobody", "not the password").refused(&["unauthorized", "401"]);
    // Nothing was kept from the two attempts: without a login there is no push.
    waldi.push(&local, "test").refused(&["denied", "unauthorized", "no basic auth credentials"]);

    let login = waldi.login("waldi", &password("waldi")).well();
    assert!(login.text.contains("Login Succeeded"), "{}", login.text);

    let push = waldi.push(&local, "test").well();
    assert!(push.text.contains("Pushed"), "{}", push.text);
    let push = waldi.push(&local, "socken-test").well();
    assert!(push.text.contains("Mounted from test"), "{}", push.text);
    assert!(!push.text.contains(": Pushed"), "every layer is mounted: {}", push.text);

    let refused = waldi.push(&local, "test-socke").refused(&[DENIED]);
    assert!(!refused.text.contains("Pushed"), "{}", refused.text);

    waldi.forget(&local);
    let pulled = waldi.pull("socken-test").well();
    assert!(pulled.text.contains("Downloaded newer image"), "{}", pulled.text);
    assert!(pulled.text.contains("Pull complete"), "{}", pulled.text);

    // The refusal is in the log as a decision on that very scope.
    let log = bed.dockwarden.whole_log();
    let decided = |line: &Value| {
        line["user.account"] == "waldi"
            && line["scope"].as_str().is_some_and(|scope| scope.starts_with("repository:test-socke:"))
            && line["granted"] == ""
            && line["withheld"].as_str().is_some_and(|withheld| withheld.contains("push"))
    };
    assert!(events(&log, "decided").iter().any(decided), "no line tells of the refused push");
    assert_no_secrets(&log);
}

/// Neither passwords nor tokens nor Authorization headers get into the log.
fn assert_no_secrets(log: &str) {
    assert!(!events(log, "listening").is_empty(), "this is the log");
    for account in ["waldi", "busy-guy", "boss"] {
        let secret = password(account);
        let header = visit::basic(account, &secret);
        let form = http::form_encode(&secret);
        for text in [secret.as_str(), form.as_str(), header.trim_start_matches("Basic ")] {
            assert!(!log.contains(text), "the log holds {account}'s password as {text}");
        }
    }
    assert!(!log.contains("eyJ"), "the log holds the start of a token");
    assert!(!log.contains("not the password"), "the log holds a wrong password");
}

#[test]
fn docker_login_push_mount_pull_and_refusal_with_registry_2() {
    waldi_pushes_pulls_and_is_refused(Edition::V2);
}

#[test]
fn docker_login_push_mount_pull_and_refusal_with_registry_3() {
    waldi_pushes_pulls_and_is_refused(Edition::V3);
}

#[test]
fn three_labels_let_busy_guy_push_his_eight_repositories_only() {
    let bed = bed::guide();
    for edition in Edition::ALL {
        let registry = bed.registry(edition);
        let busy = Person::new(&registry.host());
        let directory = scratch::directory("import");
        let tar = directory.join("layer.tar");
        scratch::write(&directory, "hello", &format!("{edition:?}"));
        part::run(part::client("tar").arg("-cf").arg(&tar).arg("-C").arg(&directory).arg("hello")).well();
        let local = format!("imported-{edition:?}").to_lowercase();
        busy.import(&tar, &local);

        busy.login("busy-guy", &password("busy-guy")).well();
        for repository in ["website/webdev-backend", "api/web-frontend"] {
            busy.push(&local, repository).well();
        }
        // Not `test`: a tag is there once in an engine, and waldi's test pushes that one.
        for repository in ["website/webdev-database", "website/webdev", "busy", "webdev-backend"] {
            busy.push(&local, repository).refused(&[DENIED]);
        }
        busy.forget(&local);
        busy.pull("website/webdev-backend").well();
    }
}

#[test]
fn reading_only_is_pulling_only() {
    let bed = bed::guide();
    for edition in Edition::ALL {
        let registry = bed.registry(edition);
        let local = format!("read-only-{edition:?}").to_lowercase();
        let boss = Person::new(&registry.host());
        boss.build(&local);
        boss.login("boss", &password("boss")).well();
        boss.push(&local, "prod/server").well();

        let waldi = Person::new(&registry.host());
        waldi.login("waldi", &password("waldi")).well();
        waldi.push(&local, "prod/server").refused(&[DENIED]);
        waldi.forget(&local);
        waldi.pull("prod/server").well();
        waldi.pull("secret/server").refused(&["denied"]);
    }
}

#[test]
fn deleting_needs_the_delete_right_and_the_catalog_a_rule_that_names_it() {
    let bed = bed::guide();
    for edition in Edition::ALL {
        let registry = bed.registry(edition);
        let realm = bed.dockwarden.realm();
        let service = crate::support::dockwarden::SERVICE;
        let blob = b"to be deleted";
        let both = visit::token(
            &realm,
            service,
            "boss",
            &["repository:socken-delete:push,pull", "repository:website/web-backend:push,pull"],
        );
        let manifest = visit::manifest(blob, "delete");
        let target = |repository: &str| format!("/v2/{repository}/manifests/{}", visit::digest(&manifest));
        for repository in ["socken-delete", "website/web-backend"] {
            visit::put_blob(registry, &both, repository, blob);
            visit::put_manifest(registry, &both, repository, "latest", &manifest);
        }

        let refused = visit::visit(registry, "busy-guy", "DELETE", &target("website/web-backend"), b"");
        assert_eq!(refused.reply.status, 401, "push and pull is not delete: {}", refused.reply.text());
        assert_eq!(visit::challenge(&refused.reply).error, "insufficient_scope");

        let deleted = visit::visit(registry, "waldi", "DELETE", &target("socken-delete"), b"");
        assert_eq!(deleted.challenge.scope, "repository:socken-delete:delete");
        assert_eq!(deleted.reply.status, 202, "{}", deleted.reply.text());
        let gone = visit::visit(registry, "waldi", "GET", &target("socken-delete"), b"");
        assert_eq!(gone.reply.status, 404, "{}", gone.reply.text());

        let refused = visit::visit(registry, "waldi", "GET", "/v2/_catalog", b"");
        assert_eq!(refused.challenge.scope, "registry:catalog:*");
        assert_eq!(refused.reply.status, 401, "{}", refused.reply.text());
        let listed = visit::visit(registry, "boss", "GET", "/v2/_catalog", b"");
        assert_eq!(listed.reply.status, 200, "{}", listed.reply.text());
        let names = listed.reply.json()["repositories"].clone();
        assert!(names.as_array().unwrap().iter().any(|name| name == "website/web-backend"), "{names}");
    }
}
