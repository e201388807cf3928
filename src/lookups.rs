//! Addresses of the names of upstreams and APIs, few of them looked up at a time.
//!
//! The system's lookup blocks a thread, for half a minute where no name server answers, and cannot be called off. Those
//! threads are the ones that compare passwords and sign tokens: requests that took them all would close every door.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower::Service;

/// Lookups under way at once for one upstream or API. Further ones wait, as long as connecting may take.
const LOOKUPS: usize = 4;

/// A resolver that is asked no more than so often at once.
#[derive(Clone)]
pub(crate) struct Lookups<R> {
    resolver: R,
    turns: Arc<Semaphore>,
}

impl<R> Lookups<R> {
    pub(crate) fn new(resolver: R) -> Lookups<R> {
        Lookups { resolver, turns: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl<R> Service<Name> for Lookups<R>
where
    R: Service<Name, Error = io::Error> + Clone + Send + 'static,
    R::Future: Send,
    R::Response: Send + 'static,
{
    type Response = R::Response;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<R::Response, io::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        self.resolver.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (mut resolver, turns) = (self.resolver.clone(), Arc::clone(&self.turns));
        Box::pin(async move {
            let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
            // On a task of its own: whoever waits no longer does not end the lookup, which keeps its turn.
            let lookup = tokio::spawn(async move {
                let found = resolver.call(name).await;
                drop(turn);
                found
            });
            lookup.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// Answers when it is told to, and counts the questions.
    #[derive(Clone)]
    struct Slow {
        asked: Arc<AtomicUsize>,
        answers: Arc<Semaphore>,
    }

    impl Service<Name> for Slow {
        type Response = std::vec::IntoIter<SocketAddr>;
        type Error = io::Error;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response, io::Error>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let answers = Arc::clone(&self.answers);
            Box::pin(async move {
                answers.acquire().await.map_err(io::Error::other)?.forget();
                Ok(Vec::new().into_iter())
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lookups_that_nobody_waits_for_any_more_still_count() {
        let (asked, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let lookups = Lookups::new(Slow { asked: Arc::clone(&asked), answers: Arc::clone(&answers) });
        let look = || {
            let mut lookups = lookups.clone();
            tokio::time::timeout(Duration::from_secs(5), async move { lookups.call("a".parse().unwrap()).await })
        };
        for _ in 0..3 * LOOKUPS {
            assert!(look().await.is_err(), "nobody answers");
        }
        assert_eq!(asked.load(Ordering::Relaxed), LOOKUPS);
        answers.add_permits(LOOKUPS + 1);
        assert!(look().await.unwrap().is_ok());
        assert_eq!(asked.load(Ordering::Relaxed), LOOKUPS + 1);
    }
}
