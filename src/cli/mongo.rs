//! What the commands on MongoDB share: the sections of the file, and a runtime to ask in.

use std::path::PathBuf;

use super::complain;
use crate::config::Config;
use crate::mongo::NotChanged;
use crate::{authn, authz};

/// Reads the configuration for a command that asks its backends.
pub(super) fn load(file: PathBuf) -> Result<Config, String> {
    super::source(file).load_backends().map_err(|invalid| invalid.to_string())
}

/// Where users are in MongoDB.
pub(super) fn users(config: &Config) -> Result<&authn::mongo::MongoAuthSettings, String> {
    config.backends.get().ok_or_else(|| {
        let key = authn::mongo::KIND.key;
        format!("{}: there is no {key} in it, so its users are not in MongoDB", config.file.display())
    })
}

/// Where rules are in MongoDB.
pub(super) fn rules(config: &Config) -> Result<&authz::mongo::AclMongoSettings, String> {
    config.backends.get().ok_or_else(|| {
        let key = authz::mongo::KIND.key;
        format!("{}: there is no {key} in it, so its rules are not in MongoDB", config.file.display())
    })
}

/// Does what a command does, and gives its exit status.
pub(super) fn run(work: impl Future<Output = Result<u8, String>>) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("dockwarden: {error}")),
    };
    runtime.block_on(work).unwrap_or_else(|message| complain(&format!("dockwarden: {message}")))
}

/// Why nothing was changed, as it is printed.
pub(super) fn plain(reason: NotChanged) -> String {
    reason.to_string()
}
