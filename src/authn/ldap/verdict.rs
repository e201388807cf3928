//! What a directory's result codes mean for a login: which of them is a "no", and which is "could not find out".
//!
//! | Code | of a user's bind | of a search | of our own bind |
//! |---|---|---|---|
//! | 0 success | right | found | we are known |
//! | 0, and the password policy objects | closed: the password must be changed first, and nobody can do that here | | |
//! | 49 invalidCredentials, and the policy or the remark says more (`closed.rs`) | closed | unknown | down |
//! | 49 invalidCredentials | no: wrong | unknown | down |
//! | 19 constraintViolation | closed: too many wrong passwords (389 Directory Server) | unknown | down |
//! | 32 noSuchObject | no: the entry went away since it was found | unknown: the base is not there, or hidden | down |
//! | 34 invalidDNSyntax | no: nobody can have that name | unknown | down |
//! | 48 inappropriateAuthentication | closed: the entry has no password | unknown | down |
//! | 50 insufficientAccessRights | closed: this entry may not log in | unknown: we may not look | down |
//! | 53 unwillingToPerform | closed: the account is switched off (389 Directory Server) | unknown | down |
//! | 4 sizeLimitExceeded | unknown | found, and there is more | down |
//! | 7, 8, 13: another way to log in, or TLS, is asked for | unknown | unknown | down |
//! | 10 referral | unknown: we do not follow, it leads to a server that nobody named | unknown | down |
//! | 51 busy, 52 unavailable | down | down | down |
//! | any other | unknown | unknown | down |
//!
//! "Closed" is a "no" as well, the same to the client; the log says which it is, since nobody can mend it by typing anew.
//! "Unknown" ends in 503 for this login. "Down" does too, and the server is not asked again before it answers a trial.
//! A locked account is a "no" although its password may be right: a client that is told 503 tries again and again, and
//! each attempt prolongs the lock.

use super::protocol::Done;
use crate::turns::Busy;

/// Why the directory gave no answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// The server cannot be asked: no other question would fare better.
    #[error("{0}")]
    Down(String),
    /// As above, and the reason is that it does not take the credentials of this configuration. Asking again and again
    /// could lock that account.
    #[error("{0}")]
    Stranger(String),
    /// The server answered, and did not say what was asked.
    #[error("{0}")]
    Unknown(String),
    /// No time was left to ask.
    #[error("{0}")]
    Late(String),
    /// No turn to ask came: others wait for a connection as well.
    #[error("every connection to the directory was in use; see pool_size and deadline")]
    NoTurn(#[source] Busy),
}

/// What a directory says to a user's name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They belong together.
    Right,
    /// They do not; the directory's words, for the log.
    No(String),
    /// The account may not be used, whatever the password; why, in the directory's words.
    Closed(String),
}

/// How much of what matches a search has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Whole,
    /// As much as was asked for.
    Cut,
}

/// What an answer to a user's bind means.
///
/// # Errors
/// It means neither yes nor no.
pub(super) fn of_user(done: &Done) -> Result<Verdict, Failure> {
    match (done.code, done.objection) {
        (0, None) => Ok(Verdict::Right),
        (0, Some(objection)) => Ok(Verdict::Closed(format!("the directory lets nobody in: {}", policy(objection)))),
        (19 | 48 | 49 | 50 | 53, _) => Ok(match done.closed {
            Some(why) => Verdict::Closed(format!("the directory refuses a bind: {why}: {}", said(done))),
            None => Verdict::No(said(done)),
        }),
        (32 | 34, _) => Ok(Verdict::No(said(done))),
        (51 | 52, _) => Err(Failure::Down(said(done))),
        (7 | 8 | 13, _) => Err(Failure::Unknown(format!("{}; set tls", said(done)))),
        _ => Err(Failure::Unknown(said(done))),
    }
}

/// What the end of a search means, after `found` entries.
///
/// # Errors
/// What came is not all that was asked for.
pub(super) fn of_search(done: &Done, base: &str) -> Result<Extent, Failure> {
    match done.code {
        0 => Ok(Extent::Whole),
        4 => Ok(Extent::Cut),
        32 => Err(Failure::Unknown(format!(
            "\"{base}\" is not there, or may not be seen by who searches: {}",
            said(done)
        ))),
        10 => Err(Failure::Unknown(format!("\"{base}\" is held by another server, and referrals are not followed"))),
        51 | 52 => Err(Failure::Down(said(done))),
        _ => Err(Failure::Unknown(format!("the search below \"{base}\" failed: {}", said(done)))),
    }
}

/// What an answer to the bind of this configuration's own name means.
///
/// # Errors
/// Anything but success.
pub(super) fn of_ourselves(done: &Done, name: &str) -> Result<(), Failure> {
    let refused = || format!("bind_dn \"{name}\" is refused: {}", said(done));
    match done.code {
        0 => Ok(()),
        51 | 52 => Err(Failure::Down(said(done))),
        _ => Err(Failure::Stranger(refused())),
    }
}

/// A result in words.
fn said(done: &Done) -> String {
    let name = match done.code {
        0 => "success",
        1 => "operationsError",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded",
        7 => "authMethodNotSupported",
        8 => "strongerAuthRequired",
        10 => "referral",
        11 => "adminLimitExceeded",
        13 => "confidentialityRequired",
        18 => "inappropriateMatching",
        19 => "constraintViolation",
        32 => "noSuchObject",
        34 => "invalidDNSyntax",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        80 => "other",
        _ => "unusual",
    };
    match done.remark.is_empty() {
        true => format!("code {} ({name})", done.code),
        false => format!("code {} ({name}): {}", done.code, done.shown()),
    }
}

/// The objections of draft-behera-ldap-password-policy, section 6.2.
pub(super) fn policy(objection: u32) -> &'static str {
    match objection {
        0 => "the password has expired",
        1 => "the account is locked",
        2 => "the password must be changed first",
        _ => "the password cannot be used as it is",
    }
}

#[cfg(test)]
mod tests {
    use super::super::closed;
    use super::*;

    fn done(code: u32) -> Done {
        let done = Done { code, remark: String::new(), objection: None, closed: None };
        Done { closed: closed::why(&done), ..done }
    }

    #[test]
    fn only_what_is_about_the_account_is_a_no() {
        let (mut yes, mut no, mut closed, mut down, mut unknown) = (vec![], vec![], vec![], vec![], vec![]);
        for code in 0..=130 {
            match of_user(&done(code)) {
                Ok(Verdict::Right) => yes.push(code),
                Ok(Verdict::No(_)) => no.push(code),
                Ok(Verdict::Closed(_)) => closed.push(code),
                Err(Failure::Down(_)) => down.push(code),
                Err(Failure::Unknown(_)) => unknown.push(code),
                Err(Failure::Stranger(_) | Failure::Late(_) | Failure::NoTurn(_)) => unreachable!("{code}"),
            }
        }
        assert_eq!((yes, no, closed, down), (vec![0], vec![32, 34, 49], vec![19, 48, 50, 53], vec![51, 52]));
        assert_eq!(unknown.len(), 131 - 10);
        assert!(matches!(of_user(&Done { objection: Some(2), ..done(0) }), Ok(Verdict::Closed(_))));
    }

    #[test]
    fn a_search_that_fails_finds_nobody_missing() {
        for code in 0..=130 {
            let expected = match code {
                0 => Ok(Extent::Whole),
                4 => Ok(Extent::Cut),
                _ => Err(()),
            };
            assert_eq!(of_search(&done(code), "dc=x").map_err(|_| ()), expected, "{code}");
        }
    }

    #[test]
    fn our_own_name_is_taken_or_nobody_is_asked() {
        assert_eq!(of_ourselves(&done(0), "cn=x"), Ok(()));
        assert!(matches!(of_ourselves(&done(52), "cn=x"), Err(Failure::Down(_))));
        for code in [1, 7, 8, 13, 32, 34, 48, 49, 50, 53] {
            assert!(matches!(of_ourselves(&done(code), "cn=x"), Err(Failure::Stranger(_))), "{code}");
        }
    }
}
