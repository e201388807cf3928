//! The databases in which docker_auth kept its docker passwords, which work on until their people sign in here.

mod level;
mod record;
mod redis;
mod whole;

use std::path::PathBuf;

pub(super) use level::{CURRENT, Entry, read as read_level};
pub(super) use record::{OldRecord, key_of};
pub(super) use redis::{Place, Redis, RedisSettings, Servers, Tls};

/// Where docker_auth kept the passwords of a provider's people.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenDb {
    /// A folder of LevelDB, which is imported once.
    Level(PathBuf),
    /// Redis, which is asked about whom nobody else knows.
    Redis(Box<RedisSettings>),
}
