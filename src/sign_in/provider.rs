//! A provider of any kind: begun, finished and asked again in one way.

use std::sync::Arc;

use time::OffsetDateTime;
use url::Url;

use super::api::{GitHub, GitLab};
use super::found::{Before, Found, GivenTo, Refused};
use super::openid::OpenId;
use super::settings::{Asked, ProviderSettings};
use crate::backend::sign_in::Flow;
use crate::secret::Secret;

/// A provider that is asked.
pub(super) enum Provider {
    OpenId(Box<OpenId>),
    GitHub(GitHub),
    GitLab(GitLab),
}

impl Provider {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// The TLS library does not take the authorities.
    pub(super) fn open(settings: &Arc<ProviderSettings>, section: &'static str) -> anyhow::Result<Provider> {
        Ok(match &settings.asked {
            Asked::OpenId(own) => Provider::OpenId(Box::new(OpenId::open(settings, own, section)?)),
            Asked::GitHub(own) => Provider::GitHub(GitHub::open(settings, own)?),
            Asked::GitLab(own) => Provider::GitLab(GitLab::open(settings, own)?),
        })
    }

    /// Where a browser is sent to begin.
    ///
    /// # Errors
    /// The provider does not say.
    pub(super) async fn begin(&self, flow: &Flow<'_>) -> anyhow::Result<Url> {
        match self {
            Provider::OpenId(provider) => provider.begin(flow).await,
            Provider::GitHub(provider) => provider.begin(flow),
            Provider::GitLab(provider) => provider.begin(flow),
        }
    }

    /// Redeems a code.
    ///
    /// # Errors
    /// The provider could not be asked.
    pub(super) async fn finish(
        &self,
        flow: &Flow<'_>,
        code: &Secret,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<Found, Refused>> {
        match self {
            Provider::OpenId(provider) => provider.finish(flow, code, now).await,
            Provider::GitHub(provider) => provider.finish(flow, code).await,
            Provider::GitLab(provider) => provider.finish(flow, code).await,
        }
    }

    /// Asks who somebody is now, by what it gave before. What it gives in place of that is in `renewed` whatever comes of the rest:
    /// what was presented may be used up.
    ///
    /// # Errors
    /// The provider could not be asked.
    pub(super) async fn recheck(
        &self,
        before: &Before,
        credential: &Secret,
        renewed: &mut Option<Secret>,
        now: OffsetDateTime,
    ) -> anyhow::Result<Result<Found, Refused>> {
        let found = match self {
            Provider::OpenId(provider) => provider.recheck(credential, before, renewed, now).await?,
            Provider::GitHub(provider) => provider.recheck(credential).await?,
            Provider::GitLab(provider) => match before.given_to {
                GivenTo::Us => provider.recheck(credential, renewed).await?,
                GivenTo::DockerAuth => provider.recheck_by_access_token(credential).await?,
            },
        };
        Ok(match found {
            Ok(found) if before.subject.as_ref().is_some_and(|subject| *subject != found.subject) => {
                Err(Refused::Answer("it is about somebody else"))
            }
            found => found,
        })
    }

    /// In a few words, whether it is there.
    ///
    /// # Errors
    /// It is not.
    pub(super) async fn reach(&self) -> anyhow::Result<String> {
        match self {
            Provider::OpenId(provider) => provider.reach().await,
            Provider::GitHub(provider) => provider.reach().await,
            Provider::GitLab(provider) => provider.reach().await,
        }
    }
}
