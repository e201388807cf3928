//! The `records:` section: which store keeps them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use settings::number::waiting_time;
use settings::refused::holds_key;
use settings::{At, Noted, Refusal, Section};
use url::{Host, Url};

use super::mongo::SECRETS;
use crate::mongo::settings::{CollectionSettings, read_database};
use crate::pem::named::{read_authorities, read_pair, read_pair_in_one};
use crate::pem::tls::{TlsIdentity, TlsProblem};
use crate::secret::Secret;
use crate::sql::settings::{ANSWER_WITHIN, Address, File, Remote, Tls, Trust};
use crate::sql::{self, Server};

/// The file of SQLite, where the file does not say.
const USUAL_FILE: &str = "dockwarden.db";
/// PostgreSQL's port, where the file does not say.
const USUAL_PORT: u16 = 5432;
/// The longest time that `deadline` may say.
const LONGEST_ANSWER: Duration = Duration::from_secs(30);
/// How the forms of the section are written.
const FORMS: &str = "write {sqlite: dockwarden.db}, {postgres: {…}} or {mongo: {dial_info: {…}}}";

/// Which store keeps the records.
#[derive(Clone, Debug, PartialEq)]
pub enum Settings {
    /// SQLite or PostgreSQL.
    Sql(sql::Settings),
    /// MongoDB.
    Mongo(CollectionSettings),
}

impl Settings {
    /// A file of SQLite.
    pub fn sqlite(file: PathBuf) -> Settings {
        Settings::Sql(of_sqlite(File::own(file)))
    }

    /// The same for a command, which waits longer for them.
    pub(crate) fn patient(&self) -> Settings {
        match self {
            Settings::Sql(settings) => Settings::Sql(settings.patient()),
            Settings::Mongo(settings) => Settings::Mongo(settings.clone()),
        }
    }

    /// Where they are, for messages.
    pub fn place(&self) -> String {
        match self {
            Settings::Sql(settings) => settings.place(),
            Settings::Mongo(settings) => {
                let name = settings.namespace();
                let database = name.strip_suffix(&format!(".{SECRETS}")).unwrap_or(&name);
                format!("the MongoDB database {database}")
            }
        }
    }

    /// What there is to say where they are a file that is not there yet, which who only looks must not make.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn unmade(&self) -> anyhow::Result<Option<String>> {
        match self {
            Settings::Sql(settings) => settings.unmade(),
            Settings::Mongo(_) => Ok(None),
        }
    }

    /// Whether there are none yet: whoever only looks finds nothing in them, and makes none.
    pub(crate) fn is_unmade(&self) -> bool {
        matches!(self.unmade(), Ok(Some(_)))
    }

    /// Where the records are if the file does not say: beside the key that signs tokens.
    pub fn usual(key: &Path) -> Settings {
        Settings::sqlite(key.with_file_name(USUAL_FILE))
    }
}

/// A file of SQLite, asked as usual.
pub(super) fn of_sqlite(file: File) -> sql::Settings {
    sql::Settings { server: Server::Sqlite(file), answer_within: ANSWER_WITHIN }
}

/// Reads the section; `key` is the file of the key that signs tokens, where that is known.
pub fn read(mut section: Section<'_>, key: Option<&Path>) -> Option<Settings> {
    let sqlite = section.path("sqlite").map(|at| Settings::sqlite(at.value));
    let stores = ["sqlite", "postgres", "mongo"].into_iter().filter(|key| section.has(key)).collect::<Vec<_>>();
    let is_one = stores.len() < 2;
    if let (false, Some(last)) = (is_one, stores.last()) {
        section.missing(last, format!("records are in one place; {FORMS}"));
    }
    let postgres = section.field("postgres").map(|field| field.section().and_then(read_postgres));
    let mongo = section.field("mongo").map(|field| {
        let mut section = field.section()?;
        let read = read_database(&mut section, SECRETS.to_owned());
        section.finish();
        read
    });
    let is_empty = section.keys().next().is_none();
    section.finish();
    match (sqlite, postgres, mongo) {
        _ if !is_one => None,
        (Some(settings), ..) => Some(settings),
        (None, Some(postgres), _) => postgres.map(Settings::Sql),
        (None, None, Some(mongo)) => mongo.map(Settings::Mongo),
        (None, None, None) if is_empty => key.map(Settings::usual),
        (None, None, None) => None,
    }
}

/// What a URL says; each part may be missing.
#[derive(Default)]
struct Said {
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    username: Option<String>,
    password: Option<String>,
    tls: Option<Mode>,
}

/// How much TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Off,
    Unchecked,
    Checked,
}

fn mode(text: &str) -> Result<Mode, Refusal> {
    match text {
        "verify-full" => Ok(Mode::Checked),
        "require" => Ok(Mode::Unchecked),
        "off" | "disable" => Ok(Mode::Off),
        _ => Err(Refusal::is("neither verify-full, require nor off")),
    }
}

fn read_postgres(mut section: Section<'_>) -> Option<sql::Settings> {
    let answer_within = section.word("deadline", |text| waiting_time(text, LONGEST_ANSWER, "1300ms"));
    let url = section.parsed("url", read_url);
    let own = [section.has("host"), section.has("port"), section.has("database"), section.has("username")];
    if let Some(At { place, .. }) = &url
        && own.contains(&true)
    {
        section.problem(place, "url", "give url, or host, port, database and username, not both");
    }
    let has_url = section.has("url");
    let host = section.parsed("host", |text| match is_host(text) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::is("not a host; write a name, an address, or the folder of a socket (/run/postgresql)")),
    });
    let port = section.word("port", |text| match text.parse::<u16>() {
        Ok(1..) => text.parse::<u16>().map_err(|_| Refusal::is("not a port")),
        Ok(0) | Err(_) => Err(Refusal::is("not a port; PostgreSQL's is 5432")),
    });
    let database = section.parsed("database", name);
    let username = section.parsed("username", name);
    let password = section.secret("password", "password_file");
    let tls = section.word("tls", mode);
    let trust = section.path("ca_certificate").map(|file| read_authorities(&section, &file, "ca_certificate"));
    let client = read_client(&mut section);
    let said = match url {
        Some(At { place, value }) => {
            for (key, part) in [("host", value.host.is_some()), ("database", value.database.is_some())] {
                if !part {
                    section.problem(
                        &place,
                        "url",
                        format!("the {key} is missing in it; write postgres://user@host:5432/database"),
                    );
                }
            }
            value
        }
        None => Said {
            host: host.map(|at| at.value),
            port: port.map(|at| at.value),
            database: database.map(|at| at.value),
            username: username.map(|at| at.value),
            ..Said::default()
        },
    };
    if !has_url {
        for (key, part, example) in [
            ("host", &said.host, "localhost"),
            ("database", &said.database, "dockwarden"),
            ("username", &said.username, "dockwarden"),
        ] {
            if part.is_none() && !section.has(key) {
                section.missing(
                    key,
                    format!("this is missing; write {key}: {example}, or all of it as url: \"postgres://…\""),
                );
            }
        }
    }
    let password = match (password, said.password) {
        (Ok(Some(at)), Some(_)) => {
            section.problem(&at.place, "password", "there is a password in url already; keep one of them");
            return None;
        }
        (Ok(Some(At { value, .. })), None) | (Ok(None), Some(value)) => Some(Secret::new(value)),
        (Ok(None), None) => None,
        (Err(Noted), _) => return None,
    };
    let is_socket = said.host.as_deref().is_some_and(|host| host.starts_with('/'));
    let mode = match (tls.as_ref().map(|at| at.value).or(said.tls), is_socket) {
        (Some(mode), _) => mode,
        (None, true) => Mode::Off,
        (None, false) => Mode::Checked,
    };
    let is_near =
        is_socket || said.host.as_deref().is_some_and(|host| ["localhost", "127.0.0.1", "::1"].contains(&host));
    match (mode, is_near) {
        (Mode::Off, false) => section.warn(
            section.place(),
            "tls",
            "without TLS, whoever is on the way reads and changes what is remembered; write tls: verify-full",
        ),
        (Mode::Unchecked, false) => section.warn(
            section.place(),
            "tls",
            "nobody checks who the server is; write tls: verify-full, and ca_certificate if its authority is your own",
        ),
        (Mode::Off | Mode::Unchecked | Mode::Checked, _) => {}
    }
    if let (Some(_), Mode::Off | Mode::Unchecked) = (&trust, mode) {
        section.missing("ca_certificate", "it is not looked at without tls: verify-full");
    }
    section.finish();
    let trust = match trust {
        Some(authorities) => Trust::File(authorities.ok()?),
        None => Trust::Known,
    };
    let (host, port) = (said.host?, said.port.unwrap_or(USUAL_PORT));
    let remote = Remote {
        address: match is_socket {
            true => Address::Socket { path: host.into(), port },
            false => Address::Tcp { host, port },
        },
        database: said.database?,
        username: said.username?,
        password,
        tls: match mode {
            Mode::Off => Tls::Off,
            Mode::Unchecked => Tls::Unchecked,
            Mode::Checked => Tls::Checked(trust),
        },
        client: client.ok()?,
        search_path: None,
    };
    Some(sql::Settings {
        server: Server::Postgres(remote),
        answer_within: answer_within.map_or(ANSWER_WITHIN, |at| at.value),
    })
}

/// Our own certificate, with its key in the same file or another.
fn read_client(section: &mut Section<'_>) -> Result<Option<Arc<TlsIdentity>>, Noted> {
    let (certificate, key) = (section.path("client_certificate"), section.path("client_key"));
    let read = match (&certificate, &key) {
        (None, None) => return Ok(None),
        (None, Some(key)) => {
            section.problem(&key.place, "client_key", "a key is given without client_certificate");
            return Err(Noted);
        }
        (Some(certificate), Some(key)) => {
            let (certificate, key) = ((certificate, "client_certificate"), (key, "client_key"));
            read_pair(section, certificate, key, TlsIdentity::from_pem, TlsProblem::file)
        }
        (Some(both), None) => read_pair_in_one(section, (both, "client_certificate"), "without client_key, the file"),
    };
    Ok(read?.map(Arc::new))
}

/// The name of a database or a user. Such names are in messages and in the log, and a URL with its login that was pasted in the
/// place of one must not get there.
fn name(text: &str) -> Result<String, Refusal> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::is("not a name; a whole address is url: \"postgres://…\"")),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && !text.contains([':', '/', '@'])
        && !text.contains(char::is_control)
        && !holds_key(text)
}

fn is_host(text: &str) -> bool {
    let is_folder = text.starts_with('/') && !text.contains(char::is_control) && !text.contains('@');
    is_folder || text.parse::<std::net::IpAddr>().is_ok() || matches!(Host::parse(text), Ok(Host::Domain(_)))
}

/// Reads `postgres://user:password@host:port/database?sslmode=…`. What is wrong is never repeated: it may be the password.
fn read_url(text: &str) -> Result<Said, Refusal> {
    let wrong = || {
        Refusal::says(
            "this is not PostgreSQL's URL; write postgres://user@host:5432/database, with the characters : / ? # [ ] @ % of a \
             password percent-encoded",
        )
    };
    let url = Url::parse(text).map_err(|_| wrong())?;
    if !["postgres", "postgresql"].contains(&url.scheme()) || url.fragment().is_some() {
        return Err(wrong());
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| wrong());
    let filled = |text: String| Some(text).filter(|text| !text.is_empty());
    let mut said = Said {
        host: url.host_str().map(|host| host.trim_matches(['[', ']']).to_owned()).and_then(filled),
        port: url.port(),
        database: filled(decoded(url.path().trim_start_matches('/'))?),
        username: filled(decoded(url.username())?),
        password: url.password().map(decoded).transpose()?.and_then(filled),
        tls: None,
    };
    for (key, value) in url.query_pairs() {
        match &*key {
            "sslmode" => {
                said.tls = Some(mode(&value).map_err(|_| {
                    Refusal::says(
                        "sslmode is verify-full, require or disable here: anything else could be no TLS at all",
                    )
                })?);
            }
            // The folder of a socket.
            "host" => said.host = filled(value.into_owned()),
            _ => {
                return Err(Refusal::says(
                    "it has a parameter that is not known here; write sslmode alone, and files as ca_certificate and client_certificate",
                ));
            }
        }
    }
    let names = [&said.database, &said.username];
    if names.into_iter().flatten().any(|text| !is_name(text)) || said.host.as_deref().is_some_and(|host| !is_host(host))
    {
        return Err(wrong());
    }
    match said.username {
        Some(_) => Ok(said),
        None => Err(Refusal::says("the user is missing in it; write postgres://user@host:5432/database")),
    }
}
