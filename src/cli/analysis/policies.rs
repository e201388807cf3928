//! The policies that commands look at as a whole: of a file, or of a file as it was in a revision of git.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use ::policy::analysis::{Below, Narrow, Undecided, Unlisted};
use time::OffsetDateTime;

use super::Refused;
use super::unlisted::Strangers;
use crate::authn::Account;
use crate::backend::{Facts, Row};
use crate::cli::explain::{Policy, Sources, moment};
use crate::cli::given::{self, Asks};
use crate::cli::mongo;
use crate::config::Config;
use crate::shown::printable;
use crate::whole_policy::WholePolicy;

// Which questions are meant, where not all are.
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

    /// What is meant in these policies, the last of which says what time it is.
    pub(super) fn within<const N: usize>(&self, policies: [&WholePolicy; N]) -> Result<Narrow, Refused> {
        if let Some(service) = &self.service
            && !policies.iter().any(|policy| policy.knows(service))
        {
            let known: BTreeSet<&String> = policies.iter().flat_map(|policy| &policy.services).collect();
            let known: Vec<String> = known.into_iter().map(|service| format!("\"{}\"", printable(service))).collect();
            return Err(Refused::CommandLine(format!(
                "no token is made for the service \"{}\": token.services has {}",
                printable(service),
                known.join(", ")
            )));
        }
        let now = policies.last().map_or(OffsetDateTime::UNIX_EPOCH, |policy| policy.now);
        Ok(self.narrow(now))
    }
}

/// Reads a policy: a file, `git:REV:PATH`, or standard input.
pub(super) fn read(place: &Path) -> Result<WholePolicy, String> {
    open(given::load(place, Asks::Lists)?)
}

/// Two policies that are compared.
pub(super) struct Both {
    pub(super) old: WholePolicy,
    pub(super) new: WholePolicy,
    /// What makes accounts that cannot be listed another matter in each, whatever the rules say.
    pub(super) undecided: Vec<Undecided>,
}

/// Reads two policies that are compared, which say of each other whether the same sections decide below their rules, and whether the
/// same let in accounts that cannot be listed.
pub(super) fn read_both(old: &Path, new: &Path) -> Result<Both, String> {
    let read = |place| open_with_settings(given::load(place, Asks::Lists)?);
    let ((old, old_settings), (mut new, new_settings)) = (read(old)?, read(new)?);
    let is_same = |(one, other): (&Row, &Row)| one.kind.key == other.kind.key && one.settings.same(&*other.settings);
    let (old_rows, new_rows) = (&old_settings.below, &new_settings.below);
    if old_rows.len() != new_rows.len() || !old_rows.iter().zip(new_rows).all(is_same) {
        new.below = match new.below {
            Below::Nothing => Below::Nothing,
            Below::SomebodyElse(number) => Below::SomebodyElse(number + 1),
        };
    }
    let undecided = match (old.unlisted, new.unlisted) {
        (Unlisted::Nobody, Unlisted::Nobody) => Vec::new(),
        (Unlisted::Anybody, Unlisted::Anybody | Unlisted::Nobody) | (Unlisted::Nobody, Unlisted::Anybody) => {
            let all = old_settings.strangers.differences(&new_settings.strangers).into_iter();
            all.map(|why| Undecided { why: why.into(), rules: Vec::new() }).collect()
        }
    };
    Ok(Both { old, new, undecided })
}

/// The rules of a configuration, and whoever can be listed of those that it lets in.
pub(super) fn open(config: Config) -> Result<WholePolicy, String> {
    open_with_settings(config).map(|(policy, _)| policy)
}

/// What of a configuration cannot be looked into, and is compared by its settings alone.
struct Settings {
    /// The sections that decide below the rules.
    below: Vec<Row>,
    strangers: Strangers,
}

/// The same, with the settings of what cannot be looked into.
fn open_with_settings(mut config: Config) -> Result<(WholePolicy, Settings), String> {
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
    let is_unlisted = |key: &str| {
        elsewhere.contains(key) && !listable.iter().any(|(section, accounts)| *section == key && accounts.is_some())
    };
    let strangers = Strangers::of(&config, is_unlisted);
    let door_services = config.door_services.clone();
    // What is not asked is not opened: a directory would be connected to, and its password may not be on this machine.
    let asked = given::listed(&config);
    config.backends.0.retain(|row| match row.settings.facts() {
        Facts::AccountsElsewhere(_) => asked.contains(row.kind.key),
        Facts::Accounts(_) | Facts::LoginsElsewhere(_) | Facts::Rules | Facts::RulesElsewhere | Facts::Decisions => {
            true
        }
    });
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
    let mut listed = policy.people(accounts.chain(robots.into_iter().map(Some)))?;
    // They log in before all others: whoever is called so is the service.
    for service in policy.services_of_directory()? {
        listed.add(service.name(), &service);
    }
    let unlisted = match policy.strangers.is_empty() && elsewhere.is_empty() {
        true => Unlisted::Nobody,
        false => Unlisted::Anybody,
    };
    let below = if policy.below.is_empty() { Below::Nothing } else { Below::SomebodyElse(0) };
    let strangers = strangers.with_directory(policy.directory(), &listed)?;
    let (lists, services, now) = (policy.lists().collect(), policy.services.clone(), policy.now);
    let whole = WholePolicy { lists, listed, unlisted, services, door_services, below, now };
    Ok((whole, Settings { below: policy.below, strangers }))
}
