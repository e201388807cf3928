//! docker, skopeo and crane through the gateway to registries that know one account only: ours.

use serde_json::Value;

use crate::support::client;
use crate::support::dockwarden::{Dockwarden, events, password};
use crate::support::gateway::{self, Challenge, INSIDE};
use crate::support::http::{self, Reply};
use crate::support::image::{self, TAG};
use crate::support::part::{self, Said};
use crate::support::person::Person;
use crate::support::process::until;
use crate::support::registry::{Edition, Registry};
use crate::support::visit::{basic, digest, manifest};

pub(super) const REFUSED: &[&str] = &[
    "denied",
    "unauthorized",
    "401",
    "403",
    "authentication required",
    "no basic auth credentials",
    "invalid username/password",
];

/// A gateway to a registry.
struct Bed {
    gateway: Dockwarden,
    registry: Registry,
}

impl Bed {
    fn start(edition: Edition, challenge: Challenge) -> Self {
        let registry = Registry::start_with_passwords(edition, &gateway::inside());
        let login = gateway::login();
        let url =
            |prefix: &str| format!("url: \"http://{}\", name: {prefix}, prefix: {prefix}, {login}", registry.address());
        let gateway = gateway::start(challenge, &[url("team"), url("public"), url("locked") + ", read_only: true"]);
        Self { gateway, registry }
    }

    fn call(&self, account: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let authorization = basic(account, &password(account));
        let mut lines = vec![("Authorization", authorization.as_str())];
        lines.extend(headers);
        http::exchange(&self.gateway.address, &http::request(method, target, &self.gateway.host(), &lines, body))
    }

    /// Puts a blob by way of an upload, as clients do; gives where the upload was.
    fn put_blob(&self, repository: &str, blob: &[u8]) {
        let begun = self.call("boss", "POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
        assert_eq!(begun.status, 202, "{}", begun.text());
        let location = begun.header("location").unwrap();
        assert!(location.starts_with(&format!("/v2/{repository}/blobs/uploads/")), "{location}");
        let kind = [("Content-Type", "application/octet-stream")];
        let sent = self.call("boss", "PATCH", location, &kind, blob);
        assert_eq!(sent.status, 202, "{}", sent.text());
        let location = sent.header("location").unwrap();
        let target = format!("{location}&digest={}", http::form_encode(&digest(blob)));
        assert_eq!(self.call("boss", "PUT", &target, &kind, b"").status, 201);
    }
}

fn each(story: impl Fn(&Bed, &str)) {
    for edition in Edition::ALL {
        for challenge in [Challenge::Basic, Challenge::Bearer] {
            let name = format!("gateway-{edition:?}-{challenge:?}").to_lowercase();
            story(&Bed::start(edition, challenge), &name);
        }
    }
}

#[test]
fn docker_logs_in_pushes_and_pulls_what_the_rules_allow() {
    each(|bed, marker| {
        let host = bed.gateway.host();
        Person::new(&host).login("alice", "wrong").refused(REFUSED);
        let alice = Person::logged_in(&host, "alice", &password("alice"));
        alice.build(marker);
        alice.push(marker, "team/app").well();
        alice.push(marker, "public/app").refused(REFUSED);
        let bob = Person::logged_in(&host, "bob", &password("bob"));
        alice.forget(marker);
        bob.pull("team/app").well();
        bob.push(&format!("{host}/team/app:latest"), "team/other").refused(REFUSED);
        bob.pull("locked/app").refused(REFUSED);
        bob.forget(&format!("{host}/team/app:latest"));
        Person::new(&host).pull("team/app").refused(REFUSED);
        every_transfer_is_in_the_log(bed);
    });
}

fn every_transfer_is_in_the_log(bed: &Bed) {
    let of = |operation: &str, account: &str| -> Vec<Value> {
        let lines = events(&bed.gateway.process.log(), "transferred");
        let is_one = |line: &Value| {
            line["operation"] == operation && line["user.account"] == account && line["repository"] == "team/app"
        };
        lines.into_iter().filter(is_one).collect()
    };
    let total = |lines: &[Value], field: &str| lines.iter().map(|line| line[field].as_u64().unwrap()).sum::<u64>();
    // The static busybox alone is this large, compressed.
    let is_large = |lines: &[Value], field: &str| total(lines, field) > 500_000;
    let is_named = |line: &Value| line["reference"] == "latest";
    let (pushed, pulled) = until("the lines of both, and of the manifest in each", || {
        let (pushed, pulled) = (of("push", "alice"), of("pull", "bob"));
        let large = is_large(&pushed, "bytes.sent") && is_large(&pulled, "bytes.received");
        let named = pulled.iter().any(is_named) && pushed.iter().any(|line| line["status"] == 201 && is_named(line));
        (large && named).then_some((pushed, pulled))
    });
    for line in pushed.iter().chain(&pulled) {
        assert!(line["upstream"] == "team" && line["outcome"] == "whole", "{line}");
        assert!(line["seconds"].as_f64().is_some() && line["decision.id"].as_str().is_some(), "{line}");
    }
    let log = bed.gateway.whole_log();
    assert!(!log.contains(INSIDE.1) && !log.contains(&basic(INSIDE.0, INSIDE.1)), "our password is in the log");
}

#[test]
fn skopeo_and_crane_copy_inspect_list_and_delete() {
    each(|bed, marker| {
        let (home, host) = (client::home(), bed.gateway.host());
        let image = image::layout(marker);
        let skopeo = |arguments: &[&str]| part::run(client::skopeo(&home).args(arguments));
        let crane = |arguments: &[&str]| -> Said { part::run(client::crane(&home).args(arguments)) };
        let source = format!("oci:{}:{TAG}", image.directory.display());
        let remote = format!("docker://{host}/team/app:1");
        skopeo(&["login", "--tls-verify=false", "-u", "alice", "-p", "wrong", &host]).refused(REFUSED);
        skopeo(&["login", "--tls-verify=false", "-u", "alice", "-p", &password("alice"), &host]).well();
        skopeo(&["copy", "--dest-tls-verify=false", &source, &remote]).well();
        skopeo(&["copy", "--dest-tls-verify=false", &source, &format!("docker://{host}/public/app:1")])
            .refused(REFUSED);
        let pulled = home.join("pulled");
        skopeo(&["copy", "--src-tls-verify=false", &remote, &format!("oci:{}:{TAG}", pulled.display())]).well();
        assert!(skopeo(&["inspect", "--tls-verify=false", &remote]).well().stdout.contains(marker));

        crane(&["auth", "login", &host, "-u", "alice", "-p", &password("alice")]).well();
        let seen = skopeo(&["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &remote]).well();
        assert_eq!(crane(&["digest", "--insecure", &format!("{host}/team/app:1")]).well().stdout, seen.stdout);
        // Copying within the registry mounts the blobs.
        crane(&["copy", "--insecure", &format!("{host}/team/app:1"), &format!("{host}/team/copy:2")]).well();
        assert_eq!(crane(&["ls", "--insecure", &format!("{host}/team/copy")]).well().stdout.trim(), "2");
        crane(&["copy", "--insecure", &format!("{host}/team/app:1"), &format!("{host}/secret/copy:2")])
            .refused(REFUSED);
        let mut listed: Vec<String> =
            crane(&["catalog", "--insecure", &host]).well().stdout.lines().map(str::to_owned).collect();
        listed.sort();
        assert_eq!(listed, ["team/app", "team/copy"]);
        skopeo(&["delete", "--tls-verify=false", &remote]).well();
        skopeo(&["inspect", "--tls-verify=false", &remote]).refused(&["manifest unknown"]);
    });
}

/// A registry with `http.host` sends whoever pushes to that name, which nobody out here can reach.
#[test]
fn skopeo_and_crane_push_to_a_registry_that_calls_itself_something_else() {
    for edition in Edition::ALL {
        let registry = Registry::start_called(edition, &gateway::inside(), "https://registry.inside.invalid");
        let url = format!("url: \"http://{}\", {}", registry.address(), gateway::login());
        let gateway = gateway::start(Challenge::Bearer, &[url]);
        let (home, host) = (client::home(), gateway.host());
        let image = image::layout("called");
        let source = format!("oci:{}:{TAG}", image.directory.display());
        let skopeo = |arguments: &[&str]| part::run(client::skopeo(&home).args(arguments));
        skopeo(&["login", "--tls-verify=false", "-u", "alice", "-p", &password("alice"), &host]).well();
        skopeo(&["copy", "--dest-tls-verify=false", &source, &format!("docker://{host}/team/app:1")]).well();
        let crane = |arguments: &[&str]| -> Said { part::run(client::crane(&home).args(arguments)) };
        crane(&["auth", "login", &host, "-u", "alice", "-p", &password("alice")]).well();
        crane(&["copy", "--insecure", &format!("{host}/team/app:1"), &format!("{host}/team/copy:2")]).well();
        let layout = image.directory.display().to_string();
        crane(&["push", "--insecure", &layout, &format!("{host}/team/new:1")]).well();
    }
}

#[test]
fn mounts_ranges_conditions_and_deletes_are_the_registrys_own() {
    for edition in Edition::ALL {
        let bed = Bed::start(edition, Challenge::Basic);
        let blob: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        bed.put_blob("team/app", &blob);
        let of = digest(&blob);
        let target = format!("/v2/team/app/blobs/{of}");

        let whole = bed.call("bob", "GET", &target, &[], b"");
        assert_eq!((whole.status, whole.body == blob), (200, true));
        assert_eq!(whole.header("docker-content-digest"), Some(of.as_str()));
        assert_eq!(whole.header("docker-distribution-api-version"), Some("registry/2.0"));
        let head = bed.call("bob", "HEAD", &target, &[], b"");
        assert_eq!((head.status, head.header("content-length")), (200, Some("400000")));
        let part = bed.call("bob", "GET", &target, &[("Range", "bytes=1000-1999")], b"");
        assert_eq!((part.status, part.header("content-range")), (206, Some("bytes 1000-1999/400000")));
        assert_eq!(part.body, blob[1000..2000]);
        let etag = whole.header("etag").unwrap().to_owned();
        let unchanged = bed.call("bob", "GET", &target, &[("If-None-Match", &etag)], b"");
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));

        // A mount gives a blob without its bytes; of what may not be read, it is an upload that begins.
        let mount = |account: &str, to: &str, query: &str| {
            let target = format!("/v2/{to}/blobs/uploads/?mount={}{query}", http::form_encode(&of));
            bed.call(account, "POST", &target, &[], b"").status
        };
        assert_eq!(mount("alice", "team/mounted", "&from=team%2Fapp"), 201);
        bed.put_blob("public/app", b"another");
        assert_eq!(mount("alice", "team/other", "&from=locked%2Fapp"), 403);
        assert_eq!(mount("boss", "public/other", "&from=team%2Fapp"), 202, "at another upstream, as far as we know");
        assert_eq!(mount("alice", "team/another", ""), 202);

        let bytes = manifest(&blob, "x");
        let kind = [("Content-Type", "application/vnd.oci.image.manifest.v1+json")];
        let accept = [("Accept", "application/vnd.oci.image.manifest.v1+json")];
        assert_eq!(bed.call("alice", "PUT", "/v2/team/app/manifests/v1", &kind, &bytes).status, 201);
        assert_eq!(bed.call("bob", "PUT", "/v2/team/app/manifests/v1", &kind, &bytes).status, 403);
        assert_eq!(bed.call("bob", "GET", "/v2/team/app/manifests/v1", &accept, b"").body, bytes);
        let by_digest = format!("/v2/team/app/manifests/{}", digest(&bytes));
        assert_eq!(bed.call("bob", "DELETE", &by_digest, &[], b"").status, 403);
        assert_eq!(bed.call("alice", "DELETE", &by_digest, &[], b"").status, 202);
        assert_eq!(bed.call("bob", "GET", "/v2/team/app/manifests/v1", &accept, b"").status, 404);
        // Nothing is changed where nothing may be.
        for (method, target) in [
            ("POST", "/v2/locked/app/blobs/uploads/"),
            ("PUT", "/v2/locked/app/manifests/v1"),
            ("DELETE", "/v2/locked/app/manifests/v1"),
        ] {
            let reply = bed.call("boss", method, target, &kind, b"");
            assert_eq!((reply.status, reply.json()["errors"][0]["code"].clone()), (405, Value::from("UNSUPPORTED")));
        }
        assert_eq!(bed.call("boss", "GET", "/v2/locked/app/tags/list", &[], b"").status, 404, "reading goes on");
        assert!(!bed.registry.process.log().contains("alice"), "{}", bed.registry.process.tail());
    }
}
