//! No secret comes out: a server with every kind of backend, logging all that it can, is given passwords, keys and tokens that
//! nothing else looks like; then its log, its metrics, its refusals and its process are searched for them in every form.

use std::fs;
use std::io::{BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mongodb::bson::doc;
use serde_json::json;

use crate::mongo::guide_file;
use crate::sessions::oidc::Key;
use crate::sessions::{issuer, workload};
use crate::support::canary::forms;
use crate::support::dockwarden::{self, SERVICE, hash, program};
use crate::support::http::{self, Reply};
use crate::support::http_api::HttpApi;
use crate::support::keys::{self, Kind};
use crate::support::mongo::Database;
use crate::support::process::{Process, Signal, until};
use crate::support::slapd::{self, PEOPLE, READER, Slapd};
use crate::support::sql::{Product, Tables, reader_password};
use crate::support::standin::{Head, Standin, Then};
use crate::support::{clock, http2, part, scratch, visit};

/// What each secret of the test begins with, and how it goes on.
fn canary(name: &str) -> String {
    format!("Zq7Xv{name}9Kd:p+w% ö&")
}

/// The letters and digits of a secret, which stand in every form of it.
fn core(secret: &str) -> &str {
    let end = secret.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(secret.len());
    &secret[..end]
}

#[test]
fn the_forms_of_a_secret_are_found_where_they_stand() {
    for before in ["", "a", "ab", "alice:"] {
        let text = STANDARD.encode(format!("{before}Zq7XvCanary9Kd and more"));
        assert!(forms("Zq7XvCanary9Kd").iter().any(|form| text.contains(form.as_str())), "{before}");
    }
    assert!(forms("Zq7").contains("5a7137") && forms("Zq7").contains("90, 113, 55"));
}

/// Asks by GET, by POST, over HTTP/2, and through the door of proxies.
fn ask_everywhere(address: &str, account: &str, secret: &str) -> Vec<Reply> {
    let authorization = visit::basic(account, secret);
    // The second is decided by the HTTP API, the third by the program.
    let scopes = "repository:test:pull+repository:open/app:pull+repository:next/app:pull";
    let target = format!("/auth?service={}&scope={scopes}", http::form_encode(SERVICE));
    let form = format!(
        "grant_type=password&service={}&username={}&password={}",
        http::form_encode(SERVICE),
        http::form_encode(account),
        http::form_encode(secret)
    );
    let original = [("X-Original-Method", "GET"), ("X-Original-URI", "/v2/test/manifests/latest")];
    let with = |line: &str| {
        let headers = [&[("Authorization", line)], &original[..]].concat();
        http::request("GET", "/forward_auth", "localhost", &headers, b"")
    };
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let mut second = http2::Connection::open(address, 65_535);
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", &target), (":authority", "localhost")];
    second.ask(0, &[&fields[..], &[("authorization", authorization.as_str())]].concat());
    until("the reply over HTTP/2", || {
        second.attend();
        (second.replies > 0).then_some(())
    });
    vec![
        http::exchange(address, &http::request("GET", &target, "localhost", &[("Authorization", &authorization)], b"")),
        http::exchange(address, &http::request("POST", "/auth", "localhost", &kind, form.as_bytes())),
        http::exchange(address, &with(&authorization)),
        // Where a token should be.
        http::exchange(address, &with(&format!("Bearer {secret}").replace('ö', "o"))),
        http::exchange(
            address,
            &http::request("GET", &target, "localhost", &[("Authorization", &format!("Basic {}", core(secret)))], b""),
        ),
    ]
}

/// A program's text, as a file that can be executed.
fn script(folder: &Path, name: &str, text: &str) -> PathBuf {
    let script = scratch::write(folder, name, text);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

/// An upstream, the token service of one, and ECR: each takes only what it was promised, and a token of two of them is a secret
/// of its own. Whoever comes without is told so, with the secret in the reply, as a careless registry might.
fn registries() -> Standin {
    let basic = visit::basic("inside", &canary("Upstream"));
    let token_login = visit::basic("robot", &canary("TokenLogin"));
    let ecr_login = visit::basic("AWS", &canary("EcrToken"));
    Standin::start(move |head: &Head, stream: &mut BufReader<TcpStream>| {
        let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).unwrap();
        let authorization = head.header("authorization").unwrap_or_default();
        let target = head.line.split(' ').nth(1).unwrap();
        let is_due = |due: &str| if authorization == due { 200 } else { 401 };
        let (status, body) = match target {
            "/" => {
                let token = ecr_login.strip_prefix("Basic ").unwrap();
                (
                    200,
                    format!(
                        "{{\"authorizationData\":[{{\"authorizationToken\":\"{token}\",\"expiresAt\":4102444800.0}}]}}"
                    ),
                )
            }
            target if target.starts_with("/token") => {
                (is_due(&token_login), "{\"token\":\"Zq7XvServiceToken9Kd\",\"expires_in\":300}".to_owned())
            }
            target if target.contains("/basic/") => (is_due(&basic), "{}".to_owned()),
            target if target.contains("/token/") => (is_due("Bearer Zq7XvServiceToken9Kd"), "{}".to_owned()),
            target if target.contains("/ecr/") => (is_due(&ecr_login), "{}".to_owned()),
            _ => (401, format!("{{\"errors\":[{{\"message\":\"{authorization} is wrong\"}}]}}")),
        };
        let reply = format!(
            "HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nSet-Cookie: {authorization}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        match stream.get_mut().write_all(reply.as_bytes()) {
            Ok(()) => Then::GoOn,
            Err(_) => Then::Close,
        }
    })
}

/// The gateway to those, one by each kind of login; the last one's password is wrong.
fn gateway(registries: &Standin) -> String {
    let at = format!("http://{}", registries.address);
    let login = |account: &str, secret: &str| format!("username: {account}, password: \"{secret}\"");
    format!(
        "gateway:\n  service: \"{SERVICE}\"\n  upstreams:\n    \
         - {{url: \"{at}\", name: basic, prefix: basic, auth: {{basic: {{{}}}}}}}\n    \
         - {{url: \"{at}\", name: token, prefix: token, auth: {{token: {{realm: \"{at}/token\", service: inside, {}}}}}}}\n    \
         - {{url: \"{at}\", name: ecr, prefix: ecr, auth: {{ecr: {{region: eu-central-1, registry_id: \"012345678901\", endpoint: \"{at}\"}}}}}}\n    \
         - {{url: \"{at}\", name: wrong, prefix: wrong, auth: {{basic: {{{}}}}}}}\n",
        login("inside", &canary("Upstream")),
        login("robot", &canary("TokenLogin")),
        login("inside", &canary("WrongUpstream")),
    )
}

/// A workload's tokens: one that is good, and those that are refused.
struct Jwts {
    good: String,
    refused: Vec<String>,
}

/// The account that they are for.
const WORKLOAD: &str = "github:octo/app";

impl Jwts {
    fn of(key: &Key) -> Jwts {
        let ends = |seconds: i64| {
            let made = clock::now() + seconds - 300;
            key.sign(&json!({
                "iss": "https://token.actions.githubusercontent.com", "aud": "registry.example.org", "iat": made,
                "nbf": made, "exp": made + 300, "sub": "repo:octo/app:ref:refs/heads/main", "repository": "octo/app",
                "repository_owner_id": "1234", "ref": "refs/heads/main", "event_name": "push",
            }))
        };
        let good = ends(300);
        let (rest, signature) = good.rsplit_once('.').unwrap();
        // As one that was cut by a shell, and one with another's signature.
        let refused =
            [ends(-300), good[..good.len() - 9].to_owned(), format!("{rest}.{}", signature.replace('A', "B") + "AA")];
        Jwts { good, refused: refused.to_vec() }
    }

    /// Presents them in every slot, and changes the good one for a session. Gives that, and what was said meanwhile.
    fn present(&self, address: &str) -> (String, String) {
        let exchange = |jwt: &str| {
            let form = format!(
                "grant_type={}&subject_token_type={}&subject_token={jwt}&audience={}",
                http::form_encode("urn:ietf:params:oauth:grant-type:token-exchange"),
                http::form_encode("urn:ietf:params:oauth:token-type:jwt"),
                http::form_encode(SERVICE)
            );
            let kind = [("Content-Type", "application/x-www-form-urlencoded")];
            http::exchange(address, &http::request("POST", "/auth", "localhost", &kind, form.as_bytes()))
        };
        let exchanged = exchange(&self.good);
        let session = exchanged.json()["access_token"].as_str().map(str::to_owned);
        let session = session.unwrap_or_else(|| panic!("{}", exchanged.text()));
        let mut said = String::new();
        let asked = [("github", &self.good, true), ("nobody", &self.good, true), (&*self.good, &"x".to_owned(), false)];
        let refused = self.refused.iter().map(|jwt| ("github", jwt, false));
        for (account, secret, good) in asked.into_iter().chain(refused) {
            let replies = ask_everywhere(address, account, secret);
            let let_in = replies.iter().filter(|reply| reply.status == 200).count();
            assert_eq!(let_in, if good { 3 } else { 0 }, "{account:.6} {secret:.5}");
            for reply in replies.iter().filter(|reply| reply.status != 200) {
                said.push_str(&format!("{:?} {}\n", reply.headers, reply.text()));
            }
        }
        for jwt in &self.refused {
            let reply = exchange(jwt);
            assert_ne!(reply.status, 200);
            said.push_str(&format!("{:?} {}\n", reply.headers, reply.text()));
        }
        (session, said)
    }

    /// What of each nothing may repeat: of its claims, and of its signature.
    fn secrets(&self) -> Vec<String> {
        let parts = [&self.good].into_iter().chain(&self.refused).flat_map(|jwt| jwt.split('.').skip(1));
        parts.map(|part| part[20..60].to_owned()).collect()
    }
}

/// Makes one of each kind of secret that lasts, presents it in every slot, alive, mistyped and dead, and has commands
/// tell of it. Gives what of each is secret, and what was said meanwhile.
fn ask_with_what_lasts(config: &Path, address: &str, jwts: &Jwts) -> (Vec<String>, String) {
    let run = |arguments: &[&str], more: &[&str]| {
        let mut command = part::command_at(program());
        part::run(command.args(arguments).arg(config).args(more).env("RUST_LOG", "trace")).well()
    };
    let login = visit::basic("uwe", &canary("Users"));
    let target = format!("/auth?service={}&offline_token=true", http::form_encode(SERVICE));
    let asked = http::request("GET", &target, "localhost", &[("Authorization", &login)], b"");
    let refresh = http::exchange(address, &asked).json()["refresh_token"].as_str().unwrap().to_owned();
    let made = [("--account", "uwe"), ("--robot", "ci")].map(|owner| {
        let label = if owner.0 == "--robot" { &["--owner-label", "team=web"][..] } else { &[] };
        let more = [&[owner.0, owner.1, "--name", "canary", "--expires", "1d"][..], label].concat();
        let said = run(&["token", "create"], &more);
        let secret = said.stdout.trim().to_owned();
        assert_eq!(said.text.matches(&secret).count(), 1, "printed alone, and once");
        secret
    });
    let [personal, robot] = made;
    let (session, of_workloads) = jwts.present(address);
    let present = |account: &str, secret: &str, alive: bool| {
        // Another last digit, which is one of the checksum.
        let last = if secret.ends_with('x') { "y" } else { "x" };
        let mistyped = format!("{}{last}", &secret[..secret.len() - 1]);
        let mut said = String::new();
        // The name beside a session means nothing, as beside the token that brought it.
        let of_anybody = alive && secret.starts_with("dws_");
        let asked = [
            (account, secret, alive),
            ("nobody", secret, of_anybody),
            (secret, "x", false),
            (account, &mistyped, false),
        ];
        for (account, secret, good) in asked {
            let replies = ask_everywhere(address, account, secret);
            let let_in = replies.iter().filter(|reply| reply.status == 200).count();
            assert_eq!(let_in, if good { 3 } else { 0 }, "{account:.5} {secret:.5}");
            for reply in replies.iter().filter(|reply| reply.status != 200) {
                said.push_str(&format!("{:?} {}\n", reply.headers, reply.text()));
            }
        }
        said
    };
    let owned = [("uwe", &refresh), ("uwe", &personal), ("robot+ci", &robot), ("<token>", &session)];
    let alive: String = owned.iter().map(|(account, secret)| present(account, secret, true)).collect();
    let told = run(&["token", "list"], &["--json"]).text + &run(&["token", "list"], &[]).text;
    let ended: String = ["uwe", "robot+ci", WORKLOAD].map(|owner| run(&["user", "sign-out"], &[owner]).text).concat();
    let dead: String = owned.iter().map(|(account, secret)| present(account, secret, false)).collect();
    let mut secrets = jwts.secrets();
    secrets.extend(owned.map(|(_, secret)| secret[4..34].to_owned()));
    (secrets, of_workloads + &alive + &told + &ended + &dead)
}

#[test]
fn no_secret_comes_out_in_any_form() {
    let (database, directory, api) = (Database::start(), Slapd::start(), HttpApi::start());
    database.unique("users", "username");
    database.unique("acl", "seq");
    database.insert("users", &[doc! { "username": "mona", "password": hash(&canary("Mongo")) }]);
    let tables = Tables::new(Product::Postgres);
    tables.user("sally", &hash(&canary("Sql")), None);
    let folder = scratch::directory("canary");
    let records = folder.join("dockwarden.db");
    let htpasswd = scratch::write(&folder, "htpasswd", &format!("hedda:{}\n", hash(&canary("Htpasswd"))));
    // It knows one account, by account and password on standard input, and complains about everybody else aloud.
    let knows = r#"#!/bin/sh
read -r account secret
test "$account" = eva && exit 0
echo "who is $account?" >&2
exit 2
"#;
    let knows = script(&folder, "knows", knows);
    // It lets everybody do everything, and says aloud whom and what.
    let decides = script(&folder, "decides", "#!/bin/sh\ncat >&2\necho '{\"said\": true}'\n");
    let registries = registries();
    let (key, provider) = issuer();
    let (reader, reader_secret) = READER;
    let more = format!(
        "users: {{uwe: {{password: \"{}\"}}}}\n\
         htpasswd_auth: {{path: \"{}\"}}\n\
         ext_auth: {{command: \"{}\"}}\n\
         ldap_auth:\n  addr: {}\n  base: \"{PEOPLE}\"\n  filter: \"(uid=${{account}})\"\n  bind_dn: \"{reader}\"\n  \
         bind_password: \"{reader_secret}\"\n\
         http_auth: {{url: \"http://{api}/\", headers: {{Authorization: \"Basic ${{basic}}\"}}}}\n\
         http_authz: {{url: \"http://{api}/may\", headers: {{X-Api-Key: \"Zq7XvApiKey9Kd\"}}}}\n\
         ext_authz: {{command: \"{}\"}}\n\
         forward_auth: {{trusted_proxies: [127.0.0.1], service: \"{SERVICE}\"}}\n{}{}\
         records: {{sqlite: \"{}\"}}\nlasting: {{refresh: true}}\n{}\
         acl: [{{match: {{account: \"/.+/\", name: \"/^(test|(basic|token|ecr|wrong)/app)$/\"}}, actions: [\"*\"]}}]\n",
        hash(&canary("Users")),
        htpasswd.display(),
        knows.display(),
        directory.address(),
        decides.display(),
        gateway(&registries),
        tables.sections(&tables.conn_string, ""),
        records.display(),
        workload(&provider),
        api = api.address()
    );
    let pair = keys::as_in_the_guide(Kind::P256);
    let config = guide_file(&pair, &database.address(), &more);
    let mut serve = Command::new(program());
    serve.arg("serve").arg(&config).env_clear().env("RUST_LOG", "trace");
    // As AWS's own tools find them; in the environment they are the operator's, and nowhere else.
    let aws = scratch::write(
        &folder,
        "aws",
        "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = Zq7XvAwsSecret9Kd\n",
    );
    serve.env("AWS_SHARED_CREDENTIALS_FILE", aws).env("AWS_EC2_METADATA_DISABLED", "true");
    let process = Process::start("dockwarden", &serve);
    let address = dockwarden::address(&process, "listening");
    process.until("its rules", |_| {
        let ready = http::request("GET", "/readyz", "localhost", &[], b"");
        (http::exchange(&address, &ready).status == 200).then_some(())
    });

    let mut secrets = vec![core(reader_secret).to_owned() + ": p+w", reader_password()];
    let mut shown = String::new();
    let mut let_in = 0;
    for (account, secret) in [
        ("uwe", canary("Users")),
        ("hedda", canary("Htpasswd")),
        ("eva", canary("Program")),
        ("mona", canary("Mongo")),
        ("sally", canary("Sql")),
        ("alice", slapd::password("alice")),
        ("testuser", "testpassword".to_owned()),
        // Wrong ones, at each backend, and of an account that all are asked about.
        ("uwe", canary("WrongUsers")),
        ("hedda", canary("WrongHtpasswd")),
        ("mona", canary("WrongMongo")),
        ("sally", canary("WrongSql")),
        ("alice", canary("WrongLdap")),
        ("testuser", canary("WrongApi")),
        ("nobody", canary("Nobody")),
    ] {
        for reply in ask_everywhere(&address, account, &secret) {
            if reply.status == 200 {
                let_in += 1;
                // Tokens are shown to whom they are for, and to nobody else.
                if let Some(token) = serde_json::from_slice(&reply.body)
                    .ok()
                    .and_then(|body: serde_json::Value| Some(body["token"].as_str()?.to_owned()))
                {
                    secrets.push(token.rsplit('.').next().unwrap()[..40].to_owned());
                }
            } else {
                shown.push_str(&format!("{:?} {}\n", reply.headers, reply.text()));
            }
        }
        secrets.push(if secret.starts_with("Zq7") { core(&secret).to_owned() } else { secret });
    }
    secrets.extend(["Upstream", "WrongUpstream", "TokenLogin", "EcrToken"].map(|name| core(&canary(name)).to_owned()));
    secrets.extend(["Zq7XvServiceToken9Kd", "Zq7XvApiKey9Kd", "Zq7XvAwsSecret9Kd"].map(str::to_owned));
    let uwe = visit::basic("uwe", &canary("Users"));
    for (prefix, status) in [("basic", 200), ("token", 200), ("ecr", 200), ("wrong", 502)] {
        let target = format!("/v2/{prefix}/app/manifests/1");
        let reply =
            http::exchange(&address, &http::request("GET", &target, "localhost", &[("Authorization", &uwe)], b""));
        assert_eq!(reply.status, status, "{prefix}: {}\n{}", reply.text(), process.tail());
        shown.push_str(&format!("{:?} {}\n", reply.headers, reply.text()));
    }
    assert_eq!(let_in, 7 * 3, "each backend let its own account in by three ways\n{}", process.tail());

    let (lasting, said) = ask_with_what_lasts(&config, &address, &Jwts::of(&key));
    secrets.extend(lasting);
    shown.push_str(&said);

    // A password where a hash should be, in a file that is looked at while it runs.
    let broken =
        fs::read_to_string(&config).unwrap().replace("users: {uwe:", "users: {ute: {password: Zq7XvConfig9Kd}, uwe:");
    secrets.push("Zq7XvConfig9Kd".to_owned());
    fs::write(&config, broken).unwrap();
    process.signal(Signal::Hangup);
    process.until("word of the broken file", |process| process.log().contains("reload_failed").then_some(()));

    // The key itself, in files that do not load and in its path's place: what a reload, a check and a start say of them.
    let key = fs::read_to_string(&pair.key).unwrap();
    let good = fs::read_to_string(&config).unwrap().replace("ute: {password: Zq7XvConfig9Kd}, ", "");
    let cut = key.trim_end().trim_end_matches("-----END PRIVATE KEY-----");
    let place = pair.key.to_str().unwrap();
    assert!(good.contains(place));
    for (failures, (content, text)) in (2..).zip([
        (cut.to_owned(), good.clone()),
        (cut.replace('\n', " "), good.clone()),
        (cut.replace('\n', "\\n"), good.clone()),
        (key.replace('\n', "*\n"), good.clone()),
        (key.clone(), good.replace(&format!("\"{place}\""), &serde_json::to_string(&key).unwrap())),
        (key.clone(), good.replace(&format!("\"{place}\""), &format!("\"{}\"", key.trim_end().replace('\n', " ")))),
    ]) {
        fs::write(&pair.key, content).unwrap();
        fs::write(&config, text).unwrap();
        process.signal(Signal::Hangup);
        process.until("word of the broken key", |process| {
            (process.log().matches("reload_failed").count() >= failures).then_some(())
        });
        for command in ["check", "serve"] {
            let said = part::run(part::command_at(program()).arg(command).arg(&config).env("RUST_LOG", "trace"));
            assert!(!said.text.is_empty());
            shown.push_str(&said.text);
        }
    }
    secrets
        .extend(key.lines().filter(|line| line.len() > 20 && !line.starts_with('-')).map(|line| line[..20].to_owned()));
    shown.push_str(&http::exchange(&address, &http::request("GET", "/metrics", "localhost", &[], b"")).text());
    for file in ["cmdline", "environ"] {
        shown.push_str(&String::from_utf8_lossy(&fs::read(format!("/proc/{}/{file}", process.pid())).unwrap()));
    }
    process.signal(Signal::Terminate);
    let status = process.end();
    assert!(status.success(), "{status}");
    let log = process.log();
    assert!(log.contains("\"level\":\"TRACE\""), "all that can be logged was logged");
    for (rule, name) in [("http_authz[0]", "open/app"), ("ext_authz[0]", "next/app")] {
        let scope = format!("repository:{name}:pull");
        let decided = dockwarden::events(&log, "decided");
        assert!(decided.iter().any(|line| line["rule"] == rule && line["scope"] == *scope), "{rule} decides {name}");
    }
    let mut found = Vec::new();
    for secret in &secrets {
        for form in forms(secret) {
            for (place, text) in [("log", &log), ("refusals, metrics or process", &shown)] {
                if let Some(line) = text.lines().find(|line| line.contains(&form)) {
                    found.push(format!("{secret} as {form} in the {place}: {line:.600}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} of {} secrets came out:\n{}", found.len(), secrets.len(), found.join("\n"));
    // What a client sends never makes a line that is not one.
    let wrong = log.lines().find(|line| serde_json::from_str::<serde_json::Value>(line).is_err());
    assert_eq!(wrong, None, "a line that is no JSON");
    println!("{} secrets in {} lines: none", secrets.len(), log.lines().count());
}
