//! The labels that the directory gives whoever comes in, at every door and once an answer; and who somebody is who is only asked about.

use std::net::IpAddr;
use std::sync::Arc;

use time::OffsetDateTime;

use super::{Access, Counted, Denied};
use crate::authn::password::Passwords;
use crate::authn::{Account, Credentials, Identity, LookUp};
use crate::directory::{self, Directory, ServiceLogins};
use crate::identity::Standing;
use crate::metrics::{BackendOutcome, Metrics};
use crate::records::{self, Records, Robot};
use crate::secrets::{is_robots, robot_name};

impl Access {
    /// The same with a directory. Its services log in before all others.
    ///
    /// # Errors
    /// The system gave no random bytes.
    pub fn with_directory(
        mut self,
        directory: Arc<Directory>,
        passwords: &Arc<Passwords>,
        metrics: &Metrics,
    ) -> anyhow::Result<Access> {
        use BackendOutcome::{Accepted, Error, NotMine, Rejected};
        if directory.has_services() {
            let backend = Arc::new(ServiceLogins::new(Arc::clone(&directory), Arc::clone(passwords))?);
            let metrics = metrics.backend(directory::NAME, &[Accepted, Rejected, NotMine, Error]);
            self.authn.insert(0, Counted { name: directory::NAME, backend, metrics });
        }
        Ok(Access { directory: Some(directory), ..self })
    }

    /// The directory, where there is one.
    pub fn directory(&self) -> Option<&Arc<Directory>> {
        self.directory.as_ref()
    }

    /// The same person, with the labels that the directory gives.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] where nobody knows what it says now.
    pub fn in_directory(&self, who: Identity) -> Result<Identity, Denied> {
        let Some(directory) = &self.directory else { return Ok(who) };
        directory.labelled(who).map_err(|cause| Denied::Unavailable { backend: directory::NAME, cause })
    }

    /// Who an account is at a login, without one: a robot by the records, whoever comes without an account as such, and all others as
    /// [`Access::look_up`] has them.
    ///
    /// # Errors
    /// As [`Access::identify`].
    pub async fn look_up_any(
        &self,
        account: Option<&Account>,
        records: Option<&dyn Records>,
        address: Option<IpAddr>,
        now: OffsetDateTime,
    ) -> Result<LookUp, Denied> {
        match account {
            Some(account) if is_robots(account) => self.robot(account, records).await,
            Some(account) => self.look_up(account, None).await,
            None => match self.identify(&Credentials::Anonymous, address, now).await {
                Ok(who) => Ok(LookUp::Known(who)),
                Err(Denied::Anonymous) => Ok(LookUp::Unknown),
                Err(denied) => Err(denied),
            },
        }
    }

    /// The robot of this account, whose labels only a secret of it would tell a server.
    async fn robot(&self, account: &Account, records: Option<&dyn Records>) -> Result<LookUp, Denied> {
        let (Some(records), Ok(name)) = (records, robot_name(account)) else { return Ok(LookUp::Unknown) };
        let unavailable =
            |failure: records::Failure| Denied::Unavailable { backend: records::NAME, cause: failure.into() };
        Ok(match records.robot(&name).await.map_err(unavailable)? {
            None => LookUp::Unknown,
            Some(Robot { labels, state, .. }) => LookUp::Known(self.in_directory(Identity {
                account: Some(account.clone()),
                labels,
                standing: Standing { state, ..Standing::default() },
                ..Identity::default()
            })?),
        })
    }
}
