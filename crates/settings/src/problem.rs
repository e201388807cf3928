//! What is wrong with a configuration, where it stands, and what to write instead.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value of the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A line of the configuration file, counted from 1.
    Line(usize),
    /// An environment variable, by name.
    Environment(String),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(out, "line {line}"),
            Place::Environment(name) => write!(out, "environment variable {name}"),
        }
    }
}

/// A value together with the place it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// Where it stands.
    pub place: Place,
    /// The value.
    pub value: T,
}

/// One thing that is wrong, or (as a warning) that is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// The key's path, such as `token.issuer`; empty where the file as a whole is meant.
    pub path: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Problem {
    /// A problem at `place` with the key `path`.
    pub fn new(place: Place, path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { place, path: path.into(), message: message.into() }
    }

    /// The problem as one line a person can act on: `config.yml:12: token.issuer: …`.
    pub fn in_file(&self, file: &Path) -> String {
        // What is said of the file itself begins with its name.
        if self.path.is_empty() && self.message.starts_with(&*file.to_string_lossy()) {
            return self.message.clone();
        }
        let place = match &self.place {
            Place::Line(line) => format!("{}:{line}", file.display()),
            Place::Environment(name) => name.clone(),
        };
        match self.path.is_empty() {
            true => format!("{place}: {}", self.message),
            false => format!("{place}: {}: {}", self.path, self.message),
        }
    }
}

/// Everything that keeps a configuration from being used, in the order of the file.
#[derive(Debug)]
pub struct Invalid {
    /// The configuration file.
    pub file: PathBuf,
    /// What is wrong; never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{}", problem.in_file(&self.file))?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}
