//! Decisions by a program: the question, the two answers, and every other end.

use std::time::Duration;

use dockwarden::authz::program::ProgramAuthz;
use dockwarden::authz::work::Work;
use dockwarden::authz::{Authorizer as _, Question};
use dockwarden::config::{Config, Secrets};
use dockwarden::program::ProgramSettings;
use policy::pattern::LabelValues;
use policy::scope::{Resource, parse_actions};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::program::{AMPLE, SHORT, script};
use crate::bed::{ALICE, Bed, Caller, Folder, NOBODY};

/// Rules that leave all but two names to the program.
const RULES: &str =
    "acl:\n  - match: {name: static/yes}\n    actions: [pull]\n  - match: {name: static/no}\n    actions: []\n";

fn bed(folder: Folder, program: &ProgramSettings) -> Bed {
    let ProgramSettings { command, args, timeout, .. } = program;
    let section = format!("ext_authz: {{command: {command:?}, args: {args:?}, timeout: {}ms}}\n", timeout.as_millis());
    Bed::in_folder(folder, &format!("{RULES}{section}"))
}

#[tokio::test]
async fn the_question_is_docker_auths_and_the_rules_come_first() {
    let folder = Folder::new();
    let program = script(&folder, "authz.sh", "cat >> $DIR/asked\necho >> $DIR/asked\n", AMPLE);
    let bed = bed(folder, &program);
    let ask = "/auth?service=Docker+registry&scope=repository:static/yes:pull,push&scope=repository:static/no:pull\
               &scope=repository(plugin):a/b:push,pull&scope=registry:catalog:*";
    let reply = bed.get(ask).by(ALICE).from("::ffff:203.0.113.9").send().await.ok();
    let granted =
        ["repository:static/yes:pull", "repository:static/no:", "repository:a/b:pull,push", "registry:catalog:*"];
    assert_eq!(reply.access(), granted);
    bed.get("/auth?service=&scope=repository:c:delete").by(NOBODY).send().await;
    bed.get("/auth?service=r&scope=repository:c:delete").by(NOBODY).from("2001:db8::1").send().await.ok();
    let asked = std::fs::read_to_string(bed.folder.path("asked")).unwrap();
    let asked: Vec<Value> = asked.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        json!({"Account": "alice", "Type": "repository", "Name": "a/b", "Service": "Docker registry",
            "IP": "203.0.113.9", "Actions": ["pull", "push"], "Labels": {"team": ["web", "api"]}}),
        json!({"Account": "alice", "Type": "registry", "Name": "catalog", "Service": "Docker registry",
            "IP": "203.0.113.9", "Actions": ["*"], "Labels": {"team": ["web", "api"]}}),
        json!({"Account": "", "Type": "repository", "Name": "c", "Service": "r", "IP": "2001:db8::1",
            "Actions": ["delete"], "Labels": {}}),
    ];
    assert_eq!(asked, expected);
}

#[tokio::test]
async fn all_is_what_registries_know_and_nothing_is_final() {
    let folder = Folder::new();
    let program = script(&folder, "authz.sh", "case $(cat) in *secret*) exit 1 ;; esac\n", AMPLE);
    let bed = bed(folder, &program);
    let scopes =
        "repository:open/a:pull,push,frobnicate repository:secret/a:pull repository:static/no:pull repository:open/b:*";
    let granted =
        ["repository:open/a:pull,push", "repository:secret/a:", "repository:static/no:", "repository:open/b:*"];
    assert_eq!(bed.grants(ALICE, scopes).await, granted);
}

/// No grant, and no refusal either: the client asks again, instead of taking "denied" for an answer.
#[tokio::test]
async fn a_program_that_fails_grants_nothing_and_is_no_refusal() {
    for (text, timeout) in [
        ("exit 2", AMPLE),
        ("exit 3", AMPLE),
        ("kill -9 $$", AMPLE),
        ("sleep 60", SHORT),
        ("while :; do echo '                    '; done", AMPLE),
        ("exec /no/such/program", AMPLE),
    ] {
        let folder = Folder::new();
        let program = script(&folder, "authz.sh", text, timeout);
        let bed = bed(folder, &program);
        for caller in [ALICE, NOBODY] {
            let scopes = "&scope=repository:static/yes:pull&scope=repository:open:pull";
            let reply = bed.get(&format!("/auth?service=registry{scopes}")).by(caller).send().await;
            assert_eq!((reply.status, reply.code().as_str()), (503, "UNAVAILABLE"), "{text}");
        }
        // What the rules decide, and a login, need no program; a wrong password is wrong.
        assert_eq!(bed.grants(ALICE, "repository:static/yes:pull").await, ["repository:static/yes:pull"], "{text}");
        assert_eq!(bed.get("/auth?service=registry").by(ALICE).send().await.status, 200, "{text}");
        let wrong = Caller::Account("alice", "wrong");
        assert_eq!(bed.get("/auth?service=registry&scope=repository:open:pull").by(wrong).send().await.status, 401);
    }
}

/// A request has many scopes, and clients wait for all of them together.
#[tokio::test]
async fn all_scopes_of_a_request_share_one_deadline() {
    let folder = Folder::new();
    let text = "echo >> $DIR/asked\ncase $(cat) in *hung*) sleep 60 ;; *) sleep 0.3 ;; esac\n";
    let program = script(&folder, "authz.sh", text, Duration::from_secs(1));
    let bed = bed(folder, &program);
    // Each of them alone is quick enough.
    let scopes = "&scope=repository:slow:pull".to_owned();
    let scopes: String = (0..8).map(|number| scopes.replace("slow", &format!("slow{number}"))).collect();
    let reply = bed.get(&format!("/auth?service=registry{scopes}")).by(NOBODY).send().await;
    assert_eq!(reply.status, 503);
    let asked = std::fs::read_to_string(bed.folder.path("asked")).unwrap().lines().count();
    assert!((1..8).contains(&asked), "{asked}");
    assert_eq!(bed.grants(NOBODY, "repository:slow:pull").await, ["repository:slow:pull"], "the next request is new");
}

/// The same with the clock in hand: what is left of the time is all that the next scope has.
#[tokio::test]
async fn a_hung_program_gets_what_is_left_of_the_time() {
    let folder = Folder::new();
    let source = ProgramAuthz::new(script(&folder, "authz.sh", "echo > $DIR/asked; sleep 60\n", AMPLE));
    let ask = async |since: Duration| {
        let asked = policy::Question {
            account: "",
            labels: &LabelValues::new(),
            address: None,
            service: "registry",
            resource: &Resource::new("repository", "app").unwrap(),
            actions: &parse_actions(["pull"]),
            reference: None,
            now: time::OffsetDateTime::UNIX_EPOCH,
        };
        let question = Question { asked, began: Instant::now().checked_sub(since).unwrap(), work: &Work::default() };
        let asking = Instant::now();
        (source.authorize(&question).await.unwrap_err().to_string(), asking.elapsed())
    };
    let (message, _) = ask(AMPLE).await;
    assert!(message.contains("was not asked: the 30s for the whole request were used up"), "{message}");
    assert!(!folder.path("asked").exists());
    let (message, took) = ask(AMPLE.saturating_sub(Duration::from_secs(2))).await;
    assert!(message.contains("gave no answer within 30s and was killed"), "{message}");
    assert!(folder.path("asked").exists() && took < AMPLE, "{took:?}");
}

#[test]
fn the_section_takes_the_place_of_rules() {
    let folder = Folder::new();
    let text = folder.complete("acl: ~\next_authz: {command: /bin/sh, args: [a, b], timeout: 500ms, concurrency: 2}\n");
    let config = Config::read(std::path::Path::new("config.yml"), &text, [], Secrets::Read).unwrap();
    let expected = ProgramSettings {
        command: "/bin/sh".to_owned(),
        args: vec!["a".to_owned(), "b".to_owned()],
        timeout: std::time::Duration::from_millis(500),
        concurrency: 2,
    };
    assert_eq!(config.backends.get(), Some(&expected));
    for (section, piece) in [
        ("ext_authz: {}", "ext_authz.command: a program is needed"),
        ("ext_authz: {command: a, label_values: glob}", "ext_authz.label_values: there is no such key"),
    ] {
        let text = folder.complete(&format!("{section}\n"));
        let problems = Config::read(std::path::Path::new("config.yml"), &text, [], Secrets::Read).unwrap_err();
        let problems: Vec<String> =
            problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect();
        assert!(problems.len() == 1 && problems[0].contains(piece), "{problems:?}");
    }
}
