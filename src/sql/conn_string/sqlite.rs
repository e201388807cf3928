//! The connection string of Go's SQLite driver: a path, or `file:path`, with `?key=value` behind it.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use settings::refused::holds_key;

/// Reads a connection string: the file, and what is probably not meant.
///
/// # Errors
/// What is wrong with it, without any part of it.
pub(super) fn parse(text: &str) -> Result<(PathBuf, Vec<String>), String> {
    // As Go's driver: a ? at the very beginning is a part of the name.
    let (name, parameters) = match text.find('?') {
        Some(at) if at > 0 => (text.get(..at).unwrap_or(text), text.get(at + 1..).unwrap_or_default()),
        Some(_) | None => (text, ""),
    };
    let name = match name.strip_prefix("file:") {
        None => name.to_owned(),
        Some(uri) => {
            let uri = uri.split_once('#').map_or(uri, |(path, _)| path);
            // `file:path`, `file:/path`, `file:///path` and `file://localhost/path`.
            let path = match uri.strip_prefix("//") {
                None => uri,
                Some(rest) => rest.strip_prefix("localhost").unwrap_or(rest),
            };
            if uri.starts_with("//") && !path.starts_with('/') {
                return Err("a file is on this machine; write file:/path".to_owned());
            }
            percent_decode_str(path).decode_utf8().map_err(|_| "the path is not UTF-8")?.into_owned()
        }
    };
    let is_in_memory = parameters.split('&').any(|pair| pair == "mode=memory" || pair == "vfs=memdb");
    if name.is_empty() || name == ":memory:" || is_in_memory {
        return Err("a database in memory is empty, and nobody could ever write to it".to_owned());
    }
    // Paths are shown; that of another database's text would be its password.
    if holds_key(&name) || name.contains(['\0', '@', '(']) || name.contains("://") || name.contains("password") {
        return Err("this is not the path of a file".to_owned());
    }
    let mut remarks = Vec::new();
    if parameters.split('&').any(|pair| pair.starts_with("_busy_timeout=") || pair.starts_with("_timeout=")) {
        remarks.push("_busy_timeout has no effect here; deadline says how long the database may take".to_owned());
    }
    Ok((PathBuf::from(name), remarks))
}
