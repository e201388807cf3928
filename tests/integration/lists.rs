//! The lists that others have written down: the keys of their files, and the reasons that their alarms look for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use dockwarden::config::{Config, Secrets};

use crate::outcomes::in_shapes;
use crate::pages::config_pages;

/// Each map of the configuration file and its keys. Without one of them, files that load today do not load any more.
const KEYS: &[(&str, &str)] = &[
    ("lasting", "longest, refresh"),
    ("server.letsencrypt", "ca_certificate, cache_dir, directory_url, email, host"),
    (
        "server",
        "addr, admin_addr, certificate, hsts, idle_timeout, key, letsencrypt, max_connections_per_address, net, \
         path_prefix, real_ip_header, real_ip_pos, tls_cipher_suites, tls_curve_preferences, tls_min_version, \
         trusted_proxies",
    ),
    ("token.authority", "certificate, generate, key"),
    (
        "token",
        "authority, certificate, disable_legacy_key_id, expiration, generate, header, issuer, key, not_before, \
         reuse, services",
    ),
    ("users.\"\"", "disabled, labels, not_after, not_before, password, password_file"),
    ("htpasswd_auth", "path"),
    ("ext_auth", "args, command, concurrency, label_values, timeout"),
    ("ldap_auth.labels.l", "attribute, from, lower_case, parse_cn, regex"),
    (
        "ldap_auth",
        "account_attribute, addr, base, bind_dn, bind_password, bind_password_file, ca_certificate, \
         connect_timeout, deadline, filter, group_base, group_filter, initial_bind_as_user, \
         insecure_tls_skip_verify, label_values, labels, nested_groups, pool_size, timeout, tls",
    ),
    (
        "mongo_auth.dial_info",
        "addrs, ca_certificate, client_certificate, database, direct, enable_tls, enabled_tls, failfast, \
         mechanism, password, password_file, service, source, timeout, uri, username",
    ),
    ("mongo_auth", "collection, deadline, dial_info, label_values"),
    ("xorm_auth", "conn_string, conn_string_file, database_type, deadline, label_values"),
    ("http_auth.headers.B", "file"),
    ("http_auth.look_up", "body, content_type, headers, method, url"),
    ("http_auth.tls", "ca_certificate, client_certificate, client_key"),
    (
        "http_auth",
        "accept, account, body, cache_ttl, concurrency, content_type, deadline, headers, label_values, \
         labels, look_up, method, not_mine, reject, timeout, tls, url",
    ),
    ("tests[0]", "as, ask, at, ip, labels, name, reference, rule, service, want"),
    ("acl[0].match", "account, ip, labels, name, reference, service, tag, type"),
    ("acl[0]", "actions, comment, match, not_after, not_before"),
    (
        "acl_mongo.dial_info",
        "addrs, ca_certificate, client_certificate, database, direct, enable_tls, enabled_tls, failfast, \
         mechanism, password, password_file, service, source, timeout, uri, username",
    ),
    ("acl_mongo", "cache_ttl, collection, deadline, dial_info, max_stale"),
    ("acl_xorm", "cache_ttl, conn_string, conn_string_file, database_type, deadline, max_stale"),
    ("http_authz.headers.B", "file"),
    ("http_authz.tls", "ca_certificate, client_certificate, client_key"),
    ("http_authz", "cache_ttl, concurrency, deadline, headers, timeout, tls, url"),
    ("ext_authz", "args, command, concurrency, timeout"),
    ("casbin_authz", "model_path, policy_path"),
    ("forward_auth.paths[0]", "methods, path, scope"),
    ("forward_auth", "challenge, headers, paths, realm, service, trusted_proxies"),
    (
        "records.postgres",
        "ca_certificate, client_certificate, client_key, database, deadline, host, password, password_file, port, tls, url, \
         username",
    ),
    ("directory.groups.g", "id, privileges"),
    ("directory.users.u", "groups, id, primary_group, privileges, quota"),
    ("directory.apps.a", "id, publications, responsibles"),
    ("directory.services.a@b", "app, secrets"),
    ("directory", "apps, groups, groups_from, services, users"),
    ("registries.r", "ca_certificate, events, hosts, publications, responsibles, restricted, url"),
    ("registries.r.events", "secret, secret_file"),
    ("registries_declared", "networks"),
    ("records", "mongo, postgres, sqlite"),
    ("api", "listen"),
    ("telemetry", "authorization, authorization_file, ca_certificate, endpoint, interval, service_name, signals"),
    ("catalogue", "pulls_kept, requests_at_once, requests_per_second, sweep_every"),
    ("records_auth", "label_values"),
    ("acl_records", "cache_ttl, max_stale"),
    ("sign_in", "registry_url, secret, secret_file, url"),
    ("oidc_auth.level_token_db", "path, token_hash_cost"),
    ("oidc_auth.redis_token_db", "redis_cluster_options, redis_options, token_hash_cost"),
    (
        "oidc_auth.redis_token_db.redis_options",
        "addr, db, dialtimeout, idlecheckfrequency, idletimeout, maxconnage, maxretries, maxretrybackoff, minidleconns, minretrybackoff, \
         network, password, password_file, poolsize, pooltimeout, readtimeout, tlsconfig, username, writetimeout",
    ),
    (
        "oidc_auth.redis_token_db.redis_cluster_options",
        "addrs, dialtimeout, idlecheckfrequency, idletimeout, maxconnage, maxredirects, maxretries, maxretrybackoff, minidleconns, \
         minretrybackoff, password, password_file, poolsize, pooltimeout, readonly, readtimeout, routebylatency, routerandomly, tlsconfig, \
         username, writetimeout",
    ),
    ("oidc_auth.redis_token_db.redis_options.tlsconfig", "ca_certificate, insecureskipverify, servername"),
    (
        "oidc_auth",
        "account_prefix, ca_certificate, client_id, client_secret, client_secret_file, domain, grace, http_timeout, issuer, \
         label_claims, labels_claims, level_token_db, name, plain_http, redirect_url, redis_token_db, registry_url, \
         revalidate_after, scopes, title, user_claim",
    ),
    (
        "google_auth",
        "account_prefix, ca_certificate, client_id, client_secret, client_secret_file, domain, grace, http_timeout, \
         level_token_db, name, plain_http, redirect_url, redis_token_db, registry_url, revalidate_after, title",
    ),
    (
        "github_auth",
        "account_prefix, ca_certificate, client_id, client_secret, client_secret_file, github_api_uri, github_web_uri, grace, \
         http_timeout, level_token_db, name, organization, plain_http, redirect_url, redis_token_db, registry_url, \
         revalidate_after, title",
    ),
    (
        "gitlab_auth",
        "account_prefix, ca_certificate, client_id, client_secret, client_secret_file, gitlab_api_uri, gitlab_web_uri, grace, \
         grant_type, http_timeout, level_token_db, name, plain_http, redirect_uri, redis_token_db, registry_url, \
         revalidate_after, title",
    ),
    ("gateway.upstreams[0].auth.ecr", "endpoint, profile, region, registry_id"),
    ("gateway.upstreams[0].auth", "basic, ecr, token"),
    (
        "gateway.upstreams[0]",
        "auth, ca_certificate, connect_timeout, host, idle_timeout, name, prefix, read_only, \
         response_timeout, service, url",
    ),
    ("gateway.upstreams[1].auth.basic", "password, password_file, username"),
    ("gateway.upstreams[2].auth.token", "password, password_file, realm, service, username"),
    ("gateway", "addr, challenge, realm, service, upstreams"),
    ("workload[0].keys", "ca_certificate, discovery, file, plain_http, url"),
    ("workload[0].token_review", "api, ca, plain_http, token_file"),
    (
        "workload[0]",
        "account, algorithms, audiences, issuer, keys, labels, name, other_audiences, require, session, single_use, \
         token_review",
    ),
    (
        "",
        "acl, acl_mongo, acl_records, acl_xorm, api, casbin_authz, catalogue, directory, ext_auth, ext_authz, forward_auth, gateway, \
         github_auth, gitlab_auth, google_auth, htpasswd_auth, http_auth, http_authz, lasting, ldap_auth, mongo_auth, oidc_auth, \
         records, records_auth, registries, registries_declared, server, sign_in, standard_rules, telemetry, tests, token, users, workload, xorm_auth",
    ),
];

/// A key that there is nowhere: its message names all that there are.
const UNKNOWN: &str = "qqqqqqqqqqqqqqqq";
/// A file with that key in each map.
const EVERY_MAP: &str = r#"
server: {addr: ":1", letsencrypt: {host: a.b, email: a@b, cache_dir: c, UNKNOWN}, UNKNOWN}
token: {issuer: i, certificate: c, key: k, authority: {certificate: a, UNKNOWN}, UNKNOWN}
users: {"": {UNKNOWN}}
htpasswd_auth: {path: p, UNKNOWN}
ext_auth: {command: c, UNKNOWN}
ldap_auth: {addr: localhost, base: dc=x, filter: "(uid=${account})", labels: {l: {attribute: a, UNKNOWN}}, UNKNOWN}
mongo_auth: {dial_info: {addrs: [h], database: d, UNKNOWN}, collection: c, UNKNOWN}
xorm_auth: {database_type: sqlite3, conn_string: c, UNKNOWN}
http_auth: {url: "https://a/", headers: {A: "${basic}", B: {file: f, UNKNOWN}}, tls: {UNKNOWN}, look_up: {url: "https://a/${account}", UNKNOWN}, UNKNOWN}
acl: [{match: {UNKNOWN}, actions: [], UNKNOWN}]
acl_mongo: {dial_info: {addrs: [h], database: d, UNKNOWN}, collection: c, UNKNOWN}
acl_xorm: {database_type: sqlite3, conn_string: c, UNKNOWN}
http_authz: {url: "https://a/", headers: {B: {file: f, UNKNOWN}}, tls: {UNKNOWN}, UNKNOWN}
ext_authz: {command: c, UNKNOWN}
casbin_authz: {model_path: m, policy_path: p, UNKNOWN}
forward_auth: {trusted_proxies: unix, service: s, paths: [{path: /a, scope: "a:b:c", UNKNOWN}], UNKNOWN}
api: {listen: off, UNKNOWN}
telemetry: {endpoint: "https://c:4318", UNKNOWN}
sign_in: {secret: 0123456789abcdef0123456789abcdef, UNKNOWN}
oidc_auth: {issuer: "https://a", redirect_url: "https://a/oidc_auth", client_id: c, client_secret: s, level_token_db: {path: p, UNKNOWN}, redis_token_db: {redis_options: {tlsconfig: {UNKNOWN}, UNKNOWN}, redis_cluster_options: {addrs: ["h:1"], UNKNOWN}, UNKNOWN}, account_prefix: "o:", UNKNOWN}
google_auth: {redirect_url: "https://a/google_auth", client_id: c, client_secret: s, UNKNOWN}
github_auth: {redirect_url: "https://a/github_auth", client_id: c, client_secret: s, UNKNOWN}
gitlab_auth: {redirect_uri: "https://a/gitlab_auth", client_id: c, client_secret: s, account_prefix: "g:", UNKNOWN}
catalogue: {UNKNOWN}
registries_declared: {UNKNOWN}
records_auth: {UNKNOWN}
acl_records: {UNKNOWN}
records: {postgres: {host: h, database: d, username: u, UNKNOWN}, UNKNOWN}
gateway:
  service: s
  upstreams:
    - {url: "http://h", auth: {ecr: {region: r, UNKNOWN}, UNKNOWN}, UNKNOWN}
    - {url: "http://i", prefix: i, auth: {basic: {username: u, password: p, UNKNOWN}}}
    - {url: "http://j", prefix: j, auth: {token: {realm: "http://k", service: s, UNKNOWN}}}
  UNKNOWN
lasting: {UNKNOWN}
standard_rules: opensvc
tests: [{as: a, ask: "a:b:c", want: [], UNKNOWN}]
directory:
  groups: {g: {id: 1, UNKNOWN}}
  users: {u: {id: 1, UNKNOWN}}
  apps: {a: {id: 1, UNKNOWN}}
  services: {"a@b": {app: a, UNKNOWN}}
  UNKNOWN
registries: {r: {url: "https://a", events: {secret: 0123456789abcdef, UNKNOWN}, UNKNOWN}}
workload: [{issuer: "https://a", audiences: [a], require: {sub: s}, account: "a:${claim:b}", keys: {file: f, UNKNOWN}, token_review: {api: "https://b", token_file: t, UNKNOWN}, UNKNOWN}]
UNKNOWN
"#;

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

pub(crate) fn keys_of_each_map() -> BTreeMap<String, String> {
    let text = EVERY_MAP.replace("UNKNOWN", &format!("{UNKNOWN}: 1"));
    let problems = Config::read(Path::new("config.yml"), &text, [], Secrets::Skip).unwrap_err();
    let known = problems.iter().map(|problem| {
        let map = problem.path.strip_suffix(UNKNOWN).unwrap_or_else(|| panic!("{problem:?}"));
        let (_, keys) = problem.message.split_once("(known here: ").unwrap();
        (map.trim_end_matches('.').to_owned(), keys.trim_end_matches(')').to_owned())
    });
    known.collect()
}

#[test]
fn the_keys_of_the_configuration_are_those_of_the_list() {
    let listed: BTreeMap<String, String> = KEYS.iter().map(|(map, keys)| ((*map).into(), (*keys).into())).collect();
    assert_eq!(keys_of_each_map(), listed);
}

#[test]
fn every_key_of_the_configuration_is_described() {
    let pages = config_pages();
    let mut missing = Vec::new();
    for (map, keys) in KEYS {
        // `mongo_auth.dial_info` is described where `mongo_auth` is: on the page that has it in a heading.
        let section = map.split(['.', '[']).next().unwrap_or_default();
        let is_about = |text: &str| {
            text.lines().any(|line| line.starts_with('#') && line.contains(&format!("`{section}`")))
                || section.is_empty()
        };
        let about: Vec<&String> = pages.values().filter(|text| is_about(text)).collect();
        let named = |key: &str| about.iter().any(|text| text.contains(&format!("`{key}`")));
        missing.extend(keys.split(", ").filter(|key| !named(key)).map(|key| format!("{map}: {key}")));
    }
    assert!(missing.is_empty(), "the page of the section says nothing about {missing:#?}");
}

/// The reasons that the sources below a folder give to lines of the log.
fn reasons_below(folder: &Path) -> BTreeSet<String> {
    let mut reasons = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            reasons.extend(reasons_below(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = read(&path);
            let given = text.split("reason = \"").skip(1).filter_map(|after| Some(after.split_once('"')?.0.to_owned()));
            // The lint attributes of the language give reasons too, in sentences.
            reasons.extend(given.filter(|reason| !reason.contains(' ')));
            reasons.extend(in_shapes(&text));
        }
    }
    reasons
}

/// The page about the log has tables of them, which alarms are written from.
#[test]
fn the_reasons_in_the_log_are_those_that_are_described() {
    let page = read("docs/reference/log.md");
    let mut described = BTreeSet::new();
    for table in page.split("\n| `reason` ").skip(1) {
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let names = rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split('`').skip(1).step_by(2));
        described.extend(names.map(str::to_owned));
    }
    let mut reasons = reasons_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    reasons.extend(dockwarden::secrets::Dead::ALL.map(|dead| dead.reason().to_owned()));
    assert_eq!(reasons, described);
}
