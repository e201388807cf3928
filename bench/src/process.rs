//! The processes under test: started, watched through /proc, and ended.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

use crate::reply;

/// How long a server may take until its first answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// CPU time that this thread has used.
pub fn thread_cpu() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// What a process has used of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time, the system's on its behalf included. The kernel gives it in hundredths of a second.
    pub cpu: Duration,
    /// Memory that it holds now (VmRSS), in KiB.
    pub resident: u64,
    /// What of it is its own (RssAnon), in KiB: the rest is the program's file, of which the kernel maps more than is used, some kernels
    /// all that they happen to have read at once.
    pub own: u64,
}

impl Usage {
    /// What the process has used until now.
    pub fn of(pid: u32) -> anyhow::Result<Usage> {
        let read = |name: &str| {
            let file = format!("/proc/{pid}/{name}");
            fs::read_to_string(&file).with_context(|| format!("{file}: the process is gone"))
        };
        let stat = read("stat")?;
        // The name stands in parentheses and may hold anything; what comes after is numbers, the state first.
        let numbers: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        let ticks = |index: usize| numbers.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        let cpu = Duration::from_secs_f64((ticks(11) + ticks(12)) as f64 / per_second as f64);
        let status = read("status")?;
        let of = |key: &str| kibibytes(&status, key).unwrap_or(0);
        Ok(Usage { cpu, resident: of("VmRSS:"), own: of("RssAnon:") })
    }

    /// The CPU time used since `before`, and the memory now.
    pub fn since(&self, before: &Usage) -> Usage {
        Usage { cpu: self.cpu.saturating_sub(before.cpu), ..*self }
    }
}

/// A server's program.
#[derive(Clone, Debug)]
pub enum Program {
    /// Ours.
    Dockwarden(PathBuf),
    /// The peer's: cesanta/docker_auth's `auth_server`.
    Peer(PathBuf),
}

impl Program {
    /// Its name in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Program::Dockwarden(_) => "dockwarden",
            Program::Peer(_) => "docker_auth",
        }
    }

    /// What serves this file.
    pub fn command(&self, config: &Path) -> Command {
        match self {
            Program::Dockwarden(path) => {
                let mut command = Command::new(path);
                command.arg("serve").arg(config);
                command
            }
            Program::Peer(path) => {
                let mut command = Command::new(path);
                command.arg("--logtostderr").arg(config);
                command
            }
        }
    }

    /// What answers a question about whole policies; the peer answers none.
    pub fn asked(&self, question: &str, arguments: &[&OsStr]) -> Option<Command> {
        match self {
            Program::Dockwarden(path) => {
                let mut command = Command::new(path);
                command.arg(question).args(arguments);
                Some(command)
            }
            Program::Peer(_) => None,
        }
    }

    /// What reads this file and says what is wrong with it; the peer has nothing that does.
    pub fn check(&self, config: &Path) -> Option<Command> {
        match self {
            Program::Dockwarden(path) => {
                let mut command = Command::new(path);
                command.arg("check").arg(config);
                Some(command)
            }
            Program::Peer(_) => None,
        }
    }

    /// What runs the tests of this file; the peer has none.
    pub fn test(&self, config: &Path) -> Option<Command> {
        match self {
            Program::Dockwarden(path) => {
                let mut command = Command::new(path);
                command.arg("test").arg(config);
                Some(command)
            }
            Program::Peer(_) => None,
        }
    }
}

/// An address of this machine that nobody listens on now.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A running process; it ends when this is dropped.
pub struct Running {
    child: Child,
    log: PathBuf,
    began: Instant,
}

impl Running {
    /// Starts a program with its output in `log`.
    pub fn start(mut command: Command, log: PathBuf) -> anyhow::Result<Running> {
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).env_clear();
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {:?}", command.get_program()))?;
        Ok(Running { child, log, began })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Tells it to read its configuration again.
    pub fn reload(&self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("no process")?;
        kill_process(pid, Signal::HUP).context("SIGHUP")
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits until it takes connections there.
    pub fn until_it_listens(&mut self, address: SocketAddr, name: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            if self.has_ended() || began.elapsed() > PATIENCE {
                bail!("{name} does not start:\n{}", self.tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The end of what it has written.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// How a process went that ended by itself.
pub struct Ended {
    /// Its exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// How long it took.
    pub took: Duration,
    /// The most memory that it held at once, in KiB.
    pub most: u64,
}

impl Running {
    /// Waits until it ends. Its memory is looked at all the time until then, since the system tells it of running processes
    /// only; what it takes in its last fraction of a millisecond is not seen.
    pub fn until_it_ends(mut self) -> anyhow::Result<Ended> {
        let status = PathBuf::from(format!("/proc/{}/status", self.pid()));
        let mut most = 0;
        loop {
            let text = fs::read_to_string(&status).unwrap_or_default();
            most = kibibytes(&text, "VmHWM:").unwrap_or(0).max(most);
            if let Some(status) = self.child.try_wait()? {
                return Ok(Ended { status: status.code(), took: self.began.elapsed(), most });
            }
            if self.began.elapsed() > PATIENCE {
                bail!("it does not end:\n{}", self.tail());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// A number of /proc's `status`, in KiB.
fn kibibytes(status: &str, name: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok())
}

/// A server that answers.
pub struct Server {
    /// The process.
    pub process: Running,
    /// Where it listens.
    pub address: SocketAddr,
    /// From its start to the first token.
    pub ready_after: Duration,
}

impl Server {
    /// Starts a server with this file, which names `address`, and waits until it answers `request` with 200.
    pub fn start(program: &Program, config: &Path, address: SocketAddr, request: &[u8]) -> anyhow::Result<Server> {
        let log = config.with_extension(format!("{}.log", program.name()));
        let began = Instant::now();
        let mut process = Running::start(program.command(config), log)?;
        loop {
            // The first answer is looked for without a pause: the start is measured by it.
            if let Ok(reply) = reply::ask(address, request)
                && reply.status == 200
            {
                let ready_after = began.elapsed();
                return Ok(Server { process, address, ready_after });
            }
            if process.has_ended() || began.elapsed() > PATIENCE {
                bail!("{} gives no token with {}:\n{}", program.name(), config.display(), process.tail());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// What it has used until now.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.process.pid())
    }
}
