//! The sections of providers.

use std::path::Path;

use dockwarden::config::{Config, Secrets};

const AROUND: &str = "server: {addr: \":1\"}\ntoken: {issuer: i, certificate: c, key: k}\nacl: []\n";
const SIGN_IN: &str = "sign_in: {secret: b2Ygb3VyIG93biwgYW5kIG9mIG5vYm9keSBlbHNlIQ}\n";

fn oidc(more: &str) -> String {
    format!("{{issuer: \"https://i\", redirect_url: \"https://a/oidc_auth\", client_id: c, client_secret: s{more}}}")
}

fn github(more: &str) -> String {
    format!(
        "github_auth: {{redirect_url: \"https://a/github_auth\", client_id: c, client_secret: s, organization: o{more}}}\n"
    )
}

fn problems(text: &str) -> Vec<String> {
    let read = Config::read(Path::new("c.yml"), &format!("{AROUND}{text}"), [], Secrets::Skip);
    let problems = read.err().unwrap_or_default();
    problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect()
}

/// Checks 35, 37 and 43, and docker_auth's keys.
#[test]
fn sections_of_docker_auth_load_and_what_would_let_in_others_is_refused() {
    let good = [
        format!("{SIGN_IN}oidc_auth: {}", oidc(", label_claims: [groups]")),
        format!(
            "{SIGN_IN}oidc_auth: {}",
            oidc(", labels_claims: [realm_access.roles], scopes: [openid], user_claim: sub, http_timeout: 5s")
        ),
        format!("{SIGN_IN}oidc_auth: {}", oidc(", level_token_db: {path: /data/tokens.ldb, token_hash_cost: 5}")),
        format!("{SIGN_IN}oidc_auth: {}", oidc(", redis_token_db: {redis_options: {addr: \"localhost:6379\"}}")),
        format!(
            "{SIGN_IN}oidc_auth: {}",
            oidc(
                ", redis_token_db: {redis_cluster_options: {addrs: [\"r:1\", \"[::1]:2\"], maxredirects: 0, readonly: true, dialtimeout: 0}}"
            )
        ),
        format!(
            "{SIGN_IN}{}oidc_auth: {}",
            github(", redis_token_db: {redis_options: {addr: \"r:1\"}}"),
            oidc(
                ", redis_token_db: {redis_options: {network: tcp, addr: \"r:1\", password: p, tlsconfig: {servername: r}}}"
            )
        ),
        format!("{SIGN_IN}{}oidc_auth: {}", github(""), oidc("")),
        format!(
            "{SIGN_IN}{}gitlab_auth: {{redirect_uri: \"https://a/gitlab_auth\", client_id: c, client_secret: s, grant_type: authorization_code, account_prefix: \"gitlab:\"}}",
            github(", revalidate_after: 30m")
        ),
        format!(
            "{SIGN_IN}google_auth: {{domain: example.org, redirect_url: \"https://a/google_auth\", client_id: c, client_secret: s}}"
        ),
        format!("{SIGN_IN}users: {{}}"),
    ];
    for text in good {
        assert_eq!(problems(&text), Vec::<String>::new(), "{text}");
    }
    let named = |name: &str, more: &str| {
        oidc(&format!(", name: {name}{more}")).replace("a/oidc_auth", &format!("a/oidc_auth/{name}"))
    };
    let bad = [
        (format!("oidc_auth: {}", oidc("")), "sign_in: people sign in"),
        (
            format!("{SIGN_IN}oidc_auth: {}", oidc(", label_claims: [a], labels_claims: [a]")),
            "oidc_auth.labels_claims: ",
        ),
        (format!("{SIGN_IN}oidc_auth: {}", oidc(", gcs_token_db: {bucket: b}")), "oidc_auth.gcs_token_db: "),
        (format!("{SIGN_IN}oidc_auth: {}", oidc(", level_token_db: {}")), "oidc_auth.level_token_db.path: where are"),
        (
            format!("{SIGN_IN}oidc_auth: {}", oidc(", redis_token_db: {}")),
            "oidc_auth.redis_token_db.redis_options: which Redis",
        ),
        (
            format!("{SIGN_IN}oidc_auth: {}", oidc(", redis_token_db: {redis_options: {addr: redis}}")),
            "oidc_auth.redis_token_db.redis_options.addr: ",
        ),
        (
            format!("{SIGN_IN}oidc_auth: {}", oidc(", redis_token_db: {redis_options: {username: u}}")),
            "oidc_auth.redis_token_db.redis_options.username: Redis knows no user",
        ),
        (
            format!("{SIGN_IN}oidc_auth: {}", oidc(", redis_token_db: {redis_cluster_options: {addrs: []}}")),
            "oidc_auth.redis_token_db.redis_cluster_options.addrs: write some nodes",
        ),
        (
            format!(
                "{SIGN_IN}oidc_auth: [{}, {}]",
                named("a", ", redis_token_db: {redis_options: {}}"),
                named("b", ", account_prefix: \"b:\", redis_token_db: {redis_options: {addr: \"localhost:6379\"}}")
            ),
            "oidc_auth: oidc_auth reads docker passwords in the same Redis",
        ),
        (format!("{SIGN_IN}oidc_auth: {}", oidc("").replace("https://i", "http://i")), "oidc_auth.issuer: without TLS"),
        (format!("{SIGN_IN}oidc_auth: {}", oidc("").replace("a/oidc_auth", "a/elsewhere")), "oidc_auth.redirect_url: "),
        (format!("{SIGN_IN}oidc_auth: {}", oidc(", account_prefix: work")), "oidc_auth.account_prefix: "),
        (format!("{SIGN_IN}oidc_auth: []"), "oidc_auth: "),
        (
            format!("{SIGN_IN}oidc_auth: [{}, {}]", named("a", ""), oidc(", account_prefix: \"b:\"")),
            "oidc_auth[1]: there are several",
        ),
        (
            format!("{SIGN_IN}oidc_auth: [{}, {}]", named("a", ""), named("a", ", account_prefix: \"b:\"")),
            "oidc_auth[1]: another",
        ),
        (
            format!("{SIGN_IN}oidc_auth: [{}, {}]", named("a", ""), named("b", "")),
            "oidc_auth: somebody of this provider could be called",
        ),
        (
            format!("{SIGN_IN}{}oidc_auth: {}", github(""), oidc(", user_claim: sub")),
            "oidc_auth: somebody of this provider could be called",
        ),
        (format!("{SIGN_IN}github_auth: {{client_id: c, client_secret: s}}"), "github_auth.redirect_url: "),
        (format!("{SIGN_IN}google_auth: {{client_id: c, client_secret: s}}"), "google_auth.redirect_url: "),
        (
            format!(
                "{SIGN_IN}gitlab_auth: {{redirect_uri: \"https://a/gitlab_auth\", client_id: c, client_secret: s, organization: o}}"
            ),
            "gitlab_auth.organization: ",
        ),
        (
            format!(
                "{SIGN_IN}gitlab_auth: {{redirect_uri: \"https://a/gitlab_auth\", client_id: c, client_secret: s, grant_type: password}}"
            ),
            "gitlab_auth.grant_type: ",
        ),
        ("sign_in: {}\nusers: {}".to_owned(), "sign_in.secret_file: "),
    ];
    for (text, expected) in bad {
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{text}: {found:?}");
    }
    let short = Config::read(
        Path::new("c.yml"),
        &format!("{AROUND}sign_in: {{secret: hunter2hunter2}}\nusers: {{}}"),
        [],
        Secrets::Read,
    );
    let told = format!("{:?}", short.err());
    assert!(told.contains("too short") && !told.contains("hunter2"), "{told}");
}
