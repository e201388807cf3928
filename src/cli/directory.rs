//! `dockwarden directory`: the directory in the records, brought in from elsewhere.

use std::path::{Path, PathBuf};

use super::{DONE, FAILED, account, complain, members, mongo, say};
use crate::config::Config;
use crate::directory::changing::NotChanged;
use crate::directory::import::tables::Tables;
use crate::directory::import::{Import, from_opensvc};
use crate::directory::{Directory, Planned};
use crate::management::{MemberKind, plan};
use crate::mongo::Run;
use crate::shown::printable;

/// Bring in the directory: groups, users, apps, services and registries
#[derive(clap::Subcommand)]
#[command(defer = true)]
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
                Ok((config, import)) => {
                    mongo::run(bring_in(config, import, if dry_run { Run::Dry } else { Run::Real }))
                }
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

/// Brings all in, or nothing: of what is half there, nobody could say whose it is that an id names.
async fn bring_in(config: Config, import: Import, run: Run) -> Result<u8, String> {
    let file = file_of(&config.file);
    let access = account::backends(&config)?;
    let mut settings = config
        .directory
        .ok_or_else(|| format!("{file}: there is no directory: section in it; write directory: {{}}"))?;
    let store = settings.store.clone().ok_or_else(|| format!("{file}: {}", NotChanged::NoRecords))?;
    // Whoever only looks must not make the records.
    if run == Run::Dry && store.is_unmade() {
        settings.store = None;
    }
    let directory = Directory::open(settings).map_err(|error| format!("{error:#}"))?;
    let planned = plan(&access, &directory, &import.entries).await.map_err(|failure| format!("{file}: {failure}"))?;
    let (mut text, mut refused, mut new) = (String::new(), 0_usize, Vec::new());
    for (entry, (at, planned)) in import.entries.iter().zip(&planned) {
        let at = printable(&at.to_string());
        match planned {
            Planned::New => {
                text.push_str(&format!("+ {at}\n"));
                new.push(entry.clone());
            }
            Planned::Same => text.push_str(&format!("= {at}\n")),
            Planned::Refused(cause) => {
                refused = refused.saturating_add(1);
                text.push_str(&format!("! {at}: {}\n", printable(&cause.to_string())));
            }
        }
    }
    let report = told(&import);
    if refused > 0 {
        let all =
            format!("nothing is brought in: {refused} of these cannot be (!); change them there, or what is here\n");
        return Ok(say(&(text + &report + &all), FAILED));
    }
    if run == Run::Dry {
        return Ok(say(&(text + &report), DONE));
    }
    let made = directory.make_all(new).await.map_err(|failure| format!("{file}: {failure}"))?;
    let not_made = made.into_iter().filter_map(|(at, made)| Some((at, made.err()?)));
    // Somebody else made something meanwhile.
    let not_made: String = not_made
        .map(|(at, cause)| format!("! {}: {}\n", printable(&at.to_string()), printable(&cause.to_string())))
        .collect();
    let status = if not_made.is_empty() { DONE } else { FAILED };
    Ok(say(&(text + &not_made + &report), status))
}

fn file_of(file: &Path) -> String {
    printable(&file.display().to_string())
}

/// What is left out, and who gains or loses what.
fn told(import: &Import) -> String {
    let left_out = import.left_out.iter().map(|line| format!("left out: {}\n", printable(line)));
    let remarks = import.remarks.iter().map(|line| format!("note: {}\n", printable(line)));
    let changes = import.changes.iter().map(|line| format!("changes: {}\n", printable(line)));
    left_out.chain(remarks).chain(changes).collect()
}
