//! Groups, apps, services and users of the directory: which there are, and making, changing and removing them.

use std::collections::BTreeSet;

use axum::response::Response;

use super::area::{Area, Room, Turn, VERSION};
use super::frame::Problem;
use super::sheet::{Cell, Input, Link, Sending, Sheet, Table};
use crate::directory::NewEntry;
use crate::directory::rights::ManagedAction;
use crate::management::{self, Fields, MemberKind, Page, ToldMember};
use crate::secrets::Wanted;

/// The account of a service that nobody has, to find out whether somebody may make any.
const ANY_SERVICE: &str = "services/service@node";

/// What all of a kind are called.
pub(super) fn all_of(kind: MemberKind) -> &'static str {
    match kind {
        MemberKind::Group => "Groups",
        MemberKind::App => "Apps",
        MemberKind::Service => "Services",
        MemberKind::User => "Users",
    }
}

/// What a new one is called.
fn new_one(kind: MemberKind) -> &'static str {
    match kind {
        MemberKind::Group => "New group",
        MemberKind::App => "New app",
        MemberKind::Service => "New service",
        MemberKind::User => "New user",
    }
}

/// What is said of an entry: its id where it has one, and the rest.
fn facts_of(member: &ToldMember) -> (Option<u64>, Vec<(&'static str, String)>, &'static str) {
    match member {
        ToldMember::Group { id, privileges, origin, .. } => {
            (Some(*id), vec![("Privileges", privileges.join(", "))], *origin)
        }
        ToldMember::App { id, responsibles, publications, origin, .. } => {
            let facts = vec![("Responsible", responsibles.join(", ")), ("Published to", publications.join(", "))];
            (Some(*id), facts, *origin)
        }
        ToldMember::Service { app, origin, .. } => (None, vec![("App", app.clone())], *origin),
        ToldMember::User { id, groups, primary_group, privileges, quota, declared, origin, .. } => {
            let facts = vec![
                ("Groups", groups.join(", ")),
                ("Primary group", primary_group.clone().unwrap_or_default()),
                ("Privileges", privileges.join(", ")),
                ("Quota", quota.map_or_else(|| "none".to_owned(), |quota| quota.to_string())),
                ("Registries declared", declared.to_string()),
            ];
            (Some(*id), facts, *origin)
        }
    }
}

/// What can be said of an entry of a kind, with what is so already.
fn inputs_of(kind: MemberKind, member: Option<&ToldMember>) -> Vec<Input> {
    let texts = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let privileges =
        |own: &[&str]| Input::lines("privileges", "Privileges (puller, pusher, manager), one a line", &texts(own));
    let app = |own: &str| vec![Input::needed("app", "App", own)];
    let of_app = |responsibles: &[String], publications: &[String]| {
        vec![
            Input::lines("responsibles", "Groups that are responsible, one a line", responsibles),
            Input::lines("publications", "Groups that it is published to, one a line", publications),
        ]
    };
    let of_user = |groups: &[String], primary: &str, quota: String| {
        vec![
            Input::lines("groups", "Groups, one a line", groups),
            Input::line("primary_group", "Primary group, one of these", primary),
            Input::line("quota", "Quota of registries; empty for any number", quota),
        ]
    };
    match member {
        Some(ToldMember::Group { privileges: own, .. }) => vec![privileges(own)],
        Some(ToldMember::App { responsibles, publications, .. }) => of_app(responsibles, publications),
        Some(ToldMember::Service { app: own, .. }) => app(own),
        Some(ToldMember::User { groups, primary_group, privileges: own, quota, .. }) => {
            let quota = quota.map(|quota| quota.to_string()).unwrap_or_default();
            let mut all = of_user(groups, primary_group.as_deref().unwrap_or_default(), quota);
            all.push(privileges(own));
            all
        }
        None => match kind {
            MemberKind::Group => vec![privileges(&[])],
            MemberKind::App => of_app(&[], &[]),
            MemberKind::Service => app(""),
            MemberKind::User => {
                let mut all = of_user(&[], "", String::new());
                all.push(privileges(&[]));
                all
            }
        },
    }
}

fn not_a_number(field: &'static str) -> Problem {
    Problem::Field { field, wanted: "write a whole number, in digits" }
}

/// Whether somebody may make an entry of a kind: the next one.
pub(super) async fn may_make(desk: &management::Desk<'_>, kind: MemberKind) -> Result<Option<u64>, Problem> {
    // Where nothing is kept, nothing is made.
    if desk.access.directory().is_none() {
        return Ok(None);
    }
    let id = desk.free_id(kind)?;
    let name = match kind {
        MemberKind::Group | MemberKind::App | MemberKind::User => format!("{}/{id}", kind.entry().plural()),
        MemberKind::Service => ANY_SERVICE.to_owned(),
    };
    Ok(desk.could(&name, ManagedAction::Create.action()).await?.then_some(id))
}

impl Room<'_> {
    /// Which there are.
    pub(super) async fn members(&self, kind: MemberKind) -> Result<Response, Problem> {
        let page = self.desk.members(kind, None, &self.sought()).await?;
        let makes = may_make(&self.desk, kind).await?.is_some();
        if page.items.is_empty() && !makes && self.said("search").is_none() {
            return Err(Problem::Nothing);
        }
        let shown = self.shown(&page).await?;
        let row = |member: &ToldMember| {
            let (id, facts, _) = facts_of(member);
            let id = id.map(|id| Cell::text(id.to_string()));
            [self.member_named(kind, member, &shown)]
                .into_iter()
                .chain(id)
                .chain(facts.into_iter().map(|(_, text)| Cell::Text(text)))
                .collect()
        };
        let columns: &[&str] = match kind {
            MemberKind::Group => &["Group", "Id", "Privileges"],
            MemberKind::App => &["App", "Id", "Responsible", "Published to"],
            MemberKind::Service => &["Service", "App"],
            MemberKind::User => {
                &["User", "Id", "Groups", "Primary group", "Privileges", "Quota", "Registries declared"]
            }
        };
        let (rows, next) = self.rows(&page, row, |member| member.name().to_owned());
        let table = Table {
            title: "In the directory".to_owned(),
            columns: columns.to_vec(),
            rows,
            empty: "None found that you may see.",
            next: self.next(Area::Members(kind), &[], next),
        };
        let links = makes.then(|| self.link(new_one(kind), Area::NewMember(kind), &[])).into_iter().collect();
        let search = self.search(Area::Members(kind), Vec::new());
        self.show(Sheet { title: all_of(kind).to_owned(), links, search, tables: vec![table], ..Sheet::default() })
    }

    /// What a form says of an entry of this kind.
    fn said_of_member(&self, kind: MemberKind) -> Result<Fields, Problem> {
        let lines = |name| Wanted::Is(self.lines(name));
        let line = |name| match self.said(name) {
            Some(text) => Wanted::Is(text.to_owned()),
            None => Wanted::Lifted,
        };
        Ok(match kind {
            MemberKind::Group => Fields { privileges: lines("privileges"), ..Fields::default() },
            MemberKind::App => {
                Fields { responsibles: lines("responsibles"), publications: lines("publications"), ..Fields::default() }
            }
            MemberKind::Service => Fields { app: line("app"), ..Fields::default() },
            MemberKind::User => Fields {
                groups: lines("groups"),
                primary_group: line("primary_group"),
                quota: match self.said("quota") {
                    Some(quota) => Wanted::Is(quota.parse().map_err(|_| not_a_number("Quota of registries"))?),
                    None => Wanted::Lifted,
                },
                privileges: lines("privileges"),
                ..Fields::default()
            },
        })
    }

    /// The entry that a form describes.
    fn said_of_new(&self, kind: MemberKind, name: &str) -> Result<NewEntry, Problem> {
        let id = self.said("id").map(|id| id.parse::<u64>().map_err(|_| not_a_number("Id"))).transpose()?;
        // One of its name that is made later is another.
        let made = self.desk.now.unix_timestamp_nanos().to_string();
        Ok(self.said_of_member(kind)?.new_entry(kind, name, id, made)?)
    }

    /// Makes one.
    pub(super) async fn new_member(&self, kind: MemberKind) -> Result<Response, Problem> {
        match self.turn {
            Turn::Shown => {
                let id = may_make(&self.desk, kind).await?.ok_or(Problem::Nothing)?;
                let mut inputs = vec![Input::needed("name", "Name", "")];
                match kind {
                    MemberKind::Group | MemberKind::App | MemberKind::User => {
                        inputs.push(Input::needed("id", "Id", id.to_string()));
                    }
                    MemberKind::Service => {}
                }
                inputs.extend(inputs_of(kind, None));
                let form = self.form("In the directory", Area::NewMember(kind), "Make it", Vec::new());
                let forms = vec![self.form_with(form, inputs)];
                self.show(Sheet { title: new_one(kind).to_owned(), forms, ..Sheet::default() })
            }
            Turn::Sent => {
                let name = self.said("name").unwrap_or_default();
                let new = match self.said_of_new(kind, name) {
                    // Who may make none is not told what is wrong with the form either.
                    Err(_) if may_make(&self.desk, kind).await?.is_none() => return Err(Problem::Nothing),
                    new => new?,
                };
                self.desk.make_member(new).await?;
                self.log("an entry of the directory was made", &format!("{}/{name}", kind.entry().plural()));
                self.on_to(Area::Members(kind), &[])
            }
        }
    }

    /// One of them; and changes it.
    pub(super) async fn member(&self, kind: MemberKind) -> Result<Response, Problem> {
        let name = self.one("name")?;
        match self.turn {
            Turn::Shown => {}
            Turn::Sent => {
                let fields = match self.said_of_member(kind) {
                    // Who may not change it is not told what is wrong with the form either.
                    Err(wrong) => {
                        let (member, _) = self.desk.member(kind, name).await?;
                        let may = self.desk.rights(member.managed()).await?;
                        return Err(if may.contains(&ManagedAction::Change) { wrong } else { Problem::Nothing });
                    }
                    Ok(fields) => fields,
                };
                self.desk.change_member((kind, name), |version| self.seen(version), fields).await?;
                self.log("an entry of the directory was changed", &format!("{}/{name}", kind.entry().plural()));
                return self.on_to(Area::Member(kind), &[("name", name)]);
            }
        }
        let (member, version) = self.desk.member(kind, name).await?;
        let may = self.desk.rights(member.managed()).await?;
        let (id, more, origin) = facts_of(&member);
        let mut facts: Vec<(&'static str, String)> = id.map(|id| ("Id", id.to_string())).into_iter().collect();
        facts.extend(more);
        facts.push(("Declared", if origin == "file" { "in the file" } else { "in the records" }.to_owned()));
        let (mut links, mut forms) = (vec![self.link(all_of(kind), Area::Members(kind), &[])], Vec::new());
        if let Some(version) = version {
            if may.contains(&ManagedAction::Change) {
                let hidden = vec![("name", name.to_owned()), (VERSION, version.0.to_string())];
                let form: Sending = self.form("Change it", Area::Member(kind), "Save", hidden);
                forms.push(self.form_with(form, inputs_of(kind, Some(&member))));
            }
            if may.contains(&ManagedAction::Delete) {
                links.push(self.link("Remove it …", Area::RemoveMember(kind), &[("name", name)]));
            }
        }
        let (more, tables) = self.below(&member).await?;
        links.extend(more);
        self.show(Sheet { title: member.name().to_owned(), links, facts, forms, tables, ..Sheet::default() })
    }

    /// The members of a group, the services of an app, or the secrets of a service.
    async fn below(&self, member: &ToldMember) -> Result<(Vec<Link>, Vec<Table>), Problem> {
        let (of, kind, name) = match member {
            ToldMember::Group { name, .. } => (MemberKind::Group, MemberKind::User, name),
            ToldMember::App { name, .. } => (MemberKind::App, MemberKind::Service, name),
            ToldMember::Service { name, .. } => return self.living_secrets(name).await,
            ToldMember::User { .. } => return Ok((Vec::new(), Vec::new())),
        };
        let page = self.desk.members(kind, Some(name), &self.sought()).await?;
        let shown = self.shown(&page).await?;
        let row = |own: &ToldMember| vec![self.member_named(kind, own, &shown)];
        let (rows, next) = self.rows(&page, row, |own| own.name().to_owned());
        let table = Table {
            title: all_of(kind).to_owned(),
            columns: vec!["Name"],
            rows,
            empty: "None that you may see.",
            next: self.next(Area::Member(of), &[("name", name)], next),
        };
        Ok((Vec::new(), vec![table]))
    }

    /// The names of those entries that the asker may not only list, but see.
    async fn shown(&self, page: &Page<ToldMember>) -> Result<BTreeSet<String>, Problem> {
        let names: Vec<String> = page.items.iter().map(|own| own.managed().name()).collect();
        let may = self.desk.could_each(&names, ManagedAction::Show.action()).await?;
        let own = page.items.iter().zip(may).filter(|(_, may)| *may);
        Ok(own.map(|(own, _)| own.name().to_owned()).collect())
    }

    /// The name of an entry, which leads to it whoever may see it.
    fn member_named(&self, kind: MemberKind, own: &ToldMember, shown: &BTreeSet<String>) -> Cell {
        match shown.contains(own.name()) {
            true => Cell::Link(self.link(own.name(), Area::Member(kind), &[("name", own.name())])),
            false => Cell::text(own.name()),
        }
    }

    /// Asks whether to remove one, and does.
    pub(super) async fn remove_member(&self, kind: MemberKind) -> Result<Response, Problem> {
        let name = self.one("name")?;
        match self.turn {
            Turn::Shown => {
                let (member, version) = self.desk.member(kind, name).await?;
                let may = self.desk.rights(member.managed()).await?;
                let version = version.filter(|_| may.contains(&ManagedAction::Delete)).ok_or(Problem::Nothing)?;
                let hidden = vec![("name", name.to_owned()), (VERSION, version.0.to_string())];
                let form = self.form("This cannot be undone", Area::RemoveMember(kind), "Remove it", hidden);
                let links = vec![self.link(name, Area::Member(kind), &[("name", name)])];
                self.show(Sheet { title: format!("Remove {name}?"), links, forms: vec![form], ..Sheet::default() })
            }
            Turn::Sent => {
                let at = self.desk.remove_member((kind, name), |version| self.seen(version)).await?;
                self.log("an entry of the directory was removed", &at.to_string());
                self.on_to(Area::Members(kind), &[])
            }
        }
    }
}
