//! The connection string of Go's MySQL driver: `[user[:password]@][net[(address)]]/database[?key=value&…]`. Nothing in it is
//! escaped but the values behind `?`; the last `/` and the last `@` before it part it.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::{Named, Wanted, port};
use crate::sql::settings::Address;

const PORT: u16 = 3306;
/// Where Go's driver looks for a socket that is not named.
const SOCKET: &str = "/tmp/mysql.sock";
/// Keys that change nothing for who only reads a few texts.
const WITHOUT_EFFECT: &[&str] = &[
    "allowAllFiles",
    "allowFallbackToPlaintext",
    "allowNativePasswords",
    "allowOldPasswords",
    "charset",
    "checkConnLiveness",
    "clientFoundRows",
    "collation",
    "columnsWithAlias",
    "compress",
    "connectionAttributes",
    "interpolateParams",
    "loc",
    "maxAllowedPacket",
    "multiStatements",
    "parseTime",
    "rejectReadOnly",
    "serverPubKey",
    "strict",
    "timeTruncate",
];

/// Reads a connection string.
///
/// # Errors
/// What is wrong with it, without any part of it.
pub(super) fn parse(text: &str) -> Result<Named, String> {
    let Some((before, after)) = text.rsplit_once('/') else {
        return Err("there is no / before the database's name".to_owned());
    };
    let (login, server) = match before.rsplit_once('@') {
        Some((login, server)) => (login, server),
        None => ("", before),
    };
    let (username, password) = match login.split_once(':') {
        Some((username, password)) => (username, Some(password.to_owned())),
        None => (login, None),
    };
    let (database, parameters) = after.split_once('?').unwrap_or((after, ""));
    let database = percent_decode_str(database).decode_utf8().map_err(|_| "the database's name is not UTF-8")?;
    if database.is_empty() {
        return Err("the database's name is missing behind the last /".to_owned());
    }
    let mut remarks = Vec::new();
    let tls = read_parameters(parameters, &mut remarks)?;
    let address = read_address(server)?;
    let tls = match address {
        Address::Tcp { .. } => tls,
        Address::Socket { .. } => Wanted::Off,
    };
    Ok(Named {
        address,
        database: database.into_owned(),
        username: username.to_owned(),
        password: password.filter(|password| !password.is_empty()),
        tls,
        root: None,
        own: None,
        search_path: None,
        remarks,
    })
}

fn read_address(server: &str) -> Result<Address, String> {
    let (net, address) = match server.split_once('(') {
        Some((net, address)) => match address.strip_suffix(')') {
            Some(address) => (net, address),
            None => return Err("the server's address must stand in brackets, with nothing behind them".to_owned()),
        },
        None => (server, ""),
    };
    match net {
        "unix" if address.is_empty() => Ok(Address::Socket { path: SOCKET.into(), port: PORT }),
        "unix" => Ok(Address::Socket { path: PathBuf::from(address), port: PORT }),
        "" | "tcp" if address.is_empty() => Ok(Address::Tcp { host: "127.0.0.1".to_owned(), port: PORT }),
        "" | "tcp" => read_tcp(address),
        _ => Err("the server is reached by tcp(host:port) or unix(/path/of/the/socket)".to_owned()),
    }
}

fn read_tcp(address: &str) -> Result<Address, String> {
    let wrong = || "the server's address is not host:port".to_owned();
    let (host, number) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
            let number = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(wrong)?) };
            (host, number)
        }
        // More than one colon is an address of IPv6 alone.
        None => match address.split_once(':') {
            Some((host, number)) if !number.contains(':') => (host, Some(number)),
            Some(_) | None => (address, None),
        },
    };
    let port = match number {
        Some(number) => port(number).ok_or_else(wrong)?,
        None => PORT,
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    if host.contains(['@', '/', ' ', '(', ')']) {
        return Err(wrong());
    }
    Ok(Address::Tcp { host: host.to_owned(), port })
}

fn read_parameters(parameters: &str, remarks: &mut Vec<String>) -> Result<Wanted, String> {
    let mut tls = Wanted::Off;
    for (key, value) in parameters.split('&').filter_map(|pair| pair.split_once('=')) {
        match key {
            "tls" => {
                tls = match value {
                    "true" | "TRUE" | "True" | "1" => Wanted::Checked,
                    "false" | "FALSE" | "False" | "0" => Wanted::Off,
                    _ if value.eq_ignore_ascii_case("skip-verify") => Wanted::Unchecked,
                    _ if value.eq_ignore_ascii_case("preferred") => Wanted::Preferred,
                    _ => return Err("tls is true, false, skip-verify or preferred".to_owned()),
                }
            }
            "allowCleartextPasswords" if value != "false" => {
                return Err("passwords are never sent in the clear here; remove allowCleartextPasswords".to_owned());
            }
            "timeout" | "readTimeout" | "writeTimeout" => {
                remarks.push(format!("{key} has no effect here; deadline says how long the database may take"));
            }
            _ if WITHOUT_EFFECT.contains(&key) || key == "allowCleartextPasswords" => {}
            _ => remarks.push(
                "a key behind the ? is none of the driver's own, and is not set as a variable of the server here; remove it"
                    .to_owned(),
            ),
        }
    }
    Ok(tls)
}
