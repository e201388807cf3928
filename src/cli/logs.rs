//! Where the log goes and how it looks: readable on a terminal, one JSON object a line otherwise.

use std::io::{BufWriter, IsTerminal as _, Write};
use std::sync::mpsc;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::environment;
use super::glog::Verbosity;

/// Lines that wait to be written, while whoever reads the log is slow. Further ones are dropped and counted: a reader
/// that has stopped must not stop the server with it.
const WAITING_LINES: usize = 10_000;

/// How long lines come together before the next of them are written. Woken for each line, the thread that writes them took
/// 10 µs for each token from the threads that serve.
const GATHERED_FOR: Duration = Duration::from_millis(5);

/// How long the end waits for whoever reads the log.
const LAST_LINES_PATIENCE: Duration = Duration::from_secs(1);

/// A started log. What is still waiting is written when this is dropped.
pub(super) struct Log {
    /// How many lines were dropped.
    pub(super) dropped: ErrorCounter,
    writer: Option<WorkerGuard>,
}

impl Drop for Log {
    fn drop(&mut self) {
        let writer = self.writer.take();
        let (writing, written) = mpsc::channel::<()>();
        // Not on this thread: where nobody reads the log, the library says so on standard output, and that may be the
        // same full pipe. The process would never end.
        let ending = move || {
            drop(writer);
            drop(writing);
        };
        if std::thread::Builder::new().spawn(ending).is_ok() {
            written.recv_timeout(LAST_LINES_PATIENCE).ok();
        }
    }
}

/// Writes all lines that are there at once, and lets the next come together before more are looked for. A line that comes
/// alone does not wait.
struct Gathered<W: Write>(BufWriter<W>);

impl<W: Write> Write for Gathered<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    /// Called by the thread that writes the log, and by it alone, when no line is left.
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()?;
        std::thread::sleep(GATHERED_FOR);
        Ok(())
    }
}

/// Starts the log on standard error. `RUST_LOG` refines what is in it.
pub(super) fn start(verbosity: Verbosity) -> Log {
    let usual = match verbosity {
        Verbosity::Usual => "info",
        Verbosity::Detailed => "info,dockwarden=debug",
    };
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let filter = wanted.and_then(|wanted| environment::filter(&wanted)).unwrap_or_else(|| EnvFilter::new(usual));
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .lossy(true)
        .finish(Gathered(BufWriter::new(std::io::stderr())));
    let dropped = writer.error_counter();
    // An error of the log itself is not printed: printing it fails as well, and would end the request that logged.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    // Only one log can be started in a process; a second start changes nothing.
    if std::io::stderr().is_terminal() {
        drop(log.with_target(false).finish().with(filter_fn(may_be_logged)).try_init());
    } else {
        let log = log.json().flatten_event(true).with_current_span(false).with_span_list(false);
        drop(log.finish().with(filter_fn(may_be_logged)).try_init());
    }
    Log { dropped, writer: Some(guard) }
}

/// Whether a line may be in the log if `RUST_LOG` asks for it.
fn may_be_logged(line: &Metadata<'_>) -> bool {
    holds_no_secret(line.target(), *line.level())
}

/// The finer lines of AWS's SDK hold whole answers of ECR, with the token in them.
fn holds_no_secret(target: &str, level: Level) -> bool {
    !target.starts_with("aws") || level <= Level::INFO
}

/// Says why the server does not start: each problem on a line of its own.
pub(super) fn startup_failed(error: &anyhow::Error) {
    for line in format!("{error:#}").lines() {
        tracing::error!(reason = "startup_failed", "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_the_sdk_log_what_ecr_answers() {
        for (target, level, expected) in [
            ("aws_smithy_runtime::client::orchestrator", Level::TRACE, false),
            ("aws_smithy_runtime::client::orchestrator::http", Level::DEBUG, false),
            ("aws_config", Level::INFO, true),
            ("aws_config", Level::WARN, true),
            ("dockwarden::gateway", Level::TRACE, true),
            ("hyper_util::client", Level::TRACE, true),
        ] {
            assert_eq!(holds_no_secret(target, level), expected, "{target} {level}");
        }
    }
}
