//! The dialogues with a database in the documents: each command prints what the document says.

use std::fs;
use std::path::Path;

use super::config;
use crate::support::dockwarden::program;
use crate::support::mongo::Database;
use crate::support::part;
use crate::support::scratch;

/// The dialogues of a document, in order.
fn dialogues(text: &str) -> Vec<&str> {
    const MARK: &str = "<!-- test: mongodb -->\n```console\n";
    text.split(MARK).skip(1).map(|after| after.split_once("```").unwrap().0).collect()
}

/// The commands of a dialogue, each with what it prints.
fn exchanges(dialogue: &str) -> Vec<(String, String)> {
    let mut exchanges: Vec<(String, String)> = Vec::new();
    for line in dialogue.lines() {
        match (line.strip_prefix("$ "), exchanges.last_mut()) {
            (Some(command), _) => exchanges.push((command.to_owned(), String::new())),
            (None, Some((_, printed))) => printed.push_str(&format!("{line}\n")),
            (None, None) => panic!("a dialogue begins with a command: {line}"),
        }
    }
    exchanges
}

#[test]
fn the_dialogues_of_the_documents_are_what_happens() {
    let mut tried = 0;
    let folders = ["start", "how-to", "reference", "explain"]
        .map(|name| fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap());
    for document in folders.into_iter().flatten() {
        let document = document.unwrap().path();
        let text = fs::read_to_string(&document).unwrap();
        let dialogues = dialogues(&text);
        if dialogues.is_empty() {
            continue;
        }
        // One after the other on one database, as somebody would who follows the document.
        let database = Database::start();
        let directory = scratch::directory("docs");
        scratch::write(&directory, "config.yml", &fs::read_to_string(config(&database)).unwrap());
        let path = format!("{}:{}", program().parent().unwrap().display(), std::env::var("PATH").unwrap());
        for (command, expected) in dialogues.into_iter().flat_map(exchanges) {
            let mut shell = part::command("sh");
            let said = part::run(shell.args(["-c", &command]).env("PATH", &path).current_dir(&directory)).well();
            assert_eq!(said.text, expected, "{}: {command}", document.display());
            tried += 1;
        }
    }
    assert!(tried > 10, "{tried}");
}
