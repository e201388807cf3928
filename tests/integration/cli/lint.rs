//! What `check` points out in rules and users that load, each once, and that nothing legitimate is pointed out.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dockwarden::authz::rules::Rules;
use dockwarden::config::{Config, Secrets};
use policy::rule::{Rule, RuleText};
use settings::{At, Place};

use super::{STRONG, configured, run};
use crate::bed::Bed;
use crate::logs::{Form, Log};

/// What is said of these rules; the users and services are always the same.
fn said(rules: &str, more: &str) -> Vec<String> {
    let text = format!(
        "server: {{addr: \":5001\"}}\ntoken: {{issuer: x, certificate: a, key: b, services: [Docker registry, other]}}\n\
         users:\n  bob: {{password: \"{STRONG}\", labels: {{team: [web, api], full-access: [\"test*\"]}}}}\n  \
         eve: {{password: \"{STRONG}\"}}\n  \"a,b\": {{password: \"{STRONG}\"}}\n{more}acl:\n{rules}"
    );
    let config = Config::read(Path::new("config.yml"), &text, [], Secrets::Skip).unwrap();
    config.lint().into_iter().map(|warning| format!("{}: {}", warning.path, warning.message)).collect()
}

fn rule(conditions: &str, actions: &str) -> String {
    format!("  - {{match: {{{conditions}}}, actions: {actions}}}\n")
}

#[test]
fn each_mistake_is_told_once() {
    // What the rule matches, what it grants, the field that is named, and a piece of the message.
    let cases = [
        ("account: bob", "[push]", "acl[0].actions", "write [pull, push]"),
        ("account: bob, name: Web/*", "[pull]", "acl[0].match.name", "write \"web/*\""),
        ("name: web/", "[pull]", "acl[0].match.name", "write \"web/*\""),
        ("name: /web", "[pull]", "acl[0].match.name", "write \"web\""),
        ("name: \"web/app:latest\"", "[pull]", "acl[0].match.name", "write \"web/app\""),
        ("name: registry.example.com/web/*", "[pull]", "acl[0].match.name", "write \"web/*\""),
        (
            "name: \"/^registry\\\\.example\\\\.com\\\\/web/\"",
            "[pull]",
            "acl[0].match.name",
            "leave the registry's host out",
        ),
        ("name: \"{web,api}/*\"", "[pull]", "acl[0].match.name", "/^(web|api)/[^/]*$/"),
        ("name: ^web/.*$", "[pull]", "acl[0].match.name", "/^web/.*$/"),
        ("name: /^web", "[pull]", "acl[0].match.name", "/^web$/"),
        ("name: \"[!a]/*\"", "[pull]", "acl[0].match.name", "write [^…]"),
        ("name: $account/*", "[pull]", "acl[0].match.name", "write ${account}"),
        ("type: Repository", "[pull]", "acl[0].match.type", "write \"repository\""),
        ("account: \"bob,eve\"", "[pull]", "acl[0].match.account", "\"/^(bob|eve)$/\""),
        ("account: \"bob, eve\"", "[pull]", "acl[0].match.account", "\"/^(bob|eve)$/\""),
        ("account: bob eve", "[pull]", "acl[0].match.account", "\"/^(bob|eve)$/\""),
        ("account: \"bob|eve\"", "[pull]", "acl[0].match.account", "\"/^(bob|eve)$/\""),
        ("account: \"{bob,eve}\"", "[pull]", "acl[0].match.account", "\"/^(bob|eve)$/\""),
        ("account: ^bob$", "[pull]", "acl[0].match.account", "\"/^bob$/\""),
        ("account: boob", "[pull]", "acl[0].match.account", "did you mean \"bob\"?"),
        ("account: Bob", "[]", "acl[0].match.account", "did you mean \"bob\"?"),
        (
            "account: nobody",
            "[pull]",
            "acl[0].match.account",
            "no user of this file is called \"nobody\", so the rule never matches",
        ),
        ("account: anonymous", "[pull]", "acl[0].match.account", "account: \"\""),
        ("account: \"\"", "[pull]", "acl[0].match.account", "write users: {\"\": {}}"),
        ("labels: {team: wbe}", "[pull]", "acl[0].match.labels.team", "did you mean \"web\"?"),
        ("labels: {team: \"web,api\"}", "[pull]", "acl[0].match.labels.team", "\"/^(web|api)$/\""),
        ("labels: {team: \"web|api\"}", "[pull]", "acl[0].match.labels.team", "\"/^(web|api)$/\""),
        ("labels: {team: \"db|mail\"}", "[pull]", "acl[0].match.labels.team", "\"db|mail\" is taken as one value"),
        ("name: \"*\"", "[pull]", "acl[0].match.name", "it matches no name with a slash"),
        (
            "service: docker registry",
            "[pull]",
            "acl[0].match.service",
            "token.services has \"Docker registry\", \"other\"",
        ),
        ("service: \"nope*\"", "[pull]", "acl[0].match.service", "so the rule never matches"),
        ("account: bob, type: registry, name: catalog", "[pull]", "acl[0].actions", "write [\"*\"]"),
        ("account: bob", "[psh]", "acl[0].actions", "did you mean \"push\"?"),
    ];
    for (conditions, actions, path, piece) in cases {
        let found = said(&rule(conditions, actions), "");
        let [one] = found.as_slice() else { panic!("{conditions}: {found:#?}") };
        assert!(one.starts_with(&format!("{path}: ")) && one.contains(piece), "{conditions}: {one}");
    }
    // A thousand rules for one account are one warning.
    assert_eq!(
        said(&rule("account: boob, name: \"${account}/*\"", "[pull]").repeat(3), "").len(),
        3,
        "two never decide"
    );
}

#[test]
fn what_is_legitimate_is_not_pointed_out() {
    let elsewhere = "ext_auth: {command: /bin/true}\n";
    let mongo = "mongo_auth: {dial_info: {addrs: [localhost], database: x}, collection: users}\n";
    for (rules, more) in [
        (rule("account: \"a,b\"", "[pull]"), ""),
        (rule("account: \"*\"", "[pull]"), ""),
        (rule("account: \"\"", "[pull]"), "  \"\": {}\n"),
        (rule("account: \"/^ci-.+$/\"", "[pull]"), ""),
        (rule("account: ci-*", "[pull]"), ""),
        (rule("name: prod/*", "[pull]"), ""),
        (rule("name: prod/*/*", "[pull]"), ""),
        // Whoever has a rule for the names with a slash knows what the star does.
        (rule("name: \"*\"", "[pull]") + &rule("name: \"*/*\"", "[pull]"), ""),
        (rule("name: \"${labels:full-access}\"", "[\"*\"]"), ""),
        (rule("name: docker.io/library/*", "[pull]"), ""),
        (rule("name: ghcr.io/*", "[pull]"), ""),
        (rule("name: a.example.com/*", "[pull]") + &rule("name: b.example.com/*", "[pull]"), ""),
        (rule("name: docker.io/*", "[pull]") + &rule("name: registry.acme.com/*", "[pull]"), ""),
        (rule("name: com.example.web/*", "[pull]"), ""),
        (rule("service: other", "[pull]"), ""),
        (rule("service: \"Docker *\"", "[pull]"), ""),
        (rule("service: \"/^(?i)docker/\"", "[pull]"), ""),
        (rule("labels: {team: web}", "[pull]"), ""),
        (rule("labels: {team: \"w*\"}", "[pull]"), ""),
        (rule("labels: {full-access: \"test*\"}", "[pull]"), ""),
        (rule("type: registry, name: catalog", "[\"*\"]"), ""),
        (rule("type: registry, name: catalog", "[]"), ""),
        (rule("type: \"re*\"", "[pull]"), ""),
        (rule("account: bob", "[pull, push]") + &rule("account: eve", "[delete]"), ""),
        // Who else knows accounts and labels may know these.
        (rule("account: boob", "[pull]") + &rule("labels: {team: wbe}", "[pull]"), elsewhere),
        (rule("account: boob", "[pull]") + &rule("account: \"Doe, John\"", "[pull]"), mongo),
        (rule("account: \"cn=bob,dc=example,dc=org\"", "[pull]"), elsewhere),
        (rule("account: \"auth0|17\"", "[pull]") + &rule("account: BUILD01$", "[pull]"), elsewhere),
    ] {
        assert_eq!(said(&rules, more), Vec::<String>::new(), "{rules}{more}");
    }
    // Those that are surely none are told there, too.
    assert_eq!(said(&rule("account: \"bob,eve\"", "[pull]"), elsewhere).len(), 1);
    assert_eq!(said(&rule("account: \"x,y\"", "[pull]"), elsewhere).len(), 1);
    assert_eq!(said(&rule("account: \"\"", "[pull]"), elsewhere).len(), 1);
    // The host that the file itself names is no repository, whatever else is named.
    let hosts = rule("name: docker.io/*", "[pull]") + &rule("name: registry.acme.com/*", "[pull]");
    let text = format!(
        "server: {{addr: \":5001\"}}\ntoken: {{issuer: x, certificate: a, key: b, services: [registry.acme.com]}}\nusers: {{}}\nacl:\n{hosts}"
    );
    let config = Config::read(Path::new("config.yml"), &text, [], Secrets::Skip).unwrap();
    assert_eq!(config.lint().len(), 1);
}

/// The directory gives labels that no user of the file has, and its services log in by themselves.
#[test]
fn what_the_directory_knows_is_not_pointed_out() {
    let of = |more: &str| {
        format!(
            "directory:\n  apps: {{web: {{id: 1}}}}\n  services: {{\"web@n1\": {{app: web}}}}\n  users: {{zoe: {{id: 2}}}}\n{more}"
        )
    };
    let records = of("records: {sqlite: none.db}\napi: {listen: main}\n");
    let services = rule("account: \"web@n1\"", "[pull]");
    for label in dockwarden::directory::Label::ALL {
        let name = label.as_str();
        let labels = rule(&format!("labels: {{{name}: ops}}"), "[pull]")
            + &rule(&format!("name: \"${{labels:{name}}}/x\""), "[push, pull]");
        assert_eq!(said(&labels, &of("")), Vec::<String>::new(), "{name}");
        assert_ne!(said(&labels, ""), Vec::<String>::new(), "{name}");
    }
    assert_eq!(said(&services, &of("")), Vec::<String>::new());
    assert_eq!(said(&services, "").len(), 1);
    // A user of the directory still needs a way in.
    let told = said(&rule("account: zoe", "[pull]"), &of(""));
    assert!(told.len() == 1 && told[0].contains("no section lets them in"), "{told:?}");
    // The records may have more services, and no more people.
    assert_eq!(said(&rule("account: \"web@n2\"", "[pull]"), &of("")).len(), 1);
    assert_eq!(said(&rule("account: \"web@n2\"", "[pull]"), &records), Vec::<String>::new());
    assert_eq!(said(&rule("account: boob", "[pull]"), &records).len(), 1);
}

/// Every file that people begin from; the documents have their own test.
#[test]
fn no_example_of_ours_is_pointed_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let below = |folder: &str| fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files = vec![root.join("config.example.yml")];
    files.extend(below("deploy/config").chain(below("examples")));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yml"));
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        // `make run` makes this file.
        let text = fs::read_to_string(&file)
            .unwrap()
            .replace("password_file: certs/test.hash", &format!("password: \"{STRONG}\""));
        // As compose gives it to the files below deploy.
        let admin = ("DOCKWARDEN__USERS__ADMIN__PASSWORD".to_owned(), STRONG.to_owned());
        let admin = file.starts_with(root.join("deploy")).then_some(admin);
        let config = Config::read(&file, &text, admin, Secrets::Skip).unwrap();
        let mut found = config.lint();
        found.retain(|one| !config.warnings.contains(one));
        assert_eq!(found, [], "{}", file.display());
    }
}

/// Whatever hash stood in an example, whoever copied it is told, by `check` and at the start.
#[test]
fn the_hashes_of_our_examples_are_known() {
    // Ours until none of our examples had a usable user any more (`docs.rs` looks that none has), and docker_auth's, from which
    // many files begin.
    let hashes = [
        "$2b$10$MsqvqhkO90ZkPh/07vciqOUh2/5Sq8wG3GSpMztZv97BcrHG/lzBu",
        "$2b$10$.aUGXSuuixCSv8TZKcEs9u05qUoA.BheTkNfe21wSrKjbNJjjEeYi",
        "$2y$10$LQjRsihpHBw9IrvTWXG3auDzBfrVpTK7EFoyYz2mLyKPWxqGjhUSe",
        "$2y$05$LO.vzwpWC5LZGqThvEfznu8qhb5SGqvBSWY1J3yZ4AxtMRZ3kN5jC",
        "$2y$05$WuwBasGDAgr.QCbGIjKJaep4dhxeai9gNZdmBnQXqpKly57oNutya",
    ];
    let users: String =
        hashes.iter().enumerate().map(|(at, hash)| format!("  u{at}: {{password: \"{hash}\"}}\n")).collect();
    let (folder, file) = configured(&format!("users:\n{users}acl: []\n"));
    let check = run(["check", &file]);
    assert_eq!(check.code, 0, "{}", check.err);
    for (at, hash) in hashes.iter().enumerate() {
        let piece =
            format!("users.u{at}.password: everybody can read this password: its hash is the one of an example");
        assert!(check.out.contains(&piece), "{hash} stood in an example and is not known: {}", check.out);
        assert!(!check.out.contains(hash), "{}", check.out);
    }
    // In an htpasswd file, too; and a hash that nobody published is not told.
    fs::write(folder.path("htpasswd"), format!("u:{}\nv:{STRONG}\n", hashes[0])).unwrap();
    let (_other, file) =
        configured(&format!("htpasswd_auth: {{path: {}}}\nacl: []\n", folder.path("htpasswd").display()));
    let check = run(["check", &file]);
    assert_eq!(check.out.matches("its hash is the one of an example").count(), 1, "{}", check.out);
    // And where a server starts.
    let log = Log::start(Form::Json);
    let _bed = Bed::with(&format!("users: {{u0: {{password: \"{}\"}}}}\n", hashes[0]));
    assert!(log.text().contains("users.u0.password: everybody can read this password"), "{}", log.text());
}

/// However the rules look: each alike, each another, on labels alone, on tags.
#[test]
fn a_hundred_thousand_rules_are_looked_at_in_time() {
    type Kind = fn(&mut RuleText, usize);
    let kinds: [Kind; 4] = [
        |rule, at| {
            rule.account = Some(format!("a{at},b{at}"));
            rule.name = Some(format!("registry.example{at}.com/Web/{{a,b}}"));
            rule.service = Some(format!("s{at}*"));
        },
        |rule, _| (rule.account, rule.name) = (Some("ci".to_owned()), Some("*/*".to_owned())),
        |rule, at| drop(rule.labels.insert("team".to_owned(), format!("t{at}"))),
        |rule, at| {
            (rule.account, rule.name) = (Some(format!("u{at}")), Some(format!("/^n{at}\\/.*$/")));
            (rule.tag, rule.actions) = (Some("v*".to_owned()), vec!["pull".to_owned()]);
        },
    ];
    for (number, kind) in kinds.iter().enumerate() {
        let time = |rules: usize| {
            let text = format!(
                "server: {{addr: \":5001\"}}\ntoken: {{issuer: x, certificate: a, key: b, services: [one]}}\n\
                 users:\n  bob: {{password: \"{STRONG}\", labels: {{team: [web]}}}}\nacl: []\n"
            );
            let mut config = Config::read(Path::new("config.yml"), &text, [], Secrets::Skip).unwrap();
            let many = (0..rules).map(|at| {
                let mut rule = RuleText { actions: vec!["push".to_owned()], ..RuleText::default() };
                kind(&mut rule, at);
                At { place: Place::Line(at), value: Rule::compile(&rule).unwrap() }
            });
            let row = config.backends.0.iter_mut().find(|row| row.kind.key == "acl").unwrap();
            row.settings = Arc::new(Rules::from_iter(many));
            let began = Instant::now();
            assert!(config.lint().len() >= rules);
            began.elapsed()
        };
        let (few, many) = (time(5_000), time(100_000));
        println!("{number}: {few:?} {many:?}");
        // Twenty times as many; four hundred times as long if each was compared with each.
        assert!(many < few * 100 + Duration::from_secs(5), "{number}: {few:?}, {many:?}");
    }
}

/// Every word that is a right of managing is one in a rule, too: none of them is taken for a mistake.
#[test]
fn the_words_of_managing_are_no_mistakes_where_the_api_is_served() {
    for action in dockwarden::directory::rights::ManagedAction::ALL {
        let rules = rule("account: bob, type: dockwarden", &format!("[{}]", action.as_str()));
        assert_eq!(said(&rules, "api: {listen: main}\n"), Vec::<String>::new(), "{action:?}");
        let told = said(&rules, "");
        let is_known = action.as_str() == "delete";
        assert_eq!(told.iter().any(|one| one.contains("is not an action")), !is_known, "{action:?}: {told:?}");
    }
}
