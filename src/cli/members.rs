//! `dockwarden group|app|service` and `dockwarden directory user`: the directory's entries, listed, and changed in the records.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use time::OffsetDateTime;

use super::{DONE, mongo, nothing_said, registry, say, shown, token};
use crate::config::Config;
use crate::directory::Directory;
use crate::identity::Account;
use crate::management::{Fields, MemberKind, ToldMember, make};
use crate::records::Logins;
use crate::secrets::{Expires, NotMade, Wanted};
use crate::shown::printable;

/// What is done with entries of one kind.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    /// List them, those of the file and of the records
    List {
        /// The configuration file
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one
    Show {
        /// The configuration file
        config: PathBuf,
        /// Its name or id
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make one in the records
    Add {
        /// The configuration file
        config: PathBuf,
        /// Its name; of a service, PATH@NODE
        name: String,
        /// Its id, a number that no other has; services have none
        #[arg(long)]
        id: Option<u64>,
        #[command(flatten)]
        said: Said,
    },
    /// Change one of the records; a list takes the place of the one before
    Change {
        /// The configuration file
        config: PathBuf,
        /// Its name or id
        name: String,
        #[command(flatten)]
        said: Said,
    },
    /// Remove one of the records; a service's secrets end with it
    Remove {
        /// The configuration file
        config: PathBuf,
        /// Its name or id
        name: String,
    },
}

/// List and change the services of the directory, and make their secrets
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum ServiceCommand {
    /// Make a secret for a service of the records, in the free one of its two places, and print it alone on standard output
    Secret {
        /// The configuration file
        config: PathBuf,
        /// The service's account, PATH@NODE
        name: String,
        /// When it ends: 90d, 12h, 2027-01-31, 2027-01-31T18:00:00Z, or never
        #[arg(long)]
        expires: Expires,
    },
    #[command(flatten)]
    Entries(Command),
}

// What an entry has. Each kind has some of these; an empty text takes away what was there.
#[derive(clap::Args)]
pub(super) struct Said {
    /// Of a group or a user: puller, pusher or manager (may be repeated)
    #[arg(long = "privilege", value_name = "PRIVILEGE")]
    privileges: Vec<String>,
    /// Of a user: a group, by name or id (may be repeated)
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Of a user: the group that is responsible for the registries that the user declares
    #[arg(long, value_name = "GROUP")]
    primary_group: Option<String>,
    /// Of a user: how many registries the user may declare
    #[arg(long, value_name = "NUMBER")]
    quota: Option<u32>,
    /// Of an app: a group that is responsible for it (may be repeated)
    #[arg(long = "responsible", value_name = "GROUP")]
    responsibles: Vec<String>,
    /// Of an app: a group that it is published to (may be repeated)
    #[arg(long = "publication", value_name = "GROUP")]
    publications: Vec<String>,
    /// Of a service: the app that it belongs to, by code or id
    #[arg(long, value_name = "APP")]
    app: Option<String>,
}

impl Said {
    fn is_nothing(&self) -> bool {
        let Said { privileges, groups, primary_group, quota, responsibles, publications, app } = self;
        let has_no = [privileges, groups, responsibles, publications].into_iter().all(Vec::is_empty);
        has_no && primary_group.is_none() && quota.is_none() && app.is_none()
    }

    fn fields(self) -> Fields {
        let text = |text: Option<String>| match text {
            None => Wanted::Unsaid,
            Some(text) if text.is_empty() => Wanted::Lifted,
            Some(text) => Wanted::Is(text),
        };
        Fields {
            privileges: all(self.privileges),
            groups: all(self.groups),
            primary_group: text(self.primary_group),
            quota: self.quota.map_or(Wanted::Unsaid, Wanted::Is),
            responsibles: all(self.responsibles),
            publications: all(self.publications),
            app: text(self.app),
        }
    }
}

/// What a list that may be repeated says: one empty text takes it away.
pub(super) fn all(texts: Vec<String>) -> Wanted<Vec<String>> {
    match texts.as_slice() {
        [] => Wanted::Unsaid,
        [only] if only.is_empty() => Wanted::Lifted,
        [_, ..] => Wanted::Is(texts),
    }
}

/// Runs a command on entries of a kind.
pub(super) fn run(kind: MemberKind, command: Command) -> u8 {
    if let Command::Change { said, .. } = &command
        && said.is_nothing()
    {
        return nothing_said();
    }
    #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
    let now = OffsetDateTime::now_utc();
    mongo::run(async move { Ok(say(&done(kind, command, now).await?, DONE)) })
}

/// Runs a command on services.
pub(super) fn run_service(command: ServiceCommand) -> u8 {
    match command {
        ServiceCommand::Entries(command) => run(MemberKind::Service, command),
        ServiceCommand::Secret { config, name, expires } => {
            #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
            let now = OffsetDateTime::now_utc();
            mongo::run(async move {
                let account = Account::parse(&name).map_err(plain)?;
                let app = registry::open(config).await?;
                let access = &app.snapshot().access;
                let lasting = Arc::clone(access.lasting().ok_or("there are no records in this file")?);
                let directory = access.directory().ok_or(NO_DIRECTORY)?;
                if directory.view().map_err(|cause| format!("{cause:#}"))?.service(&account).is_none() {
                    return Err("there is no service of this name in the directory".to_owned());
                }
                let owner = access.look_up(&account, None).await.map_err(plain)?;
                let made = lasting.make_service(owner, expires, now).await;
                let made = made.map_err(|refused| match refused {
                    NotMade::BothSlots => format!(
                        "the service {} has two living secrets already; list them with dockwarden token list, and revoke one with \
                         dockwarden token revoke",
                        printable(&account)
                    ),
                    other => token::plain(other),
                })?;
                Ok(token::hand_out(&made))
            })
        }
    }
}

pub(super) const NO_DIRECTORY: &str = "there is no directory: section in this file; write directory: {}";

async fn done(kind: MemberKind, command: Command, now: OffsetDateTime) -> Result<String, String> {
    let what = kind.entry().as_str();
    let missing = || format!("there is no {what} of this name or id");
    match command {
        Command::List { config, json } => {
            let (directory, view) = open(mongo::load(config)?).await?;
            let mut all = ToldMember::all(&view, kind);
            ToldMember::tell_logins(&mut all, &directory, |_| Logins::new()).await.map_err(plain)?;
            match json {
                true => shown::list(&all, json),
                false => shown::list(&spoken(&all)?, json),
            }
        }
        Command::Show { config, name, json } => {
            let (directory, view) = open(mongo::load(config)?).await?;
            let (told, ..) = ToldMember::find(&view, kind, &name).ok_or_else(missing)?;
            let mut told = [told];
            ToldMember::tell_logins(&mut told, &directory, |_| Logins::new()).await.map_err(plain)?;
            let [told] = told;
            match json {
                true => shown::one(&told, json),
                false => shown::one(&spoken(&[told])?.pop(), json),
            }
        }
        Command::Add { config, name, id, said } => {
            let new = said.fields().new_entry(kind, &name, id, now.unix_timestamp_nanos().to_string());
            let new = new.map_err(plain)?;
            let config = mongo::load(config)?;
            let access = super::account::backends(&config)?;
            let (directory, _) = open(config).await?;
            make(&access, &directory, new, now).await.map_err(plain)?;
            Ok(format!("{what} {}: added\n", printable(&name)))
        }
        Command::Change { config, name, said } => {
            let (directory, view) = open(mongo::load(config)?).await?;
            let (_, entry, version) = ToldMember::find(&view, kind, &name).ok_or_else(missing)?;
            let version = version.ok_or(IN_THE_FILE)?;
            let changed = said.fields().change(entry).map_err(plain)?;
            directory.replace(changed, version).await.map_err(plain)?;
            Ok(format!("{what} {}: changed\n", printable(&name)))
        }
        Command::Remove { config, name } => {
            let (directory, view) = open(mongo::load(config)?).await?;
            let (_, entry, version) = ToldMember::find(&view, kind, &name).ok_or_else(missing)?;
            directory.remove(&entry.at(), version.ok_or(IN_THE_FILE)?, now).await.map_err(plain)?;
            Ok(format!("{what} {}: removed\n", printable(&name)))
        }
    }
}

/// The entries as people read them: that a user never logged in is a word.
fn spoken(all: &[ToldMember]) -> Result<Vec<Value>, String> {
    let mut all: Vec<Value> = all.iter().map(serde_json::to_value).collect::<Result<_, _>>().map_err(plain)?;
    for last in all.iter_mut().filter_map(|entry| entry.get_mut("last_login")).filter(|last| last.is_null()) {
        *last = Value::from("never");
    }
    Ok(all)
}

/// What is said of what only the file changes.
pub(super) const IN_THE_FILE: &str = "this is in the configuration file, and changed there";

/// The directory of a file as it is now.
pub(super) async fn open(config: Config) -> Result<(Directory, Arc<crate::directory::View>), String> {
    let directory = Directory::open(config.directory.ok_or(NO_DIRECTORY)?).map_err(|error| format!("{error:#}"))?;
    directory.read_again().await.map_err(plain)?;
    let view = directory.view().map_err(|cause| format!("{cause:#}"))?;
    Ok((directory, view))
}

/// What went wrong, with its causes.
pub(super) fn plain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
