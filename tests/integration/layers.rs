//! The floors of the house: a room of `src/`, which is a file or folder there, uses rooms below it and none above.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The rooms from the ground to the roof. Those of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["background", "client_address", "client_network", "clock", "descriptors", "random"],
    &["decision_id", "digest", "json", "secret", "shown", "text"],
    &["activity", "breaker", "last_said", "lookups", "pem", "turns"],
    &["connections", "dial", "metrics", "reach"],
    &["http_api", "keys", "mongo", "program", "sql"],
    &["token"],
    &["identity"],
    &["records"],
    &["secrets"],
    &["passwords"],
    &["backend"],
    &["authn"],
    &["authz"],
    &["access"],
    &["backends", "mint"],
    &["config"],
    &["gateway"],
    &["app"],
    &["decision_log", "watch"],
    &["http"],
    &["server"],
    &["cli"],
    &["lib", "main"],
];

/// The room that a file of `src/` is in, or that the path `crate::…` leads to.
fn room(path: &str) -> &str {
    let first = path.split(['/', ':']).next().unwrap_or_default();
    first.strip_suffix(".rs").unwrap_or(first)
}

/// What comes after `crate::` wherever a text names it but in comments, each name of a list by itself.
fn imports(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    for code in code.join("\n").split("crate::").skip(1) {
        let Some(list) = code.strip_prefix('{') else {
            found.extend(code.split(|letter| !is_name(letter)).next().map(str::to_owned));
            continue;
        };
        let mut depth = 0;
        let names = list.split_inclusive(['{', '}', ',']).filter_map(|piece| {
            let outside = depth == 0;
            depth += i32::from(piece.ends_with('{')) - i32::from(piece.ends_with('}'));
            Some((outside, depth, piece.trim().split(|letter| !is_name(letter)).next()?))
        });
        for (outside, depth, name) in names {
            found.extend(Some(name.to_owned()).filter(|name| outside && !name.is_empty()));
            if depth < 0 {
                break;
            }
        }
    }
    found
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
        let from = room(path);
        for to in imports(text) {
            // `policy::scope` and `policy::target` are the policy crate's.
            if to != from && !["scope", "target"].contains(&to.as_str()) && floor(&to) >= floor(from) {
                found.insert((from.to_owned(), to));
            }
        }
    }
    found
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

#[test]
fn no_room_uses_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    gather(&root, &root, &mut files);
    let found = upwards(&files);
    assert!(found.is_empty(), "a room (left) imports one that is not below it (right): {found:?}");
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
