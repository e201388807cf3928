//! What is too long, too much or no text at all: a precise refusal or less in the answer, and never a 5xx.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::http::Method;
use dockwarden::access::Denied;
use dockwarden::authn::{Account, Identity};
use dockwarden::client_address::Peer;
use dockwarden::connections::{Admission, Connections};
use policy::pattern::LabelValue;
use policy::scope::{Action, Resource, Scope};
use time::OffsetDateTime;

use crate::bed::{ALICE, Bed, Caller, NOBODY};

const AS_ALICE: &str = "grant_type=password&username=alice&password=alice-pw&service=registry";

#[tokio::test]
async fn each_limit_has_its_own_answer() {
    let bed = Bed::with("");
    let fill = |text: &str, length: usize| format!("{text}{}", "x".repeat(length - text.len()));
    // The longest query that is read, and one byte more.
    for (length, status) in [(32 * 1024, 200), (32 * 1024 + 1, 414)] {
        let query = fill("service=registry&x=", length);
        let reply = bed.get(&format!("/auth?{query}")).by(ALICE).send().await;
        assert_eq!(reply.status, status, "a query of {length} bytes");
    }
    for (length, status) in [(64 * 1024, 200), (64 * 1024 + 1, 413), (1024 * 1024, 413)] {
        let reply = bed.post("/auth", &fill(&format!("{AS_ALICE}&x="), length)).send().await;
        assert_eq!(reply.status, status, "a form of {length} bytes");
        assert!(status == 200 || reply.json()["error"] == "invalid_request");
    }
    let reply = bed.get(&format!("/auth/{}", "x".repeat(10_000))).by(ALICE).send().await;
    assert_eq!(reply.status, 404, "a long path");
    // Credentials: the account's length, the password's, and the header's.
    for (account, password, status) in [
        ("a".repeat(255), "x".to_owned(), 401),
        ("a".repeat(256), "x".to_owned(), 401),
        ("alice".to_owned(), "x".repeat(73), 401),
        ("alice".to_owned(), "x".repeat(20_000), 401),
        ("ali\nce".to_owned(), "x".to_owned(), 401),
        ("ali\0ce".to_owned(), "x".to_owned(), 401),
    ] {
        let reply = bed.get("/auth?service=registry").basic(&account, &password).send().await;
        assert_eq!(reply.status, status, "{} and {} bytes", account.len(), password.len());
    }
}

#[tokio::test]
async fn the_names_that_are_too_long_and_the_scopes_that_are_too_many_are_left_out() {
    let bed = Bed::with("acl: [{match: {}, actions: ['*']}]");
    let longest = format!("{}/{}", "a".repeat(127), "b".repeat(127));
    let too_long = format!("{longest}c");
    assert_eq!(
        bed.grants(ALICE, &format!("repository:{longest}:pull repository:{too_long}:pull repository:a:pull")).await,
        [format!("repository:{longest}:pull"), "repository:a:pull".to_owned()]
    );
    // A copy of an image with many layers asks for many repositories: a hundred are answered, in their order.
    let names: Vec<String> = (0..100).map(|number| format!("team/some-repository-{number}")).collect();
    let scopes: Vec<String> = names.iter().map(|name| format!("repository:{name}:pull,push")).collect();
    let target = format!("/auth?service=registry&scope={}", scopes.join("+"));
    let reply = bed.get(&target).by(ALICE).send().await.ok();
    assert_eq!(reply.access(), scopes);
    // What crane reads at most.
    assert!(reply.body.len() < 64 * 1024, "{} bytes", reply.body.len());
    // Beyond 256 the first ones are answered and the others are not.
    let many: Vec<String> = (0..400).map(|number| format!("repository:r{number}:pull")).collect();
    let granted = bed.grants(ALICE, &many.join(" ")).await;
    assert_eq!(granted, many[..256]);
    // The same one, over and over, is one.
    assert_eq!(bed.grants(ALICE, &["repository:a:pull"; 600].join(" ")).await, ["repository:a:pull"]);
    // A hundred words among which three are actions.
    let words: Vec<String> = (0..100).map(|number| format!("w{number}")).collect();
    let scope = format!("repository:a:pull,{},push", words[..14].join(","));
    assert_eq!(bed.grants(ALICE, &scope).await, ["repository:a:pull,push"]);
}

#[tokio::test]
async fn nothing_that_can_be_sent_is_a_5xx() {
    let bed = Bed::with("");
    let zeros = "%00".repeat(1000);
    let ampersands = "&".repeat(20_000);
    let accounts = "&account=a".repeat(1000);
    let scopes = "&scope=".repeat(4000);
    let colons = format!("&scope={}", ":".repeat(20_000));
    let commas = format!("&scope=repository:a:{}", ",".repeat(20_000));
    let slashes = format!("&scope=repository:{}:pull", "/".repeat(20_000));
    let parts = format!("&scope=repository:{}a:pull", "a/".repeat(10_000));
    let broken = [
        "%",
        "%4",
        "%zz",
        "%ff%fe",
        "=",
        "==",
        "&&==&",
        "service",
        "service==",
        "?a?b",
        ";service=registry",
        "service[]=registry",
    ];
    let queries = [zeros, ampersands, accounts, scopes, colons, commas, slashes, parts];
    for query in queries.iter().map(String::as_str).chain(broken) {
        for caller in [ALICE, NOBODY, Caller::Header("Basic !!!")] {
            let target = format!("/auth?service=registry{query}");
            let reply = bed.get(&target).by(caller).send().await;
            assert!(reply.status < 500, "{} {caller:?} {:.60}", reply.status, query);
            let reply = bed.post("/auth", &format!("{AS_ALICE}{query}")).by(caller).send().await;
            assert!(reply.status < 500, "{} {caller:?} {:.60}", reply.status, query);
        }
    }
    for method in [Method::GET, Method::POST, Method::from_bytes(b"BREW").unwrap(), Method::CONNECT, Method::TRACE] {
        let reply = bed.request(method.clone(), "/auth").send().await;
        assert!((400..500).contains(&reply.status), "{method}: {}", reply.status);
    }
    // A body on a GET decides nothing.
    assert_eq!(
        bed.get("/auth?service=registry").body("scope=repository:alice/a:pull").by(ALICE).send().await.ok().access(),
        Vec::<String>::new()
    );
}

/// A rule whose comparison would take too long has neither matched nor failed. Skipping it could skip a refusal, as it
/// would here, so nothing is granted, and the client is told to come back.
#[tokio::test]
async fn a_rule_that_is_too_costly_to_compare_closes() {
    let values: Vec<String> = (1..=100).map(|length| "a".repeat(length)).collect();
    let values = values.join(", ");
    // An odd number of letters: each value by itself fits, and no combination of them does.
    let name = "a".repeat(201);
    let bed = Bed::with(&format!(
        r#"users:
  alice: {{password: "{}", labels: {{p: [{values}], q: [{values}], r: [{values}]}}}}
acl:
  - match: {{name: "/^${{labels:p}}${{labels:q}}${{labels:r}}${{labels:r}}${{labels:p}}${{labels:q}}$/"}}
    actions: []
  - match: {{}}
    actions: ["*"]
"#,
        crate::bed::ALICE_HASH
    ));
    let started = std::time::Instant::now();
    let target = format!("/auth?service=registry&scope=repository:{name}:push");
    let reply = bed.get(&target).by(ALICE).send().await;
    assert_eq!((reply.status, reply.code().as_str(), reply.header("retry-after")), (503, "UNAVAILABLE", "2"));
    assert!(started.elapsed().as_secs() < 10, "it took {:?}", started.elapsed());
    assert!(!reply.text().contains("label"), "the cause is for the log: {}", reply.text());
    let form = format!("{AS_ALICE}&scope=repository:{name}:push");
    assert_eq!(bed.post("/auth", &form).send().await.json()["error"], "temporarily_unavailable");
    // Others, and the same client for something else, are answered.
    assert_eq!(bed.grants(ALICE, "registry:catalog:*").await, ["registry:catalog:*"]);
}

/// crane gives a reply up at 64 KiB, and the token is in it twice: whatever is asked for, the rest is left out.
#[tokio::test]
async fn no_reply_is_larger_than_clients_read() {
    let bed = Bed::with("acl: [{match: {}, actions: ['*']}]");
    let scopes = |number: usize, length: usize| {
        let name = |number: usize| format!("repository:{}{number}:pull,push", "a".repeat(length));
        (0..number).map(name).collect::<Vec<_>>().join("+")
    };
    let service = "s".repeat(30_000);
    for reply in [
        bed.get(&format!("/auth?service=registry&scope={}", scopes(210, 120))).by(ALICE).send().await,
        bed.post("/auth", &format!("{AS_ALICE}&scope={}", scopes(250, 220))).send().await,
        bed.get(&format!("/auth?service={service}")).by(ALICE).send().await,
    ] {
        assert!(reply.status < 500 && reply.body.len() <= 64 * 1024, "{}: {} bytes", reply.status, reply.body.len());
    }
}

/// Decisions are made on the threads that answer everybody.
#[tokio::test]
async fn a_request_of_many_scopes_lets_others_have_their_turn() {
    let bed = Bed::with("acl: [{match: {}, actions: ['*']}]");
    let snapshot = bed.app.snapshot();
    let scopes: Vec<Scope> = (0..200)
        .map(|number| Scope {
            resource: Resource::new("repository", &format!("r{number}")).unwrap(),
            class: None,
            actions: [Action::Pull].into(),
            reference: None,
        })
        .collect();
    let (nobody, now) = (Identity::default(), OffsetDateTime::now_utc());
    let mut turns = 0;
    let decision = tokio::select! {
        biased;
        decision = snapshot.access.decide(&nobody, None, "registry", scopes, now) => decision.unwrap(),
        () = async {
            loop {
                turns += 1;
                tokio::task::yield_now().await;
            }
        } => unreachable!("it has no end"),
    };
    assert_eq!(decision.grants().len(), 200);
    assert!(turns >= 199, "{turns}");
}

/// A rule whose cost grows with the label values of whoever asks.
const COSTLY: &str = r#"acl:
  - match: {name: "/^${labels:p}${labels:q}${labels:r}${labels:r}${labels:p}${labels:q}$/"}
    actions: []
  - match: {}
    actions: ["*"]
"#;

/// Somebody with so many values for each of three labels: all combinations of them are tried for [`odd`] names.
fn somebody(values: usize) -> Identity {
    let values: Vec<LabelValue> = (1..=values).map(|length| LabelValue::literal(&"a".repeat(length))).collect();
    let labels = ["p", "q", "r"].map(|name| (name.to_owned(), values.clone()));
    Identity { account: Account::parse("somebody").ok(), labels: Arc::new(labels.into()), ..Identity::default() }
}

fn odd(length: usize) -> Scope {
    let resource = Resource::new("repository", &"a".repeat(length * 2 + 1)).unwrap();
    Scope { resource, class: None, actions: [Action::Pull].into(), reference: None }
}

/// Whoever else is served by the same thread would wait for it. The one other thread that there is has something else to do, so that
/// it cannot be done before anybody looks.
#[test]
fn a_costly_decision_is_made_on_another_thread_and_a_cheap_one_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let bed = Bed::with(COSTLY);
    let snapshot = bed.app.snapshot();
    let now = OffsetDateTime::now_utc();
    runtime.block_on(async {
        for (who, at_once) in [(somebody(2), true), (somebody(14), false)] {
            let (free, occupied) = std::sync::mpsc::channel::<()>();
            let other = tokio::task::spawn_blocking(move || occupied.recv());
            let mut decision = std::pin::pin!(snapshot.access.decide(&who, None, "registry", vec![odd(20)], now));
            let first = decision.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(first.is_ready(), at_once, "{} labels", who.labels["p"].len());
            drop(free);
            let decided = match first {
                Poll::Ready(decided) => decided,
                Poll::Pending => decision.await,
            };
            // The rule was compared to the end and did not match.
            assert_eq!(decided.unwrap().grants()[0].granted, [Action::Pull].into());
            assert!(other.await.unwrap().is_err(), "it waited for us");
        }
    });
}

/// One request has the work of one, however many scopes it asks for.
#[tokio::test]
async fn what_all_scopes_of_a_request_cost_together_is_bounded() {
    let bed = Bed::with(COSTLY);
    let snapshot = bed.app.snapshot();
    let rich = somebody(20);
    let decide = |scopes: usize| {
        let scopes = (0..scopes).map(|number| odd(30 + number % 3)).collect();
        snapshot.access.decide(&rich, None, "registry", scopes, OffsetDateTime::now_utc())
    };
    assert_eq!(decide(3).await.unwrap().grants().len(), 3);
    // Nothing is granted, although each scope by itself would be.
    let denied = decide(200).await.err();
    assert!(matches!(denied, Some(Denied::Unavailable { backend: "acl", .. })), "{denied:?}");
    assert_eq!(decide(3).await.unwrap().grants().len(), 3);
}

/// Balancers keep connections for longer than a stranger may, and answer 502 where one is closed on them.
#[tokio::test]
async fn connections_of_trusted_proxies_may_rest_for_longer_and_no_others() {
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let tcp = |text: &str| Peer::Tcp(text.parse().unwrap());
    for (config, peer, expected) in [
        (", trusted_proxies: [192.0.2.0/24]}", tcp("192.0.2.1"), seconds(75)),
        (", trusted_proxies: [192.0.2.0/24]}", tcp("::ffff:192.0.2.1"), seconds(75)),
        (", trusted_proxies: [192.0.2.0/24]}", tcp("198.51.100.1"), None),
        (", trusted_proxies: [192.0.2.0/24], idle_timeout: 620}", tcp("192.0.2.1"), seconds(620)),
        (", trusted_proxies: [192.0.2.0/24], idle_timeout: 2h}", tcp("198.51.100.1"), None),
        (", trusted_proxies: [unix], idle_timeout: 2h}", Peer::Unix, seconds(7200)),
        // Nobody connects by a socket but a program of this machine.
        ("}", Peer::Unix, seconds(75)),
        ("}", tcp("127.0.0.1"), None),
        ("}\nforward_auth: {trusted_proxies: [192.0.2.1], service: a}", tcp("192.0.2.1"), seconds(75)),
        (
            ", idle_timeout: 90}\nforward_auth: {trusted_proxies: [192.0.2.1], service: a}",
            tcp("192.0.2.1"),
            seconds(90),
        ),
        // Everybody is believed to be a proxy there.
        (", real_ip_header: X-Forwarded-For}", tcp("192.0.2.1"), None),
    ] {
        let bed = Bed::with(&format!("server: {{addr: \"127.0.0.1:0\"{config}\n"));
        let connections = Arc::new(Connections::sharing(100));
        let rest = match connections.admit(bed.app.snapshot().origin(peer)) {
            Admission::Counted(counted) => counted.proxy_rest(),
            Admission::Uncounted => None,
            Admission::Refused => panic!("there is room"),
        };
        assert_eq!(rest, expected, "{config} {peer}");
    }
}
