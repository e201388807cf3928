//! A real server with GitHub's paths that is an OpenID provider too, Gitea: its teams are labels, and whoever leaves them has nothing of them.

use std::process::Command;

use serde_json::{Value, json};

use super::people::{PLAIN, Site, made};
use crate::support::browser::Browser;
use crate::support::dockwarden::Dockwarden;
use crate::support::process::Process;
use crate::support::registry::Edition;
use crate::support::{http, part, port, scratch, visit};

/// Who may do everything there.
const ADMIN: (&str, &str) = ("boss", "the password of boss 1");
/// The password of everybody else.
const PASSWORD: &str = "the password of all 2";

/// A running Gitea.
struct Gitea {
    _process: Process,
    /// `127.0.0.1:port`
    address: String,
}

impl Gitea {
    fn start() -> Gitea {
        let directory = scratch::directory("gitea");
        let files = part::path("long/gitea-files/version");
        port::with_free(|[port]| {
            let address = format!("127.0.0.1:{port}");
            let config = scratch::write(
                &directory,
                "app.ini",
                &format!(
                    "WORK_PATH = {here}\nI_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true\n\
                     [server]\nHTTP_ADDR = 127.0.0.1\nHTTP_PORT = {port}\nROOT_URL = http://{address}/\nSTATIC_ROOT_PATH = {files}\n\
                     DISABLE_SSH = true\nOFFLINE_MODE = true\n\
                     [database]\nDB_TYPE = sqlite3\nPATH = {here}/gitea.db\n\
                     [security]\nINSTALL_LOCK = true\nSECRET_KEY = of-nobody-else\nPASSWORD_HASH_ALGO = pbkdf2$1000$50\n\
                     [oauth2]\nJWT_SIGNING_ALGORITHM = RS256\n\
                     [service]\nDISABLE_REGISTRATION = true\n[indexer]\nISSUE_INDEXER_TYPE = db\n[cron]\nENABLED = false\n\
                     [log]\nMODE = console\nLEVEL = Info\n",
                    here = directory.display(),
                    files = files.parent().unwrap().display(),
                ),
            );
            let gitea = |arguments: &[&str]| {
                let mut command = Command::new(part::path("long/gitea"));
                command.env_clear().env("HOME", &directory).env("PATH", std::env::var_os("PATH").unwrap());
                command.arg("--config").arg(&config).args(arguments);
                command
            };
            let (name, password) = ADMIN;
            let mail = format!("{name}@example.org");
            part::run(&mut gitea(&["migrate"])).well();
            let user = ["admin", "user", "create", "--admin", "--must-change-password=false", "--username", name];
            part::run(gitea(&user).args(["--password", password, "--email", &mail])).well();
            let process = Process::start("gitea", &gitea(&["web"]));
            let listens = |process: &Process| process.log().contains("Starting new Web server").then_some(());
            process.up_or_ended("the line that it listens", listens)?;
            process.until("an answer", |_| {
                let asked = http::request("GET", "/api/v1/version", &address, &[], b"");
                http::Connection::open(&address).and_then(|mut connection| connection.send(&asked)).ok()
            });
            Some(Gitea { _process: process, address })
        })
    }

    /// What its API answers to the administrator.
    fn ask(&self, method: &str, target: &str, body: &Value) -> Value {
        let login = visit::basic(ADMIN.0, ADMIN.1);
        let headers = [("Authorization", login.as_str()), ("Content-Type", "application/json")];
        let asked =
            http::request(method, &format!("/api/v1{target}"), &self.address, &headers, body.to_string().as_bytes());
        let reply = http::exchange(&self.address, &asked);
        assert!((200..300).contains(&reply.status), "{method} {target}: {} {}", reply.status, reply.text());
        serde_json::from_slice(&reply.body).unwrap_or_default()
    }

    /// Has somebody in these teams.
    fn user(&self, name: &str, teams: &[u64]) {
        self.ask(
            "POST",
            "/admin/users",
            &json!({
                "username": name, "email": format!("{name}@example.org"), "password": PASSWORD, "must_change_password": false,
            }),
        );
        for team in teams {
            self.ask("PUT", &format!("/teams/{team}/members/{name}"), &json!({}));
        }
    }

    /// Makes a team of the organisation.
    fn team(&self, name: &str) -> u64 {
        let team = json!({"name": name, "permission": "read", "units": ["repo.code"]});
        self.ask("POST", "/orgs/acme/teams", &team)["id"].as_u64().unwrap()
    }

    fn leaves(&self, name: &str, team: u64) {
        self.ask("DELETE", &format!("/teams/{team}/members/{name}"), &json!({}));
    }
}

/// Signs in at Gitea from our page, and makes a docker password.
fn password_of(site: &Site, name: &str, way: &str) -> String {
    let mut browser = Browser::start(&site.pages, PLAIN);
    browser.open("/sign-in");
    browser.press(&format!("role=link[name='Sign in with {way}']"));
    browser.fill("#user_name", name);
    browser.fill("#password", PASSWORD);
    browser.press("form:has(#password) button");
    browser.press("role=button[name='Authorize Application']");
    browser.arrive("/account");
    let (_, password) = made(&mut browser, "laptop");
    password
}

/// What a docker password lets somebody do to a repository, or the status of the refusal.
fn may(dockwarden: &Dockwarden, account: &str, password: &str, repository: &str) -> Result<Vec<String>, u16> {
    let target = format!("/auth?service=reg&scope=repository:{repository}:pull,push");
    let line = visit::basic(account, password);
    let asked = http::request("GET", &target, &dockwarden.host(), &[("Authorization", &line)], b"");
    let reply = http::exchange(&dockwarden.address, &asked);
    if reply.status != 200 {
        return Err(reply.status);
    }
    let claims = visit::claims(reply.json()["token"].as_str().unwrap());
    let actions = claims["access"][0]["actions"].as_array().cloned().unwrap_or_default();
    Ok(actions.iter().map(|action| action.as_str().unwrap().to_owned()).collect())
}

#[test]
fn gitea_tells_teams_by_githubs_paths_and_groups_by_openid_and_who_leaves_them_has_nothing_of_them() {
    let gitea = Gitea::start();
    gitea.ask("POST", "/orgs", &json!({"username": "acme"}));
    let (builders, readers) = (gitea.team("builders"), gitea.team("readers"));
    gitea.user("ada", &[builders, readers]);
    gitea.user("eve", &[builders, readers]);
    gitea.user("mallory", &[]);
    let site = Site::start(Edition::V3, "", |pages| {
        let both = [format!("{pages}/github_auth"), format!("{pages}/oidc_auth")];
        let application = gitea.ask(
            "POST",
            "/user/applications/oauth2",
            &json!({
                "name": "registry", "redirect_uris": both, "confidential_client": true,
            }),
        );
        let text = |name: &str| application[name].as_str().unwrap().to_owned();
        let client = format!(
            "plain_http: loopback, revalidate_after: 0, client_id: {}, client_secret: {}",
            text("client_id"),
            text("client_secret")
        );
        let at = format!("http://{}", gitea.address);
        format!(
            "users: {{}}\nacl:\n  - {{match: {{labels: {{teams: builders}}, name: \"app/*\"}}, actions: [pull, push]}}\n  \
             - {{match: {{labels: {{groups: \"acme:builders\"}}, name: \"app/*\"}}, actions: [pull, push]}}\n\
             github_auth: {{{client}, title: GitHub, redirect_url: \"{pages}/github_auth\", organization: Acme, \
             github_web_uri: \"{at}\", github_api_uri: \"{at}/api/v1\"}}\n\
             oidc_auth: {{{client}, title: OpenID, redirect_url: \"{pages}/oidc_auth\", issuer: \"{at}\", account_prefix: \"oidc:\", \
             user_claim: preferred_username, label_claims: [groups], scopes: [openid, profile, groups]}}\n"
        )
    });
    let both = || Ok(vec!["pull".to_owned(), "push".to_owned()]);
    for (name, account, way) in [("ada", "ada", "GitHub"), ("eve", "oidc:eve", "OpenID")] {
        let password = password_of(&site, name, way);
        let ask = |repository| may(&site.dockwarden, account, &password, repository);
        assert_eq!(ask("app/web"), both(), "{way}");
        assert_eq!(ask("app/web"), both(), "{way}: once more, after it was asked again");
        assert_eq!(ask("other/web"), Ok(Vec::new()), "{way}");
        gitea.leaves(name, builders);
        assert_eq!(ask("app/web"), Ok(Vec::new()), "{way}: out of the team");
        gitea.leaves(name, readers);
        match way {
            "GitHub" => assert_eq!(ask("app/web"), Err(401), "out of the organisation"),
            _ => assert_eq!(ask("app/web"), Ok(Vec::new()), "known, and in nothing"),
        }
    }
    // Who is in no team of the organisation does not come in.
    let mut browser = Browser::start(&site.pages, PLAIN);
    browser.open("/github_auth");
    browser.fill("#user_name", "mallory");
    browser.fill("#password", PASSWORD);
    browser.press("form:has(#password) button");
    browser.press("role=button[name='Authorize Application']");
    assert!(browser.text("h1:has-text('You may not sign in')").contains("may not"));
    site.dockwarden.process.keeps_secrets();
}
