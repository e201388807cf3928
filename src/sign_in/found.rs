//! Who a provider says that somebody is, and why it may not be them.

use std::collections::BTreeMap;

use crate::secret::Secret;

/// The most values that one label may have. Who is in more groups than rules could name is not let in by a part of them.
pub(super) const MOST_VALUES: usize = 1_000;

/// What a provider says of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What the provider calls them for ever.
    pub(super) subject: String,
    /// What they are called, without our prefix.
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, Vec<String>>,
    /// What it is asked by again; `None` where it gave nothing.
    pub(super) credential: Option<Secret>,
}

/// Who it is that a provider is asked about again.
pub(super) struct Before {
    /// What it called them for ever; `None` where nobody but docker_auth asked it so far.
    pub(super) subject: Option<String>,
    /// What they were called, without our prefix.
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, Vec<String>>,
    pub(super) given_to: GivenTo,
}

/// Whom a provider gave what it is asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenTo {
    /// Us.
    Us,
    /// docker_auth, which kept no refresh token of GitLab's.
    DockerAuth,
}

/// Why nobody was found. No value from the provider is repeated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// It does not take the code.
    #[error("the provider does not take the code: it is used, too old, or somebody else's")]
    Code,
    /// Its answer is not one that it would give to us: which part is wrong.
    #[error("the provider's answer is not one to this sign-in: {0}")]
    Answer(&'static str),
    /// It does not know them any more, or they took our right to ask away.
    #[error("the provider does not let this person in any more")]
    Gone,
    /// Their address is not verified.
    #[error("the provider has not verified your e-mail address")]
    Unverified,
    /// It does not say any more who it is that docker_auth knew by name alone, or calls them otherwise by now.
    #[error("the provider does not say that this is still the person whom docker_auth knew")]
    Other,
    /// They have no name that an account can have.
    #[error("the provider gives you no name that an account here can have")]
    NoName,
    /// Somebody else has it, who may still come.
    #[error("somebody else has your name here; ask who runs this server")]
    NameTaken,
    /// They are not of the domain or organisation.
    #[error("you are not a member of the organisation that may sign in here")]
    NotMember,
    /// A label has too many values.
    #[error("you are in more groups than can be looked at here (1,000)")]
    TooManyValues,
}

impl Refused {
    /// Whether it is about the person, and not about what came back.
    pub(super) fn is_of_person(&self) -> bool {
        match self {
            Refused::Code | Refused::Answer(_) => false,
            Refused::Gone
            | Refused::Unverified
            | Refused::Other
            | Refused::NoName
            | Refused::NameTaken
            | Refused::NotMember
            | Refused::TooManyValues => true,
        }
    }
}
