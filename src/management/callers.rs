//! Who may pull from a repository, and who may push to it: everybody of the directory is decided on, as a token for them would be.

use policy::scope::Action;
use serde::Serialize;

use super::entries::MemberKind;
use super::told::stamp;
use super::{Desk, NotDone, Page, SERVICE, Sought, ours};
use crate::directory::rights::{Managed, ManagedAction};
use crate::identity::Account;
use crate::records::catalogue::{Pull, Pulled};

/// So many accounts are looked at for one page: each may be asked about at a server.
const MOST_LOOKED_AT: usize = 500;

/// Somebody who may do it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldCaller {
    /// The account.
    pub name: String,
    /// `user` or `service`.
    pub kind: &'static str,
}

/// That somebody pulled something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToldPull {
    /// The account; empty for anonymous.
    pub account: String,
    /// The address that the registry saw.
    pub address: String,
    /// The manifest's digest.
    pub digest: String,
    /// The tag, where it was pulled by one the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The first time that is remembered, by the registry's clock.
    pub first: Option<String>,
    /// The last time.
    pub last: Option<String>,
}

impl ToldPull {
    pub(super) fn of(pull: &Pull) -> ToldPull {
        ToldPull {
            account: pull.account.clone(),
            address: pull.address.clone(),
            digest: pull.digest.clone(),
            tag: pull.tag.clone(),
            first: stamp(pull.first),
            last: stamp(pull.last),
        }
    }
}

impl Desk<'_> {
    /// The users and services that may do this with a repository, by name. Whoever may see who pulled from the registry sees all of
    /// them, and others those that they may list. A page may hold fewer than asked for while there is a next one.
    ///
    /// # Errors
    /// Why nobody can say who.
    pub async fn callers(
        &self,
        (service, name): (&str, &str),
        action: &Action,
        sought: &Sought,
    ) -> Result<Page<ToldCaller>, NotDone> {
        self.seen(service, name).await?;
        let sees_all = !self.may(Managed::Pulls(service), &[ManagedAction::List]).await?.is_empty();
        let accounts = self.accounts(sought, sees_all).await?;
        let (mut items, mut last, mut looked_at, mut next) = (Vec::new(), None, 0_usize, None);
        for (account, kind) in accounts {
            if items.len() == sought.limit || looked_at == MOST_LOOKED_AT {
                next = last;
                break;
            }
            looked_at = looked_at.saturating_add(1);
            let one = [account.clone()];
            if !self.access.who_may(one, action, (service, name), self.now).await?.is_empty() {
                items.push(ToldCaller { name: account.to_string(), kind });
            }
            last = Some(account.to_string());
        }
        Ok(Page { items, next, count: None })
    }

    /// The accounts that the directory knows, behind the page before, as far as the asker may know of them.
    async fn accounts(&self, sought: &Sought, sees_all: bool) -> Result<Vec<(Account, &'static str)>, NotDone> {
        let view = self.view()?;
        let users = view.users().iter().map(|own| (&own.entry.name, Managed::User(own.entry.id), MemberKind::User));
        let services = view.services().iter().map(|own| (&own.entry.name, MemberKind::Service));
        let services = services.map(|(name, kind)| (name, Managed::Service(name.as_str()), kind));
        let mut all: Vec<_> = users.chain(services).collect();
        all.retain(|(name, ..)| {
            sought.is_in(&[name]) && sought.after.as_ref().is_none_or(|after| name.as_str() > after.as_str())
        });
        all.sort_by(|one, other| one.0.cmp(other.0));
        let mut known = Vec::with_capacity(all.len());
        for lot in all.chunks(super::LOT) {
            let lists = |what: Managed<'_>| ours(&what.name(), [ManagedAction::List.action()]);
            let seen: Vec<bool> = match sees_all {
                true => vec![true; lot.len()],
                false => {
                    let scopes: Result<_, NotDone> = lot.iter().map(|(_, what, _)| lists(*what)).collect();
                    let decision = self.decide(SERVICE, scopes?).await?;
                    decision.grants().iter().map(|grant| !grant.granted.is_empty()).collect()
                }
            };
            let seen = lot.iter().zip(seen).filter(|(_, is_seen)| *is_seen);
            known.extend(seen.map(|((name, _, kind), _)| ((*name).clone(), kind.entry().as_str())));
        }
        Ok(known)
    }

    /// Who pulled from a repository, and when last: everything of it, or one manifest. Only for whoever may see that of the registry.
    ///
    /// # Errors
    /// Why it is not shown.
    pub async fn pulls(
        &self,
        (service, name): (&str, &str),
        digest: Option<&str>,
        (skip, count): (u32, u32),
    ) -> Result<(Vec<ToldPull>, bool), NotDone> {
        self.seen(service, name).await?;
        if self.may(Managed::Pulls(service), &[ManagedAction::List]).await?.is_empty() {
            let name = format!("dockwarden:{}", Managed::Pulls(service).name());
            return Err(NotDone::NotGranted { action: ManagedAction::List.as_str(), name });
        }
        let what = match digest {
            None => Pulled::Repository(name.to_owned()),
            Some(digest) => Pulled::Manifest { repository: name.to_owned(), digest: digest.to_owned() },
        };
        let mut pulls = self.catalogue()?.pulls(service, &what, skip, count.saturating_add(1)).await?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let has_more = pulls.len() > count;
        pulls.truncate(count);
        Ok((pulls.iter().map(ToldPull::of).collect(), has_more))
    }
}
