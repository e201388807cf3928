//! docker_auth's way to name a database: `database_type` and `conn_string`, a text in the words of that database's Go driver.

mod mysql;
mod postgres;
mod sqlite;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use settings::number::waiting_time;
use settings::refused::holds_key;
use settings::{At, Noted, Refusal, Secrets, Section, UNREAD};

use super::settings::{ANSWER_WITHIN, Access, Address, File, Remote, Server, Settings, Tls, Trust};
use crate::pem::PairFile;
use crate::pem::named::{read_authorities, read_pair};
use crate::pem::tls::{TlsIdentity, TlsProblem};
use crate::secret::Secret;

/// The longest time that `deadline` may say.
const LONGEST_DEADLINE: Duration = Duration::from_secs(60);
/// The key that is read.
const KEY: &str = "conn_string";

/// A database of docker_auth's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    MySql,
    Postgres,
    Sqlite,
}

/// What a connection string says about a server.
#[derive(Debug, PartialEq)]
struct Named {
    address: Address,
    database: String,
    username: String,
    password: Option<String>,
    tls: Wanted,
    /// The file of the server's authorities.
    root: Option<PathBuf>,
    /// The files of our certificate and its key.
    own: Option<(PathBuf, PathBuf)>,
    search_path: Option<String>,
    /// What has no effect here, or is probably not meant. None repeats a value.
    remarks: Vec<String>,
}

/// What a connection string says about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Off,
    Preferred,
    Unchecked,
    Checked,
}

/// Reads `database_type`, `conn_string` (or `conn_string_file`) and `deadline` of a section. What is needed and not there is a
/// problem. No message repeats any part of the connection string.
pub fn read(section: &mut Section<'_>) -> Option<Settings> {
    let has_type = section.has("database_type");
    if !has_type {
        section.missing("database_type", "which database is it? write mysql, postgres or sqlite3");
    }
    let kind = section.word("database_type", |text| match text {
        "mysql" => Ok(Kind::MySql),
        "postgres" => Ok(Kind::Postgres),
        "sqlite3" => Ok(Kind::Sqlite),
        _ => Err(Refusal::is("not a database that is known here; write mysql, postgres or sqlite3")),
    });
    let is_in_file = section.has("conn_string_file");
    let text = section.secret(KEY, "conn_string_file");
    if let Ok(None) = text {
        section.missing(KEY, format!("where is the database? write {}", example(kind.as_ref().map(|at| at.value))));
    }
    let answer_within = section.word("deadline", |text| waiting_time(text, LONGEST_DEADLINE, "2s"));
    let answer_within = answer_within.map_or(ANSWER_WITHIN, |at| at.value);
    let (kind, text) = (kind?.value, text.ok()??);
    let server = match section.secrets() {
        // Its file was left alone, and who leaves it alone does not ask the database.
        Secrets::Skip if is_in_file => Server::Sqlite(File { path: UNREAD.into(), access: Access::ReadOnly }),
        Secrets::Skip | Secrets::Read => read_server(section, kind, &text).ok()?,
    };
    Some(Settings { server, answer_within })
}

fn example(kind: Option<Kind>) -> &'static str {
    match kind {
        Some(Kind::MySql) => "\"reader:password@tcp(db.example.com:3306)/docker_auth?tls=true\"",
        Some(Kind::Postgres) => "\"postgres://reader:password@db.example.com/docker_auth?sslmode=verify-full\"",
        Some(Kind::Sqlite) => "the path of its file",
        None => "it as the database's driver wants it",
    }
}

fn read_server(section: &Section<'_>, kind: Kind, text: &At<String>) -> Result<Server, Noted> {
    let noted = |message: String| {
        section.problem(&text.place, KEY, format!("{message}; write {}", example(Some(kind))));
        Noted
    };
    let named = match kind {
        Kind::Sqlite => {
            let (path, remarks) = sqlite::parse(&text.value).map_err(noted)?;
            remarks.iter().for_each(|remark| section.warn(&text.place, KEY, remark));
            return Ok(Server::Sqlite(File { path, access: Access::ReadOnly }));
        }
        Kind::MySql => mysql::parse(&text.value).map_err(noted)?,
        Kind::Postgres => postgres::parse(&text.value, |name| std::env::var(name).ok()).map_err(noted)?,
    };
    let host = match &named.address {
        Address::Tcp { host, .. } => Some(host.as_str()).filter(|host| host.parse::<IpAddr>().is_err()),
        Address::Socket { .. } => None,
    };
    if !is_name(&named.database) || !host.is_none_or(is_name) {
        return Err(noted(
            "a name in it holds a character that no name has; is the password written as it has to be?".into(),
        ));
    }
    named.remarks.iter().for_each(|remark| section.warn(&text.place, KEY, remark));
    if let Some(warning) = exposed(kind, &named) {
        section.warn(&text.place, KEY, warning);
    }
    let file = |path: &PathBuf| At { place: text.place.clone(), value: path.clone() };
    let trust = match named.root.as_ref().map(file) {
        None => Ok(Trust::Known),
        Some(root) => read_authorities(section, &root, KEY).map(Trust::File),
    };
    let client = match &named.own {
        None => Ok(None),
        Some((certificate, key)) => {
            let (certificate, key) = (file(certificate), file(key));
            read_pair(section, (&certificate, KEY), (&key, KEY), TlsIdentity::from_pem, about)
        }
    };
    let tls = match named.tls {
        Wanted::Off => Tls::Off,
        Wanted::Preferred => Tls::Preferred,
        Wanted::Unchecked => Tls::Unchecked,
        Wanted::Checked => Tls::Checked(trust?),
    };
    let remote = Remote {
        address: named.address,
        database: named.database,
        username: named.username,
        password: named.password.map(Secret::new),
        tls,
        client: client?.map(Arc::new),
        search_path: named.search_path,
    };
    Ok(match kind {
        Kind::Postgres => Server::Postgres(remote),
        Kind::MySql | Kind::Sqlite => Server::MySql(remote),
    })
}

fn about(problem: &TlsProblem) -> PairFile {
    problem.file()
}

/// What somebody on the way to the database could do, if anybody is there.
fn exposed(kind: Kind, named: &Named) -> Option<String> {
    let host = match &named.address {
        Address::Socket { .. } => return None,
        Address::Tcp { host, .. } => host,
    };
    let address = host.parse::<IpAddr>();
    if host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback()) {
        return None;
    }
    let instead = match kind {
        Kind::Postgres => "sslmode=verify-full",
        Kind::MySql | Kind::Sqlite => "tls=true",
    };
    match named.tls {
        Wanted::Off => Some(format!(
            "without TLS, whoever is on the way to the database reads the password hashes and can change what it answers; \
             write {instead}"
        )),
        Wanted::Preferred | Wanted::Unchecked => Some(format!(
            "nobody looks whose certificate the server shows, so whoever is on the way to the database can answer in its \
             place; write {instead}"
        )),
        Wanted::Checked => None,
    }
}

/// Whether a name can be shown: of a text that is parted in another place than was meant, a piece of the password would be
/// taken for it.
fn is_name(text: &str) -> bool {
    !text.contains(['@', '(', ')', '?', ':', '/']) && !text.contains(char::is_control) && !holds_key(text)
}

/// A port of a server.
fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests;
