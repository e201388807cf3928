//! Whatever stands where in a configuration, no message repeats it if it could be a secret: every key in every wrong shape.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use dockwarden::access::Access;
use dockwarden::app::{App, Source};
use dockwarden::authn::password::Passwords;
use dockwarden::config::{Config, Invalid, Pair, Secrets};
use dockwarden::gateway::Gateway;
use dockwarden::metrics::Metrics;
use dockwarden::reach::Reached;
use settings::yaml::{self, Entry, Node, Value};
use tokio::task::JoinSet;

use crate::backends::casbin_authz as casbin;
use crate::bed::{ALICE_HASH, Bed, Folder};
use crate::logs::{Form, Log};
use crate::pages::config_pages;

/// Nothing else looks like it. It has small letters, capitals and digits, as passwords have.
const CANARY: &str = "Zq7XvCanary9Kd";
/// A word like any other: at keys that hold secrets even this is not shown.
const QUIET: &str = "zqxvcanarykd";

/// Files that have all keys of the reference between them; each loads.
const FILES: &[&str] = &[
    r#"
server:
  addr: "127.0.0.1:5001"
  net: tcp
  path_prefix: /registry
  certificate: $DIR/token.crt
  key: $DIR/token.key
  tls_min_version: TLS12
  tls_cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]
  tls_curve_preferences: [X25519]
  hsts: false
  real_ip_header: X-Forwarded-For
  trusted_proxies: [10.0.0.0/8]
  max_connections_per_address: 100
  admin_addr: "127.0.0.1:5002"
token:
  issuer: Acme
  expiration: 900
  certificate: $DIR/token.crt
  key: $DIR/token.key
  disable_legacy_key_id: false
  reuse: 60
  header: x5c
  services: [registry]
  generate: false
forward_auth:
  trusted_proxies: [10.0.0.0/8]
  headers: original
  service: registry
  challenge: bearer
  realm: "https://auth.example.org/auth"
  paths: [{path: "/docs/**", methods: [GET], scope: "web:docs:read"}]
gateway:
  addr: "127.0.0.1:5003"
  service: registry
  challenge: bearer
  realm: "https://auth.example.org/auth"
  upstreams:
    - url: "https://one.example.org"
      name: one
      host: docker.example.org
      service: registry
      prefix: team
      read_only: true
      auth: {basic: {username: robot, password: secret}}
      ca_certificate: $DIR/token.crt
      connect_timeout: 5
      response_timeout: 300
      idle_timeout: 60
    - url: "https://two.example.org"
      prefix: two
      auth: {token: {realm: "https://two.example.org/token", service: two, username: robot, password: secret}}
    - url: "https://three.example.org"
      prefix: three
      auth: {ecr: {region: eu-central-1, registry_id: "012345678901", endpoint: "https://ecr.example.org", profile: usual}}
users:
  alice: {password: "$HASH", labels: {team: [web]}, disabled: false, not_before: 2026-01-01, not_after: 2030-01-01}
  "": {}
htpasswd_auth: {path: $DIR/htpasswd}
ext_auth: {command: /bin/true, args: ["--realm", Acme], timeout: 5, concurrency: 16, label_values: glob}
ldap_auth:
  addr: ["ldaps://ldap.example.org"]
  tls: always
  ca_certificate: $DIR/token.crt
  insecure_tls_skip_verify: false
  base: "dc=example,dc=org"
  filter: "(uid=${account})"
  bind_dn: "cn=reader,dc=example,dc=org"
  bind_password: secret
  account_attribute: uid
  labels: {team: {attribute: cn, from: groups, parse_cn: true, regex: "(.*)", lower_case: true}}
  label_values: literal
  group_base: "dc=example,dc=org"
  group_filter: "(member=${dn})"
  nested_groups: false
  pool_size: 8
  deadline: 1400ms
  connect_timeout: 500ms
  timeout: 600ms
mongo_auth:
  dial_info:
    addrs: ["127.0.0.1:1"]
    timeout: 1
    database: auth
    username: reader
    password: secret
    source: admin
    mechanism: SCRAM-SHA-256
    service: x
    failfast: true
    direct: true
    enable_tls: true
    ca_certificate: $DIR/token.crt
    client_certificate: $DIR/both.pem
  collection: users
  label_values: glob
  deadline: 1300ms
xorm_auth:
  database_type: mysql
  conn_string: "reader:secret@tcp(127.0.0.1:1)/auth?tls=true"
  label_values: glob
  deadline: 1300ms
http_auth:
  url: "https://api.example.org/check?key=secret"
  method: POST
  headers: {Authorization: "Bearer ${password}", X-Api-Key: {file: $DIR/secret}}
  body: '{"name": "${account}"}'
  content_type: application/json
  accept: [200]
  reject: [401]
  not_mine: [404]
  labels: {team: "$.teams[*]"}
  label_values: literal
  account: "$.name"
  look_up:
    url: "https://api.example.org/users?key=secret"
    method: POST
    headers: {X-Api-Key: secret}
    body: '{"name": "${account}"}'
    content_type: application/json
  cache_ttl: 10
  timeout: 1
  concurrency: 64
  tls: {ca_certificate: $DIR/token.crt, client_certificate: $DIR/token.crt, client_key: $DIR/token.key}
acl:
  - match:
      account: alice
      type: repository
      name: "team/*"
      service: registry
      ip: 10.0.0.0/8
      tag: latest
      reference: tag
      labels: {team: web}
    actions: [pull, push]
    comment: what it is for
    not_before: 2026-01-01
    not_after: 2030-01-01
acl_mongo:
  dial_info: {addrs: ["127.0.0.1:1"], database: auth}
  collection: acl
  deadline: 1300ms
  cache_ttl: 10
  max_stale: 600
acl_xorm:
  database_type: postgres
  conn_string: "postgres://reader:secret@127.0.0.1:1/auth?sslmode=verify-full"
  deadline: 1300ms
  cache_ttl: 10
  max_stale: 600
http_authz:
  url: "https://api.example.org/may"
  headers: {X-Api-Key: secret}
  timeout: 1
  concurrency: 64
  cache_ttl: 10
  tls: {ca_certificate: $DIR/token.crt}
ext_authz: {command: /bin/true, args: [a], timeout: 5, concurrency: 16}
casbin_authz: {model_path: $DIR/model.conf, policy_path: $DIR/policy.csv}
workload:
  - issuer: "https://ci.example.org"
    name: ci
    audiences: [registry.example.org]
    other_audiences: false
    keys: {url: "https://ci.example.org/keys?key=secret", ca_certificate: $DIR/token.crt, plain_http: loopback}
    require: {kubernetes.io.namespace: "7", trusted: true}
    account: "ci:${claim:sub}"
    labels: {team: [web], project: "${claim:project}"}
    algorithms: [ES256]
    single_use: false
    session: 1h
    token_review: {api: "https://c.example.org", ca: $DIR/token.crt, token_file: $DIR/secret, plain_http: loopback}
"#,
    r#"
server: {addr: "$DIR/socket", net: unix, real_ip_header: X-Real-IP, real_ip_pos: -1}
token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key}
gateway:
  service: registry
  upstreams:
    - url: "https://one.example.org"
      auth: {basic: {username: robot, password_file: $DIR/secret}}
    - url: "https://two.example.org"
      prefix: two
      auth: {token: {realm: "https://two.example.org/token", service: two, username: robot, password_file: $DIR/secret}}
users:
  alice: {password_file: $DIR/hash}
ldap_auth:
  addr: "ldap://127.0.0.1"
  base: "dc=example,dc=org"
  filter: "(uid=${account})"
  bind_dn: "cn=reader,dc=example,dc=org"
  bind_password_file: $DIR/secret
mongo_auth:
  dial_info: {uri: "mongodb://reader:secret@127.0.0.1:1/auth", enabled_tls: false}
  collection: users
acl_mongo:
  dial_info: {addrs: ["127.0.0.1:1"], database: auth, username: reader, password_file: $DIR/secret}
  collection: acl
xorm_auth: {database_type: sqlite3, conn_string_file: $DIR/secret}
acl_xorm: {database_type: sqlite3, conn_string: /nowhere/auth.db}
http_auth: {url: "https://api.example.org/", headers: {Authorization: "Bearer ${password}"}, account: unchecked}
workload:
  - issuer: "https://ci.example.org"
    audiences: registry.example.org
    keys: {discovery: "https://ci.example.org/.well-known/openid-configuration"}
    require: {organisation: [1, 2]}
    account: "ci:${claim:sub}"
  - {issuer: "https://gitlab.com", audiences: [a], keys: {file: $DIR/jwks}, require: {project_id: "1"}, account: "g:${claim:sub}"}
acl: []
"#,
    r#"
server: {addr: ":1"}
token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key}
users: {}
ldap_auth:
  addr: "ldap://127.0.0.1"
  base: "dc=example,dc=org"
  filter: "(uid=${account})"
  bind_dn: "uid=${account},dc=example,dc=org"
  initial_bind_as_user: true
acl: []
"#,
    r#"
server: {addr: "127.0.0.1:5001"}
token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key}
users: {}
acl: []
records:
  postgres:
    host: records.example.org
    port: 5432
    database: dockwarden
    username: dockwarden
    password: secret
    tls: verify-full
    ca_certificate: $DIR/token.crt
    deadline: 1s
"#,
    r#"
server:
  addr: "127.0.0.1:5001"
  letsencrypt:
    host: auth.example.org
    email: admin@example.org
    cache_dir: $DIR/acme
    directory_url: "https://ca.example.org/acme/acme/directory"
    ca_certificate: $DIR/token.crt
token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key}
users: {}
acl: []
sign_in: {secret_file: $DIR/long-secret}
records: {postgres: {url: "postgres://dockwarden:secret@records.example.org/dockwarden?sslmode=require"}}
"#,
    r#"
server: {addr: "127.0.0.1:5001"}
token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key}
users: {}
acl: []
telemetry: {endpoint: "https://collector.example.org:4318", authorization_file: $DIR/secret}
records: {mongo: {deadline: 5s, dial_info: {addrs: ["127.0.0.1:27017"], database: d, username: u, password: secret}}}
"#,
    r#"
server: {addr: "127.0.0.1:5001"}
token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key}
users: {}
acl: []
records: {sqlite: $DIR/dockwarden.db}
lasting: {refresh: [registry], longest: 365d}
api: {listen: main}
telemetry:
  endpoint: "https://collector.example.org:4318"
  signals: [traces, metrics]
  interval: 30s
  service_name: gate
  authorization: secret
  ca_certificate: $DIR/token.crt
records_auth: {label_values: glob}
acl_records: {cache_ttl: 10s, max_stale: 10m}
"#,
    r#"
server: {addr: "127.0.0.1:5001"}
token: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key}
users: {}
acl: []
records: {sqlite: $DIR/dockwarden.db}
sign_in: {secret: "Secret-0123456789abcdef0123456789abcdef", registry_url: "https://registry.example.org"}
oidc_auth:
  - name: work
    title: Work
    account_prefix: "work:"
    issuer: "https://accounts.example.org"
    plain_http: loopback
    ca_certificate: $DIR/token.crt
    redirect_url: "https://auth.example.org/oidc_auth/work"
    registry_url: "https://registry.example.org"
    client_id: registry
    client_secret: secret
    user_claim: email
    label_claims: [groups]
    scopes: [openid]
    domain: example.org
    http_timeout: 10s
    revalidate_after: 1h
    grace: 1h
    level_token_db: {path: /data/tokens, token_hash_cost: 5}
    redis_token_db:
      redis_options: {addr: "localhost:6379", password: secret, username: reader, dialtimeout: 5s, readtimeout: 3s, tlsconfig: {servername: a}}
      redis_cluster_options: {addrs: ["localhost:6379"], password: secret, maxredirects: 8, tlsconfig: {insecureskipverify: true}}
      token_hash_cost: 5
google_auth: {domain: example.org, redirect_url: "https://auth.example.org/google_auth", client_id: c, client_secret_file: $DIR/secret}
github_auth:
  organization: acme
  github_web_uri: "https://github.example.org"
  github_api_uri: "https://github.example.org/api/v3"
  redirect_url: "https://auth.example.org/github_auth"
  client_id: c
  client_secret: secret
gitlab_auth:
  account_prefix: "gitlab:"
  gitlab_web_uri: "https://gitlab.example.org"
  gitlab_api_uri: "https://gitlab.example.org/api/v4"
  grant_type: authorization_code
  redirect_uri: "https://auth.example.org/gitlab_auth"
  client_id: c
  client_secret: secret
"#,
    r#"
server: {addr: "127.0.0.1:5001"}
token:
  issuer: Acme
  not_before: "2026-01-01"
  authority: {certificate: $DIR/tokens.crt, key: $DIR/tokens.key, generate: true}
  certificate: $DIR/leaf.crt
  key: $DIR/leaf.key
users: {}
acl: []
"#,
];

/// Keys whose values are secrets, hold one, or name the file of one.
const SECRET: &[&str] = &[
    "password",
    "password_file",
    "authorization",
    "authorization_file",
    "client_secret",
    "client_secret_file",
    "secret",
    "secret_file",
    "redirect_url",
    "redirect_uri",
    "bind_password",
    "bind_password_file",
    "uri",
    "url",
    "realm",
    "endpoint",
    "key",
    "certificate",
    "client_key",
    "client_certificate",
    "ca_certificate",
    "cache_dir",
    "directory_url",
    "email",
    "file",
    "X-Api-Key",
    "Authorization",
    "body",
    "bind_dn",
    "args",
    "registry_id",
    "prefix",
    "name",
    "host",
    "path",
    "real_ip_header",
    "issuer",
    "api",
    "ca",
    "token_file",
    "discovery",
];

/// A place in a file: the keys and positions that lead there.
type Steps = Vec<Step>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Position(usize),
}

fn places(node: &Node, here: &mut Steps, found: &mut Vec<Steps>) {
    if !here.is_empty() {
        found.push(here.clone());
    }
    match &node.value {
        Value::Map(entries) => {
            for Entry { key, node, .. } in entries {
                here.push(Step::Key(key.clone()));
                places(node, here, found);
                here.pop();
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                here.push(Step::Position(index));
                places(item, here, found);
                here.pop();
            }
        }
        Value::Null | Value::Text(_) => {}
    }
}

/// What is done at a place: something else stands there, or something stands beside it.
#[derive(Clone, Copy)]
enum Change<'a> {
    Value(&'a str),
    Beside(&'a str),
}

/// The file in one line for each section, with one change.
fn written(node: &Node, here: &mut Steps, at: &Steps, change: Change<'_>) -> String {
    if here == at {
        match change {
            Change::Value(text) => return text.to_owned(),
            Change::Beside(_) => {}
        }
    }
    let is_beside = |here: &Steps| at.split_last().is_some_and(|(_, parent)| parent == here.as_slice());
    let beside = match change {
        Change::Beside(text) if is_beside(here) => Some(text.to_owned()),
        Change::Beside(_) | Change::Value(_) => None,
    };
    match &node.value {
        Value::Null => "~".to_owned(),
        Value::Text(text) => serde_json::to_string(text).unwrap(),
        Value::List(items) => {
            let mut parts = Vec::new();
            for (index, item) in items.iter().enumerate() {
                here.push(Step::Position(index));
                parts.push(written(item, here, at, change));
                here.pop();
            }
            parts.extend(beside);
            format!("[{}]", parts.join(", "))
        }
        Value::Map(entries) => {
            let mut parts = Vec::new();
            for Entry { key, node, .. } in entries {
                here.push(Step::Key(key.clone()));
                parts.push(format!("{}: {}", serde_json::to_string(key).unwrap(), written(node, here, at, change)));
                here.pop();
            }
            parts.extend(beside);
            match here.is_empty() {
                true => parts.join("\n"),
                false => format!("{{{}}}", parts.join(", ")),
            }
        }
    }
}

/// Everything that stands in the wrong place or form, with `C` for the canary.
const VALUES: &[&str] = &[
    // Tags, anchors, aliases
    "!C",
    "!C x",
    "!!C x",
    "!a!C x",
    "!<C> x",
    "&C",
    "&C x",
    "*C",
    // Lists and maps
    "[C]",
    "[{C: C}]",
    "{C}",
    "{C: C}",
    "{a: C}",
    "{file: C}",
    "{\"password:C\"}",
    // Single values
    "C",
    "\"C\"",
    "'C and more'",
    "\"with:C\"",
    "\"user:C@host\"",
    "\"user:C@host:1\"",
    "\"https://user:C@host/path\"",
    "\"https://user:C@host:port/\"",
    "\"https://host/?C\"",
    "\"mongodb://user:C@h@host:1/a\"",
    "\"ldap://user:C@host/dc=a,dc=b?uid\"",
    "\"/path/of/a/program --secret C\"",
    "\"SECRET=C /path/of/a/program\"",
    "\"nowhere/C\"",
    "\"${C}\"",
    "\"${account} C\"",
    "\"$.C[\"",
    "\"(C\"",
    "\"(uid=${account})C\"",
    "\"one\\nC\"",
    "\"-----BEGIN PRIVATE KEY-----\\nC\\n-----END PRIVATE KEY-----\"",
    "\"-----BEGIN PRIVATE KEY----- C -----END PRIVATE KEY-----\"",
    "\"alice:$2b$10$C\"",
    "\"$argon2id$C\"",
    // What is no YAML
    "@C",
    "%C",
    "|C",
    "\"C",
    "\"C\" x",
    "\"\\C\"",
    "{C",
    "[C",
    "]C",
    "C: C",
    "- C",
    "? C",
];

/// What stands beside a key.
const BESIDE: &[&str] = &[
    "C: x",
    "C",
    "C: {}",
    "C: [a]",
    "\"C\": C",
    "\"password:C\"",
    "C: 1, C: 2",
    "<<: C",
    "<<: [C]",
    "? [C] : x",
    "!C x: y",
    "*C : x",
];

fn told(config: Result<Config, Invalid>, source: &Source) -> String {
    match config {
        Err(invalid) => invalid.to_string(),
        Ok(config) => {
            let warnings: Vec<String> = config.lint().iter().map(|warning| warning.in_file(&source.file)).collect();
            let opened = match config.token.pair {
                Pair::Loaded(_) => App::open(source.clone(), config).err().map(|error| format!("{error:?}")),
                Pair::NotRead | Pair::ToBeMade { .. } | Pair::LeafToBeMade => None,
            };
            format!("{}\n{}", warnings.join("\n"), opened.unwrap_or_default())
        }
    }
}

/// A login where something else belongs.
const LOGINS: &[&str] = &[
    "C",
    "user:C@127.0.0.1:1",
    "user:C@127.0.0.1:1/x",
    "https://user:C@127.0.0.1:1/path",
    "https://127.0.0.1:1/?C",
    "mongodb://user:C@127.0.0.1:1/a",
    "ldap://user:C@127.0.0.1:1/dc=a?uid",
    "/path/of/a/program --secret C",
    "SECRET=C /path/of/a/program",
    "nowhere/${C}",
];

/// Backends whose servers refuse each connection at once; each file loads.
const AWAY: &[&str] = &[
    r#"
ext_auth: {command: /bin/true, args: [a]}
ext_authz: {command: /bin/true, args: [a]}
"#,
    r#"
ldap_auth:
  addr: "ldap://127.0.0.1:1"
  base: "dc=example,dc=org"
  filter: "(uid=${account})"
  bind_dn: "cn=reader,dc=example,dc=org"
  bind_password: secret
  account_attribute: uid
  labels: {team: {attribute: cn, from: groups}}
  group_base: "dc=example,dc=org"
  group_filter: "(member=${dn})"
"#,
    r#"
mongo_auth:
  dial_info: {addrs: ["127.0.0.1:1"], database: auth, username: reader, password: secret, source: admin}
  collection: users
  deadline: 50ms
"#,
    r#"
acl_mongo: {dial_info: {uri: "mongodb://reader:secret@127.0.0.1:1/auth"}, collection: acl, deadline: 50ms}
"#,
    r#"
xorm_auth: {database_type: mysql, conn_string: "reader:secret@tcp(127.0.0.1:1)/auth", deadline: 50ms}
acl_xorm: {database_type: postgres, conn_string: "host=127.0.0.1 port=1 user=reader password=secret", deadline: 50ms}
"#,
    r#"
http_auth:
  url: "http://127.0.0.1:1/check?key=secret"
  method: POST
  headers: {X-Api-Key: secret}
  body: '{"name": "${account}"}'
  content_type: application/json
  account: "$.name"
http_authz: {url: "http://127.0.0.1:1/may?key=secret", headers: {X-Api-Key: secret}}
"#,
    r#"
gateway:
  service: registry
  upstreams:
    - {url: "http://127.0.0.1:1", name: one, prefix: one, auth: {basic: {username: robot, password: secret}}}
    - url: "http://127.0.0.1:1"
      prefix: two
      auth: {token: {realm: "http://127.0.0.1:1/token", service: two, username: robot, password: secret}}
"#,
];

/// What `check --connect` says of the servers and programs that a file names.
async fn said_while_connecting(config: Config) -> String {
    let Config { backends, gateway, .. } = config;
    let passwords = Arc::new(Passwords::new(|_| {}).unwrap());
    let mut reached = match Access::open(&backends, None, &passwords, &Metrics::default()) {
        Ok(access) => access.reach().await,
        Err(error) => return format!("{error:?}"),
    };
    if let Some(settings) = gateway {
        match Gateway::open(settings, None, 1) {
            Ok(gateway) => reached.extend(gateway.reach().await),
            Err(error) => return format!("{error:?}"),
        }
    }
    reached.iter().map(|Reached { name, found }| format!("{name}: {found:?}\n")).collect()
}

/// A login that stands where a name, an address or anything else belongs is not said either when a server is asked: by
/// `check --connect`, by a line of the log, as a cause of a 503.
#[tokio::test]
async fn nothing_is_repeated_while_connecting() {
    let folder = folder();
    let common = "server: {addr: \":1\"}\ntoken: {issuer: Acme, certificate: $DIR/token.crt, key: $DIR/token.key}\nusers: {}\nacl: []\n";
    let mut tried = JoinSet::new();
    let mut refused = BTreeSet::new();
    for file in AWAY {
        let root = tree_of(&folder, &format!("{common}{file}"));
        let mut all = Vec::new();
        places(&root, &mut Steps::new(), &mut all);
        for steps in all {
            let Some(Step::Key(section)) = steps.first() else { continue };
            if steps.len() < 2 || common.contains(&format!("{section}:")) {
                continue;
            }
            for shape in LOGINS {
                let is_at = |key: &str| steps.last() == Some(&Step::Key(key.to_owned()));
                // A word is a name where names are, and MongoDB takes blanks in a collection's.
                let is_name = *shape == "C" && (!is_secret(&steps) || is_at("name"));
                if is_name || (is_at("collection") && !shape.contains(['@', '$'])) {
                    continue;
                }
                let value = serde_json::to_string(&shape.replace('C', CANARY)).unwrap();
                let text = written(&root, &mut Steps::new(), &steps, Change::Value(&value));
                let path = folder.path("config.yml");
                let place = format!("{shape} at {steps:?}");
                match Config::read(&path, &text, [], Secrets::Skip) {
                    Ok(config) => {
                        tried.spawn(async move { (place, said_while_connecting(config).await) });
                    }
                    Err(_) => {
                        refused.insert(place);
                    }
                }
            }
        }
    }
    assert!(tried.len() > 50 && refused.len() > 50, "{} {}", tried.len(), refused.len());
    let mut leaks = BTreeSet::new();
    while let Some(done) = tried.join_next().await {
        let (place, said) = done.unwrap();
        assert!(!said.is_empty(), "{place}");
        leaks.extend(said.lines().filter(|line| line.contains(CANARY)).map(|line| format!("{place}: {line}")));
    }
    assert!(leaks.is_empty(), "{}", leaks.into_iter().collect::<Vec<_>>().join("\n"));
}

/// A password where the name of the key's file belongs is no path before there is such a file, and is not said when it is made.
#[test]
fn a_key_that_is_made_is_not_named_by_what_could_be_a_secret() {
    for (key, certificate) in [(CANARY, "token.pem"), (CANARY, CANARY), ("token.pem", CANARY), (QUIET, "none.pem")] {
        let folder = Folder::new();
        let path = folder.put(
            "config.yml",
            &format!(
                "server: {{addr: \"unix:nowhere/at/all\"}}\ntoken: {{issuer: Acme, certificate: {certificate}, key: {key}, generate: true}}\nusers: {{}}\nacl: []\n"
            ),
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_dockwarden"));
        let run = command.arg("serve").arg(&path).current_dir(folder.path("")).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert_eq!(run.status.code(), Some(1), "{said}");
        let is_made = said.contains("made a key pair");
        assert!(is_made == (key != certificate), "{said}");
        assert!(!said.contains(CANARY) && !said.contains(QUIET), "{said}");
    }
    for secret in [CANARY, QUIET] {
        for place in ["AUTHORITY", "AUTHORITYS_KEY", "LEAF", "LEAFS_KEY"] {
            let folder = Folder::new();
            let authority = "authority: {certificate: AUTHORITY, key: AUTHORITYS_KEY, generate: true}";
            let token = format!("token: {{issuer: Acme, {authority}, certificate: LEAF, key: LEAFS_KEY}}\n");
            let text = format!("server: {{addr: \"unix:nowhere/at/all\"}}\n{token}users: {{}}\nacl: []\n");
            let text = text
                .replace(&format!("{place},"), &format!("{secret},"))
                .replace(&format!("{place}}}"), &format!("{secret}}}"));
            let path = folder.put("config.yml", &text);
            for words in [&["serve"][..], &["keys", "issue-leaf"]] {
                let mut command = Command::new(env!("CARGO_BIN_EXE_dockwarden"));
                let run = command.args(words).arg(&path).current_dir(folder.path("")).output().unwrap();
                let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
                assert!(said.contains("made a leaf") || said.contains("a leaf that is valid"), "{place}: {said}");
                // Once it is there, it is a path like any other.
                assert!(words.len() > 1 || !said.contains(secret), "{place}: {said}");
            }
        }
    }
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.put("secret", "a-secret\n");
    folder.put("long-secret", "a-secret-of-more-than-32-characters\n");
    folder.put("hash", ALICE_HASH);
    folder.put("htpasswd", &format!("alice:{ALICE_HASH}\n"));
    folder.put("model.conf", casbin::MODEL);
    folder.put("policy.csv", casbin::POLICY);
    let key = r#"{"kty": "EC", "crv": "P-256", "x": "iBQcQgzayhi-dLx0ytpmbfu3yGi-mmIULxPjHzprVnQ", "y": "T6r8S_YeWV-6gT90WhgKGntPRzMd9P8nRuY4w2pPK_o"}"#;
    folder.put("jwks", &format!("{{\"keys\": [{key}]}}"));
    let read = |name: &str| fs::read_to_string(folder.path(name)).unwrap();
    folder.put("both.pem", &format!("{}{}", read("token.crt"), read("token.key")));
    folder
}

fn tree_of(folder: &Folder, file: &str) -> Node {
    let text =
        file.replace("$DIR", folder.path("").to_str().unwrap().trim_end_matches('/')).replace("$HASH", ALICE_HASH);
    yaml::parse(&text).unwrap_or_else(|problem| panic!("{problem:?}"))
}

/// The name of the variable for a place; none where a part of it cannot be in one.
fn variable(steps: &Steps) -> Option<String> {
    let mut name = "DOCKWARDEN".to_owned();
    for step in steps {
        match step {
            Step::Key(key) if key.is_empty() => return None,
            Step::Key(key) => write!(name, "__{key}").unwrap(),
            Step::Position(index) => write!(name, "__{index}").unwrap(),
        }
    }
    Some(name)
}

/// What is told of a file with this change, and with these variables.
fn told_of(folder: &Folder, text: &str, variables: &[(String, String)], keys: Secrets) -> String {
    let source = Source { file: folder.path("config.yml"), variables: variables.to_vec() };
    let read = Config::read(&source.file, text, source.variables.iter().cloned(), keys);
    told(read.map_err(|problems| Invalid { file: source.file.clone(), problems }), &source)
}

/// To read the keys takes longer than all the rest, and only what names a file needs it.
fn keys_for(steps: &Steps) -> Secrets {
    let names_file = |step: &Step| match step {
        Step::Key(key) => {
            ["file", "key", "certificate", "path"].iter().any(|word| key.contains(word)) || key == "X-Api-Key"
        }
        Step::Position(_) => false,
    };
    if steps.iter().any(names_file) { Secrets::Read } else { Secrets::Skip }
}

/// Patterns of rules, and the values of labels, are no secrets, and are quoted where they are wrong. So are they in the log of
/// each decision.
fn is_pattern(steps: &Steps) -> bool {
    let has = |name: &str| steps.iter().any(|step| *step == Step::Key(name.to_owned()));
    (has("match") && steps.len() > 3) || (has("users") && has("labels") && steps.len() > 3)
}

fn is_secret(steps: &Steps) -> bool {
    let is_rule = steps.first() == Some(&Step::Key("acl".to_owned()));
    let named = |step: &Step| match step {
        Step::Key(key) => SECRET.contains(&key.as_str()),
        Step::Position(_) => false,
    };
    !is_rule && steps.iter().rev().take(2).any(named)
}

#[tokio::test]
async fn no_key_in_no_wrong_shape_is_repeated() {
    let folder = folder();
    let (mut tried, mut leaks) = (0, BTreeSet::new());
    for file in FILES {
        let root = tree_of(&folder, file);
        let whole = written(&root, &mut Steps::new(), &Steps::new(), Change::Beside(""));
        let read = Config::read(&folder.path("config.yml"), &whole, [], Secrets::Read);
        assert!(read.is_ok(), "{:?}", read.err());
        let mut all = Vec::new();
        places(&root, &mut Steps::new(), &mut all);
        for steps in &all {
            let keys = keys_for(steps);
            let canaries = if is_secret(steps) { [CANARY, QUIET].as_slice() } else { &[CANARY] };
            for canary in canaries {
                let mut look = |what: &str, told: String| {
                    tried += 1;
                    if let Some(line) = told.lines().find(|line| line.contains(canary)) {
                        leaks.insert(format!("{what} at {steps:?}: {line}"));
                    }
                };
                for shape in VALUES {
                    // A word in a list, as a tag or as a key was told with the other one.
                    let is_told = canary == &QUIET && (!shape.starts_with(['"', 'C']) || shape.contains("nowhere/"));
                    if is_told || (is_pattern(steps) && shape.starts_with(['"', '\''])) {
                        continue;
                    }
                    let value = shape.replace('C', canary);
                    let text = written(&root, &mut Steps::new(), steps, Change::Value(&value));
                    look(shape, told_of(&folder, &text, &[], keys));
                }
                let Some(name) = variable(steps) else { continue };
                for value in [*canary, &format!("https://user:{canary}@host/"), &format!("/nowhere {canary}")] {
                    if is_pattern(steps) {
                        continue;
                    }
                    look("variable", told_of(&folder, &whole, &[(name.clone(), value.to_owned())], keys));
                }
                look("variable below", told_of(&folder, &whole, &[(format!("{name}__x"), (*canary).to_owned())], keys));
            }
            for shape in BESIDE {
                tried += 1;
                let text = written(&root, &mut Steps::new(), steps, Change::Beside(&shape.replace('C', CANARY)));
                let told = told_of(&folder, &text, &[], keys);
                if let Some(line) = told.lines().find(|line| line.contains(CANARY)) {
                    leaks.insert(format!("{shape} beside {steps:?}: {line}"));
                }
            }
        }
    }
    assert!(tried > 10_000, "{tried}");
    let shown: Vec<String> = leaks.iter().take(60).cloned().collect();
    assert!(leaks.is_empty(), "{} of {tried}:\n{}", leaks.len(), shown.join("\n"));
}

/// Every key that the reference's tables name is in one of the files above.
#[test]
fn every_key_of_the_reference_is_tried() {
    let folder = folder();
    let mut keys = BTreeSet::new();
    for file in FILES {
        let mut all = Vec::new();
        places(&tree_of(&folder, file), &mut Steps::new(), &mut all);
        keys.extend(all.into_iter().flatten().filter_map(|step| match step {
            Step::Key(key) => Some(key),
            Step::Position(_) => None,
        }));
    }
    let reference: String = config_pages().into_values().collect();
    let rows = reference.lines().filter(|line| {
        let mut cells = line.split('|').map(str::trim);
        cells.next() == Some("")
            && cells.nth(1).is_some_and(|cell| cell.split(", ").all(|cell| matches!(cell, "D" | "N")))
    });
    let named: BTreeSet<&str> =
        rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(named.len() > 90, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|key| !keys.contains(**key)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The program itself: `check`, a start that fails, and a reload that fails.
#[tokio::test]
async fn check_a_failed_start_and_a_failed_reload_say_no_more() {
    let folder = folder();
    let root = tree_of(&folder, FILES[0]);
    let mut broken = Vec::new();
    let key = |names: &[&str]| -> Steps { names.iter().map(|name| Step::Key((*name).to_owned())).collect() };
    for (steps, value) in [
        (key(&["ldap_auth", "bind_password"]), "!C"),
        (key(&["mongo_auth", "dial_info", "addrs"]), "[\"mongodb://reader:C@127.0.0.1:27017\"]"),
        (key(&["gateway", "upstreams"]), "[{url: \"https://robot:C@registry.example.org\"}]"),
        (key(&["token", "key"]), "\"-----BEGIN PRIVATE KEY----- C\""),
        (key(&["http_auth", "headers"]), "{\"Authorization:Bearer C\"}"),
        (key(&["users", "alice"]), "{password:C}"),
    ] {
        let text = written(&root, &mut Steps::new(), &steps, Change::Value(&value.replace('C', CANARY)));
        let file = folder.put("config.yml", &text);
        broken.push(text);
        for command in ["check", "serve"] {
            let run = Command::new(env!("CARGO_BIN_EXE_dockwarden")).arg(command).arg(&file).output().unwrap();
            let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
            assert_eq!(run.status.code(), Some(1), "{command} {steps:?}: {said}");
            assert!(said.contains("config.yml") && !said.contains(CANARY), "{command} {steps:?}: {said}");
        }
    }
    assert_eq!(broken.len(), 6);
    let bed = Bed::with("");
    for text in broken {
        let log = Log::start(Form::Json);
        bed.folder.put("config.yml", &text);
        bed.app.reload();
        let said = log.text();
        assert!(said.contains("reload_failed") && !said.contains(CANARY), "{said}");
    }
}
