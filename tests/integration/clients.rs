//! The requests of docker, containerd, skopeo, crane, helm, regctl and buildx, byte for byte as they send them.

use axum::http::Method;

use crate::bed::{Bed, Chunk};

/// The users of the captured requests; their hashes were made by Python's crypt.
const CONFIG: &str = r#"
users:
  alice: {password: "$2b$04$abcdefghijklmnopqrstuuyvPXIbu7xe6/CED2DzX8z6Si09MlzlW"} # pw
  "ali+ce": {password: "$2a$04$abcdefghijklmnopqrstuuuOL9Fe882HFhio.dEkfklsK.coaXKsm"} # p+w:ö %
  "": {}
acl:
  - match: {account: "/^.+$/", name: foo/bar}
    actions: [pull, push, delete]
  - match: {name: src/img}
    actions: [pull]
  - match: {account: "/^.+$/", type: registry, name: catalog}
    actions: ["*"]
  - match: {name: foo/*}
    actions: [pull]
"#;
/// `alice` and `pw`, as every client encodes them.
const ALICE: &str = "Basic YWxpY2U6cHc=";
/// `ali+ce` and `p+w:ö %`, as docker login sends them.
const PLUS: &str = "Basic YWxpK2NlOnArdzrDtiAl";

/// What a request ends in.
enum Outcome {
    /// A token for this subject with this access.
    Token(&'static str, &'static [&'static str]),
    /// A refusal with this status.
    Refused(u16),
}
use Outcome::{Refused, Token};

#[tokio::test]
async fn gets_are_answered() {
    let bed = Bed::with(CONFIG);
    // Who sends it, the target, the Authorization header, the outcome.
    let requests: &[(&str, &str, &str, Outcome)] = &[
        (
            "docker login",
            "/token?account=ali%2Bce&client_id=docker&offline_token=true&service=registry.test",
            PLUS,
            Token("ali+ce", &[]),
        ),
        (
            "docker login, wrong password",
            "/token?account=ali%2Bce&client_id=docker&offline_token=true&service=registry.test",
            "Basic YWxpK2NlOng=",
            Refused(401),
        ),
        (
            "dockerd, a push with a mount",
            "/token?account=alice&scope=repository%3Afoo%2Fbar%3Apush%2Cpull&scope=repository%3Asrc%2Fimg%3Apull&service=registry.test",
            ALICE,
            Token("alice", &["repository:foo/bar:pull,push", "repository:src/img:pull"]),
        ),
        (
            "dockerd, a plugin",
            "/token?account=alice&scope=repository%28plugin%29%3Afoo%2Fplug%3Apull&service=registry.test",
            ALICE,
            Token("alice", &["repository:foo/plug:pull"]),
        ),
        (
            "containerd after a refused POST",
            "/token?scope=repository%3Afoo%2Fbar%3Apull&scope=repository%3Afoo%2Fbar%3Apull%2Cpush&service=registry.test",
            ALICE,
            Token("alice", &["repository:foo/bar:pull,push"]),
        ),
        (
            "containerd with an identity token",
            "/token?scope=repository%3Afoo%2Fbar%3Apull&service=registry.test",
            "Basic OlJFRlJFU0gx",
            Refused(401),
        ),
        (
            "containerd without an account",
            "/token?scope=repository%3Afoo%2Fbar%3Apull&scope=repository%3Afoo%2Fbar%3Apull%2Cpush&service=registry.test",
            "",
            Token("", &["repository:foo/bar:pull"]),
        ),
        ("skopeo login", "/token?account=ali%2Bce&service=registry.test", PLUS, Token("ali+ce", &[])),
        (
            "skopeo pull",
            "/token?account=alice&scope=repository%3Afoo%2Fbar%3Apull&service=registry.test",
            ALICE,
            Token("alice", &["repository:foo/bar:pull"]),
        ),
        (
            "skopeo push",
            "/token?account=alice&scope=repository%3Afoo%2Fbar%3Apull%2Cpush&service=registry.test",
            ALICE,
            Token("alice", &["repository:foo/bar:pull,push"]),
        ),
        (
            "skopeo delete: everything that alice may do",
            "/token?account=alice&scope=repository%3Afoo%2Fbar%3A%2A&service=registry.test",
            ALICE,
            Token("alice", &["repository:foo/bar:delete,pull,push"]),
        ),
        (
            "skopeo names an account without its password",
            "/token?account=alice&scope=repository%3Afoo%2Fbar%3Apull%2Cpush&service=registry.test",
            "",
            Token("", &["repository:foo/bar:pull"]),
        ),
        (
            "crane catalog",
            "/token?scope=registry%3Acatalog%3A%2A&service=registry.test",
            ALICE,
            Token("alice", &["registry:catalog:*"]),
        ),
        (
            "crane delete",
            "/token?scope=repository%3Afoo%2Fbar%3Apush%2Cpull%2Cdelete&service=registry.test",
            ALICE,
            Token("alice", &["repository:foo/bar:delete,pull,push"]),
        ),
        (
            "crane and the conformance suite after a mount: two scopes in one parameter",
            "/token?scope=repository%3Afoo%2Fbar%3Apull%2Cpush+repository%3Asrc%2Fimg%3Apull&service=registry.test",
            ALICE,
            Token("alice", &["repository:foo/bar:pull,push", "repository:src/img:pull"]),
        ),
        (
            "the conformance suite without an account",
            "/token?scope=repository%3Aconformance%2Frepo1%3Apull&service=registry.test",
            "Basic Og==",
            Token("", &["repository:conformance/repo1:"]),
        ),
        (
            "regctl",
            "/token?account=alice&client_id=regclient&scope=repository%3Afoo%2Fbar%3Apull%2Cpush&service=registry.test",
            ALICE,
            Token("alice", &["repository:foo/bar:pull,push"]),
        ),
        ("oras without a password", "/token?service=registry.test", "Basic YWxpY2U6", Refused(401)),
    ];
    for (who, target, header, outcome) in requests {
        // `Accept` and the others are sent along and decide nothing.
        let ask = bed.get(target).header("accept", "application/json").header("accept-encoding", "gzip");
        let ask = if header.is_empty() { ask } else { ask.header("authorization", header) };
        let reply = ask.header("user-agent", who).send().await;
        match outcome {
            Token(subject, access) => {
                let reply = reply.ok();
                assert_eq!(
                    (reply.claims()["sub"].as_str(), reply.access().as_slice()),
                    (Some(*subject), own(access).as_slice()),
                    "{who}"
                );
            }
            Refused(status) => assert_eq!(reply.status, *status, "{who}"),
        }
    }
}

fn own(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn forms_are_answered() {
    // Where these forms were captured, the password was `p w:ö%`.
    let hash = |salted: &str| format!("$2a$04$abcdefghijklmnopqrstuu{salted}");
    let captured = hash("uJ0D.0YPlOXJUQureHjSsQ5zeluN7RO");
    let bed = Bed::with(&CONFIG.replace(&hash("uOL9Fe882HFhio.dEkfklsK.coaXKsm"), &captured));
    let requests: &[(&str, &str, &str, Outcome)] = &[
        (
            "containerd, with the same repository twice",
            "application/x-www-form-urlencoded; charset=utf-8",
            "client_id=containerd-client&grant_type=password&password=p+w%3A%C3%B6%25&scope=repository%3Afoo%2Fbar%3Apull+repository%3Afoo%2Fbar%3Apull%2Cpush&service=registry.test&username=ali%2Bce",
            Token("ali+ce", &["repository:foo/bar:pull,push"]),
        ),
        (
            "containerd, where the password has a plus in the place of the space",
            "application/x-www-form-urlencoded; charset=utf-8",
            "client_id=containerd-client&grant_type=password&password=p%2Bw%3A%C3%B6%25&service=registry.test&username=ali%2Bce",
            Refused(401),
        ),
        (
            "containerd, a mount",
            "application/x-www-form-urlencoded; charset=utf-8",
            "client_id=containerd-client&grant_type=password&password=pw&scope=repository%3Afoo%2Fbar%3Apull%2Cpush+repository%3Asrc%2Fimg%3Apull&service=registry.test&username=alice",
            Token("alice", &["repository:foo/bar:pull,push", "repository:src/img:pull"]),
        ),
        (
            "containerd, offline",
            "application/x-www-form-urlencoded; charset=utf-8",
            "access_type=offline&client_id=containerd-client&grant_type=password&password=pw&scope=repository%3Afoo%2Fbar%3Apull&service=registry.test&username=alice",
            Token("alice", &["repository:foo/bar:pull"]),
        ),
        (
            "containerd, an identity token",
            "application/x-www-form-urlencoded; charset=utf-8",
            "client_id=containerd-client&grant_type=refresh_token&refresh_token=REFRESH1&scope=repository%3Afoo%2Fbar%3Apull&service=registry.test",
            Refused(400),
        ),
        (
            "dockerd, an identity token",
            "application/x-www-form-urlencoded",
            "client_id=docker&grant_type=refresh_token&refresh_token=REFRESH1&scope=repository%3Afoo%2Fbar%3Apush%2Cpull+repository%3Asrc%2Fimg%3Apull&service=registry.test",
            Refused(400),
        ),
        (
            "helm login",
            "application/x-www-form-urlencoded",
            "client_id=oras-go&grant_type=password&password=pw&service=registry.test&username=alice",
            Token("alice", &[]),
        ),
        (
            "buildx",
            "application/x-www-form-urlencoded",
            "client_id=buildkit-client&grant_type=password&password=pw&scope=repository%3Afoo%2Fbar%3Apull%2Cpush&service=registry.test&username=alice",
            Token("alice", &["repository:foo/bar:pull,push"]),
        ),
    ];
    for (who, media_type, form, outcome) in requests {
        let reply = bed.request(Method::POST, "/token").header("content-type", media_type).body(form).send().await;
        match outcome {
            Token(subject, access) => {
                let reply = reply.ok();
                assert_eq!(
                    (reply.claims()["sub"].as_str(), reply.access().as_slice()),
                    (Some(*subject), own(access).as_slice()),
                    "{who}"
                );
            }
            Refused(status) => assert_eq!(reply.status, *status, "{who}"),
        }
    }
}

/// skopeo sends forms in chunks, without a length, and its scopes as fields of their own.
#[tokio::test]
async fn skopeos_form_arrives_in_chunks() {
    let bed = Bed::with(CONFIG);
    let pieces = [
        Chunk::Data(
            "client_id=containers%2Fimage&grant_type=password&username=alice&password=pw&scope=repository%3Afoo%2",
        ),
        Chunk::Data("Fbar%3Apull%2Cpush&scope=repository%3Asrc%2Fimg%3Apull&service=registry.test"),
    ];
    let reply = bed.post("/token", "").chunks(pieces).send().await.ok();
    assert_eq!(reply.access(), ["repository:foo/bar:pull,push", "repository:src/img:pull"]);
    let refresh = "client_id=containers%2Fimage&grant_type=refresh_token&refresh_token=REFRESH1&scope=repository%3Afoo%2Fbar%3Apull%2Cpush&scope=repository%3Asrc%2Fimg%3Apull&service=registry.test";
    let reply = bed.post("/token", "").chunks([Chunk::Data(refresh)]).send().await;
    assert_eq!((reply.status, reply.json()["error"].as_str()), (400, Some("unsupported_grant_type")));
}
