//! The documentation as a whole: every link leads somewhere, every page is found from the contents, and none is too long to read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages below a folder of `docs/`, by their names in there: `reference/config.md`. All of them for an empty name.
pub(crate) fn pages_below(folder: &str) -> BTreeMap<String, String> {
    let docs = repository().join("docs");
    let mut folders = vec![docs.join(folder)];
    let mut pages = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "md") {
                let name = path.strip_prefix(&docs).unwrap().to_str().unwrap().to_owned();
                pages.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    pages
}

/// The pages that describe the configuration file.
pub(crate) fn config_pages() -> BTreeMap<String, String> {
    let mut pages = pages_below("reference");
    pages.retain(|name, _| {
        name.starts_with("reference/config")
            || ["reference/rules.md", "reference/catalogue.md"].contains(&name.as_str())
    });
    assert!(pages.len() > 10, "{:?}", pages.keys());
    pages
}

/// The lines outside of examples.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    })
}

/// The headings of a page with their levels.
fn headings(text: &str) -> Vec<(usize, &str)> {
    prose(text)
        .filter_map(|line| {
            let title = line.trim_start_matches('#');
            Some((line.len() - title.len(), title.strip_prefix(' ')?.trim())).filter(|(level, _)| *level > 0)
        })
        .collect()
}

/// What a link to a heading says after `#`, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    // A link in a heading counts by its words.
    let mut words = String::new();
    let mut rest = heading;
    while let Some((before, after)) = rest.split_once("](") {
        words.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    words.push_str(rest);
    let kept = words.to_lowercase();
    kept.chars()
        .filter_map(|letter| match letter {
            ' ' => Some('-'),
            '-' | '_' => Some(letter),
            _ => letter.is_alphanumeric().then_some(letter),
        })
        .collect()
}

/// Where the links of a page lead, other sites left out.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in prose(text) {
        for after in line.split("](").skip(1) {
            let target = after.split(')').next().unwrap_or_default();
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push(target.to_owned());
            }
        }
    }
    found
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

/// The pages of the documentation and those at the top, by their paths in the repository.
fn all_pages() -> BTreeMap<PathBuf, String> {
    let mut all: BTreeMap<PathBuf, String> =
        pages_below("").into_iter().map(|(name, text)| (Path::new("docs").join(name), text)).collect();
    for name in ["README.md", "SECURITY.md", "CHANGELOG.md"] {
        all.insert(name.into(), fs::read_to_string(repository().join(name)).unwrap());
    }
    all
}

#[test]
fn every_link_leads_to_a_page_and_a_heading_that_are_there() {
    let all = all_pages();
    let mut broken = Vec::new();
    let mut followed = 0;
    for (page, text) in &all {
        for link in links(text) {
            let (path, heading) = link.split_once('#').map_or((&*link, None), |(path, heading)| (path, Some(heading)));
            let target = match path {
                "" => page.clone(),
                path => plain(&page.parent().unwrap().join(path)),
            };
            // The site is made of `docs/` alone: what is beside it cannot be linked from there.
            let stays = !page.starts_with("docs") || target.starts_with("docs");
            let leads = match (all.get(&target), heading) {
                (None, None) => repository().join(&target).exists(),
                (None, Some(_)) => false,
                (Some(_), None) => true,
                (Some(text), Some(wanted)) => headings(text).iter().any(|(_, title)| anchor(title) == wanted),
            };
            if !(stays && leads) {
                broken.push(format!("{}: {link}", page.display()));
            }
            followed += 1;
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(followed > 300, "only {followed} links were found");
}

/// How many lines a page may have.
fn longest(page: &str) -> usize {
    match page {
        // For whoever works on the program: with the lists that tests compare with the code.
        "docs/explain/architecture.md" => 280,
        _ if page.starts_with("docs/how-to/") => 150,
        // One line a page.
        "docs/README.md" | "docs/SUMMARY.md" => 180,
        _ if page.starts_with("docs/start/") => 130,
        _ if page.starts_with("docs/reference/") || page.starts_with("docs/explain/") => 250,
        _ => 120,
    }
}

#[test]
fn no_page_is_too_long_and_a_long_one_begins_with_its_contents() {
    let mut wrong = Vec::new();
    for (page, text) in all_pages() {
        let name = page.to_str().unwrap();
        let lines = text.lines().count();
        if lines > longest(name) {
            wrong.push(format!("{name} has {lines} lines, and may have {}", longest(name)));
        }
        let titles = headings(&text);
        if name != "docs/SUMMARY.md" && titles.iter().filter(|(level, _)| *level == 1).count() != 1 {
            wrong.push(format!("{name} needs one title"));
        }
        let is_list = name == "docs/SUMMARY.md" || name == "docs/README.md" || name == "README.md";
        if lines > 100 && !is_list {
            let contents = text.split("**On this page:**").nth(1).and_then(|after| after.split("\n\n").next());
            let named: BTreeSet<String> = links(contents.unwrap_or_default()).into_iter().collect();
            let missing =
                titles.iter().filter(|(level, title)| *level == 2 && !named.contains(&format!("#{}", anchor(title))));
            let missing: Vec<&str> = missing.map(|(_, title)| *title).collect();
            if contents.is_none() || !missing.is_empty() {
                wrong.push(format!(
                    "{name} has {lines} lines, and its \"**On this page:**\" has no link to {missing:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_page_is_in_the_contents_and_in_the_book() {
    let pages: BTreeSet<String> = pages_below("").into_keys().filter(|name| name != "SUMMARY.md").collect();
    let mut unlisted = Vec::new();
    for list in ["README.md", "SUMMARY.md"] {
        let text = fs::read_to_string(repository().join("docs").join(list)).unwrap();
        let listed: BTreeSet<String> =
            links(&text).iter().map(|link| link.split('#').next().unwrap_or_default().to_owned()).collect();
        unlisted.extend(
            pages.iter().filter(|page| *page != list && !listed.contains(*page)).map(|page| format!("{list}: {page}")),
        );
    }
    assert!(unlisted.is_empty(), "{}", unlisted.join("\n"));
}

/// The commands between fences.
fn commands(text: &str) -> Vec<&str> {
    text.split("```sh\n").skip(1).filter_map(|after| Some(after.split_once("```")?.0)).collect()
}

/// The quickstart repeats README's commands, with what they print; a test with real parts runs the latter.
#[test]
fn the_quickstart_has_the_commands_of_the_readme() {
    let all = all_pages();
    let quickstart = &all[Path::new("docs/start/quickstart.md")];
    let missing: Vec<&str> =
        commands(&all[Path::new("README.md")]).into_iter().filter(|block| !quickstart.contains(*block)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// The words that people search for, each in the contents beside a link.
#[test]
fn what_people_search_for_is_in_the_contents() {
    let contents = fs::read_to_string(repository().join("docs/README.md")).unwrap();
    let lines: Vec<String> = contents.lines().filter(|line| line.contains("](")).map(str::to_lowercase).collect();
    let words = "permission, team, robot, access token, personal token, CI, OIDC, Kubernetes, rate limit, 429, brute force, \
                 Prometheus, alert, key rotation, certificate, mirror, cache, ECR, TLS, load balancer, high availability, \
                 upgrade, rollback, backup, restore, Docker Desktop, podman, revoke, expire, anonymous, read-only, \
                 unauthorized, denied, LDAP, Active Directory, MongoDB, SQLite, PostgreSQL, nginx, Traefik, Caddy, docker_auth";
    let missing: Vec<&str> =
        words.split(", ").filter(|word| !lines.iter().any(|line| line.contains(&word.to_lowercase()))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The page makes nginx's file for a host of the one for docker compose.
#[test]
fn the_file_of_nginx_for_a_host_names_nothing_that_only_compose_knows() {
    let pages = pages_below("how-to");
    let blocks = commands(&pages["how-to/nginx-tls.md"]);
    let make = blocks.iter().find(|block| block.starts_with("sed ")).unwrap();
    let (make, _) = make.split_once(" >").unwrap();
    let made = Command::new("sh").args(["-ec", make]).current_dir(repository()).output().unwrap();
    let made = String::from_utf8(made.stdout).unwrap();
    let shipped = fs::read_to_string(repository().join("deploy/nginx/registry.conf")).unwrap();
    assert_eq!(made.lines().count() + 3, shipped.lines().count(), "{made}");
    for gone in ["resolver 127.0.0.11", "$registry", "$dockwarden", "set "] {
        let found = made.lines().filter(|line| !line.trim_start().starts_with('#')).any(|line| line.contains(gone));
        assert!(!found, "{gone}: {made}");
    }
    for there in ["proxy_pass http://127.0.0.1:5000;", "proxy_pass http://127.0.0.1:5001;", "listen 443 ssl;"] {
        assert!(made.contains(there), "{there}: {made}");
    }
}
