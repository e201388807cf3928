//! The end of a connection whose client may still be sending.
//!
//! The system answers what comes on a closed connection with a reset, and so does it where bytes were left unread; the
//! client's system then throws away what it has not handed on yet, and that is the reply. So only our side is closed at
//! first, and what still comes is read and thrown away, until the client has closed its own: as nginx's `lingering_close`.
//! A client may go on for ever, so that there are bounds, and it makes room for others as one that rests.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::line::Line;
use super::{IDLE_PATIENCE, make_room, patiently};
use crate::connections::Counted;
use crate::server::stream::Stream;

/// How long what still comes is read, however it comes.
const LINGER: Duration = Duration::from_secs(30);
/// How long is waited for more of it.
const LINGER_SILENCE: Duration = Duration::from_secs(5);
/// The most of it, in bytes.
const MOST_DISCARDED: usize = 64 * 1024 * 1024;
/// After so much: how long the connection stays as it is, so that the reply gets through to a client that is far away. The
/// system takes a little more for us, and then holds the client back.
const RESET_DELAY: Duration = Duration::from_millis(500);

/// Whether something was left unread on a connection that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// Something was, or is on its way.
    Something,
    /// Nothing that is known.
    NothingKnown,
}

/// Closes our side of a connection and waits until the client has seen that.
pub(super) async fn see_off<S: Stream>(
    mut line: Line<S>,
    unread: Unread,
    leaving: &mut watch::Receiver<()>,
    share: Option<&Counted>,
) {
    let patience = IDLE_PATIENCE.saturating_sub(line.activity().silent().unwrap_or_default());
    match patiently(line.close(), patience, leaving).await {
        Some(Ok(())) => {}
        Some(Err(cause)) => return debug!(cause = %cause, "a connection ended early"),
        None => return debug!("a connection was closed whose client does not read"),
    }
    match unread {
        Unread::Something => {}
        Unread::NothingKnown => match timeout(Duration::ZERO, line.discard()).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return,
        },
    }
    tokio::select! {
        biased;
        () = make_room(share, Duration::ZERO) => debug!("a connection whose client still sent was closed for another one"),
        all = patiently(discard_all(&mut line), LINGER, leaving) => {
            if all.is_none() {
                debug!("a connection was closed although its client still sent");
            }
        }
    }
}

/// Reads until the client has closed its side, has sent nothing for long, or too much.
async fn discard_all<S: Stream>(line: &mut Line<S>) {
    let mut left = MOST_DISCARDED;
    while left > 0 {
        match timeout(LINGER_SILENCE, line.discard()).await {
            Ok(Ok(length @ 1..)) => left = left.saturating_sub(length),
            Ok(Ok(0) | Err(_)) | Err(_) => return,
        }
    }
    sleep(RESET_DELAY).await;
}
