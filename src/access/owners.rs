//! What became of secrets, with their owners asked about: one whose owner has another password since logs nobody in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Access;
use crate::authn::{Account, LookUp};
use crate::records::{Kept, Owner};
use crate::secrets::State;

impl Access {
    /// What became of these secrets. Each owner of one that nothing else has ended is looked up once, for somebody at this address. Once a
    /// backend could not tell, nobody else is asked about: whoever waits for a list would wait for each of them.
    pub async fn states(&self, page: Vec<(Kept, State)>, address: Option<IpAddr>) -> Vec<(Kept, State)> {
        let mut owners: BTreeMap<Account, Option<LookUp>> = BTreeMap::new();
        let mut all_told = true;
        let mut seen = Vec::with_capacity(page.len());
        for (kept, state) in page {
            let state = match (&kept.owner, state) {
                (Owner::Account { account, .. }, State::Active) => {
                    if !owners.contains_key(account) {
                        let said = if all_told { self.look_up(account, address).await.ok() } else { None };
                        all_told = said.is_some();
                        owners.insert(account.clone(), said);
                    }
                    state.held_against(&kept, owners.get(account).and_then(Option::as_ref))
                }
                (Owner::Account { .. } | Owner::Robot { .. } | Owner::Workload { .. }, _) => state,
            };
            seen.push((kept, state));
        }
        seen
    }
}
