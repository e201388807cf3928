//! `dockwarden directory`: the directory in the records, brought in from elsewhere.

use std::path::{Path, PathBuf};

use super::{DONE, complain, members, mongo, say};
use crate::config::Config;
use crate::directory::Directory;
use crate::directory::import::tables::Tables;
use crate::directory::import::{Import, from_opensvc};
use crate::management::MemberKind;
use crate::shown::printable;

/// Bring in the directory: groups, users, apps, services and registries
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List and change the users of the directory: who is in which groups. `dockwarden user` changes who can log in
    #[command(subcommand)]
    User(members::Command),
    /// Import the tables of OpenSVC's collector into the records, and say who gains or loses what
    // The list of files takes all that stands behind it.
    #[command(override_usage = "dockwarden directory import [--dry-run] <CONFIG> --opensvc <FILE>...")]
    Import {
        /// The configuration file
        config: PathBuf,
        /// Dumps of MySQL or MariaDB (.sql), or files of comma-separated values that are called as their tables (apps.csv)
        #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
        opensvc: Vec<PathBuf>,
        /// Print what would be made, and make nothing
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs the command.
pub(super) fn run(command: Command) -> u8 {
    match command {
        Command::User(command) => members::run(MemberKind::User, command),
        Command::Import { config, opensvc, dry_run } => {
            let read = mongo::load(config).and_then(|config| Ok((config, import_of(&opensvc)?)));
            match read {
                Err(message) => complain(&format!("dockwarden: {message}")),
                Ok((_, import)) if dry_run => {
                    let made: String = import
                        .entries
                        .iter()
                        .map(|entry| format!("+ {}\n", printable(&entry.at().to_string())))
                        .collect();
                    say(&(made + &told(&import)), DONE)
                }
                Ok((config, import)) => mongo::run(make(config, import)),
            }
        }
    }
}

/// What the files hold.
fn import_of(files: &[PathBuf]) -> Result<Import, String> {
    let mut tables = Tables::default();
    for file in files {
        let shown = file_of(file);
        let text = std::fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
        let added = match (
            file.extension().and_then(|ending| ending.to_str()),
            file.file_stem().and_then(|stem| stem.to_str()),
        ) {
            (Some("csv"), Some(table)) => tables.add_csv(table, &text),
            (_, _) => tables.add_dump(&text),
        };
        added.map_err(|message| format!("{shown}: {}", printable(&message)))?;
    }
    from_opensvc(&tables)
}

async fn make(config: Config, import: Import) -> Result<u8, String> {
    let file = file_of(&config.file);
    let settings = config
        .directory
        .ok_or_else(|| format!("{file}: there is no directory: section in it; write directory: {{}}"))?;
    let directory = Directory::open(settings).map_err(|error| format!("{error:#}"))?;
    let report = told(&import);
    let made = directory.make_all(import.entries).await.map_err(|failure| format!("{file}: {failure}"))?;
    let (mut text, mut failed) = (String::new(), 0_usize);
    for (at, made) in made {
        let at = printable(&at.to_string());
        match made {
            Ok(()) => text.push_str(&format!("+ {at}\n")),
            Err(refused) => {
                failed = failed.saturating_add(1);
                text.push_str(&format!("! {at}: {}\n", printable(&refused.to_string())));
            }
        }
    }
    Ok(say(&(text + &report), if failed == 0 { DONE } else { 1 }))
}

fn file_of(file: &Path) -> String {
    printable(&file.display().to_string())
}

/// What is left out, and who gains or loses what.
fn told(import: &Import) -> String {
    let left_out = import.left_out.iter().map(|line| format!("left out: {}\n", printable(line)));
    let changes = import.changes.iter().map(|line| format!("changes: {}\n", printable(line)));
    left_out.chain(changes).collect()
}
