//! The gateway before real registries with real clients, and before upstreams that fail in every way.

mod bounds;
mod catalog;
mod circle;
mod clients;
mod confusion;
mod ecr;
mod ends;
mod faults;
mod kloudless;
mod leftovers;
mod plain;
mod size;
mod tls;
