//! What the configuration alone decides by, at one moment and without asking anybody: for tests of the policy.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::{Access, Denied};
use crate::authn::{Account, Credentials, Identity, LookUp, Outcome};
use crate::authz::{Authorizer, Gate, InUse};
use crate::backend::{Facts, Opened};
use crate::client_network::ClientNetwork;
use crate::directory::{self, Directory};

/// The sources of rules as they are used, and those accounts that the configuration lists.
#[derive(Clone)]
pub struct Chain {
    sources: Vec<(&'static str, Arc<dyn Authorizer>)>,
    listed: BTreeMap<Option<Account>, Identity>,
    directory: Option<Arc<Directory>>,
}

/// Who somebody is by the configuration alone.
pub enum Subject {
    /// An account that the configuration lists, or anonymous, where it lets in whoever has no account.
    Listed(Identity),
    /// Another account: nobody was asked about it, and it has only the labels that the directory gives.
    Unlisted(Identity),
}

impl Access {
    /// The chain, with those of these accounts that the configuration lists; `None` is anonymous. No server is asked, and no file
    /// is read.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] where a section that lists accounts does not know them after all.
    pub fn chain<'a>(&self, accounts: impl IntoIterator<Item = &'a Option<Account>>) -> Result<Chain, Denied> {
        let mut listed = BTreeMap::new();
        for account in accounts {
            if !listed.contains_key(account)
                && let Some(identity) = self.listed(account.as_ref())?
            {
                listed.insert(account.clone(), identity);
            }
        }
        let sources = self.authz.iter().map(|source| (source.name, Arc::clone(&source.backend))).collect();
        Ok(Chain { sources, listed, directory: self.directory.clone() })
    }

    /// What the first section says of an account that lists its accounts and has this one.
    fn listed(&self, account: Option<&Account>) -> Result<Option<Identity>, Denied> {
        for one in &self.held {
            let (Facts::Accounts(accounts), Opened::Identities(backend, _)) = (one.facts(), &one.opened) else {
                continue;
            };
            let name = account.map_or("", Account::as_str);
            if !accounts.iter().any(|(own, _)| *own == name) {
                continue;
            }
            let answer = at_once(async {
                match account {
                    Some(account) => Ok(match backend.look_up(account, ClientNetwork::Unknown).await? {
                        LookUp::Known(identity) => Some(identity),
                        LookUp::Unknown | LookUp::OnlyByLogin => None,
                    }),
                    None => Ok(match backend.authenticate(&Credentials::Anonymous, ClientNetwork::Unknown).await? {
                        Outcome::Accepted(identity) => Some(identity),
                        Outcome::Rejected | Outcome::NotMine | Outcome::Closed(_) => None,
                    }),
                }
            });
            let unavailable = |cause| Denied::Unavailable { backend: one.kind.key, cause };
            let found = answer.unwrap_or_else(|| Err(anyhow::anyhow!("its accounts are not in memory")));
            if let Some(identity) = found.map_err(unavailable)? {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }
}

impl Chain {
    /// The sources of rules with what each decides by now, in the order in which they are asked.
    pub fn in_use(&self) -> Vec<(&'static str, InUse)> {
        self.sources.iter().map(|(name, source)| (*name, source.in_use())).collect()
    }

    /// Lets this gate say which newer rules these sources take over.
    pub fn guard(&self, gate: &Arc<dyn Gate>) {
        for (_, source) in &self.sources {
            source.guard(gate);
        }
    }

    /// Who an account is. `None` is nobody: there is no anonymous account.
    ///
    /// # Errors
    /// The directory has not been read yet.
    pub fn subject(&self, account: &Option<Account>) -> anyhow::Result<Option<Subject>> {
        let labelled = |who: Identity| match &self.directory {
            None => Ok(who),
            Some(directory) => directory.labelled(who).map_err(|cause| cause.context(directory::NAME)),
        };
        Ok(match (self.listed.get(account), account) {
            (Some(listed), _) => Some(Subject::Listed(labelled(listed.clone())?)),
            (None, Some(account)) => {
                let who = Identity { account: Some(account.clone()), ..Identity::default() };
                Some(Subject::Unlisted(labelled(who)?))
            }
            (None, None) => None,
        })
    }
}

/// The answer of a question that waits for nobody; `None` if it does.
fn at_once<T>(answer: impl Future<Output = T>) -> Option<T> {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}
