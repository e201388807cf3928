//! What an identity backend owes whose people sign in in a browser, at a provider.

use async_trait::async_trait;
use time::OffsetDateTime;
use url::Url;

use super::Authenticator;
use crate::identity::Account;
use crate::secret::Secret;
use crate::turns::Client;

/// A provider that people can choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its name among those of its section, where there are several.
    pub name: Option<String>,
    /// What people are shown.
    pub title: String,
    /// The registry that they are told to log in to.
    pub registry: Option<String>,
}

/// What is bound to one sign-in and to the browser that began it.
pub struct Flow<'flow> {
    /// What the provider sends back with its answer.
    pub state: &'flow str,
    /// What the ID token must repeat.
    pub nonce: &'flow str,
    /// What proves that the code is redeemed by whom it was asked for (RFC 7636).
    pub verifier: &'flow Secret,
}

/// What the browser brings back from a provider, and where the browser is.
pub struct Answer<'answer> {
    /// The code, which is redeemed for tokens.
    pub code: &'answer Secret,
    /// Who says that it answers (RFC 9207), where it does.
    pub issuer: Option<&'answer str>,
    /// In whose turn the provider is asked.
    pub(crate) client: Client,
}

/// Who signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// The account.
    pub account: Account,
    /// What tells it from another of its name ([`Identity::mark`](crate::identity::Identity::mark)).
    pub mark: [u8; 32],
}

/// Why somebody is not signed in. No value from the provider is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotSignedIn {
    /// What came back is not an answer to what was asked: why, for the log.
    Wrong(String),
    /// The provider knows them, and they may not come in: why, for them.
    Refused(String),
}

/// An identity backend whose people sign in in a browser.
#[async_trait]
pub trait SignIn: Authenticator {
    /// Takes over, once, the passwords that docker_auth gave people, where the configuration says that there are any. Asked again and
    /// again: what keeps them from being read may pass.
    async fn take_over(&self);

    /// The providers, at least one.
    fn ways(&self) -> Vec<Way>;

    /// Where a browser is sent to begin; `None` where there is no such provider.
    ///
    /// # Errors
    /// The provider does not say where it is asked.
    async fn begin(&self, way: Option<&str>, flow: &Flow<'_>) -> anyhow::Result<Option<Url>>;

    /// Redeems the code that a browser brings back, and keeps who it was.
    ///
    /// # Errors
    /// It could not be found out. Inside: they are not signed in.
    async fn finish(
        &self,
        way: Option<&str>,
        flow: &Flow<'_>,
        answer: &Answer<'_>,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<SignedIn, NotSignedIn>>;
}
