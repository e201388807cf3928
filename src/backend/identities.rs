//! What every identity backend owes.

use async_trait::async_trait;

use crate::client_network::ClientNetwork;
use crate::identity::{Account, Alike, Credentials, LookUp, Outcome, Time};
use crate::passwords::attempts::Spelled;
use crate::reach::Reachable;
use crate::secret::Secret;

/// An identity backend. Nothing here has a default, so that no backend can forget it.
#[async_trait]
pub trait Authenticator: Reachable {
    /// Finds out who presented these credentials. `from` is where the client is: backends that do costly work share it
    /// out by that.
    ///
    /// # Errors
    /// "Could not find out". The caller ends the chain and answers 503: going on would let a stale account of another
    /// backend answer for this one, and a 401 would make clients throw a good password away.
    async fn authenticate(&self, who: &Credentials, from: ClientNetwork) -> anyhow::Result<Outcome>;

    /// Who an account is now, without its password: its labels and standing are read anew. `from` is whose turn it takes
    /// where turns are taken.
    ///
    /// # Errors
    /// "Could not find out", as in [`authenticate`](Authenticator::authenticate).
    async fn look_up(&self, account: &Account, from: ClientNetwork) -> anyhow::Result<LookUp>;

    /// Whether an account here has this name in some spelling, as far as that is known at once.
    fn alike(&self, name: &Spelled) -> Alike;

    /// Takes as long as a wrong password does here. Asked once a login, of the last backend that hashes, for an account
    /// that none knows: otherwise the time of the refusal would tell which accounts exist; and if each backend took its
    /// time, it would tell too.
    ///
    /// # Errors
    /// As for a wrong password.
    async fn take_time(&self, account: &Account, password: &Secret, from: ClientNetwork) -> anyhow::Result<Time>;
}
