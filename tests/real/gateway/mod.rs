//! The gateway before real registries with real clients, and before upstreams that fail in every way.

mod clients;
mod confusion;
mod ecr;
mod faults;
mod size;
mod tls;
