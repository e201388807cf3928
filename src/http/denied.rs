//! What every door makes of a refusal by [`access`](crate::access): the status, its name in the log, whose fault it is, and when
//! to come again.

use std::time::Duration;

use axum::http::StatusCode;

use crate::access::Denied;
use crate::authn::attempts::TooMany;
use crate::decision_log::Fault;

/// When to ask again after an outage, in seconds: by then it is noticed that a backend is back.
pub(crate) const RETRY_SOON: u64 = 2;
/// The same where too many ask at once: a little later, so that they do not stay too many.
const RETRY_WHEN_QUIET: u64 = 5;

/// All that [`reason`] says.
pub(super) const REASONS: &[&str] =
    &["login_needed", "wrong_credentials", "name_taken", "account_closed", "too_many_attempts", "busy", "unavailable"];

/// The status. An account that is closed looks like a wrong password, so that nobody learns who exists; and what may be a
/// right password is no 401, since clients throw away what is wrong.
pub(super) fn status(denied: &Denied) -> StatusCode {
    match denied {
        Denied::Anonymous | Denied::Credentials | Denied::NameTaken { .. } | Denied::Closed(_) => {
            StatusCode::UNAUTHORIZED
        }
        Denied::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
        Denied::Busy { .. } | Denied::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The outcome's name in logs and metrics.
pub(super) fn reason(denied: &Denied) -> &'static str {
    match denied {
        Denied::Anonymous => "login_needed",
        Denied::Credentials => "wrong_credentials",
        Denied::NameTaken { .. } => "name_taken",
        Denied::Closed(_) => "account_closed",
        Denied::TooMany(_) => "too_many_attempts",
        Denied::Busy { .. } => "busy",
        Denied::Unavailable { .. } => "unavailable",
    }
}

/// Whether somebody here has to look into it. `anonymous` is what it means here that nobody logged in.
pub(super) fn fault(denied: &Denied, anonymous: Fault) -> Fault {
    match denied {
        Denied::Anonymous => anonymous,
        Denied::Credentials
        | Denied::NameTaken { .. }
        | Denied::Closed(_)
        | Denied::TooMany(_)
        | Denied::Busy { .. } => Fault::Client,
        Denied::Unavailable { .. } => Fault::Ours,
    }
}

/// When to ask again, in seconds (RFC 9110, section 10.2.3), if that is what the status calls for.
pub(super) fn retry_after(denied: &Denied) -> u64 {
    match denied {
        Denied::TooMany(TooMany { wait }) => whole_seconds(*wait),
        Denied::Busy { .. } => RETRY_WHEN_QUIET,
        Denied::Anonymous
        | Denied::Credentials
        | Denied::NameTaken { .. }
        | Denied::Closed(_)
        | Denied::Unavailable { .. } => RETRY_SOON,
    }
}

/// Never less than the wait itself: who comes back at the second that was named is not sent away once more.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
