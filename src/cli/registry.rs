//! `dockwarden registry|tag`: the registries that are declared, and the tags in them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use settings::files::read_text;
use time::OffsetDateTime;

use super::members::{IN_THE_FILE, all, plain};
use super::repository::known;
use super::{DONE, events_secret, members, mongo, nothing_said, say, shown};
use crate::access::Decision;
use crate::app::{App, Snapshot};
use crate::catalogue::{Catalogue, Deleted, Seen, Siblings, Swept};
use crate::config::{Config, Secrets};
use crate::directory::{NewEntry, Origin};
use crate::identity::{Account, Identity};
use crate::management::{Desk, RegistryFields, SERVICE, ToldDetails, ToldRegistry, ToldTag, address_from};
use crate::records::directory::{EntryAt, EntryKind};
use crate::registries::{Registry, check_service};
use crate::secrets::Wanted;
use crate::shown::{is_plain_name, printable};

/// How many tags are read at once.
const PAGE: u32 = 1000;

/// List and declare registries, and sweep them
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum Command {
    #[command(flatten)]
    Registry(RegistryCommand),
    #[command(subcommand)]
    EventsSecret(events_secret::Command),
}

/// What is done with a registry itself.
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum RegistryCommand {
    /// List the registries of the file and of the records
    List {
        /// The configuration file
        config: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a registry, and how far its sweeps have come
    Show {
        /// The configuration file
        config: PathBuf,
        /// Its REGISTRY_AUTH_TOKEN_SERVICE
        service: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Declare a registry in the records
    Add {
        /// The configuration file
        config: PathBuf,
        /// Its REGISTRY_AUTH_TOKEN_SERVICE
        service: String,
        #[command(flatten)]
        said: Said,
    },
    /// Change a registry of the records; a list takes the place of the one before
    Change {
        /// The configuration file
        config: PathBuf,
        /// Its REGISTRY_AUTH_TOKEN_SERVICE
        service: String,
        #[command(flatten)]
        said: Said,
    },
    /// Declare a registry of the records no more; what is in it stays there
    Remove {
        /// The configuration file
        config: PathBuf,
        /// Its REGISTRY_AUTH_TOKEN_SERVICE
        service: String,
    },
    /// Sweep a registry to its end, now
    Sweep {
        /// The configuration file
        config: PathBuf,
        /// Its REGISTRY_AUTH_TOKEN_SERVICE
        service: String,
    },
}

// What a registry has.
#[derive(clap::Args)]
pub(super) struct Said {
    /// Where it is: https://registry.example.org
    #[arg(long)]
    url: Option<String>,
    /// A host name under which clients reach it (may be repeated); its name and its url's host without
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// A file with the certificates of its authorities, in PEM
    #[arg(long, value_name = "FILE")]
    ca_certificate: Option<PathBuf>,
    /// Whether pushing needs a group that is responsible
    #[arg(long, value_name = "true|false")]
    restricted: Option<bool>,
    /// A group that it is published to (may be repeated)
    #[arg(long = "publication", value_name = "GROUP")]
    publications: Vec<String>,
    /// A group that is responsible for it (may be repeated)
    #[arg(long = "responsible", value_name = "GROUP")]
    responsibles: Vec<String>,
}

impl Said {
    fn is_nothing(&self) -> bool {
        let Said { url, hosts, ca_certificate, restricted, publications, responsibles } = self;
        let has_no = [hosts, publications, responsibles].into_iter().all(Vec::is_empty);
        has_no && url.is_none() && ca_certificate.is_none() && restricted.is_none()
    }

    fn fields(self) -> Result<RegistryFields, String> {
        let authorities = match self.ca_certificate {
            None => Wanted::Unsaid,
            Some(file) if file.as_os_str().is_empty() => Wanted::Lifted,
            Some(file) => Wanted::Is(read_text(&file)?),
        };
        Ok(RegistryFields {
            url: self.url,
            hosts: all(self.hosts),
            authorities,
            restricted: self.restricted,
            publications: all(self.publications),
            responsibles: all(self.responsibles),
        })
    }
}

/// List, show and delete tags
#[derive(clap::Subcommand)]
#[command(defer = true)]
pub(super) enum TagCommand {
    /// List the tags of a repository
    List {
        /// The configuration file
        config: PathBuf,
        /// The registry
        service: String,
        /// The repository
        repository: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what a tag names, as the registry says now
    Show {
        /// The configuration file
        config: PathBuf,
        /// The registry
        service: String,
        /// The repository
        repository: String,
        /// The tag
        tag: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete a tag, as somebody whom the rules let
    Delete {
        /// The configuration file
        config: PathBuf,
        /// The registry
        service: String,
        /// The repository
        repository: String,
        /// The tag
        tag: String,
        /// As whom it is deleted: the rules decide for this account
        #[arg(long)]
        account: String,
        /// The tags that go along, with commas, where the registry deletes by digest
        #[arg(long, value_delimiter = ',', value_name = "TAGS")]
        with: Vec<String>,
    },
}

/// Runs a command on registries.
pub(super) fn run(command: Command) -> u8 {
    match command {
        Command::Registry(command) => run_registry(command),
        Command::EventsSecret(command) => events_secret::run(command),
    }
}

fn run_registry(command: RegistryCommand) -> u8 {
    if let RegistryCommand::Change { said, .. } = &command
        && said.is_nothing()
    {
        return nothing_said();
    }
    #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
    let now = OffsetDateTime::now_utc();
    mongo::run(async move {
        let said = match command {
            RegistryCommand::List { config, json } => {
                let (_, view) = members::open(mongo::load(config)?).await?;
                let mut all: Vec<_> = view.registries().iter().map(|own| ToldRegistry::of(&view, own, None)).collect();
                all.sort_by(|one, other| one.service.cmp(&other.service));
                shown::list(&all, json)?
            }
            RegistryCommand::Show { config, service, json } => {
                let app = open(config).await?;
                let snapshot = app.snapshot();
                let directory = snapshot.access.directory().ok_or(NO_REGISTRY)?;
                let view = directory.view().map_err(|cause| format!("{cause:#}"))?;
                let registry = view.registries().get(&service).ok_or(NO_REGISTRY)?;
                let catalogue = catalogue(&snapshot)?;
                // How many repositories there are is counted in memory.
                catalogue.read().await.map_err(plain)?;
                let status = catalogue.status(&service).await.map_err(plain)?;
                shown::one(&ToldRegistry::of(&view, registry, status.as_ref()), json)?
            }
            RegistryCommand::Add { config, service, said } => {
                check_service(&service)?;
                if !is_plain_name(&service) {
                    return Err("a registry's name has no characters that nobody sees".to_owned());
                }
                if service.eq_ignore_ascii_case(SERVICE) {
                    return Err(format!("{SERVICE} is what Dockwarden itself is called; choose another name"));
                }
                let url = said
                    .url
                    .as_deref()
                    .ok_or("the address of the registry is needed: --url https://registry.example.org")?;
                let blank = Registry::from_address(&service, address_from(url).map_err(plain)?);
                let (registry, authorities) = said.fields()?.over(blank, None).map_err(plain)?;
                let (directory, _) = members::open(mongo::load(config)?).await?;
                let new = NewEntry::Registry { registry: Box::new(registry), authorities, creator: None };
                directory.make(new).await.map_err(plain)?;
                format!("registry {}: declared\n", printable(&service))
            }
            RegistryCommand::Change { config, service, said } => {
                let (directory, view) = members::open(mongo::load(config)?).await?;
                let before = view.registries().get(&service).ok_or(NO_REGISTRY)?.clone();
                let Some(Origin::Records { version, creator }) = view.origin(&service).cloned() else {
                    return Err(IN_THE_FILE.to_owned());
                };
                let kept = directory.authorities_of(&service).await.map_err(plain)?;
                let (registry, authorities) = said.fields()?.over(before, kept).map_err(plain)?;
                let new = NewEntry::Registry { registry: Box::new(registry), authorities, creator };
                directory.replace(new, version).await.map_err(plain)?;
                format!("registry {}: changed\n", printable(&service))
            }
            RegistryCommand::Remove { config, service } => {
                let (directory, view) = members::open(mongo::load(config)?).await?;
                view.registries().get(&service).ok_or(NO_REGISTRY)?;
                let Some(Origin::Records { version, .. }) = view.origin(&service).cloned() else {
                    return Err(IN_THE_FILE.to_owned());
                };
                let at = EntryAt { kind: EntryKind::Registry, name: service.clone() };
                directory.remove(&at, version, now).await.map_err(plain)?;
                format!("registry {}: declared no more\n", printable(&service))
            }
            RegistryCommand::Sweep { config, service } => {
                let app = open(config).await?;
                match catalogue(&app.snapshot())?.sweep(&service).await.map_err(plain)? {
                    Swept::Complete(found) => {
                        format!("registry {}: {found} repositories\n", printable(&service))
                    }
                    Swept::Elsewhere => return Err("a server is sweeping this registry at this moment".to_owned()),
                }
            }
        };
        Ok(say(&said, DONE))
    })
}

/// Runs a command on tags.
pub(super) fn run_tag(command: TagCommand) -> u8 {
    #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
    let now = OffsetDateTime::now_utc();
    mongo::run(async move {
        let said = match command {
            TagCommand::List { config, service, repository, json } => {
                let app = open(config).await?;
                let catalogue = catalogue(&app.snapshot())?;
                known(&catalogue, &service, &repository).await?;
                let mut all: Vec<ToldTag> = Vec::new();
                loop {
                    let after = all.last().map(|last| last.name.clone());
                    let page = catalogue.tags(&service, &repository, after.as_deref(), PAGE).await.map_err(plain)?;
                    if page.is_empty() {
                        break;
                    }
                    all.extend(page.iter().map(ToldTag::of));
                }
                shown::list(&all, json)?
            }
            TagCommand::Show { config, service, repository, tag, json } => {
                let app = open(config).await?;
                let details = catalogue(&app.snapshot())?.open_tag(&service, &repository, &tag).await;
                let details = details.map_err(plain)?;
                shown::one(&ToldDetails::of(&tag, &details), json)?
            }
            TagCommand::Delete { config, service, repository, tag, account, with } => {
                let acting = Acting::open(config, &account).await?;
                let siblings = (!with.is_empty()).then(|| Siblings(with.into_iter().collect::<BTreeSet<_>>()));
                let seen = Seen { digest: None, siblings };
                let deleted = acting.desk(now).delete_tag((&service, &repository), &tag, &seen).await.map_err(plain)?;
                let sentence = printable(&deleted.sentence());
                match deleted {
                    Deleted::Done { .. } | Deleted::WasGone => format!("{sentence}\n"),
                    Deleted::Siblings(_)
                    | Deleted::Changed { .. }
                    | Deleted::Off
                    | Deleted::TooManyTags
                    | Deleted::StillThere => return Err(sentence),
                }
            }
        };
        Ok(say(&said, DONE))
    })
}

/// Somebody as whom something is done: the rules decide for that account.
pub(super) struct Acting {
    /// What the others are of, which works as long as it is there.
    _app: App,
    snapshot: Arc<Snapshot>,
    catalogue: Arc<Catalogue>,
    who: Identity,
}

impl Acting {
    /// An account, by what is known of it without its password.
    pub(super) async fn open(config: PathBuf, account: &str) -> Result<Acting, String> {
        let account = Account::parse(account).map_err(plain)?;
        let app = open(config).await?;
        let snapshot = app.snapshot();
        let who = snapshot.access.member(&account, None).await.map_err(plain)?;
        Ok(Acting { catalogue: catalogue(&snapshot)?, _app: app, snapshot, who })
    }

    /// What they may do, at this moment.
    pub(super) fn desk(&self, now: OffsetDateTime) -> Desk<'_> {
        let (access, catalogue) = (&self.snapshot.access, Some(&self.catalogue));
        Desk { access, catalogue, who: &self.who, address: None, now, heard: &unheard }
    }
}

/// A command has no log of decisions.
fn unheard(_: &str, _: &Decision) {}

pub(super) const NO_REGISTRY: &str = "there is no registry of this name, neither in the file nor in the records";

/// All that a configuration says, ready for use, with what the records have now.
pub(super) async fn open(config: PathBuf) -> Result<App, String> {
    let source = super::source(config);
    let config = source.load(Secrets::Read).map(Config::patient).map_err(|invalid| invalid.to_string())?;
    let app = App::open(source, config).map_err(|error| format!("{error:#}"))?;
    app.prepare().await.map_err(|error| format!("{error:#}"))?;
    let snapshot = app.snapshot();
    if let Some(directory) = snapshot.access.directory() {
        directory.read_again().await.map_err(plain)?;
    }
    snapshot.follow_directory();
    Ok(app)
}

pub(super) fn catalogue(snapshot: &Snapshot) -> Result<Arc<Catalogue>, String> {
    snapshot.catalogue.clone().ok_or_else(|| "there are no registries in this file; write registries: {}".to_owned())
}
