//! The logins that this program keeps for docker, as its credential helper: a file for each registry, which only its owner reads.
//!
//! Not in a keyring of the desktop: docker has helpers of its own for those, which `dockwarden login` stores with where they are
//! configured. This one is for machines without a desktop, and knows when a password ended.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::json;
use crate::keys::replace_private;
use crate::secret::Secret;

/// A login.
#[derive(Clone)]
pub(in crate::cli) struct KeptLogin {
    /// The registry, as docker called it.
    pub(in crate::cli) server: String,
    pub(in crate::cli) username: String,
    pub(in crate::cli) password: Secret,
    /// When the password ends, where that is known.
    pub(in crate::cli) ends: Option<OffsetDateTime>,
}

/// The same in its file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    server: String,
    username: String,
    password: String,
    /// In seconds since 1970.
    ends: Option<i64>,
}

/// Where they are.
pub(in crate::cli) struct KeptLogins {
    directory: PathBuf,
}

impl KeptLogins {
    /// Those of whoever runs this program. They are state and no configuration: passwords are for one machine, and must not go with
    /// it to others.
    ///
    /// # Errors
    /// Neither `XDG_STATE_HOME` nor `HOME` is set.
    pub(in crate::cli) fn of_this_user() -> Result<KeptLogins, String> {
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        let state = state.ok_or("HOME is not set: nobody knows where logins are kept")?;
        Ok(KeptLogins::in_directory(state.join("dockwarden/logins")))
    }

    pub(in crate::cli) fn in_directory(directory: PathBuf) -> KeptLogins {
        KeptLogins { directory }
    }

    /// The login of a registry.
    ///
    /// # Errors
    /// Its file cannot be read.
    pub(in crate::cli) fn find(&self, server: &str) -> Result<Option<KeptLogin>, String> {
        read(&self.file(server))
    }

    /// Keeps a login in place of what was there of its registry.
    ///
    /// # Errors
    /// Its file cannot be written.
    pub(in crate::cli) fn keep(&self, login: &KeptLogin) -> Result<(), String> {
        let document = Document {
            server: login.server.clone(),
            username: login.username.clone(),
            password: login.password.reveal().to_owned(),
            ends: login.ends.map(OffsetDateTime::unix_timestamp),
        };
        let file = self.file(&login.server);
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let text = serde_json::to_vec(&document).map_err(|error| told(&error))?;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(|error| told(&error))?;
        replace_private(&file, &text).map_err(|error| told(&error))
    }

    /// Forgets the login of a registry, if there is one.
    ///
    /// # Errors
    /// Its file cannot be removed.
    pub(in crate::cli) fn forget(&self, server: &str) -> Result<(), String> {
        let file = self.file(server);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(format!("{}: {error}", file.display())),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// All logins.
    ///
    /// # Errors
    /// The directory or one of the files cannot be read.
    pub(in crate::cli) fn all(&self) -> Result<Vec<KeptLogin>, String> {
        let told = |error: std::io::Error| format!("{}: {error}", self.directory.display());
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(told)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(told)?.path();
            // Not the drafts of files that are being written.
            if path.extension().is_some_and(|extension| extension == "json") {
                all.extend(read(&path)?);
            }
        }
        Ok(all)
    }

    /// One of its own for each host, and for nothing else: what a path would mean is encoded.
    fn file(&self, server: &str) -> PathBuf {
        let name: String = form_urlencoded::byte_serialize(host_of(server).to_ascii_lowercase().as_bytes()).collect();
        self.directory.join(format!("{name}.json"))
    }
}

/// The day on which a password ends.
pub(in crate::cli) fn day(ends: OffsetDateTime) -> String {
    ends.format(format_description!("[year]-[month]-[day]")).unwrap_or_default()
}

/// The host of what docker calls a registry: an address, or a host alone.
pub(in crate::cli) fn host_of(server: &str) -> &str {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest);
    host.split('/').next().unwrap_or_default()
}

fn read(file: &Path) -> Result<Option<KeptLogin>, String> {
    let text = match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|error| format!("{}: {error}", file.display()))?,
    };
    // Without the reader's words, which quote the text.
    let document: Document = json::object(&text)
        .map_err(|_| format!("{}: this is not as dockwarden writes it; remove it", file.display()))?;
    let Document { server, username, password, ends } = document;
    let ends = ends.and_then(|ends| OffsetDateTime::from_unix_timestamp(ends).ok());
    Ok(Some(KeptLogin { server, username, password: Secret::new(password), ends }))
}
