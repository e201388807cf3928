//! A stand-in for an OIDC provider, and for a cluster's API server: it signs JWTs with claims of a test's choice, and publishes
//! the keys that the test tells it to, in the way that the test tells it to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};

/// A signing key of an issuer.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: EncodingKey,
    /// As it is published.
    pub(crate) jwk: Value,
}

impl Key {
    /// The key in a PEM file (PKCS#8).
    pub(crate) fn new(kid: &str, algorithm: Algorithm, pem: &str) -> Key {
        let lines = pem.lines().skip_while(|line| !line.starts_with("-----BEGIN")).skip(1);
        let base64: String = lines.take_while(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(base64).unwrap();
        let key = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_der(&der),
            // What PKCS#8 holds of an RSA key stands behind its own 26 bytes.
            Algorithm::RS256 => EncodingKey::from_rsa_der(&der[26..]),
            other => panic!("no key for {other:?}"),
        };
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&key, algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(kid);
        jwk["use"] = json!("sig");
        Key { kid: kid.to_owned(), algorithm, key, jwk }
    }

    /// The key as it is published for another use.
    pub(crate) fn for_use(mut self, name: &str) -> Key {
        self.jwk["use"] = json!(name);
        self
    }

    /// A JWT with these claims, signed with this key under its id.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(json!({"alg": format!("{:?}", self.algorithm), "typ": "JWT", "kid": self.kid}), claims)
    }

    /// The same under another header.
    pub(crate) fn sign_with(&self, header: Value, claims: &Value) -> String {
        let signed = unsigned(&header, claims);
        let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{signed}.{signature}")
    }
}

/// Header and claims as they are signed.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// Claims with some of them changed; null takes one away.
pub(crate) fn changed(claims: &Value, changes: &Value) -> Value {
    let mut all: Map<String, Value> = claims.as_object().unwrap().clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(all.remove(name)),
            value => drop(all.insert(name.clone(), value.clone())),
        }
    }
    Value::Object(all)
}

/// How the stand-in answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Manner {
    /// As it should.
    Well,
    /// With a redirect to this address, where the same keys are.
    Redirecting(String),
    /// With ten megabytes, of which the beginning would do.
    Huge,
    /// It takes the request and says nothing.
    Silent,
    /// It says nothing when it is asked for its keys.
    KeysSilent,
    /// With this status.
    Status(u16),
    /// With a discovery document that names keys at this address.
    KeysAt(String),
    /// With a discovery document of this issuer.
    As(String),
}

/// What the token endpoint answers to a form: a status and a body.
type Tokens = Box<dyn Fn(&str) -> (u16, Value) + Send>;

struct State {
    tokens: Tokens,
    manner: Manner,
    keys: Vec<Value>,
    /// What a TokenReview says, by the token's `sub`: the whole status.
    review: Value,
    asked: Vec<String>,
    bodies: Vec<String>,
}

/// The stand-in. It ends with the run.
#[derive(Clone)]
pub(crate) struct Provider {
    /// `http://127.0.0.1:port`.
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

impl Provider {
    /// Starts one that publishes these keys.
    pub(crate) fn start(keys: &[&Key]) -> Provider {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let keys = keys.iter().map(|key| key.jwk.clone()).collect();
        let tokens: Tokens = Box::new(|_| (400, json!({"error": "invalid_grant"})));
        let state =
            State { tokens, manner: Manner::Well, keys, review: Value::Null, asked: Vec::new(), bodies: Vec::new() };
        let provider = Provider { address, state: Arc::new(Mutex::new(state)) };
        let serving = provider.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let provider = serving.clone();
                thread::spawn(move || provider.serve(BufReader::new(stream)));
            }
        });
        provider
    }

    /// Publishes other keys from now on.
    pub(crate) fn publish(&self, keys: &[&Key]) {
        self.state.lock().unwrap().keys = keys.iter().map(|key| key.jwk.clone()).collect();
    }

    /// Answers in this manner from now on.
    pub(crate) fn behave(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    /// Answers TokenReviews with this status from now on.
    pub(crate) fn review(&self, status: Value) {
        self.state.lock().unwrap().review = status;
    }

    /// Answers forms at the token endpoint so from now on.
    pub(crate) fn answer_tokens(&self, tokens: impl Fn(&str) -> (u16, Value) + Send + 'static) {
        self.state.lock().unwrap().tokens = Box::new(tokens);
    }

    /// The targets that were asked for so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    fn manner(&self) -> Manner {
        self.state.lock().unwrap().manner.clone()
    }

    /// How often keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.asked().iter().filter(|target| *target == "/jwks").count()
    }

    /// What was posted so far.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.state.lock().unwrap().bodies.clone()
    }

    fn serve(&self, mut stream: BufReader<TcpStream>) {
        while let Some((target, body)) = read(&mut stream) {
            let (manner, keys, review, tokens) = {
                let mut state = self.state.lock().unwrap();
                state.asked.push(target.clone());
                let tokens = (target == "/token").then(|| (state.tokens)(&body));
                state.bodies.extend(Some(body).filter(|body| !body.is_empty()));
                (state.manner.clone(), state.keys.clone(), state.review.clone(), tokens)
            };
            let mut set = json!({"keys": keys}).to_string();
            let mut document = json!({"issuer": self.address, "jwks_uri": format!("{}/jwks", self.address)});
            for (member, path) in [("authorization_endpoint", "/authorize"), ("token_endpoint", "/token")] {
                document[member] = json!(format!("{}{path}", self.address));
            }
            document["scopes_supported"] = json!(["openid", "email", "offline_access"]);
            let mut head = "200 OK".to_owned();
            match manner {
                Manner::Well => {}
                Manner::Redirecting(to) => head = format!("302 Found\r\nLocation: {to}{target}"),
                Manner::Huge => set.push_str(&" ".repeat(10 * 1024 * 1024)),
                Manner::Status(status) => head = format!("{status} Whatever"),
                Manner::KeysAt(address) => document["jwks_uri"] = json!(address),
                Manner::As(issuer) => document["issuer"] = json!(issuer),
                // Until the client goes.
                Manner::Silent => return drop(stream.read(&mut [0])),
                Manner::KeysSilent if target == "/jwks" => return drop(stream.read(&mut [0])),
                Manner::KeysSilent => {}
            }
            if let (Some((status, _)), Manner::Well | Manner::KeysSilent) = (&tokens, self.manner()) {
                head = format!("{status} Whatever");
            }
            let body = match target.as_str() {
                "/token" => tokens.map(|(_, body)| body.to_string()).unwrap_or_default(),
                "/jwks" => set,
                "/.well-known/openid-configuration" => document.to_string(),
                "/apis/authentication.k8s.io/v1/tokenreviews" => {
                    json!({"kind": "TokenReview", "status": review}).to_string()
                }
                _ => String::new(),
            };
            let reply = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if stream.get_mut().write_all(reply.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// The target and the body of the next request.
fn read(stream: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let (mut target, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
            Some(_) => {}
            None => target = line.split(' ').nth(1)?.to_owned(),
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((target, String::from_utf8(body).unwrap()))
}
