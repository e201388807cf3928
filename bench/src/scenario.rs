//! The rows to measure, as `scenarios.toml` has them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenarios {
    /// Configurations by name, with marks for what is filled in.
    pub configs: BTreeMap<String, String>,
    /// What is measured, in this order.
    pub row: Vec<Row>,
}

/// One row of the table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its short name, for `--only`.
    pub name: String,
    /// What it measures, in a few words.
    pub what: String,
    /// How.
    pub how: How,
    /// The server that is asked, where one is.
    pub setup: Option<Setup>,
    /// What its figures have to reach.
    #[serde(default)]
    pub bar: Vec<Bar>,
    /// Whether the peer is measured too.
    #[serde(default)]
    pub peer: bool,
}

/// What a figure has to reach.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bar {
    /// The figure's name.
    pub figure: String,
    /// The least that is enough.
    pub at_least: Option<f64>,
    /// The most that is allowed.
    pub at_most: Option<f64>,
}

/// The server that a row asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The configuration's name.
    pub config: String,
    /// The pair that signs: `rsa2048` or `p256`.
    pub key: String,
    /// Accounts.
    #[serde(default = "one")]
    pub users: usize,
    /// The cost of their bcrypt hashes.
    #[serde(default = "usual_cost")]
    pub cost: u32,
    /// Rules.
    #[serde(default = "ten")]
    pub rules: usize,
    /// More keys of the token section, as `, name: value`.
    #[serde(default)]
    pub token: String,
}

fn one() -> usize {
    1
}

fn usual_cost() -> u32 {
    4
}

fn ten() -> usize {
    10
}

/// Something that no honest client sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bomb {
    /// Its name among the figures.
    pub name: String,
    /// What is too much.
    pub sends: Sends,
    /// How much: KiB, or how many.
    #[serde(default)]
    pub size: usize,
    /// The status that it is answered with; none where its connection has to be closed.
    pub status: Option<u16>,
}

/// What a bomb has too much of.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sends {
    /// KiB of header lines, of 1 KiB each.
    Header,
    /// KiB of address.
    Address,
    /// KiB of form.
    Body,
    /// Scopes.
    Scopes,
    /// `account=…`.
    Accounts,
    /// Requests over HTTP/2, each given up at once (CVE-2023-44487).
    RapidReset,
    /// A request's header over HTTP/2 that goes on and on (CVE-2024-27316).
    Continuation,
    /// Empty pieces of a body over HTTP/2.
    EmptyData,
}

/// How a row is measured.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum How {
    /// Verified accounts ask for the same tokens, as fast as they are answered.
    Tokens {
        /// Connections that ask.
        clients: usize,
    },
    /// Tokens by one of many secrets that last, against tokens by a password.
    Secrets {
        /// How many there are.
        secrets: usize,
        /// Connections that ask.
        clients: usize,
    },
    /// Accounts log in for the first time, more than can be hashed, while one that is verified asks at its own rate.
    Logins {
        /// Connections that log in.
        clients: usize,
        /// Requests of the verified account, a second.
        rate: f64,
    },
    /// The rules alone, in this process: a few, and many.
    Rules {
        /// How many are a few.
        few: usize,
        /// How many are many.
        many: usize,
    },
    /// One rule with three placeholders, and an account with many labels, in this process.
    Labels {
        /// Values of each label.
        values: usize,
    },
    /// Tokens by many rules against tokens by few.
    RulesTokens {
        /// How many are a few.
        few: usize,
        /// Connections that ask.
        clients: usize,
    },
    /// Tokens by the standard rules against tokens by a few rules of one's own.
    StandardRules {
        /// Groups that each account is in.
        groups: usize,
        /// Connections that ask.
        clients: usize,
    },
    /// Memory, at rest and with many connections.
    Memory {
        /// Connections that are nearly idle.
        connections: usize,
        /// Requests a second over all of them.
        rate: f64,
    },
    /// From the start of the process to its first token.
    Start {
        /// How often.
        times: usize,
    },
    /// A changed configuration is taken over while requests come in.
    Reload {
        /// How often.
        times: usize,
        /// Requests a second meanwhile.
        rate: f64,
    },
    /// The gateway before a registry, beside nginx's `proxy_pass` before the same one.
    Gateway {
        /// The size of the blob that is pulled.
        mebibytes: u64,
        /// How many pull it at once.
        clients: usize,
        /// Small requests a second.
        rate: f64,
    },
    /// Accounts in MongoDB.
    Mongo {
        /// Requests a second.
        rate: f64,
    },
    /// Requests that are too much of something, and floods of HTTP/2 frames.
    Bombs {
        /// Which.
        bombs: Vec<Bomb>,
    },
    /// Wrong passwords, more than can be hashed, and honest clients beside them.
    Flood {
        /// Wrong passwords a second.
        guesses: f64,
        /// How many networks they come from.
        networks: u32,
    },
    /// One address that asks for tokens without a pause, and a client of another one.
    Greedy {
        /// Connections of the first.
        connections: usize,
        /// Requests of the other, a second.
        rate: f64,
    },
    /// Files that are too much of something, and `check`, which reads them.
    Policy {
        /// How often each is read.
        times: usize,
    },
    /// Tests of the policy, and `test`, which runs them.
    Promises {
        /// How many tests.
        tests: usize,
        /// How many rules.
        rules: usize,
    },
    /// Whole policies, and `diff` and `who-can`, which ask about all questions at once.
    Analysis {
        /// Rules that are the same in both, or all but one.
        rules: usize,
        /// Rules that all are changed.
        mixed: usize,
        /// Accounts of which it is asked who can do something.
        accounts: usize,
    },
    /// A sweep of a large registry, and its events at a steady rate.
    Catalogue {
        /// Repositories of the registry.
        repositories: usize,
        /// Tags of each.
        tags: usize,
        /// Events a second.
        rate: f64,
    },
    /// Search and the catalog over many repositories.
    Search {
        /// How many there are.
        repositories: usize,
        /// Requests a second.
        rate: f64,
    },
    /// The pages of somebody who manages all: how soon each begins to come, and how large it is.
    Pages {
        /// Repositories that the records know.
        repositories: usize,
        /// How often each page is asked for.
        times: usize,
    },
    /// A backend that is not there, or that says nothing: what its own accounts notice, and those of the file.
    Broken {
        /// Requests a second, of each.
        rate: f64,
    },
    /// Connections that do as little as keeps them open, and an honest client beside them.
    Slow {
        /// How many of them.
        connections: usize,
        /// The honest client's requests, a second.
        rate: f64,
    },
}
