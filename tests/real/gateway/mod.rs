//! The gateway before real registries with real clients, and before upstreams that fail in every way.

mod bounds;
mod clients;
mod confusion;
mod ecr;
mod faults;
mod kloudless;
mod leftovers;
mod plain;
mod size;
mod tls;
