//! My repositories: what may be pulled, tag by tag, with the command for it; and deleted, where that is allowed.

use axum::http::StatusCode;
use axum::response::Response;
use policy::scope::Action;

use super::area::{Area, Room, Turn};
use super::frame::Problem;
use super::sheet::{Cell, Copy, Sheet, Table, UNKNOWN, minute_of};
use crate::catalogue::{Deleted, Emptied, Seen, Siblings, stopped_at};
use crate::management::{NotDone, Placed, ToldCaller, ToldTag};
use crate::shell::quoted;

/// Whether the asker may do this there.
fn may(found: &Placed, action: &str) -> bool {
    found.repository.actions.iter().flatten().any(|own| own == action)
}

/// A pull's command, for whoever may pull. A registry's or a tag's name is in quotes where a shell would read something else.
fn pull(found: &Placed, tag: &str) -> Option<Copy> {
    if !may(found, "pull") {
        return None;
    }
    let image = format!("{}/{}:{tag}", found.host.as_ref()?, found.repository.name);
    Some(Copy { title: "Pull", text: format!("docker pull {}", quoted(&image)), is_secret: false })
}

/// A size in the unit that people read.
fn bytes(size: u64) -> String {
    const STEP: u64 = 1000;
    let (mut left, mut rest, mut unit) = (size, 0, "bytes");
    for larger in ["kB", "MB", "GB", "TB"] {
        if left < STEP {
            break;
        }
        (left, rest, unit) = (left / STEP, left % STEP / 100, larger);
    }
    if unit == "bytes" { format!("{left} {unit}") } else { format!("{left}.{rest} {unit}") }
}

impl Room<'_> {
    /// What may be pulled, in all registries or in one.
    pub(super) async fn repositories(&self) -> Result<Response, Problem> {
        let registry = self.said("registry");
        let page = self.desk.everywhere(registry, &self.sought()).await?;
        let row = |found: &Placed| {
            let repository = &found.repository;
            let at = [("registry", found.service.as_str()), ("name", repository.name.as_str())];
            vec![
                Cell::Link(self.link(&repository.name, Area::Repository, &at)),
                Cell::text(&found.service),
                Cell::text(&repository.description),
                Cell::text(repository.tags.to_string()),
                Cell::text(repository.stars.to_string()),
            ]
        };
        let within: Vec<(&'static str, &str)> = registry.map(|own| ("registry", own)).into_iter().collect();
        let hidden = within.iter().map(|(name, own)| (*name, (*own).to_owned())).collect();
        let (rows, next) = self.rows(&page, row, Placed::place);
        let table = Table {
            title: registry.map_or_else(|| "In all registries".to_owned(), |registry| format!("In {registry}")),
            columns: vec!["Repository", "Registry", "Description", "Tags", "Stars"],
            rows,
            empty: "There is nothing here that you may pull.",
            next: self.next(Area::Repositories, &within, next),
        };
        let search = self.search(Area::Repositories, hidden);
        self.show(Sheet { title: "My repositories".to_owned(), search, tables: vec![table], ..Sheet::default() })
    }

    /// A repository and its tags.
    pub(super) async fn repository(&self) -> Result<Response, Problem> {
        let (service, name) = (self.one("registry")?, self.one("name")?);
        let at = [("registry", service), ("name", name)];
        let found = self.desk.placed(service, name).await?;
        let page = self.desk.tags(service, name, &self.sought()).await?;
        let row = |tag: &ToldTag| {
            let of_tag = [at[0], at[1], ("tag", tag.name.as_str())];
            vec![
                Cell::Link(self.link(&tag.name, Area::Tag, &of_tag)),
                Cell::Code(tag.digest.clone().unwrap_or_else(|| UNKNOWN.to_owned())),
                Cell::moment(tag.pushed.as_ref()),
            ]
        };
        let actions = found.repository.actions.clone().unwrap_or_default();
        let mut links = vec![
            self.link("Who may pull", Area::Callers, &[at[0], at[1], ("action", "pull")]),
            self.link("Who may push", Area::Callers, &[at[0], at[1], ("action", "push")]),
        ];
        if may(&found, "delete") {
            links.push(self.link("Delete all of it …", Area::Delete, &at));
        }
        let repository = &found.repository;
        let known = |at: &Option<String>| at.as_deref().map(minute_of).unwrap_or_default();
        let facts = vec![
            ("Registry", found.service.clone()),
            ("Description", repository.description.clone()),
            ("Tags", repository.tags.to_string()),
            ("Stars", repository.stars.to_string()),
            ("Last push", known(&repository.pushed)),
            ("Last pull", known(&repository.pulled)),
            ("You may", actions.join(", ")),
        ];
        let (rows, next) = self.rows(&page, row, |tag| tag.name.clone());
        let table = Table {
            title: "Tags".to_owned(),
            columns: vec!["Tag", "Digest", "Pushed"],
            rows,
            empty: "There are no such tags.",
            next: self.next(Area::Repository, &at, next),
        };
        let copies = page.items.first().and_then(|tag| pull(&found, &tag.name)).into_iter().collect();
        let hidden = vec![("registry", service.to_owned()), ("name", name.to_owned())];
        let search = self.search(Area::Repository, hidden);
        let (title, tables) = (repository.name.clone(), vec![table]);
        self.show(Sheet { title, links, copies, facts, search, tables, ..Sheet::default() })
    }

    /// What a tag names now.
    pub(super) async fn tag(&self) -> Result<Response, Problem> {
        let (service, name, tag) = (self.one("registry")?, self.one("name")?, self.one("tag")?);
        let at = [("registry", service), ("name", name), ("tag", tag)];
        let found = self.desk.placed(service, name).await?;
        let told = self.desk.tag(service, name, tag).await?;
        let mut links = vec![self.link(name, Area::Repository, &[at[0], at[1]])];
        if may(&found, "delete") {
            links.push(self.link("Delete this tag …", Area::Delete, &at));
        }
        let mut facts = vec![("Digest", told.digest.clone()), ("Media type", told.media_type.clone())];
        facts.extend(told.artifact_type.clone().map(|kind| ("Artifact", kind)));
        facts.extend(told.size.map(|size| ("Size", bytes(size))));
        let row = |what: &str, digest: &str, size| {
            vec![Cell::text(what), Cell::Code(digest.to_owned()), Cell::text(bytes(size))]
        };
        let parts = told.platforms.iter().take(SHOWN).map(|part| row(&part.platform, &part.digest, part.size));
        let others = told.referrers.iter().take(SHOWN).map(|one| row(&one.artifact_type, &one.digest, one.size));
        let table = |title: &str, what, rows| Table {
            title: title.to_owned(),
            columns: vec![what, "Digest", "Manifest"],
            rows,
            ..Table::default()
        };
        let (platforms, referrers) = (parts.collect(), others.collect());
        let tables = [table("Platforms", "Platform", platforms), table("What refers to it", "What", referrers)]
            .into_iter()
            .filter(|table| !table.rows.is_empty())
            .collect();
        let copies = pull(&found, tag).into_iter().collect();
        self.show(Sheet { title: format!("{name}:{tag}"), links, copies, facts, tables, ..Sheet::default() })
    }

    /// Who may pull from a repository, or push to it.
    pub(super) async fn callers(&self) -> Result<Response, Problem> {
        let (service, name, word) = (self.one("registry")?, self.one("name")?, self.one("action")?);
        let action = match word {
            "pull" => Action::Pull,
            "push" => Action::Push,
            _ => return Err(Problem::Nothing),
        };
        let at = [("registry", service), ("name", name), ("action", word)];
        let page = self.desk.callers((service, name), &action, &self.sought()).await?;
        let row = |caller: &ToldCaller| vec![Cell::text(&caller.name), Cell::text(caller.kind)];
        let (rows, next) = self.rows(&page, row, |caller| caller.name.clone());
        let table = Table {
            title: format!("Who may {word}, of those that you may list"),
            columns: vec!["Account", "Kind"],
            rows,
            empty: "Nobody that you may list.",
            next: self.next(Area::Callers, &at, next),
        };
        let links = vec![self.link(name, Area::Repository, &[at[0], at[1]])];
        self.show(Sheet { title: format!("Who may {word}: {name}"), links, tables: vec![table], ..Sheet::default() })
    }

    /// Asks whether to delete a tag, or all of a repository, and does.
    pub(super) async fn delete(&self) -> Result<Response, Problem> {
        let (service, name) = (self.one("registry")?, self.one("name")?);
        let found = self.desk.placed(service, name).await?;
        if !may(&found, "delete") {
            return Err(NotDone::NotGranted { action: "delete", name: format!("repository:{name}") }.into());
        }
        match (self.said("tag"), self.turn) {
            (None, Turn::Shown) => self.show(self.all_of(&found)),
            // What speaks of a tag never means all of them.
            (None, Turn::Sent) if ["tag", "digest", "with"].iter().any(|name| self.asked.has(name)) => {
                Err(Problem::Field { field: "tag", wanted: "name one" })
            }
            (None, Turn::Sent) if self.one("tags")? != found.repository.tags.to_string() => {
                let alert = "Tags came or went after this was shown, and nothing was deleted.".to_owned();
                Ok(self.show_as(StatusCode::PRECONDITION_FAILED, Sheet { alert: Some(alert), ..self.all_of(&found) }))
            }
            (None, Turn::Sent) => match self.desk.delete_repository(service, name).await? {
                Emptied::Done(_) | Emptied::WasGone => self.on_to(Area::Repositories, &[]),
                Emptied::Stopped { deleted, tag, by } => {
                    let alert = format!("{}; {}", by.sentence(), stopped_at(&tag, deleted));
                    Ok(self.show_as(status_of(&by), Sheet { alert: Some(alert), ..self.all_of(&found) }))
                }
            },
            (Some(tag), Turn::Shown) => {
                let digest = self.desk.tag(service, name, tag).await?.digest;
                self.show(self.one_tag(&found, (tag, &digest), None))
            }
            (Some(tag), Turn::Sent) => self.delete_tag(&found, tag).await,
        }
    }

    async fn delete_tag(&self, found: &Placed, tag: &str) -> Result<Response, Problem> {
        let (service, name) = (found.service.as_str(), found.repository.name.as_str());
        let digest = self.one("digest")?;
        let with = self.asked.field("with").map(|_| Siblings(self.lines("with").into_iter().collect()));
        let seen = Seen { digest: Some(digest.to_owned()), siblings: with };
        let deleted = self.desk.delete_tag((service, name), tag, &seen).await?;
        let sheet = match &deleted {
            Deleted::Done { .. } | Deleted::WasGone => {
                return self.on_to(Area::Repository, &[("registry", service), ("name", name)]);
            }
            Deleted::Siblings(with) => self.one_tag(found, (tag, digest), Some(with)),
            Deleted::Changed { digest } => self.one_tag(found, (tag, digest), None),
            Deleted::Off | Deleted::TooManyTags | Deleted::StillThere => self.one_tag(found, (tag, digest), None),
        };
        let alert = match &deleted {
            Deleted::Siblings(_) => "This registry deletes a manifest with all of its tags.".to_owned(),
            deleted => deleted.sentence(),
        };
        Ok(self.show_as(status_of(&deleted), Sheet { alert: Some(alert), ..sheet }))
    }

    /// The question about all of a repository.
    fn all_of(&self, found: &Placed) -> Sheet {
        let (service, name) = (found.service.clone(), found.repository.name.clone());
        let title = match found.repository.tags {
            1 => format!("Delete the only tag of {name}?"),
            tags => format!("Delete all {tags} tags of {name}?"),
        };
        let links = vec![self.link(&name, Area::Repository, &[("registry", &service), ("name", &name)])];
        let form = self.form(
            "This cannot be undone",
            Area::Delete,
            "Delete all of it",
            vec![("registry", service), ("name", name), ("tags", found.repository.tags.to_string())],
        );
        Sheet { title, links, forms: vec![form], ..Sheet::default() }
    }

    /// The question about one tag, and those that would go along.
    fn one_tag(&self, found: &Placed, (tag, digest): (&str, &str), with: Option<&Siblings>) -> Sheet {
        let (service, name) = (found.service.as_str(), found.repository.name.as_str());
        let mut hidden = vec![
            ("registry", service.to_owned()),
            ("name", name.to_owned()),
            ("tag", tag.to_owned()),
            ("digest", digest.to_owned()),
        ];
        let mut facts = vec![("Repository", name.to_owned()), ("Digest", digest.to_owned())];
        let mut button = "Delete the tag";
        if let Some(Siblings(tags)) = with {
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            hidden.push(("with", tags.join("\n")));
            facts.push(("Goes along", tags.join(", ")));
            button = "Delete all of these tags";
        }
        let at = [("registry", service), ("name", name), ("tag", tag)];
        let form = self.form("This cannot be undone", Area::Delete, button, hidden);
        let links = vec![self.link(format!("{name}:{tag}"), Area::Tag, &at)];
        Sheet { title: format!("Delete {name}:{tag}?"), links, facts, forms: vec![form], ..Sheet::default() }
    }
}

/// So many parts of an index, and so many referrers, are shown.
const SHOWN: usize = 100;

/// As the API answers.
fn status_of(deleted: &Deleted) -> StatusCode {
    match deleted {
        Deleted::Changed { .. } => StatusCode::PRECONDITION_FAILED,
        Deleted::StillThere => StatusCode::BAD_GATEWAY,
        Deleted::Done { .. } | Deleted::WasGone | Deleted::Siblings(_) | Deleted::Off | Deleted::TooManyTags => {
            StatusCode::CONFLICT
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_people() {
        for (size, told) in
            [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (1_999_999, "1.9 MB"), (u64::MAX, "18446744.0 TB")]
        {
            assert_eq!(bytes(size), told);
        }
    }
}
