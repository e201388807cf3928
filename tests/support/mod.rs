//! The real parts of the test bed: programs that are started on free ports, talked to, and never outlive the tests.

pub(crate) mod bed;
pub(crate) mod browser;
pub(crate) mod canary;
pub(crate) mod catalogue;
pub(crate) mod change_streams;
pub(crate) mod chaos;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod cluster;
pub(crate) mod dice;
pub(crate) mod directory;
pub(crate) mod dockwarden;
pub(crate) mod door;
pub(crate) mod engine;
pub(crate) mod front;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod http2;
pub(crate) mod http_api;
pub(crate) mod image;
pub(crate) mod impostor;
pub(crate) mod keys;
pub(crate) mod link;
pub(crate) mod machine;
pub(crate) mod mongo;
pub(crate) mod part;
pub(crate) mod pebble;
pub(crate) mod person;
pub(crate) mod persons;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod project;
pub(crate) mod recipe;
pub(crate) mod recorder;
pub(crate) mod records;
pub(crate) mod redis;
pub(crate) mod registry;
pub(crate) mod scratch;
pub(crate) mod script;
pub(crate) mod shipped;
pub(crate) mod slapd;
pub(crate) mod sql;
pub(crate) mod standin;
pub(crate) mod victim;
pub(crate) mod visit;

/// How much of something a test does: what this variable of the environment says, for a long run, or what is usual.
pub(crate) fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(name: &str, usual: T) -> T {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

/// How many cases of something are made up: so many, times `DOCKWARDEN_LENGTH`, for a long run.
pub(crate) fn at_length(usual: usize) -> usize {
    usual * number("DOCKWARDEN_LENGTH", 1)
}

/// Go's own pattern matching, as a program: what docker_auth would have matched.
pub(crate) fn oracle_binary() -> std::path::PathBuf {
    part::path("oracle")
}

/// The registry's view of a token, as a program that shares no code with the signer.
pub(crate) fn verify_binary() -> std::path::PathBuf {
    part::path("verify")
}
