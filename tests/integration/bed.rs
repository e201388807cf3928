//! A server in this process: a configuration text in, requests by callers in, replies out.

use std::collections::VecDeque;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dockwarden::app::{App, Source};
use dockwarden::client_address::Peer;
use dockwarden::config::Secrets;
use dockwarden::http::{self, AdminRoutes};
use dockwarden::keys::{GeneratedPair, generate};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jsonwebtoken::Algorithm;
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use tower::ServiceExt as _;

/// The bcrypt hashes (cost 4) of the passwords that the callers below give; none was made by our own code.
pub(crate) const ALICE_HASH: &str = "$2b$04$abcdefghijklmnopqrstuu9UGc9IJbl39mlDZvvYWvWECKJosLcIu";
pub(crate) const BOB_HASH: &str = "$2y$04$E9a5RCZ8chDNzMzK6rBSluBSPqili1AuAUfsGpVfcuMOCPHEQzfIC";

/// Alice and Bob, who may log in, and clients without an account.
pub(crate) const USERS: &str = r#"
users:
  alice: {password: "$2b$04$abcdefghijklmnopqrstuu9UGc9IJbl39mlDZvvYWvWECKJosLcIu", labels: {team: [web, api]}}
  bob: {password: "$2y$04$E9a5RCZ8chDNzMzK6rBSluBSPqili1AuAUfsGpVfcuMOCPHEQzfIC"}
  "": {}
"#;

/// Everybody who is logged in owns what is below their own name, Alice's teams push to theirs, all may pull `pub/*`.
pub(crate) const RULES: &str = r#"
acl:
  - match: {account: "/^.+$/", name: "${account}/*"}
    actions: ["*"]
  - match: {name: "${labels:team}/*"}
    actions: [pull, push]
  - match: {account: "/^.+$/", type: registry, name: catalog}
    actions: ["*"]
  - match: {name: "pub/*"}
    actions: [pull]
"#;

/// Who asks: what the client puts into the Authorization header.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// No header.
    Nobody,
    /// Basic credentials.
    Account(&'static str, &'static str),
    /// This header, whatever it is.
    Header(&'static str),
}

pub(crate) const NOBODY: Caller = Caller::Nobody;
pub(crate) const ALICE: Caller = Caller::Account("alice", "alice-pw");
pub(crate) const BOB: Caller = Caller::Account("bob", "bob-pw");

/// A pair of one kind, made once for the whole run.
pub(crate) fn pair(algorithm: Algorithm) -> &'static GeneratedPair {
    static ES256: OnceLock<GeneratedPair> = OnceLock::new();
    static ES384: OnceLock<GeneratedPair> = OnceLock::new();
    static RS256: OnceLock<GeneratedPair> = OnceLock::new();
    let made = match algorithm {
        Algorithm::ES256 => &ES256,
        Algorithm::ES384 => &ES384,
        Algorithm::RS256 => &RS256,
        other => panic!("no pair for {other:?}"),
    };
    made.get_or_init(|| generate(algorithm, "auth.test", OffsetDateTime::now_utc()).unwrap())
}

/// A directory with a signing pair and a configuration file.
pub(crate) struct Folder {
    directory: TempDir,
}

impl Folder {
    /// A folder with an ES256 pair in `token.crt` and `token.key`.
    pub(crate) fn new() -> Folder {
        let folder = Folder { directory: TempDir::new().unwrap() };
        folder.put_pair(pair(Algorithm::ES256));
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Puts a pair in place, the key readable by its owner only.
    pub(crate) fn put_pair(&self, pair: &GeneratedPair) {
        self.put("token.crt", &pair.certificate_pem);
        let key = self.put("token.key", &pair.key_pem);
        owner_only(&key);
    }

    /// Writes `config.yml`: the sections that `text` leaves out are filled in, and `$DIR` is this folder.
    pub(crate) fn configure(&self, text: &str) -> PathBuf {
        self.put("config.yml", &self.complete(text))
    }

    /// The configuration text with the sections that it leaves out filled in (on top, but for none of ours).
    pub(crate) fn complete(&self, text: &str) -> String {
        let has = |section: &str| text.lines().any(|line| line.starts_with(section));
        let mut whole = String::new();
        if !has("server:") {
            whole.push_str("server: {addr: \"127.0.0.1:0\"}\n");
        }
        if !has("token:") {
            whole.push_str("token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key}\n");
        }
        if !has("users:") {
            whole.push_str(USERS);
        }
        if !has("acl:") {
            whole.push_str(RULES);
        }
        whole.push_str(text);
        whole.replace("$DIR", self.directory.path().to_str().unwrap())
    }
}

fn owner_only(file: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A server in this process.
pub(crate) struct Bed {
    pub(crate) app: Arc<App>,
    pub(crate) folder: Folder,
    router: Router,
}

impl Bed {
    /// A server with this configuration; see [`Folder::complete`] for what may be left out of it.
    pub(crate) fn with(config: &str) -> Bed {
        Bed::in_folder(Folder::new(), config)
    }

    pub(crate) fn in_folder(folder: Folder, config: &str) -> Bed {
        let file = folder.configure(config);
        let source = Source { file, variables: Vec::new() };
        let config = source.load(Secrets::Read).unwrap_or_else(|invalid| panic!("{invalid}"));
        let prefix = config.server.path_prefix.clone();
        let admin = match config.server.admin {
            Some(_) => AdminRoutes::Elsewhere,
            None => AdminRoutes::Here,
        };
        let app = Arc::new(App::open(source, config).unwrap());
        let router = http::public(&app, &prefix, admin);
        Bed { app, folder, router }
    }

    /// The listener for health and metrics of the same server.
    pub(crate) fn admin(&self) -> Router {
        http::admin(&self.app)
    }

    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) fn get(&self, target: &str) -> Ask {
        Ask::new(self.router(), Method::GET, target)
    }

    pub(crate) fn post(&self, target: &str, form: &str) -> Ask {
        self.request(Method::POST, target).header("content-type", "application/x-www-form-urlencoded").body(form)
    }

    pub(crate) fn request(&self, method: Method, target: &str) -> Ask {
        Ask::new(self.router(), method, target)
    }

    /// Asks for these scopes at `/auth`, for the service `registry`, and says what was granted.
    pub(crate) async fn grants(&self, caller: Caller, scopes: &str) -> Vec<String> {
        let scopes: String = scopes.split(' ').map(|scope| format!("&scope={scope}")).collect();
        self.get(&format!("/auth?service=registry{scopes}")).by(caller).send().await.ok().access()
    }
}

/// One request before it is sent.
pub(crate) struct Ask {
    router: Router,
    request: Request<Body>,
}

impl Ask {
    pub(crate) fn new(router: Router, method: Method, target: &str) -> Ask {
        let mut request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer::Tcp(IpAddr::from([192, 0, 2, 1])));
        Ask { router, request }
    }

    pub(crate) fn by(self, caller: Caller) -> Ask {
        match caller {
            Caller::Nobody => self,
            Caller::Account(account, password) => self.basic(account, password),
            Caller::Header(line) => self.header("authorization", line),
        }
    }

    pub(crate) fn basic(mut self, account: &str, password: &str) -> Ask {
        let line = format!("Basic {}", STANDARD.encode(format!("{account}:{password}")));
        self.request.headers_mut().insert(AUTHORIZATION, line.parse().unwrap());
        self
    }

    /// Adds a header line; one of the same name that is there stays.
    pub(crate) fn header(self, name: &str, value: &str) -> Ask {
        self.header_bytes(name, value.as_bytes())
    }

    pub(crate) fn header_bytes(mut self, name: &str, value: &[u8]) -> Ask {
        let name: HeaderName = name.parse().unwrap();
        self.request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
        self
    }

    pub(crate) fn without_content_type(mut self) -> Ask {
        self.request.headers_mut().remove(CONTENT_TYPE);
        self
    }

    /// The address at the other end of the connection.
    pub(crate) fn from(self, address: &str) -> Ask {
        self.peer(Peer::Tcp(address.parse().unwrap()))
    }

    pub(crate) fn peer(mut self, peer: Peer) -> Ask {
        self.request.extensions_mut().insert(peer);
        self
    }

    pub(crate) fn body(mut self, text: &str) -> Ask {
        *self.request.body_mut() = Body::from(text.to_owned());
        self
    }

    /// A body whose length is not known beforehand (`Transfer-Encoding: chunked`).
    pub(crate) fn chunks(mut self, chunks: impl IntoIterator<Item = Chunk>) -> Ask {
        *self.request.body_mut() = Body::new(Chunks(chunks.into_iter().collect()));
        self
    }

    pub(crate) async fn send(mut self) -> Reply {
        // Every client of HTTP/1.1 names the host.
        if self.request.version() == Version::HTTP_11 && self.request.uri().authority().is_none() {
            self.request.headers_mut().entry(HOST).or_insert(HeaderValue::from_static("localhost"));
        }
        let response = self.router.oneshot(self.request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body }
    }
}

/// One piece of a body that arrives bit by bit.
pub(crate) enum Chunk {
    Data(&'static str),
    /// The connection breaks.
    Broken,
}

struct Chunks(VecDeque<Chunk>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| match chunk {
            Chunk::Data(text) => Ok(Frame::data(Bytes::from_static(text.as_bytes()))),
            Chunk::Broken => Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
        }))
    }
}

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// Itself, if it is a 200.
    pub(crate) fn ok(self) -> Reply {
        assert_eq!(self.status, 200, "{}", self.text());
        self
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// A header that stands there once; empty where there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut lines = self.headers.get_all(name).iter();
        let first = lines.next();
        assert!(lines.next().is_none(), "{name} stands there twice");
        first.map_or("", |line| line.to_str().unwrap())
    }

    pub(crate) fn token(&self) -> String {
        self.json()["token"].as_str().unwrap_or_else(|| panic!("no token in {}", self.text())).to_owned()
    }

    /// The claims, not verified.
    pub(crate) fn claims(&self) -> Value {
        decoded(&self.token(), 1)
    }

    /// The token's header.
    pub(crate) fn token_header(&self) -> Value {
        decoded(&self.token(), 0)
    }

    /// The `access` claim, each entry as a scope: `repository:team/app:pull,push`.
    pub(crate) fn access(&self) -> Vec<String> {
        let claims = self.claims();
        let entries = claims["access"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        entries
            .map(|entry| {
                let actions: Vec<String> = entry["actions"].as_array().unwrap().iter().map(text).collect();
                format!("{}:{}:{}", text(&entry["type"]), text(&entry["name"]), actions.join(","))
            })
            .collect()
    }

    /// For how many seconds from its making the token is good.
    pub(crate) fn life(&self) -> i64 {
        let claims = self.claims();
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap()
    }

    /// The registry's error code of an error reply, whose shape is looked at as well.
    pub(crate) fn code(&self) -> String {
        let json = self.json();
        let errors = json["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{json}");
        let members: Vec<&String> = errors[0].as_object().unwrap().keys().collect();
        assert_eq!(members, ["code", "detail", "message"], "{json}");
        assert!(errors[0]["detail"].is_null(), "{json}");
        assert!(!errors[0]["message"].as_str().unwrap().is_empty(), "{json}");
        errors[0]["code"].as_str().unwrap().to_owned()
    }
}

fn decoded(token: &str, part: usize) -> Value {
    let part = token.split('.').nth(part).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// A moment so many seconds from now, as a configuration writes it.
pub(crate) fn in_seconds(seconds: i64) -> (String, i64) {
    let moment = OffsetDateTime::from_unix_timestamp(OffsetDateTime::now_utc().unix_timestamp() + seconds).unwrap();
    (moment.format(&time::format_description::well_known::Rfc3339).unwrap(), moment.unix_timestamp())
}

/// Serves these on a port of its own; gives the address.
pub(crate) async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(routes.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    url
}
