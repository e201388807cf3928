//! Bad days of a backend that is a program: it hangs, dies, talks without end, or is no program any more.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::chaos::{Breaker, Ordeal, Pace};
use super::dockwarden::Dockwarden;
use super::scratch;

/// What the program is in the place of itself: its name, its text and its mode. Each that runs starts another program, which
/// is not to outlive it, and would then let everybody in. What cannot be executed lets nobody in all the same: a shell that
/// was started for a script opens it once more, and may find the next one.
const BAD: [(&str, &str, u32); 7] = [
    ("hangs", "#!/bin/sh\nsleep 3600\nexit 0\n", 0o755),
    ("is killed", "#!/bin/sh\nsleep 3600 &\nkill -KILL $$\nexit 0\n", 0o755),
    ("crashes", "#!/bin/sh\nsleep 3600 &\nkill -SEGV $$\nexit 0\n", 0o755),
    ("floods", "#!/bin/sh\nyes >&2 &\nyes\nexit 0\n", 0o755),
    ("may not be executed", "#!/bin/sh\nexit 3\n", 0o644),
    ("has no interpreter", "#!/nonexistent\nexit 3\n", 0o755),
    ("is for another machine", "\x7fELF\x02\x01\x01 exit 3\n", 0o755),
];

/// A program under a name that leads to it, or to something else.
pub(crate) struct Script {
    directory: PathBuf,
}

impl Script {
    /// A shell script that goes on from `text` where it does what it should.
    pub(crate) fn new(text: &str) -> Self {
        let directory = scratch::directory("script");
        // All of them before anything is run: what is still open for writing in some other test's new process cannot be
        // executed.
        let slow = directory.join("slow");
        let own = format!("#!/bin/sh\n[ -e {0} ] && sleep 0.03\n{text}", slow.display());
        // What they start tells by its environment whose it is.
        let marked = format!("#!/bin/sh\nexport OF={}\n", directory.display());
        for (name, text, mode) in BAD.into_iter().chain([("itself", own.as_str(), 0o755)]) {
            let file = scratch::write(&directory, name, &text.replace("#!/bin/sh\n", &marked));
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
        }
        let script = Self { directory };
        script.becomes("itself");
        script
    }

    /// What a config calls the program.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("program")
    }

    fn becomes(&self, name: &str) {
        let next = self.directory.join("next");
        symlink(self.directory.join(name), &next).unwrap();
        fs::rename(next, self.path()).unwrap();
    }
}

impl Ordeal for Script {
    fn name(&self) -> String {
        "Program".to_owned()
    }

    fn kinds(&self) -> usize {
        BAD.len()
    }

    fn rounds(&self) -> usize {
        1
    }

    fn begins(&self, kind: usize) {
        self.becomes(BAD[kind].0);
    }

    fn ends(&self, _kind: usize) {
        self.becomes("itself");
    }

    fn drags(&self, pace: Pace) {
        let slow = self.directory.join("slow");
        match pace {
            Pace::Slow => fs::write(slow, "").unwrap(),
            Pace::Usual => fs::remove_file(slow).unwrap(),
        }
    }

    /// The processes that the server has started: those that it has to take note of, those that run this program, and what
    /// they have started, whoever is its parent now.
    fn held(&self, server: &Dockwarden) -> usize {
        let (own, mark) = (server.process.pid(), self.directory.to_str().unwrap().as_bytes());
        let is_one = |process: &Path| {
            let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
            let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
            let is_marked = |file: &str| {
                let text = fs::read(process.join(file)).unwrap_or_default();
                text.windows(mark.len()).any(|window| window == mark)
            };
            parent == Some(own) || is_marked("cmdline") || is_marked("environ")
        };
        fs::read_dir("/proc").unwrap().filter(|entry| entry.as_ref().is_ok_and(|entry| is_one(&entry.path()))).count()
    }

    fn held_at_rest(&self) -> usize {
        0
    }

    fn breaker(&self) -> Breaker {
        Breaker::None
    }
}
