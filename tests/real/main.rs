//! The product as a process, against real registries and real clients; `tests/support/install.sh` installs them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends where something is not as it should be"
)]

#[path = "../support/mod.rs"]
mod support;

mod attacks;
mod clients;
mod forward_auth;
mod front;
mod gateway;
mod guide;
mod lifecycle;
mod listeners;
mod mongo;
mod package;
mod pattern_oracle;
mod replay;
mod table;
mod token;
mod traps;
