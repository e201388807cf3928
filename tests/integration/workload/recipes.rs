//! The recipes of docs/how-to (ci-jobs, pods, cloud-workloads): for each provider, whose token is taken, and which others are not (checks 36 and 37).

use serde_json::{Value, json};

use super::{AUDIENCE, RULES, bed, claims, key, rsa, whose};
use crate::bed::Bed;
use crate::oidc::{Key, Provider, changed};

/// A provider as it is configured, and what its tokens say.
struct Recipe {
    name: &'static str,
    issuer: &'static str,
    entry: &'static str,
    /// The claims of a token that is taken, but for those that all have.
    claims: Value,
    account: &'static str,
    /// What makes it another's: the attack, and what it changes.
    attacks: Vec<(&'static str, Value)>,
    /// What changes nothing about whose it is.
    same: Vec<(&'static str, Value)>,
}

fn recipes() -> Vec<Recipe> {
    vec![
        Recipe {
            name: "GitHub Actions",
            issuer: "https://token.actions.githubusercontent.com",
            entry: "require: {repository_owner_id: \"1234\", ref: refs/heads/main}\n    account: \"github:${claim:repository}\"\n",
            claims: json!({
                "sub": "repo:octo/app:ref:refs/heads/main", "repository": "octo/app", "repository_id": "77",
                "repository_owner": "octo", "repository_owner_id": "1234", "ref": "refs/heads/main",
                "event_name": "push", "job_workflow_ref": "octo/app/.github/workflows/ci.yml@refs/heads/main",
            }),
            account: "github:octo/app",
            attacks: vec![
                ("a name that was given up and taken again", json!({"repository_owner_id": "9999"})),
                ("the owner's number as another type", json!({"repository_owner_id": 1234})),
                ("no owner's number", json!({"repository_owner_id": null})),
                ("a fork's pull request", json!({"event_name": "pull_request", "ref": "refs/pull/7/merge"})),
                ("a pull request, and the base branch's ref", json!({"event_name": "pull_request"})),
                ("pull_request_target, whose ref is the base branch", json!({"event_name": "pull_request_target"})),
                ("workflow_run after a stranger's pull request", json!({"event_name": "workflow_run"})),
                ("no event", json!({"event_name": null})),
                ("another branch", json!({"ref": "refs/heads/main2"})),
                ("another branch that begins so", json!({"ref": "refs/heads/main/x"})),
                ("no repository", json!({"repository": null})),
                ("a repository that is no name", json!({"repository": ["octo/app"]})),
            ],
            same: vec![
                ("the form of sub since July 2026", json!({"sub": "repo:octo@1234/app@77:ref:refs/heads/main"})),
                ("a release", json!({"event_name": "release"})),
            ],
        },
        Recipe {
            name: "GitLab CI",
            issuer: "https://gitlab.example.org",
            entry: "require: {namespace_id: \"72\", ref_protected: \"true\"}\n    account: \"gitlab:${claim:project_path}\"\n",
            claims: json!({
                "sub": "project_path:team/app:ref_type:branch:ref:main", "project_path": "team/app", "project_id": "22",
                "namespace_path": "team", "namespace_id": "72", "ref": "main", "ref_protected": "true",
                "pipeline_source": "push",
            }),
            account: "gitlab:team/app",
            attacks: vec![
                (
                    "a fork's merge request",
                    json!({"namespace_id": "99", "project_path": "stranger/app", "project_id": "23"}),
                ),
                ("a branch that anybody in the project can push", json!({"ref_protected": "false"})),
                ("protected as another type", json!({"ref_protected": true})),
                ("another group", json!({"namespace_id": "720"})),
            ],
            same: vec![("sub configured otherwise", json!({"sub": "project_id:22"}))],
        },
        Recipe {
            name: "Kubernetes",
            issuer: "https://kubernetes.default.svc.cluster.local",
            entry: "require: {kubernetes.io.namespace: ci}\n    account: \"k8s:${claim:sub}\"\n",
            claims: json!({
                "sub": "system:serviceaccount:ci:builder",
                "kubernetes.io": {
                    "namespace": "ci", "pod": {"name": "p", "uid": "u"}, "serviceaccount": {"name": "builder", "uid": "v"},
                },
            }),
            account: "k8s:system:serviceaccount:ci:builder",
            attacks: vec![
                ("another namespace", json!({"kubernetes.io": {"namespace": "default"}})),
                (
                    "a flat claim besides, which could be taken for it",
                    json!({"kubernetes.io": {"namespace": "default"}, "kubernetes.io/serviceaccount/namespace": "ci"}),
                ),
                ("the same path twice", json!({"kubernetes.io.namespace": "ci"})),
                ("a legacy token, without aud and exp", json!({"aud": null, "exp": null})),
                ("a legacy token, without exp", json!({"exp": null})),
                (
                    "the token that each pod has for the API server",
                    json!({"aud": ["https://kubernetes.default.svc.cluster.local"]}),
                ),
            ],
            same: vec![("aud as a list", json!({"aud": [AUDIENCE]}))],
        },
        Recipe {
            name: "SPIFFE",
            issuer: "spiffe://example.org",
            entry: "require: {sub: [\"spiffe://example.org/ci/builder\"]}\n    account: \"spiffe:${claim:sub}\"\n",
            claims: json!({"sub": "spiffe://example.org/ci/builder", "iss": null}),
            account: "spiffe:spiffe://example.org/ci/builder",
            attacks: vec![
                ("another workload", json!({"sub": "spiffe://example.org/ci/builder2"})),
                ("a workload below", json!({"sub": "spiffe://example.org/ci/builder/x"})),
                ("another trust domain", json!({"sub": "spiffe://example.org.evil.example/ci/builder"})),
                ("an issuer that is not the trust domain", json!({"iss": "https://evil.example"})),
            ],
            same: vec![],
        },
        Recipe {
            name: "AWS",
            issuer: "https://0123abcd.tokens.sts.global.api.aws",
            entry: "algorithms: [RS256, ES256, ES384]\n    require: {sub: \"arn:aws:iam::111122223333:role/ci\", \"https://sts.amazonaws.com/.aws_account\": \"111122223333\"}\n    account: \"aws:${claim:sub}\"\n",
            claims: json!({
                "sub": "arn:aws:iam::111122223333:role/ci",
                "https://sts.amazonaws.com/": {"aws_account": "111122223333", "source_region": "eu-central-1"},
            }),
            account: "aws:arn:aws:iam::111122223333:role/ci",
            attacks: vec![
                ("another role", json!({"sub": "arn:aws:iam::111122223333:role/ci2"})),
                ("another account", json!({"https://sts.amazonaws.com/": {"aws_account": "999999999999"}})),
            ],
            same: vec![],
        },
        Recipe {
            name: "Google Cloud",
            issuer: "https://accounts.google.com",
            entry: "require: {sub: \"113355\"}\n    account: \"google:${claim:email}\"\n",
            claims: json!({"sub": "113355", "azp": "113355", "email": "ci@proj.iam.gserviceaccount.com", "email_verified": true}),
            account: "google:ci@proj.iam.gserviceaccount.com",
            attacks: vec![
                ("anybody else at Google", json!({"sub": "999"})),
                ("the number as another type", json!({"sub": 113_355})),
            ],
            same: vec![],
        },
        Recipe {
            name: "Azure",
            issuer: "https://login.microsoftonline.com/7f0c2b4e-0000-4000-8000-000000000001/v2.0",
            entry: "require: {oid: \"5b1c\"}\n    account: \"azure:${claim:oid}\"\n",
            claims: json!({"sub": "5b1c", "oid": "5b1c", "tid": "7f0c2b4e-0000-4000-8000-000000000001"}),
            account: "azure:5b1c",
            attacks: vec![
                ("another identity of the tenant", json!({"oid": "6c2d"})),
                (
                    "another tenant, whose tokens the same keys sign",
                    json!({"iss": "https://login.microsoftonline.com/99999999-0000-4000-8000-000000000009/v2.0"}),
                ),
            ],
            same: vec![],
        },
    ]
}

/// A server with this recipe, whose keys the stand-in publishes in the provider's place.
fn started(recipe: &Recipe) -> (Bed, Key) {
    let key = match recipe.name {
        "SPIFFE" => key("k1", 0).for_use("jwt-svid"),
        "GitHub Actions" => rsa("k1"),
        _ => key("k1", 0),
    };
    let provider = Provider::start(&[&key]);
    let Recipe { issuer, entry, .. } = recipe;
    let bed = bed(&format!(
        "  - issuer: \"{issuer}\"\n    name: entry\n    audiences: [{AUDIENCE}]\n    keys: {{url: \"{}/jwks\", plain_http: loopback}}\n    {entry}",
        provider.address
    ));
    (bed, key)
}

fn token(recipe: &Recipe, key: &Key, changes: &Value) -> String {
    let own = changed(&claims(json!({"iss": recipe.issuer})), &recipe.claims);
    key.sign(&changed(&own, changes))
}

#[tokio::test]
async fn each_providers_token_is_taken_and_each_attack_is_a_401() {
    let mut wrong = Vec::new();
    for recipe in recipes() {
        let (bed, key) = started(&recipe);
        let good = token(&recipe, &key, &json!({}));
        assert_eq!(whose(&bed, &good).await.as_deref(), Ok(recipe.account), "{}", recipe.name);
        for (what, changes) in &recipe.same {
            let same = whose(&bed, &token(&recipe, &key, changes)).await;
            if same.as_deref() != Ok(recipe.account) {
                wrong.push(format!("{}: {what}: {same:?}", recipe.name));
            }
        }
        let any = [
            ("another service's token", json!({"aud": "sigstore"})),
            ("one that is for others as well", json!({"aud": [AUDIENCE, "sigstore"]})),
            ("one that is over", json!({"exp": 1_700_000_000})),
        ];
        for (what, changes) in recipe.attacks.iter().chain(&any) {
            let refused = whose(&bed, &token(&recipe, &key, changes)).await;
            if refused != Err(401) {
                wrong.push(format!("{}: {what}: {refused:?}", recipe.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Check 37: what it is called follows from the repository, whichever form its `sub` has.
#[tokio::test]
async fn both_forms_of_sub_are_the_same_account() {
    let recipes = recipes();
    let (bed, key) = started(&recipes[0]);
    for sub in ["repo:octo/app:ref:refs/heads/main", "repo:octo@1234/app@77:ref:refs/heads/main"] {
        assert_eq!(
            whose(&bed, &token(&recipes[0], &key, &json!({"sub": sub}))).await.as_deref(),
            Ok("github:octo/app")
        );
    }
}

/// Whoever names an event says which ones; the usual ones are not added to them.
#[tokio::test]
async fn the_events_that_are_named_are_those_that_are_taken() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    let bed = bed(&format!(
        "  - issuer: https://token.actions.githubusercontent.com\n    audiences: [{AUDIENCE}]\n    keys: {{url: \"{}/jwks\", plain_http: loopback}}\n    require: {{repository_owner_id: \"1234\", event_name: [push, pull_request]}}\n    account: \"github:${{claim:repository}}\"\n",
        provider.address
    ));
    for (event, expected) in [("push", Ok("github:o/r")), ("pull_request", Ok("github:o/r")), ("release", Err(401))] {
        let token = key.sign(&claims(json!({
            "iss": "https://token.actions.githubusercontent.com", "repository": "o/r", "repository_owner_id": "1234",
            "event_name": event,
        })));
        assert_eq!(whose(&bed, &token).await, expected.map(str::to_owned), "{event}");
    }
}

/// What the workload is called and has for labels is plain text to rules.
#[tokio::test]
async fn claims_are_labels_and_never_patterns() {
    let key = key("k1", 0);
    let provider = Provider::start(&[&key]);
    let rules = "acl: [{match: {name: \"${labels:project}/*\"}, actions: [pull]}, {match: {labels: {tier: ci-a}, name: \"t/*\"}, actions: [push]}]\n";
    assert!(!RULES.contains("labels"));
    let bed = Bed::with(&format!(
        "{rules}workload:\n  - issuer: https://ci.example.org\n    audiences: [{AUDIENCE}]\n    keys: {{url: \"{}/jwks\", plain_http: loopback}}\n    require: {{org: \"7\"}}\n    account: \"ci:${{claim:sub}}\"\n    labels: {{project: \"${{claim:project}}\", tier: [\"ci-a\"], groups: \"${{claim:groups}}\"}}\n",
        provider.address
    ));
    let grants = async |project: Value| {
        let token =
            key.sign(&claims(json!({"iss": "https://ci.example.org", "org": "7", "sub": "s", "project": project})));
        let ask = "/auth?service=registry&scope=repository:app/x:pull&scope=repository:t/x:push";
        bed.get(ask).basic("x", &token).send().await.ok().access()
    };
    assert_eq!(grants(json!("app")).await, ["repository:app/x:pull", "repository:t/x:push"]);
    assert_eq!(grants(json!(["b", "app"])).await, ["repository:app/x:pull", "repository:t/x:push"]);
    for other in [json!("*"), json!("a*"), json!({"app": 1}), Value::Null] {
        let granted = grants(other.clone()).await;
        assert!(!granted.iter().any(|granted| granted.contains("app/x:pull")), "{other}: {granted:?}");
    }
}
