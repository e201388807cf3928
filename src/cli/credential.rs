//! Hands a workload's token to those who ask for a registry's password: the kubelet (KEP-4412) and docker (its credential helpers).
//!
//! Both are shown the token for the registries that are named, and for no other: whoever names an image elsewhere in a manifest
//! would otherwise have the token sent there.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, json};
use settings::files::read_secret;

use super::{DONE, FAILED, complain, say};
use crate::json;

/// The name under which docker starts this program: `credHelpers: {"HOST": "dockwarden"}`.
const HELPER: &str = "docker-credential-dockwarden";
/// The name that is given with a token. It means nothing, but must not be `<token>`: docker would take the password for a
/// refresh token.
const USER: &str = "workload";
/// What docker's library says for "not here"; clients compare the text, and go on without credentials.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// The longest question, in bytes.
const MAX_QUESTION: u64 = 1024 * 1024;
/// The one version of the kubelet's protocol that has a service account's token.
const VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";

/// Answer the kubelet's question for an image's credentials with the pod's own token: a credential provider plugin
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A registry that is shown the token, with its port if it has one; may be given again
    #[arg(long = "registry", value_name = "HOST", required = true)]
    registries: Vec<String>,
}

/// What the kubelet asks (CredentialProviderRequest).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Question {
    api_version: String,
    kind: String,
    image: String,
    #[serde(default)]
    service_account_token: String,
}

/// Answers one question of the kubelet's.
pub(super) fn provide(Arguments { registries }: &Arguments) -> u8 {
    match question().and_then(|question| provided(&question, registries)) {
        Ok(answer) => say(&format!("{answer}\n"), DONE),
        Err(message) => complain(&format!("dockwarden: {message}")),
    }
}

/// The answer to the kubelet. Nothing of it is kept there: the next pull asks again, and finds a token that is still good.
fn provided(question: &str, registries: &[String]) -> Result<serde_json::Value, String> {
    // Without the parser's own words: they could repeat the token.
    let read: Option<Question> = json::object(question.as_bytes()).ok();
    let asked = read.filter(|asked| asked.api_version == VERSION && asked.kind == "CredentialProviderRequest");
    let Some(Question { image, service_account_token: token, .. }) = asked else {
        return Err(format!(
            "this is no CredentialProviderRequest of {VERSION}; the kubelet sends one on standard input"
        ));
    };
    let host = image.split('/').next().filter(|_| image.contains('/')).unwrap_or_default();
    let mut auth = Map::new();
    if registries.iter().any(|registry| registry.eq_ignore_ascii_case(host)) {
        if token.is_empty() {
            return Err(
                "the kubelet sent no serviceAccountToken; write tokenAttributes with serviceAccountTokenAudience in \
                        its CredentialProviderConfig"
                    .to_owned(),
            );
        }
        auth.insert(host.to_owned(), json!({"username": USER, "password": token}));
    }
    Ok(json!({
        "apiVersion": VERSION, "kind": "CredentialProviderResponse", "cacheKeyType": "Registry", "cacheDuration": "0s",
        "auth": auth,
    }))
}

/// Where the token is, and which registries are shown it: what the environment says.
struct Helper {
    registries: Vec<String>,
    token: Option<String>,
    token_file: Option<String>,
}

/// Whether this program was started as docker's helper.
pub(super) fn is_helper(arguments: &[OsString]) -> bool {
    arguments.first().and_then(|name| Path::new(name).file_name()).is_some_and(|name| name == HELPER)
}

/// Answers docker, which reads the message of a failure on standard output, too.
pub(super) fn help(arguments: &[OsString]) -> u8 {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let registries = variable("DOCKWARDEN_REGISTRIES").unwrap_or_default();
    let helper = Helper {
        registries: registries.split([',', ' ']).filter(|host| !host.is_empty()).map(str::to_owned).collect(),
        token: variable("DOCKWARDEN_TOKEN"),
        token_file: variable("DOCKWARDEN_TOKEN_FILE"),
    };
    let action = arguments.get(1).map(|action| action.to_string_lossy().into_owned()).unwrap_or_default();
    match helper.answer(&action, question) {
        Ok(answer) => say(&answer, DONE),
        Err(message) => say(&format!("{message}\n"), FAILED),
    }
}

impl Helper {
    /// The answer to one of the protocol's actions; `question` is what stands on standard input.
    fn answer(&self, action: &str, question: impl FnOnce() -> Result<String, String>) -> Result<String, String> {
        match action {
            "get" => {
                let server = question()?;
                let server = server.trim();
                let host = server.split_once("://").map_or(server, |(_, rest)| rest);
                let host = host.split('/').next().unwrap_or_default();
                if !self.registries.iter().any(|registry| registry.eq_ignore_ascii_case(host)) {
                    return Err(NOT_FOUND.to_owned());
                }
                let answer = json!({"ServerURL": server, "Username": USER, "Secret": self.token()?});
                Ok(format!("{answer}\n"))
            }
            "list" => {
                let all = self.registries.iter().map(|host| (host.clone(), USER.into()));
                Ok(format!("{}\n", serde_json::Value::Object(all.collect())))
            }
            // Nothing is kept, so that nothing is left.
            "erase" => question().map(|_| String::new()),
            "store" => {
                Err(format!("{HELPER} keeps no credentials: it gives the workload's token; there is no need to log in"))
            }
            "version" => Ok(format!("{HELPER} {}\n", env!("CARGO_PKG_VERSION"))),
            _ => Err(format!("{HELPER} is started by docker, with get, list, erase or version")),
        }
    }

    fn token(&self) -> Result<String, String> {
        let token = match (&self.token, &self.token_file) {
            (Some(_), Some(_)) => return Err("set DOCKWARDEN_TOKEN or DOCKWARDEN_TOKEN_FILE, not both".to_owned()),
            (Some(token), None) => token.trim().to_owned(),
            (None, Some(file)) => read_secret(Path::new(file))?,
            (None, None) => return Err("set DOCKWARDEN_TOKEN_FILE to the file of the workload's token".to_owned()),
        };
        if token.is_empty() { Err("the workload's token is empty".to_owned()) } else { Ok(token) }
    }
}

/// What stands on standard input.
fn question() -> Result<String, String> {
    let mut text = String::new();
    let read = std::io::stdin().lock().take(MAX_QUESTION).read_to_string(&mut text);
    read.map(|_| text).map_err(|error| format!("standard input cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

    use super::*;

    fn asked(image: &str, token: &str) -> String {
        json!({"apiVersion": VERSION, "kind": "CredentialProviderRequest", "image": image, "serviceAccountToken": token})
            .to_string()
    }

    #[test]
    fn the_kubelet_gets_the_token_for_the_registries_that_are_named() {
        let registries = ["registry.example.org".to_owned(), "localhost:5000".to_owned()];
        for (image, host) in [
            ("registry.example.org/team/app:v1", Some("registry.example.org")),
            ("localhost:5000/app@sha256:00", Some("localhost:5000")),
            ("registry.example.org:444/app", None),
            ("registry.example.org.evil.example/app", None),
            ("evil.example/registry.example.org/app", None),
            ("localhost/app", None),
            ("registry.example.org", None),
            ("", None),
        ] {
            let answer = provided(&asked(image, "eyJ.eyJ.c2ln"), &registries).unwrap();
            assert_eq!(
                (&answer["apiVersion"], &answer["kind"]),
                (&json!(VERSION), &json!("CredentialProviderResponse"))
            );
            assert_eq!((&answer["cacheKeyType"], &answer["cacheDuration"]), (&json!("Registry"), &json!("0s")));
            let expected = match host {
                Some(host) => json!({host: {"username": "workload", "password": "eyJ.eyJ.c2ln"}}),
                None => json!({}),
            };
            assert_eq!(answer["auth"], expected, "{image}");
        }
    }

    #[test]
    fn what_the_kubelet_does_not_say_is_a_failure_that_repeats_nothing() {
        let registries = ["registry.example.org".to_owned()];
        let good = asked("registry.example.org/app", "canary");
        let without = asked("registry.example.org/app", "");
        for (question, expected) in [
            (without, "no serviceAccountToken"),
            (good.replace("/v1\"", "/v1alpha1\""), "no CredentialProviderRequest"),
            (good.replace("CredentialProviderRequest", "Other"), "no CredentialProviderRequest"),
            (format!("[{good}]"), "no CredentialProviderRequest"),
            (good.replace('}', ""), "no CredentialProviderRequest"),
            (String::new(), "no CredentialProviderRequest"),
        ] {
            let message = provided(&question, &registries).unwrap_err();
            assert!(message.contains(expected) && !message.contains("canary"), "{question}: {message}");
        }
    }

    #[test]
    fn docker_gets_the_token_for_the_registries_that_are_named() {
        let helper = |token: Option<&str>, file: Option<&str>| Helper {
            registries: vec!["registry.example.org".to_owned(), "localhost:5000".to_owned()],
            token: token.map(str::to_owned),
            token_file: file.map(str::to_owned),
        };
        let given = helper(Some("eyJ.eyJ.c2ln"), None);
        let get = |helper: &Helper, server: &str| helper.answer("get", || Ok(server.to_owned()));
        for server in [
            "registry.example.org",
            "https://registry.example.org",
            "https://registry.example.org/v2/\n",
            "Localhost:5000",
        ] {
            let answer: serde_json::Value = serde_json::from_str(&get(&given, server).unwrap()).unwrap();
            let expected = json!({"ServerURL": server.trim(), "Username": "workload", "Secret": "eyJ.eyJ.c2ln"});
            assert_eq!(answer, expected, "{server}");
        }
        for server in
            ["https://index.docker.io/v1/", "registry.example.org:444", "evil.example/registry.example.org", ""]
        {
            assert_eq!(get(&given, server), Err(NOT_FOUND.to_owned()), "{server}");
        }
        let registry = "registry.example.org";
        assert!(get(&helper(None, None), registry).is_err_and(|message| message.contains("DOCKWARDEN_TOKEN_FILE")));
        assert!(get(&helper(Some("a"), Some("b")), registry).is_err_and(|message| message.contains("not both")));
        assert!(
            get(&helper(None, Some("/nowhere/at/all")), registry).is_err_and(|message| message.contains("/nowhere"))
        );
        assert!(get(&helper(Some(" \n"), None), registry).is_err_and(|message| message.contains("empty")));
        let list = given.answer("list", || Ok(String::new())).unwrap();
        assert_eq!(list, "{\"localhost:5000\":\"workload\",\"registry.example.org\":\"workload\"}\n");
        assert_eq!(given.answer("erase", || Ok(registry.to_owned())), Ok(String::new()));
        for refused in ["store", "", "--help"] {
            assert!(given.answer(refused, || Ok("{}".to_owned())).is_err(), "{refused}");
        }
    }
}
