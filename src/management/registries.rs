//! Registries: which there are, and what is known of each.

use std::sync::Arc;

use time::OffsetDateTime;
use url::Url;

use super::entries::{once_each, over};
use super::told::{ToldRegistry, moment};
use super::{Candidate, Desk, NotDone, Page, SERVICE, Sought, granted, ours};
use crate::background;
use crate::catalogue::Status;
use crate::directory::changing::{NotChanged, Remains};
use crate::directory::entry::is_everybody;
use crate::directory::rights::{Managed, ManagedAction};
use crate::directory::{NewEntry, Origin, View, is_in_group};
use crate::pem::tls::Authorities;
use crate::records::directory::{EntryAt, EntryKind};
use crate::records::{Failure, Version};
use crate::registries::{MOST_HOSTS, Registry, Restriction, check_service, host_from, is_host, read_url, usual_hosts};
use crate::secrets::Wanted;
use crate::shown::is_plain_name;

/// What is said of a registry that is declared or changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryFields {
    /// Where it is; it has to be said of a new one.
    pub url: Option<String>,
    /// The host names under which clients reach it; lifted, its name and its url's host.
    pub hosts: Wanted<Vec<String>>,
    /// The certificates of its authorities, in PEM; lifted, the public ones.
    pub authorities: Wanted<String>,
    /// Whether pushing needs a group that is responsible.
    pub restricted: Option<bool>,
    /// The groups that it is published to.
    pub publications: Wanted<Vec<String>>,
    /// The groups that are responsible for it.
    pub responsibles: Wanted<Vec<String>>,
}

impl Desk<'_> {
    /// The registries that the asker may list.
    ///
    /// # Errors
    /// Why nobody can say which.
    pub async fn registries(&self, sought: &Sought) -> Result<Page<ToldRegistry>, NotDone> {
        let view = self.view()?;
        let mut candidates = Vec::new();
        for registry in view.registries().iter().filter(|registry| sought.is_in(&[&registry.service])) {
            let scope = ours(&Managed::Registry(&registry.service).name(), [ManagedAction::List.action()])?;
            candidates.push(Candidate { name: registry.service.clone(), scope, item: registry });
        }
        candidates.sort_by(|one, other| one.name.cmp(&other.name));
        let page =
            self.page(SERVICE, candidates, sought, |_, registry| ToldRegistry::of(&view, registry, None)).await?;
        let names: Vec<String> = page.items.iter().map(|told| Managed::Registry(&told.service).name()).collect();
        let may = self.could_each(&names, ManagedAction::Change.action()).await?;
        let items = page.items.into_iter().zip(may);
        let items = items.map(|(told, changes)| if changes { told } else { told.without_inside() }).collect();
        Ok(Page { items, ..page })
    }

    /// A registry with what is known of its events and sweeps, and its version, where it can be changed here.
    ///
    /// # Errors
    /// Why it is not shown.
    pub async fn registry(&self, service: &str) -> Result<(ToldRegistry, Option<Version>), NotDone> {
        let view = self.view()?;
        self.require(Managed::Registry(service), ManagedAction::Show).await?;
        let registry = declared(&view, service)?;
        let status = self.status(service).await?;
        let told = ToldRegistry::of(&view, registry, status.as_ref());
        let changes = self.could(&Managed::Registry(service).name(), ManagedAction::Change.action()).await?;
        let told = if changes { told } else { told.without_inside() };
        Ok((told, version_of(&view, service)))
    }

    /// Declares a registry, as the asker: for their primary group where nothing else is said, and within their quota.
    ///
    /// # Errors
    /// Why not.
    pub async fn declare(
        &self,
        service: &str,
        fields: RegistryFields,
    ) -> Result<(ToldRegistry, Option<Version>), NotDone> {
        let action = ManagedAction::Create;
        if self.may(Managed::Registries, &[action]).await?.is_empty() {
            let name = format!("dockwarden:{}", Managed::Registries.name());
            return Err(NotDone::NotGranted { action: action.as_str(), name });
        }
        // Nobody without an account declares anything: it counts for somebody's quota.
        let creator = self.who.account.as_ref().ok_or(NotDone::Missing)?;
        check_service(service).map_err(|message| NotDone::Wrong(message.to_owned()))?;
        if !is_plain_name(service) {
            return Err(NotDone::Wrong("a registry's name has no characters that nobody sees".to_owned()));
        }
        if service.eq_ignore_ascii_case(SERVICE) {
            // A secret that is for Dockwarden's own API alone would be one for this registry, too, and so would a rule.
            return Err(NotDone::Wrong(format!("{SERVICE} is what Dockwarden itself is called; choose another name")));
        }
        let url = fields.url.as_deref().ok_or_else(|| NotDone::Wrong("a registry needs its url".to_owned()))?;
        let blank = Registry::from_address(service, address_from(url)?);
        let (registry, authorities) = fields.over(blank, None)?;
        self.may_name(&[], &registry).await?;
        let remains = match self.catalogue {
            Some(catalogue) => catalogue.remains(service).await?,
            None => Remains::Nothing,
        };
        let declared = self.directory()?.declare((creator, self.who), registry, authorities, remains).await;
        if let Err(refused) = declared {
            return Err(self.taken(refused.into()).await?);
        }
        self.follow()?;
        self.shown_registry(service)
    }

    /// Changes a registry that still has the version that was seen.
    ///
    /// # Errors
    /// Why not.
    pub async fn change_registry(
        &self,
        service: &str,
        seen: impl FnOnce(Version) -> Result<(), NotDone>,
        fields: RegistryFields,
    ) -> Result<(ToldRegistry, Option<Version>), NotDone> {
        let view = self.view()?;
        self.require(Managed::Registry(service), ManagedAction::Change).await?;
        let before = declared(&view, service)?;
        let (current, creator) = in_records(&view, service)?;
        seen(current)?;
        let kept = self.directory()?.authorities_of(service).await?;
        let (registry, authorities) = fields.over(before.clone(), kept)?;
        let named: Vec<&String> = before.responsibles.iter().chain(&before.publications).collect();
        self.may_name(&named, &registry).await?;
        let new = NewEntry::Registry { registry: Box::new(registry), authorities, creator };
        if let Err(refused) = self.directory()?.replace(new, current).await {
            return Err(self.taken(refused.into()).await?);
        }
        self.follow()?;
        self.shown_registry(service)
    }

    /// Declares a registry no more, if it still has the version that was seen. What is in it stays there, and its name is kept for those
    /// who are responsible for it.
    ///
    /// # Errors
    /// Why not.
    pub async fn remove_registry(
        &self,
        service: &str,
        seen: impl FnOnce(Version) -> Result<(), NotDone>,
    ) -> Result<(), NotDone> {
        let view = self.view()?;
        self.require(Managed::Registry(service), ManagedAction::Delete).await?;
        declared(&view, service)?;
        let (current, _) = in_records(&view, service)?;
        seen(current)?;
        let at = EntryAt { kind: EntryKind::Registry, name: service.to_owned() };
        self.directory()?.remove(&at, current, self.now).await?;
        self.follow()
    }

    /// Has a registry swept now, in the background: it takes as long as the registry is large. What comes of it is logged, and shown
    /// with the registry.
    ///
    /// # Errors
    /// Why not.
    pub async fn begin_sweep(&self, service: &str) -> Result<(), NotDone> {
        let view = self.view()?;
        self.require(Managed::Registry(service), ManagedAction::Sweep).await?;
        declared(&view, service)?;
        let (catalogue, service) = (Arc::clone(self.catalogue()?), service.to_owned());
        let sweep = async move { drop(catalogue.sweep(&service).await) };
        let begun = background::spawn(sweep).map(drop);
        begun.map_err(|cause| Failure::Away { cause: format!("{cause:#}") }.into())
    }

    /// That the asker may name those of the registry's groups that it did not have before: their own, and those that they may change.
    /// Otherwise whoever manages one registry could have others answer for it.
    async fn may_name(&self, before: &[&String], registry: &Registry) -> Result<(), NotDone> {
        let view = self.view()?;
        for group in registry.responsibles.iter().chain(&registry.publications) {
            let name = match view.group(group).map(|group| group.entry.id) {
                _ if before.contains(&group) => continue,
                Some(id) if is_in_group(self.who, &id.to_string()) => continue,
                Some(id) => Managed::Group(id).name(),
                None if is_everybody(group) => "groups/everybody".to_owned(),
                None => return Err(NotChanged::Unknown { what: "group", name: group.clone() }.into()),
            };
            let actions = [ManagedAction::Change, ManagedAction::Show, ManagedAction::List];
            let scope = ours(&name, actions.map(ManagedAction::action))?;
            let decision = self.decide(SERVICE, vec![scope]).await?;
            (self.heard)(SERVICE, &decision);
            let may = granted(&decision);
            match (may.contains(&ManagedAction::Change.action()), may.is_empty() && !is_everybody(group)) {
                (true, _) => {}
                // Nobody learns by this which groups there are, nor their ids.
                (false, true) => return Err(NotChanged::Unknown { what: "group", name: group.clone() }.into()),
                (false, false) => {
                    return Err(NotDone::NotGranted { action: "change", name: format!("dockwarden:{name}") });
                }
            }
        }
        Ok(())
    }

    /// Has the catalogue go on with the registries that there are now.
    fn follow(&self) -> Result<(), NotDone> {
        if let Some(catalogue) = self.catalogue {
            catalogue.follow(self.view()?.registries());
        }
        Ok(())
    }

    /// A registry that was just declared or changed.
    fn shown_registry(&self, service: &str) -> Result<(ToldRegistry, Option<Version>), NotDone> {
        let view = self.view()?;
        let registry = view.registries().get(service).ok_or(NotChanged::Conflict)?;
        Ok((ToldRegistry::of(&view, registry, None), version_of(&view, service)))
    }

    async fn status(&self, service: &str) -> Result<Option<Status>, NotDone> {
        match self.catalogue {
            Some(catalogue) => Ok(catalogue.status(service).await?),
            None => Ok(None),
        }
    }
}

/// When the last sweep was complete, also while another one is under way.
fn complete(status: &Status) -> Option<OffsetDateTime> {
    status.sweep.ended.or(status.sweep.before.map(|before| before.ended))
}

/// The version and the creator of a registry that the records have.
fn in_records(view: &View, service: &str) -> Result<(Version, Option<String>), NotDone> {
    match view.origin(service) {
        Some(Origin::Records { version, creator }) => Ok((*version, creator.clone())),
        Some(Origin::File) | None => Err(NotChanged::InTheFile.into()),
    }
}

/// The address of a registry that somebody declares, which the server will ask.
///
/// # Errors
/// [`NotDone::Wrong`].
pub fn address_from(text: &str) -> Result<Url, NotDone> {
    read_url(text).map_err(|_| {
        NotDone::Wrong("the url is the address of a registry, https://registry.example.org, without a path".to_owned())
    })
}

impl RegistryFields {
    /// The registry with what is said of it, and the certificates of its authorities; `kept` are those of before.
    ///
    /// # Errors
    /// [`NotDone::Wrong`].
    pub fn over(self, before: Registry, kept: Option<String>) -> Result<(Registry, Option<String>), NotDone> {
        let url = match &self.url {
            Some(text) => address_from(text)?,
            None => before.url.clone(),
        };
        let authorities = match self.authorities {
            Wanted::Unsaid => kept,
            Wanted::Lifted => None,
            Wanted::Is(pem) => Some(pem),
        };
        let read = |pem: &String| {
            let read = Authorities::from_pem(pem.as_bytes());
            read.map_err(|_| NotDone::Wrong("these are no certificates of authorities in PEM".to_owned()))
        };
        let hosts = match self.hosts {
            // Those of before, unless they were but what the address says.
            Wanted::Unsaid if before.hosts != usual_hosts(&before.service, &before.url) => before.hosts.clone(),
            Wanted::Unsaid | Wanted::Lifted => usual_hosts(&before.service, &url),
            Wanted::Is(hosts) => once_each(hosts.iter().map(|host| host_from(host)).collect()),
        };
        if hosts.is_empty() || hosts.len() > MOST_HOSTS || !hosts.iter().all(|host| is_host(host)) {
            return Err(NotDone::Wrong(format!(
                "hosts are what clients write, docker.example.org, perhaps with :port, and at most {MOST_HOSTS}"
            )));
        }
        let registry = Registry {
            url,
            hosts,
            authorities: authorities.as_ref().map(read).transpose()?,
            restriction: self.restricted.map_or(before.restriction, Restriction::from_flag),
            publications: once_each(over(self.publications, before.publications)),
            responsibles: once_each(over(self.responsibles, before.responsibles)),
            service: before.service,
            events: before.events,
            declared: before.declared,
        };
        match registry.authorities.is_some() && registry.url.scheme() == "http" {
            true => Err(NotDone::Wrong("an authority is named, and TLS is not spoken; write https://".to_owned())),
            false => Ok((registry, authorities)),
        }
    }
}

/// The registry of this name, if one is declared.
pub(super) fn declared<'view>(view: &'view View, service: &str) -> Result<&'view Registry, NotDone> {
    view.registries().get(service).ok_or(NotDone::Missing)
}

/// The version of a registry of the records.
pub(super) fn version_of(view: &View, service: &str) -> Option<Version> {
    view.origin(service).and_then(super::told::version)
}

impl ToldRegistry {
    /// What is for those whom the registry is only published to. Where it is and why it failed is the inside of a network, and how much is
    /// in it is what they may not list.
    fn without_inside(self) -> ToldRegistry {
        ToldRegistry { url: None, creator: None, repositories: None, last_error: None, ..self }
    }

    /// A registry, and what is known of it.
    pub fn of(view: &View, registry: &Registry, status: Option<&Status>) -> ToldRegistry {
        let origin = view.origin(&registry.service);
        ToldRegistry {
            service: registry.service.clone(),
            url: Some(registry.url.to_string()),
            hosts: registry.hosts.clone(),
            restricted: registry.restriction.is_restricted(),
            publications: registry.publications.clone(),
            responsibles: registry.responsibles.clone(),
            creator: origin.and_then(super::told::creator),
            origin: super::told::origin(origin),
            repositories: status.map(|status| status.repositories),
            last_event: status.and_then(|status| status.last_event).map(moment),
            sweep_began: status.and_then(|status| status.sweep.began).map(moment),
            sweep_ended: status.and_then(complete).map(moment),
            last_error: status.and_then(|status| status.sweep.error.as_ref()).map(|(cause, _)| cause.clone()),
            last_error_at: status.and_then(|status| status.sweep.error.as_ref()).map(|(_, at)| moment(*at)),
        }
    }
}
