//! Why a database gave no answer, or made no change: the drivers' errors, read.

use std::time::Duration;

use sqlx::Error;
use sqlx::error::DatabaseError;

use super::settings::{Access, Dialect, Server, Settings};

/// Why a database gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The database cannot be reached, or does not answer in time: no other question would fare better.
    #[error("{place} cannot be asked: {cause}")]
    Down {
        /// The database.
        place: String,
        /// What is wrong.
        cause: String,
        /// What can be done about it.
        advice: &'static str,
    },
    /// The server does not know us, or not this password: servers lock accounts that are tried again and again.
    #[error("{place} cannot be asked: {cause}")]
    Stranger {
        /// The database.
        place: String,
        /// What the server says.
        cause: String,
    },
    /// It took too long, although the database is there: others use it, or hold a lock.
    #[error("{place} gave no answer: {cause}")]
    Slow {
        /// The database.
        place: String,
        /// What took so long.
        cause: String,
    },
    /// The database refused this one question.
    #[error("{place} refused the question: {cause}")]
    Refused {
        /// The database.
        place: String,
        /// What it says.
        cause: String,
        /// What can be done about it.
        advice: &'static str,
    },
    /// Our user may not do this, or nobody may change anything there.
    #[error("{place} refused the question: {cause}")]
    Forbidden {
        /// The database.
        place: String,
        /// What it says.
        cause: String,
    },
    /// It was not asked at all.
    #[error("{place} cannot be asked: it failed a moment ago and has not answered again yet")]
    Open {
        /// The database.
        place: String,
        /// What can be done about it.
        advice: &'static str,
    },
}

impl Failure {
    /// What an administrator can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Failure::Down { advice, .. } | Failure::Open { advice, .. } | Failure::Refused { advice, .. } => advice,
            Failure::Stranger { .. } => {
                "are the user name and the password right, and may this user connect from here?"
            }
            Failure::Slow { .. } => "the database is busy, or somebody holds a lock: write a longer deadline",
            Failure::Forbidden { .. } => {
                "our user has to be allowed to read the tables, and to change them for a command that does"
            }
        }
    }
}

/// What can be done about a database that cannot be asked at all.
pub(super) fn of_an_outage(settings: &Settings) -> &'static str {
    match &settings.server {
        Server::Postgres(_) | Server::MySql(_) => {
            "is the database running, are its address and TLS right, and is deadline long enough?"
        }
        Server::Sqlite(file) => match file.access {
            Access::ReadOnly => {
                "is the file there, is it a whole SQLite database, and may the user who runs this read it?"
            }
            Access::Own | Access::Change | Access::Prepare => {
                "is it a whole SQLite database (if not, restore a backup), may the user who runs this read and write it and \
                 its folder, and is there room on the disk?"
            }
        },
    }
}

/// Why work was not done, before it is known what that means.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There was no connection.
    Connecting(Error),
    /// The work met an error; what was begun was not made, unless it was lost while it was made.
    Working(Error),
    /// No answer came while connecting.
    SilentConnecting,
    /// No answer came to the work.
    Silent,
    /// Others had all connections for all that time.
    Busy,
    /// A file could not be made.
    File(std::io::Error),
}

/// What an error says about others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Down,
    Stranger,
    Slow,
    Refused,
    Forbidden,
}

/// What a trouble means.
pub(super) fn read(settings: &Settings, trouble: Trouble, limit: Duration) -> Failure {
    // A file that is full, or that we may not write to, is there all the same for who reads.
    let refused = match &trouble {
        Trouble::Connecting(error) | Trouble::Working(error) if is_unwritable(settings.dialect(), error) => {
            of_an_outage(settings)
        }
        Trouble::Connecting(_)
        | Trouble::Working(_)
        | Trouble::SilentConnecting
        | Trouble::Silent
        | Trouble::Busy
        | Trouble::File(_) => "are the tables there, and may our user read them?",
    };
    let (place, waited) = (settings.place(), limit.as_millis());
    let (reason, cause) = match trouble {
        Trouble::SilentConnecting => (Reason::Down, format!("no answer within {waited} ms while connecting")),
        Trouble::Silent => (Reason::Down, format!("no answer within {waited} ms")),
        Trouble::Busy => (Reason::Slow, format!("all connections were in use for {waited} ms")),
        Trouble::File(error) => (Reason::Down, error.to_string()),
        Trouble::Connecting(error) => match (reason(settings.dialect(), &error), told(&error)) {
            // Whatever it refused, others would meet it too.
            (Reason::Refused | Reason::Forbidden | Reason::Slow, cause) => (Reason::Down, cause),
            told => told,
        },
        Trouble::Working(error) => (reason(settings.dialect(), &error), told(&error)),
    };
    match reason {
        Reason::Down => Failure::Down { place, cause, advice: of_an_outage(settings) },
        Reason::Stranger => Failure::Stranger { place, cause },
        Reason::Slow => Failure::Slow { place, cause },
        Reason::Refused => Failure::Refused { place, cause, advice: refused },
        Reason::Forbidden => Failure::Forbidden { place, cause },
    }
}

fn reason(dialect: Dialect, error: &Error) -> Reason {
    let Error::Database(error) = error else {
        return if is_answer(error) { Reason::Refused } else { Reason::Down };
    };
    let code = error.code().unwrap_or_default();
    match dialect {
        Dialect::Postgres => match &*code {
            "28000" | "28P01" => Reason::Stranger,
            // Our own limits, and locks.
            "55P03" | "57014" => Reason::Slow,
            // Insufficient privilege; a transaction that may only read.
            "42501" | "25006" => Reason::Forbidden,
            code if code.starts_with("57P") || code.starts_with("08") || code.starts_with("53") => Reason::Down,
            _ => Reason::Refused,
        },
        Dialect::MySql => match number(&**error) {
            // Access denied: for the user, by a plugin, to the database.
            Some(1044 | 1045 | 1698) => Reason::Stranger,
            Some(1205 | 1969 | 3024) => Reason::Slow,
            // Too many connections, shutting down, killed, the host is blocked.
            Some(1040 | 1053 | 1129 | 1203 | 1226 | 1927) => Reason::Down,
            // The command is denied for this table, or column; the server, or the transaction, may only read.
            Some(1142 | 1143 | 1290 | 1792 | 1836) => Reason::Forbidden,
            Some(_) | None => Reason::Refused,
        },
        // The primary result code is the lower byte.
        Dialect::Sqlite => match code.parse::<i32>().map(|code| code & 0xff) {
            // Busy, locked.
            Ok(5 | 6) => Reason::Slow,
            // Read-only.
            Ok(8) => Reason::Forbidden,
            // I/O, corrupt, cannot open, not a database, a permission.
            Ok(10 | 11 | 14 | 26 | 3 | 23) => Reason::Down,
            Ok(_) | Err(_) => Reason::Refused,
        },
    }
}

/// Whether an error is about the answer, and says nothing about the connection.
fn is_answer(error: &Error) -> bool {
    matches!(
        error,
        Error::RowNotFound
            | Error::TypeNotFound { .. }
            | Error::ColumnIndexOutOfBounds { .. }
            | Error::ColumnNotFound(_)
            | Error::ColumnDecode { .. }
            | Error::Decode(_)
            | Error::Encode(_)
            | Error::InvalidArgument(_)
    )
}

/// MySQL's own number of an error, which its SQLSTATE is too coarse for.
fn number(error: &dyn DatabaseError) -> Option<u16> {
    error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(sqlx::mysql::MySqlDatabaseError::number)
}

/// Whether the connection is of no use any more, for whatever comes next.
pub(super) fn is_lost(dialect: Dialect, error: &Error) -> bool {
    reason(dialect, error) == Reason::Down
}

/// Whether a file of SQLite cannot be written to: its disk is full, or it may only be read.
fn is_unwritable(dialect: Dialect, error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    let code = error.code().and_then(|code| code.parse::<i32>().ok()).map(|code| code & 0xff);
    dialect == Dialect::Sqlite && matches!(code, Some(8 | 13))
}

/// Whether others have a file of SQLite just now.
pub(super) fn is_locked(dialect: Dialect, error: &Error) -> bool {
    match dialect {
        Dialect::Sqlite => reason(dialect, error) == Reason::Slow,
        Dialect::Postgres | Dialect::MySql => false,
    }
}

/// Whether the whole transaction is to be tried again: another one was in its way, and it was rolled back.
pub(super) fn is_deadlock(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    matches!(error.code().as_deref(), Some("40001" | "40P01"))
}

/// Whether a unique index holds a value already.
pub(super) fn is_duplicate(error: &Error) -> bool {
    matches!(error, Error::Database(error) if error.is_unique_violation())
}

/// An error, for the log.
fn told(error: &Error) -> String {
    match error {
        Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // What is wrong with data is told with the data, which could be a secret.
            match code.starts_with("22")
                || code.starts_with("23")
                || code.parse::<i32>().is_ok_and(|code| code & 0xff == 19)
            {
                true => format!("it does not take a value (its code {code})"),
                false => format!("{} (its code {code})", error.message()),
            }
        }
        Error::Io(error) => error.to_string(),
        Error::Tls(error) => format!("no TLS: {error}"),
        Error::Protocol(text) => format!("it does not speak as such a database does: {text}"),
        // The driver quotes what it cannot read.
        Error::Configuration(_) => "the driver does not take these settings".to_owned(),
        Error::ColumnDecode { index, .. } => format!("column {index} is of a type that is not known here"),
        other => other.to_string(),
    }
}
