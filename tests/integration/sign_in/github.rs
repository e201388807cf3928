//! GitHub and GitLab, stood in for by a server that answers as their documents say, with switches.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::old::{OLD, record, write};
use super::{Browser, SECRET};
use crate::bed::{Bed, Reply};

/// What the stand-in says.
struct State {
    login: &'static str,
    id: u32,
    /// The text of requests for tokens that are answered so.
    refused: Option<(&'static str, u16, Value)>,
    /// Of `/user`.
    status: u16,
    /// Of the question whether they are a member.
    member: u16,
    organization: &'static str,
    /// One page each.
    teams: Vec<Value>,
    asked: Vec<String>,
}

#[derive(Clone)]
struct Stub {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Stub {
    fn start() -> Stub {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            login: "ada",
            id: 7,
            refused: None,
            status: 200,
            member: 204,
            organization: "acme",
            teams: Vec::new(),
            asked: Vec::new(),
        };
        let stub = Stub { address, state: Arc::new(Mutex::new(state)) };
        let serving = stub.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let (mut target, mut length) = (String::new(), 0);
                for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                    match line.split_once(": ") {
                        Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                            length = value.parse().unwrap();
                        }
                        Some(_) => {}
                        None => target = line.split(' ').nth(1).unwrap().to_owned(),
                    }
                }
                let mut form = String::new();
                reader.by_ref().take(length).read_to_string(&mut form).unwrap();
                let (status, link, body) = serving.answer(&target, &form);
                let body = if status == 204 { String::new() } else { body.to_string() };
                let reply = format!(
                    "HTTP/1.1 {status} Whatever\r\n{link}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                drop(reader.get_mut().write_all(reply.as_bytes()));
            }
        });
        stub
    }

    fn answer(&self, target: &str, form: &str) -> (u16, String, Value) {
        let mut state = self.state.lock().unwrap();
        state.asked.push(target.to_owned());
        if let Some((_, status, body)) = state.refused.as_ref().filter(|(text, ..)| form.contains(text)) {
            return (*status, String::new(), body.clone());
        }
        let path = target.split('?').next().unwrap();
        match path {
            "/login/oauth/access_token" => {
                (200, String::new(), json!({"access_token": "access", "token_type": "bearer"}))
            }
            "/oauth/token" => (
                200,
                String::new(),
                json!({"access_token": "access", "refresh_token": format!("of-{}", state.login), "token_type": "Bearer"}),
            ),
            "/user" => {
                let user = json!({"id": state.id, "login": state.login, "username": state.login});
                (state.status, String::new(), user)
            }
            "/user/teams" => {
                let page = target.split("page=").last().unwrap().parse::<usize>().unwrap_or(100) % 100;
                let next = match page + 1 < state.teams.len() {
                    true => format!("Link: <{}/user/teams?page={}>; rel=\"next\"\r\n", self.address, page + 1),
                    false => String::new(),
                };
                (200, next, state.teams.get(page).cloned().unwrap_or_else(|| json!([])))
            }
            _ if path == format!("/orgs/{}/members/{}", state.organization, state.login) => {
                (state.member, String::new(), json!({}))
            }
            _ => (404, String::new(), json!({})),
        }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn bed(&self, section: &str, more: &str) -> Bed {
        let kind = section.split('_').next().unwrap();
        let redirect = if kind == "gitlab" { "redirect_uri" } else { "redirect_url" };
        Bed::with(&format!(
            "acl: [{{match: {{labels: {{teams: dev}}, name: \"dev/*\"}}, actions: [pull]}}]\nrecords: {{sqlite: $DIR/records.db}}\n\
             sign_in: {{secret: {SECRET}}}\n{section}: {{client_id: c, client_secret: s, plain_http: loopback, {redirect}: \
             \"https://a/{section}\", {kind}_web_uri: \"{address}\", {kind}_api_uri: \"{address}\"{more}}}\n",
            address = self.address
        ))
    }
}

/// Somebody's whole way, with a code that the stand-in takes.
async fn sign_in(bed: &Bed, browser: &mut Browser, section: &str) -> Reply {
    let begun = browser.get(bed, &format!("/{section}")).await;
    let address = url::Url::parse(begun.header("location")).unwrap();
    let asked: std::collections::BTreeMap<_, _> = address.query_pairs().into_owned().collect();
    assert!(asked["code_challenge_method"] == "S256" && asked["redirect_uri"] == format!("https://a/{section}"));
    browser.get(bed, &format!("/{section}?code=x&state={}", asked["state"])).await
}

async fn teams(bed: &Bed, password: &str) -> Result<Vec<String>, u16> {
    let reply = bed.get("/auth?service=registry&scope=repository:dev/app:pull").basic("ada", password).send().await;
    if reply.status == 200 { Ok(reply.access()) } else { Err(reply.status) }
}

/// Checks 31 to 34.
#[tokio::test]
async fn github_tells_members_with_all_their_teams_from_everybody_else() {
    let stub = Stub::start();
    let team = |slug: &str| json!({"slug": slug, "organization": {"login": "ACME"}, "parent": null});
    stub.set(|state| {
        let other = json!({"slug": "dev", "organization": {"login": "other"}, "parent": null});
        let nested = json!({"slug": "web", "organization": {"login": "acme"}, "parent": {"slug": "dev"}});
        state.teams = vec![json!([team("ops")]), json!([other]), json!([nested])];
    });
    let bed = stub.bed("github_auth", ", organization: acme");
    stub.set(|state| state.status = 403);
    assert_eq!(sign_in(&bed, &mut Browser::default(), "github_auth").await.status, 503, "a limit on questions");
    stub.set(|state| (state.status, state.member) = (200, 404));
    assert_eq!(sign_in(&bed, &mut Browser::default(), "github_auth").await.status, 403);
    stub.set(|state| state.member = 302);
    assert_eq!(sign_in(&bed, &mut Browser::default(), "github_auth").await.status, 403);
    assert!(
        !std::fs::read(bed.folder.path("records.db")).unwrap().windows(5).any(|part| part == b"\"ops\""),
        "nobody is kept"
    );
    stub.set(|state| state.member = 204);
    let mut browser = Browser::default();
    let back = sign_in(&bed, &mut browser, "github_auth").await;
    assert_eq!((back.status, back.header("location")), (303, "/account"), "{}", back.text());
    let password = browser.make_password(&bed, "laptop", "").await;
    assert_eq!(teams(&bed, &password).await, Ok(vec!["repository:dev/app:pull".to_owned()]), "on the last page");
}

/// Gitea has GitHub's paths; its teams have no slug, and its organisations no login.
#[tokio::test]
async fn teams_without_a_slug_are_known_by_their_names() {
    let stub = Stub::start();
    stub.set(|state| {
        state.teams = vec![json!([{"name": "dev", "organization": {"name": "Acme", "username": "Acme"}}])]
    });
    let bed = stub.bed("github_auth", ", organization: acme");
    let mut browser = Browser::default();
    assert_eq!(sign_in(&bed, &mut browser, "github_auth").await.status, 303);
    let password = browser.make_password(&bed, "laptop", "").await;
    assert_eq!(teams(&bed, &password).await, Ok(vec!["repository:dev/app:pull".to_owned()]));
}

/// GitHub's are asked again by the token of the sign-in, and out of the organisation is out here.
#[tokio::test]
async fn who_leaves_the_organisation_is_locked_out() {
    let stub = Stub::start();
    let bed = stub.bed("github_auth", ", organization: acme, revalidate_after: 0");
    let mut browser = Browser::default();
    assert_eq!(sign_in(&bed, &mut browser, "github_auth").await.status, 303);
    let password = browser.make_password(&bed, "laptop", "").await;
    assert!(teams(&bed, &password).await.is_ok());
    stub.set(|state| state.member = 404);
    assert_eq!(teams(&bed, &password).await, Err(401));
    stub.set(|state| state.member = 204);
    assert_eq!(teams(&bed, &password).await, Err(401), "and stays out");
}

#[tokio::test]
async fn gitlab_says_who_it_is() {
    let stub = Stub::start();
    let bed = stub.bed("gitlab_auth", ", revalidate_after: 0");
    let mut browser = Browser::default();
    assert_eq!(sign_in(&bed, &mut browser, "gitlab_auth").await.status, 303);
    let password = browser.make_password(&bed, "laptop", "").await;
    assert!(teams(&bed, &password).await.is_ok());
    stub.set(|state| state.status = 401);
    assert_eq!(teams(&bed, &password).await, Err(401), "GitLab does not take its own token any more");
}

/// A token endpoint that has no word on one person is there for the others; one that is away, or does not take our own login, is for nobody.
#[tokio::test]
async fn a_token_endpoint_that_has_no_word_on_one_person_is_asked_about_the_others() {
    for (status, body, others) in [
        (400, json!({"error": "invalid_request"}), 200),
        (401, json!({}), 200),
        (500, json!({}), 200),
        (200, json!({"error": "unverified_user_email"}), 200),
        (429, json!({}), 503),
        (503, json!({}), 503),
        (401, json!({"error": "invalid_client"}), 503),
        (200, json!({"error": "incorrect_client_credentials"}), 503),
        // Nobody has left by an answer that says nothing.
        (200, json!({}), 503),
    ] {
        let stub = Stub::start();
        let bed = stub.bed("gitlab_auth", ", revalidate_after: 0, grace: 0");
        let mut passwords = Vec::new();
        for (login, id) in [("ada", 7), ("bea", 8)] {
            stub.set(|state| (state.login, state.id) = (login, id));
            let mut browser = Browser::default();
            assert_eq!(sign_in(&bed, &mut browser, "gitlab_auth").await.status, 303);
            passwords.push((login, browser.make_password(&bed, "laptop", "").await));
        }
        stub.set(|state| state.refused = Some(("refresh_token=of-ada", status, body.clone())));
        for ((login, password), expected) in passwords.iter().zip([503, others]) {
            let reply = bed.get("/auth?service=registry").basic(login, password).send().await;
            assert_eq!(reply.status, expected, "{login}, {status} {body}");
        }
    }
}

/// docker_auth kept the access tokens of both, and no refresh token of GitLab's: they are asked by these, and nobody whom they do not know
/// any more, or call otherwise, keeps a password of docker_auth's.
#[tokio::test]
async fn old_passwords_are_asked_about_by_the_access_token_of_before() {
    for section in ["github_auth", "gitlab_auth"] {
        let (stub, folder) = (Stub::start(), tempfile::tempdir().unwrap());
        let own = json!({"labels": {"teams": ["dev"]}, "refresh_token": null});
        write(folder.path(), &["ada", "bea"].map(|name| (name, record(-5, &own).to_string())));
        let level = format!(", revalidate_after: 0, level_token_db: {{path: \"{}\"}}", folder.path().display());
        let bed = stub.bed(section, &level);
        assert_eq!(teams(&bed, OLD).await, Ok(vec!["repository:dev/app:".to_owned()]), "it has no teams any more");
        stub.set(|state| assert_eq!(state.asked, ["/user"], "{section}"));
        let bea = bed.get("/auth?service=registry").basic("bea", OLD).send().await;
        assert_eq!(bea.status, 401, "the token is of ada");
        stub.set(|state| state.status = 401);
        assert_eq!(teams(&bed, OLD).await, Err(401));
        stub.set(|state| state.status = 200);
        assert_eq!(teams(&bed, OLD).await, Err(401), "dead for good");
    }
}
