//! Where an SQL database is, and who we are to it. The `Debug` forms hold no secret.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::pem::tls::{Authorities, TlsIdentity};
use crate::secret::Secret;

/// How long a question may take, where the file does not say: with what else a request takes, clients are to know of an
/// outage within a second and a half.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_millis(1300);
/// How long it may take at least where an administrator waits: for that long, a lock on a file of SQLite is waited for, too.
const COMMANDS_WAIT: Duration = Duration::from_secs(5);

/// Everything that is needed to ask a database.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where it is.
    pub server: Server,
    /// How long one question may take, connecting included.
    pub answer_within: Duration,
}

/// What SQL a database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
}

/// Where a database is.
#[derive(Clone, Debug, PartialEq)]
pub enum Server {
    /// SQLite, in a file.
    Sqlite(File),
    /// PostgreSQL.
    Postgres(Remote),
    /// MySQL or MariaDB.
    MySql(Remote),
}

/// A file of SQLite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
}

/// What is done with a file of SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is somebody else's, and only read.
    ReadOnly,
    /// It is somebody else's, and administrators' commands change it; it has to be there.
    Change,
    /// As [`Access::Change`], but made where it is missing, for our eyes only.
    Prepare,
    /// It is ours: made where it is missing, for our eyes only, with a write-ahead log, and what is written is on the disk.
    Own,
}

/// A database that others serve, and who we are to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    pub(crate) address: Address,
    pub(crate) database: String,
    pub(crate) username: String,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: Tls,
    /// Who we are to a server that asks for a certificate.
    pub(crate) client: Option<Arc<TlsIdentity>>,
    /// The schemas in which PostgreSQL looks for tables; the user's own, where it is not said.
    pub(crate) search_path: Option<String>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A host, by its name or address, and a port.
    Tcp { host: String, port: u16 },
    /// A socket of this machine. PostgreSQL's is named by its folder and port.
    Socket { path: PathBuf, port: u16 },
}

/// How a connection is kept from others.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tls {
    /// It is not.
    Off,
    /// By TLS where the server has it, with whoever answers.
    Preferred,
    /// By TLS, with whoever answers.
    Unchecked,
    /// By TLS, with the server of this name and no other.
    Checked(Trust),
}

/// The authorities that a server's certificate may be from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trust {
    /// The public ones, and the system's.
    Known,
    /// The public ones, and these.
    File(Authorities),
}

impl Settings {
    /// The same database for a command: its disk may be busy, and whoever runs a command can wait longer than who logs in.
    pub(crate) fn patient(&self) -> Settings {
        Settings { answer_within: self.answer_within.max(COMMANDS_WAIT), ..self.clone() }
    }

    /// The same database for commands that change what is in it.
    pub(crate) fn to_change(&self) -> Settings {
        self.for_commands(Access::Change)
    }

    /// The same database for the command that makes what is missing in it.
    pub(crate) fn to_prepare(&self) -> Settings {
        self.for_commands(Access::Prepare)
    }

    fn for_commands(&self, access: Access) -> Settings {
        let server = match &self.server {
            Server::Sqlite(file) => Server::Sqlite(File { path: file.path.clone(), access }),
            Server::Postgres(_) | Server::MySql(_) => self.server.clone(),
        };
        Settings { server, ..self.patient() }
    }

    /// What SQL the database speaks.
    pub fn dialect(&self) -> Dialect {
        match &self.server {
            Server::Sqlite(_) => Dialect::Sqlite,
            Server::Postgres(_) => Dialect::Postgres,
            Server::MySql(_) => Dialect::MySql,
        }
    }

    /// The database, for messages.
    pub fn place(&self) -> String {
        match &self.server {
            Server::Sqlite(file) => format!("the SQLite database {}", file.path.display()),
            Server::Postgres(remote) => format!("the PostgreSQL database {}", remote.place()),
            Server::MySql(remote) => format!("the MySQL database {}", remote.place()),
        }
    }

    /// What there is to say of a file of our own that is not there yet. It is made when it is needed: who only looks must not
    /// make it, since it would be readable by that user alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn unmade(&self) -> anyhow::Result<Option<String>> {
        let file = match &self.server {
            Server::Sqlite(file @ File { access: Access::Own, .. }) => file,
            Server::Sqlite(File { access: Access::ReadOnly | Access::Change | Access::Prepare, .. })
            | Server::Postgres(_)
            | Server::MySql(_) => return Ok(None),
        };
        let folder = file.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let may = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
        match (may, file.path.try_exists()) {
            (_, Ok(true)) => Ok(None),
            (Ok(()), Ok(false)) => {
                Ok(Some(format!("{} is not there yet; it is made when the server starts", self.place())))
            }
            (Err(errno), _) => anyhow::bail!(
                "{} is not there yet, and cannot be made in the folder {}: {errno}; make that folder, where the user who runs \
                 this may write",
                self.place(),
                folder.display()
            ),
            (Ok(()), Err(error)) => anyhow::bail!("{} cannot be looked at: {error}", self.place()),
        }
    }
}

impl File {
    /// A file of our own: made where it is missing, for our eyes only.
    pub(crate) fn own(path: PathBuf) -> File {
        File { path, access: Access::Own }
    }

    /// A file that is only read.
    pub(crate) fn read_only(path: PathBuf) -> File {
        File { path, access: Access::ReadOnly }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Remote {
    fn place(&self) -> String {
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => format!("{} at [{host}]:{port}", self.database),
            Address::Tcp { host, port } => format!("{} at {host}:{port}", self.database),
            Address::Socket { path, .. } => format!("{} at {}", self.database, path.display()),
        }
    }
}
