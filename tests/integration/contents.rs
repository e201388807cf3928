//! What documents and the chart list of the program: they name all of it, and in the program's order.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use dockwarden::backend::Purpose;
use dockwarden::backends::BACKENDS;

use crate::lists::keys_of_each_map;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// What stands between backquotes.
fn code(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The chart keeps out of its ConfigMap whatever can be in a file of its own: no secret of the program is forgotten there.
#[test]
fn the_chart_refuses_every_secret_of_the_configuration() {
    let maps = keys_of_each_map();
    let mut secrets = BTreeSet::new();
    for keys in maps.values() {
        let keys: BTreeSet<&str> = keys.split(", ").collect();
        secrets.extend(keys.iter().filter(|key| keys.contains(format!("{key}_file").as_str())).copied());
    }
    let template = read("deploy/chart/templates/_helpers.tpl");
    let (_, list) = template.split_once("{{- define \"dockwarden.secretKeys\" -}}\n").unwrap();
    let list: BTreeSet<&str> = list.lines().next().unwrap().split(' ').collect();
    assert_eq!(list, secrets);
}

/// What links of a text are called, where that is a key.
fn linked(text: &str) -> Vec<&str> {
    let names = text.match_indices("](").filter_map(|(end, _)| text[..end].rsplit_once('['));
    names.flat_map(|(_, name)| code(name)).collect()
}

fn sections_of_the_page() -> String {
    let page = read("docs/reference/config.md");
    let (_, sections) = page.split_once("\n## Sections\n").unwrap();
    sections.split("\n## ").next().unwrap().to_owned()
}

#[test]
fn sections_are_described_in_the_order_in_which_they_are_asked() {
    let page = sections_of_the_page();
    for (purpose, begins) in [(Purpose::Identity, "\n**Who may log in**"), (Purpose::Rules, "\n**What they may do**")] {
        let asked: Vec<&str> = BACKENDS.iter().filter(|kind| kind.purpose == purpose).map(|kind| kind.key).collect();
        let (_, told) = page.split_once(begins).unwrap();
        assert_eq!(linked(told.split("\n\n").next().unwrap()), asked);
    }
}

#[test]
fn every_section_is_in_the_list_of_sections() {
    let (maps, page) = (keys_of_each_map(), sections_of_the_page());
    let told: BTreeSet<&str> = linked(&page).into_iter().collect();
    let sections: BTreeSet<&str> = maps[""].split(", ").collect();
    assert_eq!(told, sections);
}

/// The manual has a page for each command, and so the reference has a row.
#[test]
fn every_command_is_in_a_table_of_the_reference() {
    let manual = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_dockwarden")).arg("man").arg(manual.path()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    // `.SH SYNOPSIS`, and then `\fBdockwarden user sign\-out\fR [\fB\-\-hash\fR] …`.
    let all: Vec<String> = fs::read_dir(manual.path())
        .unwrap()
        .map(|entry| {
            let page = fs::read_to_string(entry.unwrap().path()).unwrap();
            let (_, synopsis) = page.split_once(".SH SYNOPSIS\n\\fB").unwrap();
            synopsis.split_once("\\fR").unwrap().0.replace("\\-", "-")
        })
        .collect();
    // Those that only have others below them are no commands.
    let is_alone = |command: &&String| !all.iter().any(|other| other.starts_with(&format!("{command} ")));
    let commands: Vec<&String> = all.iter().filter(is_alone).collect();
    assert!(commands.len() > 50, "{commands:?}");
    let reference = ["cli", "cli-catalogue", "cli-policy", "cli-users-and-rules", "secrets"];
    let reference: String = reference.map(|page| read(&format!("docs/reference/{page}.md"))).concat();
    let rows: Vec<BTreeSet<&str>> = reference
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|row| {
            code(row.split(" | ").next().unwrap()).into_iter().flat_map(|piece| piece.split([' ', ','])).collect()
        })
        .collect();
    let is_told = |command: &&&String| rows.iter().any(|row| command.split(' ').skip(1).all(|word| row.contains(word)));
    let missing: Vec<&&String> = commands.iter().filter(|command| !is_told(command)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
