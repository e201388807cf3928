//! Who uses an image: by its digest, over all repositories and registries that one may know of.

use dockwarden::records::catalogue::{Lease, Leased, Pull, Stamp, Work};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::bed::{ALICE, ALICE_HASH, Bed, Reply};
use crate::cli::run;
use crate::directory::{opensvc, person, ready};

fn digest(letter: char) -> String {
    format!("sha256:{}", letter.to_string().repeat(64))
}

/// Who pulled what: the registry, the repository, the account and the image.
const PULLS: [(&str, &str, &str, char); 10] = [
    ("reg", "lib/x", "ann", 'a'),
    ("reg", "apps/100/x", "web@n1", 'a'),
    ("reg", "users/2/x", "bob", 'a'),
    ("reg", "lib/x", "bob", 'b'),
    ("vault", "lib/x", "", 'a'),
    ("vault", "apps/101/x", "bank@n1", 'a'),
    ("reg", "users/2/x", "abe", 'c'),
    ("reg", "lib/x", "bob", 'c'),
    ("reg", "users/2/x", "cyd", 'c'),
    ("reg", "lib/x", "dee", 'c'),
];

/// `root` may see who pulled from `reg`, and pull `lib/x` there; `dan` may see who pulled from `vault`, and pull nothing.
async fn bed() -> Bed {
    let users = format!("users:\n  root: {{password: \"{ALICE_HASH}\"}}");
    let rules = "acl:\n  - {match: {account: root, type: dockwarden, name: pulls/reg}, actions: [list]}\n  \
                 - {match: {account: root, service: reg, name: lib/x}, actions: [pull]}\n  \
                 - {match: {account: dan, type: dockwarden, name: pulls/vault}, actions: [list]}\n";
    let text = opensvc().replacen("users:", &users, 1).replace("acl: []\n", rules);
    let bed = Bed::with(&format!("{text}records: {{sqlite: $DIR/dockwarden.db}}\napi: {{listen: main}}\n"));
    ready(&bed).await;
    let (lease, now) = (Lease { name: "events".to_owned(), holder: "one".to_owned() }, OffsetDateTime::now_utc());
    let pulls = PULLS.map(|(service, repository, account, image)| Pull {
        service: service.to_owned(),
        repository: repository.to_owned(),
        digest: digest(image),
        account: account.to_owned(),
        address: "192.0.2.7".to_owned(),
        tag: Some("v1".to_owned()),
        first: Stamp(1_900_000_000_000_000),
        last: Stamp(1_900_000_005_000_000),
        heard: now,
    });
    let records = std::sync::Arc::clone(&bed.app.snapshot().records.as_ref().unwrap().records);
    assert_eq!(records.lease(&lease, now + time::Duration::HOUR, now).await.unwrap(), Leased::Held);
    let work = Work { pulls: pulls.into(), ..Work::default() };
    assert_eq!(records.work_off(&work, &lease, now).await.unwrap(), Leased::Held);
    bed
}

async fn ask(bed: &Bed, who: &'static str, query: &str) -> Reply {
    bed.get(&format!("/api/v1/pulls?{query}")).by(person(who)).send().await
}

fn told(page: &Value) -> Vec<String> {
    let word = |item: &Value, key: &str| item[key].as_str().unwrap().to_owned();
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| format!("{} {} {}", word(item, "service"), word(item, "repository"), word(item, "account")))
        .collect()
}

/// All pages of this length.
async fn listed(bed: &Bed, who: &'static str, query: &str, limit: usize) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ask(bed, who, &format!("{query}&limit={limit}{cursor}")).await.ok().json();
        let items = told(&page);
        assert!(items.len() <= limit);
        all.extend(items);
        match page["next"].as_str() {
            None => return all,
            Some(next) => {
                cursor = format!("&cursor={}", form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>())
            }
        }
    }
}

#[tokio::test]
async fn who_uses_an_image_is_found_over_all_repositories_and_registries_that_one_may_know_of() {
    let bed = bed().await;
    let (a, vault) = (format!("digest={}", digest('a')), format!("digest={}&service=vault", digest('a')));
    let all =
        ["reg lib/x ann", "reg users/2/x bob", "reg apps/100/x web@n1", "vault lib/x ", "vault apps/101/x bank@n1"];
    for limit in [1, 2, 5, 50] {
        for (who, query, expected) in [
            // A manager of both, who may delete anywhere.
            ("cat", &a, &all[..]),
            ("cat", &vault, &all[3..]),
            // Of what one may not pull, nobody learns that somebody pulled it; nor of a registry whose pulls are not for them.
            ("root", &a, &all[..1]),
            ("root", &vault, &[]),
            ("dan", &a, &[]),
            ("ann", &a, &[]),
            ("web@n1", &a, &[]),
        ] {
            assert_eq!(listed(&bed, who, query, limit).await, expected, "{who}: {query}, {limit} a page");
        }
    }
    let one = ask(&bed, "root", &a).await.ok().json();
    let expected = json!({ "service": "reg", "repository": "lib/x", "account": "ann", "address": "192.0.2.7",
        "digest": digest('a'), "tag": "v1", "first": "2030-03-17T17:46:40Z", "last": "2030-03-17T17:46:45Z" });
    assert_eq!(one, json!({ "items": [expected], "next": null }));
    // A registry that there is not, and one that is not for the asker, are the same.
    for service in ["nowhere", "vault", "%22", ""] {
        let page = ask(&bed, "root", &format!("{a}&service={service}")).await.ok().json();
        assert_eq!(page, json!({ "items": [], "next": null }), "{service}");
    }
    let short = "digest=sha256:abc".to_owned();
    for wrong in [
        String::new(),
        "digest=latest".to_owned(),
        short,
        format!("{a}&{a}"),
        format!("{a}&tag=v1"),
        format!("{a}&count=true"),
        format!("{a}&search=x"),
    ] {
        assert_eq!(ask(&bed, "cat", &wrong).await.status, 400, "{wrong}");
    }
    for (cursor, status) in [
        ("x", 400),
        ("1", 400),
        ("-1/reg", 400),
        ("99999999999/reg", 400),
        ("4294967295/reg", 200),
        ("0/", 200),
        ("7/nowhere", 200),
        ("5/vault", 200),
    ] {
        let reply = ask(&bed, "root", &format!("{a}&cursor={cursor}")).await;
        assert_eq!(reply.status, status, "{cursor}");
        if status == 200 {
            assert!(told(&reply.json()).iter().all(|item| item == all[0]), "{cursor}: {}", reply.text());
        }
    }
    // Neither a page's end nor where one goes on tells how many pulls there are that one may not know of.
    for (who, image, cursor, items, next) in [
        ("root", 'a', "0/reg", 1, Value::Null),
        ("root", 'a', "1/reg", 0, Value::Null),
        ("root", 'c', "0/reg", 1, "1/reg".into()),
        ("root", 'c', "1/reg", 1, Value::Null),
        ("root", 'c', "2/reg", 0, Value::Null),
        ("cat", 'c', "2/reg", 1, "3/reg".into()),
        ("cat", 'a', "0/reg", 1, "1/reg".into()),
        ("cat", 'a', "2/reg", 1, "0/vault".into()),
        ("cat", 'a', "1/vault", 1, Value::Null),
    ] {
        let target = format!("digest={}&limit=1&cursor={cursor}", digest(image));
        let page = ask(&bed, who, &target).await.ok().json();
        assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (items, &next), "{who}: {cursor}");
    }
    assert_eq!(bed.get(&format!("/api/v1/pulls?{a}")).send().await.status, 401);
}

#[tokio::test]
async fn without_registries_nobody_pulled_anything() {
    let bed = Bed::with("records: {sqlite: $DIR/dockwarden.db}\napi: {listen: main}\n");
    bed.app.prepare().await.unwrap();
    let page = bed.get(&format!("/api/v1/pulls?digest={}", digest('a'))).by(ALICE).send().await.ok().json();
    assert_eq!(page, json!({ "items": [], "next": null }));
}

// A command reads what a server wrote: both have the same file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_uses_an_image_is_listed_by_command() {
    let bed = bed().await;
    let file = bed.folder.path("config.yml").to_str().unwrap().to_owned();
    let image = digest('a');
    let table = run(["repository", "pulls", &file, "--digest", &image]);
    assert_eq!((table.code, table.err.as_str(), table.out.lines().count()), (0, "", 6), "{}", table.out);
    assert!(table.out.starts_with("SERVICE  ACCOUNT  ADDRESS "), "{}", table.out);
    for (words, count) in [
        (&["reg", "--digest", &image, "--json"][..], 3),
        (&["reg", "lib/x", "--json"], 4),
        (&["reg", "lib/x", "--digest", &image, "--json"], 1),
    ] {
        let found = run(["repository", "pulls", &file].into_iter().chain(words.iter().copied()));
        assert_eq!((found.code, found.err.as_str()), (0, ""));
        let found: Value = serde_json::from_str(&found.out).unwrap();
        assert_eq!(found["items"].as_array().unwrap().len(), count, "{words:?}");
    }
    for (words, said) in [
        (&[][..], "of what?"),
        (&["vault", "lib/y"], "there is no repository of this name"),
        (&["reg"], "of what?"),
        (&["nowhere", "--digest", &image], "there is no registry"),
        (&["--digest", "latest"], "no digest"),
    ] {
        let refused = run(["repository", "pulls", &file].into_iter().chain(words.iter().copied()));
        assert!(refused.code == 1 && refused.err.contains(said), "{words:?}: {}", refused.err);
    }
}
