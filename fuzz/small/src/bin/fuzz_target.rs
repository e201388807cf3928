//! Any method and target: nothing panics, and what is accepted is what the registry's own routes, as expressions, read in it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use policy::scope::Reference;
use policy::target::{Part, Target};
use regex::Regex;

const TAG: &str = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}";
const DIGEST: &str = "[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";

/// The routes of a repository, in the registry's order, with the name of each.
static ROUTES: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    let component = "[a-z0-9]+(?:(?:[.]|_|__|-+)[a-z0-9]+)*";
    let label = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let name = format!("(?:{label}(?:[.]{label})*(?::[0-9]+)?/)?{component}(?:/{component})*");
    [
        ("tags", "tags/list".to_owned()),
        ("manifest", format!("manifests/(?P<reference>{TAG}|{DIGEST})")),
        ("blob", format!("blobs/(?P<reference>{DIGEST})")),
        ("uploads", "blobs/uploads/".to_owned()),
        ("upload", "blobs/uploads/[a-zA-Z0-9-_.=]+".to_owned()),
        // Of the distribution specification; no release of the stock registry has it.
        ("referrers", format!("referrers/(?P<reference>{DIGEST})")),
    ]
    .map(|(part, path)| (part, Regex::new(&format!("^/v2/(?P<name>{name})/{path}$")).expect("a route")))
    .into()
});

fn part_name(part: &Part) -> &'static str {
    match part {
        Part::Tags => "tags",
        Part::Manifest(_) => "manifest",
        Part::Blob(_) => "blob",
        Part::Uploads => "uploads",
        Part::Upload => "upload",
        Part::Referrers(_) => "referrers",
    }
}

fuzz_target!(|text: &str| {
    let (method, target) = text.split_once(' ').unwrap_or(("GET", text));
    let Ok(read) = Target::parse(target) else { return };
    let path = target.split('?').next().unwrap_or_default();
    assert!(path.starts_with('/') && path.is_ascii() && !path.contains(['\\', ';', '#']), "{path:?}");
    let segments = path.strip_prefix('/').unwrap_or_default().split('/');
    assert!(segments.clone().rev().skip(1).all(|segment| !matches!(segment, "" | "." | "..")), "{path:?}");
    let scopes = read.scopes(method);
    let visit = match &read {
        Target::Base => return assert!(matches!(path, "/v2" | "/v2/")),
        Target::Catalog(_) => return assert_eq!(path, "/v2/_catalog"),
        Target::Outside(own) => {
            assert!(own == path && path != "/v2" && !path.starts_with("/v2/"), "{path:?}");
            return;
        }
        Target::Repository(visit) => visit,
    };
    let Some((route, found)) = ROUTES.iter().find_map(|(route, regex)| Some((route, regex.captures(path)?))) else {
        panic!("{path:?} is no route");
    };
    assert_eq!((*route, &found["name"]), (part_name(&visit.part), visit.repository.name()), "{path:?}");
    let reference = found.name("reference").map(|text| text.as_str());
    assert_eq!(reference, visit.part.reference().map(Reference::as_str), "{path:?}");
    if let Ok(scopes) = scopes {
        let names: Vec<&str> = scopes.iter().map(|scope| scope.resource.name()).collect();
        let from = visit.from.as_ref().map(|from| from.name());
        assert_eq!(names, [Some(visit.repository.name()), from].into_iter().flatten().collect::<Vec<_>>());
        assert!(scopes.iter().all(|scope| scope.resource.kind() == "repository" && !scope.actions.is_empty()));
    }
});
