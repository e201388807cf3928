//! What the directory is made of: groups, users, apps and services, whether the file has them or the records.

use std::collections::BTreeSet;

use crate::authn::Account;
use crate::authn::password::PasswordHash;
use crate::registries::Registries;

/// The group that everybody in the directory is in, services too. It is nobody's to declare, and has no id.
pub const EVERYBODY: &str = "everybody";
/// So many secrets a service may have at once: the new one is handed out while the old one still works.
pub const MOST_SECRETS: usize = 2;
/// The highest id, which every store can keep.
const HIGHEST_ID: u64 = i64::MAX.unsigned_abs();

/// What somebody may do beside what their groups give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privilege {
    /// To pull from what is published to them.
    Puller,
    /// To push.
    Pusher,
    /// To declare registries, and to manage those that a group of theirs is responsible for.
    Manager,
}

impl Privilege {
    /// All of them.
    pub const ALL: [Privilege; 3] = [Privilege::Puller, Privilege::Pusher, Privilege::Manager];

    /// Its name, as the value of the label `privilege` too.
    pub fn as_str(self) -> &'static str {
        match self {
            Privilege::Puller => "puller",
            Privilege::Pusher => "pusher",
            Privilege::Manager => "manager",
        }
    }

    /// The name that OpenSVC's collector has for it.
    pub fn long_name(self) -> &'static str {
        match self {
            Privilege::Puller => "DockerRegistriesPuller",
            Privilege::Pusher => "DockerRegistriesPusher",
            Privilege::Manager => "DockerRegistriesManager",
        }
    }

    /// The privilege of this name, either of the two.
    pub fn parse(text: &str) -> Option<Privilege> {
        Privilege::ALL.into_iter().find(|own| own.as_str() == text || own.long_name() == text)
    }
}

/// A group.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its id, which no other group has.
    pub id: u64,
    /// What all of its members may do.
    pub privileges: BTreeSet<Privilege>,
}

/// A user: whoever logs in under that name, by any backend.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// The account, as its backend spells it.
    pub name: Account,
    /// The id, which no other user has.
    pub id: u64,
    /// The groups, by name or id.
    pub groups: Vec<String>,
    /// What the user may do beside what the groups give.
    pub privileges: BTreeSet<Privilege>,
    /// The group that is responsible for what the user declares; `None` for the first of the groups.
    pub primary_group: Option<String>,
    /// How many registries the user may have declared; `None` for any number.
    pub quota: Option<u32>,
}

/// An app, which services belong to.
#[derive(Clone, Debug, PartialEq)]
pub struct App {
    /// Its code.
    pub name: String,
    /// Its id, which no other app has.
    pub id: u64,
    /// The groups, by name or id, that are responsible for it.
    pub responsibles: Vec<String>,
    /// The groups, by name or id, that it is published to.
    pub publications: Vec<String>,
}

/// A service, which logs in by secrets of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The account, `PATH@NODE`.
    pub name: Account,
    /// The app that it belongs to, by code or id.
    pub app: String,
    /// The hashes of its secrets, where the file has them.
    pub secrets: Vec<PasswordHash>,
    /// What tells it from another of its name that was there before; empty in the file.
    pub made: String,
}

/// All that one place has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entries {
    /// The groups.
    pub groups: Vec<Group>,
    /// The users.
    pub users: Vec<User>,
    /// The apps.
    pub apps: Vec<App>,
    /// The services.
    pub services: Vec<Service>,
    /// The registries.
    pub registries: Registries,
    /// The accounts that the file itself has, in lower case: no service of the records takes one over.
    pub accounts: BTreeSet<String>,
}

/// What has an id and a name, either of which names it.
pub trait Named {
    /// What it is called.
    fn name(&self) -> &str;
    /// Its id.
    fn id(&self) -> u64;
}

macro_rules! named {
    ($($kind:ty),*) => {
        $(impl Named for $kind {
            fn name(&self) -> &str {
                &self.name
            }

            fn id(&self) -> u64 {
                self.id
            }
        })*
    };
}
named!(Group, User, App);

/// Whether a group is the one that everybody is in, however it is spelled.
pub fn is_everybody(group: &str) -> bool {
    group.eq_ignore_ascii_case(EVERYBODY)
}

/// Reads an id: a number from 1 on, written as it is printed.
pub fn id_of(text: &str) -> Option<u64> {
    text.parse().ok().filter(|id| (1..=HIGHEST_ID).contains(id) && id.to_string() == text)
}

/// Whether a text is the account of a service: `PATH@NODE`.
pub fn is_service(account: &str) -> bool {
    let has_both = account.rsplit_once('@').is_some_and(|(path, node)| !path.is_empty() && !node.is_empty());
    has_both && !account.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_in_one_way() {
        for (text, expected) in [
            ("1", Some(1)),
            ("20", Some(20)),
            ("0", None),
            ("01", None),
            ("+1", None),
            ("-1", None),
            ("9223372036854775808", None),
        ] {
            assert_eq!(id_of(text), expected, "{text}");
        }
    }
}
