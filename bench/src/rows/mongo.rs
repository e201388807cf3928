//! Accounts in MongoDB: what a token costs beside the bare question to the database, and how many questions it takes.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, Credential};
use mongodb::{Client, Collection};

use crate::bed;
use crate::figures::Outcome;
use crate::load::{self, Dice, Load, Pace, Turns};
use crate::process::{Program, Running, free_address};
use crate::scenario::Setup;

use super::Run;

/// The password of the server's own account there.
pub(super) const PASSWORD: &str = "example";

/// Measures a server whose accounts are in FerretDB, which the tests build.
pub fn measure(run: &Run, program: &Program, setup: &Setup, rate: f64) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let Some(ferretdb) = run.tool("ferretdb") else {
        outcome.notes.push("not measured: FerretDB is not there; tests/support/install.sh builds it".to_owned());
        return Ok(outcome);
    };
    let (_database, address) = start(run, &ferretdb)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let users = runtime.block_on(fill(run, address, setup))?;

    // Counted apart from the timing: whoever stands between costs time.
    let relay = Relay::start(address)?;
    let served = run.serve_with(program, setup, &bed::rules(setup.rules), &relay.address.to_string())?;
    let asked = load(run, &served.server, setup, rate);
    let _warm = load::run(Load { lasts: Duration::from_millis(500), ..asked.clone() })?;
    let before = relay.finds.load(Ordering::Relaxed);
    let counted = load::run(Load { warm: Duration::ZERO, lasts: run.lasts / 2, ..asked })?;
    let lookups = relay.finds.load(Ordering::Relaxed) - before;
    let tokens: u64 = counted.statuses.values().sum();
    drop(served);

    let served = run.serve_with(program, setup, &bed::rules(setup.rules), &address.to_string())?;
    let bare = runtime.block_on(bare(&users, setup, run.lasts / 2, rate))?;
    let measured = load::run(load(run, &served.server, setup, rate))?;
    let bare_ms = bare.value_at_quantile(0.5) as f64 / 1e6;
    let signature_ms = 1e3 / run.machine.signs(&setup.key);
    let token_ms = measured.latency.value_at_quantile(0.5) as f64 / 1e6;
    outcome.add("lookups_per_token", lookups as f64 / tokens.max(1) as f64);
    outcome.add("bare_p50_ms", bare_ms);
    outcome.add_latency("", &measured);
    outcome.add("p50_ratio", token_ms / (bare_ms + signature_ms));
    outcome.latencies.insert("bare".to_owned(), bare);
    Ok(outcome)
}

fn load(run: &Run, server: &crate::process::Server, setup: &Setup, rate: f64) -> Load {
    let request = |number| {
        let account = bed::account(number);
        bed::request(server.address, &account, &[format!("repository:{account}/app:pull,push")])
    };
    Load {
        address: server.address,
        requests: (0..setup.users).map(request).collect(),
        pace: Pace::Open { rate },
        connections: 8,
        most: 64,
        turns: Turns::Last,
        sources: load::HERE,
        // Long enough that every account was verified once.
        warm: Duration::from_secs_f64(1.0 + setup.users as f64 / rate),
        lasts: run.lasts,
        grace: load::GRACE,
        watched: Some(server.process.pid()),
    }
}

fn start(run: &Run, ferretdb: &std::path::Path) -> anyhow::Result<(Running, SocketAddr)> {
    let directory = run.bed.path("ferretdb");
    std::fs::create_dir_all(&directory)?;
    let address = free_address()?;
    let files = directory.display();
    let mut command = Command::new(ferretdb);
    command.args([
        "--handler=sqlite".to_owned(),
        format!("--sqlite-url=file:{files}/"),
        format!("--state-dir={files}"),
        format!("--listen-addr={address}"),
        "--debug-addr=127.0.0.1:0".to_owned(),
        "--telemetry=disable".to_owned(),
        "--log-level=error".to_owned(),
        "--test-enable-new-auth".to_owned(),
        "--setup-database=admin".to_owned(),
        "--setup-username=root".to_owned(),
        "--setup-password=example".to_owned(),
    ]);
    let mut database = Running::start(command, run.bed.path("ferretdb.log"))?;
    database.until_it_listens(address, "FerretDB")?;
    Ok((database, address))
}

async fn fill(run: &Run, address: SocketAddr, setup: &Setup) -> anyhow::Result<Collection<Document>> {
    let mut options = ClientOptions::parse(format!("mongodb://{address}/")).await?;
    let mut root = Credential::default();
    root.username = Some("root".to_owned());
    root.password = Some("example".to_owned());
    root.source = Some("admin".to_owned());
    options.credential = Some(root);
    let database = Client::with_options(options)?.database("bench");
    let reader = doc! { "createUser": "reader", "pwd": PASSWORD, "roles": [], "mechanisms": ["SCRAM-SHA-1"] };
    database.run_command(reader).await.context("the reader's account")?;
    std::fs::write(run.bed.path("mongo-password"), PASSWORD)?;
    let users = database.collection::<Document>("users");
    users.drop().await.ok();
    let hash = bed::hash(setup.cost)?;
    let documents: Vec<Document> = (0..setup.users)
        .map(
            |number| doc! { "username": bed::account(number), "password": &hash, "labels": { "team": ["web", "api"] } },
        )
        .collect();
    users.insert_many(documents).await.context("accounts")?;
    let unique = mongodb::options::IndexOptions::builder().unique(true).build();
    users.create_index(mongodb::IndexModel::builder().keys(doc! { "username": 1 }).options(unique).build()).await?;
    Ok(users)
}

/// The same question by the driver alone, at the same rate and at random moments as the tokens are asked for: asked one
/// after the other, it would never wait for another one.
async fn bare(
    users: &Collection<Document>,
    setup: &Setup,
    lasts: Duration,
    rate: f64,
) -> anyhow::Result<Histogram<u64>> {
    let mut took = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut asked = tokio::task::JoinSet::new();
    let began = Instant::now();
    let mut due = began;
    let mut number = 0;
    while began.elapsed() < lasts {
        tokio::time::sleep_until(due.into()).await;
        let (users, account) = (users.clone(), bed::account(number % setup.users));
        asked.spawn(async move {
            let mut found = users.find(doc! { "username": account }).limit(2).await?;
            while found.advance().await? {
                std::hint::black_box(found.deserialize_current()?);
            }
            anyhow::Ok(due.elapsed())
        });
        due += Duration::from_secs_f64(dice.exponential() / rate);
        number += 1;
    }
    // The first ones connect.
    for took_each in asked.join_all().await.into_iter().skip(50) {
        took.saturating_record(u64::try_from(took_each?.as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(took)
}

/// Passes on what is said between a server and the database, and counts the questions.
struct Relay {
    address: SocketAddr,
    finds: Arc<AtomicU64>,
}

impl Relay {
    fn start(database: SocketAddr) -> anyhow::Result<Relay> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let finds = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&finds);
        std::thread::spawn(move || {
            for asking in listener.incoming().flatten() {
                let Ok(answering) = TcpStream::connect(database) else { continue };
                for stream in [&asking, &answering] {
                    stream.set_nodelay(true).ok();
                }
                if let (Ok(from), Ok(to)) = (asking.try_clone(), answering.try_clone()) {
                    let counter = Arc::clone(&counter);
                    std::thread::spawn(move || pass_on(from, to, Some(&counter)));
                }
                std::thread::spawn(move || pass_on(answering, asking, None));
            }
        });
        Ok(Relay { address, finds })
    }
}

/// Copies until one side ends. A message begins with its length, as four bytes; a question has a `find` in it.
fn pass_on(mut from: TcpStream, mut to: TcpStream, counter: Option<&AtomicU64>) {
    let mut pending: Vec<u8> = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while let Ok(read) = from.read(&mut chunk) {
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if to.write_all(bytes).is_err() {
            break;
        }
        let Some(counter) = counter else { continue };
        pending.extend_from_slice(bytes);
        while let Some(length) = pending.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes) as usize) {
            let Some(message) = pending.get(..length.max(4)) else { break };
            if message.windows(6).any(|window| window == b"\x02find\0") {
                counter.fetch_add(1, Ordering::Relaxed);
            }
            pending.drain(..length.max(4));
        }
    }
    to.shutdown(std::net::Shutdown::Both).ok();
}
