//! Logins that a terminal began and a browser answers (RFC 8628), in the records: the terminal may ask one replica, and the browser
//! another.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::row::{milliseconds, moment};
use super::{Changed, Failure, Version};
use crate::digest::sha256;

/// What a login is found by: a digest of the device code, which the terminal alone has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceId(pub String);

impl DeviceId {
    /// The login of this device code.
    pub fn of(device_code: &str) -> DeviceId {
        DeviceId(digest(&["device code", device_code]))
    }
}

/// What a browser finds a login by: a digest of the code that somebody types.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserCodeId(pub String);

impl UserCodeId {
    /// The login of this user code, without what people write between its letters.
    pub fn of(user_code: &str) -> UserCodeId {
        UserCodeId(digest(&["user code", user_code]))
    }
}

fn digest(parts: &[&str]) -> String {
    super::hexadecimal(&sha256(parts))
}

/// A login that a terminal began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceLogin {
    /// What the terminal finds it by.
    pub id: DeviceId,
    /// What the browser finds it by; no other has it.
    pub code: UserCodeId,
    /// The network that it was begun from.
    pub network: String,
    /// When its codes end.
    pub ends: OffsetDateTime,
    /// The rest, as JSON.
    pub text: String,
    /// Of this record.
    pub version: Version,
}

/// How many logins there are, ended ones that are not forgotten yet among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCount {
    /// Those that this network began.
    pub of_network: u64,
    /// All of them.
    pub all: u64,
}

/// Logins that a terminal began.
#[async_trait]
pub trait DeviceLogins: Send + Sync {
    /// Keeps a login; [`Changed::Conflict`] where one has one of its codes already.
    ///
    /// # Errors
    /// [`Failure`], as for all that follow.
    async fn make_device(&self, login: &DeviceLogin) -> Result<Changed, Failure>;

    /// The login of a terminal.
    ///
    /// # Errors
    /// [`Failure`].
    async fn device(&self, id: &DeviceId) -> Result<Option<DeviceLogin>, Failure>;

    /// The login of a code that somebody typed.
    ///
    /// # Errors
    /// [`Failure`].
    async fn device_called(&self, code: &UserCodeId) -> Result<Option<DeviceLogin>, Failure>;

    /// Puts another text in place of a login's, if that still has version `seen`. Of two that do so at once, one is told that it did.
    ///
    /// # Errors
    /// [`Failure`].
    async fn replace_device(&self, id: &DeviceId, text: &str, seen: Version) -> Result<Changed, Failure>;

    /// How many there are.
    ///
    /// # Errors
    /// [`Failure`].
    async fn count_devices(&self, network: &str) -> Result<DeviceCount, Failure>;

    /// Forgets logins whose codes ended before this moment.
    ///
    /// # Errors
    /// [`Failure`].
    async fn forget_devices(&self, ended_before: OffsetDateTime) -> Result<(), Failure>;
}

/// What the stores keep of a moment.
pub(super) fn written(ends: OffsetDateTime) -> i64 {
    milliseconds(ends)
}

/// The same, read back.
pub(super) fn read(ends: i64) -> Result<OffsetDateTime, Failure> {
    moment(ends).ok_or_else(|| Failure::Unusable {
        cause: "the end of a terminal's login is not as this program writes it".to_owned(),
    })
}

/// A count of rows.
pub(super) fn counted(rows: i64) -> u64 {
    u64::try_from(rows).unwrap_or_default()
}
