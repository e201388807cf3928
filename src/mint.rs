//! Tokens for decisions: how long one lives, when a recent one is handed out again, and whose is signed next.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use policy::scope::Action;
use time::OffsetDateTime;

use crate::access::{Decision, Grant};
use crate::clock;
use crate::keys::Effort;
use crate::metrics::Metrics;
use crate::random;
use crate::token::recent::{ContentDigest, RecentToken, RecentTokens};
use crate::token::{AccessEntry, HeaderChoice, HeaderForm, Issuer, SecretClaims, TokenContent, jti};
use crate::turns::{Busy, Client, PATIENCE, Turn, Turns};

/// Clients do not ask for a token more often than this, whatever a reply says.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);

/// A signed token and the seconds it lives.
pub struct Minted {
    /// The token.
    pub token: Arc<str>,
    /// Its `jti`.
    pub id: Arc<str>,
    /// Whether it was made for this request.
    pub made: Made,
    /// From now until its `exp`.
    pub lives_for: i64,
}

/// Where a token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was signed for this request.
    Now,
    /// It was signed a moment ago, for a request with the same answer.
    Before,
}

/// The queue for signatures, those of TLS too. Clones are the same queue.
#[derive(Clone)]
pub(crate) struct Signing(Turns);

impl Signing {
    /// More at once than there are cores would only wait for each other.
    pub(crate) fn new() -> Signing {
        Signing(Turns::on_all_cores())
    }

    /// Waits for a client's turn. A network that asks without a pause waits behind its own requests, and others do not.
    ///
    /// # Errors
    /// It did not come in time.
    pub(crate) async fn turn(&self, client: Client) -> Result<Turn, Busy> {
        let turn = self.0.turn(client, clock::now() + PATIENCE).await?;
        // Who has asked meanwhile is heard before the next signature, and has a place by then.
        tokio::task::yield_now().await;
        Ok(turn)
    }
}

/// Makes the tokens of one configuration.
pub struct Mint {
    issuer: Arc<Issuer>,
    life: Duration,
    /// Those that may be handed out again, if any may.
    recent: Option<RecentTokens>,
    signing: Signing,
    metrics: Metrics,
}

impl Mint {
    /// Makes tokens that live for `life` at most; `reuse` says for how long one is handed out again.
    pub(crate) fn new(
        issuer: Arc<Issuer>,
        life: Duration,
        reuse: Option<Duration>,
        signing: Signing,
        metrics: Metrics,
    ) -> Mint {
        Mint { issuer, life, recent: reuse.map(RecentTokens::new), signing, metrics }
    }

    /// For how long tokens live at most.
    pub(crate) fn life(&self) -> Duration {
        self.life
    }

    /// Whether a token that is made now ends before its time, since its leaf does.
    pub fn is_cut_short(&self, now: OffsetDateTime) -> bool {
        self.issuer.leaf_ends().is_some_and(|ends| ends < now + self.life)
    }

    /// Makes the token for a decision. It lives as long as the configuration says, and no longer than the account or
    /// the rules behind the decision.
    ///
    /// # Errors
    /// The signature failed, or its turn did not come in time ([`Busy`]).
    pub async fn token(&self, decision: &Decision, service: &str, now: OffsetDateTime) -> anyhow::Result<Minted> {
        let mut latest = now + self.life;
        let form = self.issuer.header_form_at(now);
        if let Some(ends) = self.issuer.leaf_ends() {
            latest = latest.min(ends);
        } else if form == HeaderChoice::Configured(HeaderForm::X5c) {
            // Registries refuse the token once its certificate has ended: clients had better ask again by then.
            latest = latest.min(self.issuer.key().not_after().max(now + SHORTEST_LIFE));
        }
        let expires = decision.until().map_or(latest, |until| until.min(latest));
        let lives_for = expires.unix_timestamp().saturating_sub(now.unix_timestamp()).max(0);
        let content = TokenContent {
            subject: decision.account().to_owned(),
            audience: service.to_owned(),
            access: access_of(decision),
            secret: decision.narrowing().map(|by| SecretClaims {
                id: by.secret.to_string(),
                epoch: by.epoch,
                last4: by.last4.clone(),
            }),
        };
        let recent = self.recent.as_ref().map(|recent| (recent, ContentDigest::new(&content, form.form())));
        // Our own doors refuse what is older than a secret that was made anew.
        let made = decision.narrowing().map(|by| by.made);
        if let Some((tokens, digest)) = &recent
            && let Some(found) = tokens.find(digest, now, expires.unix_timestamp())
            && made.is_none_or(|made| made <= found.signed)
        {
            self.metrics.reused();
            let lives_for = found.expires.saturating_sub(now.unix_timestamp());
            return Ok(Minted { token: found.token, id: found.id, made: Made::Before, lives_for });
        }
        let lifetime = u32::try_from(lives_for).unwrap_or(u32::MAX);
        let claims = self.issuer.claims(content, now, lifetime, jti(random::bytes()?));
        let (id, expires): (Arc<str>, i64) = (claims.jti.as_str().into(), claims.exp);
        let turn = self.signing.turn(decision.client()).await?;
        let token: Arc<str> = match self.issuer.key().effort() {
            Effort::Small => {
                let token = self.issuer.mint(&claims, now)?;
                drop(turn);
                token
            }
            Effort::Large => {
                let issuer = Arc::clone(&self.issuer);
                tokio::task::spawn_blocking(move || {
                    let _turn = turn;
                    issuer.mint(&claims, now)
                })
                .await
                .context("the signing thread died")??
            }
        }
        .into();
        if let Some((tokens, digest)) = recent {
            let (token, id) = (Arc::clone(&token), Arc::clone(&id));
            tokens.keep(digest, RecentToken { token, id, signed: now, expires });
        }
        Ok(Minted { token, id, made: Made::Now, lives_for })
    }
}

fn access_of(decision: &Decision) -> Vec<AccessEntry> {
    let entry = |grant: &Grant| AccessEntry {
        kind: grant.scope.resource.kind().to_owned(),
        name: grant.scope.resource.name().to_owned(),
        actions: grant.granted.iter().map(Action::as_str).map(str::to_owned).collect(),
    };
    decision.grants().iter().map(entry).collect()
}
