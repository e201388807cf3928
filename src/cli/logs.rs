//! Where the log goes and how it looks: readable on a terminal, one JSON object a line otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use super::glog::Verbosity;

/// Starts the log on standard error. `RUST_LOG` refines what is in it.
pub(super) fn start(verbosity: Verbosity) {
    let usual = match verbosity {
        Verbosity::Usual => "info",
        Verbosity::Detailed => "info,dockwarden=debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Only one log can be started in a process; a second start changes nothing.
    if std::io::stderr().is_terminal() {
        drop(log.with_target(false).try_init());
    } else {
        drop(log.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init());
    }
}

/// Says why the server does not start: each problem on a line of its own.
pub(super) fn startup_failed(error: &anyhow::Error) {
    for line in format!("{error:#}").lines() {
        tracing::error!(reason = "startup_failed", "{line}");
    }
}
