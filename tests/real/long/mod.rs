//! What takes parts that are too much to build for every run: `make long` has them built by `tests/support/install.sh long`, and
//! nothing else runs these tests.

mod accessible;
mod builders;
mod cluster;
mod collector;
mod debian;
mod dex;
mod events;
mod gitea;
mod kubelet;
mod page;
mod people;
mod replicas;
mod signature;
