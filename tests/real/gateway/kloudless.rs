//! The Kloudless recipe as its page shows it: licences of an API, images in ECR, two gateways that share nothing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::ecr::{ACCOUNT, CREDENTIALS, Changing, NO_TOKEN_YET};
use crate::support::dockwarden::{Dockwarden, program};
use crate::support::http::{self, Connection, Reply};
use crate::support::http_api::HttpApi;
use crate::support::image::{self, TAG};
use crate::support::part::{self, Said};
use crate::support::person::Person;
use crate::support::process::until;
use crate::support::recipe::Recipe;
use crate::support::visit::basic;
use crate::support::{client, scratch};

/// What the API knows: this token is licensed for the channels `stable` and `beta`, that one for `beta`.
const BOTH: &str = "both-token";
const BETA: &str = "beta-token";
const EMAIL: &str = "dev@example.com";
/// How clients say that they were refused.
const REFUSED: &[&str] = &["unauthorized", "denied", "invalid username/password"];
const ACCEPT: (&str, &str) = ("Accept", "application/vnd.oci.image.manifest.v1+json");

/// The parts of the recipe, with the images of three channels in the registry.
struct Parts {
    api: HttpApi,
    ecr: Changing,
}

impl Parts {
    fn start(life: Duration) -> Self {
        let parts = Self { api: HttpApi::start(), ecr: Changing::start(life) };
        let image = image::layout("kloudless");
        let source = format!("oci:{}:{TAG}", image.directory.display());
        let home = client::home();
        // Before the first token there is a password for whoever fills the registry.
        let vendor = format!("AWS:{NO_TOKEN_YET}");
        for name in ["stable/app", "beta/app", "beta", "dev/app"] {
            let place = format!("docker://{}/{name}:latest", parts.ecr.registry.host());
            let copy = ["copy", "--dest-tls-verify=false", "--dest-creds", &vendor, &source, &place];
            part::run(client::skopeo(&home).args(copy)).well();
        }
        parts
    }

    /// The page's file, with this machine's addresses in it.
    fn config(&self) -> String {
        let ecr = format!(
            "ecr: {{region: eu-central-1, registry_id: \"{ACCOUNT}\", endpoint: \"http://{}\"}}",
            self.ecr.api.address
        );
        Recipe::read("gateway-ecr.md").file(
            "auth_config.yml",
            &[
                ("\":8080\"", "\"127.0.0.1:0\""),
                ("/var/lib/dockwarden", scratch::directory("token").to_str().unwrap()),
                ("https://api.kloudless.com", &self.api.origin()),
                (
                    &format!("https://{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com"),
                    &format!("http://{}", self.ecr.registry.address()),
                ),
                ("ecr: {}", &ecr),
            ],
        )
    }

    fn gateway(&self) -> Dockwarden {
        Dockwarden::start_in(&self.config(), CREDENTIALS)
    }
}

fn ask(gateway: &Dockwarden, token: Option<&str>, method: &str, target: &str) -> Reply {
    let authorization = token.map(|token| basic(EMAIL, token)).unwrap_or_default();
    let mut headers = vec![ACCEPT];
    if token.is_some() {
        headers.push(("Authorization", &authorization));
    }
    http::exchange(&gateway.address, &http::request(method, target, &gateway.host(), &headers, b""))
}

fn names(reply: &Reply) -> Vec<String> {
    let names = reply.json()["repositories"].as_array().unwrap().clone();
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn customers_pull_the_licensed_channels_and_change_nothing() {
    let parts = Parts::start(Duration::from_secs(600));
    let gateways = [parts.gateway(), parts.gateway()];
    let mut check = part::command_at(program());
    check.arg("check").arg("--connect").arg(&gateways[0].config).envs(CREDENTIALS.iter().copied());
    let said = part::run(&mut check).well();
    assert!(said.stdout.contains("\ngateway: ok: ") && said.stdout.contains("\nhttp_auth: ok: "), "{}", said.text);
    for gateway in &gateways {
        docker_pulls(&gateway.host());
        skopeo_and_crane_see_no_more(&gateway.host());
        let get = |token, target: &str| ask(gateway, token, "GET", target).status;
        assert_eq!(get(None, "/v2/"), 401);
        assert_eq!(ask(gateway, None, "GET", "/v2/").header("www-authenticate"), Some("Basic realm=\"Kloudless\""));
        assert_eq!(get(Some("no-token"), "/v2/"), 401);
        assert_eq!(get(Some(BETA), "/v2/"), 200);
        assert_eq!(get(Some(BETA), "/v2/beta/manifests/latest"), 200);
        assert_eq!(get(Some(BETA), "/v2/beta/app/tags/list"), 200);
        assert_eq!(get(Some(BETA), "/v2/betamax/app/tags/list"), 403);
        assert_eq!(get(Some(BETA), "/v2/beta/../stable/app/manifests/latest"), 400);
        assert_eq!(names(&ask(gateway, Some(BETA), "GET", "/v2/_catalog")), ["beta", "beta/app"]);
        assert_eq!(names(&ask(gateway, Some(BOTH), "GET", "/v2/_catalog")), ["beta", "beta/app", "stable/app"]);
        for (method, target) in CHANGES {
            assert_eq!(ask(gateway, Some(BOTH), method, target).status, 403, "{method} {target}");
        }
        let log = gateway.whole_log();
        for secret in [BOTH, BETA, "no-token", "token-", "QVdT", CREDENTIALS[1].1] {
            assert!(!log.contains(secret), "{secret} is in the log");
        }
        assert!(log.contains(EMAIL), "who pulled is in the log");
    }
}

/// Everything that changes something.
const CHANGES: &[(&str, &str)] = &[
    ("POST", "/v2/beta/app/blobs/uploads/"),
    ("PATCH", "/v2/beta/app/blobs/uploads/1"),
    ("PUT", "/v2/beta/app/manifests/latest"),
    ("DELETE", "/v2/beta/app/manifests/latest"),
];

fn docker_pulls(host: &str) {
    Person::new(host).login(EMAIL, "no-token").refused(REFUSED);
    let customer = Person::logged_in(host, EMAIL, BETA);
    customer.pull("beta/app").well();
    let pulled = format!("{host}/beta/app:latest");
    customer.pull("stable/app").refused(REFUSED);
    customer.push(&pulled, "beta/app").refused(REFUSED);
    customer.push(&pulled, "beta/other").refused(REFUSED);
    customer.forget(&pulled);
}

fn skopeo_and_crane_see_no_more(host: &str) {
    let home = client::home();
    let skopeo = |arguments: &[&str]| -> Said { part::run(client::skopeo(&home).args(arguments)) };
    let crane = |arguments: &[&str]| -> Said { part::run(client::crane(&home).args(arguments)) };
    skopeo(&["login", "--tls-verify=false", "-u", EMAIL, "-p", BOTH, host]).well();
    crane(&["auth", "login", host, "-u", EMAIL, "-p", BOTH]).well();
    let copy = |name: &str, place: &Path| {
        let (from, to) = (format!("docker://{host}/{name}:latest"), format!("oci:{}:{TAG}", place.display()));
        skopeo(&["copy", "--src-tls-verify=false", &from, &to])
    };
    copy("stable/app", &home.join("stable")).well();
    copy("dev/app", &home.join("dev")).refused(REFUSED);
    let source = format!("oci:{}:{TAG}", home.join("stable").display());
    skopeo(&["copy", "--dest-tls-verify=false", &source, &format!("docker://{host}/stable/app:new")]).refused(REFUSED);
    let mut listed: Vec<String> =
        crane(&["catalog", "--insecure", host]).well().stdout.lines().map(str::to_owned).collect();
    listed.sort();
    assert_eq!(listed, ["beta", "beta/app", "stable/app"]);
    assert_eq!(crane(&["ls", "--insecure", &format!("{host}/stable/app")]).well().stdout.trim(), "latest");
    crane(&["ls", "--insecure", &format!("{host}/dev/app")]).refused(REFUSED);
}

/// Whatever somebody writes into the rules later.
#[test]
fn nothing_is_changed_though_a_rule_would_allow_it() {
    let parts = Parts::start(Duration::from_secs(600));
    let config = parts.config();
    assert!(config.contains("actions: [pull]"));
    let gateway = Dockwarden::start_in(&config.replace("actions: [pull]", "actions: [\"*\"]"), CREDENTIALS);
    for (method, target) in CHANGES {
        let reply = ask(&gateway, Some(BOTH), method, target);
        assert_eq!(
            (reply.status, reply.json()["errors"][0]["code"].as_str()),
            (405, Some("UNSUPPORTED")),
            "{method} {target}"
        );
        assert_eq!(reply.header("allow"), Some("GET, HEAD"));
    }
    assert_eq!(ask(&gateway, Some(BOTH), "GET", "/v2/beta/app/manifests/latest").status, 200);
}

/// Both gateways under load while the token changes again and again, each time making the one before worthless: every
/// pull of manifest and layer is whole.
#[test]
fn the_token_is_renewed_under_load_and_no_pull_fails() {
    let parts = Parts::start(Duration::from_secs(5));
    let gateways = [parts.gateway(), parts.gateway()];
    let manifest = ask(&gateways[0], Some(BETA), "GET", "/v2/beta/app/manifests/latest");
    let layer = manifest.json()["layers"][0].clone();
    let (digest, size) = (layer["digest"].as_str().unwrap().to_owned(), layer["size"].as_u64().unwrap());
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let loads = thread::scope(|scope| {
        let loads: Vec<_> = gateways
            .iter()
            .flat_map(|gateway| [(gateway, BETA), (gateway, BOTH)])
            .map(|(gateway, token)| {
                let (done, answered, digest, whole) = (&done, &answered, &digest, &manifest.body);
                scope.spawn(move || {
                    let authorization = basic(EMAIL, token);
                    let headers = [("Authorization", authorization.as_str()), ACCEPT];
                    let raw = |target: &str| http::request("GET", target, &gateway.host(), &headers, b"");
                    let (first, second) =
                        (raw("/v2/beta/app/manifests/latest"), raw(&format!("/v2/beta/app/blobs/{digest}")));
                    let mut connection = Connection::open(&gateway.address).unwrap();
                    while !done.load(Ordering::SeqCst) {
                        let reply = connection.send(&first).unwrap();
                        assert!(
                            reply.status == 200 && reply.body == *whole,
                            "{}\n{}",
                            reply.text(),
                            gateway.process.tail()
                        );
                        let reply = connection.send(&second).unwrap();
                        assert_eq!((reply.status, reply.body.len() as u64), (200, size), "{}", gateway.process.tail());
                        answered.fetch_add(2, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("the fifth token", || {
                let failed = loads.iter().any(thread::ScopedJoinHandle::is_finished);
                (failed || parts.ecr.tokens() >= 5).then_some(())
            });
        }));
        done.store(true, Ordering::SeqCst);
        seen.unwrap();
        loads.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
    });
    for load in loads {
        load.unwrap();
    }
    let (answered, calls) = (answered.load(Ordering::SeqCst), parts.ecr.calls());
    eprintln!("{answered} requests, {} tokens, {calls} questions to the API", parts.ecr.tokens());
    assert!(parts.ecr.tokens() >= 5 && answered > 300, "{answered} requests were no load");
    assert!(calls < answered / 10, "{calls} questions for {answered} requests");
}
