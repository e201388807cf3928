//! Hands a registry's password to those who ask for it: a workload's token to the kubelet (KEP-4412) and docker (its credential
//! helpers), and to docker what `dockwarden login` stored.
//!
//! Both are shown a workload's token for the registries that are named, and for no other: whoever names an image elsewhere in a manifest
//! would otherwise have the token sent there.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, json};
use settings::files::read_secret;
use time::OffsetDateTime;

use super::login::kept::{KeptLogin, KeptLogins, day, host_of};
use super::{DONE, FAILED, complain, say};
use crate::json;
use crate::secret::Secret;
use crate::shown::{escaped, printable};

/// The name under which docker starts this program: `credHelpers: {"HOST": "dockwarden"}`.
const HELPER: &str = "docker-credential-dockwarden";
/// The name that is given with a token. It means nothing, but must not be `<token>`: docker would take the password for a
/// refresh token.
const USER: &str = "workload";
/// What docker's library says for "not here"; clients compare the text, and go on without credentials.
const NOT_FOUND: &str = "credentials not found in native keychain";
/// What it says of a login without a server, or without a name: what is kept so is found by nobody, or by whoever asks for nothing.
const NO_SERVER: &str = "no credentials server URL";
const NO_USERNAME: &str = "no credentials username";
/// What it says of a server that is no registry's address: `list` would show it to people, and nobody could ask for it.
const ODD_SERVER: &str =
    "write the registry's address for ServerURL, such as registry.example.org:5000, without spaces";
/// The longest question, in bytes.
const MAX_QUESTION: u64 = 1024 * 1024;
/// The one version of the kubelet's protocol that has a service account's token.
const VERSION: &str = "credentialprovider.kubelet.k8s.io/v1";

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

/// Where the token is, and which registries are shown it: what the environment says. What is kept is for all others.
struct Helper {
    registries: Vec<String>,
    token: Option<String>,
    token_file: Option<String>,
    kept: Result<KeptLogins, String>,
    now: OffsetDateTime,
}

/// A login that docker wants to be kept.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ToKeep {
    #[serde(rename = "ServerURL", default)]
    server: String,
    #[serde(default)]
    username: String,
    secret: String,
}

/// What docker is told: on standard output, and what people may read besides.
#[derive(Debug, PartialEq, Eq)]
struct Unanswered {
    message: String,
    hint: Option<String>,
}

impl From<String> for Unanswered {
    fn from(message: String) -> Unanswered {
        Unanswered { message, hint: None }
    }
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
        kept: KeptLogins::of_this_user(),
        #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
        now: OffsetDateTime::now_utc(),
    };
    let action = arguments.get(1).map(|action| action.to_string_lossy().into_owned()).unwrap_or_default();
    match helper.answer(&action, question) {
        Ok(answer) => say(&answer, DONE),
        Err(Unanswered { message, hint }) => {
            if let Some(hint) = hint {
                complain(&format!("dockwarden: {hint}"));
            }
            say(&format!("{message}\n"), FAILED)
        }
    }
}

impl Helper {
    /// The answer to one of the protocol's actions; `question` is what stands on standard input.
    fn answer(&self, action: &str, question: impl FnOnce() -> Result<String, String>) -> Result<String, Unanswered> {
        match action {
            "get" => {
                let server = question()?;
                let server = server.trim();
                let (username, secret) = match self.is_named(server) {
                    true => (USER.to_owned(), Secret::new(self.token()?)),
                    false => self.kept_login(server)?,
                };
                let answer = json!({"ServerURL": server, "Username": username, "Secret": secret.reveal()});
                Ok(format!("{answer}\n"))
            }
            "list" => {
                let kept = self.kept()?.all()?.into_iter().map(|login| (login.server, login.username.into()));
                let named = self.registries.iter().map(|host| (host.clone(), USER.into()));
                Ok(format!("{}\n", serde_json::Value::Object(kept.chain(named).collect())))
            }
            "erase" => {
                let server = question()?;
                // Of a workload's token nothing is kept, so that nothing is left.
                if !self.is_named(server.trim()) {
                    self.kept()?.forget(server.trim())?;
                }
                Ok(String::new())
            }
            "store" => {
                // Without the reader's words, which quote the text.
                let ToKeep { server, username, secret } = json::object(question()?.as_bytes())
                    .map_err(|_| "docker writes an object with ServerURL, Username and Secret".to_owned())?;
                for (text, missing) in [(&server, NO_SERVER), (&username, NO_USERNAME)] {
                    if text.trim().is_empty() {
                        return Err(missing.to_owned().into());
                    }
                }
                let server = server.trim();
                if server.contains(char::is_whitespace) || escaped(server) != server {
                    return Err(ODD_SERVER.to_owned().into());
                }
                if self.is_named(server) {
                    return Err(format!(
                        "{HELPER} gives the workload's token to {}; there is no need to log in",
                        printable(server)
                    )
                    .into());
                }
                // Not when it ends: nobody says so here. `dockwarden login` does.
                let server = server.to_owned();
                self.kept()?.keep(&KeptLogin { server, username, password: Secret::new(secret), ends: None })?;
                Ok(String::new())
            }
            "version" => Ok(format!("{HELPER} {}\n", env!("CARGO_PKG_VERSION"))),
            _ => Err(format!("{HELPER} is started by docker, with get, store, erase, list or version").into()),
        }
    }

    /// Whether a registry is one that is shown the token.
    fn is_named(&self, server: &str) -> bool {
        self.registries.iter().any(|registry| registry.eq_ignore_ascii_case(host_of(server)))
    }

    fn kept(&self) -> Result<&KeptLogins, String> {
        self.kept.as_ref().map_err(Clone::clone)
    }

    /// What is kept for a registry. What has ended is not here: docker then asks for a login, where it would otherwise fail.
    fn kept_login(&self, server: &str) -> Result<(String, Secret), Unanswered> {
        let not_found = |hint: Option<String>| Unanswered { message: NOT_FOUND.to_owned(), hint };
        // Nobody has logged in where nobody has a home.
        let Ok(kept) = &self.kept else { return Err(not_found(None)) };
        let login = kept.find(server)?.ok_or_else(|| not_found(None))?;
        match login.ends {
            Some(ends) if ends <= self.now => {
                let day = day(ends);
                let host = printable(host_of(server));
                Err(not_found(Some(format!(
                    "the docker password for {host} ended on {day}: get another with `dockwarden login`"
                ))))
            }
            Some(_) | None => Ok((login.username, login.password)),
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
            kept: Err("no home".to_owned()),
            now: OffsetDateTime::UNIX_EPOCH,
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
            assert_eq!(get(&given, server), Err(NOT_FOUND.to_owned().into()), "{server}");
        }
        let registry = "registry.example.org";
        for (token, file, expected) in [
            (None, None, "DOCKWARDEN_TOKEN_FILE"),
            (Some("a"), Some("b"), "not both"),
            (None, Some("/nowhere/at/all"), "/nowhere"),
            (Some(" \n"), None, "empty"),
        ] {
            let refused = get(&helper(token, file), registry).unwrap_err();
            assert!(refused.message.contains(expected), "{refused:?}");
        }
        let folder = tempfile::TempDir::new().unwrap();
        let kept = Ok(KeptLogins::in_directory(folder.path().join("logins")));
        let given = Helper { kept, ..given };
        let list = given.answer("list", || Ok(String::new())).unwrap();
        assert_eq!(list, "{\"localhost:5000\":\"workload\",\"registry.example.org\":\"workload\"}\n");
        assert_eq!(given.answer("erase", || Ok(registry.to_owned())), Ok(String::new()));
        let own = json!({"ServerURL": registry, "Username": "alice", "Secret": "canary"}).to_string();
        let refused = given.answer("store", || Ok(own)).unwrap_err();
        assert!(refused.message.contains("no need to log in") && !refused.message.contains("canary"), "{refused:?}");
        for odd in ["reg example.org", "reg\u{1b}[2J.example.org", "reg\u{202e}.example.org", " "] {
            let login = json!({"ServerURL": odd, "Username": "alice", "Secret": "canary"}).to_string();
            let refused = given.answer("store", || Ok(login)).unwrap_err();
            assert!(refused.message.is_ascii() && !refused.message.contains("canary"), "{odd:?}: {refused:?}");
        }
        assert_eq!(given.answer("list", || Ok(String::new())).unwrap(), list, "nothing was kept");
        for refused in ["store", "", "--help"] {
            assert!(given.answer(refused, || Ok("{}".to_owned())).is_err(), "{refused}");
        }
    }

    /// Check 46 of the reference on sign-in, and what becomes of a password that ended.
    #[test]
    fn docker_gets_what_is_kept_until_it_ends() {
        let folder = tempfile::TempDir::new().unwrap();
        let directory = folder.path().join("state/logins");
        let at = |now: i64| Helper {
            registries: Vec::new(),
            token: None,
            token_file: None,
            kept: Ok(KeptLogins::in_directory(directory.clone())),
            now: OffsetDateTime::from_unix_timestamp(now).unwrap(),
        };
        let get = |now: i64, server: &str| at(now).answer("get", || Ok(server.to_owned()));
        let unknown = Err(NOT_FOUND.to_owned().into());
        assert_eq!(get(0, "registry.example.org"), unknown);
        let store = |server: &str, secret: &str| {
            let login = json!({"ServerURL": server, "Username": "alice", "Secret": secret}).to_string();
            assert_eq!(at(0).answer("store", || Ok(login)), Ok(String::new()));
        };
        store("registry.example.org", "first");
        store("https://Registry.example.org/v2/", "second");
        store("https://index.docker.io/v1/", "hub");
        store("../../registry.example.org:5000", "third");
        let of = |server: &str| {
            let answer: serde_json::Value = serde_json::from_str(&get(9, server).unwrap()).unwrap();
            assert_eq!((&answer["ServerURL"], &answer["Username"]), (&json!(server), &json!("alice")));
            answer["Secret"].as_str().unwrap().to_owned()
        };
        assert_eq!(of("registry.example.org"), "second", "one of each host");
        assert_eq!(of("https://index.docker.io/v1/"), "hub");
        assert_eq!(get(9, "registry.example.org:5000"), unknown, "another port is another registry");
        let list = at(9).answer("list", || Ok(String::new())).unwrap();
        assert!(list.contains("\"https://index.docker.io/v1/\":\"alice\""), "{list}");
        for entry in std::fs::read_dir(&directory).unwrap() {
            use std::os::unix::fs::PermissionsExt as _;
            let path = entry.unwrap().path();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing beside it");
        at(9).answer("erase", || Ok("https://registry.example.org".to_owned())).unwrap();
        at(9).answer("erase", || Ok("never.example.org".to_owned())).unwrap();
        assert_eq!(get(9, "registry.example.org"), unknown);

        let ends = OffsetDateTime::from_unix_timestamp(100).ok();
        let (server, username) = ("registry.example.org".to_owned(), "alice".to_owned());
        let login = KeptLogin { server, username, password: Secret::new("fourth"), ends };
        at(0).kept().unwrap().keep(&login).unwrap();
        assert!(get(99, "registry.example.org").unwrap().contains("fourth"));
        let Unanswered { message, hint } = get(100, "registry.example.org").unwrap_err();
        assert_eq!(message, NOT_FOUND);
        let hint = hint.unwrap();
        assert!(hint.contains("ended on 1970-01-01") && hint.contains("dockwarden login"), "{hint}");
        std::fs::write(directory.join("broken.example.org.json"), "{\"password\": \"canary\"}").unwrap();
        let broken = get(0, "broken.example.org").unwrap_err();
        assert!(broken.message.contains("broken.example.org.json") && !broken.message.contains("canary"), "{broken:?}");
    }
}
