//! The catalog: each account sees what it may pull, in whole pages, and nobody learns a name that is not theirs.

use std::collections::BTreeSet;

use axum::http::Response;
use dockwarden::authn::Account;
use dockwarden::records::Limits;
use dockwarden::secrets::{Expires, New};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::upstream::{Upstream, status, text};
use crate::bed::{ALICE, BOB, Bed, Caller, NOBODY};
use crate::logs::{Form, Log};

/// Sorted by its parts, as the distribution project's registry does.
fn by_parts(name: &str) -> String {
    name.replace('/', "\0")
}

/// A registry of these names, which gives pages as the distribution project's does: at most a thousand names, and a link
/// where there are more.
async fn of(mut names: Vec<String>) -> Upstream {
    names.sort_by_key(|name| by_parts(name));
    Upstream::answering(move |arrival| {
        let query = arrival.target.split_once('?').map(|(_, query)| query.to_owned()).unwrap_or_default();
        let pairs: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let of = |key: &str| pairs.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        let n: usize = of("n").map_or(100, |n| n.parse().unwrap());
        if n > 1000 {
            return status(400);
        }
        let last = of("last").unwrap_or_default();
        let page: Vec<&String> = names.iter().filter(|name| by_parts(name) > by_parts(&last)).take(n).collect();
        let mut reply = Response::builder();
        if let Some(end) = page.last().filter(|end| names.last() != Some(**end)) {
            let next = form_urlencoded::byte_serialize(end.as_bytes()).collect::<String>();
            reply = reply.header("link", format!("</v2/_catalog?last={next}&n={n}>; rel=\"next\""));
        }
        reply.body(text(&json!({"repositories": page}).to_string())).unwrap()
    })
    .await
}

const RULES: &str = r#"
acl:
  - match: {account: alice, type: registry, name: catalog}
    actions: ["*"]
  - match: {account: alice, name: "/^team/[0-9]*7$/"}
    actions: [pull]
  - match: {account: bob, name: "bob/*"}
    actions: [push]
  - match: {name: "pub/*"}
    actions: [pull]
"#;

fn bed(upstreams: &str) -> Bed {
    Bed::with(&format!("gateway: {{service: registry, upstreams: [{upstreams}]}}\n{RULES}"))
}

/// All pages, as a client goes through them: by their links.
async fn walk(bed: &Bed, caller: Caller, first: &str) -> (Vec<String>, usize) {
    let (mut names, mut pages, mut target) = (Vec::new(), 0, first.to_owned());
    loop {
        let reply = bed.get(&target).by(caller).send().await.ok();
        pages += 1;
        let page = reply.json()["repositories"].as_array().unwrap().clone();
        names.extend(page.iter().map(|name| Value::as_str(name).unwrap().to_owned()));
        match reply.header("link") {
            "" => return (names, pages),
            link => {
                let (next, rel) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
                assert_eq!(rel, "; rel=\"next\"");
                target = next.to_owned();
            }
        }
    }
}

#[tokio::test]
async fn each_account_sees_what_it_may_pull_in_whole_pages() {
    let mut names: Vec<String> = (0..3000).map(|number| format!("team/{number:04}")).collect();
    names.extend(["bob/app", "pub/a", "pub/b", "secret/app"].map(str::to_owned));
    let upstream = of(names).await;
    let bed = bed(&format!("{{url: \"http://{}\"}}", upstream.address));
    let (seen, pages) = walk(&bed, ALICE, "/v2/_catalog?n=50").await;
    let mut expected: Vec<String> = vec!["pub/a".to_owned(), "pub/b".to_owned()];
    expected.extend((0..300).map(|number| format!("team/{:04}", number * 10 + 7)));
    assert_eq!(seen, expected);
    assert_eq!(pages, 7, "302 names in pages of 50");
    assert_eq!(walk(&bed, BOB, "/v2/_catalog").await, (vec!["pub/a".to_owned(), "pub/b".to_owned()], 1));
    assert_eq!(walk(&bed, BOB, "/v2/_catalog?n=1").await, (vec!["pub/a".to_owned(), "pub/b".to_owned()], 2));
    // There is an anonymous user.
    assert_eq!(walk(&bed, NOBODY, "/v2/_catalog").await.0.len(), 2);
    let wrong = bed.get("/v2/_catalog").by(Caller::Account("alice", "wrong")).send().await;
    assert_eq!(wrong.status, 401);
    for query in ["n=0", "n=x", "n=1&n=2", "last=a&last=b"] {
        let reply = bed.get(&format!("/v2/_catalog?{query}")).by(ALICE).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "PAGINATION_NUMBER_INVALID"), "{query}");
    }
    // A page costs no more of the upstream than is needed to fill it.
    upstream.take();
    bed.get("/v2/_catalog?n=2").by(ALICE).send().await.ok();
    assert_eq!(upstream.take().len(), 1);
}

#[tokio::test]
async fn a_token_opens_the_catalog_only_if_it_says_so() {
    let upstream = of(vec!["pub/a".to_owned(), "team/0007".to_owned()]).await;
    let bed = bed(&format!("{{url: \"http://{}\"}}", upstream.address));
    for (caller, scope, expected) in
        [(ALICE, "registry:catalog:*", 200), (ALICE, "repository:pub/a:pull", 401), (BOB, "registry:catalog:*", 401)]
    {
        let token = bed.get(&format!("/auth?service=registry&scope={scope}")).by(caller).send().await.ok().token();
        let reply = bed.get("/v2/_catalog").header("authorization", &format!("Bearer {token}")).send().await;
        assert_eq!(reply.status, expected, "{caller:?} {scope}");
        if expected == 200 {
            assert_eq!(reply.json(), json!({"repositories": ["pub/a", "team/0007"]}));
        }
    }
}

/// Several registries are one catalog, sorted, without what a name does not lead to; and its pages fit together.
#[tokio::test]
async fn the_catalogs_of_several_upstreams_are_one() {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
    let pubs = of(list(&["pub/a", "pub/b", "pub/d", "team/0017"])).await;
    let teams = of(list(&["team/0007", "team/0017", "team/0037", "team/x"])).await;
    let rest = of(list(&["pub-x/1", "pub/c", "team/0027", "a/app", "pub/0/deep", "team-b", "pub.y", "zoo"])).await;
    let upstreams = format!(
        "{{url: \"http://{}\", prefix: team}}, {{url: \"http://{}\"}}, {{url: \"http://{}\", prefix: pub}}, \
         {{url: \"http://127.0.0.1:1\", host: other.test}}",
        teams.address, rest.address, pubs.address
    );
    let rules = "acl: [{match: {account: alice}, actions: [\"*\"]}]";
    let bed = Bed::with(&format!("gateway: {{service: registry, upstreams: [{upstreams}]}}\n{rules}"));
    let expected = [
        "a/app",
        "pub/a",
        "pub/b",
        "pub/d",
        "pub-x/1",
        "pub.y",
        "team/0007",
        "team/0017",
        "team/0037",
        "team/x",
        "team-b",
        "zoo",
    ];
    for n in [1, 2, 3, 4, 5, 100] {
        let (names, _) = walk(&bed, ALICE, &format!("/v2/_catalog?n={n}")).await;
        assert_eq!(names, expected, "{n}");
    }
    // It goes on after any text, whether there is such a name or not, and wherever it would lead.
    for (last, rest) in [("a", 0), ("a/app", 1), ("pub", 1), ("pub/c", 3), ("pub0", 6), ("team/x", 10), ("zz", 12)] {
        let (names, _) = walk(&bed, ALICE, &format!("/v2/_catalog?n=2&last={last}")).await;
        assert_eq!(names, expected[rest..], "after {last}");
    }
}

/// Of long catalogs, too, nothing is lost or repeated where pages of theirs meet pages of ours.
#[tokio::test]
async fn long_catalogs_of_several_upstreams_are_merged_page_by_page() {
    let numbers = |of: std::ops::Range<u32>, name: &str| of.map(|number| format!("{name}/{number:04}")).collect();
    let own: Vec<String> = numbers(0..2500, "team");
    let mut others: Vec<String> = numbers(0..1500, "pub");
    others.extend(numbers(0..1500, "zoo"));
    let (team, rest) = (of(own.clone()).await, of(others.clone()).await);
    let rules = "acl: [{match: {account: alice}, actions: [\"*\"]}]";
    let upstreams = format!("{{url: \"http://{}\", prefix: team}}, {{url: \"http://{}\"}}", team.address, rest.address);
    let bed = Bed::with(&format!("gateway: {{service: registry, upstreams: [{upstreams}]}}\n{rules}"));
    let mut expected = [own, others].concat();
    expected.sort();
    for n in [999, 1000] {
        let (names, _) = walk(&bed, ALICE, &format!("/v2/_catalog?n={n}")).await;
        assert!(names == expected, "{n}: {} names", names.len());
    }
}

/// An upstream that is away, or has no catalog, takes its own names away and no others.
#[tokio::test]
async fn a_catalog_that_is_not_to_be_had_is_left_out() {
    let alive = of(vec!["pub/a".to_owned(), "pub/b".to_owned()]).await;
    let bad = Upstream::answering(|_| status(405)).await;
    let refuses = Upstream::answering(|_| status(401)).await;
    let nonsense = Upstream::with_headers(&[]).await;
    for broken in ["127.0.0.1:1", &bad.address, &refuses.address, &nonsense.address] {
        let upstreams = |alive: &str| {
            format!(
                "{{url: \"http://{broken}\", prefix: team}}, {{url: \"http://{alive}\"}}, \
                 {{url: \"http://{broken}\", name: other, prefix: other}}"
            )
        };
        let joint = bed(&upstreams(&alive.address));
        for (n, pages) in [(1, 2), (100, 1)] {
            let log = Log::start(Form::Json);
            assert_eq!(walk(&joint, BOB, &format!("/v2/_catalog?n={n}")).await.0, ["pub/a", "pub/b"], "{broken}");
            let lines = log.text().lines().filter(|line| line.contains("\"catalog_left_out\"")).count();
            assert_eq!(lines, 2 * pages, "of two upstreams, for each page: {}", log.text());
        }
        let none = bed(&upstreams(broken).replacen("prefix: team", "name: first, prefix: team", 1));
        let reply = none.get("/v2/_catalog").by(BOB).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (502, "UNAVAILABLE"), "{broken}");
    }
}

/// A registry of a hundred thousand: whoever sees little of it gets an answer all the same, and at a bounded cost.
#[tokio::test]
async fn a_large_catalog_is_gone_through_in_bounded_pages() {
    let mut names: Vec<String> = (0..100_000).map(|number| format!("secret/{number:06}")).collect();
    names.push("team/0007".to_owned());
    let upstream = of(names).await;
    let bed = bed(&format!("{{url: \"http://{}\"}}", upstream.address));
    assert_eq!(walk(&bed, ALICE, "/v2/_catalog").await, (vec!["team/0007".to_owned()], 1));
    let asked = upstream.take();
    assert!(asked.len() <= 101, "{} pages", asked.len());
    let largest = asked.iter().filter_map(|arrival| arrival.target.split("n=").nth(1)?.split('&').next()?.parse().ok());
    assert_eq!(largest.collect::<BTreeSet<u32>>(), BTreeSet::from([1000]));
}

#[tokio::test]
async fn an_upstream_without_a_catalog_or_without_an_end_is_told_by_status() {
    let endless = Upstream::answering(|arrival| {
        let number = arrival.target.len();
        Response::builder()
            .header("link", format!("</v2/_catalog?last={}>; rel=\"next\"", "x".repeat(number % 500)))
            .body(text("{\"repositories\": [\"secret/a\"]}"))
            .unwrap()
    })
    .await;
    let none = Upstream::with_headers(&[]).await;
    for (upstream, expected) in [(&endless, 503), (&none, 502)] {
        let bed = bed(&format!("{{url: \"http://{}\"}}", upstream.address));
        let reply = bed.get("/v2/_catalog").by(ALICE).send().await;
        assert_eq!((reply.status, reply.code().as_str()), (expected, "UNAVAILABLE"));
    }
}

/// A token of a secret says nothing of what the secret may not see: that is asked of the secret.
#[tokio::test]
async fn a_secrets_token_shows_the_names_that_the_secret_may_see() {
    let upstream = of(vec!["pub/a".to_owned(), "team/0007".to_owned()]).await;
    let records = "records: {sqlite: $DIR/dockwarden.db}\n";
    let upstreams = format!("gateway: {{service: registry, upstreams: [{{url: \"http://{}\"}}]}}\n", upstream.address);
    let bed = Bed::with(&format!("{records}{upstreams}{RULES}"));
    let snapshot = bed.app.snapshot();
    let (now, access) = (OffsetDateTime::now_utc(), &snapshot.access);
    let allow = ["registry:catalog:*", "repository:pub/*:pull"].map(str::to_owned).into();
    let (expires, limits) = (Some(Expires::Never), Limits { allow, ..Limits::default() });
    let new = New { name: "names".to_owned(), expires, limits, maker: None };
    let owner = access.look_up(&Account::parse("alice").unwrap(), None).await.unwrap();
    let made = access.lasting().unwrap().make_personal(owner, new, now).await.unwrap();
    let ask = bed.get("/auth?service=registry&scope=registry:catalog:*").basic("alice", made.secret.reveal());
    let token = ask.send().await.ok().token();
    for ask in [
        bed.get("/v2/_catalog").basic("alice", made.secret.reveal()),
        bed.get("/v2/_catalog").header("authorization", &format!("Bearer {token}")),
    ] {
        assert_eq!(ask.send().await.ok().json(), json!({"repositories": ["pub/a"]}));
    }
}
