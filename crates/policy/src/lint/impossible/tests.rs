//! Patterns that are told, and those that are left alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::rule::RuleText;

fn said(text: RuleText) -> Vec<String> {
    let mut all = Vec::new();
    lint_impossible(&Rule::compile(&text).unwrap(), &mut |path, message| all.push(format!("{path}: {message}")));
    all
}

#[test]
fn a_name_that_no_repository_has_is_told_with_what_was_meant() {
    for (name, expected) in [
        ("Web/*", "upper-case letters are not allowed; write \"web/*\""),
        ("team/App", "write \"team/app\""),
        ("web/", "a name neither begins nor ends with a slash; write \"web/*\""),
        ("/web/*", "a name neither begins nor ends with a slash; write \"web/*\""),
        ("/web", "write \"web\""),
        ("web//app", "a name consists of a-z and 0-9, with single . _ - between them"),
        ("web/app:latest", "tags and digests are not part of a name"),
        ("web/app:latest", "write \"web/app\""),
        ("web/*:*", "write \"web/*\""),
        ("web/app@sha256:0123", "write \"web/app\""),
        ("localhost:5000/web/*", "clients leave the registry's host out of a name; write \"web/*\""),
        ("registry.example.com:5000/*", "clients leave the registry's host out of a name; write \"*\""),
        ("https://registry.example.com/web/*", "host out of a name; write \"web/*\""),
        ("repository:web/*", "the type has its own key, match.type; write \"web/*\""),
        ("repository:web/*:pull", "the type has its own key, match.type; write \"web/*\""),
        (
            "{web,api}/*",
            "{a,b} is not supported here; write a rule for each, or the regular expression \"/^(web|api)/[^/]*$/\"",
        ),
        ("${account}/{a,b}", "\"/^${account}/(a|b)$/\""),
        (
            "web/*,api/*",
            "it is read as a single pattern; write a rule for each, or the regular expression \"/^(web/[^/]*|api/[^/]*)$/\"",
        ),
        ("web api", "\"/^(web|api)$/\""),
        ("^web/.*$", "a regular expression is written between slashes; write \"/^web/.*$/\""),
        ("/^web", "a regular expression is written between slashes; write \"/^web$/\""),
        ("^web/.*$/", "write \"/^web/.*$/\""),
        ("web/.*", "write \"/^web/.*$/\""),
        ("web\\/.*", "write '/^web\\/.*$/'"),
        ("(web|api)/.*", "write \"/^(?:(web|api)/.*)$/\""),
        ("$account/*", "$account is not a placeholder without its braces; write ${account}"),
        (
            "not web",
            "a pattern cannot say \"not\"; write a rule for \"web\" with actions: [], and below it one that allows",
        ),
        ("/^Web$/i", "flags do not go after an expression; write \"/(?i)^Web$/\""),
        ("/^web\\/.*$/gi", "write '/(?i)^web\\/.*$/'"),
        ("$labels:team/*", "write ${labels:team}"),
        ("{account}/*", "{account} is not a placeholder without its $; write ${account}"),
        ("{labels:team}-x", "write ${labels:team}"),
        ("/^$account\\/.*$/", "write ${account}"),
        ("/^Web\\/.*$/", "upper-case letters are not allowed"),
        ("/^web\\/app:v1$/", "a name consists of a-z"),
        ("", "a name consists of a-z"),
        ("-web", "a name consists of a-z"),
        ("[!a]/*", "\"[!…]\" matches \"!\" and the characters after it; write [^…]"),
        ("web/[!0-9]*", "write [^…]"),
    ] {
        let found = said(RuleText { name: Some(name.to_owned()), ..RuleText::default() });
        let [message] = found.as_slice() else { unreachable!("{name}: {found:?}") };
        assert!(message.starts_with(".match.name: ") && message.contains(expected), "{name}: {message}");
    }
}

#[test]
fn what_can_be_meant_is_left_alone() {
    let names = r"* ** web/* */* web/*/x web.* docker.io/library/* a__b a--b ? [a-c]* [^a]* prod/* ${account}/* ${account}
        ${Account:1} ${labels:team}* ${labels:project}/${labels:group}-${labels:tier} /.*/ /^web/ /web/ /^web\/.*$/
        /(?i)WEB/ /^(a|b)$|^name$/ /^\d+$/ /^[A-Za-z0-9_-]+\/x$/ /^(${labels:p}|pub)\/.*$/ test-* hello-world catalog
        //* a/**/c v[0-9]?[^x]z";
    for name in names.split_whitespace() {
        let expected = if name == "//*" { 1 } else { 0 };
        let found = said(RuleText { name: Some(name.to_owned()), ..RuleText::default() });
        assert_eq!(found.len(), expected, "{name}: {found:?}");
    }
    let accounts = r"* bob /.+/ /^(bob|eve)$/ bob@example.com cn=bob,dc=example,dc=org BUILD01$ auth0|17 svc.* a,b DOMAIN\\bob {x}
        [!] [\!a] /[!a]/";
    for account in accounts.split_whitespace().chain(["", "CN=Doe\\, John"]) {
        let text = |account: &str| Some(account.to_owned());
        for field in [
            RuleText { account: text(account), ..RuleText::default() },
            RuleText { service: text(account), ..RuleText::default() },
            RuleText { labels: [("team".to_owned(), account.to_owned())].into(), ..RuleText::default() },
        ] {
            assert_eq!(said(field), Vec::<String>::new(), "{account}");
        }
    }
    for (kind, tag) in
        [("repository", "latest"), ("re*", "v*"), ("registry", "*"), ("/^re/", "1.0-RC_2"), ("web", "/^v/")]
    {
        let text = RuleText { kind: Some(kind.to_owned()), tag: Some(tag.to_owned()), ..RuleText::default() };
        assert_eq!(said(text), Vec::<String>::new(), "{kind} {tag}");
    }
}

#[test]
fn other_fields_are_looked_at_as_far_as_they_can_be_told() {
    let text = |text: &str| Some(text.to_owned());
    let account = |account: &str| RuleText { account: text(account), ..RuleText::default() };
    let kind = |kind: &str| RuleText { kind: text(kind), ..RuleText::default() };
    for (rule, expected) in [
        (
            account("^bob$"),
            ".match.account: this is compared as plain text: a regular expression is written between slashes; write \"/^bob$/\"",
        ),
        (account("/^bob"), "write \"/^bob$/\""),
        (
            account("{bob,eve}"),
            "{a,b} is not supported here, so the braces are plain characters; write a rule for each, or the regular expression \"/^(bob|eve)$/\"",
        ),
        (account("/^CI$/i"), "write \"/(?i)^CI$/\""),
        (account("/CI/i"), "write \"/(?i)CI/\""),
        (account("[!a]*"), "write [^…]"),
        (account("$labels:owner"), "write ${labels:owner}"),
        (
            kind("Repository"),
            ".match.type: no resource has such a type, so the rule never matches: upper-case letters are not allowed; write \"repository\"",
        ),
        (kind("repository(plugin)"), "rules see the type without the part in parentheses; write \"repository\""),
        (kind("catalog"), ".match.type: the catalog's type is registry; write type: registry and name: catalog"),
        (kind("registry:catalog"), "the types are repository and registry"),
        (
            RuleText { tag: text("latest,stable"), ..RuleText::default() },
            ".match.tag: no tag looks like this, so the rule never matches: it is read as a single pattern; write a rule for each",
        ),
        (RuleText { tag: text(":latest"), ..RuleText::default() }, "a tag consists of letters, digits"),
        (
            RuleText { service: text("/^Docker"), ..RuleText::default() },
            ".match.service: this is compared as plain text",
        ),
        (
            RuleText { labels: [("team".to_owned(), "^web$".to_owned())].into(), ..RuleText::default() },
            ".match.labels.team: this is compared",
        ),
    ] {
        let found = said(rule);
        assert!(found.len() == 1 && found.iter().all(|message| message.contains(expected)), "{expected}: {found:?}");
    }
}
