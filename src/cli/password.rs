//! `dockwarden hash-password`: a password in, its bcrypt hash out; the password is never on the command line.

use std::io::{IsTerminal as _, Write as _, stderr, stdin};

use settings::text;

use super::{DONE, complain, say};
use crate::authn::password::{PasswordHash, hash};
use crate::random;

/// The longest input that is taken for a password, in bytes.
const LONGEST_INPUT: u64 = 64 * 1024;

/// What a generated password is made of, in bytes: more than can be tried, written with as many hexadecimal digits twice.
const RANDOM_BYTES: usize = 16;

/// Where the password comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// Asked for, or read from standard input.
    Given,
    /// Made up here.
    Generated,
}

/// Runs the command.
pub(super) fn run(cost: u32, source: Source) -> u8 {
    let made = match source {
        Source::Given => read().and_then(|password| hash(&password, cost)),
        Source::Generated => generate().and_then(|password| {
            let hash = hash(&password, cost)?;
            show(&password)?;
            Ok(hash)
        }),
    };
    match made {
        Ok(hash) => say(&format!("{hash}\n"), DONE),
        Err(message) => complain(&format!("dockwarden: {message}")),
    }
}

fn generate() -> Result<String, String> {
    let bytes: [u8; RANDOM_BYTES] = random::bytes().map_err(|error| error.to_string())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Shows a password whose hash is about to be handed out. Without it the hash would be of no use to anybody, so a password
/// that cannot be shown is an error.
fn show(password: &str) -> Result<(), String> {
    let said = writeln!(stderr(), "Password, shown this once: {password}");
    said.map_err(|error| format!("the password cannot be shown: {error}"))
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
/// The input is not a hash of this user's. What it is instead is not shown: it could be a password.
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
/// The password cannot be read.
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
