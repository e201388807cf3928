//! The recipes' doors as they stand: nginx and Caddy ask Dockwarden about each request to a registry without any login
//! of its own, and to a handbook beside it.

pub(crate) mod confusion;
mod headers;
mod oracle;
mod page;
pub(crate) mod targets;

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::client;
use crate::support::dockwarden::events;
use crate::support::door::{ALICE, BOB, Behind, Door, Login, ROOT};
use crate::support::http::{self, Reply};
use crate::support::image::{self, TAG};
use crate::support::machine;
use crate::support::part::{self, Said};
use crate::support::person::Person;
use crate::support::process::Signal;
use crate::support::registry::Edition;
use crate::support::visit::basic;

/// What clients print where somebody is not who they say, or may not.
const UNAUTHORIZED: &[&str] = &["unauthorized", "authentication required", "invalid username/password"];
const DENIED: &[&str] = &["denied"];
const ACCEPT: (&str, &str) = ("Accept", "application/vnd.oci.image.manifest.v1+json");

/// One request through the door; `who` is an account with its password.
#[track_caller]
fn ask(door: &Door, who: Option<(&str, &str)>, method: &str, target: &str, more: &[(&str, &str)]) -> Reply {
    let authorization = who.map(|(account, password)| basic(account, password)).unwrap_or_default();
    let mut headers = more.to_vec();
    if who.is_some() {
        headers.push(("Authorization", &authorization));
    }
    http::exchange(&door.plain, &http::request(method, target, &door.host, &headers, b""))
}

/// A skopeo of somebody's own.
fn skopeo(home: &std::path::Path, arguments: &[&str]) -> Said {
    part::run(client::skopeo(home).args(arguments))
}

/// Pushes an image as root, and gives its manifest's digest.
fn put(door: &Door, repository: &str, tag: &str) -> String {
    let image = image::layout(&format!("{repository}-{tag}").replace('/', "-"));
    let home = client::home();
    let source = format!("oci:{}:{TAG}", image.directory.display());
    let remote = format!("docker://{}/{repository}:{tag}", door.host);
    let credentials = format!("{}:{}", ROOT.0, ROOT.1);
    skopeo(&home, &["copy", "--dest-tls-verify=false", "--dest-creds", &credentials, &source, &remote]).well();
    // skopeo writes manifests anew.
    let manifest = ask(door, Some(ROOT), "HEAD", &format!("/v2/{repository}/manifests/{tag}"), &[ACCEPT]);
    manifest.header("docker-content-digest").unwrap().to_owned()
}

#[test]
fn opendns_users_push_and_pull_through_nginx_and_nobody_else_does() {
    for edition in Edition::ALL {
        let door = Door::nginx(Behind::Registry(edition), Login::Passwords);
        let marker = format!("opendns-{edition:?}").to_lowercase();
        people_work(&door, &marker);
        anonymous_and_mounts(&door);
        the_handbook_is_protected_too(&door);
        nobody_reaches_the_registry_past_the_proxy(&door);
        nothing_opens_while_dockwarden_is_away(&door);
    }
}

#[test]
fn the_same_through_caddy() {
    let door = Door::caddy(Behind::Registry(Edition::V2));
    people_work(&door, "opendns-caddy");
    anonymous_and_mounts(&door);
    the_handbook_is_protected_too(&door);
    nothing_opens_while_dockwarden_is_away(&door);
}

fn people_work(door: &Door, marker: &str) {
    let alice = Person::new(&door.host);
    alice.build(marker);
    alice.login(ALICE.0, "wrong").refused(UNAUTHORIZED);
    alice.login("nobody", "123").refused(UNAUTHORIZED);
    alice.login(ALICE.0, ALICE.1).well();
    alice.push(marker, "web/hello").well();
    let refused = Instant::now();
    alice.push(marker, "ops/hello").refused(DENIED);
    alice.push(marker, "public/hello").refused(DENIED);
    assert!(
        machine::elapsed(refused) < Duration::from_secs(10),
        "docker tries again what is refused: {:?}",
        refused.elapsed()
    );
    alice.forget(marker);
    alice.pull("web/hello").well();

    let home = client::home();
    let remote = |name: &str| format!("docker://{}/{name}", door.host);
    let login = |account: &str, password: &str| {
        skopeo(&home, &["login", "--tls-verify=false", "-u", account, "-p", password, &door.host])
    };
    put(door, "web/skopeo", "v1");
    login(BOB.0, "wrong").refused(UNAUTHORIZED);
    login(BOB.0, BOB.1).well();
    let copy = |name: &str| {
        let target = format!("dir:{}", home.join(name.replace(['/', ':'], "-")).display());
        skopeo(&home, &["copy", "--src-tls-verify=false", &remote(name), &target])
    };
    // Bob pulls releases: by their tag, and what they are made of by digest.
    copy("web/skopeo:v1").well();
    copy("web/hello:latest").refused(&["denied", "403"]);
}

fn anonymous_and_mounts(door: &Door) {
    let public = put(door, "public/hello", "v1");
    let secret = put(door, "secret/hello", "v1");
    for (who, method, target, status) in [
        (None, "GET", "/v2/", 401),
        (Some(ALICE), "GET", "/v2/", 200),
        (Some((ALICE.0, "wrong")), "GET", "/v2/", 401),
        (None, "GET", "/v2/public/hello/manifests/v1", 200),
        (Some((ALICE.0, "wrong")), "GET", "/v2/public/hello/manifests/v1", 401),
        (None, "GET", &format!("/v2/public/hello/manifests/{public}"), 200),
        (None, "GET", "/v2/web/hello/manifests/v1", 401),
        (None, "DELETE", &format!("/v2/public/hello/manifests/{public}"), 401),
        (None, "POST", "/v2/public/hello/blobs/uploads/", 401),
        (Some(BOB), "GET", &format!("/v2/secret/hello/manifests/{secret}"), 403),
        (Some(BOB), "GET", "/v2/_catalog", 403),
        (Some(BOB), "GET", "/v2/public/../secret/hello/manifests/v1", 403),
        (Some(BOB), "GET", "/v2/public%2F..%2Fsecret/hello/manifests/v1", 403),
        (Some(BOB), "GET", "//v2/secret/hello/manifests/v1", 403),
        (Some(ROOT), "GET", "/v2/_catalog", 200),
    ] {
        let reply = ask(door, who, method, target, &[ACCEPT]);
        assert_eq!(reply.status, status, "{who:?} {method} {target}: {}", reply.text());
        let challenge = reply.header("www-authenticate");
        assert_eq!(challenge, (status == 401).then_some("Basic realm=\"Acme auth server\""), "{who:?} {target}");
        let versions =
            reply.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("docker-distribution-api-version"));
        assert_eq!(versions.map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["registry/2.0"], "{target}");
        if status == 403 {
            assert_eq!(reply.json()["errors"][0]["code"], "DENIED", "{}", reply.text());
        }
    }

    // A layer that is only in the secret repository: alice may push, and may not take it from there.
    let manifest = ask(door, Some(ROOT), "GET", "/v2/secret/hello/manifests/v1", &[ACCEPT]);
    let layer = manifest.json()["layers"][0]["digest"].as_str().unwrap().to_owned();
    let encoded = http::form_encode(&layer);
    let mount = |from: &str| format!("/v2/web/mounted/blobs/uploads/?mount={encoded}&{from}");
    for (who, target, status) in [
        (ALICE, mount("from=secret%2Fhello"), 403),
        (ALICE, mount("fro%6D=secret/hello"), 403),
        (ALICE, mount("from=web%2Fhello&from=secret%2Fhello"), 403),
        (ALICE, mount("x=1;from=secret%2Fhello"), 403),
        (ALICE, mount("from=web%2Fhello"), 202),
        (ROOT, mount("from=secret%2Fhello"), 201),
    ] {
        let reply = ask(door, Some(who), "POST", &target, &[]);
        assert_eq!(reply.status, status, "{} {target}: {}", who.0, reply.text());
    }
    let form = format!("mount={encoded}&from=secret%2Fhello");
    let authorization = basic(ALICE.0, ALICE.1);
    for kind in ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; charset=utf-8"] {
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", kind)];
        let raw = http::request("POST", "/v2/web/mounted2/blobs/uploads/", &door.host, &headers, form.as_bytes());
        assert_eq!(http::exchange(&door.plain, &raw).status, 403, "{kind}");
    }
    let seen = ask(door, Some(ALICE), "HEAD", &format!("/v2/web/mounted2/blobs/{layer}"), &[]);
    assert_eq!(seen.status, 404);
}

fn the_handbook_is_protected_too(door: &Door) {
    door.handbook.take();
    for (who, method, target, status) in [
        (None, "GET", "/handbook/", 401),
        (Some((BOB.0, "wrong")), "GET", "/handbook/", 401),
        (Some(BOB), "POST", "/handbook/a", 403),
        (Some(BOB), "GET", "/handbook/a%2Fx", 403),
        (Some(BOB), "GET", "/handbook/../v2/", 403),
        (Some(BOB), "GET", "/handbook//a", 403),
        (Some(BOB), "GET", "/handbook/a%20b/c?d=%2F", 200),
    ] {
        let reply = ask(door, who, method, target, &[]);
        assert_eq!(reply.status, status, "{who:?} {method} {target}");
    }
    let arrived = door.handbook.take();
    let [only] = arrived.as_slice() else { panic!("{arrived:?}") };
    assert_eq!(only.line, "GET /handbook/a%20b/c?d=%2F HTTP/1.1");
    assert_eq!((only.all("x-auth-account"), only.all("authorization")), (vec!["bob"], vec![]));
}

/// The recipe's registry listens on nothing but a socket in a directory of its own.
fn nobody_reaches_the_registry_past_the_proxy(door: &Door) {
    assert!(fs::symlink_metadata(door.socket()).unwrap().file_type().is_socket());
    let registry = door.registry.as_ref().unwrap();
    let directory = format!("/proc/{}", registry.pid());
    let mut sockets = Vec::new();
    for entry in fs::read_dir(format!("{directory}/fd")).unwrap() {
        let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
        let number =
            target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned));
        sockets.extend(number);
    }
    assert!(!sockets.is_empty());
    for family in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("{directory}/net/{family}")).unwrap();
        let own = table.lines().filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // 0A: listening
            fields.get(3) == Some(&"0A") && fields.get(9).is_some_and(|inode| sockets.iter().any(|own| own == inode))
        });
        assert_eq!(own.count(), 0, "{table}");
    }
}

/// Held, and killed: a request that would be allowed gets a 5xx in bounded time, and never what is behind.
fn nothing_opens_while_dockwarden_is_away(door: &Door) {
    let public = "/v2/public/hello/manifests/v1";
    let registry = door.registry.as_ref().unwrap();
    // It writes its lines when it has answered: only then is the number of those from before certain.
    let of_public = || registry.log().matches(&format!("\"GET {public} HTTP/1.1\" ")).count();
    let earlier = of_public();
    assert_eq!(ask(door, None, "GET", public, &[ACCEPT]).status, 200);
    registry.until("the line of the last that was let through", |_| (of_public() > earlier).then_some(()));
    let before = registry.log().matches(" HTTP/1.1\" ").count();
    door.dockwarden.signal(Signal::Kill);
    door.dockwarden.end();
    door.handbook.take();
    for (who, target) in [
        (None, public),
        (Some(ALICE), "/v2/"),
        (Some(ALICE), "/v2/web/hello/manifests/latest"),
        (Some(BOB), "/handbook/"),
    ] {
        let asked = Instant::now();
        let reply = ask(door, who, "GET", target, &[]);
        assert!(matches!(reply.status, 500..=599), "{target}: {}", reply.status);
        assert!(machine::elapsed(asked) < Duration::from_secs(5), "{target}: {:?}", asked.elapsed());
    }
    assert_eq!(registry.log().matches(" HTTP/1.1\" ").count(), before);
    assert!(door.handbook.take().is_empty());
}

#[test]
fn docker_and_skopeo_log_in_with_tokens_through_nginx() {
    let door = Door::nginx(Behind::Registry(Edition::V2), Login::Tokens);
    let alice = Person::new(&door.host);
    alice.build("door-tokens");
    alice.login(ALICE.0, "wrong").refused(UNAUTHORIZED);
    alice.login(ALICE.0, ALICE.1).well();
    alice.push("door-tokens", "web/tokens").well();
    alice.push("door-tokens", "ops/tokens").refused(DENIED);
    alice.pull("web/tokens").well();
    put(&door, "public/tokens", "v1");
    Person::new(&door.host).pull("web/tokens").refused(&["denied", "unauthorized"]);
    let home = client::home();
    let target = format!("dir:{}", home.join("pulled").display());
    skopeo(&home, &["inspect", "--tls-verify=false", &format!("docker://{}/public/tokens:v1", door.host)]).well();
    let credentials = format!("{}:{}", BOB.0, BOB.1);
    let remote = format!("docker://{}/web/tokens:latest", door.host);
    skopeo(&home, &["copy", "--src-tls-verify=false", "--src-creds", &credentials, &remote, &target]).refused(&[
        "denied",
        "unauthorized",
        "authentication required",
    ]);

    let put =
        |line: &Value| line["request"].as_str().is_some_and(|text| text.starts_with("PUT /v2/web/tokens/manifests/"));
    let by_token = door.dockwarden.until("the line of the push", |process| {
        Some(events(&process.log(), "allowed")).filter(|allowed| allowed.iter().any(put))
    });
    assert!(by_token.iter().all(|line| line["door"] == "forward_auth" && line["token.id"].is_string()), "{by_token:?}");
    // A password is good at the token endpoint alone; a request with it is decided all the same.
    let challenge = ask(&door, None, "GET", "/v2/web/tokens/tags/list", &[]);
    let expected = format!(
        "Bearer realm=\"https://{}/auth\",service=\"Docker registry\",scope=\"repository:web/tokens:pull\"",
        door.host
    );
    assert_eq!((challenge.status, challenge.header("www-authenticate")), (401, Some(expected.as_str())));
}
