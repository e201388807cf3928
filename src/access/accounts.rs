//! Whose an account is, besides the services of the directory: for whoever makes one of these.

use super::{Access, Denied};
use crate::authn::{Account, Alike, LookUp};
use crate::client_network::ClientNetwork;
use crate::metrics::BackendOutcome;
use crate::{directory, workload};

impl Access {
    /// The section that has an account of this name, in any case of letters where that can be told. Those that know people by their
    /// logins alone have none that anybody could see.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] and [`Denied::Busy`] where a backend could not tell.
    pub async fn account_elsewhere(&self, account: &Account) -> Result<Option<&'static str>, Denied> {
        if self.is_workloads(account) {
            return Ok(Some(workload::NAME));
        }
        let name = self.attempts.spelled(account);
        for section in self.authn.iter().filter(|section| section.name != directory::NAME) {
            match section.backend.alike(&name) {
                Alike::Taken => return Ok(Some(section.name)),
                Alike::Free | Alike::NotKnown => {}
            }
            match section.look_up(account, BackendOutcome::Accepted, ClientNetwork::Unknown).await? {
                LookUp::Known(_) => return Ok(Some(section.name)),
                LookUp::Unknown | LookUp::OnlyByLogin => {}
            }
        }
        Ok(None)
    }
}
