//! `dockwarden records`: what the server remembers, saved in a file and restored from one.

use std::path::PathBuf;

use time::OffsetDateTime;

use super::{DONE, mongo, say};
use crate::records::{Restored, Settings, back_up, restore};
use crate::shown::counted;

/// Save and restore what the server remembers
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    /// Save all records in a new file, while the server runs
    Backup {
        /// The configuration file
        config: PathBuf,
        /// The new file, of SQLite whatever the store is
        file: PathBuf,
    },
    /// Replace all records with a backup; every secret that was handed out ends
    Restore {
        /// The configuration file
        config: PathBuf,
        /// The backup, of this store or another
        file: PathBuf,
    },
}

/// Runs the command.
pub(super) fn run(command: Command) -> u8 {
    mongo::run(async move {
        match command {
            Command::Backup { config, file } => {
                let settings = settings(config)?;
                back_up(&settings, &file).await.map_err(|error| error.to_string())?;
                Ok(say(&format!("{} is saved in {}\n", settings.place(), file.display()), DONE))
            }
            Command::Restore { config, file } => {
                let settings = settings(config)?;
                #[expect(clippy::disallowed_methods, reason = "the command is run at this moment")]
                let now = OffsetDateTime::now_utc();
                let restored = restore(&settings, &file, now).await.map_err(|error| error.to_string())?;
                Ok(say(&told(restored, &settings, &file), DONE))
            }
        }
    })
}

fn told(restored: Restored, settings: &Settings, file: &std::path::Path) -> String {
    let Restored { secrets, robots, users, rules } = restored;
    format!(
        "{} holds what was saved in {}: {}, {}, {}, {}\n\
         EVERY SECRET HAS ENDED: none that was handed out before works any more, since it may have been revoked after the \
         backup.\nPeople log in again; robots and programs need new secrets.\n",
        settings.place(),
        file.display(),
        counted(secrets, "secret"),
        counted(robots, "robot"),
        counted(users, "user"),
        counted(rules, "rule")
    )
}

fn settings(file: PathBuf) -> Result<Settings, String> {
    let config = mongo::load(file)?;
    config.records.ok_or_else(|| {
        format!(
            "{}: there is no records section in it, and nothing is remembered; write records: {{}}",
            config.file.display()
        )
    })
}
