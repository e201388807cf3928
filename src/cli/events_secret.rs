//! `dockwarden registry events-secret`: what a registry's notifications are known by, where the records have the registry. The secret
//! alone goes to standard output.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{DONE, complain, mongo, say};
use crate::directory::Directory;
use crate::directory::changing::NotChanged;
use crate::registries::events;
use crate::registries::events::Made;
use crate::shown::{counted, printable};

/// Make, list and revoke the secrets by which events of a registry are known
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    /// Make a secret, and print it alone on standard output: it is shown this once. Of two, it takes the place of the older
    Create {
        #[command(flatten)]
        registry: Registry,
    },
    /// List the secrets, the older first; never what they are
    List {
        #[command(flatten)]
        registry: Registry,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a secret for good, or all that the registry has
    Revoke {
        #[command(flatten)]
        registry: Registry,
        /// The secret's id, as list shows it
        #[arg(required_unless_present = "all")]
        id: Option<String>,
        /// All of them: no event of the registry is taken until it has a new one
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

// Which registry.
#[derive(clap::Args)]
pub(super) struct Registry {
    /// The configuration file
    config: PathBuf,
    /// The registry, by its REGISTRY_AUTH_TOKEN_SERVICE
    service: String,
}

/// Runs the command.
pub(super) fn run(command: Command) -> u8 {
    #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
    let now = OffsetDateTime::now_utc();
    mongo::run(async move {
        match command {
            Command::Create { registry: Registry { config, service } } => {
                let made = open(config)?.make_events_secret(&service, now).await;
                let (secret, Made { id, .. }) = made.map_err(|refused| plain(refused, &service))?;
                _ = complain(&format!(
                    "dockwarden: secret {id} of the events of {}: send it as \"Authorization: Bearer …\" to /api/v1/events",
                    printable(&service)
                ));
                Ok(say(&format!("{}\n", secret.reveal()), DONE))
            }
            Command::List { registry: Registry { config, service }, json } => {
                let secrets = open(config)?.events_secrets(&service).await;
                let secrets = secrets.map_err(|refused| plain(refused, &service))?;
                Ok(say(&if json { as_json(&secrets) } else { as_text(&secrets) }, DONE))
            }
            Command::Revoke { registry: Registry { config, service }, id, all: _ } => {
                if id.as_ref().is_some_and(|id| id.starts_with(events::PREFIX)) {
                    return Err(
                        "this is a secret itself, which others can read on a command line (ps): revoke it by its id, as list shows it"
                            .to_owned(),
                    );
                }
                let revoked = open(config)?.revoke_events_secrets(&service, id.as_deref()).await;
                let revoked = revoked.map_err(|refused| match (refused, &id) {
                    (NotChanged::Missing, Some(_)) => {
                        "there is no such registry in the records, or no such secret of it".to_owned()
                    }
                    (refused, _) => plain(refused, &service),
                })?;
                Ok(say(&format!("{}: {} revoked\n", printable(&service), counted(revoked, "secret")), DONE))
            }
        }
    })
}

fn open(config: PathBuf) -> Result<Arc<Directory>, String> {
    let config = mongo::load(config)?;
    let file = printable(&config.file.display().to_string());
    let settings = config
        .directory
        .ok_or_else(|| format!("{file}: there is no directory: section in it; write directory: {{}}"))?;
    Directory::keep_or_open(settings, None).map_err(|error| format!("{file}: {error:#}"))
}

fn plain(refused: NotChanged, service: &str) -> String {
    match refused {
        NotChanged::InTheFile => format!(
            "the registry {} is in the configuration file, and so is its secret: events: {{secret_file: …}}",
            printable(service)
        ),
        NotChanged::Missing => format!("there is no registry {} in the records", printable(service)),
        refused => refused.to_string(),
    }
}

fn moment(made: &Made) -> String {
    made.at.format(&Rfc3339).unwrap_or_default()
}

fn as_text(secrets: &[Made]) -> String {
    secrets.iter().map(|made| format!("{}  made {}\n", made.id, moment(made))).collect()
}

fn as_json(secrets: &[Made]) -> String {
    let all: Vec<_> = secrets.iter().map(|made| json!({"id": made.id, "made": moment(made)})).collect();
    format!("{}\n", json!(all))
}
