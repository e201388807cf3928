//! The kubelet's own code starts our plugin, and what it gets lets a pod's image be pulled.

use std::fs;

use ::dockwarden::keys::generate;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::sessions::oidc::{Key, Provider};
use crate::support::dockwarden::{self, Dockwarden, SERVICE, program};
use crate::support::keys::{self, Kind};
use crate::support::{clock, http, part, scratch, visit};

const AUDIENCE: &str = "registry.example.org";
const ISSUER: &str = "https://kubernetes.default.svc";

#[test]
fn the_kubelet_gets_a_pods_token_from_the_plugin_and_pulls_with_it() {
    let pem = generate(Algorithm::RS256, "cluster.test", OffsetDateTime::now_utc()).unwrap().key_pem;
    let key = Key::new("k1", Algorithm::RS256, &pem);
    let provider = Provider::start(&[&key]);
    let policy = format!(
        "users: {{}}\nacl: [{{match: {{account: \"k8s:system:serviceaccount:web:builder\", name: \"web/*\"}}, actions: [pull]}}]\nworkload:\n  - issuer: {ISSUER}\n    name: cluster\n    audiences: [{AUDIENCE}]\n    keys: {{url: \"{}/jwks\", plain_http: loopback}}\n    require: {{kubernetes.io.namespace: web}}\n    account: \"k8s:${{claim:sub}}\"\n",
        provider.address
    );
    let server = Dockwarden::start(&dockwarden::config(&keys::as_in_the_guide(Kind::P256), "", &policy));
    let made = clock::now();
    let token = key.sign(&json!({
        "iss": ISSUER, "aud": [AUDIENCE], "iat": made, "nbf": made, "exp": made + 3600,
        "sub": "system:serviceaccount:web:builder",
        "kubernetes.io": {"namespace": "web", "serviceaccount": {"name": "builder", "uid": "account-uid"}},
    }));

    let folder = scratch::directory("kubelet");
    let programs = folder.join("plugins");
    fs::create_dir(&programs).unwrap();
    fs::copy(program(), programs.join("dockwarden")).unwrap();
    // As docs/WORKLOADS.md has it.
    let config = scratch::write(
        &folder,
        "config.yaml",
        "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n  - name: dockwarden\n    \
         apiVersion: credentialprovider.kubelet.k8s.io/v1\n    \
         args: [credential-provider, --registry, registry.example.org]\n    \
         matchImages: [registry.example.org, elsewhere.example.org]\n    defaultCacheDuration: \"0s\"\n    \
         tokenAttributes:\n      serviceAccountTokenAudience: registry.example.org\n      cacheType: Token\n      \
         requireServiceAccount: true\n",
    );
    let file = scratch::write(&folder, "token", &token);
    let ask = |image: &str| {
        let mut kubelet = part::client("long/kubelet");
        kubelet.arg("-config").arg(&config).arg("-bin-dir").arg(&programs).arg("-token").arg(&file);
        let said = part::run(kubelet.args(["-audience", AUDIENCE, "-image", image])).well();
        serde_json::from_str::<Vec<Value>>(&said.stdout).unwrap_or_else(|wrong| panic!("{wrong}: {}", said.text))
    };
    let given = ask("registry.example.org/web/app:1");
    assert_eq!(given.len(), 1, "{given:?}");
    let [account, password] = ["username", "password"].map(|name| given[0][name].as_str().unwrap());
    assert_eq!(password, token);
    // An image that the operator's file matches, and whose registry the plugin was not told to trust.
    assert_eq!(ask("elsewhere.example.org/web/app:1").len(), 0);

    let target = format!("/auth?service={}&scope=repository:web/app:pull,push", http::form_encode(SERVICE));
    let login = visit::basic(account, password);
    let asked = http::request("GET", &target, &server.host(), &[("Authorization", &login)], b"");
    let reply = http::exchange(&server.host(), &asked);
    let claims = visit::claims(reply.json()["token"].as_str().unwrap_or_else(|| panic!("{}", reply.text())));
    assert_eq!(
        (&claims["sub"], &claims["access"][0]["actions"]),
        (&json!("k8s:system:serviceaccount:web:builder"), &json!(["pull"]))
    );
    server.process.keeps_secrets();
}
