//! Notices that a configuration file has changed, in whichever way: written, renamed over, or a symbolic link swapped.
//!
//! It looks every 0.3 s instead of asking the system to be told: that sees every way of changing a file, also
//! through a bind mount of a single file and on network file systems, where notifications do not arrive.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use time::OffsetDateTime;
use tokio::signal::unix::Signal;
use tracing::{error, warn};

use crate::app::{App, Reload, remind_of_certificate};
use crate::clock;
use crate::clock::WallClock;

/// Between two looks. A change is taken up at the second look after it, and is to be in use, or in the log as one that
/// cannot be used, within a second.
const INTERVAL: Duration = Duration::from_millis(300);
/// How soon a configuration that could not be used is tried again: what was in the way may have gone by itself.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
/// How often the log is reminded of a certificate that is over or soon will be.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(3600);

/// What tells one state of a file from another, without reading it. A link is followed: what counts is what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    length: u64,
    modified: Option<SystemTime>,
    identity: (u64, u64, i64, i64),
}

/// How each file was at one moment; `None` where it could not be found.
pub type State = BTreeMap<PathBuf, Option<Fingerprint>>;

/// Reloads whenever a file of the configuration has changed and has been at rest since the last look: a file that is
/// still being written could be valid and lack its last rules. Reloads at once at SIGHUP, which says that the files are
/// at rest. `in_use` is how the files were when they were read. Runs until the process ends.
pub async fn run(app: Arc<App>, mut in_use: State, mut hangup: Signal) {
    let mut before = in_use.clone();
    let mut failed_at = None;
    let mut reminded = clock::now();
    let mut header = app.snapshot().issuer.header_form_at(this_moment());
    let mut wall = WallClock::seen(this_moment(), clock::now());
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let told = tokio::select! {
            _ = ticks.tick() => Told::Nothing,
            _ = hangup.recv() => Told::ToReload,
        };
        let now = look(&app).await;
        let at_rest = now != in_use && now == before;
        let again = failed_at.is_some_and(|failed: Instant| failed.elapsed() >= RETRY_INTERVAL);
        if at_rest || again || told == Told::ToReload {
            failed_at = match reload(&app).await {
                Reload::Done => None,
                Reload::Failed => Some(clock::now()),
            };
            // The changed configuration may name other files. Of those that it shares with the old one, what counts is
            // how they were before the reload: a change during it is then seen at the next look.
            let files = look(&app).await;
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
        if header_now != header || reminded.elapsed() >= CERTIFICATE_INTERVAL {
            header = header_now;
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
enum Told {
    /// It is time for another look.
    Nothing,
    /// SIGHUP.
    ToReload,
}

/// Reads the configuration anew on a thread that may block.
async fn reload(app: &Arc<App>) -> Reload {
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || app.reload()).await.unwrap_or_else(|cause| {
        error!(reason = "reload_failed", cause = %cause, "reading the configuration was given up; the old one stays");
        Reload::Failed
    })
}

async fn look(app: &Arc<App>) -> State {
    let files = app.files();
    tokio::task::spawn_blocking(move || state_of(files)).await.unwrap_or_default()
}

/// How these files are now. Looks at them, and so may block.
pub fn state_of(files: Vec<PathBuf>) -> State {
    files.into_iter().map(|file| (file.clone(), fingerprint(&file))).collect()
}

#[cfg(unix)]
fn fingerprint(file: &std::path::Path) -> Option<Fingerprint> {
    use std::os::unix::fs::MetadataExt as _;
    let seen = std::fs::metadata(file).ok()?;
    Some(Fingerprint {
        length: seen.len(),
        modified: seen.modified().ok(),
        identity: (seen.dev(), seen.ino(), seen.ctime(), seen.ctime_nsec()),
    })
}

#[cfg(not(unix))]
fn fingerprint(file: &std::path::Path) -> Option<Fingerprint> {
    let seen = std::fs::metadata(file).ok()?;
    Some(Fingerprint { length: seen.len(), modified: seen.modified().ok(), identity: (0, 0, 0, 0) })
}
