//! The body of a request that is small and read as a whole.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotRead {
    /// It is too long.
    TooLong,
    /// It did not arrive in time.
    TooSlow,
    /// It ended before its end.
    Ended,
}

/// The whole body, of at most so many bytes, in one buffer: pieces that were kept apart would take forty times the length of a
/// body that comes in pieces of one byte.
pub(super) async fn gather(body: Body, most: usize) -> Result<Vec<u8>, NotRead> {
    tokio::time::timeout(PATIENCE, gathered(body, most)).await.unwrap_or(Err(NotRead::TooSlow))
}

async fn gathered(mut body: Body, most: usize) -> Result<Vec<u8>, NotRead> {
    // A client that asks before it sends (`Expect: 100-continue`) is to learn it then.
    if usize::try_from(body.size_hint().lower()).map_or(true, |length| length > most) {
        return Err(NotRead::TooLong);
    }
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|_| NotRead::Ended)?.into_data() else { continue };
        if whole.len() + piece.len() > most {
            return Err(NotRead::TooLong);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole)
}
