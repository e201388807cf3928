//! Measures the real program: rates, latencies, CPU time and memory of one configuration after the other, beside what
//! the machine's own `openssl` says a signature costs, and beside the peer where its program is at hand.

#![expect(clippy::disallowed_methods, reason = "time is what is measured")]

mod bed;
mod crowd;
mod figures;
mod http2;
mod load;
mod machine;
mod plot;
mod process;
mod reply;
mod report;
mod rows;
mod scenario;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser;

use crate::bed::Bed;
use crate::figures::Outcome;
use crate::machine::Machine;
use crate::process::Program;
use crate::report::{Entry, Report};
use crate::rows::Run;

/// What to measure, and for how long.
#[derive(Parser)]
#[command(about = "Measures Dockwarden, and docker_auth beside it where its program is at hand")]
struct Arguments {
    /// The release build of Dockwarden.
    #[arg(long)]
    server: PathBuf,
    /// docker_auth's auth_server: the same rows are measured with it, in turn.
    #[arg(long)]
    peer: Option<PathBuf>,
    /// The repository.
    #[arg(long, default_value = "..")]
    repository: PathBuf,
    /// The rows.
    #[arg(long, default_value = "scenarios.toml")]
    scenarios: PathBuf,
    /// Only rows whose name holds one of these texts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Seconds that each load is measured.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Seconds that memory is watched under load: 60, or as many as are said; 600 shows whether it is flat.
    #[arg(long)]
    memory_seconds: Option<f64>,
    /// All rows in a minute and a half: shows that everything can be measured, and little more.
    #[arg(long)]
    short: bool,
    /// Where the table, the JSON and the plot go.
    #[arg(long, default_value = "../target/bench")]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let text = std::fs::read_to_string(&arguments.scenarios)
        .with_context(|| format!("{}: cannot be read", arguments.scenarios.display()))?;
    let mut scenarios: scenario::Scenarios =
        toml::from_str(&text).with_context(|| format!("{}", arguments.scenarios.display()))?;
    let rows = std::mem::take(&mut scenarios.row);
    let mut programs = vec![Program::Dockwarden(program(&arguments.server)?)];
    if let Some(peer) = &arguments.peer {
        programs.push(Program::Peer(program(peer)?));
    }
    let seconds = if arguments.short { 1.0 } else { arguments.seconds };
    eprintln!("openssl speed, and one bcrypt hash after the other");
    let run = Run {
        scenarios,
        bed: Bed::new()?,
        machine: Machine::look(if arguments.short { 1 } else { 3 })?,
        lasts: Duration::from_secs_f64(seconds),
        memory_lasts: Duration::from_secs_f64(arguments.memory_seconds.unwrap_or(if arguments.short {
            4.0
        } else {
            60.0
        })),
        share: if arguments.short { 0.2 } else { 1.0 },
        repository: arguments.repository.canonicalize().context("the repository")?,
    };
    let mut report = Report::new(&run, seconds);
    for row in &rows {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|wanted| row.name.contains(wanted.as_str())) {
            continue;
        }
        for program in programs.iter().filter(|program| row.peer || matches!(program, Program::Dockwarden(_))) {
            eprintln!("{}: {}", program.name(), row.what);
            let outcome = run.measure(row, program).unwrap_or_else(|cause| {
                eprintln!("{}: {cause:#}", row.name);
                let short: String = format!("{cause:#}").lines().next().unwrap_or_default().chars().take(300).collect();
                Outcome { notes: vec![format!("not measured: {short}")], ..Outcome::default() }
            });
            report.entries.push(Entry { row, program: program.name(), outcome });
        }
    }
    let table = report.table();
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;
    let out = arguments.out.canonicalize()?;
    std::fs::write(out.join("table.md"), &table)?;
    std::fs::write(out.join("bench.json"), serde_json::to_string_pretty(&report.json())?)?;
    std::fs::write(out.join("latency.svg"), plot::latencies(&report))?;
    println!("{table}");
    let unmeasured: Vec<&str> = report
        .entries
        .iter()
        .filter(|entry| entry.outcome.figures.is_empty())
        .map(|entry| entry.row.name.as_str())
        .collect();
    // At length, what is not installed may be missing; the short run is there to show that every row can be measured.
    let is_enough = match arguments.short {
        true => unmeasured.is_empty(),
        false => unmeasured.len() < report.entries.len(),
    };
    if report.entries.is_empty() {
        bail!("nothing was measured: no row has such a name");
    }
    if !is_enough {
        bail!("not measured: {}", unmeasured.join(", "));
    }
    Ok(())
}

fn program(path: &Path) -> anyhow::Result<PathBuf> {
    match bed::is_program(path) {
        true => Ok(path.canonicalize()?),
        false => bail!("{} is no program that can be run", path.display()),
    }
}
