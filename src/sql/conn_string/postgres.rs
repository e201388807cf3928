//! The connection string of Go's PostgreSQL driver: a URL, or `key=value` with quotes; what it does not say comes from the
//! variables `PG…` of the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::{Named, Wanted, port};
use crate::sql::settings::Address;

/// The keys, and the variables of the environment that stand in for them.
const FROM_ENVIRONMENT: &[(&str, &str)] = &[
    ("host", "PGHOST"),
    ("port", "PGPORT"),
    ("dbname", "PGDATABASE"),
    ("user", "PGUSER"),
    ("password", "PGPASSWORD"),
    ("sslmode", "PGSSLMODE"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslrootcert", "PGSSLROOTCERT"),
];
/// Keys that change nothing for who only reads a few texts.
const WITHOUT_EFFECT: &[&str] = &[
    "application_name",
    "binary_parameters",
    "client_encoding",
    "datestyle",
    "disable_prepared_binary_result",
    "extra_float_digits",
    "fallback_application_name",
    "sslsni",
    "timezone",
];

/// Reads a connection string.
///
/// # Errors
/// What is wrong with it, without any part of it.
pub(super) fn parse(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Named, String> {
    let mut values = match text.starts_with("postgres://") || text.starts_with("postgresql://") {
        true => of_url(text)?,
        false => of_pairs(text)?,
    };
    for (key, variable) in FROM_ENVIRONMENT {
        if let Some(value) = environment(variable).filter(|_| !values.contains_key(*key)) {
            values.insert((*key).to_owned(), value);
        }
    }
    let mut take = |key: &str| values.remove(key).filter(|value| !value.is_empty());
    let host = take("host").unwrap_or_else(|| "localhost".to_owned());
    let port = match take("port") {
        Some(text) => port(&text).ok_or("the port is not a number from 1 to 65535")?,
        None => 5432,
    };
    // The driver of ours asks the system for it, as Go's does.
    let username = take("user").unwrap_or_else(|| PgConnectOptions::new_without_pgpass().get_username().to_owned());
    let database = take("dbname").unwrap_or_else(|| username.clone());
    let password = take("password");
    let root = take("sslrootcert").map(PathBuf::from);
    let own = match (take("sslcert"), take("sslkey")) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err("sslcert and sslkey need each other".to_owned()),
    };
    if host.contains(',') {
        return Err("only one host can be named".to_owned());
    }
    let address = match host.starts_with('/') {
        true => Address::Socket { path: host.into(), port },
        false => Address::Tcp { host, port },
    };
    let mut remarks = Vec::new();
    let mode = take("sslmode");
    let tls = match (mode.as_deref().unwrap_or("require"), &root, &address) {
        ("disable" | "require" | "verify-ca" | "verify-full", _, Address::Socket { .. }) => Wanted::Off,
        ("disable", _, _) => Wanted::Off,
        // As Go's driver does: a file of authorities is there to be used.
        ("require", None, _) => Wanted::Unchecked,
        ("require", Some(_), _) | ("verify-ca" | "verify-full", _, _) => Wanted::Checked,
        _ => return Err("sslmode is disable, require, verify-ca or verify-full".to_owned()),
    };
    let search_path = take("search_path");
    if take("sslinline").is_some() {
        return Err("certificates are read from files; remove sslinline".to_owned());
    }
    for key in values.into_keys() {
        match key.as_str() {
            "connect_timeout" | "statement_timeout" => {
                remarks.push(format!("{key} has no effect here; deadline says how long the database may take"));
            }
            known if WITHOUT_EFFECT.contains(&known) => {}
            known if FROM_ENVIRONMENT.iter().any(|(key, _)| *key == known) => {}
            _ => remarks.push(
                "a key is none of the driver's own, and is not set as a parameter of the server here; remove it"
                    .to_owned(),
            ),
        }
    }
    Ok(Named { address, database, username, password, tls, root, own, search_path, remarks })
}

fn of_url(text: &str) -> Result<BTreeMap<String, String>, String> {
    let wrong =
        || "this is not a URL; the characters : / ? # [ ] @ % of a password have to be percent-encoded".to_owned();
    let url = Url::parse(text).map_err(|_| wrong())?;
    let decoded =
        |text: &str| percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| wrong());
    let mut values = BTreeMap::new();
    let mut put = |key: &str, value: String| {
        if !value.is_empty() {
            values.insert(key.to_owned(), value);
        }
    };
    put("user", decoded(url.username())?);
    put("password", decoded(url.password().unwrap_or_default())?);
    put("host", decoded(url.host_str().unwrap_or_default().trim_matches(['[', ']']))?);
    put("port", url.port().map(|port| port.to_string()).unwrap_or_default());
    put("dbname", decoded(url.path().strip_prefix('/').unwrap_or_default())?);
    for (key, value) in url.query_pairs() {
        put(&key, value.into_owned());
    }
    if url.fragment().is_some() {
        return Err(wrong());
    }
    Ok(values)
}

/// `key=value key='a value' key = va\ lue`.
fn of_pairs(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut values = BTreeMap::new();
    let mut letters = text.chars().peekable();
    loop {
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        if letters.peek().is_none() {
            return Ok(values);
        }
        let mut key = String::new();
        while let Some(letter) = letters.next_if(|letter| !letter.is_whitespace() && *letter != '=') {
            key.push(letter);
        }
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        // Anything else is no key, and may be a piece of a password.
        if !key.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_') || key.is_empty() {
            return Err("this is neither a URL nor key=value".to_owned());
        }
        if letters.next() != Some('=') {
            return Err("a key has no = and value behind it".to_owned());
        }
        while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
        let is_quoted = letters.next_if_eq(&'\'').is_some();
        let mut value = String::new();
        loop {
            match letters.next() {
                Some('\\') => value.push(letters.next().ok_or("there is nothing behind the last \\")?),
                Some('\'') if is_quoted => break,
                Some(letter) if !is_quoted && letter.is_whitespace() => break,
                Some(letter) => value.push(letter),
                None if is_quoted => return Err("a quote is not closed".to_owned()),
                None => break,
            }
        }
        values.insert(key, value);
    }
}
