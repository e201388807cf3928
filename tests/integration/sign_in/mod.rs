//! People who sign in at a provider: each known attack on the way, what they get, and what becomes of it when the provider changes its
//! mind. The numbers are those of the checks in the reference on sign-in.

mod account;
mod again;
mod claims;
mod config;
mod device;
mod down;
mod flow;
mod github;
mod keys;
mod login;
mod old;
mod trace;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use dockwarden::keys::generate;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::bed::{Bed, Reply};
use crate::oidc::{Key, Provider, changed};

const SECRET: &str = "b2Ygb3VyIG93biwgYW5kIG9mIG5vYm9keSBlbHNlIQ";
const CLIENT: &str = "registry";

/// Members of the group `dev` own what is below it.
const RULES: &str = "acl: [{match: {labels: {groups: dev}, name: \"dev/*\"}, actions: [pull, push]}]\n";

fn key() -> Key {
    static MADE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let make = || generate(Algorithm::ES256, "issuer.test", OffsetDateTime::now_utc()).unwrap().key_pem;
    Key::new("a", Algorithm::ES256, MADE.get_or_init(make))
}

/// A provider, what it says of whoever signs in, and a server that asks it.
struct Scene {
    provider: Provider,
    /// The claims of the next ID tokens, over the usual ones; null takes one away.
    claims: Arc<Mutex<Value>>,
    bed: Bed,
}

/// The server's sections about this provider, with more keys.
fn sections(provider: &Provider, more: &str) -> String {
    format!(
        "{RULES}records: {{sqlite: $DIR/records.db}}\nsign_in: {{secret: {SECRET}, registry_url: registry.example.org}}\n\
         oidc_auth: {{issuer: \"{}\", plain_http: loopback, redirect_url: \"https://auth.example.org/oidc_auth\", client_id: {CLIENT}, \
         client_secret: of-the-client, label_claims: [groups], {more}}}\n",
        provider.address
    )
}

impl Scene {
    fn new() -> Scene {
        Scene::with("")
    }

    fn with(more: &str) -> Scene {
        let provider = Provider::start(&[&key()]);
        let bed = Bed::with(&sections(&provider, more));
        Scene::of(provider, bed)
    }

    fn of(provider: Provider, bed: Bed) -> Scene {
        let scene = Scene { provider, claims: Arc::new(Mutex::new(json!({}))), bed };
        scene.be_well();
        scene
    }

    /// The provider answers as it should: each refresh token once.
    fn be_well(&self) {
        self.be_well_by(key());
    }

    /// The same with ID tokens that this key signed.
    fn be_well_by(&self, key: Key) {
        let (claims, issuer) = (Arc::clone(&self.claims), self.provider.address.clone());
        let good = Mutex::new(0_u32);
        self.provider.answer_tokens(move |form| {
            let fields: BTreeMap<String, String> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
            let mut good = good.lock().unwrap();
            if fields["grant_type"] == "refresh_token" && fields["refresh_token"] != format!("refresh-{good}") {
                return (400, json!({"error": "invalid_grant"}));
            }
            *good += 1;
            let now = OffsetDateTime::now_utc().unix_timestamp();
            let usual = json!({
                "iss": issuer, "aud": CLIENT, "sub": "1234", "iat": now, "exp": now + 300, "email": "ada@example.org",
                "email_verified": true, "groups": ["dev", "all"],
            });
            // The test's code is the nonce of its sign-in.
            let nonce = fields.get("code").cloned().map_or(Value::Null, Value::from);
            let claims = changed(&changed(&usual, &json!({"nonce": nonce})), &claims.lock().unwrap());
            (200, json!({"id_token": key.sign(&claims), "access_token": "access-token-of-it", "refresh_token": format!("refresh-{good}")}))
        });
    }

    fn claim(&self, claims: Value) {
        *self.claims.lock().unwrap() = claims;
    }

    /// Signs somebody in, who makes a docker password for this machine.
    async fn password(&self, browser: &mut Browser, machine: &str) -> String {
        let back = browser.sign_in(&self.bed).await;
        assert_eq!((back.status, back.header("location")), (303, "/account"), "{}", back.text());
        browser.make_password(&self.bed, machine, "").await
    }

    /// What a docker password may do, or the status of the refusal.
    async fn grants(&self, account: &str, password: &str) -> Result<Vec<String>, u16> {
        let asked = "/auth?service=registry&scope=repository:dev/app:pull,push";
        let reply = self.bed.get(asked).basic(account, password).send().await;
        if reply.status == 200 { Ok(reply.access()) } else { Err(reply.status) }
    }
}

/// A browser: it keeps cookies, and says which site a form is of.
#[derive(Clone, Default)]
struct Browser {
    cookies: BTreeMap<String, String>,
    prefix: &'static str,
}

impl Browser {
    fn keep(&mut self, reply: &Reply) {
        for line in reply.headers.get_all("set-cookie") {
            let line = line.to_str().unwrap();
            for part in ["; Secure", "; HttpOnly", "; SameSite=Lax"] {
                assert!(line.contains(part), "{line}");
            }
            let (name, rest) = line.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            match line.contains("Max-Age=0") {
                true => drop(self.cookies.remove(name)),
                false => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
    }

    fn cookie(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    async fn get(&mut self, bed: &Bed, target: &str) -> Reply {
        let reply = bed.get(target).header("cookie", &self.cookie()).send().await;
        self.keep(&reply);
        reply
    }

    async fn post(&mut self, bed: &Bed, target: &str, form: &str) -> Reply {
        let asked = bed.post(target, form).header("cookie", &self.cookie()).header("sec-fetch-site", "same-origin");
        let reply = asked.send().await;
        self.keep(&reply);
        reply
    }

    /// Begins at the provider: what it is asked.
    async fn begin(&mut self, bed: &Bed) -> BTreeMap<String, String> {
        let reply = self.get(bed, &format!("{}/oidc_auth", self.prefix)).await;
        assert_eq!(reply.status, 303, "{}", reply.text());
        let address = url::Url::parse(reply.header("location")).unwrap();
        assert_eq!(address.path(), "/authorize");
        address.query_pairs().into_owned().collect()
    }

    /// Comes back with the code that the test's provider gives for this sign-in.
    async fn come_back(&mut self, bed: &Bed, asked: &BTreeMap<String, String>) -> Reply {
        let (state, nonce) = (&asked["state"], &asked["nonce"]);
        self.get(bed, &format!("{}/oidc_auth?code={nonce}&state={state}", self.prefix)).await
    }

    async fn sign_in(&mut self, bed: &Bed) -> Reply {
        let asked = self.begin(bed).await;
        self.come_back(bed, &asked).await
    }

    /// Makes a password, and reads it from the page that shows it.
    async fn make_password(&mut self, bed: &Bed, machine: &str, more: &str) -> String {
        let made = self
            .post(bed, &format!("{}/account/passwords", self.prefix), &format!("name={machine}&days=30{more}"))
            .await;
        assert_eq!(
            (made.status, made.header("location")),
            (303, format!("{}/account", self.prefix).as_str()),
            "{}",
            made.text()
        );
        let page = self.get(bed, &format!("{}/account", self.prefix)).await.ok().text();
        let (_, rest) = page.split_once("id=\"password\">").unwrap_or_else(|| panic!("{page}"));
        rest.split('<').next().unwrap().to_owned()
    }
}
