//! Programs that run beside the tests: started with a log of their own, and dead when the tests are.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::{canary, machine, part, scratch};

/// How long anything may take to come up. Far above what is needed: reached only when something is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(15);

/// The name of the server under test.
const DOCKWARDEN: &str = "dockwarden";

/// What the log's library says on standard output when a server ends whose log nobody reads.
const UNREAD: &[u8] = b"Failed to send shutdown signal to logging worker. Error: Shutdown\n";

/// How much of a log is searched for secrets at a time, in bytes. All of it is.
const SEARCHED_AT_ONCE: u64 = 4 * 1024 * 1024;
/// How many of its lines are read as JSON before only one in so many is: the load of some tests writes hundreds of megabytes
/// of the same lines.
const PARSED_LINES: usize = 5000;
const PARSED_ONE_IN: usize = 50;

/// Log lines shown of each program when a test fails.
const SHOWN_LINES: usize = 60;

/// A signal that the tests send.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// Reload.
    Hangup,
    /// Drain and stop.
    Terminate,
    /// Die at once.
    Kill,
    /// Hold still: connections stay open, and nothing is answered.
    Stop,
    /// Go on.
    Continue,
}

/// A running program. Dropping it kills it with its whole process group.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Mutex<Child>,
    pid: u32,
    log: PathBuf,
}

type Order = (Command, Sender<io::Result<Child>>);

/// Starts the command on a thread that lives as long as the whole run.
///
/// The kernel sends a child its parent-death signal when the *thread* that started it ends. Test threads end with
/// their test, so a program shared between tests would die with the first of them.
fn spawn(command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    machine::watch();
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    answer.send(command.spawn()).ok();
                }
            })
            .unwrap();
        Mutex::new(orders)
    });
    let (answer, reply) = channel();
    keeper.lock().unwrap().send((command, answer)).unwrap();
    reply.recv().unwrap()
}

impl Process {
    /// Starts `command` in the background, with both its outputs in one log file.
    pub(crate) fn start(name: &str, command: &Command) -> Self {
        let log = scratch::directory(name).join("log");
        let output = File::create(&log).unwrap();
        // `setpriv` asks the kernel to kill the program when this run dies, whichever way it dies, and turns into it.
        let mut guarded = part::command("setpriv");
        guarded
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .process_group(0);
        for (key, value) in command.get_envs() {
            if let Some(value) = value {
                guarded.env(key, value);
            }
        }
        if let (DOCKWARDEN, Ok(level)) = (name, std::env::var("DOCKWARDEN_TEST_LOG")) {
            guarded.env("RUST_LOG", level);
        }
        if let Some(directory) = command.get_current_dir() {
            guarded.current_dir(directory);
        }
        let child = spawn(guarded).unwrap_or_else(|error| panic!("{name}: {error}"));
        let pid = child.id();
        Self { name: name.to_owned(), child: Mutex::new(child), pid, log }
    }

    /// Its process number, while it runs.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Everything that the program has said so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How long the log is now, in bytes.
    pub(crate) fn logged(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |log| log.len())
    }

    /// What the program has said after so many bytes.
    pub(crate) fn log_after(&self, bytes: u64) -> String {
        let mut log = File::open(&self.log).unwrap();
        log.seek(SeekFrom::Start(bytes)).unwrap();
        let mut text = Vec::new();
        log.read_to_end(&mut text).unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The most memory that the program ever had for itself, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<u64>().unwrap() * 1024
    }

    /// How many sockets the program has open.
    pub(crate) fn sockets(&self) -> usize {
        let links = fs::read_dir(format!("/proc/{}/fd", self.pid))
            .unwrap()
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    }

    /// The last lines of the log, for the message of a failed test.
    pub(crate) fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines.get(lines.len().saturating_sub(SHOWN_LINES)..).unwrap_or_default();
        format!("---- {} (pid {})\n{}\n", self.name, self.pid, shown.join("\n"))
    }

    /// The exit status, once the program has ended.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.child.lock().unwrap().try_wait().unwrap()
    }

    /// Looks again and again until `condition` gives a value.
    ///
    /// # Panics
    /// With the log, if the program ends or a minute passes first.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, condition: impl FnMut(&Self) -> Option<T>) -> T {
        self.up_or_ended(what, condition).unwrap_or_else(|| {
            panic!("{} ended ({:?}) before: {what}\n{}", self.name, self.ended(), self.tail());
        })
    }

    /// The same; nothing if the program ends first.
    ///
    /// # Panics
    /// With the log, if a minute passes first.
    #[track_caller]
    pub(crate) fn up_or_ended<T>(&self, what: &str, mut condition: impl FnMut(&Self) -> Option<T>) -> Option<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = condition(self) {
                return Some(value);
            }
            if self.ended().is_some() {
                return None;
            }
            assert!(Instant::now() < end, "{}: waited in vain for: {what}\n{}", self.name, self.tail());
            thread::sleep(LOOK);
        }
    }

    /// Looks for secrets in all that the server under test has said so far, and in what everybody on the machine sees of it;
    /// and for lines of its log that somebody else could have written.
    ///
    /// # Panics
    /// If there is one.
    #[track_caller]
    pub(crate) fn keeps_secrets(&self) {
        for (what, file) in [("the command line", "cmdline"), ("the environment", "environ")] {
            canary::holds_no_secret(what, &fs::read(format!("/proc/{}/{file}", self.pid)).unwrap_or_default());
        }
        let Ok(mut log) = File::open(&self.log) else { return };
        let (mut piece, mut lines) = (Vec::new(), 0);
        loop {
            let read = log.by_ref().take(SEARCHED_AT_ONCE).read_to_end(&mut piece).unwrap();
            // No secret and no line goes over the end of a line. The last one may be on its way.
            let whole = piece.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let searched = if read == 0 { piece.len() } else { whole };
            canary::holds_no_secret("the log", &piece[..searched]);
            for line in piece[..whole].split_inclusive(|byte| *byte == b'\n').filter(|line| *line != UNREAD) {
                lines += 1;
                if lines <= PARSED_LINES || lines.is_multiple_of(PARSED_ONE_IN) {
                    let is_object = serde_json::from_slice::<Map<String, Value>>(line).is_ok();
                    assert!(is_object, "a line of the log is no object: {:?}", String::from_utf8_lossy(line));
                }
            }
            piece.drain(..searched);
            if read == 0 {
                return;
            }
        }
    }

    /// The descriptors that the program has open: files, sockets and all.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// Waits for the program to end by itself.
    ///
    /// # Panics
    /// If it is still there after a minute.
    #[track_caller]
    pub(crate) fn end(&self) -> ExitStatus {
        until(&format!("end of {}", self.name), || self.ended())
    }

    /// Sends a signal to the program alone.
    ///
    /// # Panics
    /// If it has ended: its number may belong to a stranger by now, who must not be stopped or killed.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        // As long as this is held, nobody takes note of its end, and the system keeps its number.
        let mut child = self.child.lock().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "{} has ended and gets no signal", self.name);
        let name = match signal {
            Signal::Hangup => "-HUP",
            Signal::Terminate => "-TERM",
            Signal::Kill => "-KILL",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        kill(name, &self.pid.to_string()).well();
    }
}

/// The shell's own `kill`, which takes a negative number as a process group.
fn kill(signal: &str, target: &str) -> part::Said {
    part::run(part::command("sh").args(["-c", &format!("kill {signal} {target}")]))
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.tail());
        }
        let keeping = (self.name == DOCKWARDEN && !thread::panicking())
            .then(|| catch_unwind(AssertUnwindSafe(|| self.keeps_secrets())));
        // Only while it is not reaped yet: after that the number may belong to somebody else.
        let child = self.child.get_mut().unwrap();
        if let Ok(None) = child.try_wait() {
            kill("-KILL", &format!("-{}", self.pid));
            child.wait().ok();
        }
        if let Some(Err(found)) = keeping {
            resume_unwind(found);
        }
    }
}

/// Looks again and again until `condition` gives a value.
///
/// # Panics
/// If a minute passes first.
#[track_caller]
pub(crate) fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, condition)
}

/// The same, for what the program itself promises to do in some time, beside what the machine delays.
///
/// # Panics
/// If `patience` passes first.
#[track_caller]
pub(crate) fn until_within<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(machine::elapsed(began) < patience, "waited in vain for: {what}");
        thread::sleep(LOOK);
    }
}

#[test]
#[should_panic(expected = "the log: the secret")]
fn a_secret_at_the_end_of_a_long_log_is_found() {
    let line = format!("{{\"padding\":\"{}\"}}", "x".repeat(1000));
    let talk = format!("yes '{line}' | head -c 20000000; printf 'p+w%% \\303\\266'");
    let talker = Process::start("talker", part::command("sh").args(["-c", &talk]));
    talker.end();
    talker.keeps_secrets();
}
