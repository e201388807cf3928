//! What the metrics tell of each backend: how it answered, how often, and whether it is asked at all.

use super::program::{AMPLE, script};
use crate::bed::{ALICE_HASH, BOB_HASH, Bed, Folder};

/// Every outcome a backend can have, and how often it was had.
fn assert_answers(text: &str, backend: &str, expected: &[(&str, u32)]) {
    for (outcome, times) in expected {
        let line = format!("dockwarden_backend_answers_total{{backend=\"{backend}\",outcome=\"{outcome}\"}} {times}");
        assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
    }
    let own = format!("dockwarden_backend_answers_total{{backend=\"{backend}\"");
    assert_eq!(text.lines().filter(|line| line.starts_with(&own)).count(), expected.len(), "{text}");
    let all: u32 = expected.iter().map(|(_, times)| times).sum();
    let timed = format!("dockwarden_backend_answer_seconds_count{{backend=\"{backend}\"}} {all}");
    assert!(text.lines().any(|line| line == timed), "{timed} is not in\n{text}");
}

#[tokio::test]
async fn each_answer_of_a_backend_is_counted_by_outcome() {
    let folder = Folder::new();
    let section = |name: &str, text: &str| {
        let program = script(&folder, name, text, AMPLE);
        format!("{name}: {{command: {:?}, args: {:?}, timeout: 30s}}\n", program.command, program.args)
    };
    let known = "read -r account password\ncase $account in in) exit 0 ;; out) exit 1 ;; odd) exit 3 ;; esac\nexit 2\n";
    let who = section("ext_auth", known);
    let what = section("ext_authz", "case $(cat) in *odd*) exit 3 ;; *no*) exit 1 ;; esac\n");
    folder.put("htpasswd", &format!("carol:{ALICE_HASH}\n"));
    let bed = Bed::in_folder(
        folder,
        &format!(
            "users: {{dave: {{password: \"{BOB_HASH}\"}}}}\nhtpasswd_auth: {{path: $DIR/htpasswd}}\n{who}\
             acl: [{{match: {{name: static}}, actions: [pull]}}]\n{what}"
        ),
    );
    let metrics = async || bed.get("/metrics").send().await.ok().text();
    // Each outcome is there before it was ever had.
    assert_answers(&metrics().await, "users", &[("accepted", 0), ("rejected", 0), ("not_mine", 0), ("error", 0)]);
    assert_answers(&metrics().await, "ext_authz", &[("decided", 0), ("no_match", 0), ("error", 0)]);

    let scopes = "&scope=repository:static:pull&scope=repository:no:pull&scope=repository:yes:pull";
    for (account, password, scopes, status) in [
        ("dave", "bob-pw", "", 200),
        ("dave", "wrong", "", 401),
        ("carol", "alice-pw", scopes, 200),
        ("carol", "wrong", "", 401),
        ("in", "x", "&scope=repository:odd:pull", 503),
        ("out", "x", "", 401),
        ("odd", "x", "", 503),
        ("nobody", "x", "", 401),
    ] {
        let target = format!("/auth?service=registry{scopes}");
        assert_eq!(bed.get(&target).basic(account, password).send().await.status, status, "{account}");
    }
    let text = metrics().await;
    assert_answers(&text, "users", &[("accepted", 1), ("rejected", 1), ("not_mine", 6), ("error", 0)]);
    assert_answers(&text, "htpasswd_auth", &[("accepted", 1), ("rejected", 1), ("not_mine", 4), ("error", 0)]);
    assert_answers(&text, "ext_auth", &[("accepted", 1), ("rejected", 1), ("not_mine", 1), ("error", 1)]);
    assert_answers(&text, "acl", &[("decided", 1), ("no_match", 3), ("error", 0)]);
    assert_answers(&text, "ext_authz", &[("decided", 2), ("no_match", 0), ("error", 1)]);
    assert!(!text.contains("carol"), "accounts are not in the metrics");

    bed.app.reload();
    let text = metrics().await;
    assert_answers(&text, "users", &[("accepted", 1), ("rejected", 1), ("not_mine", 6), ("error", 0)]);
}

#[tokio::test]
async fn a_backend_that_is_not_asked_is_told() {
    // Nobody listens there.
    let dial = "dial_info: {addrs: [\"127.0.0.1:1\"], database: d}, deadline: 100ms";
    let bed = Bed::with(&format!("mongo_auth: {{{dial}, collection: users}}\n"));
    let reply = bed.get("/auth?service=registry").basic("carol", "x").send().await;
    assert_eq!(reply.status, 503);
    let text = bed.get("/metrics").send().await.ok().text();
    assert!(text.lines().any(|line| line == "dockwarden_backend_down{backend=\"mongo_auth\"} 1"), "{text}");
    assert_answers(&text, "mongo_auth", &[("accepted", 0), ("rejected", 0), ("not_mine", 0), ("error", 1)]);
}
