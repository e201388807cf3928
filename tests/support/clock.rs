//! A wall clock of its own for the server under test, by libfaketime: moved at start or while it runs. The monotonic
//! clock stays the machine's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::dockwarden::Dockwarden;
use super::{part, scratch};

/// The server, and how far its clock is ahead of the machine's.
#[derive(Debug)]
pub(crate) struct Clocked {
    /// The server.
    pub(crate) dockwarden: Dockwarden,
    setting: PathBuf,
}

impl Clocked {
    /// Starts the server with this text as its config file and a clock that is so many seconds ahead (or behind, if
    /// negative), and waits until it is ready.
    pub(crate) fn start(config: &str, ahead: i64) -> Self {
        let setting = scratch::directory("clock").join("setting");
        set(&setting, ahead);
        let dockwarden = Dockwarden::start_in(
            config,
            &[
                ("LD_PRELOAD", &library()),
                ("FAKETIME_TIMESTAMP_FILE", &setting.display().to_string()),
                // The file is read at each look at the clock.
                ("FAKETIME_NO_CACHE", "1"),
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                // Or each file would change its dates with the clock, and the server would take it for a new one.
                ("NO_FAKE_STAT", "1"),
            ],
        );
        // The library names these by the process and leaves them behind when it is killed: a later process of that
        // number could not start. Nobody opens them any more.
        for name in ["faketime_shm_", "sem.faketime_sem_"] {
            fs::remove_file(format!("/dev/shm/{name}{}", dockwarden.process.pid())).ok();
        }
        Self { dockwarden, setting }
    }

    /// Sets the clock to so many seconds ahead of the machine's, at once.
    pub(crate) fn set(&self, ahead: i64) {
        set(&self.setting, ahead);
    }
}

/// Puts the setting in its place whole: the server reads it all the time.
fn set(setting: &Path, ahead: i64) {
    let draft = setting.with_extension("new");
    fs::write(&draft, format!("{ahead:+}\n")).unwrap();
    fs::rename(&draft, setting).unwrap();
}

/// What to preload, as the `faketime` program itself says it.
fn library() -> String {
    let said = part::run(part::client("faketime").args(["-m", "-f", "+0", "printenv", "LD_PRELOAD"])).well();
    said.stdout.trim().to_owned()
}

/// The machine's clock, in seconds since 1970.
pub(crate) fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}
