//! `dockwarden repository`: what is in a registry, who may pull it and who did.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use policy::scope::Action;
use time::OffsetDateTime;

use super::members::{NO_DIRECTORY, plain};
use super::registry::{Acting, NO_REGISTRY, catalogue, open};
use super::{DONE, mongo, nothing_said, say, shown};
use crate::app::{App, Snapshot};
use crate::authn::LookUp;
use crate::catalogue::{Catalogue, Emptied, Listing, is_digest, stopped_at};
use crate::identity::Account;
use crate::management::{Description, ToldCaller, ToldRepository, ToldUse};
use crate::records::catalogue::{Mark, Pulled, Repository};
use crate::records::directory::EntryKind;
use crate::shown::printable;

/// How many pulls are read at once.
const PAGE: u32 = 1000;

/// List, describe and delete what is in a registry, and who may pull it and did
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    /// List the repositories that the records know
    List {
        /// The configuration file
        config: PathBuf,
        /// The registry
        service: String,
        /// Only those that this account may pull
        #[arg(long)]
        account: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a repository
    Show {
        /// The configuration file
        config: PathBuf,
        /// The registry
        service: String,
        /// The repository
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List who pulled, from where and when last: an image, wherever it is, or what is in a repository
    Pulls {
        /// The configuration file
        config: PathBuf,
        /// The registry; all of them without
        service: Option<String>,
        /// The repository; all that are there without
        name: Option<String>,
        /// The image, by the digest of its manifest; it is needed without a repository
        #[arg(long)]
        digest: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List who may pull from a repository: the users and services of the directory of whom the rules say so
    Pullers {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List who may push to a repository
    Pushers {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what a repository is, as somebody whom the rules let
    Describe {
        #[command(flatten)]
        place: Place,
        /// As whom: the rules decide for this account
        #[arg(long)]
        account: String,
        /// A text on one line; an empty one takes away what was there
        #[arg(long)]
        text: Option<String>,
        /// Whether it is one of the site's official ones
        #[arg(long, value_name = "true|false")]
        official: Option<bool>,
        /// Whether it is built automatically
        #[arg(long, value_name = "true|false")]
        automated: Option<bool>,
    },
    /// Delete all tags of a repository, as somebody whom the rules let
    Delete {
        #[command(flatten)]
        place: Place,
        /// As whom: the rules decide for this account
        #[arg(long)]
        account: String,
    },
}

// Which repository.
#[derive(clap::Args)]
pub(super) struct Place {
    /// The configuration file
    config: PathBuf,
    /// The registry
    service: String,
    /// The repository
    name: String,
}

/// Runs a command on repositories.
pub(super) fn run(command: Command) -> u8 {
    if let Command::Describe { text: None, official: None, automated: None, .. } = &command {
        return nothing_said();
    }
    #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
    let now = OffsetDateTime::now_utc();
    mongo::run(async move {
        let said = match command {
            Command::List { config, service, account, json } => {
                let app = open(config).await?;
                let (snapshot, listing) = (app.snapshot(), listing(&app, &service).await?);
                let mut names: Vec<Arc<str>> = listing.iter().map(|entry| Arc::clone(&entry.name)).collect();
                if let Some(account) = account {
                    let account = Account::parse(&account).map_err(plain)?;
                    if !is_somebody(&snapshot, &account).await? {
                        return Err(
                            "nobody knows an account of this name, neither the directory nor a backend".to_owned()
                        );
                    }
                    let who = &snapshot.access.member(&account, None).await.map_err(plain)?;
                    let viewer = crate::access::Viewer { who, address: None, service: &service, now };
                    names = snapshot.access.pullable(&viewer, names, usize::MAX).await.map_err(plain)?;
                }
                let all = names.iter().filter_map(|name| listing.get(name)).map(|entry| ToldRepository::listed(entry));
                shown::list(&all.collect::<Vec<_>>(), json)?
            }
            Command::Show { config, service, name, json } => {
                let app = open(config).await?;
                let catalogue = catalogue(&app.snapshot())?;
                let found = known(&catalogue, &service, &name).await?;
                shown::one(&ToldRepository::of(&found, None), json)?
            }
            Command::Pulls { config, service, name, digest, json } => {
                if digest.as_ref().is_some_and(|digest| !is_digest(digest)) {
                    return Err("this is no digest; write sha256: and 64 hexadecimal digits".to_owned());
                }
                let what = match (name, digest) {
                    (None, None) => return Err("of what? name a registry and a repository, or --digest".to_owned()),
                    (None, Some(digest)) => Pulled::Digest(digest),
                    (Some(name), None) => Pulled::Repository(name),
                    (Some(repository), Some(digest)) => Pulled::Manifest { repository, digest },
                };
                let app = open(config).await?;
                let catalogue = catalogue(&app.snapshot())?;
                let services = match service {
                    Some(service) if !catalogue.services().contains(&service) => return Err(NO_REGISTRY.to_owned()),
                    Some(service) => vec![service],
                    None => catalogue.services(),
                };
                let found = pulls(&catalogue, &services, &what).await?;
                // Where nobody pulled, the name may be wrong.
                if let ([service], Pulled::Repository(name) | Pulled::Manifest { repository: name, .. }, true) =
                    (services.as_slice(), &what, found.is_empty())
                {
                    known(&catalogue, service, name).await?;
                }
                shown::list(&found, json)?
            }
            Command::Pullers { place, json } => shown::list(&callers(place, &Action::Pull, now).await?, json)?,
            Command::Pushers { place, json } => shown::list(&callers(place, &Action::Push, now).await?, json)?,
            Command::Describe { place: Place { config, service, name }, account, text, official, automated } => {
                let mark = |flag| if flag { Mark::Set } else { Mark::Unset };
                let change = Description { text, official: official.map(mark), automated: automated.map(mark) };
                let acting = Acting::open(config, &account).await?;
                acting.desk(now).describe(&service, &name, change).await.map_err(plain)?;
                format!("repository {}: described\n", printable(&name))
            }
            Command::Delete { place: Place { config, service, name }, account } => {
                let acting = Acting::open(config, &account).await?;
                match acting.desk(now).delete_repository(&service, &name).await.map_err(plain)? {
                    Emptied::Done(tags) => format!("repository {}: {tags} tags are deleted\n", printable(&name)),
                    Emptied::WasGone => format!("repository {}: the registry has no tags of it\n", printable(&name)),
                    Emptied::Stopped { deleted, tag, by } => {
                        let (tag, why) = (printable(&tag), printable(&by.sentence()));
                        return Err(format!("{why}; {}", stopped_at(&tag, deleted)));
                    }
                }
            }
        };
        Ok(say(&said, DONE))
    })
}

/// A repository that there is, or was.
pub(super) async fn known(catalogue: &Catalogue, service: &str, name: &str) -> Result<Repository, String> {
    if !catalogue.services().iter().any(|own| own == service) {
        return Err(NO_REGISTRY.to_owned());
    }
    let found = catalogue.repository(service, name).await.map_err(plain)?;
    found.ok_or_else(|| "there is no repository of this name in the records".to_owned())
}

/// The users and services of the directory that may do this with a repository.
async fn callers(place: Place, action: &Action, now: OffsetDateTime) -> Result<Vec<ToldCaller>, String> {
    let Place { config, service, name } = place;
    let app = open(config).await?;
    let snapshot = app.snapshot();
    // Of a repository that nobody pushed to yet, it can be asked, too.
    if !catalogue(&snapshot)?.services().contains(&service) {
        return Err(NO_REGISTRY.to_owned());
    }
    let directory = snapshot.access.directory().ok_or(NO_DIRECTORY)?;
    let view = directory.view().map_err(|cause| format!("{cause:#}"))?;
    let users = view.users().iter().map(|own| (own.entry.name.clone(), EntryKind::User.as_str()));
    let services = view.services().iter().map(|own| (own.entry.name.clone(), EntryKind::Service.as_str()));
    let kinds: BTreeMap<Account, &'static str> = users.chain(services).collect();
    let accounts: Vec<Account> = kinds.keys().cloned().collect();
    let found = snapshot.access.who_may(accounts, action, (&service, &name), now).await.map_err(plain)?;
    let told = |account: Account| Some(ToldCaller { kind: kinds.get(&account)?, name: account.to_string() });
    Ok(found.into_iter().filter_map(told).collect())
}

/// Whether an account may be somebody's: of one that is known by a login alone, nobody can say that it is not.
async fn is_somebody(snapshot: &Snapshot, account: &Account) -> Result<bool, String> {
    let is_in_directory = match snapshot.access.directory() {
        None => false,
        Some(directory) => directory.view().map_err(|cause| format!("{cause:#}"))?.given(account).is_some(),
    };
    Ok(is_in_directory
        || match snapshot.access.look_up(account, None).await.map_err(plain)? {
            LookUp::Known(_) | LookUp::OnlyByLogin => true,
            LookUp::Unknown => false,
        })
}

/// Who pulled this from these registries.
async fn pulls(catalogue: &Catalogue, services: &[String], what: &Pulled) -> Result<Vec<ToldUse>, String> {
    let mut all = Vec::new();
    for service in services {
        let mut skip = 0;
        loop {
            let page = catalogue.pulls(service, what, skip, PAGE).await.map_err(plain)?;
            if page.is_empty() {
                break;
            }
            all.extend(page.iter().map(ToldUse::of));
            skip = skip.saturating_add(PAGE);
        }
    }
    Ok(all)
}

/// What is in a registry, as the records have it.
async fn listing(app: &App, service: &str) -> Result<Listing, String> {
    let catalogue = catalogue(&app.snapshot())?;
    if !catalogue.services().iter().any(|own| own == service) {
        return Err(NO_REGISTRY.to_owned());
    }
    catalogue.read().await.map_err(plain)?;
    Ok(catalogue.listing(service))
}
