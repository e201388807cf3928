//! An SQL database, asked under a deadline: what the records, and users and rules in SQL, share. The three drivers are known
//! in this room alone.

pub mod conn_string;
mod connections;
mod driver;
mod failure;
pub mod settings;
mod value;
pub(crate) mod xorm;

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

pub use failure::Failure;
pub use settings::{Dialect, Server, Settings};
pub use value::{Mistyped, Row, Value};

use connections::{Connections, Done, Work};

use crate::breaker::{Breaker, Pass, Passage, Trial, trials_of};

/// How long a trial of a database that was away may take: longer than a question, so that one far away is found.
const TRIAL: Duration = Duration::from_secs(4);

/// A database. Nothing is connected until the first question.
///
/// While it is known not to answer, questions are told so at once; it is tried in the background until it answers.
#[derive(Debug)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    outage: Option<Outage>,
    breaker: Breaker,
    connections: Connections,
}

/// What the log is told of an outage, and how its end is found.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// The section of the file, as `backend` in the log.
    pub backend: &'static str,
    /// A question without arguments. Its answer, whatever it is, ends the outage; so ask what others ask.
    pub trial: &'static str,
    /// Said when it begins.
    pub down: &'static str,
    /// Said when it is over.
    pub back: &'static str,
}

/// One step of a transaction. Arguments stand as `$1`, `$2`, … on every database.
#[derive(Clone, Debug)]
pub struct Step {
    /// The statement.
    pub sql: &'static str,
    /// Its arguments.
    pub args: Vec<Value>,
    /// What has to come of it.
    pub expects: Expects,
}

impl Step {
    /// A step that may change any number of rows.
    pub fn any(sql: &'static str, args: Vec<Value>) -> Step {
        Step { sql, args, expects: Expects::Any }
    }

    /// A step that has to change exactly one row.
    pub fn one(sql: &'static str, args: Vec<Value>) -> Step {
        Step { sql, args, expects: Expects::One }
    }

    /// A question that has to find exactly these rows, in whatever order: what was read before is still so.
    pub fn finds(sql: &'static str, args: Vec<Value>, mut rows: Vec<Row>) -> Step {
        rows.sort();
        Step { sql, args, expects: Expects::Rows(rows) }
    }
}

/// What has to come of a step, for its transaction to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expects {
    /// Any number of changed rows.
    Any,
    /// Exactly one changed row. An update counts the rows that it found, changed or not.
    One,
    /// These rows and no others, sorted; the step is a question.
    Rows(Vec<Row>),
}

/// What came of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was made: the rows that each step changed.
    Applied(Vec<u64>),
    /// Nothing was changed: this step, counted from 0, did not come to what it expects.
    Unmet {
        /// The step.
        step: usize,
    },
    /// Nothing was changed: a unique index holds a value of this step already.
    Duplicate {
        /// The step.
        step: usize,
    },
}

impl Database {
    /// A database; nothing is connected yet.
    pub fn new(settings: Settings, outage: Outage) -> Database {
        Database::made(settings, Some(outage))
    }

    /// A database that is asked however often it fails: for who asks it from time to time, and tells the log himself.
    pub fn without_breaker(settings: Settings) -> Database {
        Database::made(settings, None)
    }

    fn made(settings: Settings, outage: Option<Outage>) -> Database {
        let connections = Connections::new(&settings);
        Database(Arc::new(Inner { settings, outage, breaker: Breaker::default(), connections }))
    }

    /// What it was made from.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Whether it is asked now.
    pub fn passage(&self) -> Passage {
        self.0.breaker.passage()
    }

    /// The rows that a question finds. Arguments stand as `$1`, `$2`, … on every database.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn read(&self, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, Failure> {
        self.guarded(Work::Read { sql, args }).await.map(Done::into_rows)
    }

    /// Makes all steps in one transaction, or none of them.
    ///
    /// # Errors
    /// There is no answer. Unless the failure is [`Failure::Open`], the change may have been made all the same.
    pub async fn write(&self, steps: &[Step]) -> Result<Written, Failure> {
        self.guarded(Work::Write(steps)).await.map(Done::into_written)
    }

    /// As [`Database::read`] with another limit, and even while the database is known not to answer: for work that nobody
    /// waits for.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn read_within(&self, limit: Duration, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, Failure> {
        self.0.ask(limit, Work::Read { sql, args }).await.map(Done::into_rows)
    }

    /// As [`Database::write`] with another limit, and even while the database is known not to answer: for administrators'
    /// commands.
    ///
    /// # Errors
    /// As for [`Database::write`].
    pub async fn write_within(&self, limit: Duration, steps: &[Step]) -> Result<Written, Failure> {
        self.0.ask(limit, Work::Write(steps)).await.map(Done::into_written)
    }

    async fn guarded(&self, work: Work<'_>) -> Result<Done, Failure> {
        let Inner { settings, breaker, .. } = &*self.0;
        let pass = breaker
            .admit()
            .map_err(|_| Failure::Open { place: settings.place(), advice: failure::of_an_outage(settings) })?;
        self.0.ask(settings.answer_within, work).await.inspect_err(|failure| self.failed(pass, failure))
    }

    /// Closes the door after a failure that other questions would meet too.
    fn failed(&self, pass: Pass, failure: &Failure) {
        match failure {
            // The database is there: who asks something that it refuses must not keep everybody else out.
            Failure::Refused { .. } | Failure::Forbidden { .. } | Failure::Slow { .. } | Failure::Open { .. } => return,
            Failure::Down { .. } | Failure::Stranger { .. } => {}
        }
        let Some(Outage { backend, trial, down, back }) = self.0.outage else { return };
        let trial = trials_of(&self.0, move |database| async move { database.try_again(trial).await });
        let closed = self.0.breaker.fail(pass, trial, move || info!(reason = "backend_back", backend, "{back}"));
        if closed {
            warn!(reason = "backend_down", backend, cause = %failure, "{down}");
        }
    }
}

impl Inner {
    async fn ask(&self, limit: Duration, work: Work<'_>) -> Result<Done, Failure> {
        let asked = self.connections.perform(limit, work).await;
        asked.map_err(|trouble| failure::read(&self.settings, trouble, limit))
    }

    async fn try_again(&self, sql: &'static str) -> Trial {
        let asked = self.connections.perform_anew(TRIAL, Work::Read { sql, args: &[] }).await;
        match asked.map_err(|trouble| failure::read(&self.settings, trouble, TRIAL)) {
            Ok(_) | Err(Failure::Refused { .. } | Failure::Forbidden { .. }) => Trial::Answered,
            // Each is a failed login there.
            Err(Failure::Stranger { .. }) => Trial::Refused,
            Err(Failure::Down { .. } | Failure::Slow { .. } | Failure::Open { .. }) => Trial::Failed,
        }
    }
}

#[cfg(test)]
mod tests;
