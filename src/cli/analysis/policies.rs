//! The policies that commands look at as a whole: of a file, or of a file as it was in a revision of git.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use ::policy::analysis::{Below, Narrow, Unlisted};
use settings::text;
use time::OffsetDateTime;

use crate::authn::Account;
use crate::backend::Facts;
use crate::cli::explain::{Policy, Sources, is_elsewhere, moment};
use crate::cli::mongo;
use crate::config::{Config, Secrets};
use crate::shown::printable;
use crate::whole_policy::WholePolicy;

/// Which questions are meant, where not all are.
#[derive(clap::Args, Default)]
pub(super) struct Only {
    /// Only for this service
    #[arg(long)]
    service: Option<String>,
    /// Only from this address
    #[arg(long)]
    ip: Option<IpAddr>,
    /// Only at this moment, such as 2027-01-31 or 2027-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    at: Option<OffsetDateTime>,
}

impl Only {
    pub(super) fn narrow(&self, from: OffsetDateTime) -> Narrow {
        Narrow { service: self.service.clone(), address: self.ip, at: self.at, from }
    }
}

/// Reads a policy: a file, or `git:REV:PATH`.
pub(super) fn read(place: &str) -> Result<WholePolicy, String> {
    let config = match place.strip_prefix("git:") {
        Some(rest) => {
            let (revision, path) = rest.split_once(':').ok_or("a file of git is written git:REV:PATH")?;
            committed(revision, path)?
        }
        None => load(Path::new(place))?,
    };
    open(config)
}

/// The rules of a configuration, and whoever can be listed of those that it lets in.
pub(super) fn open(config: Config) -> Result<WholePolicy, String> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    let mut elsewhere = BTreeSet::new();
    for (section, facts) in config.backends.facts() {
        match facts {
            Facts::Accounts(accounts) => names.extend(accounts.into_iter().map(|(name, _)| name.to_owned())),
            Facts::AccountsElsewhere(_) => _ = elsewhere.insert(section),
            Facts::LoginsElsewhere(_) | Facts::Rules | Facts::RulesElsewhere | Facts::Decisions => {}
        }
    }
    let listable = mongo::all_users(&config);
    let mut policy = Policy::read(config, Sources::All)?;
    for (section, accounts) in listable {
        let Some(accounts) = accounts.filter(|_| elsewhere.remove(section)) else { continue };
        let listed = policy.wait(accounts.list()).map_err(mongo::plain)?;
        names.extend(listed.into_iter().map(|account| account.name));
    }
    names.insert(String::new());
    // Whatever is called as no account can be was never let in.
    let accounts = names.iter().filter_map(|name| Account::parse_or_anonymous(name).ok());
    let robots = policy.robots()?;
    let listed = policy.people(accounts.chain(robots.into_iter().map(Some)))?;
    let unlisted = match policy.strangers.is_empty() && elsewhere.is_empty() {
        true => Unlisted::Nobody,
        false => Unlisted::Anybody,
    };
    let below = if policy.deciders.is_empty() { Below::Nothing } else { Below::SomebodyElse };
    let (lists, services, now) = (policy.lists().collect(), policy.services.clone(), policy.now);
    Ok(WholePolicy { lists, listed, unlisted, services, below, now })
}

/// Reads a configuration file; passwords only where somebody has to be asked.
pub(super) fn load(file: &Path) -> Result<Config, String> {
    let source = crate::cli::source(file.to_owned());
    let loaded = match source.load(Secrets::Skip) {
        Ok(config) if asks_nobody(&config) => Ok(config),
        Ok(_) => source.load_backends(),
        Err(invalid) => Err(invalid),
    };
    loaded.map_err(|invalid| invalid.to_string())
}

/// Reads a configuration whose text is not the one that is in the file.
pub(super) fn load_text(file: &Path, text: &str, told: &Path) -> Result<Config, String> {
    let read = |secrets| {
        let variables = crate::cli::source(file.to_owned()).variables;
        Config::read(file, text, variables, secrets).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(|problem| problem.in_file(told)).collect();
            lines.join("\n")
        })
    };
    match read(Secrets::Skip)? {
        config if asks_nobody(&config) => Ok(config),
        _ => read(Secrets::Read),
    }
}

fn asks_nobody(config: &Config) -> bool {
    !config.backends.facts().any(|(_, facts)| is_elsewhere(&facts))
}

/// The configuration as a revision has it. What it names besides (files of users, keys) is read as it is now.
fn committed(revision: &str, path: &str) -> Result<Config, String> {
    let told = format!("git:{revision}:{path}");
    // A revision is never an option.
    if revision.is_empty() || revision.starts_with('-') || path.is_empty() {
        return Err(format!("{} is no file of git: write git:REV:PATH", printable(&told)));
    }
    let file = Path::new(path);
    let within = if file.is_absolute() { path.to_owned() } else { format!("./{path}") };
    let shown = Command::new("git").arg("show").arg(format!("{revision}:{within}")).output();
    let shown = shown.map_err(|error| format!("git cannot be run: {error}"))?;
    if !shown.status.success() {
        let why = String::from_utf8_lossy(&shown.stderr);
        return Err(format!("{}: git does not show it: {}", printable(&told), printable(why.trim())));
    }
    let text = text::decode(shown.stdout).map_err(|wrong| format!("{}: {wrong}", printable(&told)))?;
    load_text(file, &text, Path::new(&told))
}
