//! When a certificate is ordered, and what becomes of it when that fails.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, error, info, warn};

use super::AcmeCertificate;
use super::authority::{Failed, Fault, Ordered, in_folder, order};
use super::cache::Cache;
use crate::breaker::jittered;
use crate::clock;
use crate::keys::day;

/// How often the folder is looked at: another replica may have renewed the certificate.
const LOOK: Duration = Duration::from_secs(60);
/// How soon it is looked at again while another replica orders.
const OTHERS_ORDER: Duration = Duration::from_secs(2);
/// How long an order may take in all.
const ORDERED_WITHIN: Duration = Duration::from_secs(300);
/// The first pause after a failure that costs the authority nothing.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// The same after a refusal: Let's Encrypt takes five of those an hour.
const FIRST_AFTER_REFUSAL: Duration = Duration::from_secs(120);
/// The longest pause, unless the authority asks for a longer one; and the longest between a certificate and the next one, by
/// which a clock that is far ahead does not order again and again.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// How ordering goes.
#[derive(Default)]
struct Course {
    failures: u32,
    /// No order begins before.
    not_before: Option<Instant>,
    /// What the log was told last of an outage.
    said: Option<Said>,
    /// Whether it was told that what is kept cannot be used.
    said_unusable: bool,
}

/// What the log was told of an outage.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Said {
    fault: Fault,
    has_ended: bool,
}

impl Course {
    /// How long the next order has to wait.
    fn left(&self) -> Option<Duration> {
        self.not_before.map(|at| at.saturating_duration_since(clock::now())).filter(|left| !left.is_zero())
    }

    /// It failed once more: how long until the next try.
    fn failed(&mut self, failed: &Failed) -> Duration {
        let first = match failed.fault {
            Fault::Folder | Fault::Away => FIRST_PAUSE,
            Fault::Refused => FIRST_AFTER_REFUSAL,
        };
        let grown = first.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        let pause = jittered(grown).max(failed.pause.unwrap_or_default());
        self.not_before = Some(clock::now() + pause);
        pause
    }

    /// There is a certificate again.
    fn succeeded(&mut self, life: time::Duration) {
        let a_third = Duration::try_from(life / 3).unwrap_or_default().min(LONGEST_PAUSE);
        *self = Course { not_before: Some(clock::now() + a_third), ..Course::default() };
    }
}

impl AcmeCertificate {
    /// Orders and renews the certificate, until it is dropped.
    pub async fn look_after(&self) {
        let mut course = Course::default();
        loop {
            let now = this_moment();
            let pause = match self.step(&mut course, now).await {
                Ok(pause) => pause,
                Err(failed) => self.tell(&mut course, &failed, now),
            };
            sleep(pause.min(LOOK)).await;
        }
    }

    /// Does what is to be done now; says how long there is nothing more.
    async fn step(&self, course: &mut Course, now: OffsetDateTime) -> Result<Duration, Failed> {
        self.take_over(course).await;
        if let Some(left) = self.rest(now) {
            return Ok(left);
        }
        if let Some(left) = course.left() {
            return Ok(left);
        }
        let Some(_leave) = in_folder(&self.cache, Cache::lock).await? else {
            return Ok(jittered(OTHERS_ORDER));
        };
        // Whoever had the leave before may have ordered it.
        self.take_over(course).await;
        if let Some(left) = self.rest(now) {
            return Ok(left);
        }
        let ordered = timeout(ORDERED_WITHIN, order(&self.settings, &self.cache, &self.challenge, now)).await;
        in_folder(&self.cache, |cache| {
            cache.forget_challenge();
            Ok(())
        })
        .await?;
        let Ordered { pem, held } = ordered.unwrap_or_else(|_| {
            let cause = format!("the authority did not issue it within {} s", ORDERED_WITHIN.as_secs());
            Err(Failed { fault: Fault::Away, cause, pause: None })
        })?;
        course.succeeded(held.not_after - held.not_before);
        info!(
            reason = "tls_certificate_ordered",
            host = self.settings.host,
            not_after = day(held.not_after),
            "the listener shows a new certificate from now on"
        );
        self.shown.show(held);
        if let Err(Failed { cause, .. }) = in_folder(&self.cache, move |cache| cache.keep_certificate(&pem)).await {
            error!(
                reason = "tls_certificate_not_kept",
                host = self.settings.host,
                cause = %cause,
                "the new certificate could not be kept: the next start has to order another one"
            );
        }
        Ok(Duration::ZERO)
    }

    /// Shows the certificate of the folder, if it is a newer one.
    async fn take_over(&self, course: &mut Course) {
        match in_folder(&self.cache, Cache::certificate).await {
            Ok(Some(kept)) => {
                if self.shown.held().is_none_or(|shown| kept.follows(&shown)) {
                    self.shown.show(kept.of_any_authority());
                }
            }
            Ok(None) => {}
            Err(Failed { cause, .. }) => {
                // It stays so until the next one is kept in its place.
                if !std::mem::replace(&mut course.said_unusable, true) {
                    warn!(
                        reason = "tls_certificate_not_kept",
                        host = self.settings.host,
                        cause = %cause,
                        "the certificate that is kept cannot be used; another one is ordered"
                    );
                }
            }
        }
    }

    /// How long the certificate that is shown is good for, before it is to be renewed.
    fn rest(&self, now: OffsetDateTime) -> Option<Duration> {
        let held = self.shown.held().filter(|held| !held.is_elsewhere)?;
        Duration::try_from(held.renew_at() - now).ok().filter(|left| !left.is_zero())
    }

    /// Notes a failure, and says it once an outage: again when another is to blame, and when the certificate has ended.
    fn tell(&self, course: &mut Course, failed: &Failed, now: OffsetDateTime) -> Duration {
        let pause = course.failed(failed);
        let ends = self.shown.held().map(|held| held.not_after);
        let said = Said { fault: failed.fault, has_ended: ends.is_some_and(|ends| ends <= now) };
        let (host, cause, seconds) = (&self.settings.host, &failed.cause, pause.as_secs());
        if course.said.replace(said) == Some(said) {
            debug!(host, cause, seconds, "there is still no new certificate for the listener");
            return pause;
        }
        let message = match (ends, said.has_ended) {
            (None, _) => "no certificate could be ordered for the listener: until there is one, nobody can connect",
            (Some(_), true) => {
                "the listener's certificate has ended and could not be renewed: clients refuse it until it is"
            }
            (Some(_), false) => {
                "the listener's certificate could not be renewed; it is shown until it ends, and this is tried again"
            }
        };
        error!(reason = "tls_certificate_not_ordered", host, not_after = ends.map(day), seconds, cause, "{message}");
        pause
    }
}

#[expect(clippy::disallowed_methods, reason = "a certificate is looked after at this moment, for no request")]
fn this_moment() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses of an outage in which it is always tried at once.
    fn pauses(fault: Fault, asked: Option<Duration>, number: usize) -> Vec<Duration> {
        let mut course = Course::default();
        let failed = Failed { fault, cause: String::new(), pause: asked };
        (0..number).map(|_| course.failed(&failed)).collect()
    }

    #[test]
    fn pauses_grow_to_an_hour_and_are_never_shorter_than_the_authority_asks_for() {
        for (fault, first) in [(Fault::Away, 10), (Fault::Folder, 10), (Fault::Refused, 120)] {
            let mut expected = first;
            for pause in pauses(fault, None, 40) {
                let most = Duration::from_secs(expected);
                assert!(pause <= most && pause >= most.mul_f64(0.8), "{fault:?}: {pause:?}, {most:?}");
                expected = (expected * 2).min(3600);
            }
        }
        let day = Duration::from_secs(86_400);
        assert_eq!(pauses(Fault::Refused, Some(day), 3), [day; 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_certificate_none_is_ordered_for_a_while_and_an_outage_is_forgotten() {
        for (life, pause) in [(time::Duration::seconds(12), 4), (time::Duration::days(90), 3600)] {
            let mut course = Course { failures: 7, said_unusable: true, ..Course::default() };
            course.succeeded(life);
            assert_eq!(course.left(), Some(Duration::from_secs(pause)));
            assert!(course.failures == 0 && !course.said_unusable);
            tokio::time::advance(Duration::from_secs(pause)).await;
            assert_eq!(course.left(), None);
        }
    }
}
