//! News of changes to the rules in MongoDB: by change stream, where the server has them, a change is read at once.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::error::{Error, ErrorKind};
use tokio::time::{sleep, sleep_until, timeout};
use tracing::info;

use crate::authz::kept::Changes;
use crate::breaker::jittered;
use crate::mongo::{Collection, Failure};

/// How long the server may wait for a change before it says that there was none.
const AWAIT: Duration = Duration::from_secs(10);
/// The least time between two questions for news: a server that does not wait must not be asked without a pause.
const QUIET: Duration = Duration::from_millis(100);
/// How long after a stream's end the next one is asked for; the pause doubles until one lasts.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause; a stream that lasts as long is well.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long a server is not asked again that has no change streams, unless it was away in the meantime.
const NEXT_ASK: Duration = Duration::from_secs(600);
/// The answers of servers that have none, or none for us. A standalone server says 40573; 59 and 115 are unknown and
/// unsupported commands, 238 is FerretDB's "not implemented", 40324 an unknown stage, 20 an illegal operation, and 13 is
/// a user who may read, and not watch.
const UNSUPPORTED: [i32; 7] = [13, 20, 59, 115, 238, 40_324, 40_573];

/// The result of asking for a change stream.
enum Subscription {
    Open(Box<ChangeStream<Document>>),
    /// The server has no change streams; what it says.
    Unsupported(String),
}

/// What the log was told last.
#[derive(PartialEq, Eq)]
enum Told {
    Nothing,
    Watched,
    Polled(String),
}

/// Watches the collection for as long as it is polled. A change is told as [`Changes::changed`], and nothing but that:
/// what the rules are then is read as always, so that no event, lost, doubled or invented, can make them wrong.
pub(super) async fn watch(collection: &Collection, changes: &Changes) {
    let mut told = Told::Nothing;
    let mut pause = FIRST_PAUSE;
    loop {
        match open(collection).await {
            Ok(Subscription::Open(stream)) => {
                tell(&mut told, Told::Watched);
                // What changed before the stream began is in no event.
                changes.changed.notify_one();
                let opened = crate::clock::now();
                let why = follow(*stream, changes, collection.settings().answer_within()).await;
                tell(&mut told, Told::Polled(why));
                if opened.elapsed() >= LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
                wait(pause, changes.back.notified()).await;
            }
            Ok(Subscription::Unsupported(why)) => {
                tell(&mut told, Told::Polled(why));
                // Another server may have come up there; one that restarts all the time is asked less and less.
                let asked_again = async {
                    changes.back.notified().await;
                    sleep(jittered(pause)).await;
                };
                drop(timeout(jittered(NEXT_ASK), asked_again).await);
            }
            // That the server is away is told by whoever reads the rules.
            Err(_) => wait(pause, changes.back.notified()).await,
        }
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Waits for the pause to be over, or until a moment after the server is back.
async fn wait(pause: Duration, back: impl Future<Output = ()>) {
    let soon = async {
        back.await;
        sleep(jittered(FIRST_PAUSE)).await;
    };
    drop(timeout(jittered(pause), soon).await);
}

async fn open(collection: &Collection) -> Result<Subscription, Failure> {
    let asked = collection.ask(|collection| async move {
        // The event's kind is all that is looked at: documents may be large.
        let kinds = [doc! { "$project": { "operationType": 1, "ns": 1 } }];
        match collection.watch().pipeline(kinds).max_await_time(AWAIT).await {
            Ok(stream) => Ok(Subscription::Open(Box::new(stream.with_type()))),
            Err(error) if is_unsupported(&error) => Ok(Subscription::Unsupported(error.kind.to_string())),
            Err(error) => Err(error),
        }
    });
    asked.await
}

fn is_unsupported(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Command(refusal) => UNSUPPORTED.contains(&refusal.code),
        _ => false,
    }
}

/// Tells each change until the stream ends; says why it ended.
async fn follow(mut stream: ChangeStream<Document>, changes: &Changes, answer_within: Duration) -> String {
    while stream.is_alive() {
        let asked = crate::clock::now();
        match timeout(AWAIT + answer_within, stream.next_if_any()).await {
            Ok(Ok(Some(_))) => changes.changed.notify_one(),
            Ok(Ok(None)) => sleep_until(asked + QUIET).await,
            Ok(Err(error)) => return error.kind.to_string(),
            Err(_) => return format!("no answer within {} s", (AWAIT + answer_within).as_secs()),
        }
    }
    "the server ended the stream, as it does when the collection is dropped or renamed".to_owned()
}

/// Once for each change of state, not once for each try.
fn tell(told: &mut Told, now: Told) {
    if *told == now {
        return;
    }
    match &now {
        Told::Nothing => {}
        Told::Watched => {
            info!(reason = "rules_watched", source = super::KIND.key, "changes of the rules are read at once");
        }
        Told::Polled(cause) => {
            info!(
                reason = "rules_polled",
                source = super::KIND.key,
                cause,
                "the server tells of no changes: the rules are read every cache_ttl"
            );
        }
    }
    *told = now;
}
