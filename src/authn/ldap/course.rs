//! The course of a login at a directory: what it has waited for so far, and when it has to be over.
//!
//! What ends a wait is silence: as long as a server says something, it is there, however far away. Only the whole login has a
//! deadline besides, and it says nothing about the server.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::connection::Trouble;
use super::step::Step;
use super::verdict::Failure;

/// A server that was silent for this much less than its time, as the deadline came before, is still blamed for it.
const NEARLY: Duration = Duration::from_millis(100);
/// More steps of one login are not listed: each server and each of its addresses adds a few.
const LISTED: usize = 24;

/// How long a server may be silent, and the key of the file that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Silence {
    /// The key.
    pub(super) key: &'static str,
    /// The time.
    pub(super) length: Duration,
}

/// One login, from its beginning to its deadline.
pub(super) struct Course {
    began: Instant,
    allowed: Duration,
    steps: Mutex<Vec<(Step, Duration)>>,
}

impl Course {
    /// A login that begins now, and may take so long in all.
    pub(super) fn of(allowed: Duration) -> Course {
        Course { began: crate::clock::now(), allowed, steps: Mutex::default() }
    }

    /// When it has to be over.
    pub(super) fn deadline(&self) -> Instant {
        self.began + self.allowed
    }

    /// How much of its time is left.
    pub(super) fn left(&self) -> Duration {
        self.deadline().saturating_duration_since(crate::clock::now())
    }

    /// How long it has waited in all.
    pub(super) fn total(&self) -> Duration {
        self.steps().iter().map(|(_, took)| *took).sum()
    }

    /// Waits for something other than a server's answer, and takes note of how long that took.
    pub(super) async fn wait_for<T>(&self, step: Step, work: impl Future<Output = T>) -> T {
        let began = crate::clock::now();
        let done = work.await;
        self.took(step, began.elapsed());
        done
    }

    fn took(&self, step: Step, time: Duration) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() < LISTED {
            steps.push((step, time));
        }
    }

    /// What it has waited for, in order, and how long.
    pub(super) fn steps(&self) -> Vec<(Step, Duration)> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// That the time was over before this step was.
    pub(super) fn late(&self, step: Step, waited: Duration) -> Failure {
        Failure::Late(self.overdue(step, waited))
    }

    fn overdue(&self, step: Step, waited: Duration) -> String {
        let mut steps = self.steps();
        steps.push((step, waited));
        format!(
            "a login did not end within {} (deadline): {}, which had not ended",
            shown(self.allowed),
            listed(&steps)
        )
    }
}

/// A time, as messages have it.
pub(super) fn shown(time: Duration) -> String {
    match time.subsec_millis() == 0 && !time.is_zero() {
        true => format!("{} s", time.as_secs()),
        false => format!("{} ms", time.as_millis()),
    }
}

/// Steps and their times, as messages have them. Those that took no time are left out.
pub(super) fn listed(steps: &[(Step, Duration)]) -> String {
    let told = steps.iter().filter(|(_, took)| took.as_millis() > 0);
    let told: Vec<String> = told.map(|(step, took)| format!("{step} {} ms", took.as_millis())).collect();
    match told.as_slice() {
        [] => "nothing took a millisecond".to_owned(),
        told => told.join(", "),
    }
}

/// When something was last heard on a connection.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    since: Instant,
    micros: Arc<AtomicU64>,
}

impl Heard {
    /// Nothing yet.
    pub(super) fn nothing() -> Heard {
        Heard { since: crate::clock::now(), micros: Arc::default() }
    }

    /// Something came just now.
    pub(super) fn note(&self) {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.micros.store(micros, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.since + Duration::from_micros(self.micros.load(Ordering::Relaxed))
    }
}

/// One wait for a server: what for, for how long it may be silent, and of whose login.
#[derive(Clone, Copy)]
pub(super) struct Limit<'of> {
    /// What is waited for.
    pub(super) step: Step,
    /// How long nothing may come.
    pub(super) silence: Silence,
    /// The login.
    pub(super) course: &'of Course,
}

impl<'of> Limit<'of> {
    /// The same for another step.
    pub(super) fn of(self, step: Step) -> Limit<'of> {
        Limit { step, ..self }
    }

    /// Waits until it is done, or nothing was heard for too long, or the time of the whole login has expired.
    ///
    /// # Errors
    /// Those two, and those of the work.
    pub(super) async fn wait<T>(
        self,
        heard: &Heard,
        work: impl Future<Output = Result<T, Trouble>>,
    ) -> Result<T, Trouble> {
        let Limit { step, silence, course } = self;
        let began = crate::clock::now();
        let mut work = std::pin::pin!(work);
        loop {
            let last = heard.last().max(began);
            let end = course.deadline().min(last + silence.length);
            if let Ok(done) = timeout_at(end, &mut work).await {
                course.took(step, began.elapsed());
                return done;
            }
            let now = crate::clock::now();
            // Something came meanwhile, and the wait begins anew.
            if now < course.deadline() && heard.last().max(began) + silence.length > now {
                continue;
            }
            let quiet = now.saturating_duration_since(heard.last().max(began));
            let trouble = match quiet + NEARLY >= silence.length {
                true => {
                    let before = course.steps();
                    let before = match before.as_slice() {
                        [] => String::new(),
                        before => format!("; before it: {}", listed(before)),
                    };
                    Trouble::Silent(format!(
                        "{step} got no answer within {} ({}){before}",
                        shown(silence.length),
                        silence.key
                    ))
                }
                false => Trouble::Overdue(course.overdue(step, now.saturating_duration_since(began))),
            };
            course.took(step, began.elapsed());
            return Err(trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Silence = Silence { key: "timeout", length: Duration::from_millis(1400) };

    fn limit(course: &Course) -> Limit<'_> {
        Limit { step: Step::Account, silence: SILENCE, course }
    }

    async fn after(times: u32, each: Duration, heard: &Heard) -> Result<(), Trouble> {
        for _ in 0..times {
            tokio::time::sleep(each).await;
            heard.note();
        }
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_wait_and_slowness_does_not() {
        let second = Duration::from_secs(1);
        let course = Course::of(10 * second);
        let heard = Heard::nothing();
        assert!(limit(&course).wait(&heard, after(5, second, &heard)).await.is_ok());
        assert_eq!(course.steps(), [(Step::Account, 5 * second)]);
        let began = crate::clock::now();
        let silent = limit(&course).of(Step::Check).wait(&heard, std::future::pending::<Result<(), _>>()).await;
        let Err(Trouble::Silent(message)) = silent else { unreachable!("{silent:?}") };
        assert_eq!(began.elapsed(), SILENCE.length);
        assert_eq!(
            message,
            "the check of the password got no answer within 1400 ms (timeout); before it: the search for the account 5000 ms"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_a_login_and_blames_nobody() {
        let second = Duration::from_secs(1);
        let course = Course::of(10 * second);
        let heard = Heard::nothing();
        let late = limit(&course).wait(&heard, after(20, second, &heard)).await;
        let Err(Trouble::Overdue(message)) = late else { unreachable!("{late:?}") };
        assert_eq!(course.total(), 10 * second);
        assert!(message.contains("within 10 s (deadline): the search for the account 10000 ms"), "{message}");
        // Half a wait proves no silence; nearly all of one does.
        for (allowed, is_silence) in [(700, false), (1290, false), (1310, true), (1400, true)] {
            let course = Course::of(Duration::from_millis(allowed));
            let ended = limit(&course).wait(&Heard::nothing(), std::future::pending::<Result<(), _>>()).await;
            assert_eq!(matches!(ended, Err(Trouble::Silent(_))), is_silence, "{allowed}");
        }
    }
}
