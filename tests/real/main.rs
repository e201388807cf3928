//! The product as a process, against real registries and real clients; `tests/support/install.sh` installs them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it should be"
)]
#![expect(clippy::disallowed_methods, reason = "a test has the moment that it runs at")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../integration/backends/owed.rs"]
#[expect(dead_code, reason = "names that differ by case alone are not one name in other backends")]
mod owed;

mod acme;
mod admin;
mod api;
mod attacks;
mod canary;
mod casbin_oracle;
mod catalogue;
mod chaos;
mod chart;
mod clients;
mod clocks;
mod compose;
mod connect;
mod crash;
mod crowd;
mod denials;
mod distant;
mod forward_auth;
mod front;
mod gateway;
mod go_plugin;
mod grade;
mod guide;
mod http_api;
mod lasting;
mod ldap;
mod leaves;
mod lifecycle;
mod link;
mod listeners;
mod long;
mod mongo;
mod mongo_rules;
mod monitoring;
mod old_passwords;
mod opensvc;
mod package;
mod pattern_oracle;
mod records;
mod refusals;
mod release;
mod renewal;
mod replay;
mod revocation;
mod rule_oracle;
mod sessions;
mod sql;
mod table;
mod terminal;
mod timing;
mod token;
mod traps;
mod unit;
