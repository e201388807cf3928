//! `dockwarden hash-password`: a password in, its bcrypt hash out; the password is never on the command line.

use std::io::{IsTerminal as _, stdin};

use super::{DONE, complain, say};
use crate::authn::password::{PasswordHash, hash};
use crate::text;

/// More than this is no password, in bytes.
const LONGEST_INPUT: u64 = 64 * 1024;

/// Runs the command.
pub(super) fn run(cost: u32) -> u8 {
    match read().and_then(|password| hash(&password, cost)) {
        Ok(hash) => say(&format!("{hash}\n"), DONE),
        Err(message) => complain(&format!("dockwarden: {message}")),
    }
}

/// Asks twice on a terminal; otherwise takes standard input without the line break at its end.
pub(super) fn read() -> Result<String, String> {
    let password = read_once()?;
    if stdin().is_terminal() && password != ask("Again: ")? {
        return Err("the two passwords differ".to_owned());
    }
    Ok(password)
}

/// Reads the bcrypt hash of this user's password: alone, or as a line of an htpasswd file (`htpasswd -nB NAME`).
///
/// # Errors
/// There is none to be had. What stood there instead is not shown: it could be a password.
pub(super) fn read_hash(name: &str) -> Result<PasswordHash, String> {
    let text = match stdin().is_terminal() {
        true => ask("Hash: ")?,
        false => text::read(stdin(), "standard input", LONGEST_INPUT)?,
    };
    let text = text.trim();
    let hash = match text.split_once(':') {
        Some((account, rest)) if account == name => rest,
        Some(_) => return Err("this is the hash of another name; give the hash alone".to_owned()),
        None => text,
    };
    hash.parse()
}

fn ask(prompt: &str) -> Result<String, String> {
    rpassword::prompt_password(prompt).map_err(|error| error.to_string())
}

/// Asks on a terminal; otherwise takes standard input without the line break at its end.
///
/// # Errors
/// There is no password to be had.
pub(super) fn read_once() -> Result<String, String> {
    if stdin().is_terminal() {
        return ask("Password: ");
    }
    let text = text::read(stdin(), "standard input", LONGEST_INPUT)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.contains('\n') {
        return Err("standard input holds more than one line; give the password alone".to_owned());
    }
    Ok(password.to_owned())
}
