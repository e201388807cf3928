//! The compose file of the page for OpenSVC's users: registry, nginx and Dockwarden, from the page as it stands.

use std::fs;
use std::time::Duration;

use super::commands;
use crate::support::dockwarden::hash;
use crate::support::part;
use crate::support::person::Person;
use crate::support::process::until_within;
use crate::support::project::{HOST, Project};
use crate::support::recipe::{NOBODYS_HASH, Recipe};

/// How long nginx may take to listen, and an event to arrive.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn what_is_pushed_is_found_by_those_who_may_pull_it() {
    let page = Recipe::read("opensvc.md");
    let project = Project::empty(&["compose.yml"]);
    fs::create_dir_all(project.directory.join("config")).unwrap();
    let hashed = hash("ann's password");
    for (name, place, changes) in [
        ("compose.yml", "compose.yml", &[][..]),
        ("nginx.conf", "nginx.conf", &[]),
        ("registry.yml", "registry.yml", &[]),
        ("auth_config.yml", "config/auth_config.yml", &[(NOBODYS_HASH, &*hashed)]),
    ] {
        fs::write(project.directory.join(place), page.file(name, changes)).unwrap();
    }
    let set_up = commands("docs/how-to/opensvc.md", "mkdir -p certs/tls", "sed -i");
    part::run(project.command("sh").args(["-ec", &set_up])).well();
    let authority = project.renew_tls();
    project.compose(&["up", "-d"]).well();

    let ann = Person::at(project.engine(), HOST);
    ann.build("searched");
    until_within(SOON, "nginx to listen", || {
        (!ann.login("ann", "not the password").text.contains("connection refused")).then_some(())
    });
    ann.login("ann", "not the password").refused(&["unauthorized", "401"]);
    ann.login("ann", "ann's password").well();
    ann.push("searched", "users/1/hello").well();
    let term = format!("{HOST}/hello");
    let search = |person: &Person| person.docker(&["search", "--format", "{{.Name}}", &term]).well().stdout;
    until_within(SOON, "it to be found", || (search(&ann) == "users/1/hello\n").then_some(()));
    let bob = Person::at(project.engine(), HOST);
    bob.login("bob", "ann's password").well();
    assert_eq!(search(&bob), "");
    // Nobody may push what is others', whatever the collector let through.
    bob.push("searched", "users/1/hello").refused(&["denied"]);
    let catalog = project.curl(&authority, &["--user", "ann:ann's password", &format!("https://{HOST}/v2/_catalog")]);
    assert!(catalog.starts_with("200"), "{catalog}");
    project.down();
}
