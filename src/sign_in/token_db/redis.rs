//! Redis, where replicas of docker_auth shared their passwords: asked about whom nobody else knows, and never written to.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, RedisConnectionInfo, RedisError, ServerErrorKind, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::{info, warn};

use super::record::key_of;
use crate::breaker::{Breaker, Passage, Trial, trials_of};
use crate::pem::tls::{Authorities, client_config, config_of_anybody};
use crate::secret::Secret;

/// How many nodes' connections are kept. A cluster has fewer, or they are made anew.
const MOST_NODES: usize = 64;
/// A key of docker_auth's that nobody has: no account's name has a control character.
const NOBODYS: &str = "t:\u{1}";

/// The `redis_token_db:` section of a provider.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sign_in) struct RedisSettings {
    pub(in crate::sign_in) servers: Servers,
    pub(in crate::sign_in) username: Option<String>,
    pub(in crate::sign_in) password: Option<Secret>,
    pub(in crate::sign_in) tls: Tls,
    /// How long connecting may take.
    pub(in crate::sign_in) dial_within: Duration,
    /// How long an answer may take.
    pub(in crate::sign_in) answer_within: Duration,
}

/// Which servers there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sign_in) enum Servers {
    /// One, and the number of the database there.
    One(Place, i64),
    /// Some nodes of a cluster, and how often a question may be sent on to another.
    Cluster(Vec<Place>, usize),
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::sign_in) enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// How much TLS.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::sign_in) enum Tls {
    Off,
    /// Any certificate will do.
    Unchecked,
    /// For this name, or else that of the server's address; from these authorities, or else public ones.
    Checked(Option<String>, Option<Authorities>),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(host, port) if host.contains(':') => write!(out, "[{host}]:{port}"),
            Place::Tcp(host, port) => write!(out, "{host}:{port}"),
            Place::Unix(path) => write!(out, "{}", path.display()),
        }
    }
}

impl Place {
    /// Reads `host:port`, as Redis and Go write it.
    pub(in crate::sign_in) fn parse(text: &str) -> Option<Place> {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_one = |letter: char| letter.is_ascii_alphanumeric() || ".-_:".contains(letter);
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = if host.is_empty() { "localhost" } else { host };
        host.chars().all(is_one).then(|| Place::Tcp(host.to_owned(), port))
    }
}

impl Servers {
    /// Where they are, for messages.
    pub(in crate::sign_in) fn shown(&self) -> String {
        match self {
            Servers::One(place, 0) => place.to_string(),
            Servers::One(place, database) => format!("{place}, database {database}"),
            Servers::Cluster(places, _) => places.iter().map(Place::to_string).collect::<Vec<_>>().join(", "),
        }
    }
}

/// What connections are made of.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// docker_auth's Redis.
pub(in crate::sign_in) struct Redis(Arc<Inner>);

struct Inner {
    section: &'static str,
    settings: RedisSettings,
    tls: Option<TlsConnector>,
    connections: Mutex<HashMap<Place, MultiplexedConnection>>,
    breaker: Breaker,
}

/// Why there is no answer. Never with what is stored there.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{place}: no connection: {cause}")]
    Connect { place: String, cause: String },
    #[error("{place}: {cause}")]
    Answer { place: String, cause: String },
    #[error("{0}: no answer in time")]
    Silent(String),
    #[error("it is sent on from node to node, without an answer")]
    Redirected,
}

impl Redis {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// The TLS library does not take the authorities.
    pub(in crate::sign_in) fn open(settings: &RedisSettings, section: &'static str) -> anyhow::Result<Redis> {
        let tls = match &settings.tls {
            Tls::Off => None,
            Tls::Unchecked => Some(config_of_anybody()?),
            Tls::Checked(_, authorities) => Some(client_config(authorities.as_ref(), None)?),
        };
        Ok(Redis(Arc::new(Inner {
            section,
            settings: settings.clone(),
            tls: tls.map(|config| TlsConnector::from(Arc::new(config))),
            connections: Mutex::default(),
            breaker: Breaker::default(),
        })))
    }

    pub(in crate::sign_in) fn passage(&self) -> Passage {
        self.0.breaker.passage()
    }

    /// The record of somebody by the key that docker_auth gives it, and that key.
    ///
    /// # Errors
    /// There is no answer.
    pub(in crate::sign_in) async fn get(&self, name: &str) -> anyhow::Result<Option<(String, Vec<u8>)>> {
        let inner = &self.0;
        let shown = inner.settings.servers.shown();
        let pass = inner.breaker.admit().map_err(|open| anyhow::anyhow!("Redis at {shown}: {open}"))?;
        let key = key_of(name);
        match inner.ask(&get_command(&key)).await {
            Ok(Value::BulkString(text)) => Ok(Some((key, text))),
            Ok(Value::Nil) => Ok(None),
            // No record of docker_auth's.
            Ok(_) => anyhow::bail!("Redis at {shown} has something else than a text there"),
            Err(failure) => {
                let trial = trials_of(inner, |inner| async move {
                    // Whoever may read and no more may not even ask for a PING.
                    match inner.ask(&get_command(NOBODYS)).await {
                        Ok(_) => Trial::Answered,
                        Err(_) => Trial::Failed,
                    }
                });
                let backend = inner.section;
                let back = move || info!(reason = "backend_back", backend, "the Redis of docker_auth is asked again");
                if inner.breaker.fail(pass, trial, back) {
                    warn!(
                        reason = "backend_down",
                        backend,
                        cause = %failure,
                        "the Redis of docker_auth cannot be asked; whoever may have a password in it is answered with 503 until it can"
                    );
                }
                Err(failure).with_context(|| format!("Redis at {shown}"))
            }
        }
    }

    /// In a few words, whether it is there.
    ///
    /// # Errors
    /// It is not.
    pub(in crate::sign_in) async fn reach(&self) -> anyhow::Result<String> {
        let shown = self.0.settings.servers.shown();
        let asked = self.0.ask(&get_command(NOBODYS)).await;
        asked.with_context(|| format!("the Redis of redis_token_db ({shown}) cannot be asked"))?;
        Ok(format!("the Redis of redis_token_db ({shown}) answers"))
    }
}

fn get_command(key: &str) -> Cmd {
    let mut command = redis::cmd("GET");
    command.arg(key);
    command
}

impl Inner {
    /// The answer to a question, of whichever node has it.
    async fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        let (places, redirects) = match &self.settings.servers {
            Servers::One(place, _) => (std::slice::from_ref(place), 0),
            Servers::Cluster(places, redirects) => (places.as_slice(), *redirects),
        };
        let mut failed = Failure::Redirected;
        for place in places {
            match self.ask_from(place, command, redirects).await {
                Ok(answer) => return Ok(answer),
                // Another node may know.
                Err(failure) => failed = failure,
            }
        }
        Err(failed)
    }

    /// The answer, beginning at a node, which may send the question on.
    async fn ask_from(&self, first: &Place, command: &Cmd, redirects: usize) -> Result<Value, Failure> {
        let (mut place, mut is_moving) = (first.clone(), false);
        for _ in 0..=redirects {
            let error = match self.ask_one(&place, command, is_moving).await? {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(next) = error.redirect_node().and_then(|(next, _)| next_place(next, &place)) else {
                return Err(Failure::Answer { place: place.to_string(), cause: told(&error) });
            };
            is_moving = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
            place = next;
        }
        Err(Failure::Redirected)
    }

    /// What one node answers. A connection that it has closed meanwhile is made anew, once.
    async fn ask_one(
        &self,
        place: &Place,
        command: &Cmd,
        is_moving: bool,
    ) -> Result<Result<Value, RedisError>, Failure> {
        let kept = self.connections.lock().await.get(place).cloned();
        if let Some(connection) = kept {
            match self.answer(place, connection, command, is_moving).await {
                Ok(Err(error)) if error.is_io_error() || error.is_unrecoverable_error() => self.forget(place).await,
                Err(silent) => {
                    self.forget(place).await;
                    return Err(silent);
                }
                answered => return answered,
            }
        }
        let dialled = timeout(self.settings.dial_within, self.connect(place)).await;
        let connection = match dialled {
            Ok(Ok(connection)) => connection,
            Ok(Err(cause)) => return Err(Failure::Connect { place: place.to_string(), cause: format!("{cause:#}") }),
            Err(_) => return Err(Failure::Connect { place: place.to_string(), cause: "it takes too long".to_owned() }),
        };
        let answered = self.answer(place, connection.clone(), command, is_moving).await;
        if let Ok(Ok(_)) = &answered {
            let mut connections = self.connections.lock().await;
            if connections.len() >= MOST_NODES {
                connections.clear();
            }
            connections.insert(place.clone(), connection);
        }
        answered
    }

    async fn answer(
        &self,
        place: &Place,
        mut connection: MultiplexedConnection,
        command: &Cmd,
        is_moving: bool,
    ) -> Result<Result<Value, RedisError>, Failure> {
        let asking = async {
            if !is_moving {
                return connection.send_packed_command(command).await?.extract_error();
            }
            // The slot is on its way there: only who says so is answered (with the next command of this connection).
            let mut both = redis::pipe();
            both.cmd("ASKING").add_command(command.clone());
            let answers = connection.send_packed_commands(&both, 1, 1).await?;
            answers.into_iter().next().unwrap_or(Value::Nil).extract_error()
        };
        let asked = timeout(self.settings.answer_within, asking).await;
        asked.map_err(|_| Failure::Silent(place.to_string()))
    }

    async fn forget(&self, place: &Place) {
        self.connections.lock().await.remove(place);
    }

    async fn connect(&self, place: &Place) -> anyhow::Result<MultiplexedConnection> {
        let stream: Box<dyn Stream> = match place {
            Place::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Place::Tcp(host, port) => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                match &self.tls {
                    None => Box::new(stream),
                    Some(tls) => {
                        let name = match &self.settings.tls {
                            Tls::Checked(Some(name), _) => name.clone(),
                            Tls::Off | Tls::Unchecked | Tls::Checked(None, _) => host.clone(),
                        };
                        let name = ServerName::try_from(name).context("no certificate has this name")?;
                        Box::new(tls.connect(name, stream).await?)
                    }
                }
            }
        };
        let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Servers::One(_, database) = &self.settings.servers {
            info = info.set_db(*database);
        }
        if let Some(username) = &self.settings.username {
            info = info.set_username(username);
        }
        if let Some(password) = &self.settings.password {
            info = info.set_password(password.reveal());
        }
        // Each question has its own time.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driving) = made.map_err(|error| anyhow::anyhow!("{}", told(&error)))?;
        // It ends with the last of those who use the connection.
        tokio::spawn(driving);
        Ok(connection)
    }
}

/// The node that a question is sent on to; without a host, the one of before (Redis 7).
fn next_place(text: &str, before: &Place) -> Option<Place> {
    match (text.strip_prefix(':').or_else(|| text.strip_prefix("?:")), before) {
        (Some(port), Place::Tcp(host, _)) => Some(Place::Tcp(host.clone(), port.parse().ok()?)),
        (Some(_), Place::Unix(_)) => None,
        (None, _) => Place::parse(text),
    }
}

/// What the server says in a word, or the system: never with what was stored or asked.
fn told(error: &RedisError) -> String {
    match error.code() {
        Some(code) if code.bytes().all(|letter| letter.is_ascii_uppercase()) => match code {
            "NOAUTH" => "it wants a password (NOAUTH)".to_owned(),
            "WRONGPASS" => "it does not take this user and password (WRONGPASS)".to_owned(),
            "NOPERM" => "this user may not read the keys that begin with t: (NOPERM)".to_owned(),
            code => format!("it answers {code}"),
        },
        Some(_) | None if error.is_io_error() => error.to_string(),
        Some(_) | None => error.category().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_go_and_redis_write_them() {
        for (text, expected) in [
            ("localhost:6379", Some("localhost:6379")),
            (":6379", Some("localhost:6379")),
            ("[::1]:7000", Some("[::1]:7000")),
            ("::1:7000", Some("[::1]:7000")),
            ("redis", None),
            ("redis:", None),
            ("redis:0", None),
            ("redis:66000", None),
            ("user:secret@redis:6379", None),
        ] {
            assert_eq!(Place::parse(text).map(|place| place.to_string()).as_deref(), expected, "{text}");
        }
        let before = Place::Tcp("node".to_owned(), 1);
        for (text, expected) in [("10.0.0.2:7001", "10.0.0.2:7001"), (":7001", "node:7001"), ("?:7001", "node:7001")] {
            assert_eq!(next_place(text, &before).map(|place| place.to_string()).as_deref(), Some(expected), "{text}");
        }
    }
}
