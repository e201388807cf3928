//! What is in real registries of both generations: by their events, by sweeps, deleted, and on their bad days.

mod artifacts;
mod commands;
pub(crate) mod killed;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::dockwarden::app::{App, Source};
use ::dockwarden::authn::{Account, Credentials, Secret};
use ::dockwarden::catalogue::{Catalogue, Deleted, Emptied, Kind, MayDelete, Seen, Siblings, Swept};
use ::dockwarden::records::catalogue::{Description, Lease, Mark, Pulled};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use policy::scope::Scope;
use serde_json::json;
use time::OffsetDateTime;
use tokio::runtime::Runtime;

use crate::support::dockwarden::{self, Dockwarden, password};
use crate::support::http::{self, Reply};
use crate::support::image::{self, TAG};
use crate::support::keys::{self, Kind as KeyKind, Pair};
use crate::support::process::{self, Signal};
use crate::support::registry::{Edition, Registry};
use crate::support::visit::digest;
use crate::support::{client, machine, part, port, scratch};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json, \
                      application/vnd.docker.distribution.manifest.v2+json";

/// The manager of the reference's checks, to whom the standard rules give what the rules before them do not.
const DIRECTORY: &str = "directory:\n  groups: {dev: {id: 10}, ops: {id: 20}}\n  \
    users: {cat: {id: 3, groups: [dev, ops], privileges: [puller, pusher, manager]}}\n  \
    apps: {web: {id: 100, responsibles: [dev], publications: [dev]}}\nstandard_rules: opensvc\n";

/// A server with a registry that it knows, and a second replica in this process, over the same records.
struct Bed {
    dockwarden: Dockwarden,
    pair: Pair,
    port: u16,
    service: &'static str,
    edition: Edition,
    registry: Option<Registry>,
    runtime: Runtime,
    replica: App,
    home: PathBuf,
}

impl Bed {
    fn start(edition: Edition) -> Self {
        Self::start_with(edition, true)
    }

    fn start_with(edition: Edition, deletes: bool) -> Self {
        let pair = keys::as_in_the_guide(KeyKind::P256);
        let held = port::hold();
        let port = held.local_addr().unwrap().port();
        let service = match edition {
            Edition::V2 => "reg2",
            Edition::V3 => "reg3",
        };
        let records = scratch::directory("catalogue").join("records.db");
        let policy = format!(
            "records: {{sqlite: \"{}\"}}\nregistries: {{{service}: {{url: \"http://127.0.0.1:{port}\", \
             publications: [dev], responsibles: [ops], events: {{secret: \"{}\"}}}}}}\n{DIRECTORY}\
             catalogue: {{sweep_every: 1h, requests_at_once: 8}}\napi: {{listen: main}}\n{}acl:\n  \
             - {{match: {{account: boss}}, actions: [\"*\"]}}\n  - {{match: {{account: ann}}, actions: [pull]}}\n",
            records.display(),
            secret(service),
            dockwarden::users(&[("boss", "{}"), ("ann", "{}"), ("cat", "{}")]),
        );
        let dockwarden = Dockwarden::start(&dockwarden::config(&pair, "", &policy));
        drop(held);
        let source = Source { file: dockwarden.config.clone(), variables: Vec::new() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let config = source.load_and_make_key().unwrap();
        let replica = runtime.block_on(async { App::open(source, config) }).unwrap();
        runtime.block_on(replica.prepare()).unwrap();
        let mut bed =
            Self { dockwarden, pair, port, service, edition, registry: None, runtime, replica, home: client::home() };
        bed.start_registry(deletes);
        let catalogue = bed.catalogue();
        bed.runtime.spawn(catalogue.work());
        bed
    }

    /// Starts the registry, with a storage of its own.
    fn start_registry(&mut self, deletes: bool) {
        let (realm, events) =
            (self.dockwarden.realm(), format!("http://{}/init/registry/call/json/events", self.dockwarden.host()));
        let secret = secret(self.service);
        self.registry = Some(Registry::start_notifying(
            self.edition,
            (self.port, self.service),
            (&realm, &self.pair.certificate),
            (&events, &secret),
            deletes,
        ));
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(self.replica.snapshot().catalogue.as_ref().unwrap())
    }

    /// Asks the registry, with a token for it.
    fn ask(&self, account: &str, (method, path): (&str, &str), headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let repository = path.trim_start_matches("/v2/").split(['?']).next().unwrap();
        let repository = ["/manifests/", "/blobs/", "/tags/"]
            .iter()
            .find_map(|part| repository.split_once(part).map(|(name, _)| name))
            .unwrap_or(repository);
        let basic = format!("Basic {}", STANDARD.encode(format!("{account}:{}", password(account))));
        let target = format!("/auth?service={}&scope=repository:{repository}:pull,push,delete", self.service);
        let asked = http::request("GET", &target, &self.dockwarden.address, &[("Authorization", &basic)], b"");
        let token = http::exchange(&self.dockwarden.address, &asked).json()["token"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {token}");
        let mut headers = headers.to_vec();
        headers.push(("Authorization", &bearer));
        let address = format!("127.0.0.1:{}", self.port);
        http::exchange(&address, &http::request(method, path, &address, &headers, body))
    }

    /// Pushes an image with a client that people use.
    fn push(&self, repository: &str, tag: &str, marker: &str) -> String {
        let made = image::layout(marker);
        let creds = format!("boss:{}", password("boss"));
        let target = format!("docker://localhost:{}/{repository}:{tag}", self.port);
        let source = format!("oci:{}:{TAG}", made.directory.display());
        let options = ["copy", "--dest-tls-verify=false", "--dest-creds", &creds, &source, &target];
        part::run(client::skopeo(&self.home).args(options)).well();
        // The client packs the layer, and so makes another manifest of it.
        digest(&self.manifest(repository, tag).body)
    }

    fn put(&self, repository: &str, reference: &str, media_type: &str, manifest: &[u8]) -> String {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let reply = self.ask("boss", ("PUT", &path), &[("Content-Type", media_type)], manifest);
        assert_eq!(reply.status, 201, "{}", reply.text());
        digest(manifest)
    }

    fn manifest(&self, repository: &str, reference: &str) -> Reply {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.ask("boss", ("GET", &path), &[("Accept", ACCEPT)], b"")
    }

    fn tags(&self, repository: &str) -> Vec<String> {
        let found = self.runtime.block_on(self.catalogue().tags(self.service, repository, None, 100)).unwrap();
        found.into_iter().map(|tag| tag.name).collect()
    }

    fn is_listed(&self, repository: &str) -> bool {
        self.catalogue().listing(self.service).get(repository).is_some()
    }

    fn until<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        process::until(what, &mut look)
    }

    fn has_tags(&self, repository: &str, tags: &[&str]) {
        self.until(&format!("{repository} has {tags:?}"), || (self.tags(repository) == tags).then_some(()));
    }

    fn may_delete(&self, account: &str, repository: &str) -> Option<MayDelete> {
        let snapshot = self.replica.snapshot();
        let now = OffsetDateTime::now_utc();
        self.runtime.block_on(async {
            let (name, password) = (Account::parse(account).unwrap(), Secret::new(password(account)));
            let who = Credentials::Password { account: name, password };
            let who = snapshot.access.identify(&who, None, now).await.unwrap();
            let scopes = vec![Scope::parse(&format!("repository:{repository}:delete")).unwrap()];
            let decision = snapshot.access.decide(&who, None, self.service, scopes, now).await.unwrap();
            MayDelete::from_decision(&decision, self.service, repository)
        })
    }

    fn delete(&self, repository: &str, tag: &str, seen: &Seen) -> Deleted {
        let right = self.may_delete("boss", repository).unwrap();
        self.runtime.block_on(self.catalogue().delete_tag(&right, tag, seen)).unwrap()
    }

    /// Asks the API to delete a tag, as this account.
    fn delete_by_api(&self, account: &str, (repository, tag): (&str, &str), query: &str) -> (u16, serde_json::Value) {
        let basic = format!("Basic {}", STANDARD.encode(format!("{account}:{}", password(account))));
        let name = repository.replace('/', "%2F");
        let target = format!("/api/v1/registries/{}/repositories/{name}/tags/{tag}{query}", self.service);
        let asked = http::request("DELETE", &target, &self.dockwarden.address, &[("Authorization", &basic)], b"");
        let reply = http::exchange(&self.dockwarden.address, &asked);
        (reply.status, reply.json())
    }

    fn sweep(&self) -> Result<Swept, String> {
        self.runtime.block_on(self.catalogue().sweep(self.service)).map_err(|error| error.to_string())
    }

    /// Brings the sweep that was interrupted to its end, and no other one: the server may have done so by itself meanwhile.
    fn end_sweep(&self) -> i64 {
        self.until("the end of the sweep", || {
            self.dockwarden.process.signal(Signal::Stop);
            // Stopped where it writes, the server keeps the records from everybody: then it goes on for a moment.
            let status = self.runtime.block_on(self.catalogue().status(self.service)).ok().map(Option::unwrap);
            let found = status.and_then(|status| match status.sweep.ended {
                Some(_) => Some(status.sweep.found),
                None => match self.sweep() {
                    Ok(Swept::Complete(found)) => Some(found),
                    // The server is at it, or at the records.
                    Ok(Swept::Elsewhere) | Err(_) => None,
                },
            });
            self.dockwarden.process.signal(Signal::Continue);
            found
        })
    }
}

fn secret(service: &str) -> String {
    format!("0123456789abcdef-of-{service}")
}

fn with_both(story: impl Fn(Bed)) {
    for edition in Edition::ALL {
        story(Bed::start(edition));
    }
}

/// Checks 40 to 45: v1 and v2 of the events, an index by tag within a second, a push by digest, deletions, HEAD, a bad secret.
#[test]
fn events_tell_what_is_in_a_registry_and_who_pulled_it() {
    with_both(|bed| {
        let image = bed.push("lib/x", "v1", "events");
        bed.has_tags("lib/x", &["v1"]);
        // An index, by tag.
        let part = bed.manifest("lib/x", &image);
        let parts = json!([{"mediaType": IMAGE, "digest": image, "size": part.body.len(),
            "platform": {"os": "linux", "architecture": "arm64"}}]);
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts}).to_string();
        let is_fast = (0..3).any(|number| {
            let tag = format!("index{number}");
            let began = Instant::now();
            let named = bed.put("lib/x", &tag, INDEX, index.as_bytes());
            bed.until("the index is known", || bed.tags("lib/x").contains(&tag).then_some(()));
            let took = machine::elapsed(began);
            let details = bed.runtime.block_on(bed.catalogue().open_tag(bed.service, "lib/x", &tag)).unwrap();
            assert_eq!((&details.digest, details.media_type.as_str()), (&named, INDEX));
            let Kind::Index { platforms } = &details.kind else { panic!("{details:?}") };
            assert_eq!(platforms[0].platform, "linux/arm64");
            took < Duration::from_secs(1)
        });
        assert!(is_fast, "it took more than a second each time");
        bed.until("it is listed", || bed.is_listed("lib/x").then_some(()));
        // By digest alone: no tag.
        let other = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": parts, "annotations": {"a": "b"}});
        let other = other.to_string();
        bed.put("lib/x", &digest(other.as_bytes()), INDEX, other.as_bytes());
        bed.put("lib/x", "last", INDEX, other.as_bytes());
        let known = |tag: &str| bed.until(tag, || bed.tags("lib/x").contains(&tag.to_owned()).then_some(()));
        known("last");
        let is_one = |tag: &String| ["v1", "last"].contains(&tag.as_str()) || tag.starts_with("index");
        assert!(bed.tags("lib/x").iter().all(is_one), "{:?}", bed.tags("lib/x"));
        // Who asks whether it is there pulled nothing; who gets it did. Our own requests are nobody's.
        for (account, method, tag) in [("boss", "HEAD", "last"), ("ann", "GET", "v1")] {
            let path = format!("/v2/lib/x/manifests/{tag}");
            assert_eq!(bed.ask(account, (method, &path), &[("Accept", ACCEPT)], b"").status, 200);
        }
        let of_image = Pulled::Manifest { repository: "lib/x".to_owned(), digest: image.clone() };
        let pulled = bed.until("ann pulled it", || {
            let found = bed.runtime.block_on(bed.catalogue().pulls(bed.service, &of_image, 0, 10)).unwrap();
            found.into_iter().find(|pull| pull.account == "ann")
        });
        assert_eq!((pulled.tag.as_deref(), pulled.address.as_str()), (Some("v1"), "127.0.0.1"));
        let of_last = Pulled::Digest(digest(other.as_bytes()));
        assert_eq!(bed.runtime.block_on(bed.catalogue().pulls(bed.service, &of_last, 0, 10)).unwrap(), []);
        let all = Pulled::Repository("lib/x".to_owned());
        let all = bed.runtime.block_on(bed.catalogue().pulls(bed.service, &all, 0, 10)).unwrap();
        assert!(all.iter().all(|pull| ["ann", "boss"].contains(&pull.account.as_str())), "{all:?}");
        // Deleted by digest: its tags go.
        let gone = format!("/v2/lib/x/manifests/{}", digest(index.as_bytes()));
        assert_eq!(bed.ask("boss", ("DELETE", &gone), &[], b"").status, 202);
        bed.has_tags("lib/x", &["last", "v1"]);
        if bed.edition == Edition::V3 {
            bed.put("lib/x", "alias", INDEX, other.as_bytes());
            bed.has_tags("lib/x", &["alias", "last", "v1"]);
            assert_eq!(bed.ask("boss", ("DELETE", "/v2/lib/x/manifests/last"), &[], b"").status, 202);
            bed.has_tags("lib/x", &["alias", "v1"]);
        }
        let status = bed.runtime.block_on(bed.catalogue().status(bed.service)).unwrap().unwrap();
        assert_eq!(status.repositories, 1);
    });
}

/// Checks 51 and 52, and the ghost: each outcome is told, and verified.
#[test]
fn a_tag_is_deleted_alone_or_with_those_that_are_named() {
    with_both(|bed| {
        let image = bed.push("apps/100/x", "v1", "delete");
        let manifest = bed.manifest("apps/100/x", "v1");
        bed.put("apps/100/x", "v2", IMAGE, &manifest.body);
        bed.has_tags("apps/100/x", &["v1", "v2"]);
        assert_eq!(bed.may_delete("ann", "apps/100/x"), None, "she may not");
        let wrong = Seen { digest: Some(format!("sha256:{}", "0".repeat(64))), siblings: None };
        assert_eq!(bed.delete("apps/100/x", "v1", &wrong), Deleted::Changed { digest: image.clone() });
        assert_eq!(bed.delete("apps/100/x", "v7", &Seen::default()), Deleted::WasGone);
        let seen = Seen { digest: Some(image.clone()), siblings: None };
        match bed.edition {
            Edition::V3 => {
                let done = Deleted::Done { digest: image.clone(), with: [].into() };
                assert_eq!(bed.delete("apps/100/x", "v1", &seen), done);
                bed.has_tags("apps/100/x", &["v2"]);
                assert_eq!(bed.manifest("apps/100/x", "v2").status, 200);
            }
            Edition::V2 => {
                let siblings = Siblings(["v2".to_owned()].into());
                let found = bed.delete("apps/100/x", "v1", &seen);
                assert_eq!(found, Deleted::Siblings(siblings.clone()));
                assert!(found.sentence().contains("v2"), "{}", found.sentence());
                let others = Siblings(["v2".to_owned(), "v3".to_owned()].into());
                let not_those = Seen { siblings: Some(others), ..seen.clone() };
                assert_eq!(bed.delete("apps/100/x", "v1", &not_those), found, "exactly those");
                assert_eq!(bed.manifest("apps/100/x", "v1").status, 200, "nothing was deleted");
                let confirmed = Seen { siblings: Some(siblings), ..seen };
                let done = Deleted::Done { digest: image.clone(), with: ["v2".to_owned()].into() };
                assert_eq!(bed.delete("apps/100/x", "v1", &confirmed), done);
                bed.has_tags("apps/100/x", &[]);
                bed.until("it is not listed", || (!bed.is_listed("apps/100/x")).then_some(()));
            }
        }
        // What people wrote outlives the last tag (check 50).
        let text = Description { text: "ours".to_owned(), official: Mark::Set, automated: Mark::Unset };
        bed.runtime.block_on(bed.catalogue().describe(bed.service, "apps/100/x", &text)).unwrap();
        // An index, and docker's list: the list goes, and its parts stay.
        let part = bed.push("apps/100/x", "part", "part");
        let size = bed.manifest("apps/100/x", "part").body.len();
        for (tag, media_type) in [("index", INDEX), ("list", LIST)] {
            let parts = json!([{"mediaType": IMAGE, "digest": part, "size": size,
                "platform": {"os": "linux", "architecture": "amd64"}}]);
            let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": parts}).to_string();
            let named = bed.put("apps/100/x", tag, media_type, index.as_bytes());
            bed.until("it is known", || bed.tags("apps/100/x").contains(&tag.to_owned()).then_some(()));
            let done = Deleted::Done { digest: named.clone(), with: [].into() };
            assert_eq!(bed.delete("apps/100/x", tag, &Seen::default()), done);
            assert_eq!(bed.manifest("apps/100/x", tag).status, 404);
            assert_eq!(bed.manifest("apps/100/x", "part").status, 200, "its part stays");
            assert!(!bed.tags("apps/100/x").contains(&tag.to_owned()));
        }
        let repository = bed.runtime.block_on(bed.catalogue().repository(bed.service, "apps/100/x")).unwrap().unwrap();
        assert_eq!(repository.description, text);
        // The whole repository.
        let right = bed.may_delete("boss", "apps/100/x").unwrap();
        let emptied = bed.runtime.block_on(bed.catalogue().delete_repository(&right)).unwrap();
        assert!(matches!(emptied, Emptied::Done(1 | 2)), "{emptied:?}");
        assert_eq!(bed.tags("apps/100/x"), [""; 0]);
        let emptied = bed.runtime.block_on(bed.catalogue().delete_repository(&right)).unwrap();
        assert_eq!(emptied, Emptied::WasGone);
        // It is in the log as the account's.
        assert!(!bed.dockwarden.whole_log().contains("\"panic\""));
    });
}

/// Checks 51 and 54 by the API: cat deletes by the standard rules; the registry that deletes by digest has its siblings named first, and
/// whoever may not is told so (check 55).
#[test]
fn a_tag_is_deleted_by_the_api_with_exactly_those_that_are_named() {
    with_both(|bed| {
        bed.push("apps/100/x", "v1", "api");
        let manifest = bed.manifest("apps/100/x", "v1");
        bed.put("apps/100/x", "v2", IMAGE, &manifest.body);
        bed.has_tags("apps/100/x", &["v1", "v2"]);
        let (status, refused) = bed.delete_by_api("ann", ("apps/100/x", "v1"), "");
        assert_eq!((status, &refused["reason"]), (403, &"not_granted".into()));
        let at = ("apps/100/x", "v1");
        match bed.edition {
            Edition::V3 => {
                let (status, done) = bed.delete_by_api("cat", at, "");
                assert_eq!((status, &done["outcome"], &done["with"]), (200, &"deleted".into(), &json!([])));
                bed.has_tags("apps/100/x", &["v2"]);
            }
            Edition::V2 => {
                for query in ["", "?with=v2,v3", "?with=v3"] {
                    let (status, refused) = bed.delete_by_api("cat", at, query);
                    assert_eq!((status, &refused["siblings"]), (409, &json!(["v2"])), "{query}");
                }
                assert_eq!(bed.manifest("apps/100/x", "v1").status, 200, "nothing was deleted");
                let (status, done) = bed.delete_by_api("cat", at, "?with=v2");
                assert_eq!((status, &done["outcome"], &done["with"]), (200, &"deleted".into(), &json!(["v2"])));
                bed.has_tags("apps/100/x", &[]);
            }
        }
        assert!(bed.dockwarden.whole_log().contains("a tag was to be deleted"), "as cat");
    });
}

/// Check 53: the sentence names the setting, and the tag stays.
#[test]
fn a_registry_that_deletes_nothing_is_told_apart() {
    for edition in Edition::ALL {
        let bed = Bed::start_with(edition, false);
        bed.push("lib/x", "v1", "off");
        bed.has_tags("lib/x", &["v1"]);
        let off = bed.delete("lib/x", "v1", &Seen::default());
        assert_eq!(off, Deleted::Off);
        assert!(off.sentence().contains("REGISTRY_STORAGE_DELETE_ENABLED"));
        bed.has_tags("lib/x", &["v1"]);
        let right = bed.may_delete("boss", "lib/x").unwrap();
        let stopped = Emptied::Stopped { deleted: 0, tag: "v1".to_owned(), by: Deleted::Off };
        assert_eq!(bed.runtime.block_on(bed.catalogue().delete_repository(&right)).unwrap(), stopped);
    }
}

/// A registry that is down, and one that comes back with another storage: one empty catalog takes nothing away, two do.
#[test]
fn what_a_registry_lost_is_taken_away_by_the_second_sweep_that_lacks_it() {
    with_both(|mut bed| {
        bed.push("lib/x", "v1", "sweep");
        bed.push("lib/y", "v1", "sweep");
        bed.has_tags("lib/y", &["v1"]);
        assert_eq!(bed.sweep(), Ok(Swept::Complete(2)));
        drop(bed.registry.take());
        let away = bed.sweep().unwrap_err();
        assert!(away.contains("cannot be asked"), "{away}");
        assert_eq!(bed.tags("lib/x"), ["v1"]);
        bed.start_registry(true);
        bed.push("lib/y", "v2", "new");
        assert_eq!(bed.end_sweep(), 1, "it goes on where it was");
        assert_eq!(bed.tags("lib/x"), ["v1"], "one sweep lacked it");
        assert!(bed.is_listed("lib/x"));
        for _ in 0..2 {
            assert_eq!(bed.sweep(), Ok(Swept::Complete(1)));
        }
        assert_eq!(bed.tags("lib/x"), [""; 0]);
        assert!(!bed.is_listed("lib/x") && bed.is_listed("lib/y"));
    });
}

/// Checks 41 and 42: what is no event is taken and counted; who has no secret is told so; and what was taken survives being killed.
#[test]
fn what_was_taken_is_kept_whatever_it_is() {
    let bed = Bed::start(Edition::V3);
    let event = |id: &str, tag: &str| {
        json!({"id": id, "timestamp": "2026-11-30T04:05:06.1Z", "action": "push", "request": {"method": "PUT"},
            "target": {"mediaType": INDEX, "digest": format!("sha256:{}", "a".repeat(64)), "size": 7,
            "repository": "kept/x", "tag": tag}, "actor": {"name": "ann"}})
    };
    let send = |secret: &str, body: &[u8]| {
        let bearer = format!("Bearer {secret}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/vnd.docker.distribution.events.v2+json"),
        ];
        let asked = http::request("POST", "/api/v1/events", &bed.dockwarden.address, &headers, body);
        http::exchange(&bed.dockwarden.address, &asked).status
    };
    let right = secret("reg3");
    for (secret, body, status) in [
        ("0123456789abcdef-of-reg2", "{}", 401),
        ("", "{}", 401),
        (&*right, "{", 202),
        (&*right, "", 202),
        (&*right, "{\"events\": [1, {}]}", 202),
    ] {
        assert_eq!(send(secret, body.as_bytes()), status, "{body}");
    }
    let three = json!({"events": [event("1", "a"), event("2", "b"), event("2", "b")]}).to_string();
    assert_eq!(send(&right, three.as_bytes()), 202);
    bed.has_tags("kept/x", &["a", "b"]);
    // The registry, which is asked since the repository is new, does not know it: that is no reason to take it away.
    let metrics = http::request("GET", "/metrics", &bed.dockwarden.address, &[], b"");
    let text = http::exchange(&bed.dockwarden.address, &metrics).text();
    assert!(text.contains("dockwarden_registry_events_total{service=\"reg3\",outcome=\"unreadable\"} 4"), "{text}");
    for number in 0..200 {
        let one = json!({"events": [event(&format!("k{number}"), &format!("t{number}"))]}).to_string();
        assert_eq!(send(&right, one.as_bytes()), 202);
    }
    bed.dockwarden.process.signal(Signal::Kill);
    bed.until("all are worked on", || {
        let found = bed.runtime.block_on(bed.catalogue().tags("reg3", "kept/x", None, 500)).unwrap();
        (found.len() == 202).then_some(())
    });
}
