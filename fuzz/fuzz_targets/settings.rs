//! Any text as a file that is read strictly, by every kind of reader: its problems are named, and nothing panics or runs away.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use settings::number::duration;
use settings::{DayEnd, Field, Reading, Secrets, env, yaml};

fuzz_target!(|text: &str| {
    let file = Path::new("config.yml");
    let mut root = match yaml::parse(text) {
        Ok(root) => root,
        Err(problem) => return assert!(!problem.in_file(file).is_empty()),
    };
    let reading = Reading::default();
    env::override_with(&mut root, [("DOCKWARDEN__A__0__TEXT".to_owned(), text.to_owned())], &reading);
    read(&reading.root(&root, Secrets::Skip));
    assert!(reading.into_findings().problems.iter().all(|problem| !problem.in_file(file).is_empty()));
});

/// Reads a value as everything that it could be, and then what is in it.
fn read(field: &Field<'_>) {
    field.texts();
    for item in field.items().unwrap_or_default() {
        read(&item);
    }
    for (_, value) in field.entries().unwrap_or_default() {
        read(&value);
    }
    let Some(mut section) = field.section() else { return };
    section.text("text");
    section.texts("texts");
    section.flag("flag");
    section.word("duration", duration);
    section.moment("moment", DayEnd::End);
    section.path("path");
    let _ = section.secret("secret", "secret_file");
    section.finish();
}
