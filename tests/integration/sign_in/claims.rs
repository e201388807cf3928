//! What claims come to: who is of the domain, and labels that stand deep in a token.

use serde_json::json;

use super::{Browser, SECRET, Scene, key};
use crate::bed::Bed;
use crate::oidc::Provider;

/// Check 36, as far as any provider shows it: what Google says besides is tested where claims are read, since Google is asked at its own
/// address alone.
#[tokio::test]
async fn whoever_is_not_of_the_domain_is_told_so_and_kept_nowhere() {
    let scene = Scene::with("domain: example.org");
    for (claims, status) in [
        (json!({}), 303),
        (json!({"email": "Ada@EXAMPLE.ORG"}), 303),
        (json!({"sub": "2", "email": "mallory@example.com"}), 403),
        (json!({"sub": "2", "email": "mallory@example.com@example.org"}), 403),
        (json!({"sub": "2", "email": null}), 403),
        (json!({"sub": "2", "email": "mallory@example.org", "email_verified": false}), 403),
    ] {
        scene.claim(claims.clone());
        let mut browser = Browser::default();
        let reply = browser.sign_in(&scene.bed).await;
        assert_eq!(reply.status, status, "{claims}: {}", reply.text());
        if status == 403 {
            assert!(reply.text().contains("You may not sign in") && reply.text().contains("role=\"alert\""));
            assert!(!reply.text().contains("mallory"), "{}", reply.text());
            assert_eq!(browser.get(&scene.bed, "/account").await.header("location"), "/sign-in");
        }
    }
    let kept = std::fs::read(scene.bed.folder.path("records.db")).unwrap();
    assert!(!kept.windows(7).any(|part| part == b"mallory"));
}

/// Check 62: Keycloak has roles in an object.
#[tokio::test]
async fn a_claim_within_a_claim_is_a_label() {
    let provider = Provider::start(&[&key()]);
    let bed = Bed::with(&format!(
        "acl: [{{match: {{labels: {{realm_access.roles: dev}}, name: \"dev/*\"}}, actions: [pull, push]}}]\n\
         records: {{sqlite: $DIR/records.db}}\nsign_in: {{secret: {SECRET}}}\n\
         oidc_auth: {{issuer: \"{}\", plain_http: loopback, redirect_url: \"https://auth.example.org/oidc_auth\", client_id: registry, \
         client_secret: of-the-client, label_claims: [realm_access.roles]}}\n",
        provider.address
    ));
    let scene = Scene::of(provider, bed);
    let cases = [
        (json!({"realm_access": {"roles": ["dev", "all"]}}), "repository:dev/app:pull,push"),
        (json!({"realm_access": {"roles": "dev"}}), "repository:dev/app:pull,push"),
        (json!({"realm_access": {"roles": ["ops"]}}), "repository:dev/app:"),
        // Where it could be read in two ways, nobody knows which is the provider's.
        (json!({"realm_access": {"roles": ["ops"]}, "realm_access.roles": ["dev"]}), "repository:dev/app:"),
        (json!({"realm_access": null}), "repository:dev/app:"),
    ];
    for (number, (claims, granted)) in cases.into_iter().enumerate() {
        scene.claim(claims.clone());
        let password = scene.password(&mut Browser::default(), &format!("m{number}")).await;
        assert_eq!(scene.grants("ada@example.org", &password).await, Ok(vec![granted.to_owned()]), "{claims}");
    }
}
