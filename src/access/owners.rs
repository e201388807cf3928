//! What became of secrets, with their owners asked about: one whose owner has another password since logs nobody in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use time::OffsetDateTime;

use super::{Access, Denied};
use crate::authn::{Account, LookUp};
use crate::records::{Kept, Owner};
use crate::secrets::State;

impl Access {
    /// What became of these secrets. Each owner of one that nothing else has ended is looked up once, for somebody at this address. Once a
    /// backend could not tell, no owner that a secret of its own is bound to is asked about: whoever waits for a list would wait for each.
    pub async fn states(
        &self,
        page: Vec<(Kept, State)>,
        address: Option<IpAddr>,
        now: OffsetDateTime,
    ) -> Vec<(Kept, State)> {
        let mut owners: BTreeMap<Account, Option<LookUp>> = BTreeMap::new();
        let mut silent: BTreeSet<&'static str> = BTreeSet::new();
        let mut seen = Vec::with_capacity(page.len());
        for (kept, state) in page {
            let state = match (&kept.owner, state) {
                (Owner::Account { account, bound }, State::Active) => {
                    if !owners.contains_key(account) {
                        let said = match silent.contains(bound.backend.as_str()) {
                            true => None,
                            false => match self.look_up(account, address).await {
                                Ok(said) => Some(said),
                                Err(Denied::Unavailable { backend, .. } | Denied::Busy { backend, .. }) => {
                                    silent.insert(backend);
                                    None
                                }
                                // Another section has an account of this name now: it logs nobody in, and that is somebody else.
                                Err(Denied::NameTaken { .. }) => Some(LookUp::Unknown),
                                Err(
                                    Denied::Anonymous
                                    | Denied::Credentials
                                    | Denied::OtherIssuer { .. }
                                    | Denied::Workload(_)
                                    | Denied::Closed(_)
                                    | Denied::Secret(_)
                                    | Denied::TooMany(_),
                                ) => None,
                            },
                        };
                        owners.insert(account.clone(), said);
                    }
                    state.held_against(&kept, owners.get(account).and_then(Option::as_ref), now)
                }
                (Owner::Account { .. } | Owner::Robot { .. } | Owner::Workload { .. }, _) => state,
            };
            seen.push((kept, state));
        }
        seen
    }
}
