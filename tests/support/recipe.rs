//! The files that the recipes in `docs/how-to` show, taken out of their pages as they stand there.

use std::fs;
use std::path::Path;

/// The hash in every example: of a random password that was thrown away, so that nobody can log in with what is copied.
pub(crate) const NOBODYS_HASH: &str = "$2b$10$gBzOzsfI2FDp578beYt0WO66NjTZDBQ3bwp5ACzAk750kugGy7m/u";

/// A page.
#[derive(Debug)]
pub(crate) struct Recipe {
    name: &'static str,
    text: String,
}

impl Recipe {
    /// Reads a page of `docs/how-to`.
    pub(crate) fn read(name: &'static str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/how-to").join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { name, text }
    }

    /// The one line that begins so, such as a command's.
    ///
    /// # Panics
    /// If there is none, or more than one.
    pub(crate) fn line(&self, beginning: &str) -> &str {
        let found: Vec<&str> = self.text.lines().map(str::trim).filter(|line| line.starts_with(beginning)).collect();
        let [only] = found.as_slice() else { panic!("{} has {} lines {beginning:?}", self.name, found.len()) };
        only
    }

    /// The file under `<!-- test: file NAME -->`, with what this machine has in the place of what it names.
    ///
    /// # Panics
    /// If there is no such file, or if a text that is to be replaced is not in it: the test would no longer try what the
    /// page shows.
    pub(crate) fn file(&self, name: &str, changes: &[(&str, &str)]) -> String {
        let mark = format!("<!-- test: file {name} -->\n");
        let shown = self.text.split_once(&mark).and_then(|(_, rest)| {
            let (_, rest) = rest.split_once("```")?;
            let (_, rest) = rest.split_once('\n')?;
            Some(rest.split_once("\n```\n")?.0)
        });
        let text = shown.unwrap_or_else(|| panic!("{} shows no {name}", self.name)).to_owned() + "\n";
        changes.iter().fold(text, |text, (theirs, ours)| {
            assert!(text.contains(theirs), "{theirs:?} is no longer in {name} of {}", self.name);
            text.replace(theirs, ours)
        })
    }
}
