//! What the commands on MongoDB share: the sections of the file, and a runtime to ask in.

use std::path::{Path, PathBuf};

use settings::files::read_text;
use settings::text;

use super::complain;
use crate::config::Config;
use crate::mongo::{NotChanged, Run};
use crate::{authn, authz};

/// The longest text of users or rules that standard input may hold, in bytes.
const LONGEST_INPUT: u64 = 32 * 1024 * 1024;

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

/// What is to be imported, and its name for messages: a file, or all of standard input ("-"). A part of what is longer would
/// not do: rules that nobody sees are missing could be those that forbid.
pub(super) fn input(file: &Path) -> Result<(&Path, String), String> {
    match file.as_os_str() == "-" {
        true => Ok((Path::new("standard input"), text::read(std::io::stdin(), "standard input", LONGEST_INPUT)?)),
        false => Ok((file, read_text(file)?)),
    }
}

/// What an import changed, or would change.
pub(super) fn summary(changes: usize, thing: &str, run: Run) -> String {
    match (changes, run) {
        (0, _) => "nothing changes\n".to_owned(),
        (changes, Run::Dry) => format!("{changes} {thing}(s) would change; nothing was changed\n"),
        (changes, Run::Real) => format!("{changes} {thing}(s) changed\n"),
    }
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
