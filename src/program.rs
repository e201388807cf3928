//! A program that answers one question: asked on standard input, answering by its exit status and standard output, and
//! gone, with everything that it started, when the time is over or nobody waits for the answer any more.
//!
//! What a program has to do is in `docs/CONFIG.md`. [`crate::authn::program`] and [`crate::authz::program`] ask.

mod image;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::config::ENVIRONMENT_PREFIX;
use crate::config::number::{self, duration};
use crate::config::problem::At;
use crate::config::refused::{Refusal, is_harmless};
use crate::config::section::Section;
use crate::secret::Secret;
use crate::shown::printable;
use crate::turns::{Client, Turn, Turns};

/// How long an answer may take, waiting for a turn included, where the configuration says nothing.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);
/// Clients have given up by then.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How many run at once where the configuration says nothing.
const DEFAULT_CONCURRENCY: usize = 16;
/// A thread waits for the end of each program. With both backends at this limit, half of the runtime's blocking threads
/// are still free for those whose password is hashed: they must not wait for somebody else's program.
const MOST_CONCURRENCY: usize = 128;
/// The longest answer on standard output, in bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// How much of what a program says on standard error is kept, in bytes; the rest is read and forgotten.
const MAX_COMPLAINT: usize = 4 * 1024;

/// How a program is started: the keys that `ext_auth` and `ext_authz` share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSettings {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub command: String,
    /// Its arguments. Everybody on the machine can read them.
    pub args: Vec<String>,
    /// How long an answer may take, waiting for a turn included.
    pub timeout: Duration,
    /// How many run at once.
    pub concurrency: usize,
}

/// Reads the shared keys of a backend's section; the caller reads its own and finishes it. `None` where something is
/// wrong, which is said then.
pub fn read(section: &mut Section<'_>) -> Option<ProgramSettings> {
    let place = section.place().clone();
    let command = section.parsed("command", |text| match text {
        "" => Err("a program's path is expected here".to_owned()),
        text if text.contains('\0') => Err("a path cannot contain NUL".to_owned()),
        text => Ok(text.to_owned()),
    });
    if command.is_none() && section.node("command").is_none() {
        section.problem(&place, "command", "a program is needed; write command: /path/to/program");
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
    let concurrency =
        section.word("concurrency", |text| match number::whole(text).and_then(|number| usize::try_from(number).ok()) {
            Some(number @ 1..=MOST_CONCURRENCY) => Ok(number),
            Some(_) | None => Err(format!("write how many may run at once, from 1 to {MOST_CONCURRENCY}")),
        });
    Some(ProgramSettings {
        command: command.filter(|_| !broken)?.value,
        args: args.into_iter().map(|at| at.value).collect(),
        timeout: timeout.map_or(DEFAULT_TIMEOUT, |at| at.value),
        concurrency: concurrency.map_or(DEFAULT_CONCURRENCY, |at| at.value),
    })
}

/// What is probably not meant about a program that is named by its path: that there is none, or none that can be
/// started. It may come later, so this is a warning; until then every question is answered with 503.
pub fn warning(settings: &ProgramSettings) -> Option<String> {
    if !settings.command.contains('/') {
        return None;
    }
    find(settings).err()
}

impl ProgramSettings {
    /// The program for messages: without what follows the first space, which may be meant as an argument and be a secret.
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
/// There is none, or none that can be started: says what to do.
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
    let places = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&places).map(|place| place.join(command));
    // What cannot be started is passed over, as the system does.
    let mut wrong = None;
    for candidate in candidates.filter(|candidate| candidate.is_file()) {
        match image::startable(&candidate, &candidate.display().to_string()) {
            Ok(()) => return Ok(candidate),
            Err(why) => wrong = wrong.or(Some(why)),
        }
    }
    Err(wrong.unwrap_or_else(|| format!("no program {name} is in PATH; install it, or write the path of one")))
}

/// A program that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its exit status.
    pub status: i32,
    /// What it wrote to standard output: at most 64 KiB, and possibly a secret.
    pub output: Vec<u8>,
}

/// A program and its turns.
pub struct Program {
    backend: &'static str,
    settings: ProgramSettings,
    turns: Turns,
}

impl Program {
    /// The program of a backend; `backend` names it in the log.
    pub fn new(backend: &'static str, settings: ProgramSettings) -> Program {
        let turns = Turns::new(settings.concurrency);
        Program { backend, settings, turns }
    }

    /// The program for messages: [`ProgramSettings::name`].
    pub fn name(&self) -> &str {
        self.settings.name()
    }

    /// Asks one question for a client, when it is its turn: `input` is all that the program reads. Where the question holds a
    /// `secret`, lines on standard error that hold it too are not logged. The time for the answer counts from `began`, so
    /// that all questions of one request can share it.
    ///
    /// If the returned future is dropped, the program is killed with its whole process group.
    ///
    /// # Errors
    /// [`Busy`](crate::turns::Busy) where no turn came: the program is not to blame. Otherwise it could not be started, did not end in time, was
    /// ended by a signal, or wrote too much: no answer.
    pub(crate) async fn ask(
        &self,
        input: &[u8],
        secret: Option<&Secret>,
        client: Client,
        began: Instant,
    ) -> anyhow::Result<Answered> {
        let ProgramSettings { timeout, .. } = &self.settings;
        let command = self.name();
        let deadline = began + *timeout;
        if crate::clock::now() >= deadline {
            bail!("{command} was not asked: the {timeout:?} for the whole request were over");
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

    async fn run(&self, turn: Turn, input: &[u8], complaint: &mut Complaint) -> anyhow::Result<Answered> {
        let (command, settings) = (self.prepared(), self.settings.clone());
        let (tell, started) = oneshot::channel();
        // Starting a program reads it from a disk, and so does not belong on a thread that serves requests.
        let ended = tokio::task::spawn_blocking(move || {
            // The turn ends with the program, not with the request: a program that cannot be killed (it hangs in the
            // kernel, say) still counts.
            let _turn = turn;
            let running = Running::start(command).map_err(|error| match find(&settings) {
                // The system says "no such file" of a file that is there, and means its interpreter.
                Err(why) => anyhow::anyhow!(why).context(error),
                Ok(_) => error,
            });
            let leader = running.as_ref().ok().map(|running| running.leader);
            // If nobody waits any more, what is sent is dropped, and a program that is dropped is killed.
            drop(tell.send(running));
            if let Some(leader) = leader {
                wait_for_end(leader);
            }
        });
        let mut running = started.await.context("the thread that starts it died")?.context("it cannot be started")?;
        let (stdin, stdout, stderr) = running.pipes().context("it has no standard streams")?;
        let status = async {
            ended.await.context("the thread that waits for it died")?;
            // What it left behind would hold its output open, and would go on for nobody.
            running.kill();
            running.child.wait().await.context("its end was not seen")
        };
        let (status, output, (), ()) =
            tokio::try_join!(status, read_answer(stdout), write_question(stdin, input), complaint.read(stderr))?;
        match status.code() {
            Some(status) => Ok(Answered { status, output }),
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
            // A process group of its own: one signal then reaches whatever it starts, and none of ours.
            .process_group(0);
        // docker_auth passes its environment on, and programs may rely on theirs. Our own variables can hold secrets of
        // other backends.
        for (name, _) in std::env::vars_os() {
            if is_ours(&name) {
                command.env_remove(name);
            }
        }
        command
    }
}

fn is_ours(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(ENVIRONMENT_PREFIX.as_bytes())
}

/// A program that was started and not yet seen to its end. Dropping it kills it with its process group.
struct Running {
    child: Child,
    /// Its number, which is its group's too.
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
        Ok(Running { leader: number.context("it has no process number")?, child, killed: Killed::No })
    }

    fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout, ChildStderr)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?, self.child.stderr.take()?))
    }

    /// Kills the group, once. Only ever done before the leader's end is taken note of ([`Child::wait`]): until then the
    /// system keeps its number, dead or alive, and the signal cannot reach a stranger that was given the same one.
    fn kill(&mut self) {
        if self.killed == Killed::No {
            self.killed = Killed::Yes;
            // Neither call can fail but for a process that is gone. The second is for a program that left its group.
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

/// Blocks until the program has ended, and leaves it for [`Child::wait`] to take note of (`NOWAIT`).
fn wait_for_end(leader: Pid) {
    while let Err(Errno::INTR) = waitid(WaitId::Pid(leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {}
}

async fn write_question(mut stdin: ChildStdin, input: &[u8]) -> anyhow::Result<()> {
    match stdin.write_all(input).await {
        // It does not want to know all of it: its answer counts.
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

/// What a program wrote to standard error.
#[derive(Default)]
struct Complaint {
    /// The beginning of it.
    kept: Vec<u8>,
    read: Read,
}

/// How much of it was read.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Read {
    /// Some of it: the last line may be half a line.
    #[default]
    Partly,
    /// All of it.
    Whole,
}

impl Complaint {
    /// Reads to the end, so that a program that writes much is not stopped by a full pipe, and keeps the beginning.
    async fn read(&mut self, mut stderr: impl AsyncRead + Unpin) -> anyhow::Result<()> {
        let mut rest = &mut stderr;
        let room = MAX_COMPLAINT as u64;
        let kept = (&mut rest).take(room).read_to_end(&mut self.kept).await.context("standard error")?;
        let forgotten = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.context("standard error")?;
        if kept < MAX_COMPLAINT || forgotten == 0 {
            self.read = Read::Whole;
        }
        Ok(())
    }

    /// What may be logged of it: whole lines that do not hold the secret. A line is left out as a whole: with only the
    /// secret cut out of it, what is left would tell a short one.
    fn without(&self, secret: Option<&Secret>) -> Option<String> {
        let secret = secret.map(|secret| secret.reveal().trim().as_bytes());
        let whole = match self.read {
            Read::Whole => self.kept.as_slice(),
            // Half a line could hold half of the secret.
            Read::Partly => self.kept.rsplitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default(),
        };
        let lines: Vec<String> = whole
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
            .map(|line| match secret {
                Some(secret) if holds(line, secret) => "[a line with the password in it]".to_owned(),
                Some(_) | None => String::from_utf8_lossy(line).trim().to_owned(),
            })
            .collect();
        (!lines.is_empty()).then(|| lines.join(" | "))
    }
}

/// Whether the line holds the secret. One of nothing but white space is taken to be in every line.
fn holds(line: &[u8], secret: &[u8]) -> bool {
    secret.is_empty() || line.windows(secret.len()).any(|part| part == secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_whole_lines_without_the_password_are_logged() {
        let long = "x".repeat(MAX_COMPLAINT - 20);
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("", "hunter2", None),
            ("\n \n", "hunter2", None),
            ("no such host\r\ngiving up", "hunter2", Some("no such host | giving up")),
            ("got alice hunter2\nbad", "hunter2", Some("[a line with the password in it] | bad")),
            // What is left of "a bad day" would tell a password of one letter.
            ("a bad day", "a", Some("[a line with the password in it]")),
            // `read` in a shell drops white space around it.
            ("got [hunter2]", " hunter2 ", Some("[a line with the password in it]")),
            ("got [ ]", " ", Some("[a line with the password in it]")),
        ];
        for (said, password, expected) in cases {
            let mut complaint = Complaint::default();
            complaint.read(said.as_bytes()).await.ok();
            assert_eq!(complaint.without(Some(&Secret::new(*password))).as_deref(), *expected, "{said:?}");
        }
        // The end of what is kept goes through the middle of the password.
        let mut complaint = Complaint::default();
        complaint.read(format!("first\n{long} hunter2hunter2hunter2").as_bytes()).await.ok();
        assert_eq!(complaint.without(Some(&Secret::new("hunter2hunter2hunter2"))).as_deref(), Some("first"));
        // It was killed in the middle of a line.
        let half = Complaint { kept: b"whole\nhunt".to_vec(), read: Read::Partly };
        assert_eq!(half.without(Some(&Secret::new("hunter2"))).as_deref(), Some("whole"));
        let half = Complaint { kept: b"hunt".to_vec(), read: Read::Partly };
        assert_eq!(half.without(Some(&Secret::new("hunter2"))), None);
    }

    #[test]
    fn our_own_variables_are_not_passed_on() {
        assert!(is_ours(OsStr::new("DOCKWARDEN__LDAP_AUTH__PASSWORD")));
        assert!(!is_ours(OsStr::new("PATH")));
        assert!(!is_ours(OsStr::new("DOCKWARDEN")));
    }
}
