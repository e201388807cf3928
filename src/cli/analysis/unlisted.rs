//! What decides who of the accounts that cannot be listed comes in, and with which labels. Two policies that differ in it may decide
//! differently for them under the same rules, and nobody can say for whom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::policy::pattern::LabelValues;

use crate::backend::{Facts, Row};
use crate::config::Config;
use crate::directory::entry::{App, Group};
use crate::directory::{self, Directory};
use crate::registries::Registry;
use crate::whole_policy::Listed;
use crate::workload;

/// The sections that let in accounts that cannot be listed, and what the directory gives those.
pub(super) struct Strangers {
    rows: Vec<Row>,
    workloads: Option<workload::Settings>,
    given: Option<Given>,
}

/// What the directory gives accounts that cannot be listed.
#[derive(PartialEq)]
struct Given {
    /// Its users among them, with what it gives each by itself.
    users: BTreeMap<String, Option<Arc<LabelValues>>>,
    /// What groups give to whoever is in them by what a login says.
    by_login: Option<ByLogin>,
}

/// What is given for the groups that a login says.
#[derive(PartialEq)]
struct ByLogin {
    label: String,
    groups: BTreeMap<String, Group>,
    apps: BTreeMap<String, App>,
    registries: BTreeMap<String, RegistryRights>,
}

/// What a registry is for whom. Where it is makes no difference to anybody's labels.
#[derive(PartialEq)]
struct RegistryRights {
    is_restricted: bool,
    publications: BTreeSet<String>,
    responsibles: BTreeSet<String>,
}

impl RegistryRights {
    fn of(registry: &Registry) -> RegistryRights {
        RegistryRights {
            is_restricted: registry.restriction.is_restricted(),
            publications: registry.publications.iter().cloned().collect(),
            responsibles: registry.responsibles.iter().cloned().collect(),
        }
    }
}

impl Given {
    /// What this directory gives those who are not listed here.
    fn by(directory: &Directory, listed: &Listed) -> Result<Given, String> {
        let view = directory.view().map_err(|error| format!("{}: {error:#}", directory::NAME))?;
        let users = view.users().iter().map(|user| user.entry.name.as_str());
        let users = users.filter(|name| !listed.accounts.contains_key(*name));
        let by_login = directory.settings().groups_from.clone().map(|label| ByLogin {
            label,
            groups: view.groups().iter().map(|group| (group.entry.name.clone(), group.entry.clone())).collect(),
            apps: view.apps().iter().map(|app| (app.entry.name.clone(), app.entry.clone())).collect(),
            registries: view
                .registries()
                .iter()
                .map(|registry| (registry.service.clone(), RegistryRights::of(registry)))
                .collect(),
        });
        Ok(Given { users: users.map(|name| (name.to_owned(), view.given(name).cloned())).collect(), by_login })
    }
}

impl Strangers {
    /// Those of a configuration: its sections that a login alone tells of, and of those that could be asked, the ones that `is_unlisted`
    /// says could not be listed.
    pub(super) fn of(config: &Config, is_unlisted: impl Fn(&str) -> bool) -> Strangers {
        let is_meant = |row: &&Row| match row.settings.facts() {
            Facts::LoginsElsewhere(_) => true,
            Facts::AccountsElsewhere(_) => is_unlisted(row.kind.key),
            Facts::Accounts(_) | Facts::Rules | Facts::RulesElsewhere | Facts::Decisions => false,
        };
        let rows = config.backends.0.iter().filter(is_meant).cloned().collect();
        Strangers { rows, workloads: config.workload.clone(), given: None }
    }

    /// The same, with what this directory gives those who are not listed.
    pub(super) fn with_directory(self, directory: Option<&Directory>, listed: &Listed) -> Result<Strangers, String> {
        let given = directory.map(|directory| Given::by(directory, listed)).transpose()?;
        Ok(Strangers { given, ..self })
    }

    /// Why nobody can say whether the other lets in the same accounts with the same labels, for each section that differs.
    pub(super) fn differences(&self, other: &Strangers) -> Vec<String> {
        let keys: BTreeSet<&str> = self.rows.iter().chain(&other.rows).map(|row| row.kind.key).collect();
        let is_same = |key: &str| match (self.row(key), other.row(key)) {
            (Some(one), Some(other)) => one.settings.same(&*other.settings),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let workloads = (self.workloads != other.workloads).then_some(workload::NAME);
        let sections = keys.into_iter().filter(|key| !is_same(key)).chain(workloads);
        let mut all: Vec<String> = sections
            .map(|section| format!("who logs in by {section}, and with which labels, may have changed"))
            .collect();
        if self.given != other.given {
            all.push(
                "the labels that directory and registries give to accounts that cannot be listed may have changed"
                    .to_owned(),
            );
        }
        all
    }

    fn row(&self, key: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.kind.key == key)
    }
}
