//! What the configuration alone decides by, at one moment and without asking anybody: for tests of the policy.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use policy::analysis::Unlisted;

use super::{Access, Denied};
use crate::authn::{Account, Authenticator, Credentials, Identity, LookUp, Outcome};
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
            if let Some(identity) = in_memory(one.kind.key, &**backend, account)? {
                return Ok(Some(identity));
            }
        }
        Ok(None)
    }

    /// Everybody whom the configuration lists, by name, and whether others may come in as well. No server is asked, and no file is read.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] where a section that lists accounts does not know them after all, or the directory has not been read.
    pub fn people(&self) -> Result<(BTreeMap<String, Identity>, Unlisted), Denied> {
        let mut people = BTreeMap::new();
        let mut unlisted = if self.workloads.is_some() { Unlisted::Anybody } else { Unlisted::Nobody };
        for one in &self.held {
            let (accounts, backend) = match (one.facts(), &one.opened) {
                (Facts::Accounts(accounts), Opened::Identities(backend, _)) => (accounts, backend),
                (Facts::AccountsElsewhere(_) | Facts::LoginsElsewhere(_), _) => {
                    unlisted = Unlisted::Anybody;
                    continue;
                }
                (Facts::Accounts(_) | Facts::Rules | Facts::RulesElsewhere | Facts::Decisions, _) => continue,
            };
            for (name, _) in accounts {
                // The first section that knows an account says who it is; whatever is called as no account can be is never let in.
                let Ok(account) = Account::parse_or_anonymous(name) else { continue };
                if !people.contains_key(name)
                    && let Some(identity) = in_memory(one.kind.key, &**backend, account.as_ref())?
                {
                    people.insert(name.to_owned(), self.in_directory(identity)?);
                }
            }
        }
        Ok((people, unlisted))
    }

    /// The services of the directory, which log in by secrets of their own. No server is asked.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] where the directory has not been read.
    pub fn services(&self) -> Result<Vec<Identity>, Denied> {
        let Some(directory) = &self.directory else { return Ok(Vec::new()) };
        let view = directory.view().map_err(|cause| Denied::Unavailable { backend: directory::NAME, cause })?;
        let all = view
            .services()
            .iter()
            .map(|service| Identity { account: Some(service.entry.name.clone()), ..Identity::default() });
        all.map(|who| self.in_directory(who)).collect()
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

/// What a section says of an account that it lists.
fn in_memory(
    section: &'static str,
    backend: &dyn Authenticator,
    account: Option<&Account>,
) -> Result<Option<Identity>, Denied> {
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
    let found = answer.unwrap_or_else(|| Err(anyhow::anyhow!("its accounts are not in memory")));
    found.map_err(|cause| Denied::Unavailable { backend: section, cause })
}

/// The answer of a question that waits for nobody; `None` if it does.
fn at_once<T>(answer: impl Future<Output = T>) -> Option<T> {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}
