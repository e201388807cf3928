//! How a configuration is read: from a file or from its text, with all files of secrets or with those that are needed.

use std::collections::BTreeSet;
use std::path::Path;

use settings::env::override_with;
use settings::files::read_document;
use settings::{Findings, Problem, Reading, Secrets, yaml};

use super::{Config, Invalid, decode};
use crate::records;

/// Of which sections the files of secrets are read.
#[derive(Clone, Debug)]
pub struct SecretsOf {
    /// What signs tokens, and what the listener shows.
    pub(super) signing: Secrets,
    /// All others.
    others: Secrets,
    /// These are read in any case.
    asked: BTreeSet<&'static str>,
}

/// All of them, or none.
impl From<Secrets> for SecretsOf {
    fn from(secrets: Secrets) -> SecretsOf {
        SecretsOf { signing: secrets, others: secrets, asked: BTreeSet::new() }
    }
}

impl SecretsOf {
    /// For who asks the backends and signs nothing: their passwords, certificates and files are read, the keys of tokens and of the
    /// listener are left alone.
    pub fn backends() -> SecretsOf {
        SecretsOf { others: Secrets::Read, ..Secrets::Skip.into() }
    }

    /// For who asks these sections alone: of all others, files of secrets are left alone.
    pub fn sections(asked: BTreeSet<&'static str>) -> SecretsOf {
        SecretsOf { asked, ..Secrets::Skip.into() }
    }

    /// Whether those of this section are read.
    pub(super) fn of(&self, section: &str) -> Secrets {
        if self.asked.contains(section) { Secrets::Read } else { self.others }
    }
}

impl Config {
    /// The same for a command, which waits longer for the records than a login can.
    pub(crate) fn patient(mut self) -> Config {
        let Some(store) = self.records.as_ref().map(records::Settings::patient) else { return self };
        for row in &mut self.backends.0 {
            if let Some(kept) = row.settings.kept_in(&store) {
                row.settings = kept;
            }
        }
        if let Some(directory) = &mut self.directory {
            directory.store = directory.store.take().map(|_| store.clone());
        }
        self.records = Some(store);
        self
    }

    /// Reads `file`, with the overrides that `variables` hold (see [`ENVIRONMENT_PREFIX`](super::ENVIRONMENT_PREFIX)).
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(
        file: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        secrets: impl Into<SecretsOf>,
    ) -> Result<Config, Invalid> {
        let invalid = |problems| Invalid { file: file.to_owned(), problems };
        let text = read_document(file).map_err(|problem| invalid(vec![problem]))?;
        Config::read(file, &text, variables, secrets).map_err(invalid)
    }

    /// Reads a configuration from its text; `file` is where it came from, for messages and for reloading.
    ///
    /// # Errors
    /// Everything that is wrong, ordered by place.
    pub fn read(
        file: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        secrets: impl Into<SecretsOf>,
    ) -> Result<Config, Vec<Problem>> {
        let secrets = secrets.into();
        let mut root = yaml::parse(text).map_err(|problem| vec![problem])?;
        let reading = Reading::default();
        override_with(&mut root, variables, &reading);
        reading.watch(file);
        let config = decode(file, &reading.root(&root, secrets.others), &secrets);
        let Findings { problems, warnings, files } = reading.into_findings();
        match config {
            Some(config) if problems.is_empty() => Ok(Config { warnings, files, ..config }),
            Some(_) | None => Err(problems),
        }
    }
}
