//! The catalogue: a sweep of a large registry, which a stub is, and events at a steady rate, each in the records before its 202.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;

use crate::bed;
use crate::figures::{Outcome, milliseconds};
use crate::load;
use crate::process::{Program, Usage};
use crate::reply;
use crate::scenario::Setup;

use super::Run;

/// How long the stub takes for an answer.
const ANSWERS_IN: Duration = Duration::from_millis(5);
/// How long a sweep may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// The secret of the events, as the configuration has it.
const SECRET: &str = "0123456789abcdef-bench";

/// Measures both.
pub fn measure(
    run: &Run,
    program: &Program,
    setup: &Setup,
    (repositories, tags): (usize, usize),
    rate: f64,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let repositories = run.some(repositories);
    let stub = Stub::start(repositories, tags)?;
    std::fs::remove_file(run.bed.path("catalogue.db")).ok();
    let began = Instant::now();
    let served = run.serve_with(program, setup, &bed::rules(setup.rules), &stub.address.to_string())?;
    let (address, pid) = (served.server.address, served.server.process.pid());
    let mut most = 0;
    while counted(address, "dockwarden_registry_sweeps_total", "complete")? < 1.0 {
        most = most.max(Usage::of(pid)?.resident);
        if began.elapsed() > PATIENCE {
            bail!("the sweep did not end within {} s: {}", PATIENCE.as_secs(), served.server.process.tail());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = began.elapsed();
    outcome.add("repositories", repositories as f64);
    outcome.add("sweep_s", took.as_secs_f64());
    outcome.add("requests_at_once", stub.most_at_once.load(Ordering::Relaxed) as f64);
    outcome.add("sweep_most_mib", most as f64 / 1024.0);
    events(run, (address, pid), rate, &mut outcome)?;
    Ok(outcome)
}

/// Events one after the other at their rate, over one connection as a registry has it.
fn events(run: &Run, (address, pid): (SocketAddr, u32), rate: f64, outcome: &mut Outcome) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut taken = load::histogram()?;
    let (began, mut sent, mut refused) = (Instant::now(), 0_u64, 0_u64);
    while began.elapsed() < run.lasts {
        let at = began + Duration::from_secs_f64(sent as f64 / rate);
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        let status = reply::ask_over(&mut stream, &event(address, sent))?.status;
        // From when it was to be sent: who is late keeps the next ones waiting.
        taken.saturating_record(u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX));
        sent += 1;
        refused += u64::from(status != 202);
    }
    let lasted = began.elapsed();
    while counted(address, "dockwarden_registry_events_waiting", "")? > 0.0 {
        if began.elapsed() > lasted + Duration::from_secs(30) {
            bail!("events wait that nobody works on");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let kept = counted(address, "dockwarden_registry_events_total", "kept")?;
    outcome.add("events_per_s", sent as f64 / lasted.as_secs_f64());
    outcome.add("events_refused", refused as f64);
    outcome.add("events_lost", (sent - refused) as f64 - kept);
    outcome.add("worked_on_after_ms", milliseconds(began.elapsed().saturating_sub(lasted)));
    outcome.add("event_p99_ms", taken.value_at_quantile(0.99) as f64 / 1e6);
    outcome.add("events_mib", Usage::of(pid)?.resident as f64 / 1024.0);
    outcome.latencies.insert("event".to_owned(), taken);
    Ok(())
}

fn event(address: SocketAddr, number: u64) -> Vec<u8> {
    let body = json!({"events": [{
        "id": format!("bench-{number}"), "timestamp": "2026-11-30T04:05:06Z", "action": "push",
        "target": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1,
            "digest": format!("sha256:{number:064x}"), "repository": format!("events/r{}", number % 500),
            "tag": format!("t{number}")},
        "request": {"method": "PUT"}, "actor": {"name": "bench"},
    }]})
    .to_string();
    format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {SECRET}\r\n\
         Content-Type: application/vnd.docker.distribution.events.v2+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The sum of a metric's lines that have this text in their labels.
fn counted(address: SocketAddr, name: &str, label: &str) -> anyhow::Result<f64> {
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let text = reply::ask(address, request.as_bytes())?.body;
    let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.trim().parse::<f64>().ok()).sum())
}

/// A registry that holds so many repositories with so many tags each, and nothing else.
struct Stub {
    address: SocketAddr,
    most_at_once: Arc<AtomicUsize>,
}

impl Stub {
    fn start(repositories: usize, tags: usize) -> anyhow::Result<Stub> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (at_once, most_at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (now, most) = (Arc::clone(&at_once), Arc::clone(&most_at_once));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                std::thread::spawn(move || answer_all(&stream, (repositories, tags), &now, &most).ok());
            }
        });
        Ok(Stub { address, most_at_once })
    }
}

fn answer_all(stream: &TcpStream, holds: (usize, usize), now: &AtomicUsize, most: &AtomicUsize) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(first) = lines.next() {
        let target = first?.split(' ').nth(1).context("no request")?.to_owned();
        // The rest of the header; no request has a body.
        for line in lines.by_ref() {
            if line?.is_empty() {
                break;
            }
        }
        most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        std::thread::sleep(ANSWERS_IN);
        let reply = answer(&target, holds);
        now.fetch_sub(1, Ordering::Relaxed);
        let mut to = stream;
        to.write_all(reply.as_bytes())?;
    }
    Ok(())
}

fn answer(target: &str, (repositories, tags): (usize, usize)) -> String {
    const PAGE: usize = 1000;
    let named = |number: usize| format!("team{:03}/app-{number:07}", number / PAGE);
    let (link, body) = match target.split_once("last=") {
        _ if !target.starts_with("/v2/_catalog") => {
            let tags: Vec<String> = (0..tags).map(|number| format!("v{number}")).collect();
            (String::new(), json!({ "tags": tags }))
        }
        last => {
            // A name ends with its number.
            let begins = last.and_then(|(_, last)| last.get(last.len().saturating_sub(7)..)?.parse::<usize>().ok());
            let begins = begins.map_or(0, |last| last + 1);
            let ends = (begins + PAGE).min(repositories);
            let names: Vec<String> = (begins..ends).map(named).collect();
            let link = match (names.last(), ends < repositories) {
                (Some(last), true) => {
                    format!("Link: </v2/_catalog?n={PAGE}&last={}>; rel=\"next\"\r\n", last.replace('/', "%2F"))
                }
                (Some(_) | None, _) => String::new(),
            };
            (link, json!({ "repositories": names }))
        }
    };
    let body = body.to_string();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{link}Content-Length: {}\r\n\r\n{body}", body.len())
}
