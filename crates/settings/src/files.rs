//! Reading files that a person named: bounded, and with messages that say what to do.

use std::path::Path;

use crate::problem::{Place, Problem};
use crate::refused::ShownPath;
use crate::text;

/// A larger file is refused, in bytes: ten thousand rules take less than two million.
const MAX_FILE: u64 = 32 * 1024 * 1024;
/// A larger secret, certificate or key is refused, in bytes.
const MAX_SECRET: u64 = 1024 * 1024;

/// The text of a configuration file.
///
/// # Errors
/// Why it could not be read, or where in it something is not text.
pub fn read_document(file: &Path) -> Result<String, Problem> {
    let bytes = read_limited(file, &file.display().to_string(), MAX_FILE)
        .map_err(|message| Problem::new(Place::Line(1), "", message))?;
    text::decode(bytes).map_err(|wrong| Problem::new(Place::Line(wrong.line()), "", wrong.to_string()))
}

/// The text of a file that may be as long as a configuration, and that was named on the command line.
///
/// # Errors
/// Says which file could not be read and why, with line and column.
pub fn read_text(file: &Path) -> Result<String, String> {
    text::decode_file(file, read_limited(file, &file.display().to_string(), MAX_FILE)?)
}

/// The same of a file that the configuration names.
///
/// # Errors
/// As [`read_text`].
pub fn read_named_text(file: &Path) -> Result<String, String> {
    text::decode_file(file, read_limited(file, &ShownPath(file).to_string(), MAX_FILE)?)
}

/// The secret in a file, without the white space around it (editors end files with a line break).
///
/// # Errors
/// Says which file could not be read and why.
pub fn read_secret(file: &Path) -> Result<String, String> {
    let text = text::decode_file(file, read_limited(file, &ShownPath(file).to_string(), MAX_SECRET)?)?;
    Ok(text.trim().to_owned())
}

/// The bytes of a certificate or key file. What is in them is for `pem` alone to read.
///
/// # Errors
/// Says which file could not be read and why.
pub fn read_pem(file: &Path) -> Result<Vec<u8>, String> {
    read_limited(file, &ShownPath(file).to_string(), MAX_SECRET)
}

/// `name` is what the file is called in messages.
fn read_limited(file: &Path, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| match (error.kind(), process_user()) {
        (std::io::ErrorKind::PermissionDenied, Some(user)) => format!(
            "{name} cannot be read by user {user}, as whom this process runs; give the file to that user (chown {user} \
             {name}), or in a container run as the file's owner (user: in a compose file)",
        ),
        _ => format!("{name} cannot be read: {error}"),
    };
    // Opening a pipe waits for somebody to write into it, for ever if nobody does.
    if !std::fs::metadata(file).map_err(failed)?.is_file() {
        return Err(format!("{name} is not a regular file"));
    }
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(format!("{name} is larger than {limit} bytes"));
    }
    Ok(bytes)
}

/// The number of the user that this process runs as, where there are such.
#[cfg(not(unix))]
pub fn process_user() -> Option<u32> {
    None
}

/// The number of the user that this process runs as.
#[cfg(unix)]
pub fn process_user() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").ok().map(|seen| seen.uid())
}
