//! Where docker looks for the login of a registry: its `config.json`, and the programs that this names (docker-credential-…).

use std::fs::{self, DirBuilder};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::kept::{KeptLogin, KeptLogins};
use crate::json;
use crate::keys::replace_private;
use crate::program::files_in_path;
use crate::secret::Secret;
use crate::shown::printable;

/// What docker's helpers are called before their own names.
const PREFIX: &str = "docker-credential-";
/// Our own.
const OURS: &str = "dockwarden";
/// The keys of docker's file.
const AUTHS: &str = "auths";
const STORE: &str = "credsStore";
const HELPERS: &str = "credHelpers";

/// A login.
pub(super) struct Login {
    pub(super) registry: String,
    pub(super) username: String,
    pub(super) password: Secret,
    pub(super) ends: Option<OffsetDateTime>,
}

/// Where the login of a registry is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A helper has it, which the file names.
    Helper(String),
    /// A helper has it that the file does not name, but docker takes by itself where it finds it.
    Found(String),
    /// docker's file itself.
    File,
}

/// How a login is stored.
pub(super) enum Stored {
    Safely,
    /// As docker does without a helper: whoever can read this file has the password.
    Unencrypted(PathBuf),
}

/// docker's file.
pub(super) struct DockerConfig {
    file: PathBuf,
}

/// A registry as docker calls it: host and port.
///
/// # Errors
/// It is another text.
pub(super) fn registry(text: &str) -> Result<String, String> {
    let is_host = |letter: u8| letter.is_ascii_alphanumeric() || b".-_:[]".contains(&letter);
    if text.is_empty() || text.starts_with('-') || !text.bytes().all(is_host) {
        return Err(format!(
            "{} is not a registry; write its host, and its port if it has one: registry.example.org:5000",
            printable(text)
        ));
    }
    Ok(text.to_owned())
}

impl DockerConfig {
    /// That of whoever runs this program.
    ///
    /// # Errors
    /// Neither `DOCKER_CONFIG` nor `HOME` is set.
    pub(super) fn from_environment() -> Result<DockerConfig, String> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
        let directory = directory.ok_or("HOME is not set: nobody knows where docker's config.json is")?;
        Ok(DockerConfig { file: directory.join("config.json") })
    }

    /// What stands in it; nothing where it is not there.
    fn read(&self) -> Result<Map<String, Value>, String> {
        let text = match fs::read(&self.file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
            text => text.map_err(|error| format!("{}: {error}", self.file.display()))?,
        };
        // Without the reader's words, which quote the text: there are passwords in it.
        json::object(&text).map_err(|_| format!("{}: this is not an object of JSON", self.file.display()))
    }

    /// Writes it whole, and for its owner alone.
    fn write(&self, config: &Map<String, Value>) -> Result<(), String> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", self.file.display());
        let mut text = Vec::new();
        let mut writer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"\t"));
        config.serialize(&mut writer).map_err(|error| told(&error))?;
        text.push(b'\n');
        if let Some(directory) = self.file.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| told(&error))?;
        }
        // A link stays one: the file that it leads to is written.
        let file = fs::canonicalize(&self.file).unwrap_or_else(|_| self.file.clone());
        replace_private(&file, &text).map_err(|error| told(&error))
    }

    /// Where docker looks for the login of a registry.
    ///
    /// # Errors
    /// The file cannot be read, or names a helper that is not there.
    pub(super) fn place(&self, registry: &str) -> Result<Place, String> {
        let config = self.read()?;
        let wrong = |key: &str| format!("{}: {key} is not as docker writes it", self.file.display());
        let of_registry = match config.get(HELPERS) {
            None | Some(Value::Null) => None,
            Some(Value::Object(helpers)) => helpers.get(registry),
            Some(_) => return Err(wrong(HELPERS)),
        };
        let (key, helper) = match (of_registry, config.get(STORE)) {
            (Some(helper), _) => (HELPERS, helper.as_str()),
            (None, Some(Value::Null) | None) => (STORE, Some("")),
            (None, Some(helper)) => (STORE, helper.as_str()),
        };
        let helper = helper.ok_or_else(|| wrong(key))?;
        if !helper.is_empty() {
            if is_in_path(&format!("{PREFIX}{helper}")) {
                return Ok(Place::Helper(helper.to_owned()));
            }
            return Err(format!(
                "{} names {PREFIX}{helper} in {key}, which is not in PATH; install it, or remove the key",
                self.file.display()
            ));
        }
        // docker looks for a helper of the system where nobody has logged in yet.
        let is_new = [AUTHS, STORE, HELPERS].iter().all(|key| match config.get(*key) {
            None | Some(Value::Null) => true,
            Some(Value::Object(entries)) => entries.is_empty(),
            Some(Value::String(text)) => text.is_empty(),
            Some(_) => false,
        });
        let usual = if is_in_path("pass") { "pass" } else { "secretservice" };
        if is_new && is_in_path(&format!("{PREFIX}{usual}")) {
            return Ok(Place::Found(usual.to_owned()));
        }
        Ok(Place::File)
    }

    /// Stores a login where docker looks for it.
    ///
    /// # Errors
    /// It is not stored: why.
    pub(super) fn store(&self, login: &Login, place: &Place) -> Result<Stored, String> {
        let Login { registry, username, password, ends } = login;
        match place {
            Place::Helper(helper) if helper == OURS => {
                let login = KeptLogin {
                    server: registry.clone(),
                    username: username.clone(),
                    password: password.clone(),
                    ends: *ends,
                };
                KeptLogins::of_this_user()?.keep(&login)?;
            }
            Place::Helper(helper) | Place::Found(helper) => {
                let input =
                    json!({"ServerURL": registry, "Username": username, "Secret": password.reveal()}).to_string();
                run(helper, "store", &input, Some(password))?;
            }
            // Of `a:b:c`, docker would take `a` for the account.
            Place::File if username.contains(':') => {
                return Err(format!(
                    "{} cannot hold an account with a colon in its name; configure a credential helper",
                    self.file.display()
                ));
            }
            Place::File => {}
        }
        let (entry, stored) = match place {
            // As docker leaves it: that there is a login, and no password.
            Place::Helper(_) | Place::Found(_) => (json!({}), Stored::Safely),
            Place::File => {
                let pair = STANDARD.encode(format!("{username}:{}", password.reveal()));
                (json!({"auth": pair}), Stored::Unencrypted(self.file.clone()))
            }
        };
        let mut config = self.read()?;
        if let Place::Found(helper) = place {
            config.insert(STORE.to_owned(), helper.as_str().into());
        }
        match config.entry(AUTHS).or_insert_with(|| json!({})) {
            Value::Object(auths) => _ = auths.insert(registry.clone(), entry),
            other @ Value::Null => *other = json!({ registry: entry }),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(format!("{}: {AUTHS} is not as docker writes it", self.file.display()));
            }
        }
        self.write(&config)?;
        Ok(stored)
    }

    /// Removes the login of a registry from where docker looks for it.
    ///
    /// # Errors
    /// It is not removed: why.
    pub(super) fn erase(&self, registry: &str, place: &Place) -> Result<(), String> {
        match place {
            Place::Helper(helper) if helper == OURS => KeptLogins::of_this_user()?.forget(registry)?,
            Place::Helper(helper) => run(helper, "erase", registry, None)?,
            Place::Found(_) | Place::File => {}
        }
        let mut config = self.read()?;
        let removed = config.get_mut(AUTHS).and_then(Value::as_object_mut).and_then(|auths| auths.remove(registry));
        if removed.is_some() { self.write(&config) } else { Ok(()) }
    }
}

fn is_in_path(name: &str) -> bool {
    !files_in_path(Path::new(name).as_os_str()).is_empty()
}

/// Runs a helper as docker does: the action is its argument, and what it is about stands on its standard input.
fn run(helper: &str, action: &str, input: &str, secret: Option<&Secret>) -> Result<(), String> {
    let name = format!("{PREFIX}{helper}");
    let told = |error: std::io::Error| format!("{name}: {error}");
    let mut child =
        Command::new(&name).arg(action).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(told)?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ends without reading says why, which is what counts.
        drop(stdin.write_all(input.as_bytes()));
    }
    let output = child.wait_with_output().map_err(told)?;
    if output.status.success() {
        return Ok(());
    }
    // Its message is on standard output. One that repeats the password is not repeated.
    let message = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let message = match secret {
        Some(secret) => message.replace(secret.reveal(), "[secret]"),
        None => message,
    };
    Err(format!("{name} cannot {action}: {}", printable(&message)))
}
