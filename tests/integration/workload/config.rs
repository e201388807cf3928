//! What of `workload:` does not load, with its line (check 41): a slip here would let in everybody else.

use std::path::Path;

use dockwarden::config::{Config, Secrets};

const COMMON: &str =
    "server: {addr: ':1'}\ntoken: {issuer: 'https://auth.example.org', certificate: c, key: k}\nacl: []\n";

/// The problems of a file with this entry, as `LINE: message`; the entry begins in line 5.
fn problems(entry: &str) -> Vec<String> {
    let text = format!("{COMMON}workload:\n{entry}");
    match Config::read(Path::new("c.yml"), &text, [], Secrets::Skip) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|problem| problem.in_file(Path::new("c.yml"))).collect(),
    }
}

/// An entry of a line for each key; `changes` take the place of those lines, or follow them.
fn entry(changes: &[(&str, &str)]) -> String {
    let mut lines = vec![
        ("issuer", "https://token.actions.githubusercontent.com".to_owned()),
        ("audiences", "[registry.example.org]".to_owned()),
        ("keys", "discovery".to_owned()),
        ("require", "{repository_owner_id: \"1\"}".to_owned()),
        ("account", "\"github:${claim:repository}\"".to_owned()),
    ];
    for (key, value) in changes {
        match lines.iter_mut().find(|(own, _)| own == key) {
            Some((_, own)) => *own = (*value).to_owned(),
            None => lines.push((key, (*value).to_owned())),
        }
    }
    let lines = lines.iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| format!("{key}: {value}\n"));
    format!("  - {}", lines.collect::<Vec<_>>().join("    "))
}

#[test]
fn what_would_let_in_others_does_not_load() {
    assert_eq!(problems(&entry(&[])), Vec::<String>::new());
    let kubernetes = ("issuer", "https://kubernetes.default.svc.cluster.local");
    let spiffe = ("issuer", "spiffe://example.org");
    let other = ("issuer", "https://ci.example.org");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("require", "{repository_owner: octo}")], "c.yml:8: workload[0].require: everybody at GitHub has tokens"),
        (
            &[("require", "{repository_owner_ids: \"1\"}")],
            "c.yml:8: workload[0].require: everybody at GitHub has tokens",
        ),
        (
            &[("require", "{repository_owner_id: 1}")],
            "c.yml:8: workload[0].require.repository_owner_id: GitHub's claims are texts",
        ),
        (&[("require", "{repository_owner_id: \"1\", sub: \"repo:o/r:x\"}")], "two forms of sub"),
        (&[("account", "\"github:${claim:sub}\"")], "c.yml:9: workload[0].account: one repository has two forms"),
        (&[("require", "")], "c.yml:5: workload[0].require: everybody at GitHub has tokens"),
        (&[("requires", "{a: b}")], "c.yml:10: workload[0].requires: there is no such key; did you mean \"require\"?"),
        (
            &[("require", "[repository_owner_id]")],
            "c.yml:8: workload[0].require: claims with their values are expected",
        ),
        (&[("require", "repository_owner_id")], "c.yml:8: workload[0].require: claims with their values are expected"),
        (&[("require", "{repository_owner_id: []}")], "no value is named"),
        (
            &[("require", "{repository_owner_id: }")],
            "c.yml:8: workload[0].require.repository_owner_id: one value is expected",
        ),
        (&[("require", "{repository_owner_id: {is: \"1\"}}")], "write a claim inside another with a dot"),
        (&[("require", "{repository_owner_id: \"1\", aud: x}")], "checked in any case"),
        (&[("require", "{repository_owner_id: \"1\", \"${claim:a}\": x}")], "this is no claim's name"),
        (&[("issuer", "https://github.example.org/_services/token"), ("require", "{ref: x}")], "everybody at GitHub"),
        (&[("issuer", "https://accounts.google.com"), ("require", "{email: a@b}")], "everybody at Google"),
        (
            &[("issuer", "https://accounts.google.com"), ("require", "{email: a@b, email_verified: \"true\"}")],
            "an address that is not verified",
        ),
        (&[("issuer", "https://gitlab.com"), ("require", "{ref: main}")], "every project of the instance"),
        (&[("issuer", "https://gitlab.com"), ("require", "{project_id: 7}")], "GitLab has this claim as a text"),
        (
            &[("issuer", "https://gitlab.com"), ("require", "{project_id: \"7\", ref_protected: true}")],
            "GitLab has this claim as a text",
        ),
        (
            &[kubernetes, ("require", "{kubernetes.io.pod.name: a}"), ("account", "\"k8s:${claim:sub}\"")],
            "every pod of the cluster",
        ),
        (
            &[kubernetes, ("require", "{sub: a}"), ("audiences", "[\"https://kubernetes.default.svc.cluster.local\"]")],
            "c.yml:6: workload[0].audiences: this audience is the API server's own",
        ),
        (
            &[("issuer", "https://login.microsoftonline.com/7f/v2.0"), ("require", "{tid: x}")],
            "everything in the tenant",
        ),
        (
            &[("issuer", "https://login.microsoftonline.com/common/v2.0")],
            "c.yml:5: workload[0].issuer: this stands for every tenant",
        ),
        (&[("issuer", "https://a.tokens.sts.global.api.aws"), ("require", "{x: y}")], "every role of the account"),
        (&[spiffe, ("require", "{a: b}"), ("keys", "{file: k}")], "every workload of the trust domain"),
        (&[spiffe, ("require", "{sub: \"spiffe://example.org/a\"}")], "a trust domain has no discovery"),
        (&[("issuer", "spiffe://example.org/a")], "not a trust domain"),
        (&[other, ("require", "")], "nothing is required of its tokens"),
        (&[("issuer", "https://auth.example.org")], "this is token.issuer, whose tokens are our own"),
        (&[("issuer", "token.actions.githubusercontent.com")], "not an issuer"),
        (&[("issuer", "https://a@token.actions.githubusercontent.com")], "not an issuer"),
        (&[("audiences", "[]")], "c.yml:5: workload[0].audiences: tokens for anybody would be taken"),
        (&[("audiences", "")], "tokens for anybody would be taken"),
        (&[("audiences", "[\"\"]")], "this is no audience"),
        (
            &[("account", "\"${claim:repository}\"")],
            "c.yml:9: workload[0].account: a workload could be called like a user",
        ),
        (&[("account", "\"github-${claim:repository}\"")], "could be called like a user"),
        (&[("account", "\":${claim:repository}\"")], "could be called like a user"),
        (&[("account", "\"github:${claim:a}${claim:b}\"")], "no name can be made of this"),
        (&[("account", "\"github:octo\"")], "no name can be made of this"),
        (&[("account", "\"github:${repository}\"")], "no name can be made of this"),
        (&[("account", "")], "how are its accounts called?"),
        (&[("labels", "{a: \"x-${claim:b}\"}")], "a claim stands alone"),
        (&[("labels", "[a]")], "labels are names with values"),
        (&[("algorithms", "[none]")], "c.yml:10: workload[0].algorithms: \"none\" is not an algorithm"),
        (&[("algorithms", "[HS256]")], "not an algorithm by which only the issuer can sign"),
        (&[("algorithms", "[]")], "no token is taken so"),
        (&[("keys", "")], "where are the issuer's keys?"),
        (&[("keys", "discover")], "where are the issuer's keys?"),
        (
            &[("keys", "{url: \"http://127.0.0.1/jwks\"}")],
            "c.yml:7: workload[0].keys.url: this is not an address of keys",
        ),
        (&[("keys", "{url: \"http://192.0.2.1/jwks\", plain_http: loopback}")], "not an address of keys"),
        (&[("keys", "{url: \"http://localhost/jwks\", plain_http: loopback}")], "not an address of keys"),
        (&[("keys", "{url: \"https://u:p@h/jwks\"}")], "not an address of keys"),
        (&[("keys", "{url: \"https://h/jwks\", file: k}")], "name one place where the keys are"),
        (&[("keys", "{}")], "name one place where the keys are"),
        (&[("keys", "{url: \"https://h/jwks\", plain_http: always}")], "\"always\" is not a place"),
        (&[("issuer", "http://ci.example.org"), ("require", "{a: b}")], "keys are not fetched without TLS"),
        (&[("single_use", "once")], "c.yml:10: workload[0].single_use: \"once\" is neither true nor false"),
        (&[("session", "13h")], "c.yml:10: workload[0].session: \"13h\" is not how long a session lives"),
        (&[("session", "1m")], "write 2m to 12h (1h is usual), or false for none"),
        (&[("session", "true")], "\"true\" is not how long a session lives"),
        (&[("session", "{}")], "c.yml:10: workload[0].session: "),
        (&[("token_review", "{}")], "which API server?"),
        (&[("token_review", "{api: \"http://a\", token_file: t}")], "not the address of an API server"),
        (&[("name", "\"a b\"")], "not a name"),
    ];
    let mut wrong = Vec::new();
    for (changes, expected) in cases {
        let found = problems(&entry(changes));
        if !found.iter().any(|found| found.contains(expected)) {
            wrong.push(format!("{changes:?}: {expected:?} is not in {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn entries_do_not_share_names_or_accounts() {
    let two = |changes: &[(&str, &str)]| problems(&format!("{}{}", entry(&[]), entry(changes)));
    let other = ("issuer", "https://ci.example.org");
    assert_eq!(two(&[("name", "second")]), Vec::<String>::new(), "of one issuer");
    for (changes, expected) in [
        (&[][..], "c.yml:10: workload: entry 1: another entry is called token.actions.githubusercontent.com"),
        (&[other], "accounts of ci.example.org could be called like those of another issuer"),
        (&[other, ("account", "\"github:x-${claim:sub}\"")], "could be called like those of another issuer"),
        (&[("name", "second"), ("keys", "{url: \"https://h/k\"}")], "could be called like those of another issuer"),
    ] {
        let found = two(changes);
        assert!(found.iter().any(|found| found.contains(expected)), "{expected:?} is not in {found:?}");
    }
    assert_eq!(two(&[other, ("account", "\"ci:${claim:sub}\"")]), Vec::<String>::new());
}

#[test]
fn it_is_a_way_to_log_in_and_a_list() {
    assert!(problems("  issuer: x\n").iter().any(|found| found.contains("a list of entries is expected")));
    let text = COMMON.to_owned();
    let found = Config::read(Path::new("c.yml"), &text, [], Secrets::Skip).unwrap_err();
    assert!(found.iter().any(|problem| problem.message.contains("no way to log in")), "{found:?}");
}

#[test]
fn an_event_by_which_strangers_come_is_a_warning() {
    let require = ("require", "{repository_owner_id: \"1\", event_name: [push, pull_request_target]}");
    let text = format!("{COMMON}workload:\n{}", entry(&[require]));
    let config = Config::read(Path::new("c.yml"), &text, [], Secrets::Skip).unwrap();
    let warned: Vec<String> = config.lint().iter().map(|one| one.in_file(Path::new("c.yml"))).collect();
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(warned[0].starts_with("c.yml:8: workload[0].require.event_name: strangers"), "{warned:?}");
}
