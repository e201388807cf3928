//! Work in the background, which nobody waits for.

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Runs `work` on the runtime that this thread belongs to.
///
/// # Errors
/// The thread belongs to none.
pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    Ok(Handle::try_current().context("background work needs a running server")?.spawn(work))
}
