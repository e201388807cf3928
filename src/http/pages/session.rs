//! Who has signed in in this browser: a signed cookie that says which account, as it was then. What it may do is asked anew with each
//! page.

use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::frame::Problem;
use super::{Desk, cookie, cookie_name, set_cookie};
use crate::access::Denied;
use crate::identity::{Account, Identity, LookUp};
use crate::json;
use crate::random;

/// What the cookie is called, and signed for.
const SESSION: &str = "session";
/// How long a browser may rest, in seconds.
const IDLE: i64 = 15 * 60;
/// How long a session lasts in all, in seconds.
const LONGEST: i64 = 8 * 3600;
/// How old the word on the last page may be, in seconds, before the browser gets another cookie.
const RENEW_AFTER: i64 = 60;

/// What the cookie says.
#[derive(Serialize, Deserialize)]
struct Session {
    /// What tells it from all others. Who signs out uses it up, and with it each copy of the cookie.
    id: String,
    account: String,
    /// The backend that knew the account.
    backend: String,
    /// What tells the account from another of its name.
    mark: Option<String>,
    /// The account's epoch: "sign out everywhere" raises it.
    epoch: i64,
    began: i64,
    last: i64,
}

/// Somebody who has signed in.
pub(super) struct SignedIn {
    pub(super) account: Account,
    /// What a look-up says now.
    pub(super) who: Identity,
    /// What the browser is to keep from now on, where that is something else.
    pub(super) renewed: Option<String>,
}

fn taken() -> Problem {
    Problem::Refused("somebody else has your name here; ask who runs this server".to_owned())
}

impl Desk<'_, '_> {
    /// Who has signed in in this browser, as the account is now.
    ///
    /// # Errors
    /// [`Problem::SignedOut`], or it could not be found out.
    pub(super) async fn signed_in(&mut self, headers: &HeaderMap) -> Result<SignedIn, Problem> {
        let session = self.session(headers).ok_or(Problem::SignedOut)?;
        let now = self.now.unix_timestamp();
        if now.saturating_sub(session.last) >= IDLE || now.saturating_sub(session.began) >= LONGEST {
            return Err(Problem::SignedOut);
        }
        let account = Account::parse(&session.account).map_err(|_| Problem::SignedOut)?;
        self.visit.asker.account = account.to_string();
        let last = session.last;
        match self.still(&account, session).await {
            Ok((who, own)) => {
                let renewed =
                    if now.saturating_sub(last) >= RENEW_AFTER { Some(self.session_cookie(&own)?) } else { None };
                self.seen = Some((account.clone(), Some(who.clone())));
                Ok(SignedIn { account, who, renewed })
            }
            Err(problem) => {
                // The session is not over for that, and the page has the way out of it.
                if problem.shape().status == StatusCode::SERVICE_UNAVAILABLE {
                    self.seen = Some((account, None));
                }
                Err(problem)
            }
        }
    }

    /// Who the account of a session is now, and the session as it would begin now; nobody where it is over.
    async fn still(&self, account: &Account, session: Session) -> Result<(Identity, Session), Problem> {
        let who = self.look_up(account).await?;
        let hash = Desk::used_up((SESSION, &session.id));
        let (own, is_over) = tokio::try_join!(self.session_of(account, &who, (session.id, session.began)), async {
            self.lasting.is_used_up(&hash).await.map_err(|cause| Problem::Unavailable(cause.into()))
        })?;
        let is_same = own.backend == session.backend && own.mark == session.mark && own.epoch == session.epoch;
        if is_over || !is_same { Err(Problem::SignedOut) } else { Ok((who, own)) }
    }

    /// The cookie of a session that begins now, of who was just let in by this backend. A look-up must say that it is the same: an
    /// earlier backend can have an account of the name, which is somebody else's.
    ///
    /// # Errors
    /// It is not, or it could not be found out.
    pub(super) async fn begin_session(
        &self,
        (account, backend, mark): (&Account, &str, Option<[u8; 32]>),
    ) -> Result<String, Problem> {
        let who = match self.look_up(account).await {
            Err(Problem::Denied(Denied::NameTaken { .. })) => return Err(taken()),
            who => who?,
        };
        let is_same = who.by.as_ref().is_some_and(|by| by.backend == backend) && (mark.is_none() || who.mark == mark);
        if !is_same {
            return Err(taken());
        }
        let id = random::bytes::<16>().map_err(|cause| Problem::Unavailable(cause.into()))?;
        let id = URL_SAFE_NO_PAD.encode(id);
        let session = self.session_of(account, &who, (id, self.now.unix_timestamp())).await?;
        self.session_cookie(&session)
    }

    /// What this browser's cookie says, however old it is.
    fn session(&self, headers: &HeaderMap) -> Option<Session> {
        let text = cookie(headers, &cookie_name(self.prefix, SESSION))?;
        let text = self.section.key.verified(SESSION, text)?;
        json::object(text.as_bytes()).ok()
    }

    /// Ends this browser's session on all replicas: whoever kept the cookie has nothing of it.
    ///
    /// # Errors
    /// The records could not be changed, and it lives.
    pub(super) async fn sign_out(&self, headers: &HeaderMap) -> Result<Response, Problem> {
        if let Some(session) = self.session(headers) {
            match self.use_up((SESSION, &session.id), time::Duration::seconds(LONGEST)).await {
                // Signed out already, in another tab.
                Ok(()) | Err(Problem::Flow(_)) => {}
                Err(problem) => return Err(problem),
            }
        }
        Ok(self.signed_out())
    }

    /// The way of who has just been signed out.
    pub(super) fn signed_out(&self) -> Response {
        self.to("/sign-in", &[self.end_session()])
    }

    /// What takes the session out of the browser.
    fn end_session(&self) -> String {
        set_cookie(self.prefix, SESSION, "", 0)
    }

    /// Who an account is now; nobody who may not come in.
    async fn look_up(&self, account: &Account) -> Result<Identity, Problem> {
        match self.visit.snapshot.access.look_up(account, self.visit.asker.address).await? {
            LookUp::Known(who) if who.standing.check(self.now).is_ok() && who.account.as_ref() == Some(account) => {
                Ok(who)
            }
            LookUp::Known(_) | LookUp::Unknown | LookUp::OnlyByLogin => Err(Problem::SignedOut),
        }
    }

    async fn session_of(
        &self,
        account: &Account,
        who: &Identity,
        (id, began): (String, i64),
    ) -> Result<Session, Problem> {
        let epoch = self.lasting.epoch(account).await.map_err(|cause| Problem::Unavailable(cause.into()))?;
        Ok(Session {
            id,
            account: account.to_string(),
            backend: who.by.as_ref().map(|by| by.backend.to_owned()).unwrap_or_default(),
            mark: who.mark.map(|mark| URL_SAFE_NO_PAD.encode(mark)),
            epoch: epoch.0,
            began,
            last: self.now.unix_timestamp(),
        })
    }

    fn session_cookie(&self, session: &Session) -> Result<String, Problem> {
        let text = serde_json::to_string(session).map_err(|cause| Problem::Unavailable(cause.into()))?;
        let signed = self.section.key.signed(SESSION, &text);
        Ok(set_cookie(self.prefix, SESSION, &signed, IDLE.unsigned_abs()))
    }
}
