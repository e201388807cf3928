//! Registries: which there are, what is known of each, and declaring, changing and removing them.

use std::collections::BTreeSet;

use axum::response::Response;

use super::area::{Area, Room, Turn, VERSION};
use super::frame::Problem;
use super::sheet::{Cell, Input, Sending, Sheet, Table, minute_of};
use crate::directory::rights::{Managed, ManagedAction, REGISTRIES};
use crate::management::{RegistryFields, ToldRegistry};
use crate::secrets::Wanted;

/// A blank one, for whoever declares one.
fn blank() -> ToldRegistry {
    ToldRegistry {
        service: String::new(),
        url: None,
        hosts: Vec::new(),
        // As by the API and by command: a form that is sent as it came lets no more people push.
        restricted: true,
        publications: Vec::new(),
        responsibles: Vec::new(),
        creator: None,
        origin: "records",
        repositories: None,
        last_event: None,
        sweep_began: None,
        sweep_ended: None,
        last_error: None,
        last_error_at: None,
    }
}

/// How it is, in a word.
fn state(registry: &ToldRegistry) -> &'static str {
    match (&registry.last_error_at, &registry.sweep_ended, &registry.sweep_began) {
        (Some(_), _, _) => "the last sweep failed",
        (None, Some(_), _) => "swept",
        (None, None, Some(_)) => "being swept for the first time",
        (None, None, None) => "not swept yet",
    }
}

impl Room<'_> {
    async fn may_declare(&self) -> Result<bool, Problem> {
        Ok(self.desk.could(REGISTRIES, ManagedAction::Create.action()).await?)
    }

    /// Which there are.
    pub(super) async fn registries(&self) -> Result<Response, Problem> {
        let (page, declares) = (self.desk.registries(&self.sought()).await?, self.may_declare().await?);
        if page.items.is_empty() && !declares && self.said("search").is_none() {
            return Err(Problem::Nothing);
        }
        let names: Vec<String> = page.items.iter().map(|own| Managed::Registry(&own.service).name()).collect();
        let may = self.desk.could_each(&names, ManagedAction::Show.action()).await?;
        let shown: BTreeSet<&str> =
            page.items.iter().zip(may).filter(|(_, may)| *may).map(|(own, _)| own.service.as_str()).collect();
        let row = |registry: &ToldRegistry| {
            vec![
                match shown.contains(registry.service.as_str()) {
                    true => Cell::Link(self.link(&registry.service, Area::Registry, &[("name", &registry.service)])),
                    false => Cell::text(&registry.service),
                },
                Cell::text(registry.url.as_deref().unwrap_or_default()),
                Cell::text(registry.publications.join(", ")),
                Cell::text(registry.responsibles.join(", ")),
            ]
        };
        let (rows, next) = self.rows(&page, row, |registry| registry.service.clone());
        let table = Table {
            title: "Declared".to_owned(),
            columns: vec!["Registry", "Address", "Published to", "Responsible"],
            rows,
            empty: "None found that you may see.",
            next: self.next(Area::Registries, &[], next),
        };
        let links = declares.then(|| self.link("Declare a registry …", Area::NewRegistry, &[])).into_iter().collect();
        let search = self.search(Area::Registries, Vec::new());
        self.show(Sheet { title: "Registries".to_owned(), links, search, tables: vec![table], ..Sheet::default() })
    }

    /// The fields of a registry, as a form has them.
    fn fields_of(&self, form: Sending, registry: &ToldRegistry, is_new: bool) -> Sending {
        let mut inputs = Vec::new();
        if is_new {
            inputs.push(Input::needed("name", "Name, as in its tokens' service", ""));
        }
        inputs.push(Input::needed("url", "Address (https://…)", registry.url.as_deref().unwrap_or_default()));
        inputs.push(Input::lines("hosts", "Hosts that clients write, one a line", &registry.hosts));
        inputs.push(Input::lines("publications", "Groups that it is published to, one a line", &registry.publications));
        inputs.push(Input::lines("responsibles", "Groups that are responsible, one a line", &registry.responsibles));
        inputs.push(Input::check("restricted", "Only who is responsible may push", registry.restricted));
        inputs.push(Input::lines("authorities", "Certificates of its authorities, in PEM; empty leaves them", &[]));
        if !is_new {
            inputs.push(Input::check("public_authorities", "Only public authorities from now on", false));
        }
        self.form_with(form, inputs)
    }

    /// What a form says of a registry.
    fn said_of_it(&self, is_new: bool) -> RegistryFields {
        let authorities = match (self.said("authorities"), self.said("public_authorities")) {
            (_, Some(_)) => Wanted::Lifted,
            (Some(pem), None) => Wanted::Is(pem.to_owned()),
            (None, None) => Wanted::Unsaid,
        };
        let groups = |name| match self.lines(name) {
            // The standard then: the creator's primary group.
            groups if is_new && groups.is_empty() => Wanted::Unsaid,
            groups => Wanted::Is(groups),
        };
        RegistryFields {
            url: self.said("url").map(str::to_owned),
            hosts: match self.lines("hosts") {
                hosts if hosts.is_empty() => Wanted::Lifted,
                hosts => Wanted::Is(hosts),
            },
            authorities,
            restricted: Some(self.said("restricted").is_some()),
            publications: groups("publications"),
            responsibles: groups("responsibles"),
        }
    }

    /// Declares one.
    pub(super) async fn new_registry(&self) -> Result<Response, Problem> {
        match self.turn {
            Turn::Shown => {
                if !self.may_declare().await? {
                    return Err(Problem::Nothing);
                }
                let form = self.form("A registry", Area::NewRegistry, "Declare it", Vec::new());
                let forms = vec![self.fields_of(form, &blank(), true)];
                self.show(Sheet { title: "Declare a registry".to_owned(), forms, ..Sheet::default() })
            }
            Turn::Sent => {
                let name = self.said("name").unwrap_or_default();
                self.desk.declare(name, self.said_of_it(true)).await?;
                self.log("a registry was declared", name);
                self.on_to(Area::Registry, &[("name", name)])
            }
        }
    }

    /// One of them; and changes it.
    pub(super) async fn registry(&self) -> Result<Response, Problem> {
        let name = self.one("name")?;
        match self.turn {
            Turn::Shown => {}
            Turn::Sent => {
                self.desk.change_registry(name, |version| self.seen(version), self.said_of_it(false)).await?;
                self.log("a registry was changed", name);
                return self.on_to(Area::Registry, &[("name", name)]);
            }
        }
        let (registry, version) = self.desk.registry(name).await?;
        let may = self.desk.rights(Managed::Registry(name)).await?;
        let mut links = vec![self.link("Its repositories", Area::Repositories, &[("registry", name)])];
        let mut facts = vec![
            ("State", state(&registry).to_owned()),
            ("Hosts", registry.hosts.join(", ")),
            ("Pushing", if registry.restricted { "only who is responsible" } else { "as the rules say" }.to_owned()),
            ("Published to", registry.publications.join(", ")),
            ("Responsible", registry.responsibles.join(", ")),
            ("Declared", if registry.origin == "file" { "in the file" } else { "in the records" }.to_owned()),
        ];
        facts.extend(registry.url.clone().map(|url| ("Address", url)));
        facts.extend(registry.creator.clone().map(|creator| ("Declared by", creator)));
        facts.extend(registry.repositories.map(|count| ("Repositories", count.to_string())));
        let times = [
            ("Last event", &registry.last_event),
            ("Last sweep began", &registry.sweep_began),
            ("Last sweep ended", &registry.sweep_ended),
            ("Last error at", &registry.last_error_at),
        ];
        facts.extend(times.into_iter().filter_map(|(title, at)| Some((title, minute_of(at.as_deref()?)))));
        facts.extend(registry.last_error.clone().map(|error| ("Last error", error)));
        let mut forms = Vec::new();
        if let Some(version) = version {
            if may.contains(&ManagedAction::Change) {
                let hidden = vec![("name", name.to_owned()), (VERSION, version.0.to_string())];
                let form = self.form("Change it", Area::Registry, "Save", hidden);
                forms.push(self.fields_of(form, &registry, false));
            }
            if may.contains(&ManagedAction::Delete) {
                links.push(self.link("Remove it …", Area::RemoveRegistry, &[("name", name)]));
            }
        }
        if may.contains(&ManagedAction::Sweep) {
            let hidden = vec![("name", name.to_owned())];
            forms.push(self.form("Look again at what is in it", Area::Sweep, "Sweep now", hidden));
        }
        self.show(Sheet { title: registry.service, links, facts, forms, ..Sheet::default() })
    }

    /// Has it swept.
    pub(super) async fn sweep(&self) -> Result<Response, Problem> {
        let name = self.one("name")?;
        self.desk.begin_sweep(name).await?;
        self.on_to(Area::Registry, &[("name", name)])
    }

    /// Asks whether to declare it no more, and does.
    pub(super) async fn remove_registry(&self) -> Result<Response, Problem> {
        let name = self.one("name")?;
        match self.turn {
            Turn::Shown => {
                let (registry, version) = self.desk.registry(name).await?;
                let may = self.desk.rights(Managed::Registry(name)).await?;
                let version = version.filter(|_| may.contains(&ManagedAction::Delete)).ok_or(Problem::Nothing)?;
                let hidden = vec![("name", name.to_owned()), (VERSION, version.0.to_string())];
                let form = self.form("What is in it stays there", Area::RemoveRegistry, "Remove it", hidden);
                let links = vec![self.link(name, Area::Registry, &[("name", name)])];
                let title = format!("Remove {}?", registry.service);
                self.show(Sheet { title, links, forms: vec![form], ..Sheet::default() })
            }
            Turn::Sent => {
                self.desk.remove_registry(name, |version| self.seen(version)).await?;
                self.log("a registry is declared no more", name);
                self.on_to(Area::Registries, &[])
            }
        }
    }
}
