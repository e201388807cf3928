//! Programs that each answer one question, which they read from standard input, by their exit status and standard output.
//! They are killed, with everything that they started, when their time is up or nobody waits for the answer.
//!
//! `docs/reference/config-programs.md` says what a program has to do. [`crate::authn::program`] and [`crate::authz::program`] ask.

mod complaint;
mod image;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use settings::env;
use settings::number::{self, duration};
use settings::refused::is_harmless;
use settings::{At, Refusal, Secrets, Section};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use self::complaint::Complaint;
pub(crate) use self::image::files_in_path;
use crate::secret::Secret;
use crate::shown::printable;
use crate::turns::{Client, Turn, Turns};

/// The time for an answer, waiting for a turn included, unless configured.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time that can be configured. Clients have given up by then.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The number of programs that run at once, unless configured.
const DEFAULT_CONCURRENCY: usize = 16;
/// The largest number that can be configured. A thread waits for the end of each program. With both backends at this limit,
/// half of the runtime's blocking threads are still free for hashing passwords, which must not wait for programs.
const MOST_CONCURRENCY: usize = 128;
/// The longest answer on standard output, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// How a program is started: the keys that its backends share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSettings {
    /// The path of the program, or a name that is looked up in `PATH`.
    pub command: String,
    /// Its arguments, which everybody on the machine can read.
    pub args: Vec<String>,
    /// The time for an answer, waiting for a turn included.
    pub timeout: Duration,
    /// The number of programs that run at once.
    pub concurrency: usize,
}

/// Reads the shared keys of a backend's section; the caller reads its own and finishes it. `None` if something is wrong, which
/// is reported to the section.
pub fn read(section: &mut Section<'_>) -> Option<ProgramSettings> {
    let command = section.parsed("command", |text| match text {
        "" => Err("a program's path is expected here".to_owned()),
        text if text.contains('\0') => Err("a path cannot contain NUL".to_owned()),
        text => Ok(text.to_owned()),
    });
    if command.is_none() && !section.has("command") {
        section.missing("command", "a program is needed; write command: /path/to/program");
    }
    let args = section.texts("args").unwrap_or_default();
    let broken = args.iter().find(|argument| argument.value.contains('\0'));
    if let Some(At { place, .. }) = broken {
        section.problem(place, "args", "an argument cannot contain NUL");
    }
    let broken = broken.is_some();
    let timeout = section.word("timeout", |text| match duration(text)? {
        Duration::ZERO => Err(Refusal::says("a program needs some time; write timeout: 5s")),
        longer if longer > LONGEST_TIMEOUT => {
            Err(Refusal::says(format!("clients do not wait that long; write at most {}s", LONGEST_TIMEOUT.as_secs())))
        }
        timeout => Ok(timeout),
    });
    let concurrency = section.word("concurrency", |text| number::count(text, MOST_CONCURRENCY, "may run at once"));
    let At { place, value: command } = command.filter(|_| !broken)?;
    let settings = ProgramSettings {
        command,
        args: args.into_iter().map(|at| at.value).collect(),
        timeout: timeout.map_or(DEFAULT_TIMEOUT, |at| at.value),
        concurrency: concurrency.map_or(DEFAULT_CONCURRENCY, |at| at.value),
    };
    if section.secrets() == Secrets::Read
        && let Some(message) = warning(&settings)
    {
        section.warn(&place, "command", message);
    }
    Some(settings)
}

/// What is probably not meant about a program that is named by its path: that there is none, or none that can be
/// started. It may come later, so this is a warning; until then every question is answered with 503.
fn warning(settings: &ProgramSettings) -> Option<String> {
    if !settings.command.contains('/') {
        return None;
    }
    find(settings).err()
}

impl ProgramSettings {
    /// The program's name for messages, without the text after the first space: that may be meant as an argument, and be a
    /// secret.
    pub fn name(&self) -> &str {
        let name = self.command.split_whitespace().next().unwrap_or_default();
        // `SECRET=… /path`, and addresses with a login.
        let is_plain = |letter: char| letter.is_alphanumeric() || matches!(letter, '/' | '.' | '_' | '-' | '+' | '~');
        match name.chars().all(is_plain) && (name.contains('/') || is_harmless(name)) {
            true => name,
            false => "the program",
        }
    }
}

/// Finds the program, in `PATH` if it is a bare name, without starting it.
///
/// # Errors
/// It does not exist or cannot be started: says what to do.
pub fn find(settings: &ProgramSettings) -> Result<PathBuf, String> {
    let (command, name) = (&settings.command, settings.name());
    if command.contains('/') {
        return match image::startable(Path::new(command), name) {
            Ok(()) => Ok(PathBuf::from(command)),
            Err(message) if command.contains(char::is_whitespace) => Err(format!(
                "{message}; what follows a space is part of its name here: write arguments as args: [\"…\"]"
            )),
            Err(message) => Err(message),
        };
    }
    // Skips what cannot be started, as the system does.
    let mut wrong = None;
    for candidate in image::files_in_path(OsStr::new(command)) {
        match image::startable(&candidate, &candidate.display().to_string()) {
            Ok(()) => return Ok(candidate),
            Err(why) => wrong = wrong.or(Some(why)),
        }
    }
    Err(wrong.unwrap_or_else(|| format!("{name} is not in PATH; install it, or write its path")))
}

/// The answer of a program that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramAnswer {
    /// Its exit status.
    pub status: i32,
    /// Its standard output: 64 KiB at most, and possibly a secret.
    pub output: Vec<u8>,
}

/// A program and its turns.
pub struct Program {
    backend: &'static str,
    settings: ProgramSettings,
    turns: Turns,
}

impl Program {
    /// The program of a backend, with the backend's name for the log.
    pub fn new(backend: &'static str, settings: ProgramSettings) -> Program {
        let turns = Turns::new(settings.concurrency);
        Program { backend, settings, turns }
    }

    /// The program's name for messages: [`ProgramSettings::name`].
    pub fn name(&self) -> &str {
        self.settings.name()
    }

    /// Looks for it, without starting it, and says where it is.
    ///
    /// # Errors
    /// As for [`find`].
    pub(crate) fn find(&self) -> anyhow::Result<String> {
        let path = find(&self.settings).map_err(anyhow::Error::msg)?;
        Ok(format!("{} can be started", path.display()))
    }

    /// Asks a question for a client when its turn comes. `input` is all that the program reads. If it holds a `secret`, lines
    /// on standard error that hold the secret too are not logged. The time for the answer counts from `began`, so that all
    /// questions of one request can share it.
    ///
    /// If the returned future is dropped, the program is killed with its whole process group.
    ///
    /// # Errors
    /// [`Busy`](crate::turns::Busy) if no turn came, which is not the program's fault. Otherwise the program gave no answer: it could not be
    /// started, did not end in time, was ended by a signal, or wrote too much.
    pub(crate) async fn ask(
        &self,
        input: &[u8],
        secret: Option<&Secret>,
        client: Client,
        began: Instant,
    ) -> anyhow::Result<ProgramAnswer> {
        let ProgramSettings { timeout, .. } = &self.settings;
        let command = self.name();
        let deadline = began + *timeout;
        if crate::clock::now() >= deadline {
            bail!("{command} was not asked: the {timeout:?} for the whole request were used up");
        }
        let turn = self.turns.turn_to_ask(command, client, deadline, *timeout).await?;
        let mut complaint = Complaint::default();
        let done = timeout_at(deadline, self.run(turn, input, &mut complaint)).await;
        if let Some(said) = complaint.without(secret) {
            warn!(reason = "program_stderr", backend = self.backend, said = %printable(&said), "{command}");
        }
        match done {
            Ok(answered) => answered.with_context(|| command.to_owned()),
            Err(_) => bail!("{command} gave no answer within {timeout:?} and was killed"),
        }
    }

    async fn run(&self, turn: Turn, input: &[u8], complaint: &mut Complaint) -> anyhow::Result<ProgramAnswer> {
        let (command, settings) = (self.prepared(), self.settings.clone());
        let (tell, started) = oneshot::channel();
        // Starting a program reads it from a disk, and so must not happen on a thread that serves requests.
        let ended = tokio::task::spawn_blocking(move || {
            // The turn ends with the program, not with the request: a program that cannot be killed, for example because it
            // hangs in the kernel, still counts.
            let _turn = turn;
            let running = Running::start(command).map_err(|error| match find(&settings) {
                // For a missing interpreter, the system reports "no such file" about the script itself.
                Err(why) => anyhow::anyhow!(why).context(error),
                Ok(_) => error,
            });
            let leader = running.as_ref().ok().map(|running| running.leader);
            // If nobody waits for it, the program is dropped and thus killed.
            drop(tell.send(running));
            if let Some(leader) = leader {
                wait_for_end(leader);
            }
        });
        let mut running = started.await.context("the thread that starts it died")?.context("it cannot be started")?;
        let (stdin, stdout, stderr) = running.pipes().context("it has no standard streams")?;
        let status = async {
            ended.await.context("the thread that waits for it died")?;
            // Processes that it left behind would keep its output open, and run on for nobody.
            running.kill();
            running.child.wait().await.context("its end was not seen")
        };
        let (status, output, (), ()) =
            tokio::try_join!(status, read_answer(stdout), write_question(stdin, input), complaint.read(stderr))?;
        match status.code() {
            Some(status) => Ok(ProgramAnswer { status, output }),
            None => {
                use std::os::unix::process::ExitStatusExt as _;
                bail!("it was ended by signal {}", status.signal().unwrap_or_default())
            }
        }
    }

    fn prepared(&self) -> Command {
        let mut command = Command::new(&self.settings.command);
        command
            .args(&self.settings.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A process group of its own, so that one signal reaches all that it starts, and none of our processes.
            .process_group(0);
        // docker_auth passes its environment on, and programs may rely on that. Our own variables can hold secrets of other
        // backends.
        for (name, _) in std::env::vars_os() {
            if is_ours(&name) {
                command.env_remove(name);
            }
        }
        command
    }
}

fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(env::PREFIX.as_bytes())
}

/// A running program. Dropping it kills it with its process group.
struct Running {
    child: Child,
    /// Its process id, which is that of its group too.
    leader: Pid,
    killed: Killed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Killed {
    No,
    Yes,
}

impl Running {
    fn start(mut command: Command) -> anyhow::Result<Running> {
        let child = command.spawn()?;
        let number = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Running { leader: number.context("it has no process id")?, child, killed: Killed::No })
    }

    fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout, ChildStderr)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?, self.child.stderr.take()?))
    }

    /// Kills the group, once, and only before [`Child::wait`] has returned: until then the system does not give the leader's id
    /// to another process, which the signal would reach.
    fn kill(&mut self) {
        if self.killed == Killed::No {
            self.killed = Killed::Yes;
            // Both calls fail only if the process is gone. The second is for a program that left its group.
            let _gone = kill_process_group(self.leader, Signal::KILL);
            let _gone = kill_process(self.leader, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Blocks until the program has ended, without reaping it (`NOWAIT`): that is left to [`Child::wait`].
fn wait_for_end(leader: Pid) {
    while let Err(Errno::INTR) = waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
}

async fn write_question(mut stdin: ChildStdin, input: &[u8]) -> anyhow::Result<()> {
    match stdin.write_all(input).await {
        // It did not read all of the question; its answer counts.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        done => done.context("the question could not be written"),
    }
}

async fn read_answer(stdout: impl AsyncRead + Unpin) -> anyhow::Result<Vec<u8>> {
    let mut answer = Vec::new();
    stdout.take(MAX_ANSWER as u64 + 1).read_to_end(&mut answer).await.context("its answer could not be read")?;
    if answer.len() > MAX_ANSWER {
        bail!("it wrote more than {MAX_ANSWER} bytes and was killed");
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_variables_are_not_passed_on() {
        assert!(is_ours(OsStr::new("DOCKWARDEN__LDAP_AUTH__PASSWORD")));
        assert!(!is_ours(OsStr::new("PATH")));
        assert!(!is_ours(OsStr::new("DOCKWARDEN")));
    }
}
