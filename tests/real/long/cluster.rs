//! The chart and the API of a real cluster: it takes every object, Helm installs, changes and removes them there, and Dockwarden asks it
//! about tokens with the rights that the chart gives.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::chart::{LEAST, VALUES, chart, decoded, of_kind, rendered_as};
use crate::support::cluster::{Cluster, ISSUER};
use crate::support::dockwarden::{self, Dockwarden, SERVICE, program};
use crate::support::keys::{self, Kind};
use crate::support::process::until;
use crate::support::{http, part, scratch, visit};

/// The objects of a rendered text, each as it is written.
fn documents(text: &str) -> Vec<&str> {
    text.split("\n---\n").filter(|document| document.contains("\nkind: ")).collect()
}

/// The pod that a deployment would make.
fn pod(deployment: &Value) -> Value {
    let template = &deployment["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["generateName"] = json!("dockwarden-");
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

#[test]
fn the_api_server_takes_every_object_and_the_strictest_namespace_every_pod() {
    let cluster = Cluster::shared();
    cluster.with_service_monitors();
    cluster.create(
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, metadata: {name: high}, value: 1000}",
    );
    for (number, (values, ..)) in VALUES.iter().enumerate() {
        let namespace = format!("auth-{number}");
        cluster.restricted(&namespace);
        let text = rendered_as("test", &namespace, &[LEAST, values]);
        let objects = decoded(&text);
        let documents = documents(&text);
        assert_eq!(objects.len(), documents.len(), "{text}");
        for (object, document) in objects.iter().zip(documents) {
            cluster.create(&Cluster::collection(object), document);
        }
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        let tried = pod(of_kind(&objects, "Deployment")[0]);
        let made = cluster.create(&pods, &tried.to_string());
        assert_eq!(made["spec"]["serviceAccountName"], tried["spec"]["serviceAccountName"], "{made}");

        // What it refuses, and for what reason.
        if number == 0 {
            let collection = format!("/api/v1/namespaces/{namespace}/services");
            let service = "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {ports: [{port: 1, prot: TCP}]}}";
            let refused = cluster.ask("POST", &format!("{collection}?fieldValidation=Strict"), service);
            assert_eq!(refused.status, 400, "{}", refused.text());
            assert!(refused.text().contains("unknown field"), "{}", refused.text());
            let mut rightful = tried;
            rightful["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
            let refused = cluster.ask("POST", &pods, &rightful.to_string());
            assert_eq!(refused.status, 403, "{}", refused.text());
            assert!(refused.text().contains("violates PodSecurity"), "{}", refused.text());
        }
    }
}

/// The page's own values and command, what it says of the volume's claim, and the notes that Helm prints.
#[test]
fn helm_installs_changes_and_removes_the_chart_and_the_records_stay() {
    let cluster = Cluster::shared();
    let home = scratch::directory("helm");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-to/kubernetes.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, values) = page.split_once("   ```yaml\n").unwrap();
    let lines = values.lines().map(|line| line.strip_prefix("   ").unwrap_or(line)).take_while(|line| *line != "```");
    let file = scratch::write(&home, "values.yml", &lines.collect::<Vec<_>>().join("\n"));
    assert!(
        page.contains("helm upgrade --install dockwarden deploy/chart --namespace dockwarden --values values.yml\n")
    );
    cluster.restricted("dockwarden");
    let helm = |words: &[&str]| part::run(cluster.helm(&home).args(words).args(["--namespace", "dockwarden"]));
    let chart = chart();
    let install = |more: &[&str]| {
        let words = ["upgrade", "--install", "dockwarden", chart.to_str().unwrap(), "--values", file.to_str().unwrap()];
        helm(&[&words, more].concat())
    };
    let said = install(&[]).well();
    assert!(
        said.stdout.contains("REGISTRY_AUTH_TOKEN_REALM") && !said.text.to_lowercase().contains("warning"),
        "{}",
        said.text
    );
    // The command that its notes end with is one.
    let (_, asked) = said.stdout.split_once(" -- /dockwarden explain /config/auth_config.yml ").unwrap();
    let policy = dockwarden::users(&[("NAME", "{}")]) + "acl: []\n";
    let config = dockwarden::config(&keys::as_in_the_guide(Kind::P256), "", &policy);
    let mut explain = part::command_at(program());
    explain.arg("explain").arg(scratch::write(&home, "auth_config.yml", &config)).args(asked.split_whitespace());
    part::run(&mut explain).refused(&["no rule matches"]);

    let deployment = "/apis/apps/v1/namespaces/dockwarden/deployments/dockwarden";
    let kept = cluster.ask("GET", deployment, "").json();
    assert_eq!(kept["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example.org/dockwarden:0.1.0");

    install(&["--set", "records.kind=sqlite", "--set", "image.tag=0.2.0"]).well();
    let kept = cluster.ask("GET", deployment, "").json();
    assert_eq!(kept["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example.org/dockwarden:0.2.0");
    assert_eq!(kept["spec"]["strategy"], json!({"type": "Recreate"}));
    let claim = "/api/v1/namespaces/dockwarden/persistentvolumeclaims/dockwarden";
    assert_eq!(cluster.ask("GET", claim, "").status, 200);

    helm(&["rollback", "dockwarden", "1"]).well();
    helm(&["uninstall", "dockwarden"]).well();
    assert_eq!(cluster.ask("GET", deployment, "").status, 404);
    assert_eq!(cluster.ask("GET", claim, "").status, 200);
}

/// A pod logs in with a token that the cluster signed; Dockwarden asks the cluster with the account that the chart binds to the role; once
/// the pod is deleted, its token is refused.
#[test]
fn a_pods_token_is_reviewed_by_the_cluster_and_refused_once_the_pod_is_gone() {
    let cluster = Cluster::shared();
    for namespace in ["auth", "ci"] {
        cluster.restricted(namespace);
    }
    let text = rendered_as("dockwarden", "auth", &[LEAST, "{tokenReview: {enabled: true}}"]);
    let objects = decoded(&text);
    for (object, document) in objects.iter().zip(documents(&text)) {
        cluster.create(&Cluster::collection(object), document);
    }
    cluster.create(
        "/api/v1/namespaces/ci/serviceaccounts",
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: builder}}",
    );
    let mut builder = pod(of_kind(&objects, "Deployment")[0]);
    builder["metadata"] = json!({"name": "builder"});
    builder["spec"]["serviceAccountName"] = json!("builder");
    let builder = cluster.create("/api/v1/namespaces/ci/pods", &builder.to_string());

    let token = |account: &str, spec: &Value| {
        let wanted = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
        let made = cluster.create(&format!("/api/v1/namespaces/{account}/token"), &wanted.to_string());
        made["status"]["token"].as_str().unwrap().to_owned()
    };
    let own = token("auth/serviceaccounts/dockwarden", &json!({}));
    let directory = scratch::directory("review");
    let own = scratch::write(&directory, "token", &own);
    let keys_of_cluster = scratch::write(&directory, "jwks.json", &cluster.ask("GET", "/openid/v1/jwks", "").text());
    let bound = json!({"apiVersion": "v1", "kind": "Pod", "name": "builder", "uid": builder["metadata"]["uid"]});
    let of_pod =
        token("ci/serviceaccounts/builder", &json!({"audiences": ["registry.example.org"], "boundObjectRef": bound}));
    let for_the_api = token("ci/serviceaccounts/builder", &json!({}));

    let policy = format!(
        "users: {{}}\nacl: [{{match: {{account: \"k8s:system:serviceaccount:ci:builder\", name: \"web/*\"}}, actions: [pull]}}]\n\
         workload:\n  - issuer: {ISSUER}\n    name: cluster\n    audiences: [registry.example.org]\n    keys: {{file: {}}}\n    \
         require: {{kubernetes.io.namespace: ci}}\n    account: \"k8s:${{claim:sub}}\"\n    \
         token_review: {{api: \"{}\", ca: {}, token_file: {}}}\n",
        keys_of_cluster.display(),
        cluster.url(),
        cluster.authority.display(),
        own.display(),
    );
    let server = Dockwarden::start(&dockwarden::config(&keys::as_in_the_guide(Kind::P256), "", &policy));
    let login = |token: &str| {
        let target = format!("/auth?service={}&scope=repository:web/app:pull,push", http::form_encode(SERVICE));
        let line = visit::basic("builder", token);
        let asked = http::request("GET", &target, &server.host(), &[("Authorization", &line)], b"");
        http::exchange(&server.host(), &asked)
    };
    let reply = login(&of_pod);
    assert_eq!(reply.status, 200, "{}\n{}", reply.text(), server.process.tail());
    let claims = visit::claims(reply.json()["token"].as_str().unwrap());
    assert_eq!(claims["sub"], "k8s:system:serviceaccount:ci:builder");
    assert_eq!(claims["access"][0]["actions"], json!(["pull"]));
    assert_eq!(login(&for_the_api).status, 401);

    let gone = cluster.ask("DELETE", "/api/v1/namespaces/ci/pods/builder?gracePeriodSeconds=0", "");
    assert_eq!(gone.status, 200, "{}", gone.text());
    // The API server remembers for ten seconds whom it took a token for.
    until("the token of a deleted pod to be refused", || (login(&of_pod).status == 401).then_some(()));
    server.process.keeps_secrets();
}
