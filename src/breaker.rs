//! A breaker: while a backend cannot be reached, its callers are told so at once instead of each waiting for it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::clock;

use crate::random;

/// How long after the first failure the backend is tried again.
const FIRST_TRIAL: Duration = Duration::from_millis(50);
/// The longest pause between two trials: with it, an answer comes well within two seconds of the backend's return.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The same where a trial is a failed login to the backend. No longer than this is waited until the next one in an outage
/// that lasts, and none is made within it but for the first few.
const FIRST_GROWING: Duration = Duration::from_millis(250);
const LONGEST_GROWING: Duration = Duration::from_secs(30);
/// How often, meanwhile, somebody's own question is let through: it finds out what a trial would, and counts as nothing but
/// itself.
const INVITED_EVERY: Duration = Duration::from_secs(1);
/// The next trial after one whose credentials were refused: servers lock accounts that are tried again and again.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);
/// How many trials wait for an answer at once. The connection of one that began in the outage may never bring any: that the
/// backend is back is not noticed later for it.
const TRIALS_AT_ONCE: usize = 4;

/// Whether a backend is to be asked.
///
/// The number counts changes of state: even while the backend is asked, odd while it is not.
#[derive(Clone, Debug, Default)]
pub struct Breaker(Arc<State>);

#[derive(Debug, Default)]
struct State {
    number: AtomicU64,
    /// Whether the next question is let through although the backend is known not to answer.
    invites: AtomicBool,
    /// Tells those who try it that it was opened by somebody else.
    opened: Notify,
    /// When it was closed last.
    closed: Mutex<Option<Instant>>,
}

/// How trials follow each other, and who finds out besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pauses {
    /// At most half a second apart: they cost the backend nothing.
    Short,
    /// Longer and longer, up to 30 seconds, as each is a failed login there. Once a second somebody's own question is let
    /// through, so that nobody is kept out for so long after an outage.
    Growing,
}

impl Pauses {
    fn first(self) -> Duration {
        match self {
            Pauses::Short => FIRST_TRIAL,
            Pauses::Growing => FIRST_GROWING,
        }
    }

    /// The pause as it is kept: other servers are to ask at other moments.
    fn kept(self, pause: Duration) -> Duration {
        match self {
            Pauses::Short => jittered(pause),
            // Never a shorter one.
            Pauses::Growing => pause.saturating_mul(2).saturating_sub(jittered(pause)),
        }
    }

    fn longest(self) -> Duration {
        match self {
            Pauses::Short => LONGEST_PAUSE,
            Pauses::Growing => LONGEST_GROWING,
        }
    }
}

/// Whether a breaker lets questions through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// The backend is asked.
    Passing,
    /// The backend is known not to answer, and is tried in the background.
    Shut {
        /// Since when.
        since: Instant,
    },
}

/// The leave to ask the backend once.
#[derive(Clone, Copy, Debug)]
pub struct Pass(u64);

impl Pass {
    /// Whether it lets through although the backend is known not to answer.
    pub fn is_invited(self) -> bool {
        self.0 % 2 == 1
    }
}

/// The backend failed a moment ago, and has not answered a trial yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it failed a moment ago and has not answered again yet")]
pub struct Open;

/// What a trial of the backend brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// It answers: callers are let through again.
    Answered,
    /// It does not.
    Failed,
    /// It does not take our own credentials.
    Refused,
    /// Nobody needs the backend any more.
    Ended,
}

/// A trial under way.
type Trying = Pin<Box<dyn Future<Output = Trial> + Send>>;

/// Trials of something that others hold; once nobody does, they end.
pub fn trials_of<T, F>(
    held: &Arc<T>,
    trial: impl Fn(Arc<T>) -> F + Send + 'static,
) -> impl Fn() -> Trying + Send + 'static
where
    T: Send + Sync + 'static,
    F: Future<Output = Trial> + Send + 'static,
{
    let held = Arc::downgrade(held);
    move || match held.upgrade() {
        Some(held) => Box::pin(trial(held)),
        None => Box::pin(std::future::ready(Trial::Ended)),
    }
}

impl Breaker {
    /// Leave to ask the backend.
    ///
    /// # Errors
    /// It is known not to answer.
    pub fn admit(&self) -> Result<Pass, Open> {
        match self.0.number.load(Ordering::Acquire) {
            state if state % 2 == 0 => Ok(Pass(state)),
            state if self.0.invites.swap(false, Ordering::AcqRel) => Ok(Pass(state)),
            _ => Err(Open),
        }
    }

    /// Whether the backend is asked now.
    pub fn passage(&self) -> Passage {
        match self.0.number.load(Ordering::Acquire) % 2 {
            0 => Passage::Passing,
            _ => {
                let closed = self.0.closed.lock().unwrap_or_else(PoisonError::into_inner);
                Passage::Shut { since: closed.unwrap_or_else(clock::now) }
            }
        }
    }

    /// Says that something came from the backend, however late: callers are let through again.
    pub fn heard(&self) {
        let state = self.0.number.load(Ordering::Acquire);
        if state % 2 == 1 && self.open(state) {
            self.0.opened.notify_waiters();
        }
    }

    fn open(&self, state: u64) -> bool {
        self.0.invites.store(false, Ordering::Release);
        self.0.number.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Says that the backend could not be reached. Nobody is let through from then on, and `trial` is run in the
    /// background, again and again, until the backend answers. Once callers are let through again, `back` is run, which can
    /// say so: what the log tells is true then.
    ///
    /// A failure that began before the backend last recovered says nothing about it now, and changes nothing. Returns
    /// whether this was the failure that closed the door.
    pub fn fail<F, T, B>(&self, pass: Pass, trial: T, back: B) -> bool
    where
        T: Fn() -> F + Send + 'static,
        F: Future<Output = Trial> + Send + 'static,
        B: FnOnce() + Send + 'static,
    {
        self.fail_with(pass, Pauses::Short, trial, back)
    }

    /// As [`Breaker::fail`], where it is said how trials follow each other.
    pub fn fail_with<F, T, B>(&self, pass: Pass, pauses: Pauses, trial: T, back: B) -> bool
    where
        T: Fn() -> F + Send + 'static,
        F: Future<Output = Trial> + Send + 'static,
        B: FnOnce() + Send + 'static,
    {
        let Pass(state) = pass;
        // Who was let through in an outage finds the door closed already.
        let closed = !pass.is_invited()
            && self.0.number.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if closed {
            *self.0.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now());
            tokio::spawn(recover(self.clone(), state + 1, pauses, trial, back));
        }
        closed
    }
}

async fn recover<F, T, B>(breaker: Breaker, state: u64, pauses: Pauses, trial: T, back: B)
where
    T: Fn() -> F + Send,
    F: Future<Output = Trial> + Send + 'static,
    B: FnOnce() + Send,
{
    let mut pause = pauses.first();
    let mut next = clock::now() + pauses.kept(pause);
    let mut invited = clock::now() + INVITED_EVERY;
    // Those that nobody waits for any more end with it.
    let mut trials = JoinSet::new();
    loop {
        let opened = breaker.0.opened.notified();
        if breaker.0.number.load(Ordering::Acquire) != state {
            break;
        }
        tokio::select! {
            () = sleep_until(next), if trials.len() < TRIALS_AT_ONCE => {
                trials.spawn(trial());
                pause = pause.saturating_mul(2).min(pauses.longest());
                next = clock::now() + pauses.kept(pause);
            }
            () = sleep_until(invited), if pauses == Pauses::Growing => {
                breaker.0.invites.store(true, Ordering::Release);
                invited = clock::now() + INVITED_EVERY;
            }
            () = opened => {}
            Some(ended) = trials.join_next() => match ended {
                Ok(Trial::Answered) => break,
                Ok(Trial::Ended) => return,
                Ok(Trial::Refused) => next = next.max(clock::now() + REFUSED_AGAIN),
                // One that broke down says nothing about the backend: it is tried again.
                Ok(Trial::Failed) | Err(_) => {}
            },
        }
    }
    breaker.open(state);
    back();
}

/// Between four fifths and the whole of a time, so that servers which were started together, or lost the same backend
/// together, do not all ask at the same moments.
pub fn jittered(time: Duration) -> Duration {
    // Without random bytes every pause is the shortest one: a nuisance, not a danger.
    let share = random::bytes().map_or(0.0, |bytes| f64::from(u16::from_le_bytes(bytes)) / 65_536.0);
    time.mul_f64(0.8 + 0.2 * share)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_is_let_through_until_a_trial_is_answered() {
        let breaker = Breaker::default();
        let early = breaker.admit();
        let late = breaker.admit();
        let trials = Arc::new(AtomicUsize::new(0));
        let answers_third = || {
            let trials = Arc::clone(&trials);
            move || {
                let number = trials.fetch_add(1, Ordering::Relaxed);
                async move { if number < 2 { Trial::Failed } else { Trial::Answered } }
            }
        };
        let (Ok(early), Ok(late)) = (early, late) else { unreachable!("nothing has failed yet") };
        assert_eq!(breaker.passage(), Passage::Passing);
        let told = Arc::new(AtomicUsize::new(0));
        let tells = || {
            let (breaker, told) = (breaker.clone(), Arc::clone(&told));
            move || {
                assert_eq!(breaker.passage(), Passage::Passing, "whoever hears of it can ask");
                told.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert!(breaker.fail(early, answers_third(), tells()));
        assert!(matches!(breaker.passage(), Passage::Shut { .. }));
        assert_eq!(breaker.admit().map(|_| ()), Err(Open));
        assert!(!breaker.fail(late, answers_third(), tells()), "the second failure of the same time starts nothing");
        // 50, 100 and 200 milliseconds at most.
        tokio::time::sleep(Duration::from_millis(120)).await;
        assert_eq!(breaker.admit().map(|_| ()), Err(Open));
        tokio::time::sleep(Duration::from_millis(240)).await;
        assert!(breaker.admit().is_ok());
        assert_eq!(trials.load(Ordering::Relaxed), 3);
        assert!(!breaker.fail(late, answers_third(), tells()), "a failure from before the recovery says nothing");
        assert!(breaker.admit().is_ok());
        assert_eq!(told.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_gets_no_answer_keeps_no_other_from_being_answered() {
        let breaker = Breaker::default();
        let (trials, running) = (Arc::new(AtomicUsize::new(0)), Arc::new(()));
        let (counted, held) = (Arc::clone(&trials), Arc::clone(&running));
        let Ok(pass) = breaker.admit() else { unreachable!("nothing has failed yet") };
        let trial = move || {
            let (number, held) = (counted.fetch_add(1, Ordering::Relaxed), Arc::clone(&held));
            async move {
                // The first three for ever, the fourth for a while.
                let wait = if number < 3 { Duration::from_secs(3600) } else { Duration::from_secs(5) };
                tokio::time::sleep(wait).await;
                drop(held);
                Trial::Answered
            }
        };
        breaker.fail(pass, trial, || {});
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(matches!(breaker.passage(), Passage::Shut { .. }));
        assert_eq!(trials.load(Ordering::Relaxed), TRIALS_AT_ONCE, "so many and no more wait for an answer");
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(breaker.passage(), Passage::Passing);
        assert_eq!(Arc::strong_count(&running), 1, "nobody waits for the others any more");
    }

    #[tokio::test(start_paused = true)]
    async fn trials_are_as_many_as_the_last_one_leaves_reason_for() {
        for (brought, seconds, expected) in [
            // Nobody needs it any more.
            (Trial::Ended, 60, 1..=1),
            // A server that refuses our credentials is left alone for a while.
            (Trial::Refused, 300, 9..=11),
        ] {
            let breaker = Breaker::default();
            let trials = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&trials);
            let Ok(pass) = breaker.admit() else { unreachable!("nothing has failed yet") };
            let trial = move || {
                counted.fetch_add(1, Ordering::Relaxed);
                async move { brought }
            };
            breaker.fail(pass, trial, || unreachable!("it is not back"));
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            assert!(expected.contains(&trials.load(Ordering::Relaxed)), "{brought:?}: {trials:?}");
            assert_eq!(Arc::strong_count(&trials) == 1, brought == Trial::Ended, "{brought:?}: the task is gone");
        }
    }

    /// A backend to which each trial is a failed login.
    #[tokio::test(start_paused = true)]
    async fn growing_pauses_cost_few_trials_and_let_somebodys_own_question_through() {
        let breaker = Breaker::default();
        let Ok(pass) = breaker.admit() else { unreachable!("nothing has failed yet") };
        let began = clock::now();
        let trials = Arc::new(std::sync::Mutex::new(Vec::new()));
        let noted = Arc::clone(&trials);
        let trial = move || {
            if let Ok(mut times) = noted.lock() {
                times.push(began.elapsed());
            }
            async { Trial::Failed }
        };
        let told = Arc::new(AtomicUsize::new(0));
        let telling = Arc::clone(&told);
        let back = move || {
            telling.fetch_add(1, Ordering::Relaxed);
        };
        assert!(breaker.fail_with(pass, Pauses::Growing, trial, back));
        let mut invited = 0;
        for _ in 0..6000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if let Ok(pass) = breaker.admit() {
                assert!(pass.is_invited());
                assert!(!breaker.fail(pass, || async { Trial::Failed }, || {}), "it is closed already");
                invited += 1;
            }
            assert!(matches!(breaker.passage(), Passage::Shut { .. }));
        }
        assert!((280..=300).contains(&invited), "one a second in five minutes: {invited}");
        let times = trials.lock().map(|times| times.clone()).unwrap_or_default();
        assert!((14..=20).contains(&times.len()), "{times:?}");
        for pair in times.windows(2).skip(7) {
            if let [one, other] = pair {
                assert!(*other - *one >= LONGEST_GROWING, "{times:?}");
            }
        }
        // Whatever comes from there, however late, opens the door.
        breaker.heard();
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!((breaker.passage(), told.load(Ordering::Relaxed)), (Passage::Passing, 1));
        // A sign of life while all is well says nothing about the next outage.
        breaker.heard();
        let Ok(pass) = breaker.admit() else { unreachable!("it is open") };
        assert!(breaker.fail_with(pass, Pauses::Growing, || async { Trial::Failed }, || {}));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(matches!(breaker.passage(), Passage::Shut { .. }));
    }

    #[test]
    fn jitter_takes_at_most_a_fifth_off() {
        for _ in 0..1000 {
            let time = jittered(Duration::from_secs(1));
            assert!(time >= Duration::from_millis(800) && time <= Duration::from_secs(1), "{time:?}");
        }
    }
}
