//! `dockwarden man`: a page for each command, and the same pages from the same sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{Run, command, finish, run};
use crate::bed::Folder;

/// `dockwarden man`, on a day that is given.
fn man(directory: &Path, date: &str) -> Run {
    let mut man = command(["man", directory.to_str().unwrap()]);
    man.env("SOURCE_DATE_EPOCH", date);
    finish(man, "")
}

/// The commands below one, as its help lists them.
fn below(words: &[String]) -> Vec<String> {
    let help = run(words.iter().map(String::as_str).chain(["--help"])).out;
    let listed = help.split_once("\nCommands:\n").map_or("", |(_, listed)| listed.split("\n\n").next().unwrap());
    let names = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

/// The pages that a command and those below it should have.
fn expected(words: &[String], pages: &mut BTreeSet<String>) {
    let name: Vec<&str> = ["dockwarden"].into_iter().chain(words.iter().map(String::as_str)).collect();
    pages.insert(format!("{}.8", name.join("-")));
    for command in below(words) {
        expected(&[words, &[command]].concat(), pages);
    }
}

#[test]
fn every_command_has_a_page_with_the_date_of_its_sources() {
    let folder = Folder::new();
    let directory = folder.path("manual/pages");
    let written = man(&directory, "86400");
    assert_eq!((written.code, written.out.as_str(), written.err.as_str()), (0, "", ""));
    let read = || -> Vec<(String, String)> {
        let files = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap());
        let mut pages: Vec<_> = files
            .map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap()))
            .collect();
        pages.sort();
        pages
    };
    let pages = read();
    let mut names = BTreeSet::new();
    expected(&[], &mut names);
    assert!(names.contains("dockwarden-user-add.8"), "{names:?}");
    assert_eq!(pages.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(), names);
    for (name, page) in &pages {
        let title = name.strip_suffix(".8").unwrap().to_uppercase();
        assert!(page.contains(&format!(".TH {title} 8 1970-01-02 ")), "{name}: {page}");
        // A request ends with its line, however long.
        let is_untidy = |line: &&str| (line.len() > 79 && !line.starts_with('.')) || line.ends_with(' ');
        let long = page.lines().find(is_untidy);
        assert_eq!(long, None, "{name}");
    }
    man(&directory, "86400");
    assert_eq!(read(), pages);
}

#[test]
fn what_is_no_date_and_no_directory_is_told() {
    let folder = Folder::new();
    let wrong = man(&folder.path("manual"), "yesterday");
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""));
    assert!(wrong.err.contains("SOURCE_DATE_EPOCH") && !wrong.err.contains("yesterday"), "{}", wrong.err);
    fs::write(folder.path("file"), "").unwrap();
    let refused = run(["man", folder.path("file").to_str().unwrap()]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains(folder.path("file").to_str().unwrap()), "{}", refused.err);
}
