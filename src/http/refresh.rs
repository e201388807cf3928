//! What a login gets that asks for a refresh token (an identity token, as docker calls it): by password one where the file gives them, and
//! by a workload's token a session.

use std::time::Duration;

use time::OffsetDateTime;
use tracing::{debug, info, warn};

use super::visit::Visit;
use crate::access::Denied;
use crate::authn::{Identity, Method};
use crate::secret::lasting::LastingSecret;
use crate::secrets::{Lasting, Made, NotMade};

/// How long a login waits for its refresh token, and then goes on without one.
const PATIENCE: Duration = Duration::from_secs(2);

/// What came of asking for a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refreshable {
    /// There is one.
    Issued,
    /// The account's backend can only be asked by a login, or does not say the same as at the login.
    NotFor,
    /// The records, or the account's backend, did not answer in time. The login goes on.
    Away,
}

impl Refreshable {
    /// All of them.
    pub(super) const ALL: [Refreshable; 3] = [Refreshable::Issued, Refreshable::NotFor, Refreshable::Away];

    /// Its name in the metrics.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Refreshable::Issued => "issued",
            Refreshable::NotFor => "owner_only_by_login",
            Refreshable::Away => "unavailable",
        }
    }
}

/// Why a login has no refresh token.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoToken {
    #[error(transparent)]
    NotMade(#[from] NotMade),
    #[error(transparent)]
    NotAsked(#[from] Denied),
    #[error("it took too long")]
    TooLate,
}

/// The refresh token of a login, if it gets one. That there is none never fails the login: docker asks for one each time.
///
/// Only a password and a workload's token bring one. A secret that brought another would be outlived by it, and nobody is not
/// refreshed. What a session is given for is the entry's to say: docker would otherwise keep a token that is over in minutes.
pub(super) async fn token_for(
    visit: &Visit<'_>,
    who: &Identity,
    client: &str,
    now: OffsetDateTime,
) -> Option<LastingSecret> {
    let lasting = visit.snapshot.access.lasting()?;
    let made = match who.by.as_ref().map(|by| by.method) {
        Some(Method::Password | Method::OldPassword) if lasting.settings().refresh.is_for(&visit.asker.service) => {
            let made = tokio::time::timeout(PATIENCE, make(visit, lasting, (who, client), now));
            made.await.unwrap_or(Err(NoToken::TooLate))
        }
        Some(Method::Workload) if who.session.is_some() => session(visit, lasting, who, now).await,
        Some(
            Method::Password
            | Method::OldPassword
            | Method::Workload
            | Method::Anonymous
            | Method::Token
            | Method::Secret
            | Method::LookUp,
        )
        | None => return None,
    };
    let (outcome, token) = match made {
        Ok(made) => (Refreshable::Issued, Some(made.secret)),
        Err(cause) if is_outage(&cause) => {
            warn!(
                reason = "refresh_token_not_issued",
                decision.id = visit.id.as_str(),
                user.account = who.name(),
                cause = format!("{:#}", anyhow::Error::from(cause)),
                "a login goes on without the refresh token that it asked for"
            );
            (Refreshable::Away, None)
        }
        Err(cause) => {
            debug!(user.account = who.name(), cause = %cause, "a login gets no refresh token");
            (Refreshable::NotFor, None)
        }
    };
    visit.app.metrics.refresh_asked(outcome.as_str());
    token
}

/// Makes the session of a workload that was let in.
///
/// # Errors
/// Why there is none.
pub(super) async fn session(
    visit: &Visit<'_>,
    lasting: &Lasting,
    who: &Identity,
    now: OffsetDateTime,
) -> Result<Made, NoToken> {
    let made = tokio::time::timeout(PATIENCE, lasting.make_session(who, &visit.asker.service, now));
    let made = made.await.map_err(|_| NoToken::TooLate)??;
    issued(visit, who, &made);
    Ok(made)
}

fn issued(visit: &Visit<'_>, who: &Identity, made: &Made) {
    info!(
        decision.id = visit.id.as_str(),
        user.account = who.name(),
        secret.id = &*made.kept.id.0,
        secret.kind = made.kept.kind.as_str(),
        secret.evicted = made.evicted.len(),
        "a refresh token was issued"
    );
}

async fn make(
    visit: &Visit<'_>,
    lasting: &Lasting,
    (who, client): (&Identity, &str),
    now: OffsetDateTime,
) -> Result<Made, NoToken> {
    let Some(account) = &who.account else { return Err(NotMade::Unknown.into()) };
    // As it will be looked up whenever the token is presented.
    let owner = visit.snapshot.access.look_up(account, visit.asker.address).await?;
    let made = lasting.make_refresh((who, owner), &visit.asker.service, client, now).await?;
    issued(visit, who, &made);
    Ok(made)
}

/// Whether somebody had better look into it.
fn is_outage(cause: &NoToken) -> bool {
    match cause {
        NoToken::TooLate | NoToken::NotMade(NotMade::Records(_) | NotMade::NoRandomBytes) => true,
        NoToken::NotAsked(denied) => match denied {
            Denied::Busy { .. } | Denied::Unavailable { .. } => true,
            Denied::Anonymous
            | Denied::Credentials
            | Denied::OtherIssuer { .. }
            | Denied::Workload(_)
            | Denied::Closed(_)
            | Denied::NameTaken { .. }
            | Denied::Secret(_)
            | Denied::TooMany(_) => false,
        },
        NoToken::NotMade(_) => false,
    }
}
