//! Dockwarden, the authorization server for private Docker and OCI registries.
//!
//! The path of one token request, `GET /auth?service=registry&scope=repository:team/app:pull,push`:
//!
//! 1. [`server`] accepts the connection, [`http`] lists every URL.
//! 2. `http/token.rs` is the whole story: read, identify, decide, sign, reply. Each step takes the `Visit` of `http/visit.rs`.
//! 3. `http/credentials.rs` reads who is presented, [`client_address`] where from.
//! 4. [`policy::scope`] reads what is asked for.
//! 5. [`access::Access::identify`] asks the chain of [`authn`] backends who it is; [`authn::attempts`] whether they are asked
//!    at all, [`turns`] when a password is hashed.
//! 6. [`access::Access::decide`] asks the chain of [`authz`] sources what they may do; [`policy::acl`] holds the rules,
//!    [`policy::rule`] compares one, and [`authz::work`] bounds what all of it may cost.
//! 7. [`token`] makes the claims, [`keys`] signs them.
//! 8. `http/error.rs` says what clients are told when there is no token, [`decision_log`] what the log is told.
//!
//! Everything compiled from one configuration ([`config`]) is one [`app::Snapshot`], swapped as a whole when
//! [`watch`] sees a file change. [`backends`] is the table of backends, in the order in which they are
//! asked; [`backend`] says what each owes, and keeps connections over a swap.

pub mod access;
pub mod acme;
mod activity;
pub mod app;
pub mod authn;
pub mod authz;
pub mod backend;
pub mod backends;
mod background;
pub mod breaker;
pub mod catalogue;
pub mod cli;
pub mod client_address;
pub mod client_network;
pub mod clock;
pub mod config;
pub mod connections;
mod decision_id;
pub mod decision_log;
pub mod decisions;
mod descriptors;
mod dial;
mod digest;
pub mod directory;
pub mod gateway;
pub mod http;
pub mod http_api;
pub mod identity;
mod json;
pub mod keys;
mod last_said;
mod link;
mod lookups;
pub mod management;
pub mod metrics;
pub mod mint;
pub mod mongo;
mod owner;
mod passwords;
mod pem;
pub mod policy_tests;
pub mod program;
mod random;
pub mod reach;
pub mod records;
pub mod registries;
pub mod secret;
pub mod secrets;
pub mod server;
mod shelf;
mod shell;
mod shown;
pub mod sign_in;
pub mod sql;
pub mod telemetry;
pub mod token;
pub mod turns;
pub mod watch;
pub mod whole_policy;
pub mod workload;
