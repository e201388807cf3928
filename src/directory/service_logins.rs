//! Logins of services, which have secrets of their own: the hashes of the file. What the records have are secrets that last.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::Directory;
use super::entry::Service;
use crate::authn::attempts::Spelled;
use crate::authn::password::{Check, PasswordHash, Passwords, Recall};
use crate::authn::{Account, Alike, Authenticator, Credentials, Identity, LookUp, Outcome, Secret, Standing, Time};
use crate::breaker::Passage;
use crate::client_network::ClientNetwork;
use crate::identity::{Kind, mark_of};
use crate::reach::{Reach, Reachable};

/// The services as an identity backend, which is asked before all others: nobody else lets in who is called as one of them.
pub(crate) struct ServiceLogins {
    directory: Arc<Directory>,
    /// The names of those in the file, in every spelling.
    spelled: HashSet<Spelled>,
    /// What a secret is compared with where a service has none.
    nobodys: PasswordHash,
    passwords: Arc<Passwords>,
}

impl ServiceLogins {
    /// A backend over the services of a directory.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub(crate) fn new(directory: Arc<Directory>, passwords: Arc<Passwords>) -> anyhow::Result<ServiceLogins> {
        let services = &directory.settings().entries.services;
        let hashes = services.iter().flat_map(|service| &service.secrets);
        let nobodys = PasswordHash::nobodys(hashes.map(PasswordHash::cost))?;
        let spelled = services.iter().map(|service| passwords.attempts().spelled(&service.name)).collect();
        Ok(ServiceLogins { directory, spelled, nobodys, passwords })
    }

    /// Who a service is, and the hashes of its secrets; `None` for who is none.
    fn find(&self, account: &Account) -> anyhow::Result<Option<(Identity, Vec<PasswordHash>)>> {
        let view = self.directory.view()?;
        let found = view.service(account).map(|service| {
            // One that is removed and declared anew has none of the secrets that the first one had.
            let mark = Some(mark_of([service.entry.made.as_str()]));
            let identity =
                Identity { account: Some(account.clone()), mark, kind: Kind::Service, ..Identity::default() };
            (identity, service.entry.secrets.clone())
        });
        Ok(found)
    }
}

/// Hashes of nobody's for the places that a service has beyond the first, as many as some service fills.
///
/// # Errors
/// The system gave no random bytes.
pub(super) fn further_places(services: &[Service]) -> anyhow::Result<Vec<PasswordHash>> {
    let most = services.iter().map(|service| service.secrets.len()).max().unwrap_or_default();
    let costs = |place: usize| services.iter().filter_map(move |service| service.secrets.get(place));
    (1..most).map(|place| PasswordHash::nobodys(costs(place).map(PasswordHash::cost))).collect()
}

impl Reachable for ServiceLogins {
    fn reach(&self) -> Reach<'_> {
        Reach::Nothing
    }

    fn passage(&self) -> Option<Passage> {
        None
    }
}

#[async_trait]
impl Authenticator for ServiceLogins {
    fn alike(&self, name: &Spelled) -> Alike {
        match self.spelled.contains(name) {
            true => Alike::Taken,
            // The records may have one.
            false => Alike::NotKnown,
        }
    }

    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> anyhow::Result<Outcome> {
        let Some((account, password)) = who.password() else { return Ok(Outcome::NotMine) };
        let Some((identity, hashes)) = self.find(account)? else { return Ok(Outcome::NotMine) };
        if hashes.is_empty() {
            self.passwords.check_nobody(account, password, &self.nobodys, Duration::ZERO, from).await?;
            return Ok(Outcome::Rejected);
        }
        let recall = Recall::for_standing(&Standing::default());
        Ok(match self.passwords.check(account, password, &hashes, recall, from).await? {
            Check::Right => Outcome::Accepted(identity),
            Check::Wrong => Outcome::Rejected,
        })
    }

    async fn look_up(&self, account: &Account, _from: ClientNetwork) -> anyhow::Result<LookUp> {
        Ok(self.find(account)?.map_or(LookUp::Unknown, |(identity, _)| LookUp::Known(identity)))
    }

    async fn take_time(&self, account: &Account, password: &Secret, from: ClientNetwork) -> anyhow::Result<Time> {
        self.passwords.check_nobody(account, password, &self.nobodys, Duration::ZERO, from).await?;
        Ok(Time::Taken)
    }
}
