//! The `directory:` section, read strictly: an entry that is taken for another would give somebody another's rights.

use std::collections::BTreeSet;
use std::str::FromStr as _;

use settings::yaml::Value;
use settings::{At, Field, Refusal, Section};

use super::entry::{
    App, Entries, Group, MOST_SECRETS, Named, Privilege, Service, User, id_of, is_everybody, is_service,
};
use crate::authn::Account;
use crate::authn::password::{PUBLISHED_HASH, PasswordHash};
use crate::records;
use crate::registries::{Declared, Networks, read_names};
use crate::secrets::is_robots;
use crate::shown::is_plain_name;

/// The name of the section.
pub const NAME: &str = "directory";

/// The directory, as the file has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// The label whose values are names of groups, too.
    pub groups_from: Option<String>,
    /// What is in the file.
    pub entries: Entries,
    /// Where there are more, if anywhere.
    pub store: Option<records::Settings>,
    /// Where the registries may be that are declared there, besides public addresses.
    pub networks: Networks,
    /// What the file has tokens made for, registries or not.
    pub audiences: BTreeSet<String>,
}

impl Settings {
    /// The service that an account is called as, but for case.
    pub fn service_alike(&self, account: &str) -> Option<&Account> {
        let account = account.to_lowercase();
        self.entries.services.iter().map(|service| &service.name).find(|name| name.to_lowercase() == account)
    }
}

/// What else there is besides the file's own entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Nothing: what the file names has to be in it.
    Nothing,
    /// The records may have groups and apps, too.
    Records,
}

/// Reads the section, beside the registries that the file declares. `None` where something is wrong with it.
pub fn read(field: &Field<'_>, declared: Declared, elsewhere: Elsewhere) -> Option<Settings> {
    let Declared { registries, groups: named } = declared;
    let before = field.problem_count();
    let mut section = field.section()?;
    let groups_from = section.parsed("groups_from", |text| match text {
        "" => Err(Refusal::says("name the label whose values are groups")),
        text if super::Label::ALL.iter().any(|own| own.as_str() == text) => {
            Err(Refusal::says("the directory gives this label itself; name one of a login's, such as group"))
        }
        text => Ok(text.to_owned()),
    });
    let mut references = Vec::new();
    let groups = entries_of(&mut section, "groups", |name, place, fields| read_group(name, place, fields));
    let users =
        entries_of(&mut section, "users", |name, place, fields| read_user(name, place, fields, &mut references));
    let apps = entries_of(&mut section, "apps", |name, _, fields| read_app(name, fields, &mut references));
    let mut apps_named = Vec::new();
    let services =
        entries_of(&mut section, "services", |name, place, fields| read_service(name, place, fields, &mut apps_named));
    check_names(&section, "groups", &groups);
    check_names(&section, "users", &users);
    check_names(&section, "apps", &apps);
    references.extend(named);
    check_references(&section, ("groups", "group"), &references, &groups, elsewhere);
    check_references(&section, ("apps", "app"), &apps_named, &apps, elsewhere);
    for user in users.iter().filter(|at| is_service(&at.value.name)) {
        if services.iter().any(|service| service.value.name == user.value.name) {
            section.problem(
                &user.place,
                "users",
                "a service is called so, and logs in by itself; give the user another name",
            );
        }
    }
    section.finish();
    let entries = Entries {
        groups: groups.into_iter().map(|at| at.value).collect(),
        users: users.into_iter().map(|at| at.value).collect(),
        apps: apps.into_iter().map(|at| at.value).collect(),
        services: services.into_iter().map(|at| at.value).collect(),
        registries,
        ..Entries::default()
    };
    let groups_from = groups_from.map(|at| at.value);
    (field.problem_count() == before).then_some(Settings { groups_from, entries, ..Settings::default() })
}

/// The entries below a key, each with where its name stands.
fn entries_of<'file, T>(
    section: &mut Section<'file>,
    key: &'static str,
    mut read: impl FnMut(&str, &Field<'file>, Section<'file>) -> Option<T>,
) -> Vec<At<T>> {
    let Some(field) = section.field(key) else { return Vec::new() };
    let Some(entries) = field.entries() else {
        if !matches!(field.value(), Value::Null) {
            field.problem(format!("names and what there is to say of each are expected here: {key}: {{name: {{…}}}}"));
        }
        return Vec::new();
    };
    let read_one = |(name, entry): (&str, Field<'file>)| {
        let value = read(name, &entry, entry.section()?)?;
        if !is_plain_name(name) {
            let message = "this name has a space at its ends or characters that nobody sees, so another may look like it; call it \
                           something else";
            section.warn(entry.key_place(), key, message);
        }
        Some(At { place: entry.key_place().clone(), value })
    };
    entries.into_iter().filter_map(read_one).collect()
}

fn read_id(fields: &mut Section<'_>) -> Option<u64> {
    let id = fields.word("id", |text| id_of(text).ok_or_else(|| Refusal::is("not an id; write a number from 1 on")));
    if id.is_none() && !fields.has("id") {
        fields.missing("id", "an id is needed, a number that stays when the name changes; write id: 1");
    }
    id.map(|at| at.value)
}

fn read_privileges(fields: &mut Section<'_>) -> BTreeSet<Privilege> {
    let mut privileges = BTreeSet::new();
    for text in fields.texts("privileges").unwrap_or_default() {
        match Privilege::parse(&text.value) {
            Some(privilege) => drop(privileges.insert(privilege)),
            None => fields.refuse_word(
                &text,
                "privileges",
                &Refusal::is("not a privilege; write puller, pusher or manager"),
            ),
        }
    }
    privileges
}

fn read_group(name: &str, field: &Field<'_>, mut fields: Section<'_>) -> Option<Group> {
    if is_everybody(name) {
        let message = "everybody in the directory is in this group already; leave it out";
        field.problem_at(field.key_place(), message);
        return None;
    }
    if name.is_empty() {
        field.problem_at(field.key_place(), "a group needs a name");
        return None;
    }
    let (id, privileges) = (read_id(&mut fields), read_privileges(&mut fields));
    fields.finish();
    Some(Group { name: name.to_owned(), id: id?, privileges })
}

fn read_user(name: &str, field: &Field<'_>, mut fields: Section<'_>, references: &mut Vec<At<String>>) -> Option<User> {
    let account = match Account::parse(name) {
        Ok(account) => account,
        Err(wrong) => {
            field.problem_at(field.key_place(), wrong.to_string());
            return None;
        }
    };
    let id = read_id(&mut fields);
    let groups = read_names(&mut fields, "groups", references);
    let privileges = read_privileges(&mut fields);
    let primary_group = fields.filled("primary_group");
    if let Some(primary) = &primary_group
        && !groups.contains(&primary.value)
    {
        let message = "the user is not in this group; name one of the groups as it is written there";
        fields.problem(&primary.place, "primary_group", message);
    }
    let quota = fields.word("quota", |text| match text.parse::<u32>() {
        Ok(1..) => text.parse::<u32>().map_err(|_| Refusal::is("not a number")),
        Ok(0) | Err(_) => Err(Refusal::is("not a number of registries from 1 on; leave the key out for any number")),
    });
    fields.finish();
    let (primary_group, quota) = (primary_group.map(|at| at.value), quota.map(|at| at.value));
    Some(User { name: account, id: id?, groups, privileges, primary_group, quota })
}

fn read_app(name: &str, mut fields: Section<'_>, references: &mut Vec<At<String>>) -> Option<App> {
    let id = read_id(&mut fields);
    let responsibles = read_names(&mut fields, "responsibles", references);
    let publications = read_names(&mut fields, "publications", references);
    fields.finish();
    Some(App { name: name.to_owned(), id: id?, responsibles, publications })
}

fn read_service(
    name: &str,
    field: &Field<'_>,
    mut fields: Section<'_>,
    references: &mut Vec<At<String>>,
) -> Option<Service> {
    let app = fields.filled("app");
    match &app {
        Some(app) => references.push(app.clone()),
        None => fields.missing("app", "which app does the service belong to? write its code or its id"),
    }
    let mut secrets = Vec::new();
    for text in fields.texts("secrets").unwrap_or_default() {
        match PasswordHash::from_str(&text.value) {
            Ok(hash) => {
                if hash.is_published() {
                    fields.warn(&text.place, "secrets", PUBLISHED_HASH);
                }
                secrets.push(hash);
            }
            Err(message) => fields.problem(&text.place, "secrets", message),
        }
    }
    if secrets.iter().any(|hash| secrets.first().is_some_and(|first| first.cost() != hash.cost())) {
        fields.warn(
            fields.place(),
            "secrets",
            "hashes of different cost take different time, which tells who exists; use one cost for all",
        );
    }
    if secrets.len() > MOST_SECRETS {
        fields.missing(
            "secrets",
            "a service has two secrets at most: the new one, and the old one until all use the new",
        );
    }
    fields.finish();
    let account =
        Account::parse(name).ok().filter(|account| is_service(account) && account.is_typed() && !is_robots(account));
    let Some(account) = account else {
        let message = "a service is called by its path and its node, as it logs in: \"web@n1\"";
        field.problem_at(field.key_place(), message);
        return None;
    };
    Some(Service { name: account, app: app?.value, secrets, made: String::new() })
}

/// Notes the entries of which one could be taken for another: two of one id, and a name that is another's id. Names that differ in
/// case alone are told apart by their ids.
fn check_names<T: Named>(section: &Section<'_>, key: &str, entries: &[At<T>]) {
    for (index, At { place, value }) in entries.iter().enumerate() {
        let others = || entries.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, at)| &at.value);
        if let Some(other) = entries.iter().take(index).find(|at| at.value.id() == value.id()) {
            let message =
                format!("\"{}\" has the id {} already; give each its own", shown(other.value.name()), value.id());
            section.problem(place, key, message);
        }
        if let Some(other) = others().find(|other| id_of(value.name()) == Some(other.id())) {
            let message = format!(
                "this name is the id of \"{}\", and what is below {key}/{} could be either's; call it something else",
                shown(other.name()),
                other.id()
            );
            section.problem(place, key, message);
        }
    }
}

/// Notes names that nothing has.
fn check_references<T: Named>(
    section: &Section<'_>,
    (key, what): (&str, &str),
    references: &[At<String>],
    known: &[At<T>],
    elsewhere: Elsewhere,
) {
    let is_group = what == "group";
    let is_known = |text: &str| {
        (is_group && is_everybody(text))
            || known.iter().any(|at| at.value.name() == text || id_of(text) == Some(at.value.id()))
    };
    for At { place, value } in references.iter().filter(|at| !is_known(&at.value)) {
        let value = shown(value);
        match elsewhere {
            Elsewhere::Nothing => {
                section.problem(
                    place,
                    key,
                    format!("there is no {what} \"{value}\" in the directory; declare it in {key}"),
                );
            }
            Elsewhere::Records => section.warn(
                place,
                key,
                format!("the file has no {what} \"{value}\"; it counts for nothing until the records have one"),
            ),
        }
    }
}

/// A name as messages repeat it.
fn shown(name: &str) -> &str {
    settings::refused::shown_name(name)
}
