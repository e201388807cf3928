//! The parts of a token one by one: reading scopes, deciding by rules, claims, and the signature by each library.

#![expect(clippy::unwrap_used, reason = "a measurement fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "a measurement has the moment that it runs at")]

use std::borrow::Cow;
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use dockwarden::authn::{Account, Identity};
use dockwarden::authz::rules::Rules;
use dockwarden::authz::standard::StandardRules;
use dockwarden::config::{Config, Secrets};
use dockwarden::directory::Directory;
use dockwarden::keys::{KidForm, SigningKey, generate};
use dockwarden::token::{AccessEntry, HeaderForm, Issuer, TokenContent, jti};
use jsonwebtoken::Algorithm;
use policy::acl::Acl;
use policy::names::Verdict;
use policy::pattern::{LabelValue, LabelValues};
use policy::rule::Rule;
use policy::scope::{Action, Scope, parse_all};
use policy::{Answer, Budget, Question};
use time::OffsetDateTime;

fn scopes(bench: &mut Criterion) {
    let one = ["repository:team/app:pull,push"];
    let hundred: Vec<String> = (0..100).map(|number| format!("repository:team/app-{number}:pull,push")).collect();
    bench.bench_function("scope/one", |timer| {
        timer.iter(|| parse_all(black_box(&one).iter().map(|text| Cow::Borrowed(*text))));
    });
    bench.bench_function("scope/hundred", |timer| {
        timer.iter(|| parse_all(black_box(&hundred).iter().map(|text| Cow::Borrowed(text.as_str()))));
    });
}

fn acl(rules: &str) -> Arc<Acl> {
    let text = format!(
        "server: {{addr: \"127.0.0.1:0\"}}\ntoken: {{issuer: i, certificate: none, key: none}}\nusers: {{\"\": {{}}}}\nacl:\n{rules}"
    );
    let config = Config::read(Path::new("bench.yml"), &text, [], Secrets::Skip);
    let config = config.unwrap_or_else(|problems| panic!("{problems:?}"));
    Arc::clone(&config.backends.get::<Rules>().unwrap().acl)
}

/// What rules decide on a scope.
fn decide(acl: &Acl, identity: &Identity, scope: &Scope) -> Answer {
    let question = Question {
        account: identity.name(),
        labels: &identity.labels,
        address: None,
        service: "registry",
        resource: &scope.resource,
        actions: &scope.actions,
        reference: None,
        now: OffsetDateTime::UNIX_EPOCH,
    };
    acl.decide(black_box(&question), &mut Budget::for_request()).unwrap()
}

/// One rule of each kind, for a question that it matches.
fn rules(bench: &mut Criterion) {
    let labels = LabelValues::from([("team".to_owned(), vec![LabelValue::glob("web").unwrap()])]);
    let identity = Identity { account: Account::parse("alice").ok(), labels: Arc::new(labels), ..Identity::default() };
    let scope = Scope::parse("repository:web/app:pull,push").unwrap();
    for (kind, rule) in [
        ("literal", "{account: alice, name: web/app}"),
        ("glob", "{account: \"a*\", name: \"web/*\"}"),
        ("regex", "{account: \"/^[a-z]+$/\", name: \"/^web\\\\/.+$/\"}"),
        ("label", "{name: \"${labels:team}/*\"}"),
        ("regex with label", "{name: \"/^${labels:team}\\\\/.+$/\"}"),
        ("capture", "{account: \"/^(a).*$/\", name: \"/^web\\\\/${account:1}pp$/\"}"),
    ] {
        let acl = acl(&format!("  - {{match: {rule}, actions: [pull]}}\n"));
        bench.bench_function(&format!("rule/{kind}"), |timer| {
            timer.iter(|| decide(&acl, &identity, &scope));
        });
    }
}

/// A member of 50 groups: labels of the directory's and the standard rules, beside three rules of one's own.
fn standard_rules(bench: &mut Criterion) {
    let numbered = |of: &dyn Fn(usize) -> String| (1..=50).map(of).collect::<Vec<_>>().join(", ");
    let groups = numbered(&|id| format!("g{id}: {{id: {id}}}"));
    let members = numbered(&|id| format!("g{id}"));
    let text = format!(
        "server: {{addr: \"127.0.0.1:0\"}}\ntoken: {{issuer: i, certificate: none, key: none}}\n\
         registries: {{registry: {{url: \"http://127.0.0.1:1\", publications: [g1]}}}}\n\
         directory:\n  groups: {{{groups}}}\n  users: {{alice: {{id: 1, groups: [{members}], privileges: [puller, pusher]}}}}\n\
         standard_rules: opensvc\n"
    );
    let config = Config::read(Path::new("bench.yml"), &text, [], Secrets::Skip);
    let directory =
        Directory::open(config.unwrap_or_else(|problems| panic!("{problems:?}")).directory.unwrap()).unwrap();
    let compiled = StandardRules::Opensvc.rules().iter().map(|rule| Rule::compile(rule).unwrap()).collect::<Vec<_>>();
    let standard = Acl::new(compiled);
    let own = acl("  - {match: {account: admin}, actions: [\"*\"]}\n  - {match: {name: \"lib/*\"}, actions: [pull]}\n\
         \x20 - {match: {name: \"groups/*/*\"}, actions: [pull, push]}\n");
    let member = Identity { account: Account::parse("alice").ok(), ..Identity::default() };
    let scope = Scope::parse("repository:groups/50/app:pull,push").unwrap();
    bench.bench_function("rules/three of one's own", |timer| timer.iter(|| decide(&own, &member, &scope)));
    bench.bench_function("rules/standard, 50 groups", |timer| {
        timer.iter(|| decide(&standard, &directory.labelled(black_box(member.clone())).unwrap(), &scope));
    });
    // What search and a page of the catalog look through where the account may pull next to nothing.
    let names: Vec<String> = (0..100_000)
        .map(|number| match number % 4 {
            0 => format!("groups/{}/app-{number}", 100 + number % 3000),
            1 => format!("apps/{}/app-{number}", number % 3000),
            2 => format!("users/{number}/app"),
            _ => format!("team-{number}/app"),
        })
        .collect();
    bench.bench_function("names/100,000 by the standard rules, 50 groups", |timer| {
        timer.iter(|| {
            let who = directory.labelled(black_box(member.clone())).unwrap();
            let question = Question {
                account: who.name(),
                labels: &who.labels,
                address: None,
                service: "elsewhere",
                resource: &scope.resource,
                actions: &scope.actions,
                reference: None,
                now: OffsetDateTime::UNIX_EPOCH,
            };
            let mut budget = Budget::for_request();
            let filter = standard.for_names(question, &Action::Pull, &mut budget).unwrap();
            names.iter().filter(|name| filter.verdict(name, &mut budget).unwrap() == Verdict::Granted).count()
        });
    });
}

fn claims(bench: &mut Criterion) {
    let now = OffsetDateTime::now_utc();
    let made = generate(Algorithm::ES256, "bench", now).unwrap();
    let key = SigningKey::from_pem(made.key_pem.as_bytes(), made.certificate_pem.as_bytes()).unwrap();
    let issuer = Issuer::new(Arc::new(key), "bench", HeaderForm::X5c, KidForm::Libtrust).unwrap();
    let content = || TokenContent {
        subject: "alice".to_owned(),
        audience: "registry".to_owned(),
        access: vec![AccessEntry {
            kind: "repository".to_owned(),
            name: "team/app".to_owned(),
            actions: vec!["pull".to_owned(), "push".to_owned()],
        }],
        secret: None,
    };
    bench.bench_function("claims/as JSON", |timer| {
        timer.iter(|| {
            let claims = issuer.claims(content(), now, 900, jti([7; 16]));
            serde_json::to_vec(&claims).unwrap()
        });
    });
    bench.bench_function("token/ES256, whole", |timer| {
        timer.iter(|| {
            let claims = issuer.claims(content(), now, 900, jti([7; 16]));
            issuer.mint(&claims, now).unwrap()
        });
    });
}

/// What a token's header and claims are together, in bytes.
const MESSAGE: [u8; 1600] = [b'x'; 1600];

fn signatures(bench: &mut Criterion) {
    let made = generate(Algorithm::RS256, "bench", OffsetDateTime::now_utc()).unwrap();
    let der = der_of(&made.key_pem);
    {
        use aws_lc_rs::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
        let pair = KeyPair::from_pkcs8(&der).unwrap();
        let mut signature = vec![0; pair.public_modulus_len()];
        bench.bench_function("signature/RS256 aws-lc-rs", |timer| {
            timer.iter(|| {
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), black_box(&MESSAGE), &mut signature).unwrap()
            });
        });
    }
    {
        use ring::{rand::SystemRandom, rsa::KeyPair, signature::RSA_PKCS1_SHA256};
        let pair = KeyPair::from_pkcs8(&der).unwrap();
        let mut signature = vec![0; pair.public().modulus_len()];
        bench.bench_function("signature/RS256 ring", |timer| {
            timer.iter(|| {
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), black_box(&MESSAGE), &mut signature).unwrap()
            });
        });
    }
    let made = generate(Algorithm::ES256, "bench", OffsetDateTime::now_utc()).unwrap();
    let der = der_of(&made.key_pem);
    {
        use aws_lc_rs::{
            rand::SystemRandom,
            signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
        };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap();
        bench.bench_function("signature/ES256 aws-lc-rs", |timer| {
            timer.iter(|| pair.sign(&SystemRandom::new(), black_box(&MESSAGE)).unwrap());
        });
    }
    {
        use ring::{
            rand::SystemRandom,
            signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
        };
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random).unwrap();
        bench.bench_function("signature/ES256 ring", |timer| {
            timer.iter(|| pair.sign(&random, black_box(&MESSAGE)).unwrap());
        });
    }
}

/// The key of a PEM file, as PKCS#8.
fn der_of(pem: &str) -> Vec<u8> {
    use base64::Engine as _;
    let body: String = pem
        .lines()
        .skip_while(|line| !line.starts_with("-----BEGIN"))
        .skip(1)
        .take_while(|line| !line.starts_with("-----END"))
        .collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

criterion_group!(parts, scopes, rules, standard_rules, claims, signatures);
criterion_main!(parts);
