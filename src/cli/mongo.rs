//! What the commands on users, rules and records share: the sections of the file, and a runtime to ask in.

use std::path::{Path, PathBuf};

use settings::files::read_text;
use settings::text;

use super::complain;
use crate::authn::mongo::accounts::Accounts;
use crate::authz::mongo::book::RuleBook;
use crate::backend::{Purpose, Row};
use crate::config::{Config, SecretsOf};
use crate::mongo::{NotChanged, Run};
use crate::shown::{counted, printable};
use crate::{authn, authz};

/// The longest text of users or rules that standard input may hold, in bytes.
const LONGEST_INPUT: u64 = 32 * 1024 * 1024;

/// Reads the configuration for a command that asks its backends.
pub(super) fn load(file: PathBuf) -> Result<Config, String> {
    super::source(file).load(SecretsOf::backends()).map(Config::patient).map_err(|invalid| invalid.to_string())
}

// Which file, and which of its sections.
#[derive(clap::Args)]
pub(super) struct Place {
    /// The configuration file
    config: PathBuf,
    /// The section that is meant, if the file has more than one that commands can change
    #[arg(long, value_name = "SECTION")]
    section: Option<String>,
}

/// Reads the configuration for a command that changes one section of it; of the others of its purpose, none is left.
pub(super) fn load_one(place: Place, purpose: Purpose) -> Result<Config, String> {
    let mut config = load(place.config)?;
    if let Some(section) = place.section {
        let is_meant = |row: &Row| row.kind.key == section && row.kind.purpose == purpose;
        if !config.backends.0.iter().any(is_meant) {
            let file = config.file.display();
            return Err(format!(
                "{file}: there is no such section in it that this command could change: {}",
                printable(&section)
            ));
        }
        config.backends.0.retain(|row| row.kind.purpose != purpose || is_meant(row));
    }
    Ok(config)
}

/// The users that commands change, and their section.
pub(super) fn users(config: &Config) -> Result<(&'static str, Accounts), String> {
    only(config, all_users(config), "users")
}

/// The sections that can list their users, besides those whose accounts are in a file.
pub(super) const LISTED: [&str; 3] = [authn::mongo::KIND.key, authn::sql::KIND.key, authn::records::KIND.key];

/// The users of each section that can list them.
pub(super) fn all_users(config: &Config) -> [(&'static str, Option<Accounts>); 3] {
    let backends = &config.backends;
    let in_mongo = backends.get().map(Accounts::open);
    let in_table = backends.get::<authn::sql::XormAuthSettings>();
    let in_table = in_table.map(|settings| Accounts::in_table(settings.database(), settings.label_values()));
    let in_records = backends.get::<authn::records::RecordsAuthSettings>().zip(config.records.as_ref());
    let in_records = in_records.map(|(settings, store)| Accounts::in_records(store, settings.label_values()));
    let [mongo, table, records] = LISTED;
    [(mongo, in_mongo), (table, in_table), (records, in_records)]
}

/// The rules that commands change, and their section.
pub(super) fn rules(config: &Config) -> Result<(&'static str, RuleBook), String> {
    let backends = &config.backends;
    let in_mongo = backends.get().map(RuleBook::open);
    let in_table = backends.get::<authz::sql::AclXormSettings>();
    let in_table = in_table.map(|settings| RuleBook::in_table(settings.database()));
    let in_records = backends.get::<authz::records::AclRecordsSettings>().and(config.records.as_ref());
    let sections = [
        (authz::mongo::KIND.key, in_mongo),
        (authz::sql::KIND.key, in_table),
        (authz::records::KIND.key, in_records.map(RuleBook::in_records)),
    ];
    only(config, sections, "rules")
}

/// The one of these sections that the file has.
fn only<T>(config: &Config, sections: [(&'static str, Option<T>); 3], what: &str) -> Result<(&'static str, T), String> {
    let file = config.file.display();
    let keys = sections.each_ref().map(|(key, _)| *key);
    let mut found = sections.into_iter().filter_map(|(key, opened)| Some((key, opened?)));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some((first, _)), Some((second, _))) => {
            Err(format!("{file}: it has both {first} and {second}; say which is meant: --section {second}"))
        }
        (None, _) => {
            let [first, second, third] = keys;
            Err(format!(
                "{file}: there is neither {first} nor {second} nor {third} in it, so its {what} are not in MongoDB, SQL or \
                 the records"
            ))
        }
    }
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
        (changes, Run::Dry) => format!("{} would change; nothing was changed\n", counted(changes, thing)),
        (changes, Run::Real) => format!("{} changed\n", counted(changes, thing)),
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
