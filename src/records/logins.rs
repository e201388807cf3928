//! When the users of the directory last logged in, as far as it was written down: to some minutes.

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::Failure;
use crate::identity::Account;

/// When accounts logged in last.
pub type Logins = BTreeMap<Account, OffsetDateTime>;

/// When users last logged in, over all replicas.
#[async_trait]
pub trait LastLogins: Send + Sync {
    /// Notes logins, all at once. Of two moments the later one stays.
    ///
    /// # Errors
    /// [`Failure`], as for all that follow; then some of them may be noted.
    async fn note_logins(&self, logins: &Logins) -> Result<(), Failure>;

    /// When these accounts last logged in; those that never did are left out.
    ///
    /// # Errors
    /// [`Failure`].
    async fn last_logins(&self, accounts: &[&str]) -> Result<Logins, Failure>;

    /// Forgets an account that is a user no more.
    ///
    /// # Errors
    /// [`Failure`].
    async fn forget_login(&self, account: &str) -> Result<(), Failure>;
}

/// A login as it is kept, in milliseconds since 1970.
pub(super) fn kept(account: &str, at: i64) -> Result<(Account, OffsetDateTime), Failure> {
    let odd = || Failure::Unusable { cause: "a login is not as this program writes it".to_owned() };
    let account = Account::parse(account).map_err(|_| odd())?;
    Ok((account, super::row::moment(at).ok_or_else(odd)?))
}
