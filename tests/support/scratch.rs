//! The one directory that a test run writes to, removed when the run ends, however it ends.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Waits until the run's end closes its standard input, then removes the directory. A second try a moment later,
/// because programs that die with the run may still be writing.
const SWEEP: &str = r#"cat; rm -rf -- "$0" 2>/dev/null || { sleep 2; rm -rf -- "$0"; }"#;

struct Run {
    root: PathBuf,
    /// Its standard input stays open for as long as this process lives.
    _sweeper: Child,
}

/// A new, empty directory of this run. The path is short, since unix sockets are made in it.
pub(crate) fn directory(name: &str) -> PathBuf {
    static RUN: OnceLock<Run> = OnceLock::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let run = RUN.get_or_init(|| {
        let root = std::env::temp_dir().join(format!("dockwarden-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let sweeper = Command::new("sh")
            .args(["-c", SWEEP])
            .arg(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own: the interrupt that ends the run must not end the sweeper.
            .process_group(0)
            .spawn()
            .unwrap();
        Run { root, _sweeper: sweeper }
    });
    let directory = run.root.join(format!("{}-{name}", NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&directory).unwrap();
    directory
}

/// Writes a text file and gives its path.
pub(crate) fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path
}
