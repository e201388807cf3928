//! Tokens by a secret that lasts, of many in SQLite, against tokens by a password that was verified before.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use dockwarden::app::{App, Source};
use dockwarden::authn::Account;
use dockwarden::config::Secrets;
use dockwarden::records::Limits;
use dockwarden::secrets::{Expires, New};
use tempfile::TempDir;
use time::OffsetDateTime;

use crate::bed;
use crate::figures::{Outcome, microseconds};
use crate::load::{self, Load, Pace, Turns};
use crate::process::Program;
use crate::scenario::Setup;

use super::Run;

/// Sent before the measuring begins.
const WARM: Duration = Duration::from_millis(500);
/// Of how many of the secrets tokens are asked for, in turns.
const USED: usize = 1000;

/// Measures both, with so many secrets in the file.
pub fn measure(run: &Run, program: &Program, setup: &Setup, secrets: usize, clients: usize) -> anyhow::Result<Outcome> {
    // In memory: to fill it takes a hundred thousand commits. What is measured writes nothing.
    let memory = std::path::Path::new("/dev/shm");
    let directory = if memory.is_dir() { TempDir::new_in(memory)? } else { TempDir::new()? };
    let file = directory.path().join("dockwarden.db").display().to_string();
    let served = run.serve_with(program, setup, &bed::rules(setup.rules), &file)?;
    let address = served.server.address;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let made = runtime.block_on(fill(&served.config, setup.users, secrets))?;
    let ask = |(account, secret): &(String, String)| {
        bed::request_with(address, account, secret, &[format!("repository:{account}/app:pull,push")])
    };
    let by_secret: Arc<[Vec<u8>]> = made.iter().map(ask).collect();
    let by_password = super::own_repositories(address, setup.users);
    let mut outcome = Outcome::default();
    let mut cpu = |requests: Arc<[Vec<u8>]>, name: &str| -> anyhow::Result<f64> {
        let measured = load::run(Load {
            address,
            requests,
            pace: Pace::Closed { clients },
            connections: clients,
            most: clients,
            turns: Turns::Last,
            sources: load::HERE,
            warm: WARM,
            lasts: run.lasts_each(),
            grace: load::GRACE,
            watched: Some(served.server.process.pid()),
        })?;
        let cpu = microseconds(measured.used.cpu) / measured.answered.max(1) as f64;
        outcome.add(format!("cpu_us_per_token_{name}"), cpu);
        outcome.add_latency(name, &measured);
        Ok(cpu)
    };
    let password = cpu(by_password, "password")?;
    let secret = cpu(by_secret, "secret")?;
    outcome.add("secrets", secrets as f64);
    outcome.add("cpu_us_more", secret - password);
    Ok(outcome)
}

/// Makes the secrets as the program does, and gives some of them.
async fn fill(config: &std::path::Path, users: usize, secrets: usize) -> anyhow::Result<Vec<(String, String)>> {
    let source = Source { file: config.to_owned(), variables: Vec::new() };
    let config = source.load(Secrets::Read)?;
    let app = App::open(source, config)?;
    app.prepare().await?;
    let snapshot = app.snapshot();
    let lasting = snapshot.access.lasting().context("there are no records in the configuration")?;
    let now = OffsetDateTime::now_utc();
    let mut owners = Vec::with_capacity(users);
    for number in 0..users {
        let name = bed::account(number);
        let owner = snapshot.access.look_up(&Account::parse(&name)?, None).await?;
        owners.push((name, owner));
    }
    let mut made = Vec::new();
    for number in 0..secrets {
        let (name, owner) = owners.get(number % users.max(1)).context("there are no users")?;
        let expires = Some(Expires::In(Duration::from_secs(90 * 24 * 3600)));
        let new = New { name: format!("secret {number}"), expires, limits: Limits::default(), maker: None };
        let secret = lasting.make_personal(owner.clone(), new, now).await?.secret;
        if made.len() < USED {
            made.push((name.clone(), secret.reveal().to_owned()));
        }
    }
    Ok(made)
}
