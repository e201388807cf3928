//! Credentials with an end: fetched when they are first needed, renewed well before they end, by one at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderValue;
use tokio::time::Instant;
use tracing::warn;

use crate::breaker::jittered;

/// How long fetching may take: clients wait with it.
const FETCH_WITHIN: Duration = Duration::from_secs(10);
/// How soon a renewal that failed is tried again, while the old credentials still hold.
const RETRY: Duration = Duration::from_secs(10);
/// When credentials are renewed that claim to be over on arrival: a wrong clock says nothing about them.
const RENEW_DOUBTFUL: Duration = Duration::from_secs(600);
/// How soon is asked again after a failure: with one question for each request of each client, whoever gives credentials
/// out would be held down by those who wait for them.
const FAILED_AGAIN: Duration = Duration::from_secs(1);
/// The same where our own account was refused: each question is a failed login, and accounts are locked for those.
const STRANGER_AGAIN: Duration = Duration::from_secs(30);
/// The longest life that is believed. Credentials that are said to live longer are renewed all the same, and a number
/// that no clock has is none to calculate with.
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How soon credentials are fetched anew that were themselves fetched because others were refused. Sooner, and an upstream
/// that refuses everything would have us ask for every request of every client.
const REFUSED_AGAIN: Duration = Duration::from_secs(2);

/// Credentials as they were given to us.
#[derive(Clone, Debug)]
pub(super) struct Fetched {
    /// The Authorization header.
    pub(super) value: HeaderValue,
    /// How much longer they hold.
    pub(super) life: Life,
}

/// How much longer credentials hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// For this long.
    For(Duration),
    /// Not at all, they claim. They are used all the same, and asked for again later.
    Over,
}

/// Whoever gives credentials out does not take our account.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Stranger(pub(super) String);

/// Where credentials come from.
#[async_trait]
pub(super) trait Source: Send + Sync + 'static {
    /// What is fetched, for the log.
    fn what(&self) -> String;

    /// Fetches new ones.
    ///
    /// # Errors
    /// There are none to be had now.
    async fn fetch(&self) -> anyhow::Result<Fetched>;
}

/// Credentials that are kept, and kept fresh.
pub(super) struct Renewing<S>(Arc<Shared<S>>);

struct Shared<S> {
    source: S,
    state: Mutex<State>,
    /// Held by whoever fetches.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// The last failure, and how long nothing is asked after it; those who waited for it need not try for themselves.
    failed: Option<(Instant, Duration, String)>,
}

struct Held {
    value: HeaderValue,
    fetched: Instant,
    renew_at: Instant,
    over_at: Option<Instant>,
    why: Why,
}

/// Why credentials were fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Due,
    Refused,
}

/// What is there.
enum Found {
    Fresh(HeaderValue),
    /// Good, and to be renewed.
    Ageing(HeaderValue),
    Nothing,
}

impl<S: Source> Renewing<S> {
    pub(super) fn new(source: S) -> Renewing<S> {
        Renewing(Arc::new(Shared { source, state: Mutex::default(), turn: tokio::sync::Mutex::default() }))
    }

    /// Credentials that hold.
    ///
    /// # Errors
    /// There are none, and none are to be had.
    pub(super) async fn current(&self) -> anyhow::Result<HeaderValue> {
        match self.0.found() {
            Found::Fresh(value) => Ok(value),
            Found::Ageing(value) => {
                let shared = Arc::clone(&self.0);
                tokio::spawn(async move { shared.renew_if_nobody_does().await });
                Ok(value)
            }
            Found::Nothing => {
                let asked = crate::clock::now();
                let _turn = self.0.turn.lock().await;
                match self.0.found() {
                    Found::Fresh(value) | Found::Ageing(value) => Ok(value),
                    Found::Nothing => self.0.fetch(Why::Due, asked).await,
                }
            }
        }
    }

    /// Other credentials than `refused`; `None` where those were fetched a moment ago for the same reason.
    ///
    /// # Errors
    /// None are to be had.
    pub(super) async fn other_than(
        &self,
        refused: Option<&HeaderValue>,
        not_sooner: Duration,
    ) -> anyhow::Result<Option<HeaderValue>> {
        let asked = crate::clock::now();
        let _turn = self.0.turn.lock().await;
        {
            let state = self.0.state();
            if let Some(held) = &state.held {
                if Some(&held.value) != refused {
                    return Ok(Some(held.value.clone()));
                }
                if held.why == Why::Refused && held.fetched.elapsed() < not_sooner.max(REFUSED_AGAIN) {
                    return Ok(None);
                }
            }
        }
        let fetched = self.0.fetch(Why::Refused, asked).await?;
        // The same once more would be refused once more.
        Ok(Some(fetched).filter(|fetched| Some(fetched) != refused))
    }
}

impl<S: Source> Shared<S> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self) -> Found {
        let now = crate::clock::now();
        match &self.state().held {
            None => Found::Nothing,
            // First: after a renewal that failed, the next one may be due later than that.
            Some(held) if held.over_at.is_some_and(|over| now >= over) => Found::Nothing,
            Some(held) if now < held.renew_at => Found::Fresh(held.value.clone()),
            Some(held) => Found::Ageing(held.value.clone()),
        }
    }

    async fn renew_if_nobody_does(&self) {
        let asked = crate::clock::now();
        let Ok(_turn) = self.turn.try_lock() else { return };
        match self.found() {
            Found::Ageing(_) => {}
            Found::Fresh(_) | Found::Nothing => return,
        }
        if let Err(cause) = self.fetch(Why::Due, asked).await {
            warn!(reason = "renewal_failed", what = self.source.what(), cause = %format!("{cause:#}"),
                "credentials could not be renewed; the old ones stay in use");
            if let Some(held) = &mut self.state().held {
                held.renew_at = crate::clock::now() + jittered(RETRY);
            }
        }
    }

    /// Fetches; the turn is the caller's.
    async fn fetch(&self, why: Why, asked: Instant) -> anyhow::Result<HeaderValue> {
        if let Some((at, pause, cause)) = &self.state().failed
            && (*at >= asked || at.elapsed() < *pause)
        {
            anyhow::bail!("{cause}");
        }
        let fetched = match tokio::time::timeout(FETCH_WITHIN, self.source.fetch()).await {
            Ok(fetched) => fetched,
            Err(_) => Err(anyhow::anyhow!("no answer within {} seconds", FETCH_WITHIN.as_secs())),
        };
        let now = crate::clock::now();
        match fetched {
            Ok(Fetched { value, life }) => {
                let (renew_at, over_at) = match life {
                    Life::For(life) if life > LONGEST_LIFE => (now + jittered(LONGEST_LIFE / 2), None),
                    Life::For(life) => (now + jittered(life / 2), Some(now + life.mul_f64(0.95))),
                    Life::Over => (now + jittered(RENEW_DOUBTFUL), None),
                };
                let mut state = self.state();
                state.held = Some(Held { value: value.clone(), fetched: now, renew_at, over_at, why });
                state.failed = None;
                Ok(value)
            }
            Err(cause) => {
                let pause = if cause.is::<Stranger>() { STRANGER_AGAIN } else { FAILED_AGAIN };
                self.state().failed = Some((now, pause, format!("{cause:#}")));
                Err(cause)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Gives `token-1`, `token-2`, …, or the same one, or nothing.
    struct Counting {
        calls: Arc<AtomicUsize>,
        life: Life,
        gives: fn(usize) -> Option<usize>,
    }

    #[async_trait]
    impl Source for Counting {
        fn what(&self) -> String {
            "a count".to_owned()
        }

        async fn fetch(&self) -> anyhow::Result<Fetched> {
            // Long enough for everybody else to come and wait.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
            let number = (self.gives)(call).ok_or_else(|| anyhow::anyhow!("none today"))?;
            Ok(Fetched { value: HeaderValue::from_str(&format!("token-{number}")).unwrap(), life: self.life })
        }
    }

    fn renewing(life: Life, gives: fn(usize) -> Option<usize>) -> (Arc<Renewing<Counting>>, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        (Arc::new(Renewing::new(Counting { calls: Arc::clone(&calls), life, gives })), calls)
    }

    async fn many(renewing: &Arc<Renewing<Counting>>, number: usize) -> Vec<Result<String, String>> {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..number {
            let renewing = Arc::clone(renewing);
            asking.spawn(async move {
                let current = renewing.current().await;
                current.map(|value| value.to_str().unwrap().to_owned()).map_err(|error| error.to_string())
            });
        }
        asking.join_all().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_at_once_fetch_once() {
        let (renewing, calls) = renewing(Life::For(Duration::from_secs(60)), Some);
        let values = many(&renewing, 100).await;
        assert!(values.iter().all(|value| value.as_deref() == Ok("token-1")), "{values:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_at_once_fail_once() {
        let (renewing, calls) = renewing(Life::Over, |call| (call > 1).then_some(call));
        let values = many(&renewing, 100).await;
        assert!(values.iter().all(|value| value.as_ref().is_err_and(|error| error == "none today")), "{values:?}");
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        // Whoever comes a second later tries again.
        tokio::time::sleep(FAILED_AGAIN).await;
        assert_eq!(many(&renewing, 1).await, [Ok("token-2".to_owned())]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_renewal_while_the_old_ones_hold() {
        let (renewing, calls) = renewing(Life::For(Duration::from_secs(12 * 3600)), |call| (call != 2).then_some(call));
        let hour = Duration::from_secs(3600);
        let same = |number: usize| vec![Ok(format!("token-{number}")); 5];
        for (pause, number, called) in [
            (Duration::ZERO, 1, 1),
            (4 * hour, 1, 1),
            // Past the half of its life: a renewal begins, and fails, and nobody notices.
            (3 * hour, 1, 1),
            (Duration::from_secs(1), 1, 2),
            // It is tried again.
            (Duration::from_secs(11), 1, 2),
            (Duration::from_secs(1), 3, 3),
        ] {
            tokio::time::sleep(pause).await;
            assert_eq!(many(&renewing, 5).await, same(number));
            assert_eq!(calls.load(Ordering::Relaxed), called);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_is_not_used_however_often_its_renewal_failed() {
        let (renewing, calls) = renewing(Life::For(Duration::from_secs(10)), |call| (call == 1).then_some(call));
        assert_eq!(many(&renewing, 1).await, [Ok("token-1".to_owned())]);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(many(&renewing, 1).await, [Ok("token-1".to_owned())]);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!(many(&renewing, 5).await.iter().all(Result::is_err));
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_claims_to_be_over_is_used_and_not_asked_for_in_a_loop() {
        let (renewing, calls) = renewing(Life::Over, |_| Some(7));
        for _ in 0..50 {
            assert_eq!(many(&renewing, 2).await, vec![Ok("token-7".to_owned()); 2]);
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_none_to_give_is_asked_once_a_second_and_no_more() {
        let (renewing, calls) = renewing(Life::For(Duration::from_secs(60)), |call| (call > 2).then_some(call));
        for round in 1..=2 {
            for _ in 0..50 {
                assert!(renewing.current().await.is_err());
            }
            assert_eq!(calls.load(Ordering::Relaxed), round);
            tokio::time::sleep(FAILED_AGAIN).await;
        }
        assert_eq!(renewing.current().await.unwrap(), "token-3");
    }

    /// Who does not know us.
    struct Refusing(Arc<AtomicUsize>);

    #[async_trait]
    impl Source for Refusing {
        fn what(&self) -> String {
            "nothing".to_owned()
        }

        async fn fetch(&self) -> anyhow::Result<Fetched> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Err(Stranger("status 401".to_owned()).into())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_take_our_account_is_asked_twice_a_minute_however_many_clients_want_something() {
        let calls = Arc::new(AtomicUsize::new(0));
        let renewing = Renewing::new(Refusing(Arc::clone(&calls)));
        for _ in 0..600 {
            assert_eq!(renewing.current().await.unwrap_err().to_string(), "status 401");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    /// The number is a stranger's, and may be any.
    #[tokio::test(start_paused = true)]
    async fn a_life_that_no_clock_has_is_a_long_one() {
        let (renewing, calls) = renewing(Life::For(Duration::MAX), Some);
        assert_eq!(renewing.current().await.unwrap(), "token-1");
        tokio::time::sleep(LONGEST_LIFE).await;
        assert_eq!(many(&renewing, 1).await, [Ok("token-1".to_owned())]);
        // In the background.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((many(&renewing, 1).await, calls.load(Ordering::Relaxed)), (vec![Ok("token-2".to_owned())], 2));
    }

    #[tokio::test(start_paused = true)]
    async fn refused_ones_are_replaced_once_for_all_who_were_refused() {
        let (renewing, calls) = renewing(Life::For(Duration::from_secs(60)), Some);
        let first = renewing.current().await.unwrap();
        let mut refused = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let (renewing, first) = (Arc::clone(&renewing), first.clone());
            refused.spawn(async move { renewing.other_than(Some(&first), Duration::ZERO).await.unwrap() });
        }
        assert!(refused.join_all().await.iter().all(|other| other.as_ref().is_some_and(|value| value == "token-2")));
        assert_eq!(calls.load(Ordering::Relaxed), 2);
        // An upstream that refuses everything does not have us ask for everything.
        let second = renewing.current().await.unwrap();
        for _ in 0..50 {
            assert_eq!(renewing.other_than(Some(&second), Duration::ZERO).await.unwrap(), None);
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_ones_again_are_no_others() {
        let (renewing, _) = renewing(Life::Over, |_| Some(7));
        let first = renewing.current().await.unwrap();
        assert_eq!(renewing.other_than(Some(&first), Duration::ZERO).await.unwrap(), None);
    }
}
