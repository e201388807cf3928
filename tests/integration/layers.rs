//! The floors of the house: a room of `src/`, which is a file or folder there, uses rooms below it and none above.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rooms from the ground to the roof. Those of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["background", "client_address", "client_network", "clock", "descriptors", "owner", "random"],
    &["decision_id", "digest", "json", "secret", "shown", "text"],
    &["activity", "breaker", "decisions", "last_said", "link", "lookups", "pem", "shell", "turns"],
    &["connections", "dial", "metrics", "reach"],
    &["http_api", "keys", "mongo", "program", "sql", "telemetry"],
    &["acme", "token"],
    &["identity", "registries"],
    &["records", "whole_policy"],
    &["secrets", "shelf"],
    &["passwords"],
    &["backend"],
    &["authn", "workload"],
    &["sign_in"],
    &["directory"],
    &["authz"],
    &["access"],
    &["backends", "catalogue", "mint", "policy_tests"],
    &["config", "management"],
    &["gateway"],
    &["app"],
    &["decision_log", "watch"],
    &["http"],
    &["server"],
    &["cli"],
    &["lib", "main"],
];

/// The module that a file of `src/` is, from the crate on. A folder is the module of its `mod.rs`, or of the file beside it.
fn module(path: &str) -> Vec<String> {
    let path = path.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// Every path from `crate::`, `self::` or `super::` on that a file names, but in comments: of a list, each by itself. They begin
/// at the crate; in a module within the file, `super` is taken for the file's own.
fn imports(path: &str, text: &str) -> Vec<Vec<String>> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let own = module(path);
    let mut found = Vec::new();
    for (start, word) in ["crate", "self", "super"].into_iter().flat_map(|word| code.match_indices(word)) {
        if code[..start].ends_with(is_name) || code[..start].ends_with("::") {
            continue;
        }
        let base = if word == "crate" { Vec::new() } else { own.clone() };
        let rest = if word == "super" { &code[start..] } else { &code[start + word.len()..] };
        if word == "super" || rest.starts_with("::") {
            follow(rest.trim_start_matches("::"), base, &mut found);
        }
    }
    found
}

/// Reads a path, and the lists in it, after `base`; what is left of the text follows it.
fn follow<'text>(mut text: &'text str, mut base: Vec<String>, found: &mut Vec<Vec<String>>) -> &'text str {
    loop {
        text = text.trim_start();
        if let Some(mut list) = text.strip_prefix('{') {
            loop {
                list = follow(list, base.clone(), found).trim_start();
                match list.strip_prefix(',') {
                    Some(more) => list = more,
                    None => return list.strip_prefix('}').unwrap_or(list),
                }
            }
        }
        let (name, rest) =
            text.split_at(text.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(text.len()));
        match name {
            "" | "self" => {}
            "super" => _ = base.pop(),
            name => base.push(name.to_owned()),
        }
        match rest.strip_prefix("::") {
            Some(more) => text = more,
            None => {
                found.push(base);
                // `as` and another name.
                return &rest[rest.find([',', '}', ';', '\n']).unwrap_or(rest.len())..];
            }
        }
    }
}

/// Each import from a room to one that is not below it.
fn upwards(files: &[(String, String)]) -> BTreeSet<(String, String)> {
    let floor = |room: &str| {
        let floor = FLOORS.iter().position(|floor| floor.contains(&room));
        floor.unwrap_or_else(|| {
            panic!("the room {room} has no floor: say in tests/integration/layers.rs what may use it")
        })
    };
    let mut found = BTreeSet::new();
    for (path, text) in files {
        let from = module(path).remove(0);
        for to in imports(path, text).into_iter().filter_map(|import| import.into_iter().next()) {
            // The crate itself has no floor, and what it re-exports no room.
            if to != from && FLOORS.iter().any(|floor| floor.contains(&to.as_str())) && floor(&to) >= floor(&from) {
                found.insert((from.clone(), to));
            }
        }
    }
    found
}

/// The circles within a room: each sub-folder with a file or folder beside it that it uses and that uses it, by way of others
/// too. The room's own file, which puts them together, does not count.
fn circles(files: &[(String, String)]) -> BTreeSet<(String, String)> {
    let modules: BTreeSet<Vec<String>> = files.iter().map(|(path, _)| module(path)).collect();
    let folders: BTreeSet<&[String]> =
        modules.iter().flat_map(|module| (1..module.len()).map(|end| &module[..end])).collect();
    let mut uses = BTreeSet::<(&[String], &[String])>::new();
    for (path, text) in files {
        let from = modules.get(&module(path)).unwrap();
        for import in imports(path, text) {
            let Some(to) = (1..=import.len()).rev().find_map(|end| modules.get(&import[..end])) else { continue };
            // Where the two part, below the folder that both are in.
            let common = from.iter().zip(to).take_while(|(one, other)| one == other).count();
            if common > 0 && from.len() > common && to.len() > common {
                uses.insert((&from[..=common], &to[..=common]));
            }
        }
    }
    let mut reached = uses.clone();
    loop {
        let further: Vec<_> = reached
            .iter()
            .flat_map(|(from, by)| uses.iter().filter(move |(start, _)| start == by).map(move |(_, to)| (*from, *to)))
            .collect();
        let before = reached.len();
        reached.extend(further);
        if reached.len() == before {
            break;
        }
    }
    let circles = uses.iter().filter(|(from, to)| folders.contains(from) && reached.contains(&(*to, *from)));
    circles.map(|(from, to)| (from.join("/"), to.join("/"))).collect()
}

fn gather(folder: &Path, root: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, root, files);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    gather(&root, &root, &mut files);
    files
}

#[test]
fn no_room_uses_one_above_it() {
    let files = sources();
    let rooms: BTreeSet<String> = files.iter().map(|(path, _)| module(path).remove(0)).collect();
    let without = rooms.iter().find(|room| !FLOORS.iter().any(|floor| floor.contains(&room.as_str())));
    assert_eq!(without, None, "a room has no floor: say in tests/integration/layers.rs what may use it");
    let found = upwards(&files);
    assert!(found.is_empty(), "a room (left) imports one that is not below it (right): {found:?}");
}

#[test]
fn no_folder_within_a_room_is_in_a_circle() {
    let found = circles(&sources());
    assert!(found.is_empty(), "a folder (left) uses what is beside it (right), which uses it too: {found:?}");
}

#[test]
fn a_circle_within_a_room_is_found_however_it_is_written() {
    let file = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    for (one, other, is_found) in [
        ("use super::super::mongo::Users;", "use crate::authn::ldap::Name;", true),
        ("use crate::authn::{htpasswd, mongo::{self, Users}};", "use super::{ldap::Name};", true),
        ("use crate::authn::mongo::Users;", "use super::users::Users;", true),
        ("use crate::authn::mongo::Users;", "use super::users::{self, Other};", true),
        ("use crate::authn::mongo::Users;", "// use super::ldap::Name;", false),
        ("use crate::authn::mongo::Users;", "use crate::dial::Dialer;", false),
        // What the room's own file puts together.
        ("use crate::authn::mongo::Users;", "use super::Account;", false),
    ] {
        let planted = [
            file("authn/mod.rs", "use self::ldap::Name; use self::mongo::Users;"),
            file("authn/ldap/mod.rs", "use self::name::Name;"),
            file("authn/ldap/name.rs", one),
            file("authn/mongo.rs", other),
            file("authn/users.rs", "use super::ldap;"),
            file("authn/htpasswd.rs", ""),
            file("dial.rs", "use crate::authn::ldap;"),
        ];
        assert_eq!(!circles(&planted).is_empty(), is_found, "{one} {other}");
    }
}

#[test]
fn an_import_upwards_is_found_however_it_is_written() {
    for (path, text, found) in [
        ("turns.rs", "use crate::client_network::ClientNetwork;", None),
        ("turns.rs", "/// See [`App`](crate::app::App).", None),
        ("turns.rs", "use crate::app::App;", Some("app")),
        ("authn/ldap/mod.rs", "use crate::{\n    breaker::{Breaker, Trial},\n    http::door,\n};", Some("http")),
        ("authn/mod.rs", "fn ask() -> crate::access::Denied {}", Some("access")),
        ("mint.rs", "#[cfg(test)]\nmod tests {\n    use crate::server;\n}", Some("server")),
        // Of the same floor, and of the same room.
        ("mongo/mod.rs", "use crate::http_api::Api;", Some("http_api")),
        ("mongo/pulse.rs", "use crate::mongo::Failure; use crate::{json, text::without_mark};", None),
    ] {
        let planted = upwards(&[(path.to_owned(), text.to_owned())]);
        assert_eq!(planted.first().map(|(_, to)| to.as_str()), found, "{text}");
    }
}
