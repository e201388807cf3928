//! Search and the first page of the catalog over many repositories, for a member of 50 groups and for one who may pull next to nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use dockwarden::app::{App, Source};
use dockwarden::config::Secrets;
use dockwarden::records::catalogue::{Description, Listing, SweepNumber};
use time::OffsetDateTime;

use crate::bed;
use crate::figures::{Outcome, milliseconds};
use crate::load::{self, Load};
use crate::process::{Program, Usage, free_address};
use crate::reply;
use crate::scenario::Setup;

use super::Run;

/// How many groups each of the accounts is in.
const GROUPS: usize = 50;
/// Of how many groups, and of how many apps, there are repositories.
const OWNERS: usize = 3000;
/// One repository of so many is described.
const DESCRIBED: usize = 101;
/// What is written about it.
const DESCRIPTION: &str =
    "The service behind the shop and what it needs to run: see the wiki for whom to ask, and for how it is built.";
/// How many repositories are written at once.
const AT_ONCE: usize = 1000;
/// How long the server may take to read them all.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the accounts may do besides the standard rules: their own repository, so that a server can be seen to give something.
pub(super) const RULES: &str = "  - {match: {name: \"${account}/*\"}, actions: [pull, push]}\n";

/// Measures both, over so many repositories.
pub fn measure(run: &Run, program: &Program, setup: &Setup, repositories: usize, rate: f64) -> anyhow::Result<Outcome> {
    let file = run.bed.path("search.db");
    std::fs::remove_file(&file).ok();
    let file = file.display().to_string();
    let setup = &Setup { users: 2, ..setup.clone() };
    let rules = format!("{RULES}{}", directory());
    let config = run.bed.path("search.yml");
    std::fs::write(&config, run.text(setup, free_address()?, &rules, &file)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill(&config, repositories))?;
    let served = run.serve_with(program, setup, &rules, &file)?;
    let address = served.server.address;
    let mut outcome = Outcome::default();
    outcome.add("repositories", repositories as f64);
    let began = Instant::now();
    let rare = format!("/v1/search?q={}", rare(repositories));
    for (account, name) in [(0, "member"), (1, "few")] {
        for (target, what) in [
            ("/v1/search?q=app", "common"),
            (&*rare, "rare"),
            ("/v1/search?q=users/", "hidden"),
            ("/v1/search?q=no-such", "absent"),
            ("/v1/search?q=and", "described"),
            ("/v2/_catalog", "catalog"),
        ] {
            let request = request(target, &bed::account(account));
            while reply::ask(address, &bed::alone(&request))?.status == 503 {
                if began.elapsed() > PATIENCE {
                    bail!("the lists were not read within {} s: {}", PATIENCE.as_secs(), served.server.process.tail());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let found = names_in(&reply::ask(address, &bed::alone(&request))?.body);
            outcome.add(format!("{name}_{what}_found"), found as f64);
            let requests: Arc<[Vec<u8>]> = [request].into();
            let watched = Some(served.server.process.pid());
            let measured = load::run(Load { watched, ..Load::at_rate(address, requests, rate, run.lasts_each()) })?;
            outcome.add_latency(&format!("{name}_{what}"), &measured);
            let cpu = milliseconds(measured.used.cpu) / measured.answered.max(1) as f64;
            outcome.add(format!("{name}_{what}_cpu_ms"), cpu);
        }
    }
    outcome.add("mib", Usage::of(served.server.process.pid())?.resident as f64 / 1024.0);
    Ok(outcome)
}

/// A text in the name of one repository, of one of the member's groups.
fn rare(repositories: usize) -> String {
    format!("app-{}", repositories / 2 / (4 * OWNERS) * (4 * OWNERS))
}

/// Two who are in groups: one by which the standard rules allow much, one by which they allow nothing.
pub(super) fn directory() -> String {
    let list = |of: std::ops::Range<usize>, one: &dyn Fn(usize) -> String| of.map(one).collect::<Vec<_>>().join(", ");
    let name = |number: usize| format!("g{number}");
    format!(
        "standard_rules: opensvc\ndirectory:\n  groups: {{{}}}\n  users:\n    {}: {{id: 1, groups: [{}], privileges: [puller]}}\n    \
         {}: {{id: 2, groups: [{}], privileges: [puller]}}\n",
        list(0..2 * GROUPS, &|number| {
            let id = if number < GROUPS { number + 1 } else { number + 1 + OWNERS };
            format!("g{number}: {{id: {id}}}")
        }),
        bed::account(0),
        list(0..GROUPS, &name),
        bed::account(1),
        list(GROUPS..2 * GROUPS, &name),
    )
}

/// Has the records know the repositories: of groups, apps and users, and of nobody.
pub(super) async fn fill(config: &Path, repositories: usize) -> anyhow::Result<()> {
    let source = Source { file: config.to_owned(), variables: Vec::new() };
    let config = source.load(Secrets::Read)?;
    let app = App::open(source, config)?;
    app.prepare().await?;
    let snapshot = app.snapshot();
    let records = &snapshot.records.as_ref().context("there are no records in the configuration")?.records;
    let now = OffsetDateTime::now_utc();
    let named = |number: usize| match number % 4 {
        0 => format!("groups/{}/app-{number}", 1 + number % OWNERS),
        1 => format!("apps/{}/app-{number}", 1 + number % OWNERS),
        2 => format!("users/{number}/app"),
        _ => format!("team-{number}/app"),
    };
    let own = (0..2).map(|number| format!("{}/app", bed::account(number)));
    let names: Vec<String> = (0..repositories).map(named).chain(own).collect();
    for some in names.chunks(AT_ONCE) {
        records.found(bed::SERVICE, SweepNumber(1), some, now).await?;
        let listed = |name: &String| Listing { repository: name.clone(), tags: vec!["v1".to_owned()], asked: now };
        records.listed(bed::SERVICE, &some.iter().map(listed).collect::<Vec<_>>(), now).await?;
    }
    let description = Description { text: DESCRIPTION.to_owned(), ..Description::default() };
    for name in names.iter().step_by(DESCRIBED) {
        records.describe(bed::SERVICE, name, &description).await?;
    }
    Ok(())
}

fn request(target: &str, account: &str) -> Vec<u8> {
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{account}:{}", bed::PASSWORD));
    format!("GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {basic}\r\n\r\n", bed::SERVICE).into_bytes()
}

/// How many repositories a reply of either has.
fn names_in(body: &str) -> usize {
    let json: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
    ["results", "repositories"].iter().filter_map(|list| json.get(list)?.as_array()).map(Vec::len).sum()
}
