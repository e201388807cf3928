//! Watches the configuration's files and reloads it when one of them was written, replaced, or its symbolic link changed.
//!
//! The files are polled every 0.3 s. That sees every kind of change, also through a bind mount of a single file and on
//! network file systems, where the system's notifications do not arrive.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use time::OffsetDateTime;
use tokio::signal::unix::Signal;
use tracing::{error, warn};

use crate::app::{App, Reload, Step, remind_of_certificate};
use crate::clock;
use crate::clock::WallClock;

/// The time between two polls. A change is noticed at the second poll after it, and has to be in use, or in the log as one
/// that cannot be used, within a second.
const INTERVAL: Duration = Duration::from_millis(300);
/// How soon a reload that failed is tried again: its cause may be gone.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// How often the log is reminded of a certificate that has expired or soon will.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(3600);

/// The metadata of a file by which a change is noticed without reading it. Links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    length: u64,
    modified: Option<SystemTime>,
    identity: (u64, u64, i64, i64),
}

/// The fingerprint of each file at one moment; `None` for one that was not found.
pub type FileStates = BTreeMap<PathBuf, Option<Fingerprint>>;

/// Reloads when a file of the configuration has changed and is the same at the next poll: a file that is still being written
/// could be valid and lack its last rules. Reloads at once on SIGHUP, which says that the files are complete. `in_use` is
/// the files' state when they were read. Runs until the process ends.
pub async fn run(app: Arc<App>, mut in_use: FileStates, mut hangup: Signal) {
    let mut before = in_use.clone();
    let mut failed_at = None;
    let mut reminded = clock::now();
    let mut header = app.snapshot().issuer.header_form_at(this_moment());
    let mut cut = app.snapshot().mint.is_cut_short(this_moment());
    let mut wall = WallClock::seen(this_moment(), clock::now());
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let wake = tokio::select! {
            _ = ticks.tick() => Wake::Poll,
            _ = hangup.recv() => Wake::Reload,
        };
        let now = poll(&app).await;
        let at_rest = now != in_use && now == before;
        let renewed = renew_leaf(&app).await;
        let again = failed_at.is_some_and(|failed: Instant| failed.elapsed() >= RETRY_INTERVAL);
        // A leaf that we put in place ourselves is complete.
        if at_rest || again || wake == Wake::Reload || renewed == Step::InPlace {
            failed_at = match reload(&app).await {
                Reload::Done => None,
                Reload::Failed => Some(clock::now()),
            };
            // The changed configuration may name other files. Those that it shares with the old one are compared with their
            // state before the reload, so that a change during it is noticed at the next poll.
            let files = poll(&app).await;
            in_use = files
                .into_iter()
                .map(|(file, print)| (file.clone(), now.get(&file).cloned().unwrap_or(print)))
                .collect();
        }
        before = now;
        let moment = this_moment();
        if let Some(seconds) = wall.set_by(moment, clock::now()) {
            warn!(
                reason = "clock_set",
                seconds,
                "this machine's clock was set, or the machine slept; where the registries' \
                clocks now differ, they refuse tokens"
            );
        }
        let snapshot = app.snapshot();
        let header_now = snapshot.issuer.header_form_at(moment);
        let cut_now = snapshot.mint.is_cut_short(moment);
        if header_now != header || cut_now != cut || reminded.elapsed() >= CERTIFICATE_INTERVAL {
            (header, cut) = (header_now, cut_now);
            reminded = clock::now();
            remind_of_certificate(&snapshot, moment);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the watch looks at the clock to see whether it was set")]
fn this_moment() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Why the watcher woke up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// It is time for the next poll.
    Poll,
    /// SIGHUP.
    Reload,
}

/// Reloads the configuration on a thread that may block.
async fn reload(app: &Arc<App>) -> Reload {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || app.reload()).await.unwrap_or_else(|cause| {
        error!(reason = "reload_failed", cause = %cause, "reading the configuration was given up; the old one stays");
        Reload::Failed
    })
}

/// Does what is to be done for the leaf that signs, on a thread that may block.
async fn renew_leaf(app: &Arc<App>) -> Step {
    if !app.leaf_is_due(this_moment()) {
        return Step::Nothing;
    }
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || app.renew_leaf(this_moment())).await.unwrap_or(Step::Nothing)
}

async fn poll(app: &Arc<App>) -> FileStates {
    let files = app.files();
    tokio::task::spawn_blocking(move || state_of(files)).await.unwrap_or_default()
}

/// The state of these files now. It may block.
pub fn state_of(files: Vec<PathBuf>) -> FileStates {
    files.into_iter().map(|file| (file.clone(), fingerprint(&file))).collect()
}

fn fingerprint(file: &Path) -> Option<Fingerprint> {
    let seen = std::fs::metadata(file).ok()?;
    Some(Fingerprint {
        length: seen.len(),
        modified: seen.modified().ok(),
        identity: (seen.dev(), seen.ino(), seen.ctime(), seen.ctime_nsec()),
    })
}
