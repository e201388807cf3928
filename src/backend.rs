//! The contract of a backend: its row in the table, its section of the file, and what that section opens.
//!
//! No backend is known here; the table of all of them is in `backends.rs`. What an opened one owes is in
//! [`Authenticator`], [`Authorizer`] and [`Reachable`](crate::reach::Reachable).

mod identities;
pub mod rules;
pub mod sign_in;
pub mod work;

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use anyhow::Context as _;
use policy::pattern::LabelValues;
use settings::Field;

use crate::passwords::attempts::Manner;
use crate::passwords::password::Passwords;
use crate::reach::{Reach, Reached};
use crate::records;
use crate::secret::sealing::SealingKey;

pub use identities::Authenticator;
pub use rules::Authorizer;
pub use sign_in::SignIn;

/// One kind of backend: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its section of the file, which is also its name in logs and metrics.
    pub key: &'static str,
    /// What it is for.
    pub purpose: Purpose,
    /// Reads its section. `None` where there is nothing to open: the section is empty, or wrong, which is noted then.
    pub read: fn(Field<'_>) -> Option<Arc<dyn Configured>>,
}

/// What a backend is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It says who somebody is.
    Identity,
    /// It says what somebody may do.
    Rules,
}

/// A backend's section of the file: typed, and not opened. A reload that finds [the same](Same) keeps what was opened, so all
/// that was read from files has to be in it. [`Same`] comes with `PartialEq`.
pub trait Configured: Same + Any + Debug + Send + Sync {
    /// Makes the backend ready; it may begin to connect in the background.
    ///
    /// # Errors
    /// A local prerequisite is missing, such as random bytes. A server that does not answer is not an error here.
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened>;

    /// What the section tells without being opened.
    fn facts(&self) -> Facts<'_>;

    /// The same section of a file whose sign-ins have this key; `None` for all where nobody signs in in a browser.
    fn sealed_with(&self, _key: &SealingKey) -> Option<Arc<dyn Configured>> {
        None
    }

    /// The same section of a file whose records are in this store; `None` for all that keep nothing in the records.
    fn kept_in(&self, _store: &records::Settings) -> Option<Arc<dyn Configured>> {
        None
    }
}

/// What [`Kind::read`] returns, of a section that was read.
pub fn configured<T: Configured>(settings: Option<T>) -> Option<Arc<dyn Configured>> {
    settings.map(|settings| Arc::new(settings) as Arc<dyn Configured>)
}

/// Equality of sections of any kind. Derive `PartialEq`, and it is there.
pub trait Same {
    /// Whether both are of one type, and equal.
    fn same(&self, other: &dyn Configured) -> bool;
}

impl<T: Configured + PartialEq> Same for T {
    fn same(&self, other: &dyn Configured) -> bool {
        (other as &dyn Any).downcast_ref() == Some(self)
    }
}

/// What a section tells without being opened: for `check` and `explain`.
#[derive(Clone, Debug, PartialEq)]
pub enum Facts<'settings> {
    /// These accounts and no others, with their labels; the account `""` is every client without one.
    Accounts(Vec<(&'settings str, &'settings LabelValues)>),
    /// Accounts that are kept elsewhere, and can be looked up: where, for messages.
    AccountsElsewhere(String),
    /// Accounts that are kept elsewhere, and known only by a login.
    LoginsElsewhere(Names),
    /// Rules of this file.
    Rules,
    /// Rules that are kept elsewhere, and can be read here: shown, or at least asked.
    RulesElsewhere,
    /// Decisions by somebody else, without rules to show.
    Decisions,
}

/// Whether a login's name is sure to be the account that the password belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// It is.
    Checked,
    /// Nobody looks: whoever has any password there may choose any name that no earlier section knows.
    Unchecked,
}

/// An opened backend.
#[derive(Clone)]
pub enum Opened {
    /// Says who somebody is, and how wrong passwords are counted while it is in use.
    Identities(Arc<dyn Authenticator>, Manner),
    /// Says who somebody is who signs in in a browser.
    People(Arc<dyn SignIn>),
    /// Says what somebody may do.
    Rules(Arc<dyn Authorizer>),
}

impl Opened {
    /// An identity backend whose accounts have passwords that people chose.
    pub fn identities(backend: impl Authenticator + 'static) -> anyhow::Result<Opened> {
        Ok(Opened::Identities(Arc::new(backend), Manner::Passwords))
    }

    /// A source of rules.
    pub fn rules(source: impl Authorizer + 'static) -> anyhow::Result<Opened> {
        Ok(Opened::Rules(Arc::new(source)))
    }

    fn reach(&self) -> Reach<'_> {
        match self {
            Opened::Identities(backend, _) => backend.reach(),
            Opened::People(people) => people.reach(),
            Opened::Rules(source) => source.reach(),
        }
    }
}

/// A backend that the file names.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its section.
    pub settings: Arc<dyn Configured>,
}

/// The backends that the file names, in the order of the table, in which they are asked.
#[derive(Clone, Debug, Default)]
pub struct Backends(pub Vec<Row>);

impl Backends {
    /// The section of this type, if the file has it: for a command that is about one backend.
    pub fn get<T: Configured>(&self) -> Option<&T> {
        self.0.iter().find_map(|Row { settings, .. }| (&**settings as &dyn Any).downcast_ref())
    }

    /// What each section tells, by its name.
    pub fn facts(&self) -> impl Iterator<Item = (&'static str, Facts<'_>)> {
        self.0.iter().map(|row| (row.kind.key, row.settings.facts()))
    }

    /// Opens each, or takes over what a snapshot before held of the same settings: what that read need not be read anew, and
    /// no connection is lost.
    ///
    /// # Errors
    /// A local prerequisite is missing; or, at a reload, a new server does not answer.
    pub(crate) fn open(&self, before: Option<&[Held]>, passwords: &Arc<Passwords>) -> anyhow::Result<Vec<Held>> {
        self.0.iter().map(|row| row.keep_or_open(before, passwords)).collect()
    }
}

impl Row {
    /// At a reload, what is new has to answer before what works is given up for it. At the start nothing works yet, and the
    /// server comes up in any case: the backend may come up after it. So may a program, at any time.
    fn keep_or_open(&self, before: Option<&[Held]>, passwords: &Arc<Passwords>) -> anyhow::Result<Held> {
        let Row { kind, settings } = self;
        let is_same = |held: &&Held| held.kind.key == kind.key && held.settings.same(&**settings);
        if let Some(kept) = before.and_then(|held| held.iter().find(is_same)) {
            return Ok(kept.clone());
        }
        let opened = Arc::clone(settings).open(passwords)?;
        if before.is_some()
            && let server @ Reach::Server { .. } = opened.reach()
        {
            let found = tokio::runtime::Handle::try_current()?.block_on(server.found());
            found.transpose().context(kind.key)?;
        }
        Ok(Held { kind, settings: Arc::clone(settings), opened })
    }
}

/// A backend in use, and the settings that it was opened from.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) kind: &'static Kind,
    settings: Arc<dyn Configured>,
    pub(crate) opened: Opened,
}

impl Held {
    /// What the section tells that it was opened from.
    pub(crate) fn facts(&self) -> Facts<'_> {
        self.settings.facts()
    }
}

/// Tries each of them, all at the same time: servers are asked something that changes nothing, programs are looked for. None
/// waits longer than half a minute (a directory: and its deadline), and one that fails keeps no other from being asked.
pub(crate) async fn reach(held: &[Held]) -> Vec<Reached> {
    let asked: Vec<_> = held
        .iter()
        .cloned()
        .map(|one| (one.kind.key, tokio::spawn(async move { one.opened.reach().found().await })))
        .collect();
    let mut reached = Vec::new();
    for (name, asked) in asked {
        let found = asked.await.unwrap_or_else(|died| Some(Err(died.into())));
        reached.extend(found.map(|found| Reached { name, found }));
    }
    reached
}
