//! GitLab: who somebody is, by tokens that live two hours and are refreshed.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use super::{Tokens, ask_for_tokens, authorize, below, user};
use crate::backend::sign_in::Flow;
use crate::secret::Secret;
use crate::sign_in::found::{Found, Refused};
use crate::sign_in::settings::{GitLabSettings, ProviderSettings};
use crate::sign_in::web::{Web, shown};

/// What is asked for: who they are.
const SCOPE: &str = "read_user";

/// GitLab.
pub(in crate::sign_in) struct GitLab {
    settings: Arc<ProviderSettings>,
    own: GitLabSettings,
    web: Web,
}

impl GitLab {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// The TLS library does not take the authorities.
    pub(in crate::sign_in) fn open(settings: &Arc<ProviderSettings>, own: &GitLabSettings) -> anyhow::Result<GitLab> {
        let web = Web::new(settings.authorities.as_ref(), settings.http_timeout)?;
        Ok(GitLab { settings: Arc::clone(settings), own: own.clone(), web })
    }

    /// Where a browser is sent to begin.
    ///
    /// # Errors
    /// There is no such address.
    pub(in crate::sign_in) fn begin(&self, flow: &Flow<'_>) -> anyhow::Result<Url> {
        Ok(authorize(below(&self.own.web, "/oauth/authorize")?, &self.settings, SCOPE, flow))
    }

    /// Redeems a code.
    ///
    /// # Errors
    /// GitLab could not be asked.
    pub(in crate::sign_in) async fn finish(
        &self,
        flow: &Flow<'_>,
        code: &Secret,
    ) -> anyhow::Result<Result<Found, Refused>> {
        let form =
            [("grant_type", "authorization_code"), ("code", code.reveal()), ("code_verifier", flow.verifier.reveal())];
        self.found(&form, Refused::Code, &mut None).await
    }

    /// Asks who somebody is now, by the refresh token of before.
    ///
    /// # Errors
    /// GitLab could not be asked.
    pub(in crate::sign_in) async fn recheck(
        &self,
        refresh: &Secret,
        renewed: &mut Option<Secret>,
    ) -> anyhow::Result<Result<Found, Refused>> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.reveal())];
        self.found(&form, Refused::Gone, renewed).await
    }

    /// Asks who somebody is now, by the access token that docker_auth kept. It lives for two hours, and for ever in old GitLabs.
    ///
    /// # Errors
    /// GitLab could not be asked.
    pub(in crate::sign_in) async fn recheck_by_access_token(
        &self,
        token: &Secret,
    ) -> anyhow::Result<Result<Found, Refused>> {
        self.holder(token, None).await
    }

    async fn found(
        &self,
        form: &[(&str, &str)],
        not_taken: Refused,
        renewed: &mut Option<Secret>,
    ) -> anyhow::Result<Result<Found, Refused>> {
        let address = below(&self.own.web, "/oauth/token")?;
        let tokens = ask_for_tokens(&self.web, &address, &self.settings, form).await?;
        let Some(Tokens { access, refresh }) = tokens else { return Ok(Err(not_taken)) };
        renewed.clone_from(&refresh);
        self.holder(&access, refresh).await
    }

    /// Whose access token it is, with what they are asked about by the next time.
    async fn holder(&self, token: &Secret, credential: Option<Secret>) -> anyhow::Result<Result<Found, Refused>> {
        let said = user(&self.web, &below(&self.own.api, "/user")?, token, "username").await?;
        Ok(match said {
            Some((subject, name)) => Ok(Found { subject, name, labels: BTreeMap::new(), credential }),
            None => Err(Refused::Gone),
        })
    }

    /// In a few words, whether it is there.
    ///
    /// # Errors
    /// It is not.
    pub(in crate::sign_in) async fn reach(&self) -> anyhow::Result<String> {
        let status = self.web.get(&below(&self.own.api, "/user")?, None).await?.status;
        Ok(format!("{} answers (status {} without a login)", shown(&self.own.api), status.as_u16()))
    }
}
