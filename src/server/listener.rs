//! The sockets that are listened on, and the files of those that have one.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tracing::{debug, info};

use super::refused::cannot_listen;
use crate::config::ListenAddress;

/// Connections that the system takes before we do, if it allows as many (`net.core.somaxconn`): clients that come all at
/// once, as after a restart, would otherwise wait seconds until theirs is tried again.
const BACKLOG: u32 = 4096;

/// A socket that is listened on.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a socket that this process made.
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    /// Removes the file, unless another one has taken its place: that belongs to somebody else.
    pub(super) async fn remove(self) {
        if self.identity.is_some()
            && identity(&self.path).await == self.identity
            && let Err(cause) = tokio::fs::remove_file(&self.path).await
        {
            debug!(cause = %cause, path = %self.path.display(), "the socket file was not removed");
        }
    }
}

async fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let seen = tokio::fs::symlink_metadata(path).await.ok()?;
    Some((seen.dev(), seen.ino()))
}

impl Listener {
    /// Says in the log where it listens.
    pub(super) fn announce(&self, message: &str, tls: bool) {
        let address = match self {
            Listener::Tcp(listener) => listener.local_addr().map(|address| address.to_string()).unwrap_or_default(),
            Listener::Unix(_, file) => format!("unix:{}", file.path.display()),
        };
        info!(address, tls, "{message}");
    }
}

/// Binds a socket.
///
/// # Errors
/// The address cannot be listened on.
pub(super) async fn listen(address: &ListenAddress) -> anyhow::Result<Listener> {
    let refused = |error| {
        let message = cannot_listen(address, &error);
        anyhow::Error::from(error).context(message)
    };
    match address {
        ListenAddress::Tcp { host, port } if host.is_empty() => {
            // Where the machine has no IPv6 at all, the IPv4 addresses are all of them.
            let listener = match bind("::", *port).await {
                Ok(listener) => Ok(listener),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(error),
                Err(_) => bind("0.0.0.0", *port).await,
            };
            Ok(Listener::Tcp(listener.map_err(refused)?))
        }
        ListenAddress::Tcp { host, port } => Ok(Listener::Tcp(bind(host, *port).await.map_err(refused)?)),
        ListenAddress::Unix(path) => {
            remove_stale_socket(path).await?;
            let listener = UnixListener::bind(path).map_err(refused)?;
            Ok(Listener::Unix(listener, SocketFile { path: path.to_owned(), identity: identity(path).await }))
        }
    }
}

/// Listens on the first address of the host that can be listened on.
async fn bind(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let mut failed = std::io::Error::new(std::io::ErrorKind::NotFound, "the host has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let listened = socket.and_then(|socket| {
            // A port whose last connections are not quite over can be listened on again.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        });
        match listened {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// A socket file that a process left behind is removed: nobody listens on it any more. Nothing else is ever.
async fn remove_stale_socket(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    let is_socket = tokio::fs::symlink_metadata(path).await.is_ok_and(|seen| seen.file_type().is_socket());
    let Err(refusal) = tokio::net::UnixStream::connect(path).await else { return Ok(()) };
    if is_socket && refusal.kind() == std::io::ErrorKind::ConnectionRefused {
        tokio::fs::remove_file(path)
            .await
            .with_context(|| format!("cannot remove the old socket {}", path.display()))?;
    }
    Ok(())
}
