//! `dockwarden login`: somebody at a terminal, approved in a browser; and where docker finds the password then.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use axum::routing::any;
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dockwarden::client_address::Peer;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::Browser;
use super::device::bed;
use crate::bed::{Bed, Folder};

const REGISTRY: &str = "registry.example.org";

/// Serves this on the loopback interface while the test runs: where.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router.layer(Extension(Peer::Tcp("192.0.2.1".parse().unwrap())));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(router.clone());
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    format!("http://{address}")
}

/// The program, by whoever has this home, and finds helpers in its `bin` and nowhere else.
fn at_home(home: &Folder, program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command.env("HOME", home.path("")).env("PATH", home.path("bin"));
    command
}

fn dockwarden() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_dockwarden"))
}

/// A run of `dockwarden login`.
struct Login {
    child: Child,
    said: String,
}

/// What it came to.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Login {
    fn start(home: &Folder, url: &str, more: &[&str]) -> Login {
        let mut command = at_home(home, dockwarden(), &[&["login", url], more].concat());
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Login { child, said: String::new() }
    }

    /// The code that it shows: what it says until it waits.
    fn code(&mut self) -> String {
        let mut lines = BufReader::new(self.child.stderr.take().unwrap());
        while !self.said.contains("Waiting") {
            assert!(lines.read_line(&mut self.said).unwrap() > 0, "{}", self.said);
        }
        self.child.stderr = Some(lines.into_inner());
        let (_, code) = self.said.split_once("user_code=").unwrap();
        code[..9].to_owned()
    }

    async fn ends(self) -> Ended {
        let ended = tokio::task::spawn_blocking(move || {
            let output = self.child.wait_with_output().unwrap();
            let err = self.said + &String::from_utf8(output.stderr).unwrap();
            Ended { code: output.status.code().unwrap(), out: String::from_utf8(output.stdout).unwrap(), err }
        });
        ended.await.unwrap()
    }
}

/// Alice approves a login.
async fn approve(bed: &Bed, code: &str) -> String {
    let mut browser = Browser::default();
    browser.post(bed, "/sign-in", "account=alice&password=alice-pw").await;
    let page = browser.get(bed, &format!("/device?user_code={code}")).await.ok().text();
    browser.post(bed, "/device/answer", &format!("user_code={code}&answer=approve")).await.ok();
    page
}

/// The whole of a login: what was said, and the page on which it was approved.
async fn logged_in(bed: &Bed, home: &Folder, more: &[&str]) -> (Ended, String) {
    let url = serve(bed.router()).await;
    let mut login = Login::start(home, &url, more);
    let code = login.code();
    let page = approve(bed, &code).await;
    let ended = login.ends().await;
    assert_eq!(ended.code, 0, "{}", ended.err);
    (ended, page)
}

/// What a password of alice's may do.
async fn grants(bed: &Bed, password: &str) -> Vec<String> {
    let asked = "/auth?service=registry&scope=repository:dev/app:pull,push";
    bed.get(asked).basic("alice", password).send().await.ok().access()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn json_in(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Puts a file into a home, and the folders above it.
fn put(home: &Folder, name: &str, text: &str) -> PathBuf {
    let file = home.path(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    home.put(name, text)
}

/// A stand-in for a credential helper of a desktop: it writes down what it is asked, and fails where a file says so.
fn put_helper(home: &Folder, name: &str) {
    let folder = home.path("");
    let script = format!(
        "#!/bin/sh\n/bin/cat > {dir}/asked-$1\nif test -e {dir}/fails; then /bin/cat {dir}/asked-$1; exit 1; fi\n",
        dir = folder.display().to_string().trim_end_matches('/')
    );
    let file = put(home, &format!("bin/docker-credential-{name}"), &script);
    fs::set_permissions(file, fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_finds_the_password_in_its_own_file_and_nobody_else_sees_it() {
    let (bed, home) = (bed(), Folder::new());
    let before = json!({
        "auths": {"other.example.org": {"auth": "b3RoZXI6b3RoZXI="}}, "psFormat": "table {{.ID}}", "proxies": {"default": {"noProxy": "x"}},
    });
    put(&home, "elsewhere/docker.json", &before.to_string());
    fs::create_dir(home.path(".docker")).unwrap();
    symlink(home.path("elsewhere/docker.json"), home.path(".docker/config.json")).unwrap();
    let (ended, page) = logged_in(&bed, &home, &["--machine", "alices-laptop"]).await;
    assert!(page.contains("alices-laptop") && page.contains("192.0.2.1"), "{page}");
    assert!(page.contains("everything you may do") && page.contains("90 days"), "{page}");
    assert!(ended.out.starts_with("Login succeeded: alice at registry.example.org, until 2"), "{}", ended.out);
    let code = ended.err.split_once("user_code=").unwrap().1[..9].to_owned();
    let letters: Vec<String> = code.replace('-', "").chars().map(String::from).collect();
    assert!(ended.err.contains(&format!("Letter by letter, it is {}.", letters.join(", "))), "{}", ended.err);
    assert!(ended.err.contains("https://auth.example.org/device?user_code=") && ended.err.contains("unencrypted"));

    let file = home.path("elsewhere/docker.json");
    let after = json_in(&file);
    let pair = after["auths"][REGISTRY]["auth"].as_str().unwrap();
    let pair = String::from_utf8(STANDARD.decode(pair).unwrap()).unwrap();
    let password = pair.strip_prefix("alice:").unwrap();
    assert!(password.starts_with("dwp_") && !(ended.out + &ended.err).contains(password));
    let mut expected = before;
    expected["auths"][REGISTRY] = after["auths"][REGISTRY].clone();
    assert_eq!((after, mode(&file)), (expected.clone(), 0o600));
    assert_eq!(
        (names(&home.path("elsewhere")), names(&home.path(".docker"))),
        (vec!["docker.json".to_owned()], vec!["config.json".to_owned()])
    );
    assert!(home.path(".docker/config.json").is_symlink(), "a link stays one");
    assert!(!grants(&bed, password).await.is_empty());

    let logout = at_home(&home, dockwarden(), &["logout", REGISTRY]).output().unwrap();
    assert!(logout.status.success(), "{logout:?}");
    expected["auths"].as_object_mut().unwrap().remove(REGISTRY);
    assert_eq!(json_in(&file), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helper_that_docker_is_told_of_stores_the_password() {
    for (config, more) in [
        (json!({"credHelpers": {REGISTRY: "desk"}, "credsStore": "other"}), &[][..]),
        (json!({"credsStore": "desk", "auths": {REGISTRY: {"auth": "b2xkOm9sZA=="}}}), &["--pull-only", "--days", "7"]),
    ] {
        let (bed, home) = (bed(), Folder::new());
        put_helper(&home, "desk");
        let file = put(&home, "docker/config.json", &config.to_string());
        let url = serve(bed.router()).await;
        let mut command = at_home(&home, dockwarden(), &[&["login", &url], more].concat());
        command.env("DOCKER_CONFIG", home.path("docker"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut login = Login { child, said: String::new() };
        let code = login.code();
        let page = approve(&bed, &code).await;
        let ended = login.ends().await;
        assert_eq!(ended.code, 0, "{}", ended.err);
        assert!(!ended.err.contains("unencrypted"), "{}", ended.err);
        let asked = json_in(&home.path("asked-store"));
        assert_eq!((&asked["ServerURL"], &asked["Username"]), (&json!(REGISTRY), &json!("alice")));
        let password = asked["Secret"].as_str().unwrap();
        let mut expected = config;
        expected["auths"][REGISTRY] = json!({});
        assert_eq!(json_in(&file), expected, "that there is a login, and no password");
        let granted = grants(&bed, password).await;
        if more.is_empty() {
            assert_eq!(granted, ["repository:dev/app:pull,push"]);
        } else {
            assert!(page.contains("pull only") && page.contains("7 days"), "{page}");
            assert_eq!(granted, ["repository:dev/app:pull"]);
        }
        let logout =
            at_home(&home, dockwarden(), &["logout", REGISTRY]).env("DOCKER_CONFIG", home.path("docker")).output();
        assert!(logout.unwrap().status.success());
        assert_eq!(fs::read_to_string(home.path("asked-erase")).unwrap(), REGISTRY);
    }
}

/// As docker does where nobody has logged in yet; and our own helper knows when a password ends.
#[tokio::test(flavor = "multi_thread")]
async fn helpers_of_the_system_and_our_own_store_it() {
    let (bed, home, own) = (bed(), Folder::new(), Folder::new());
    put_helper(&home, "secretservice");
    put(&own, ".docker/config.json", &json!({"credHelpers": {REGISTRY: "dockwarden"}}).to_string());
    let helper = own.path("bin/docker-credential-dockwarden");
    fs::create_dir_all(own.path("bin")).unwrap();
    symlink(dockwarden(), &helper).unwrap();
    let ((found, _), (kept, _)) = tokio::join!(logged_in(&bed, &home, &[]), logged_in(&bed, &own, &[]));
    assert!(!(found.err + &kept.err).contains("unencrypted"));
    assert_eq!(
        json_in(&home.path(".docker/config.json")),
        json!({"auths": {REGISTRY: {}}, "credsStore": "secretservice"})
    );
    assert!(json_in(&home.path("asked-store"))["Secret"].as_str().unwrap().starts_with("dwp_"));
    assert_eq!((mode(&home.path(".docker")), mode(&home.path(".docker/config.json"))), (0o700, 0o600));

    let file = own.path(".local/state/dockwarden/logins/registry.example.org.json");
    assert_eq!(mode(&file), 0o600);
    let get = || {
        let mut command = at_home(&own, &helper, &["get"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), REGISTRY.as_bytes()).unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (child.wait().unwrap().code().unwrap(), out, err)
    };
    let (code, out, _) = get();
    let got: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &got["Username"]), (0, &json!("alice")));
    assert!(!grants(&bed, got["Secret"].as_str().unwrap()).await.is_empty());
    let mut ended = json_in(&file);
    assert!(ended["ends"].as_i64().unwrap() > 0, "when it ends is known");
    ended["ends"] = 86_400.into();
    fs::write(&file, ended.to_string()).unwrap();
    let (code, out, err) = get();
    assert_eq!((code, out.as_str()), (1, "credentials not found in native keychain\n"));
    assert!(err.contains("ended on 1970-01-02") && err.contains("dockwarden login"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_printed_alone_where_that_is_asked() {
    let (bed, home) = (bed(), Folder::new());
    let (ended, _) = logged_in(&bed, &home, &["--print", "--registry", "localhost:5000"]).await;
    let password = ended.out.strip_suffix('\n').unwrap();
    assert!(password.starts_with("dwp_") && !ended.err.contains(password), "{}", ended.err);
    assert!(ended.err.contains("For localhost:5000 as alice, until 2"), "{}", ended.err);
    assert!(!grants(&bed, password).await.is_empty());
    assert!(!home.path(".docker").exists());
}

/// What cannot be stored is not made; what was made and not stored is said.
#[tokio::test(flavor = "multi_thread")]
async fn no_password_is_lost() {
    let (bed, home) = (bed(), Folder::new());
    let url = serve(bed.router()).await;
    for (config, expected) in [
        (json!({"credsStore": "gone"}).to_string(), "docker-credential-gone in credsStore, which is not in PATH"),
        (json!({"credHelpers": {REGISTRY: "gone"}}).to_string(), "docker-credential-gone in credHelpers"),
        (json!({"credHelpers": {REGISTRY: "dockwarden"}}).to_string(), "docker-credential-dockwarden in credHelpers"),
        (json!({"credHelpers": {REGISTRY: 1}}).to_string(), "credHelpers is not as docker writes it"),
        ("{\"auths\": canary".to_owned(), "config.json: this is not an object of JSON"),
    ] {
        put(&home, ".docker/config.json", &config);
        let ended = Login::start(&home, &url, &[]).ends().await;
        assert_eq!((ended.code, ended.out.as_str()), (1, ""));
        assert!(ended.err.contains(expected) && !ended.err.contains("canary"), "{}", ended.err);
        assert!(!ended.err.contains("user_code"), "nobody is asked to approve it: {}", ended.err);
        assert_eq!(fs::read_to_string(home.path(".docker/config.json")).unwrap(), config);
    }
    // The helper fails, and repeats what it was given.
    put_helper(&home, "desk");
    home.put("fails", "");
    put(&home, ".docker/config.json", "{\"credsStore\": \"desk\"}");
    let mut login = Login::start(&home, &url, &[]);
    let code = login.code();
    approve(&bed, &code).await;
    let ended = login.ends().await;
    assert_eq!((ended.code, ended.out.as_str()), (1, ""));
    assert!(
        ended.err.contains("docker-credential-desk cannot store") && ended.err.contains("/account"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("[secret]") && !ended.err.contains("dwp_"), "{}", ended.err);
}

/// Servers that a terminal should not believe, and what it says of each.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_answers_otherwise_is_told_in_a_line() {
    let page = "https://auth.example.org/device";
    let begun = |page: &str| json!({"device_code": "d", "user_code": "BCDF-\u{1b}[2JGHJK", "verification_uri": page, "expires_in": 60, "interval": 1, "registry": REGISTRY});
    let refused = |error: &str| (400, json!({"error": error}));
    for (begin, poll, expected) in [
        ((404, json!({})), refused(""), "takes no logins of terminals"),
        ((200, json!({"canary": "canary"})), refused(""), "does not answer as a Dockwarden does"),
        (
            (429, json!({"error": "temporarily_unavailable", "error_description": "too\u{7} many"})),
            refused(""),
            "too\\u{7} many",
        ),
        ((500, json!("canary")), refused(""), "the server answers 500"),
        ((200, begun("http://auth.example.org/device")), refused(""), "not one over TLS"),
        ((200, begun("javascript:alert(1)")), refused(""), "not one over TLS"),
        ((200, begun(page)), refused("access_denied"), "access_denied"),
        ((200, begun(page)), refused("expired_token"), "expired_token"),
        ((200, begun(page)), refused("invalid_grant"), "invalid_grant"),
        ((200, begun(page)), (200, json!({"access_token": "canary"})), "does not answer as a Dockwarden does"),
    ] {
        let said = Arc::new(Mutex::new(vec![poll, begin]));
        let answer = move || {
            let (status, body) = said.lock().unwrap().pop().unwrap();
            async move { (axum::http::StatusCode::from_u16(status).unwrap(), body.to_string()) }
        };
        let url = serve(Router::new().fallback(any(answer))).await;
        let home = Folder::new();
        let ended = Login::start(&home, &url, &[]).ends().await;
        assert_eq!((ended.code, ended.out.as_str()), (1, ""), "{expected}: {}", ended.err);
        assert!(ended.err.contains(expected) && !ended.err.contains("canary"), "{expected}: {}", ended.err);
        assert!(!ended.err.contains('\u{1b}'), "a terminal would obey: {}", ended.err);
        assert!(!home.path(".docker").exists());
    }
    let nowhere = Login::start(&Folder::new(), "http://127.0.0.1:1", &[]).ends().await;
    assert_eq!(nowhere.code, 1);
    let plain = Login::start(&Folder::new(), "http://auth.example.org", &[]).ends().await;
    assert_eq!(plain.code, 1);
    assert!(plain.err.contains("--plain-http"), "{}", plain.err);
    for (more, code) in
        [(["--registry", "https://registry.example.org/v2"], 1), (["--days", "0"], 2), (["--days", "366"], 2)]
    {
        assert_eq!(Login::start(&Folder::new(), "http://127.0.0.1:1", &more).ends().await.code, code, "{more:?}");
    }
}
