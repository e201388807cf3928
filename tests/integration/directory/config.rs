//! How strictly the directory is read.

use std::path::Path;

use dockwarden::config::{Config, Secrets};

use super::opensvc;
use crate::bed::{BOB_HASH, Bed, Folder};

fn problems(text: &str) -> Vec<String> {
    let folder = Folder::new();
    let text = folder.complete(text);
    match Config::read(Path::new("config.yml"), &text, [], Secrets::Read) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect(),
    }
}

/// Check 30 of the reference, and what is like it.
#[test]
fn what_could_be_taken_for_another_is_refused_with_what_to_write() {
    assert_eq!(problems(&opensvc()), Vec::<String>::new());
    let service = format!("  \"web@n1\": {{password: \"{BOB_HASH}\"}}\n  ann");
    for (from, to, message) in [
        ("fin: {id: 30}", "\"20\": {id: 30}", "directory.groups: this name is the id of \"ops\""),
        ("fin: {id: 30}", "fin: {id: 20}", "directory.groups: \"ops\" has the id 20 already"),
        ("fin: {id: 30}", "fin: {id: 030}", "not an id"),
        ("fin: {id: 30}", "fin: {}", "an id is needed"),
        ("fin: {id: 30}", "Everybody: {id: 30}", "everybody in the directory is in this group already"),
        ("eve: {id: 5, groups: [dev]}", "eve: {id: 1, groups: [dev]}", "directory.users: \"ann\" has the id 1 already"),
        ("eve: {id: 5, groups: [dev]}", "\"4\": {id: 5}", "directory.users: this name is the id of \"dan\""),
        ("eve: {id: 5, groups: [dev]}", "eve: {id: 5, groups: [devs]}", "there is no group \"devs\" in the directory"),
        ("eve: {id: 5, groups: [dev]}", "eve: {id: 5, privileges: [admin]}", "not a privilege"),
        ("eve: {id: 5, groups: [dev]}", "eve: {id: 5, quota: 0}", "from 1 on"),
        ("eve: {id: 5, groups: [dev]}", "eve: {id: 5, primary_group: dev}", "the user is not in this group"),
        ("eve: {id: 5, groups: [dev]}", "eve: {id: 5, grups: [dev]}", "did you mean \"groups\""),
        ("bank: {id: 101, responsibles: [fin]", "bank: {id: 101, responsibles: [fun]", "there is no group \"fun\""),
        ("bank: {id: 101,", "bank: {id: 100,", "directory.apps: \"web\" has the id 100 already"),
        ("\"web@n1\": {app: web,", "\"web@n1\": {app: wob,", "there is no app \"wob\""),
        ("\"web@n1\": {app: web,", "\"n1\": {app: web,", "a service is called by its path and its node"),
        ("\"web@n1\": {app: web,", "\"web@n1\": {", "which app does the service belong to"),
        ("app: web, secrets: [", "app: web, secrets: [plain, ", "directory.services.web@n1.secrets"),
        ("publications: [dev, ops]", "publications: [dev, opps]", "there is no group \"opps\""),
        (
            "  ann: {password",
            &format!("{service}: {{password"),
            "the service web@n1 logs in by this name, and users has",
        ),
        ("standard_rules: opensvc", "standard_rules: other", "write opensvc"),
        ("directory:\n", "directory:\n  groups_from: gid\n", "the directory gives this label itself"),
    ] {
        let text = opensvc();
        assert!(text.contains(from), "{from}");
        let found = problems(&text.replacen(from, to, 1));
        assert!(found.iter().any(|problem| problem.contains(message)), "{from} -> {to}: {found:#?}");
    }
    let without = opensvc().split("\ndirectory:").next().unwrap().to_owned();
    let found = problems(&without);
    assert!(found.len() == 1 && found[0].contains("standard_rules: these rules go by the labels"), "{found:?}");
}

/// Names that differ in case alone load, and count by id only.
#[tokio::test]
async fn names_in_two_cases_count_by_id() {
    let text = opensvc()
        .replace("fin: {id: 30}", "DEV: {id: 30}")
        .replace("responsibles: [fin]", "responsibles: [DEV]")
        .replace("  services:", "    WEB: {id: 102, publications: [dev]}\n  services:");
    let bed = Bed::with(&text);
    for (scope, expected) in [
        ("repository:groups/10/x:pull,push", "pull,push"),
        ("repository:groups/dev/x:pull,push", ""),
        ("repository:groups/30/x:pull,push", ""),
        ("repository:apps/web/x:pull", ""),
        ("repository:apps/100/x:pull", "pull"),
        ("repository:apps/102/x:pull", "pull"),
    ] {
        assert_eq!(super::granted(&bed, "ann", scope, "reg").await, expected, "{scope}");
    }
}
