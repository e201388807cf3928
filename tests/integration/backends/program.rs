//! Programs for the tests, each a shell script, and a way to see that one is gone with everything it started.

use std::io::{PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use dockwarden::program::ProgramSettings;

use crate::bed::Folder;

/// Long enough for a script on a busy machine: nothing waits for it unless the test fails.
pub(super) const AMPLE: Duration = Duration::from_secs(30);
/// For a program that never ends by itself.
pub(super) const SHORT: Duration = Duration::from_millis(300);

/// The script as a program, `$DIR` being the folder. It is an argument of the shell, not a program itself: one that was
/// just written cannot always be started while other threads start theirs (`ETXTBSY`).
pub(super) fn script(folder: &Folder, name: &str, text: &str, timeout: Duration) -> ProgramSettings {
    let file = folder.put(name, &text.replace("$DIR", folder.path("").to_str().unwrap().trim_end_matches('/')));
    ProgramSettings {
        command: "/bin/sh".to_owned(),
        args: vec![file.to_str().unwrap().to_owned()],
        timeout,
        concurrency: 16,
    }
}

/// A pipe whose end for writing scripts open by name ([`Watch::path`]): once nobody holds it any more, all that held it
/// are gone.
pub(super) struct Watch {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Watch {
    pub(super) fn new() -> Watch {
        let (reader, writer) = std::io::pipe().unwrap();
        Watch { reader, writer }
    }

    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.writer.as_raw_fd())
    }

    /// Waits until this many bytes were written in all.
    pub(super) async fn written(&self, bytes: usize) {
        let mut reader = self.reader.try_clone().unwrap();
        let read = tokio::task::spawn_blocking(move || reader.read_exact(&mut vec![0; bytes]));
        tokio::time::timeout(AMPLE, read).await.unwrap().unwrap().unwrap();
    }

    /// What was written and not read yet, once everybody who held the pipe is gone.
    pub(super) async fn all_gone(self) -> String {
        drop(self.writer);
        let mut reader = self.reader;
        let read = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        tokio::time::timeout(AMPLE, read).await.unwrap().unwrap().unwrap()
    }
}

/// A pipe that scripts read by name, one line for each that may go on.
pub(super) struct Gate {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Gate {
    pub(super) fn new() -> Gate {
        let (reader, writer) = std::io::pipe().unwrap();
        Gate { reader, writer }
    }

    pub(super) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.reader.as_raw_fd())
    }

    pub(super) fn let_one_go(&self) {
        (&self.writer).write_all(b"\n").unwrap();
    }
}
