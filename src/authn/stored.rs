//! Users with hashes of their passwords in a store elsewhere, looked up one by one: what the backends of MongoDB, SQL and the
//! records have in common.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use policy::pattern::LabelValues;

use super::attempts::Spelled;
use super::costs::{Costs, Found};
use super::password::{Check, PasswordHash, Passwords, Recall};
use super::{Account, Alike, Authenticator, Credentials, Identity, LookUp, Outcome, Secret, Standing, Time};
use crate::backend::Opened;
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::identity::mark_of;
use crate::reach::{Reach, Reachable};
use crate::shown::counted;

/// How long the first answer may take where nobody waits for a login.
pub(super) const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// How many hashes are looked at when the server starts, to learn what a wrong password costs.
pub(super) const SAMPLE: u32 = 100;

/// One user, read.
pub struct User {
    /// What tells it from another of its name, such as a document's `_id`: who is removed and made anew has another.
    pub(super) id: String,
    pub(super) password: PasswordHash,
    pub(super) labels: LabelValues,
    pub(super) standing: Standing,
}

impl User {
    fn identity(self, account: &Account) -> Identity {
        let mark = Some(mark_of([self.id.as_str(), self.password.text()]));
        let (account, labels) = (Some(account.clone()), Arc::new(self.labels));
        Identity { account, labels, standing: self.standing, mark, ..Identity::default() }
    }
}

/// Where users are kept.
#[async_trait]
pub(super) trait UserStore: Reachable + 'static {
    /// The user of this very name.
    ///
    /// # Errors
    /// There is no answer, or the user cannot be read.
    async fn find(&self, account: &Account) -> anyhow::Result<Option<User>>;

    /// Some of the hashes, as they are there; none where that failed, which is in the log.
    async fn hashes(&self) -> Vec<String>;
}

/// The users of a store as an identity backend.
pub(super) struct StoredUsers<S>(Arc<Inner<S>>);

struct Inner<S> {
    store: S,
    passwords: Arc<Passwords>,
    costs: Costs,
}

/// Whether the store is asked before the first login has to wait for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// It is, in the background: that connects, and tells what hashes cost there.
    AtOnce,
    /// It is not there yet.
    Later,
}

impl<S: UserStore> StoredUsers<S> {
    /// Opens the users of a store.
    ///
    /// # Errors
    /// A local prerequisite is missing.
    pub(super) fn open(store: S, passwords: &Arc<Passwords>, greeting: Greeting) -> anyhow::Result<Opened> {
        let users = Arc::new(Inner { store, passwords: Arc::clone(passwords), costs: Costs::new()? });
        match greeting {
            Greeting::AtOnce => {
                let users = Arc::clone(&users);
                drop(crate::background::spawn(async move {
                    let hashes = users.store.hashes().await;
                    let read = hashes.iter().filter_map(|hash| PasswordHash::from_str(hash).ok());
                    read.for_each(|hash| users.costs.saw(hash.cost()));
                })?);
            }
            Greeting::Later => {}
        }
        Opened::identities(StoredUsers(users))
    }
}

/// What was found at a store that was reached, for `check --connect`.
pub(super) fn found(
    place: &str,
    count: u64,
    (connecting, looking, deadline): (Duration, Duration, Duration),
) -> String {
    let hint = match connecting > deadline {
        true => {
            format!("; connecting takes longer than deadline ({} ms): write a longer one", deadline.as_millis())
        }
        false => String::new(),
    };
    let (connecting, looking) = (connecting.as_millis(), looking.as_millis());
    let users = counted(usize::try_from(count).unwrap_or(usize::MAX), "user");
    format!("{place} holds {users}; connecting took {connecting} ms, looking one up took {looking} ms{hint}")
}

impl<S: UserStore> Reachable for StoredUsers<S> {
    fn reach(&self) -> Reach<'_> {
        self.0.store.reach()
    }

    fn passage(&self) -> Option<Passage> {
        self.0.store.passage()
    }
}

#[async_trait]
impl<S: UserStore> Authenticator for StoredUsers<S> {
    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> anyhow::Result<Outcome> {
        let users = &self.0;
        let Some((account, password)) = who.password() else { return Ok(Outcome::NotMine) };
        let began = crate::clock::now();
        let Some(user) = users.store.find(account).await? else {
            users.costs.looked_up(Found::Nobody, began.elapsed());
            return Ok(Outcome::NotMine);
        };
        users.costs.looked_up(Found::User, began.elapsed());
        users.costs.saw(user.password.cost());
        let recall = Recall::for_standing(&user.standing);
        let hashes = std::slice::from_ref(&user.password);
        Ok(match users.passwords.check(account, password, hashes, recall, from).await? {
            Check::Right => Outcome::Accepted(user.identity(account)),
            Check::Wrong => Outcome::Rejected,
        })
    }

    async fn look_up(&self, account: &Account, _from: ClientNetwork) -> anyhow::Result<LookUp> {
        let found = self.0.store.find(account).await?;
        Ok(found.map_or(LookUp::Unknown, |user| LookUp::Known(user.identity(account))))
    }

    async fn take_time(&self, account: &Account, password: &Secret, from: ClientNetwork) -> anyhow::Result<Time> {
        let costs = &self.0.costs;
        self.0.passwords.check_nobody(account, password, &costs.usual(), costs.reading(), from).await?;
        Ok(Time::Taken)
    }

    fn alike(&self, _name: &Spelled) -> Alike {
        Alike::NotKnown
    }
}
