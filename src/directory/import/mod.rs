//! The directory out of the tables of OpenSVC's collector, and what changes for whom compared with what its code did.
//!
//! Pure: tables in, entries and a report out.

pub mod tables;

use std::collections::{BTreeMap, BTreeSet};

use self::tables::{Row, Tables};
use super::documents::NewEntry;
use super::entry::{App, EVERYBODY, Group, Named, Privilege, Service, User, id_of, is_everybody, is_service};
use crate::authn::Account;
use crate::registries::{Registry, Restriction, check_service, read_url};
use crate::shown::printable;

/// What comes of the tables.
#[derive(Debug, Default)]
pub struct Import {
    /// The entries, in an order in which each names only what is before it.
    pub entries: Vec<NewEntry>,
    /// What is left out, and why.
    pub left_out: Vec<String>,
    /// What is brought in, and otherwise than it is there.
    pub remarks: Vec<String>,
    /// Who gains or loses what.
    pub changes: Vec<String>,
}

/// The groups by the id of whatever names them.
type GroupsOf = BTreeMap<String, BTreeSet<String>>;

/// What was read of the tables, before it is an entry.
#[derive(Default)]
struct Collector {
    groups: BTreeMap<String, Group>,
    /// The groups that are a privilege, and that of everybody, by id.
    privileges: BTreeMap<String, Privilege>,
    everybody: BTreeSet<String>,
    members: GroupsOf,
    /// The primary group of each user.
    primary: BTreeMap<String, String>,
    left_out: Vec<String>,
    remarks: Vec<String>,
}

/// What there is of a registry for the report.
struct Known {
    service: String,
    published: BTreeSet<String>,
    responsible: BTreeSet<String>,
    restriction: Restriction,
}

/// Reads the collector's tables. `restricted` is taken as it is: T means that pushing needs responsibility, as its code has it.
///
/// # Errors
/// A table is missing without which nothing would be right.
pub fn from_opensvc(tables: &Tables) -> Result<Import, String> {
    for table in ["auth_user", "auth_group", "auth_membership", "docker_registries"] {
        if !tables.has(table) {
            return Err(format!("the table {table} is in none of the files; without it nobody would be who they are"));
        }
    }
    let mut collector = Collector::read(tables);
    let users = collector.users(tables);
    let (app_responsibles, app_publications) =
        (links(tables, "apps_responsibles", "app_id"), links(tables, "apps_publications", "app_id"));
    let apps: Vec<App> = tables
        .rows("apps")
        .iter()
        .filter_map(|row| {
            let (id, name) = (text(row, "id"), text(row, "app"));
            Some(App {
                name: name.to_owned(),
                id: id_of(id)?,
                responsibles: collector.named(app_responsibles.get(id)),
                publications: collector.named(app_publications.get(id)),
            })
        })
        .collect();
    let services = collector.services(tables, &apps);
    let registries = collector.registries(tables);
    let mut import = Import { left_out: collector.left_out, remarks: collector.remarks, ..Import::default() };
    by_id_alone(&mut import.left_out, "group", collector.groups.values());
    by_id_alone(&mut import.left_out, "user", users.iter());
    by_id_alone(&mut import.left_out, "app", apps.iter());
    report(&mut import.changes, (&users, &services, &apps), &registries);
    import.entries.extend(collector.groups.into_values().map(NewEntry::Group));
    import.entries.extend(users.into_iter().map(NewEntry::User));
    import.entries.extend(apps.into_iter().map(NewEntry::App));
    import.entries.extend(services.into_iter().map(NewEntry::Service));
    let declared = |registry| NewEntry::Registry { registry: Box::new(registry), authorities: None, creator: None };
    import.entries.extend(registries.into_iter().map(declared));
    Ok(import)
}

/// Says whose name is another's id, and so counts for nothing.
fn by_id_alone<'entry, T: Named + 'entry>(
    left_out: &mut Vec<String>,
    what: &str,
    entries: impl Iterator<Item = &'entry T> + Clone,
) {
    let ids: BTreeSet<u64> = entries.clone().map(Named::id).collect();
    for entry in entries {
        if id_of(entry.name()).is_some_and(|id| id != entry.id() && ids.contains(&id)) {
            left_out.push(format!(
                "the name of the {what} {}: it is another's id, so it counts by its own id alone",
                entry.name()
            ));
        }
    }
}

fn text<'row>(row: &'row Row, column: &str) -> &'row str {
    row.get(column).map(String::as_str).unwrap_or_default()
}

fn is_true(row: &Row, column: &str) -> bool {
    text(row, column) == "T"
}

/// The groups of each, by a table of pairs.
fn links(tables: &Tables, table: &str, column: &str) -> GroupsOf {
    let mut all = GroupsOf::new();
    for row in tables.rows(table) {
        all.entry(text(row, column).to_owned()).or_default().insert(text(row, "group_id").to_owned());
    }
    all
}

impl Collector {
    fn read(tables: &Tables) -> Collector {
        let mut collector = Collector::default();
        for row in tables.rows("auth_group") {
            let (id, role) = (text(row, "id").to_owned(), text(row, "role"));
            let group = |id| Group { name: role.to_owned(), id, privileges: BTreeSet::new() };
            match (Privilege::parse(role), id_of(&id)) {
                (Some(privilege), _) => drop(collector.privileges.insert(id, privilege)),
                (None, _) if is_everybody(role) => _ = collector.everybody.insert(id),
                // Another privilege of the collector's, which has nothing to do with registries.
                (None, _) if is_true(row, "privilege") => {}
                (None, Some(number)) => drop(collector.groups.insert(id, group(number))),
                (None, None) => collector.left_out.push(format!("the group {role}: its id is no number from 1 on")),
            }
        }
        for row in tables.rows("auth_membership") {
            let (user, group) = (text(row, "user_id").to_owned(), text(row, "group_id").to_owned());
            if is_true(row, "primary_group") {
                collector.primary.insert(user.clone(), group.clone());
            }
            collector.members.entry(user).or_default().insert(group);
        }
        collector
    }

    /// Ordinary groups as entries name them: by id, and everybody by its name.
    fn named(&self, groups: Option<&BTreeSet<String>>) -> Vec<String> {
        let name = |id: &String| match (self.everybody.contains(id), self.groups.contains_key(id)) {
            (true, _) => Some(EVERYBODY.to_owned()),
            (false, true) => Some(id.clone()),
            (false, false) => None,
        };
        groups.into_iter().flatten().filter_map(name).collect()
    }

    fn users(&mut self, tables: &Tables) -> Vec<User> {
        let mut users = Vec::new();
        for row in tables.rows("auth_user") {
            let (id, login) = (text(row, "id"), text(row, "email"));
            let (Some(number), Ok(name)) = (id_of(id), Account::parse(login)) else {
                self.left_out.push(format!("the user of the id {id}: without a login, nobody can be it"));
                continue;
            };
            let groups = self.members.get(id);
            let mut named = self.named(groups);
            named.retain(|group| !is_everybody(group));
            let primary = self.primary.get(id).map_or_else(|| text(row, "primary_group").to_owned(), Clone::clone);
            users.push(User {
                name,
                id: number,
                primary_group: Some(primary).filter(|group| named.contains(group)),
                groups: named,
                privileges: groups
                    .into_iter()
                    .flatten()
                    .filter_map(|group| self.privileges.get(group))
                    .copied()
                    .collect(),
                quota: text(row, "quota_docker_registries").parse().ok().filter(|quota| *quota > 0),
            });
        }
        users
    }

    /// The services, each at every node of its cluster, as they log in.
    fn services(&mut self, tables: &Tables, apps: &[App]) -> Vec<Service> {
        let mut nodes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in tables.rows("nodes").iter().filter(|row| !text(row, "cluster_id").is_empty()) {
            nodes.entry(text(row, "cluster_id")).or_default().push(text(row, "nodename"));
        }
        let (mut services, mut names) = (Vec::new(), BTreeSet::new());
        for row in tables.rows("services") {
            let (name, app) = (text(row, "svcname"), text(row, "svc_app"));
            let Some(known) = apps.iter().find(|own| own.name == app) else {
                self.left_out.push(format!("the service {name}: there is no app \"{app}\""));
                continue;
            };
            let Some(nodes) = nodes.get(text(row, "cluster_id")) else {
                self.left_out.push(format!("the service {name}: no file says at which nodes it is"));
                continue;
            };
            for node in nodes {
                let account = Account::parse(&format!("{name}@{node}")).ok().filter(|account| is_service(account));
                match account.filter(|account| names.insert(account.clone())) {
                    Some(name) => services.push(Service {
                        name,
                        app: known.id.to_string(),
                        secrets: Vec::new(),
                        made: text(row, "svc_id").to_owned(),
                    }),
                    None => self
                        .left_out
                        .push(format!("the service {name} at {node}: there are two, or it cannot log in so")),
                }
            }
        }
        services
    }

    /// What a registry's column says. It is T where nothing is said, as in the table itself.
    fn restriction(&mut self, service: &str, said: &str) -> Restriction {
        match said {
            "F" => Restriction::Open,
            "T" | "" => Restriction::Restricted,
            other => {
                self.remarks.push(format!(
                    "the registry {service}: restricted is neither T nor F there, but \"{}\"; it is restricted here",
                    printable(other)
                ));
                Restriction::Restricted
            }
        }
    }

    fn registries(&mut self, tables: &Tables) -> Vec<Registry> {
        let publications = links(tables, "docker_registries_publications", "registry_id");
        let responsibles = links(tables, "docker_registries_responsibles", "registry_id");
        let mut registries = Vec::new();
        for row in tables.rows("docker_registries") {
            let (id, service) = (text(row, "id"), text(row, "service"));
            let (Ok(()), Ok(url)) = (check_service(service), read_url(text(row, "url"))) else {
                self.left_out.push(format!("the registry {service}: its name or its url is none; declare it by hand"));
                continue;
            };
            if is_true(row, "insecure") && url.scheme() == "https" {
                self.remarks.push(format!(
                    "the registry {service} is reached without a check of its certificate there; here its authority has to be named"
                ));
            }
            let mut registry = Registry::from_address(service, url);
            registry.restriction = self.restriction(service, text(row, "restricted"));
            registry.publications = self.named(publications.get(id));
            registry.responsibles = self.named(responsibles.get(id));
            registries.push(registry);
        }
        registries
    }
}

/// Says who gains and loses what, compared with what the collector's code granted.
fn report(changes: &mut Vec<String>, (users, services, apps): (&[User], &[Service], &[App]), registries: &[Registry]) {
    let set = |groups: &[String]| groups.iter().cloned().collect::<BTreeSet<String>>();
    let registries: Vec<Known> = registries
        .iter()
        .map(|registry| Known {
            service: registry.service.clone(),
            published: set(&registry.publications),
            responsible: set(&registry.responsibles),
            restriction: registry.restriction,
        })
        .collect();
    let names = |is_meant: &dyn Fn(&Known) -> bool| {
        let meant = registries.iter().filter(|registry| is_meant(registry));
        meant.map(|registry| registry.service.as_str()).collect::<Vec<_>>().join(", ")
    };
    let mut tell = |who: &str, what: &str, at: String| {
        if !at.is_empty() {
            changes.push(format!("{who} {what} at {at}"));
        }
    };
    for user in users {
        let mut groups = set(&user.groups);
        groups.insert(EVERYBODY.to_owned());
        let sees = |registry: &Known| !registry.published.is_disjoint(&groups);
        let manages = |registry: &Known| {
            user.privileges.contains(&Privilege::Manager) && !registry.responsible.is_disjoint(&groups)
        };
        let may_push = |registry: &Known| {
            let is_free = match registry.restriction {
                Restriction::Open => true,
                Restriction::Restricted => !registry.responsible.is_disjoint(&groups),
            };
            user.privileges.contains(&Privilege::Pusher) && sees(registry) && is_free
        };
        let is_puller = user.privileges.contains(&Privilege::Puller);
        let name = user.name.as_str();
        tell(name, "loses pulling, without the privilege of pullers,", names(&|at| sees(at) && !is_puller));
        tell(name, "loses deleting, and everything by asking for *,", names(&|at| sees(at) && !manages(at)));
        tell(name, "gains deleting, as who manages it,", names(&|at| manages(at) && !sees(at)));
        tell(name, "loses pulling from users/ and groups/ of others", names(&|at| sees(at) && is_puller));
        tell(
            name,
            "loses pushing to users/ and groups/ of others",
            names(&|at| may_push(at) && !at.responsible.is_disjoint(&groups)),
        );
    }
    for service in services {
        let Some(own) = apps.iter().find(|app| app.id.to_string() == service.app) else { continue };
        let mut groups = set(&own.responsibles);
        groups.insert(EVERYBODY.to_owned());
        let sees = |registry: &Known| !registry.published.is_disjoint(&groups);
        let is_wide = |app: &&App| {
            let theirs = app.responsibles.iter().chain(&app.publications);
            app.id != own.id && theirs.into_iter().any(|group| own.responsibles.contains(group))
        };
        let others: Vec<&str> = apps.iter().filter(is_wide).map(|app| app.name.as_str()).collect();
        let name = service.name.as_str();
        tell(name, "loses pulling from users/ and groups/", names(&sees));
        if !others.is_empty() {
            tell(name, &format!("loses pulling from apps/ of {}", others.join(", ")), names(&sees));
        }
        tell(name, "needs a secret of its own in place of its node's", names(&sees));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn tables() -> Tables {
        let mut tables = Tables::default();
        for (table, text) in [
            ("auth_user", "id,email,quota_docker_registries\n1,ann@x,0\n2,cat@x,3\n3,,NULL\n"),
            (
                "auth_group",
                "id,role,privilege\n5,DockerRegistriesPuller,T\n6,DockerRegistriesPusher,T\n7,DockerRegistriesManager,T\n8,NodeManager,T\n9,Everybody,F\n10,dev,F\n20,ops,F\n",
            ),
            (
                "auth_membership",
                "user_id,group_id,primary_group\n1,10,F\n1,9,F\n1,6,F\n2,20,T\n2,10,F\n2,5,F\n2,6,F\n2,7,F\n2,8,F\n",
            ),
            ("apps", "id,app\n100,web\n101,bank\n"),
            ("apps_responsibles", "group_id,app_id\n10,100\n10,101\n"),
            ("services", "svc_id,svcname,svc_app,cluster_id\nu1,web,web,c1\nu2,ns/svc/b,bank,c2\nu3,old,none,c1\n"),
            ("nodes", "node_id,nodename,cluster_id\nx,n1,c1\ny,n2,c1\n"),
            (
                "docker_registries",
                "id,service,url,insecure,restricted\n1,reg,http://reg:5000,F,F\n2,vault,https://vault,T,T\n3,empty,,F,T\n",
            ),
            ("docker_registries_publications", "group_id,registry_id\n10,1\n9,2\n"),
            ("docker_registries_responsibles", "group_id,registry_id\n20,1\n20,2\n"),
        ] {
            tables.add_csv(table, text).unwrap();
        }
        tables
    }

    #[test]
    fn the_tables_of_the_collector_become_entries() {
        let import = from_opensvc(&tables()).unwrap();
        let shown: Vec<String> = import
            .entries
            .iter()
            .map(|entry| entry.entry().unwrap())
            .map(|entry| format!("{} {}", entry.at, entry.text))
            .collect();
        let expected = [
            "group/dev {\"id\":10}",
            "group/ops {\"id\":20}",
            "user/ann@x {\"id\":1,\"groups\":[\"10\"],\"privileges\":[\"pusher\"]}",
            "user/cat@x {\"id\":2,\"groups\":[\"10\",\"20\"],\"privileges\":[\"puller\",\"pusher\",\"manager\"],\"primary_group\":\"20\",\"quota\":3}",
            "app/web {\"id\":100,\"responsibles\":[\"10\"]}",
            "app/bank {\"id\":101,\"responsibles\":[\"10\"]}",
            "service/web@n1 {\"app\":\"100\",\"made\":\"u1\"}",
            "service/web@n2 {\"app\":\"100\",\"made\":\"u1\"}",
            "registry/reg {\"url\":\"http://reg:5000/\",\"hosts\":[\"reg\",\"reg:5000\"],\"restricted\":false,\"publications\":[\"10\"],\"responsibles\":[\"20\"]}",
            "registry/vault {\"url\":\"https://vault/\",\"hosts\":[\"vault\"],\"restricted\":true,\"publications\":[\"everybody\"],\"responsibles\":[\"20\"]}",
        ];
        assert_eq!(shown, expected);
        let left_out = [
            "the user of the id 3: without a login, nobody can be it",
            "the service ns/svc/b: no file says at which nodes it is",
            "the service old: there is no app \"none\"",
            "the registry empty: its name or its url is none; declare it by hand",
        ];
        assert_eq!(import.left_out, left_out);
        let remarks = [
            "the registry vault is reached without a check of its certificate there; here its authority has to be named",
        ];
        assert_eq!(import.remarks, remarks);
        assert!(from_opensvc(&Tables::default()).unwrap_err().contains("auth_user"));
    }

    /// A registry is open where that is said in as many letters, and nowhere else.
    #[test]
    fn restricted_is_what_is_not_said_to_be_open() {
        let mut tables = Tables::default();
        for table in ["auth_user", "auth_group", "auth_membership"] {
            tables.add_csv(table, "id\n").unwrap();
        }
        let rows = [
            ("f", "F", false),
            ("t", "T", true),
            ("n", "NULL", true),
            ("e", "", true),
            ("s", "t", true),
            ("x", "X", true),
        ];
        let lines = rows.map(|(name, said, _)| format!("1,{name},https://{name},{said}\n")).concat();
        tables.add_csv("docker_registries", &format!("id,service,url,restricted\n{lines}")).unwrap();
        tables
            .add_dump("CREATE TABLE `docker_registries` (\n  `id` int(11),\n  `service` varchar(128),\n  `url` varchar(255)\n);\nINSERT INTO `docker_registries` VALUES (9,'d','https://d');\n")
            .unwrap();
        let import = from_opensvc(&tables).unwrap();
        let registries = import.entries.iter().filter_map(|entry| match entry {
            NewEntry::Registry { registry, .. } => {
                Some((registry.service.clone(), registry.restriction.is_restricted()))
            }
            NewEntry::Group(_) | NewEntry::User(_) | NewEntry::App(_) | NewEntry::Service(_) => None,
        });
        let expected = rows.map(|(name, _, restricted)| (name.to_owned(), restricted));
        let expected: Vec<_> = expected.into_iter().chain([("d".to_owned(), true)]).collect();
        assert_eq!(registries.collect::<Vec<_>>(), expected);
        let said = |name, word| {
            format!("the registry {name}: restricted is neither T nor F there, but \"{word}\"; it is restricted here")
        };
        assert_eq!(import.remarks, [said("s", "t"), said("x", "X")]);
    }

    #[test]
    fn who_gains_or_loses_what_is_said() {
        let changes = from_opensvc(&tables()).unwrap().changes;
        for expected in [
            "ann@x loses pulling, without the privilege of pullers, at reg, vault",
            "ann@x loses deleting, and everything by asking for *, at reg, vault",
            "cat@x loses pulling from users/ and groups/ of others at reg, vault",
            "cat@x loses pushing to users/ and groups/ of others at reg, vault",
            "web@n1 loses pulling from users/ and groups/ at reg, vault",
            "web@n1 loses pulling from apps/ of bank at reg, vault",
            "web@n2 needs a secret of its own in place of its node's at reg, vault",
        ] {
            assert!(changes.iter().any(|change| change == expected), "{expected}: {changes:#?}");
        }
        assert!(!changes.iter().any(|change| change.starts_with("cat@x loses deleting")), "{changes:#?}");
    }
}
