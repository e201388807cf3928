//! How a configuration is read: from a file or from its text, with all files of secrets or with those that are needed.

use std::collections::BTreeSet;
use std::path::Path;

use settings::env::override_with;
use settings::files::read_document;
use settings::{Findings, Problem, Reading, Secrets, yaml};

use super::{Config, Invalid, decode};

/// Of which sections the files of secrets are read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// What signs tokens, and what the listener shows.
    pub(super) signing: Secrets,
    /// All others.
    others: Secrets,
    /// These are read in any case.
    asked: BTreeSet<&'static str>,
}

impl Read {
    fn all(secrets: Secrets) -> Read {
        Read { signing: secrets, others: secrets, asked: BTreeSet::new() }
    }

    /// Whether those of this section are.
    pub(super) fn of(&self, section: &str) -> Secrets {
        if self.asked.contains(section) { Secrets::Read } else { self.others }
    }
}

impl Config {
    /// Reads `file`, with the overrides that `variables` hold (see [`ENVIRONMENT_PREFIX`](super::ENVIRONMENT_PREFIX)).
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(
        file: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        secrets: Secrets,
    ) -> Result<Config, Invalid> {
        Config::load_with(file, variables, Read::all(secrets))
    }

    /// The same for who asks the backends and signs nothing: their passwords, certificates and files are read, the keys of
    /// tokens and of the listener are left alone.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_backends(
        file: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Invalid> {
        Config::load_with(file, variables, Read { others: Secrets::Read, ..Read::all(Secrets::Skip) })
    }

    /// The same for who asks these sections alone: of all others, files of secrets are left alone.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn load_asked(
        file: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        asked: &BTreeSet<&'static str>,
    ) -> Result<Config, Invalid> {
        Config::load_with(file, variables, Read { asked: asked.clone(), ..Read::all(Secrets::Skip) })
    }

    fn load_with(
        file: &Path,
        variables: impl IntoIterator<Item = (String, String)>,
        read: Read,
    ) -> Result<Config, Invalid> {
        let invalid = |problems| Invalid { file: file.to_owned(), problems };
        let text = read_document(file).map_err(|problem| invalid(vec![problem]))?;
        Config::read_with(file, &text, variables, &read).map_err(invalid)
    }

    /// Reads a configuration from its text; `file` is where it came from, for messages and for reloading.
    ///
    /// # Errors
    /// Everything that is wrong, ordered by place.
    pub fn read(
        file: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        secrets: Secrets,
    ) -> Result<Config, Vec<Problem>> {
        Config::read_with(file, text, variables, &Read::all(secrets))
    }

    /// The same for who asks the backends and signs nothing, as [`Config::load_backends`].
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn read_backends(
        file: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Vec<Problem>> {
        Config::read_with(file, text, variables, &Read { others: Secrets::Read, ..Read::all(Secrets::Skip) })
    }

    /// The same for who asks these sections alone, as [`Config::load_asked`].
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn read_asked(
        file: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        asked: &BTreeSet<&'static str>,
    ) -> Result<Config, Vec<Problem>> {
        Config::read_with(file, text, variables, &Read { asked: asked.clone(), ..Read::all(Secrets::Skip) })
    }

    fn read_with(
        file: &Path,
        text: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        read: &Read,
    ) -> Result<Config, Vec<Problem>> {
        let mut root = yaml::parse(text).map_err(|problem| vec![problem])?;
        let reading = Reading::default();
        override_with(&mut root, variables, &reading);
        reading.watch(file);
        let config = decode(file, &reading.root(&root, read.others), read);
        let Findings { problems, warnings, files } = reading.into_findings();
        match config {
            Some(config) if problems.is_empty() => Ok(Config { warnings, files, ..config }),
            Some(_) | None => Err(problems),
        }
    }
}
