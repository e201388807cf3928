//! A connection while hyper has it: until it ends, may rest, or is given up.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{FAREWELL_PATIENCE, FIRST_REQUEST_PATIENCE, IDLE_PATIENCE, Patience, REST_AFTER};
use crate::activity::Activity;
use crate::connections::{AtRest, Counted};

/// Waits until a connection is wanted to leave, for ever if it does not rest.
pub(super) async fn wanted(at_rest: &mut Option<AtRest<'_>>) {
    match at_rest {
        Some(at_rest) => at_rest.wanted().await,
        None => std::future::pending().await,
    }
}

/// How a connection rests.
#[derive(Clone, Copy)]
pub(super) enum Rest<'a> {
    /// Without hyper.
    Apart(Patience),
    /// As it is, since HTTP/2 has a state of its own that both sides go on with; where it is counted, it may have to leave.
    WithHyper(Option<&'a Counted>),
}

/// Why a connection is not hyper's any more.
pub(super) enum Driven {
    /// It came to its end, or to a fault.
    Done(hyper::Result<()>),
    /// It has asked for nothing for too long.
    GivenUp,
    /// Another one needs its place.
    MadeRoom,
    /// It may rest.
    Silent,
}

/// Lets hyper serve a connection until it ends or may rest. One that asks for nothing any more is given up.
pub(super) async fn drive<C>(
    connection: &mut C,
    finish: fn(Pin<&mut C>),
    activity: &Activity,
    rest: Rest<'_>,
    leaving: &mut watch::Receiver<()>,
) -> Driven
where
    C: Future<Output = hyper::Result<()>> + Unpin,
{
    let (mut look_in, mut finishing, mut at_rest) = (REST_AFTER, false, None);
    let patience = match rest {
        Rest::Apart(patience) => patience,
        Rest::WithHyper(share) => Patience::with(share),
    };
    let gives_way = patience.gives_way(IDLE_PATIENCE);
    loop {
        tokio::select! {
            biased;
            ended = &mut *connection => {
                if let Err(cause) = &ended {
                    debug!(cause = %cause, "a connection ended early");
                }
                return Driven::Done(ended);
            }
            _ = leaving.changed(), if !finishing => {
                finishing = true;
                // Whoever sees the client off has to know as well.
                leaving.mark_changed();
                look_in = FAREWELL_PATIENCE;
                finish(Pin::new(connection));
                continue;
            }
            () = wanted(&mut at_rest) => {
                // hyper has looked for requests before this.
                let is_at_rest = match activity.silent() {
                    // Whether it reads what we say of HTTP/2 does not matter: it has no reply to wait for.
                    None => true,
                    Some(silent) => activity.has_answered() && silent >= gives_way,
                };
                if is_at_rest {
                    debug!("a connection that rested was closed for another one");
                    finish(Pin::new(connection));
                    // As much of a farewell as can be sent at once: nobody who does not read may keep the other one waiting.
                    let _ = timeout(Duration::ZERO, &mut *connection).await;
                    if let Some(at_rest) = at_rest {
                        at_rest.leave();
                    }
                    return Driven::MadeRoom;
                }
                at_rest = None;
            }
            () = sleep(look_in) => {}
        }
        // What HTTP/2 still has to send is known to hyper alone, and half a header keeps none of its connections.
        if finishing && matches!(rest, Rest::Apart(_)) && activity.has_answered() {
            debug!("a connection was closed on which no whole request had come when the server stopped");
            return Driven::GivenUp;
        }
        let silent = activity.silent();
        let left = match silent {
            None => patience.first_request().saturating_sub(activity.open_for()),
            Some(silent) if matches!(rest, Rest::WithHyper(_)) && activity.has_answered() => {
                patience.rest(IDLE_PATIENCE).saturating_sub(silent)
            }
            Some(silent) => IDLE_PATIENCE.saturating_sub(silent),
        };
        if left.is_zero() {
            debug!("a connection was closed that asks for nothing");
            return Driven::GivenUp;
        }
        look_in = match (rest, silent) {
            _ if finishing => FAREWELL_PATIENCE,
            (Rest::WithHyper(None), _) => left,
            // A proxy's: a stranger's was given up above.
            (Rest::WithHyper(Some(share)), None) if activity.open_for() >= FIRST_REQUEST_PATIENCE => {
                at_rest.get_or_insert_with(|| share.rest());
                // It may ask by then, and not read the reply.
                left.min(IDLE_PATIENCE)
            }
            (Rest::Apart(_) | Rest::WithHyper(Some(_)), None) => left.min(REST_AFTER),
            (Rest::Apart(_) | Rest::WithHyper(Some(_)), Some(silent)) if silent < REST_AFTER => REST_AFTER - silent,
            (Rest::Apart(_), Some(_)) if activity.is_between_requests() => return Driven::Silent,
            (Rest::WithHyper(Some(_)), Some(silent)) if activity.has_answered() && silent < gives_way => {
                left.min(gives_way - silent)
            }
            (Rest::WithHyper(Some(share)), Some(_)) if activity.has_answered() => {
                at_rest.get_or_insert_with(|| share.rest());
                left.min(IDLE_PATIENCE)
            }
            (Rest::Apart(_) | Rest::WithHyper(Some(_)), Some(_)) => left.min(REST_AFTER),
        };
    }
}
