//! What may be done with registries and with what the directory has: the names and words of rules of type `dockwarden`.
//!
//! | Name | Actions | Whom the standard rules of OpenSVC give them |
//! |---|---|---|
//! | `registries` | create | managers |
//! | `registries/SERVICE` | list, show, change, delete, sweep | managers, where a group of theirs is responsible for it |
//! | `registries/SERVICE` | list, show | whom it is published to |
//! | `descriptions/SERVICE` | describe | pushers; what they describe they must be allowed to push, too, by the rules for it |
//! | `pulls/SERVICE` | list | managers, as above |
//! | `overview` | show | nobody |
//! | `users/ID`, `groups/ID`, `apps/ID`, `services/ACCOUNT` | list, show, create, change, delete | to list and show themselves, their groups, and the apps that are published to them |
//!
//! Users, groups and apps are named by their ids. Deleting a tag or a repository is `delete` on the repository itself.

use std::sync::LazyLock;

use policy::scope::Action;

/// All registries, for whoever declares one; `registries/SERVICE` is one of them.
pub const REGISTRIES: &str = "registries";
/// `descriptions/SERVICE`: what is said of the repositories of a registry.
pub const DESCRIPTIONS: &str = "descriptions";
/// `pulls/SERVICE`: who pulled what from a registry.
pub const PULLS: &str = "pulls";

/// How the server is, and what it decided last.
pub const OVERVIEW: &str = "overview";

/// Something that is managed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managed<'name> {
    /// A registry that is about to be declared.
    Registries,
    /// This registry.
    Registry(&'name str),
    /// What is said of the repositories of this registry.
    Descriptions(&'name str),
    /// Who pulled what from this registry.
    Pulls(&'name str),
    /// The group of this id.
    Group(u64),
    /// The app of this id.
    App(u64),
    /// The user of this id.
    User(u64),
    /// The service of this account.
    Service(&'name str),
}

impl Managed<'_> {
    /// The name that rules match, of type `dockwarden`.
    pub fn name(self) -> String {
        match self {
            Managed::Registries => REGISTRIES.to_owned(),
            Managed::Registry(service) => format!("{REGISTRIES}/{service}"),
            Managed::Descriptions(service) => format!("{DESCRIPTIONS}/{service}"),
            Managed::Pulls(service) => format!("{PULLS}/{service}"),
            Managed::Group(id) => format!("groups/{id}"),
            Managed::App(id) => format!("apps/{id}"),
            Managed::User(id) => format!("users/{id}"),
            Managed::Service(account) => format!("services/{account}"),
        }
    }
}

/// Something that is done with what is [`Managed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagedAction {
    /// To see which there are.
    List,
    /// To see one.
    Show,
    /// To make one.
    Create,
    /// To change one.
    Change,
    /// To remove one.
    Delete,
    /// To look what is in a registry.
    Sweep,
    /// To say what a repository is.
    Describe,
}

impl ManagedAction {
    /// All of them.
    pub const ALL: [ManagedAction; 7] = [
        ManagedAction::List,
        ManagedAction::Show,
        ManagedAction::Create,
        ManagedAction::Change,
        ManagedAction::Delete,
        ManagedAction::Sweep,
        ManagedAction::Describe,
    ];

    /// Its word in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            ManagedAction::List => "list",
            ManagedAction::Show => "show",
            ManagedAction::Create => "create",
            ManagedAction::Change => "change",
            ManagedAction::Delete => "delete",
            ManagedAction::Sweep => "sweep",
            ManagedAction::Describe => "describe",
        }
    }

    /// The action that is asked for.
    pub fn action(self) -> Action {
        match self {
            ManagedAction::Delete => Action::Delete,
            ManagedAction::List
            | ManagedAction::Show
            | ManagedAction::Create
            | ManagedAction::Change
            | ManagedAction::Sweep
            | ManagedAction::Describe => Action::Other(self.as_str().into()),
        }
    }

    /// The actions of all of them.
    pub fn actions() -> &'static [Action] {
        static ACTIONS: LazyLock<Vec<Action>> =
            LazyLock::new(|| ManagedAction::ALL.into_iter().map(ManagedAction::action).collect());
        &ACTIONS
    }
}
