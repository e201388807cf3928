//! `dockwarden keys`: leaves under the authority for tokens, made where its key is.

use std::path::PathBuf;

use clap::Subcommand;
use settings::ShownPath;
use time::OffsetDateTime;

use super::{DONE, complain, say, source};
use crate::app::Source;
use crate::config::{Leaves, Secrets};
use crate::keys::{PairFiles, SigningKey, When, day};

/// The keys that sign tokens.
#[derive(Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    /// Make a new leaf under token.authority, valid for 30 days, and replace token.certificate and token.key with it
    IssueLeaf {
        /// The configuration file; token.authority.key has to be there
        config: PathBuf,
    },
}

/// Runs the command.
pub(super) fn run(command: Command) -> u8 {
    match command {
        Command::IssueLeaf { config } => match issue_leaf(&source(config)) {
            Ok(report) => say(&report, DONE),
            Err(error) => complain(&format!("dockwarden: {error:#}")),
        },
    }
}

/// Puts a new leaf in place, and says what was done.
fn issue_leaf(source: &Source) -> anyhow::Result<String> {
    // No key is read: the leaf that is there may be another authority's, or too old.
    let token = source.load(Secrets::Skip)?.token;
    let leaves = token.authority.map(|authority| authority.leaves);
    let (files, generate) = match leaves {
        Some(Leaves::Ours { files, generate }) => (files, generate),
        Some(Leaves::Elsewhere) => {
            anyhow::bail!(
                "{}: token.authority.key: the authority's key makes leaves; name its file, for this command by \
                 DOCKWARDEN__TOKEN__AUTHORITY__KEY",
                source.file.display()
            );
        }
        None => anyhow::bail!(
            "{}: token.authority: there is no authority, and without one there are no leaves; write authority: {{certificate: …, key: …, \
             generate: true}} below token",
            source.file.display()
        ),
    };
    #[expect(clippy::disallowed_methods, reason = "a leaf begins when it is made")]
    let now = OffsetDateTime::now_utc();
    // As they are called before there are such files: a password in their place is then no path yet.
    let [top, top_key, leaf, leaf_key] =
        [&files.authority_certificate, &files.authority_key, &files.certificate, &files.key]
            .map(|path| ShownPath(path).to_string());
    let mut report = String::new();
    if generate && files.make_authority(&token.issuer, now)? != PairFiles::Found {
        report.push_str(&format!("made an authority for tokens in {top} and {top_key}\n"));
    }
    files.issue(When::Always, &token.issuer, now)?;
    let (certificate, key) = (std::fs::read(&files.certificate)?, std::fs::read(&files.key)?);
    let made = SigningKey::from_pem(&key, &certificate).map_err(|_| anyhow::anyhow!("the new leaf cannot be read"))?;
    report.push_str(&format!("{leaf} and {leaf_key}: a leaf that is valid until {}\n", day(made.not_after())));
    Ok(report)
}
