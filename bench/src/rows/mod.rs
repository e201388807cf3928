//! How each kind of row is measured.

mod analysis;
mod bombs;
mod broken;
mod catalogue;
mod flood;
mod gateway;
mod greedy;
mod logins;
mod memory;
mod mongo;
mod pages;
mod policy;
mod promises;
mod reload;
mod rules;
mod search;
mod secrets;
mod slow;
mod start;
mod tokens;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::bed::{self, Bed, Marks};
use crate::figures::Outcome;
use crate::machine::Machine;
use crate::process::{Program, Server, free_address};
use crate::reply;
use crate::scenario::{How, Row, Scenarios, Setup};

/// What all rows of a run share.
pub struct Run {
    /// The rows and configurations.
    pub scenarios: Scenarios,
    /// Keys, and room for files.
    pub bed: Bed,
    /// The machine.
    pub machine: Machine,
    /// How long each load is measured.
    pub lasts: Duration,
    /// How long memory is watched under load.
    pub memory_lasts: Duration,
    /// A share of what is repeated or opened: 1 for all of it.
    pub share: f64,
    /// Where the repository is: the example configuration, and the program that speaks MongoDB.
    pub repository: PathBuf,
}

/// A server with the accounts and rules of a row.
pub struct Served {
    /// The server.
    pub server: Server,
    /// The file that it reads.
    pub config: PathBuf,
}

impl Run {
    /// Measures one row of one program.
    pub fn measure(&self, row: &Row, program: &Program) -> anyhow::Result<Outcome> {
        let setup = || row.setup.as_ref().with_context(|| format!("the row {} names no setup", row.name));
        match &row.how {
            How::Tokens { clients } => tokens::measure(self, program, setup()?, *clients),
            How::RulesTokens { few, clients } => tokens::compare_rules(self, program, setup()?, *few, *clients),
            How::StandardRules { groups, clients } => {
                tokens::compare_standard(self, program, setup()?, *groups, *clients)
            }
            How::Secrets { secrets, clients } => {
                secrets::measure(self, program, setup()?, self.some(*secrets), *clients)
            }
            How::Logins { clients, rate } => logins::measure(self, program, setup()?, *clients, *rate),
            How::Rules { few, many } => rules::measure(self, *few, *many),
            How::Labels { values } => rules::measure_labels(self, *values),
            How::Memory { connections, rate } => memory::measure(self, program, setup()?, *connections, *rate),
            How::Start { times } => start::measure(self, program, setup()?, self.some(*times)),
            How::Reload { times, rate } => reload::measure(self, program, setup()?, self.some(*times), *rate),
            How::Gateway { mebibytes, clients, rate } => {
                gateway::measure(self, program, setup()?, *mebibytes, *clients, *rate)
            }
            How::Mongo { rate } => mongo::measure(self, program, setup()?, *rate),
            How::Bombs { bombs } => bombs::measure(self, program, setup()?, bombs),
            How::Greedy { connections, rate } => greedy::measure(self, program, setup()?, *connections, *rate),
            How::Flood { guesses, networks } => flood::measure(self, program, setup()?, *guesses, *networks),
            How::Policy { times } => policy::measure(self, program, setup()?, self.some(*times)),
            How::Promises { tests, rules } => promises::measure(self, program, setup()?, (*tests, *rules)),
            How::Analysis { rules, mixed, accounts } => {
                let sizes = analysis::Sizes { rules: *rules, mixed: *mixed, accounts: *accounts };
                analysis::measure(self, program, setup()?, sizes)
            }
            How::Catalogue { repositories, tags, rate } => {
                catalogue::measure(self, program, setup()?, (*repositories, *tags), *rate)
            }
            How::Search { repositories, rate } => {
                search::measure(self, program, setup()?, self.some(*repositories), *rate)
            }
            How::Pages { repositories, times } => {
                pages::measure(self, program, setup()?, self.some(*repositories), self.some(*times))
            }
            How::Broken { rate } => broken::measure(self, program, setup()?, *rate),
            How::Slow { connections, rate } => slow::measure(self, program, setup()?, *connections, *rate),
        }
    }

    /// A program that `tests/support/install.sh` builds; nothing where it is not there.
    fn tool(&self, name: &str) -> Option<PathBuf> {
        let tools = std::env::var_os("DOCKWARDEN_TOOLS")
            .map_or_else(|| self.repository.join("target/tools/bin"), PathBuf::from);
        Some(tools.join(name)).filter(|file| bed::is_program(file))
    }

    /// As many of `whole` as this run does, and one at least.
    fn some(&self, whole: usize) -> usize {
        ((whole as f64 * self.share).round() as usize).max(1)
    }

    /// Whether figures are wanted, and not only to see that they can be had.
    fn is_whole(&self) -> bool {
        self.share >= 1.0
    }

    /// How long a row measures that has several loads in turn: half as long in a short run.
    fn lasts_each(&self) -> Duration {
        if self.is_whole() { self.lasts } else { self.lasts / 2 }
    }

    /// The configuration text of a setup that listens at `address`, with these rules.
    fn text(&self, setup: &Setup, address: SocketAddr, rules: &str, backend: &str) -> anyhow::Result<String> {
        let Some(template) = self.scenarios.configs.get(&setup.config) else {
            bail!("there is no configuration called {}", setup.config)
        };
        let users = bed::users(setup.users, &bed::hash(setup.cost)?);
        let marks = Marks { address, key: &setup.key, token: &setup.token, backend, users: &users, rules };
        Ok(self.bed.fill(template, &marks))
    }

    /// Starts a server that has a setup's accounts and rules.
    fn serve(&self, program: &Program, setup: &Setup) -> anyhow::Result<Served> {
        self.serve_with(program, setup, &bed::rules(setup.rules), "")
    }

    fn serve_with(&self, program: &Program, setup: &Setup, rules: &str, backend: &str) -> anyhow::Result<Served> {
        let address = free_address()?;
        let config = self.bed.path("config.yml");
        std::fs::write(&config, self.text(setup, address, rules, backend)?)?;
        let first = bed::account(0);
        let scope = format!("repository:{first}/app:pull,push");
        let request = bed::request(address, &first, std::slice::from_ref(&scope));
        let server = Server::start(program, &config, address, &request)?;
        // A server that gives away nothing would be quick as well.
        let granted = reply::granted(&reply::ask(address, &request)?.body)?;
        if granted != [scope.clone()] {
            bail!("{} granted {granted:?} for {scope}", program.name());
        }
        Ok(Served { server, config })
    }
}

/// The requests of the first `count` accounts, each for its own repository.
fn own_repositories(address: SocketAddr, count: usize) -> Arc<[Vec<u8>]> {
    let request = |number| {
        let account = bed::account(number);
        bed::request(address, &account, &[format!("repository:{account}/app:pull,push")])
    };
    (0..count).map(request).collect()
}
