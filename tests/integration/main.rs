//! In-process tests: the real router, the real configuration reader and the real rules, without any other program.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it should be"
)]
#![expect(clippy::disallowed_methods, reason = "a test has the moment that it runs at")]

mod acl;
mod api;
mod backends;
mod bed;
mod catalogue;
mod cli;
mod clients;
mod config;
mod contents;
mod credentials;
mod declared;
mod deleting;
mod directory;
mod docs;
mod endpoint;
mod forward_auth;
mod gateway;
mod guessing;
mod lasting;
mod layers;
mod leaves;
mod limits;
mod lists;
mod logs;
mod lying_registries;
mod management;
mod managing_registries;
mod monitoring;
#[path = "../support/oidc.rs"]
mod oidc;
mod outcomes;
mod overview_by_api;
mod pages;
mod pages_managing;
mod pages_of_services;
mod pages_rights;
mod pages_running;
mod pem;
mod pictures;
mod policy_questions;
mod policy_tests;
#[path = "../support/port.rs"]
mod port;
mod properties;
mod pure;
mod records;
mod reload;
mod reuse;
mod routes;
mod search;
mod sign_in;
#[path = "../support/records.rs"]
mod stores;
#[path = "../support/catalogue.rs"]
mod stores_of_catalogue;
#[path = "../support/directory.rs"]
mod stores_of_directory;
#[path = "../support/persons.rs"]
mod stores_of_persons;
mod tables;
mod telemetry;
mod texts;
mod tokens;
mod uses;
mod workload;
