//! The `gateway` section: what of it loads, and each slip by name.

use std::path::Path;
use std::time::Duration;

use dockwarden::config::{Config, Ecr, Login, Secrets, Writes};

use super::{around, expect, loaded, read_with};
use crate::bed::Folder;

#[test]
fn upstreams_are_read_with_their_logins() {
    let config = loaded(&around(
        r#"gateway:
  addr: "127.0.0.1:5443"
  service: registry
  upstreams:
    - url: https://registry.example.org
    - {url: "http://localhost:5000/", name: local, host: Docker.Example.org, prefix: team/, read_only: true, connect_timeout: 1s, response_timeout: 1h, idle_timeout: 500ms, auth: {basic: {username: u, password: hush}}}
    - {url: "https://gitlab.example.org:5050", prefix: group, auth: {token: {realm: "https://gitlab.example.org/jwt/auth", service: container_registry}}}
    - {url: "https://012345678901.dkr.ecr.eu-central-1.amazonaws.com", prefix: aws, auth: {ecr: {}}}
    - {url: "https://012345678901.dkr-ecr.eu-west-1.on.aws", prefix: aws6, auth: {ecr: {}}}
    - {url: "https://ecr.example.org", prefix: aws2, auth: {ecr: {region: us-east-1, registry_id: "109876543210", endpoint: "http://127.0.0.1:1", profile: p}}}
"#,
    ));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert!(!format!("{config:?}").contains("hush"), "secrets stay out of debug output");
    let gateway = config.gateway.unwrap();
    let [plain, local, gitlab, ecr, dual, other] = gateway.upstreams.as_slice() else { panic!("{gateway:?}") };
    assert_eq!(
        (plain.name.as_str(), &plain.login, plain.writes),
        ("registry.example.org", &Login::Anonymous, Writes::Passed)
    );
    assert_eq!((plain.connect_within, plain.idle_for), (Duration::from_secs(5), Duration::from_secs(60)));
    assert_eq!((local.host.as_deref(), local.prefix.as_deref()), (Some("docker.example.org"), Some("team")));
    assert_eq!(
        (local.name.as_str(), local.writes, local.idle_for),
        ("local", Writes::Refused, Duration::from_millis(500))
    );
    assert!(matches!(&local.login, Login::Basic(account) if account.username == "u"));
    assert!(
        matches!(&gitlab.login, Login::TokenService { service, account: None, .. } if service == "container_registry")
    );
    let found = Ecr { region: Some("eu-central-1".into()), registry_id: Some("012345678901".into()), ..Ecr::default() };
    let dual_stack = Ecr { region: Some("eu-west-1".into()), ..found.clone() };
    assert_eq!(ecr.login, Login::Ecr(found), "what the host name says need not be repeated");
    assert_eq!(dual.login, Login::Ecr(dual_stack));
    let written = Ecr {
        region: Some("us-east-1".into()),
        registry_id: Some("109876543210".into()),
        endpoint: Some("http://127.0.0.1:1".into()),
        profile: Some("p".into()),
    };
    assert_eq!(other.login, Login::Ecr(written));
}

#[test]
fn each_slip_is_named() {
    let row = |row: &str| around(&format!("gateway: {{service: registry, upstreams: [{row}]}}"));
    let url = "url: \"http://localhost:1\"";
    let login = |login: &str| row(&format!("{{{url}, auth: {login}}}"));
    for (text, path, piece) in [
        (around("gateway: {service: registry}"), "gateway.upstreams", "name the registries"),
        (row(""), "gateway.upstreams", "name the registries"),
        (
            around(&format!("gateway: {{upstreams: [{{{url}}}]}}")),
            "gateway.service",
            "name the registry that clients see",
        ),
        (
            around(&format!("gateway: {{addr: x, service: r, upstreams: [{{{url}}}]}}")),
            "gateway.addr",
            "is not an address",
        ),
        (
            around(&format!("gateway: {{service: r, challenge: bearer, upstreams: [{{{url}}}]}}")),
            "gateway.realm",
            "clients need the address of the token endpoint",
        ),
        (row("{}"), "gateway.upstreams[0].url", "the address of the registry is needed"),
        (row("{url: registry.example.org}"), "gateway.upstreams[0].url", "is not the address of a registry"),
        (row("{url: \"https://r.example.org/path\"}"), "gateway.upstreams[0].url", "without a path"),
        (
            row("{url: \"https://user:pw@r.example.org\"}"),
            "gateway.upstreams[0].url",
            "is not the address of a registry",
        ),
        (row("{url: \"ftp://r.example.org\"}"), "gateway.upstreams[0].url", "is not the address of a registry"),
        (row(&format!("{{{url}, host: \"a/b\"}}")), "gateway.upstreams[0].host", "is not a host name"),
        (row(&format!("{{{url}, service: s}}")), "gateway.upstreams[0].service", "with a host of their own"),
        (
            row(&format!("{{{url}, host: a.test, service: s}}, {{{url}, name: b, host: \"a.test:5000\", prefix: p}}")),
            "gateway.upstreams[1].service",
            "write the same for both",
        ),
        (
            row(&format!("{{{url}, prefix: Team}}")),
            "gateway.upstreams[0].prefix",
            "no repository's name can begin like this",
        ),
        (
            row(&format!("{{{url}, prefix: \"a*\"}}")),
            "gateway.upstreams[0].prefix",
            "no repository's name can begin like this",
        ),
        (row(&format!("{{{url}, name: \"a b\"}}")), "gateway.upstreams[0].name", "is not a name"),
        (row(&format!("{{{url}, idle_timeout: 1ms}}")), "gateway.upstreams[0].idle_timeout", "60s is usual"),
        (row(&format!("{{{url}, response_timeout: 2h}}")), "gateway.upstreams[0].response_timeout", "an hour or less"),
        (row(&format!("{{{url}, strip_prefix: true}}")), "gateway.upstreams[0].strip_prefix", "there is no such key"),
        (row(&format!("{{{url}, ca_certificate: /none}}")), "gateway.upstreams[0].url", "TLS is not spoken"),
        (row(&format!("{{{url}}}, {{{url}, name: b}}")), "gateway.upstreams[1]", "the same host and prefix"),
        (
            row(&format!("{{{url}}}, {{{url}, prefix: a}}")),
            "gateway.upstreams[1].name",
            "called localhost:1 in the log too",
        ),
        (login("{}"), "gateway.upstreams[0].auth.basic", "say how to log in"),
        (
            login("{basic: {username: a, password: b}, ecr: {}}"),
            "gateway.upstreams[0].auth.basic",
            "more than one way to log in",
        ),
        (login("{ecr: {}}"), "gateway.upstreams[0].auth.ecr.region", "url is no address of ECR's"),
        (
            row("{url: \"https://1.dkr.ecr.eu-central-1.example.org\", auth: {ecr: {}}}"),
            "gateway.upstreams[0].auth.ecr.region",
            "url is no address of ECR's",
        ),
        (login("{basic: {}}"), "gateway.upstreams[0].auth.basic.username", "the login has no user name"),
        (login("{basic: {username: a}}"), "gateway.upstreams[0].auth.basic.username", "without password"),
        (login("{basic: {password: a}}"), "gateway.upstreams[0].auth.basic.username", "without its user name"),
        (
            login("{basic: {username: a, password: b, password_file: c}}"),
            "gateway.upstreams[0].auth.basic.password_file",
            "not both",
        ),
        (login("{basic: {username: \"a:b\", password: c}}"), "gateway.upstreams[0].auth.basic.username", "a colon"),
        (
            login("{token: {service: s}}"),
            "gateway.upstreams[0].auth.token.realm",
            "the address of the token service is needed",
        ),
        (
            login("{token: {realm: \"http://localhost/t\"}}"),
            "gateway.upstreams[0].auth.token.service",
            "the audience of the tokens is needed",
        ),
        (login("{token: {realm: x, service: s}}"), "gateway.upstreams[0].auth.token.realm", "is not an address"),
        (login("{ecr: {region: r, registry_id: \"1\"}}"), "gateway.upstreams[0].auth.ecr.registry_id", "twelve digits"),
        (login("{ecr: {region: r, endpoint: x}}"), "gateway.upstreams[0].auth.ecr.endpoint", "is not an address"),
        (
            login("{ecr: {region: r, access_key: x}}"),
            "gateway.upstreams[0].auth.ecr.access_key",
            "there is no such key",
        ),
    ] {
        expect(&text, &[], &[(1, path, piece)]);
    }
}

#[test]
fn a_password_on_an_open_wire_is_warned_of() {
    for (url, login, expected) in [
        ("http://registry.example.org", "{basic: {username: a, password: b}}", &["gateway.upstreams[0].url"][..]),
        ("http://127.0.0.1:5000", "{basic: {username: a, password: b}}", &[]),
        ("http://[::1]:5000", "{basic: {username: a, password: b}}", &[]),
        ("http://127.0.0.1.example.org", "{basic: {username: a, password: b}}", &["gateway.upstreams[0].url"]),
        (
            "http://registry.example.org",
            "{token: {realm: \"https://auth.example.org/token\", service: s, username: a, password: b}}",
            &["gateway.upstreams[0].url"],
        ),
        ("https://registry.example.org", "{basic: {username: a, password: b}}", &[]),
        (
            "https://registry.example.org",
            "{token: {realm: \"http://auth.example.org/token\", service: s, username: a, password: b}}",
            &["gateway.upstreams[0].auth.token.realm"],
        ),
        ("https://registry.example.org", "{token: {realm: \"http://auth.example.org/token\", service: s}}", &[]),
    ] {
        let text = format!("gateway: {{service: registry, upstreams: [{{url: \"{url}\", auth: {login}}}]}}");
        let config = loaded(&around(&text));
        let warned: Vec<&str> = config.warnings.iter().map(|warning| warning.path.as_str()).collect();
        assert_eq!(warned, expected, "{text}");
    }
}

#[test]
fn a_gateway_that_is_its_own_upstream_is_warned_of() {
    for (server, gateway, url, expected) in [
        (":5001", None, "http://127.0.0.1:5001", true),
        (":5001", None, "https://localhost:5001", true),
        (":5001", None, "http://[::1]:5001", true),
        ("0.0.0.0:5001", None, "http://127.0.0.1:5001", true),
        ("192.0.2.1:5001", None, "http://192.0.2.1:5001", true),
        ("auth.example.org:443", None, "https://Auth.example.org", true),
        ("127.0.0.1:80", None, "http://127.0.0.1", true),
        (":5001", Some("127.0.0.1:5000"), "http://127.0.0.1:5000", true),
        (":5001", Some("127.0.0.1:5000"), "http://127.0.0.1:5001", false),
        (":5001", None, "http://127.0.0.1:5000", false),
        (":5001", None, "http://registry.example.org:5001", false),
        ("192.0.2.1:5001", None, "http://192.0.2.2:5001", false),
        ("192.0.2.1:5001", None, "http://127.0.0.1:5001", false),
        ("127.0.0.1:443", None, "http://127.0.0.1", false),
        ("unix:/run/dockwarden.sock", None, "http://127.0.0.1:5001", false),
    ] {
        let addr = gateway.map(|addr| format!("addr: \"{addr}\", ")).unwrap_or_default();
        let gateway = format!("gateway: {{{addr}service: registry, upstreams: [{{url: \"{url}\"}}]}}");
        let config = loaded(&around(&format!("server: {{addr: \"{server}\"}}\n{gateway}")));
        let warned: Vec<&str> = config.warnings.iter().map(|warning| warning.path.as_str()).collect();
        let wanted: &[&str] = if expected { &["gateway.upstreams[0].url"] } else { &[] };
        assert_eq!(warned, wanted, "{server} {gateway}");
    }
}

#[test]
fn files_of_secrets_and_authorities_are_read_and_watched() {
    let folder = Folder::new();
    folder.put("secret", "hush\n");
    folder.put("empty", "");
    let text = |password: &str, authority: &str| {
        folder.complete(&format!(
            "gateway: {{service: registry, upstreams: [{{url: \"https://r.example.org\", ca_certificate: $DIR/{authority}, \
             auth: {{basic: {{username: u, password_file: $DIR/{password}}}}}}}]}}\n"
        ))
    };
    let read = |text: &str| Config::read(Path::new("config.yml"), text, [], Secrets::Read);
    let config = read(&text("secret", "token.crt")).unwrap();
    for name in ["secret", "token.crt"] {
        assert!(config.files.contains(&folder.path(name)), "{name}");
    }
    assert!(!format!("{config:?}").contains("hush"));
    for (password, authority, expected) in [
        ("none", "token.crt", "cannot be read"),
        ("empty", "token.crt", "the file is empty"),
        ("secret", "none", "cannot be read"),
        ("secret", "secret", "holds no PEM block"),
    ] {
        let problems = read(&text(password, authority)).err().unwrap_or_default();
        assert!(problems.len() == 1 && problems[0].message.contains(expected), "{problems:?}");
    }
    // `explain` needs none of them.
    assert!(read_with(&text("none", "none"), &[]).is_ok());
}
