//! The steps of one question to a server, and how long each took.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper_util::client::legacy::connect::CaptureConnection;
use tokio::time::Instant;

use crate::clock;

tokio::task_local! {
    /// The question that a connection is made for.
    static QUESTION: Arc<Progress>;
}

/// How far one question has come. The longest silence counts from the last step.
pub(crate) struct Progress(Mutex<Steps>);

struct Steps {
    last: Instant,
    /// What knows whether the question has a connection.
    connection: Option<CaptureConnection>,
    taken: Vec<(&'static str, Duration)>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress(Mutex::new(Steps { last: clock::now(), connection: None, taken: Vec::new() }))
    }
}

impl Progress {
    /// That of the question which this task works for.
    pub(super) fn of_this_task() -> Arc<Progress> {
        QUESTION.try_with(Arc::clone).unwrap_or_default()
    }

    /// Does something for which a connection may have to be made, whose steps count as this question's.
    pub(crate) async fn of<F: Future>(self: &Arc<Self>, work: F) -> F::Output {
        QUESTION.scope(Arc::clone(self), work).await
    }

    /// It is about to be sent, over a connection that this knows of.
    pub(crate) fn waits_for(&self, connection: CaptureConnection) {
        self.steps().connection = Some(connection);
    }

    /// Whether it has a connection, new or kept: somebody may have been asked.
    pub(crate) fn has_connection(&self) -> bool {
        self.steps().connection.as_ref().is_some_and(|connection| connection.connection_metadata().is_some())
    }

    /// When it last came on.
    pub(crate) fn last(&self) -> Instant {
        self.steps().last
    }

    /// It came on just now.
    pub(crate) fn came_on(&self) {
        self.steps().last = clock::now();
    }

    /// It took a step, for so long.
    pub(super) fn took(&self, step: &'static str, time: Duration) {
        let mut steps = self.steps();
        steps.last = clock::now();
        steps.taken.push((step, time));
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `, after lookup 0 ms, connecting 12 ms`; nothing where no step was taken, as on a connection that was kept.
impl fmt::Display for Progress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (step, time)) in self.steps().taken.iter().enumerate() {
            write!(out, "{}{step} {} ms", if number == 0 { ", after " } else { ", " }, time.as_millis())?;
        }
        Ok(())
    }
}
