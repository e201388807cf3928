//! Why a MongoDB server gave no answer, or made no change: the driver's errors, read.

use mongodb::error::{Error, ErrorKind, WriteFailure};

use super::settings::CollectionSettings;

/// The server's code for "these credentials are wrong".
pub(super) const AUTHENTICATION_FAILED: i32 = 18;
/// The server's codes for "an index holds each value once".
const DUPLICATE_KEY: &[i32] = &[11000, 11001];

/// What to do about a server that cannot be reached.
pub(super) const UNREACHED: &str = "is the server running, and are its address and enable_tls right?";
/// What to do about a server that does not know us.
const UNKNOWN: &str = "are username and password right, and is source the database in which the user was made?";

/// What came of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// The change was made.
    Applied,
    /// Nothing was changed: the document is not what it was, or a unique index holds the value already.
    Conflict,
}

/// Why a collection gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server cannot be reached, does not answer in time, or does not know us: no other question would fare better.
    #[error("{place} cannot be asked: {cause}")]
    Down {
        /// The collection.
        place: String,
        /// What the driver says.
        cause: String,
        /// What an administrator can do.
        advice: &'static str,
    },
    /// The server does not know us, or not this password: no other question would fare better, and servers lock accounts
    /// that are tried again and again.
    #[error("{place} cannot be asked: {cause}")]
    Stranger {
        /// The collection.
        place: String,
        /// What the driver says.
        cause: String,
    },
    /// All of it took too long, although the server is there.
    #[error("{place} gave no answer: {cause}")]
    Slow {
        /// The collection.
        place: String,
        /// What took how long, and what to write instead.
        cause: String,
    },
    /// The server refused this one question.
    #[error("{place} refused the question: {cause}")]
    Refused {
        /// The collection.
        place: String,
        /// What the server says.
        cause: String,
    },
}

impl Failure {
    /// What an administrator can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Failure::Down { advice, .. } => advice,
            Failure::Stranger { .. } => UNKNOWN,
            Failure::Slow { .. } => "the server is far away, or busy: write a longer deadline",
            Failure::Refused { .. } => "give our user the role read; commands that change something need readWrite",
        }
    }
}

/// Why an administrator's command changed nothing, or nothing more.
#[derive(Debug, thiserror::Error)]
pub enum NotChanged {
    /// The documents could not be read.
    #[error("{failure}; {advice}", failure = .0, advice = .0.advice())]
    Unread(#[from] Failure),
    /// A write got no answer.
    #[error("{0}; whether the change was made is not known: look before you try again")]
    Unknown(Failure),
    /// It must not, or cannot, be done.
    #[error("{0}")]
    Refused(String),
}

/// A refusal with this message.
pub(crate) fn not_changed<T>(message: impl Into<String>) -> Result<T, NotChanged> {
    Err(NotChanged::Refused(message.into()))
}

impl CollectionSettings {
    /// What an error of the driver means.
    pub(super) fn failure(&self, error: &Error) -> Failure {
        let place = self.namespace();
        match error.kind.as_ref() {
            _ if is_refused_login(error) => {
                let databases = self.login.as_ref().map_or_else(String::new, |login| login.sources.join(", "));
                let cause =
                    format!("the server refuses our user name or password (asked in: {databases}): {}", error.kind);
                Failure::Stranger { place, cause }
            }
            // The server answered, and only about this question.
            ErrorKind::Command(_)
            | ErrorKind::Write(_)
            | ErrorKind::BsonDeserialization(_)
            | ErrorKind::BsonSerialization(_)
            | ErrorKind::Bson(_)
            | ErrorKind::InvalidResponse { .. } => Failure::Refused { place, cause: error.kind.to_string() },
            // Without the driver's own words, which quote what it cannot read.
            ErrorKind::InvalidTlsConfig { .. } => Failure::Down {
                place,
                cause: "the driver does not take the certificates".to_owned(),
                advice: "it reads them through /proc/self/fd: is /proc there?",
            },
            ErrorKind::ServerSelection { message, .. } => {
                Failure::Down { place, cause: unselected(message), advice: UNREACHED }
            }
            _ => Failure::Down { place, cause: error.kind.to_string(), advice: UNREACHED },
        }
    }
}

/// Why no server could be asked, for people: each server with what is wrong with it. The driver writes all that it knows
/// of each, in which this is hard to find.
fn unselected(message: &str) -> String {
    let servers = message.split("Address: ").skip(1);
    let found = servers.filter_map(|server| {
        let (address, rest) = server.split_once(',')?;
        let (_, error) = rest.split_once("Error: ")?;
        let error = error.split(", labels: ").next()?;
        Some(format!("{address}: {}", error.strip_prefix("Kind: ").unwrap_or(error)))
    });
    let found: Vec<String> = found.collect();
    match found.is_empty() {
        true => message.to_owned(),
        false => format!("no server answers ({})", found.join("; ")),
    }
}

/// The server's own number for what it refused.
pub(crate) fn code_of(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(refusal) => Some(refusal.code),
        ErrorKind::Write(WriteFailure::WriteError(refusal)) => Some(refusal.code),
        _ => None,
    }
}

/// Whether the server refused a write because a unique index holds the value already. FerretDB says so in words where a
/// document is changed, and by the number only where one is inserted.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    let text = match error.kind.as_ref() {
        ErrorKind::Command(refusal) => &refusal.message,
        ErrorKind::Write(WriteFailure::WriteError(refusal)) => &refusal.message,
        _ => return false,
    };
    code_of(error).is_some_and(|code| DUPLICATE_KEY.contains(&code)) || text.contains("UNIQUE constraint failed")
}

/// What came of a write that found so many documents.
pub(super) fn written(done: Result<u64, Error>) -> Result<Write, Error> {
    match done {
        Ok(0) => Ok(Write::Conflict),
        Ok(_) => Ok(Write::Applied),
        Err(error) if is_duplicate(&error) => Ok(Write::Conflict),
        Err(error) => Err(error),
    }
}

/// Whether the server refused the credentials.
pub(super) fn is_refused_login(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => true,
        ErrorKind::Command(refusal) => refusal.code == AUTHENTICATION_FAILED,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_away_are_named_with_what_is_wrong() {
        // As the driver writes it.
        let server = |address: &str, error: &str| {
            format!(
                "{{ Address: {address}, Type: Unknown, Error: {error}, labels: {{\"RetryableError\"}}, source: None, \
                 server response: None }}"
            )
        };
        let (one, other) = (server("a:27017", "Kind: I/O error: refused"), server("[::1]:1", "Kind: no such host"));
        let message =
            format!("Server selection timeout: No available servers. Topology: {{ Servers: [ {one}, {other} ] }}");
        assert_eq!(unselected(&message), "no server answers (a:27017: I/O error: refused; [::1]:1: no such host)");
        assert_eq!(unselected("something else"), "something else");
    }
}
