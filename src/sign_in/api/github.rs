//! GitHub: who somebody is, whether they are in an organisation, and its teams that they are in.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use axum::http::StatusCode;
use serde::Deserialize;
use url::Url;

use super::{ask_for_tokens, authorize, bearer, below, user};
use crate::backend::sign_in::Flow;
use crate::json;
use crate::secret::Secret;
use crate::sign_in::found::{Found, MOST_VALUES, Refused};
use crate::sign_in::settings::{GitHubSettings, ProviderSettings};
use crate::sign_in::web::{NoWord, Web, shown};

/// What is asked for: who they are, and their teams.
const SCOPE: &str = "user:email read:org";
/// The label that teams stand under.
const TEAMS: &str = "teams";
/// The most pages of teams, of a hundred each, that are read.
const MOST_PAGES: usize = 20;

/// GitHub, or what speaks as it does.
pub(in crate::sign_in) struct GitHub {
    settings: Arc<ProviderSettings>,
    own: GitHubSettings,
    web: Web,
}

#[derive(Deserialize)]
struct Team {
    slug: Option<String>,
    /// What Gitea has in place of the slug: its names are written as GitHub's slugs are.
    name: Option<String>,
    organization: Organization,
    parent: Option<Parent>,
}

#[derive(Deserialize)]
struct Organization {
    login: Option<String>,
    /// What Gitea has in place of the login.
    name: Option<String>,
}

impl Organization {
    /// Whether it is called so. GitHub takes names in any case.
    fn is(&self, called: &str) -> bool {
        let own = self.login.as_deref().or(self.name.as_deref());
        own.is_some_and(|own| own.eq_ignore_ascii_case(called))
    }
}

#[derive(Deserialize)]
struct Parent {
    slug: String,
}

impl GitHub {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// The TLS library does not take the authorities.
    pub(in crate::sign_in) fn open(settings: &Arc<ProviderSettings>, own: &GitHubSettings) -> anyhow::Result<GitHub> {
        let web = Web::new(settings.authorities.as_ref(), settings.http_timeout)?;
        Ok(GitHub { settings: Arc::clone(settings), own: own.clone(), web })
    }

    /// Where a browser is sent to begin.
    ///
    /// # Errors
    /// There is no such address.
    pub(in crate::sign_in) fn begin(&self, flow: &Flow<'_>) -> anyhow::Result<Url> {
        Ok(authorize(below(&self.own.web, "/login/oauth/authorize")?, &self.settings, SCOPE, flow))
    }

    /// Redeems a code.
    ///
    /// # Errors
    /// GitHub could not be asked.
    pub(in crate::sign_in) async fn finish(
        &self,
        flow: &Flow<'_>,
        code: &Secret,
    ) -> anyhow::Result<Result<Found, Refused>> {
        let address = below(&self.own.web, "/login/oauth/access_token")?;
        // GitHub ignores the grant type, and those that speak as it does want it.
        let form =
            [("grant_type", "authorization_code"), ("code", code.reveal()), ("code_verifier", flow.verifier.reveal())];
        let tokens = ask_for_tokens(&self.web, &address, &self.settings, &form).await?;
        match tokens {
            Some(tokens) => self.recheck(&tokens.access).await,
            None => Ok(Err(Refused::Code)),
        }
    }

    /// Asks who somebody is now.
    ///
    /// # Errors
    /// GitHub could not be asked.
    pub(in crate::sign_in) async fn recheck(&self, token: &Secret) -> anyhow::Result<Result<Found, Refused>> {
        let Some((subject, name)) = user(&self.web, &below(&self.own.api, "/user")?, token, "login").await? else {
            return Ok(Err(Refused::Gone));
        };
        let mut labels = BTreeMap::new();
        if let Some(organization) = &self.own.organization {
            if !self.is_member(organization, &name, token).await? {
                return Ok(Err(Refused::NotMember));
            }
            let teams = self.teams(organization, token).await?;
            if teams.len() > MOST_VALUES {
                return Ok(Err(Refused::TooManyValues));
            }
            labels.insert(TEAMS.to_owned(), teams);
        }
        Ok(Ok(Found { subject, name, labels, credential: Some(token.clone()) }))
    }

    async fn is_member(&self, organization: &str, name: &str, token: &Secret) -> anyhow::Result<bool> {
        let mut address = self.own.api.clone();
        address
            .path_segments_mut()
            .map_err(|()| anyhow::anyhow!("{} cannot be the address of an API", shown(&self.own.api)))?
            .pop_if_empty()
            .extend(["orgs", organization, "members", name]);
        match self.web.get(&address, Some(&bearer(token))).await?.status {
            StatusCode::NO_CONTENT => Ok(true),
            // 302 is for who asks and is no member themselves.
            StatusCode::NOT_FOUND | StatusCode::FOUND => Ok(false),
            status => Err(NoWord { address: shown(&address), status }.into()),
        }
    }

    /// The teams of the organisation, with those that they are part of. All pages, or none: half of them would be a wrong answer.
    async fn teams(&self, organization: &str, token: &Secret) -> anyhow::Result<Vec<String>> {
        let mut next = Some(below(&self.own.api, "/user/teams?per_page=100")?);
        let mut slugs = Vec::new();
        for _ in 0..MOST_PAGES {
            let Some(address) = next else { return Ok(slugs) };
            let reply = self.web.get(&address, Some(&bearer(token))).await?;
            let status = reply.status;
            anyhow::ensure!(status == StatusCode::OK, NoWord { address: shown(&address), status });
            let read: Option<Vec<Team>> = json::list(&reply.body).ok();
            let teams = read.with_context(|| format!("{} answers with no teams", shown(&address)))?;
            for team in teams.into_iter().filter(|team| team.organization.is(organization)) {
                let slug = team.slug.or(team.name);
                slugs.push(slug.with_context(|| format!("{} answers with a team that has no name", shown(&address)))?);
                slugs.extend(team.parent.map(|parent| parent.slug));
            }
            // Another host must not be given the token.
            next =
                reply.next.and_then(|link| address.join(&link).ok()).filter(|next| next.origin() == address.origin());
        }
        anyhow::bail!("{} has no end of teams", shown(&self.own.api))
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
