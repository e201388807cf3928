//! Accounts in a directory (`ldap_auth`): found by a search, and let in by a bind.
//!
//! 1. `settings.rs` reads the section, with `reach.rs`, `address.rs`, `filter.rs`, `name.rs` and `labels.rs`.
//! 2. `login.rs` is the whole story of a login; `verdict.rs` says which of the directory's answers is a "no", and `closed.rs`
//!    why an account may not be used. For an administrator, `portrait.rs` is a look at an account, and `rehearsal.rs` a login of
//!    nobody, which shows how long one takes.
//! 3. `directory.rs` chooses a server and a connection, `greeting.rs` says which are there, `server.rs` keeps both, `route.rs` tries the addresses of a server's
//!    name, `connection.rs` speaks, in the words of `protocol.rs` and `ber.rs`, and under `tls.rs`; `course.rs` knows for how long, in the steps of `step.rs`.
//!    `pace.rs` keeps the time of an answer from telling who exists.
//!
//! No answer is remembered here: every login asks the directory, so that an account that was locked or removed is refused
//! at once.

mod address;
mod ber;
mod closed;
mod connection;
mod course;
mod directory;
mod filter;
mod greeting;
mod labels;
mod login;
mod mark;
mod name;
mod pace;
mod portrait;
#[cfg(test)]
mod properties;
mod protocol;
mod reach;
mod rehearsal;
mod route;
mod server;
mod settings;
mod step;
mod tls;
mod verdict;

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;

pub use login::{Found, Person};
pub use portrait::Portrait;
pub use settings::{LdapSettings, read};
pub use verdict::Verdict;

use super::attempts::{Attempts, Spelled};
use super::password::Passwords;
use super::{Account, Alike, Authenticator, Credentials, LookUp, Outcome, Secret, Time};
use crate::backend::{Configured, Facts, Kind, Names, Opened, Purpose, configured};
use crate::background::spawn;
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::random;
use crate::reach::{REACH_WITHIN, Reach, Reachable};
use directory::{Directory, Errand};
use pace::Pace;
use settings::Login;

/// The row of the table.
pub const KIND: Kind = Kind { key: "ldap_auth", purpose: Purpose::Identity, read: |field| configured(read(field)) };

/// The directory as an identity backend.
#[derive(Clone)]
pub struct DirectoryUsers {
    directory: Arc<Directory>,
    /// An account that nobody has.
    nobody: Account,
    /// Its name, to bind as for accounts that are not there.
    nobodys_name: Arc<str>,
    pace: Arc<Pace>,
    /// Who says which networks are known.
    attempts: Arc<Attempts>,
}

impl DirectoryUsers {
    /// The backend that the settings name. It begins to connect in the background. `attempts` knows whose turns come before
    /// a stranger's.
    ///
    /// # Errors
    /// TLS is asked for, and no certificate authority is known; or this thread belongs to no runtime.
    pub fn new(settings: LdapSettings, attempts: Arc<Attempts>) -> anyhow::Result<DirectoryUsers> {
        let separator = if settings.base.is_empty() { "" } else { "," };
        let nobody = format!("nobody-{:016x}", u64::from_be_bytes(random::bytes()?));
        let nobodys_name = format!("cn={nobody}{separator}{}", settings.base);
        let directory = Arc::new(Directory::new(settings).context(KIND.key)?);
        let greeting = Arc::clone(&directory);
        drop(spawn(async move { greeting.greet_all().await })?);
        drop(spawn(Directory::close_idle(Arc::downgrade(&directory)))?);
        Ok(DirectoryUsers {
            directory,
            nobody: Account::parse(&nobody)?,
            nobodys_name: nobodys_name.into(),
            pace: Arc::default(),
            attempts,
        })
    }
}

impl Configured for LdapSettings {
    fn open(self: Arc<Self>, passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        Opened::identities(DirectoryUsers::new(Self::clone(&self), Arc::clone(passwords.attempts()))?)
    }

    fn facts(&self) -> Facts<'_> {
        match &self.login {
            Login::User(_) => Facts::LoginsElsewhere(Names::Checked),
            Login::Anonymous | Login::Ourselves { .. } => Facts::AccountsElsewhere(KIND.key.to_owned()),
        }
    }
}

impl Reachable for DirectoryUsers {
    /// Each server may be silent, and then a login is gone through.
    fn reach(&self) -> Reach<'_> {
        let question = Box::pin(async {
            let reached = self.directory.reach().await?;
            self.rehearse(reached).await
        });
        Reach::Server { within: REACH_WITHIN + self.directory.settings().deadline, question }
    }

    fn passage(&self) -> Option<Passage> {
        Some(self.directory.passage())
    }
}

#[async_trait]
impl Authenticator for DirectoryUsers {
    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> anyhow::Result<Outcome> {
        // Whether nobody may come in is said by the static users.
        let Some((account, password)) = who.password() else { return Ok(Outcome::NotMine) };
        self.log_in(account, password, self.attempts.client(from)).await
    }

    async fn look_up(&self, account: &Account, from: ClientNetwork) -> anyhow::Result<LookUp> {
        self.known(account, self.attempts.client(from)).await
    }

    async fn take_time(&self, _account: &Account, password: &Secret, from: ClientNetwork) -> anyhow::Result<Time> {
        let course = self.course();
        self.bind_as_nobody(password, Errand { client: self.attempts.client(from), course: &course }).await?;
        Ok(Time::Taken)
    }

    fn alike(&self, _name: &Spelled) -> Alike {
        Alike::NotKnown
    }
}
