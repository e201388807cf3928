//! `dockwarden registry`: the registries that the records have.

use super::events_secret;

/// Look after registries
#[derive(clap::Subcommand)]
pub(super) enum Command {
    #[command(subcommand)]
    EventsSecret(events_secret::Command),
}

/// Runs the command.
pub(super) fn run(command: Command) -> u8 {
    match command {
        Command::EventsSecret(command) => events_secret::run(command),
    }
}
