//! `dockwarden ldap test`: whom the directory finds for an account, and what a login would make of it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Subcommand;

use super::{DONE, complain, password, say, source};
use crate::authn::Secret;
use crate::authn::attempts::Attempts;
use crate::authn::ldap::{DirectoryUsers, Found, LdapSettings, Portrait, Verdict};
use crate::config::Secrets;
use crate::shown::escaped;

/// Nobody was found, or the password is not right.
const NOT_LET_IN: u8 = 3;

/// Look at the directory of ldap_auth
#[derive(Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    /// Print the entry, the account and the labels of somebody, found as at a login
    ///
    /// The status is 0 if a login can succeed, 3 if not, and 1 if the directory does not say.
    Test {
        /// The configuration file
        config: PathBuf,
        /// The account, as it is typed at a login
        user: String,
        /// Check the password too; it is asked for, or read from standard input
        #[arg(long)]
        bind: bool,
    },
}

/// Runs the command.
pub(super) fn run(command: Command) -> u8 {
    let Command::Test { config, user, bind } = command;
    let config = match source(config).load(Secrets::Read) {
        Ok(config) => config,
        Err(invalid) => return complain(&invalid.to_string()),
    };
    let Some(settings) = config.backends.get::<LdapSettings>() else {
        return complain(&format!("{}: there is no ldap_auth section to test", config.file.display()));
    };
    let secret = match bind.then(password::read_once).transpose() {
        Ok(secret) => secret,
        Err(message) => return complain(&format!("dockwarden: {message}")),
    };
    if secret.as_deref().is_some_and(|secret| secret.is_empty() || secret.contains('\0')) {
        return complain("dockwarden: an empty password, or one with NUL, never gets to the directory");
    }
    match ask(settings.clone(), &user, secret.map(Secret::new)) {
        Ok(portrait) => show(&user, &portrait),
        Err(error) => complain(&format!("ldap_auth: {error:#}")),
    }
}

fn ask(settings: LdapSettings, user: &str, secret: Option<Secret>) -> anyhow::Result<Portrait> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let users = DirectoryUsers::new(settings, Arc::new(Attempts::new()?))?;
        users.portrait(user, secret.as_ref()).await
    })
}

fn show(user: &str, portrait: &Portrait) -> u8 {
    let mut text = format!("filter:   {}\n", portrait.filter);
    let mut line = |name: &str, value: &str| {
        // Writing to a text does not fail. What a directory says could make a terminal obey.
        writeln!(text, "{:<9} {}", format!("{name}:"), escaped(value)).ok();
    };
    let mut status = NOT_LET_IN;
    match &portrait.found {
        Found::Nobody => line("entry", "none: the directory does not know this account"),
        Found::Several(names) => {
            line("entry", &format!("more than one, so the account is refused: {}", names.join(" and ")));
        }
        Found::Refused(words) | Found::Closed(words) => line("password", &format!("refused: {words}")),
        Found::SpelledOtherwise(person) => {
            line("entry", person.name());
            line("account", &format!("none: the directory does not spell it \"{user}\", and not only in capitals"));
        }
        Found::One(person) => {
            line("entry", person.name());
            line("account", &person.account);
            for (label, values) in &portrait.labels {
                line("label", &format!("{label} = {values:?}"));
            }
            if let Some(advice) = &portrait.groups {
                line("warning", advice);
            }
            match &portrait.password {
                None => status = DONE,
                Some(Verdict::Right) => {
                    line("password", "right");
                    status = DONE;
                }
                Some(Verdict::No(words) | Verdict::Closed(words)) => line("password", &format!("refused: {words}")),
            }
        }
    }
    say(&text, status)
}
