//! Where the programs of the test bed are, and what to install when one is not there.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Longest that one run of a client may take, in seconds. Far above what any of them needs: it turns a client that
/// waits for ever into a failed test.
const CLIENT_SECONDS: &str = "120";

/// Finds a program among the tools that `install.sh` built, then on the path.
///
/// # Panics
/// If it is nowhere: a missing part is a failure that says what to do, never a skipped test.
pub(crate) fn path(program: &str) -> PathBuf {
    let tools = env::var_os("DOCKWARDEN_TOOLS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin"), PathBuf::from);
    let on_path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(tools)
        .chain(env::split_paths(&on_path))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!("`{program}` is not installed: run tests/support/install.sh, which installs every part")
        })
}

/// A command for a program of the test bed, with nothing of the caller's environment but the path: an operator's own
/// logins, proxies and registry settings must not reach into the tests.
pub(crate) fn command(program: &str) -> Command {
    command_at(&path(program))
}

/// The same, for a program whose place is known.
pub(crate) fn command_at(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    if let Some(path) = env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// The same, for a client that ends by itself: cut off after two minutes, with its children.
pub(crate) fn client(program: &str) -> Command {
    let mut command = command("timeout");
    command.args(["--kill-after=5", CLIENT_SECONDS]).arg(path(program));
    command
}

/// What a client did: whether it ended well, and everything it said.
#[derive(Debug)]
pub(crate) struct Said {
    /// The whole command line, for messages.
    pub(crate) line: String,
    /// Whether the exit status was 0.
    pub(crate) success: bool,
    /// Standard output alone.
    pub(crate) stdout: String,
    /// Standard output and standard error.
    pub(crate) text: String,
}

impl Said {
    /// # Panics
    /// If the client failed.
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        assert!(self.success, "failed: {}\n{}", self.line, self.text);
        self
    }

    /// # Panics
    /// If the client succeeded, or if it failed without saying any of `words` (in any case of letters): a client that
    /// fails for another reason than the refusal must not pass for a refused one.
    #[track_caller]
    pub(crate) fn refused(self, words: &[&str]) -> Self {
        assert!(!self.success, "should have been refused: {}\n{}", self.line, self.text);
        let said = self.text.to_lowercase();
        assert!(
            words.iter().any(|word| said.contains(&word.to_lowercase())),
            "failed, but none of {words:?} is in what it said: {}\n{}",
            self.line,
            self.text
        );
        self
    }
}

/// Runs a command to its end, with `input` on its standard input.
pub(crate) fn run_with(command: &mut Command, input: &[u8]) -> Said {
    use std::io::Write as _;
    // Without the environment, which `Debug` would print in full.
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let line = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // Fed from its own thread, so that a program which answers while it reads cannot block both sides. A program
        // that ends without reading its input breaks the pipe, and that is its good right.
        scope.spawn(move || stdin.write_all(input).ok());
        child.wait_with_output().unwrap()
    });
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let text = format!("{stdout}{}", String::from_utf8_lossy(&output.stderr));
    Said { line, success: output.status.success(), stdout, text }
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Said {
    run_with(command, b"")
}
