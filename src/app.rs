//! What runs: a snapshot of everything compiled from one configuration, swapped as a whole when the files change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use settings::ShownPath;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::access::{Access, Chain, Denied};
use crate::acme::AcmeCertificate;
use crate::authn::password::{HashEvent, Passwords};
use crate::authz::Freshness;
use crate::catalogue::Catalogue;
use crate::client_address::{AddressSource, Peer};
use crate::client_network::ClientNetwork;
use crate::clock;
use crate::config::{
    Api, Config, ForwardAuth, Hsts, Invalid, Pair, Problem, Secrets, SecretsOf, Server, ServicesFrom, Tls,
};
use crate::connections::Origin;
use crate::decisions::Decisions;
use crate::descriptors::transfers_at_once;
use crate::directory::{self, Directory};
use crate::gateway::Gateway;
use crate::keys::{PairFiles, create_pair};
use crate::last_said::LastSaid;
use crate::metrics::{self, Metrics};
use crate::mint::{Mint, Signing};
use crate::policy_tests::{Failing, Outcome, PolicyGate, Run, Tests};
use crate::registries::Registries;
use crate::secrets::Lasting;
use crate::telemetry::Telemetry;
use crate::token::{Before, HeaderChoice, Issuer, Trust};
use crate::turns::{Busy, Turn};
use crate::{records, telemetry, workload};

mod acme;
mod catalogue;
mod certificate;
mod leaf;
mod overview;
mod upkeep;

pub use acme::look_after_certificate;
use acme::shown_in;
pub use catalogue::look_after_catalogue;
pub use certificate::remind_of_certificate;
use certificate::{warn_of_fallback, warn_of_other_pair};
pub use leaf::Step;
use leaf::{Renewal, Renewing};
use overview::EndingSecrets;
pub use overview::{Ending, Ends, Overview, POINT, RulesAge};
pub use upkeep::{look_after_secrets, take_over_passwords, tell_collector, write_uses};

/// Everything that one configuration says, ready for use. A request holds one snapshot from beginning to end, so that
/// it never sees half of a change.
pub struct Snapshot {
    /// Counts the configurations of this process, from 1; it is in each line of the decision log.
    pub generation: u64,
    /// Who, and what they may do.
    pub access: Access,
    /// Makes the tokens.
    pub mint: Mint,
    /// Signs them, and knows its own.
    pub issuer: Arc<Issuer>,
    /// What renews the leaf that signs, if we do.
    renewal: Option<Renewal>,
    /// The audiences that tokens are made for; empty means any.
    pub services: Vec<String>,
    /// What says so.
    services_from: ServicesFrom,
    /// The services that rules see at the doors that need no token.
    pub door_services: BTreeSet<String>,
    /// How requests that proxies ask about are decided, if they may ask.
    pub forward_auth: Option<ForwardAuth>,
    /// The registries that are served through us, if there are any.
    pub gateway: Option<Gateway>,
    /// What is remembered, if anything is.
    pub records: Option<records::InUse>,
    /// The registries of the file, where no directory has them.
    registries: Registries,
    /// The host names that are ours, as far as the file says them.
    own_hosts: BTreeSet<String>,
    /// What is in the registries that are declared, if any are or can be.
    pub catalogue: Option<Arc<Catalogue>>,
    /// How people sign in in a browser, if they do.
    pub sign_in: Option<crate::sign_in::Section>,
    /// Where secrets are administered, if anywhere.
    pub api: Api,
    /// Where a client's address is taken from.
    pub address: AddressSource,
    /// How many connections one network may have open.
    pub connections_per_address: usize,
    /// How long a new connection of a trusted proxy may rest between two requests.
    pub proxy_rest: Duration,
    /// Whether replies carry HSTS.
    pub hsts: Hsts,
    /// TLS for new connections.
    pub tls: Option<Tls>,
    /// What the policy promises.
    pub tests: Tests,
    loaded: Instant,
}

impl Snapshot {
    /// What decides its tests.
    fn chain(&self) -> anyhow::Result<Chain> {
        Ok(self.access.chain(self.tests.iter().map(|test| &test.account))?)
    }

    /// The services that tokens are made for, with those of the registries that are declared elsewhere than in the file; none: any.
    pub fn all_services(&self) -> Vec<String> {
        self.services_from.with_declared(self.services.clone(), self.access.directory())
    }

    /// Whether tokens are made for a service besides [`Snapshot::services`]: a registry that was declared elsewhere than in the file.
    pub fn declares(&self, service: &str) -> bool {
        match self.services_from {
            ServicesFrom::Token => false,
            ServicesFrom::Registries => self.access.directory().is_some_and(|directory| directory.declares(service)),
        }
    }

    /// The name of the registry that clients mean by a `Host`, of all that are declared now.
    ///
    /// # Errors
    /// [`Denied::Unavailable`] where nobody knows now which there are.
    pub fn registry_of_host(&self, host: &str) -> Result<Option<String>, Denied> {
        let named = |registries: &Registries| {
            registries.of_host(host, &self.own_hosts).map(|registry| registry.service.clone())
        };
        match self.access.directory() {
            None => Ok(named(&self.registries)),
            Some(directory) => match directory.view() {
                Ok(view) => Ok(named(view.registries())),
                Err(cause) => Err(Denied::Unavailable { backend: directory::NAME, cause }),
            },
        }
    }

    /// Whom a new connection is counted for.
    pub fn origin(&self, peer: Peer) -> Origin {
        let address = match peer {
            Peer::Tcp(address) => address,
            Peer::Unix => return Origin::Proxy { rest: self.proxy_rest },
        };
        let asks = self.forward_auth.as_ref().is_some_and(|door| door.proxies.include(peer));
        match &self.address {
            _ if asks => Origin::Proxy { rest: self.proxy_rest },
            AddressSource::Proxies(proxies) if proxies.peers.include(peer) => Origin::Proxy { rest: self.proxy_rest },
            AddressSource::Peer | AddressSource::Proxies(_) => {
                Origin::Client { address, most: self.connections_per_address }
            }
            AddressSource::Position { .. } => Origin::Unknown,
        }
    }

    /// What there is to measure of it at this moment.
    fn measured(&self, now: OffsetDateTime) -> metrics::Now {
        let rules = self.access.freshness().into_iter();
        metrics::Now {
            certificate_ends: self.issuer.key().not_after(),
            tls_certificate_ends: None,
            wrong_password_accounts: self.access.attempts().counted(),
            header_fallback: match self.issuer.header_form_at(now) {
                HeaderChoice::Configured(_) => false,
                HeaderChoice::KidInstead(_) => true,
            },
            tokens_cut_short: self.mint.is_cut_short(now),
            snapshot_age: self.loaded.elapsed(),
            rules: rules
                .map(|(source, Freshness { age, refused, .. })| metrics::Rules { source, age, refused })
                .collect(),
            workload_keys: self.access.workloads().map(|entries| entries.key_ages()).unwrap_or_default(),
            breakers: self
                .access
                .passages()
                .into_iter()
                .chain(self.records.as_ref().and_then(records::InUse::passage))
                .collect(),
        }
    }

    fn build(
        config: Config,
        generation: u64,
        passwords: &Arc<Passwords>,
        metrics: &Metrics,
        signing: &Signing,
        before: Option<&Snapshot>,
    ) -> anyhow::Result<Snapshot> {
        let token = config.token;
        let renewal = Renewal::of(&token);
        let Pair::Loaded(key) = token.pair else {
            anyhow::bail!("the signing certificate is not there; it is made only when the server starts");
        };
        let access_before = before.map(|before| &before.access);
        let access = Access::open(&config.backends, access_before, passwords, metrics)?;
        let access = match config.directory {
            None => access,
            Some(settings) => {
                let before = access_before.and_then(Access::directory);
                access.with_directory(Directory::keep_or_open(settings, before)?, passwords, metrics)?
            }
        };
        let workloads = config.workload.as_ref().map(workload::Settings::names).unwrap_or_default();
        let access = access.with_workloads(config.workload, access_before, metrics)?;
        let records = match (config.records, before) {
            (None, _) => None,
            (Some(settings), None) => Some(records::InUse::open(settings)),
            (Some(settings), Some(before)) => Some(records::InUse::keep_or_open(settings, before.records.as_ref())?),
        };
        let access = match &records {
            None => access,
            Some(in_use) => {
                let uses = before.and_then(|before| before.access.lasting()).map(|lasting| lasting.uses());
                let store = Arc::clone(&in_use.records);
                let lasting = Lasting::new(store, config.lasting, uses.unwrap_or_default()).with_workloads(workloads);
                let used = access_before.and_then(Access::used_rules).map(Arc::clone);
                let noted = access_before.and_then(Access::noted_logins).map(Arc::clone);
                let access = access.with_noted_logins(noted.unwrap_or_default());
                access.with_secrets(Arc::new(lasting), metrics).with_used_rules(used.unwrap_or_default())
            }
        };
        let gateway_before = before.and_then(|before| before.gateway.as_ref());
        let open = |settings| Gateway::open(settings, gateway_before, transfers_at_once());
        let gateway = config.gateway.map(open).transpose()?;
        let proxy_rest = config.server.proxy_rest();
        let now = this_moment();
        let trust = token.authority.and_then(|authority| authority.trusted).map(|authority| {
            let signed = before.map(|before| Before { issuer: &before.issuer, life: before.mint.life() });
            Trust::new((authority, token.not_before), token.life, &key, signed, now)
        });
        if trust.is_some()
            && now < key.used_from()
            && before.is_some_and(|before| before.issuer.leaf_ends().is_some_and(|ends| now < ends))
        {
            anyhow::bail!(
                "the time of the new leaf has not begun by this machine's clock; the one before it signs until then"
            );
        }
        let issuer = Issuer::new(key, token.issuer, token.header, token.kid)?.refusing_before(token.not_before);
        let issuer = Arc::new(match trust {
            Some(trust) => issuer.trusting(trust),
            None => issuer,
        });
        let catalogue_before = before.and_then(|before| before.catalogue.as_deref());
        let catalogue = match &records {
            Some(in_use) if !config.registries.is_empty() || declares_in_records(&access) => {
                let (registries, store) = (&config.registries, &in_use.records);
                let opened = Catalogue::open(registries, config.catalogue, store, &issuer, metrics, catalogue_before)?;
                Some(Arc::new(opened))
            }
            Some(_) | None => None,
        };
        let further = access.directory().map(|directory| directory.further_hashes()).transpose()?;
        passwords.fill_up_with(further.unwrap_or_default());
        let snapshot = Snapshot {
            generation,
            registries: config.registries,
            own_hosts: config.own_hosts,
            catalogue,
            access,
            mint: Mint::new(Arc::clone(&issuer), token.life, token.reuse, signing.clone(), metrics.clone()),
            issuer,
            renewal,
            services: token.services,
            services_from: token.services_from,
            door_services: config.door_services,
            forward_auth: config.forward_auth,
            gateway,
            records,
            sign_in: config.sign_in,
            api: config.api,
            address: config.server.address,
            connections_per_address: config.server.connections_per_address,
            proxy_rest,
            hsts: config.server.hsts,
            tls: config.server.tls,
            tests: config.tests,
            loaded: clock::now(),
        };
        // Before it is in use: no reload takes a registry of the records away for a moment.
        snapshot.follow_directory();
        Ok(snapshot)
    }
}

/// The running server's state.
pub struct App {
    /// The metrics.
    pub metrics: Metrics,
    /// The last decisions, for people who look.
    pub decisions: Decisions,
    /// When the log last said that a proxy seems to ask at `/`.
    pub(crate) said_asked_at_root: LastSaid,
    /// The secrets that end soon.
    ending: Mutex<EndingSecrets>,
    snapshot: ArcSwap<Snapshot>,
    source: Source,
    generations: AtomicU64,
    passwords: Arc<Passwords>,
    signing: Signing,
    stopping: AtomicBool,
    renewing: Renewing,
    telemetry: Option<Telemetry>,
    /// The listener's certificate, if it is ordered.
    acme: Option<Arc<AcmeCertificate>>,
    /// Held while a changed configuration is read: of two reloads, the one that begins later reads the newer files.
    reloading: Mutex<()>,
    /// Lets in what passes the tests of the policy.
    gate: Arc<PolicyGate>,
    /// What is read at each reload, for the watcher.
    files: Mutex<Vec<PathBuf>>,
    /// What cannot change while the process runs.
    fixed: Fixed,
}

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// The environment variables that override it.
    pub variables: Vec<(String, String)>,
}

impl Source {
    /// Reads the configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self, secrets: impl Into<SecretsOf>) -> Result<Config, Invalid> {
        Config::load(&self.file, self.variables.iter().cloned(), secrets)
    }

    /// Reads the configuration, after making the signing key where the file asks for that and there is none.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or why the key could not be made.
    pub fn load_and_make_key(&self) -> anyhow::Result<Config> {
        let config = self.load_with_leaf()?;
        let Pair::ToBeMade { key } = &config.token.pair else { return Ok(config) };
        let certificate = &config.token.certificate;
        // As they are called before there are such files: a password in their place is then no path yet.
        let (at, beside) = (ShownPath(key).to_string(), ShownPath(certificate).to_string());
        let made = create_pair(key, certificate, Algorithm::RS256, &config.token.issuer, this_moment())?;
        match made {
            PairFiles::Made | PairFiles::CertificateMade => {
                info!(key = %at, certificate = %beside, "made a key pair for signing tokens");
            }
            PairFiles::Found => {}
        }
        Ok(self.load(Secrets::Read)?)
    }

    /// Reads the configuration, after making a leaf where the authority's key is there and no leaf that can sign.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or why there is no leaf.
    fn load_with_leaf(&self) -> anyhow::Result<Config> {
        let config = self.load(Secrets::Read)?;
        match &config.token.pair {
            Pair::LeafToBeMade => {
                leaf::make(&config.token, this_moment())?;
                Ok(self.load(Secrets::Read)?)
            }
            Pair::Loaded(_) | Pair::ToBeMade { .. } | Pair::NotRead => Ok(config),
        }
    }
}

/// What came of reading a changed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is in use.
    Done,
    /// It cannot be used; the old one stays.
    Failed,
}

/// Settings that take effect only when the process starts.
#[derive(PartialEq, Eq)]
struct Fixed {
    listen: crate::config::ListenAddress,
    admin: Option<crate::config::ListenAddress>,
    gateway: Option<crate::config::ListenAddress>,
    path_prefix: String,
    tls: bool,
    acme: Option<crate::acme::Settings>,
    telemetry: Option<telemetry::Settings>,
}

impl Fixed {
    fn from_config(config: &Config) -> Fixed {
        let server: &Server = &config.server;
        Fixed {
            gateway: config.gateway.as_ref().and_then(|gateway| gateway.listen.clone()),
            listen: server.listen.clone(),
            admin: server.admin.clone(),
            path_prefix: server.path_prefix.clone(),
            tls: server.speaks_tls(),
            acme: server.acme.clone(),
            telemetry: config.telemetry.clone(),
        }
    }
}

impl App {
    /// Where the configuration is read from.
    pub(crate) fn source(&self) -> &Source {
        &self.source
    }

    /// Makes everything ready for a first configuration.
    ///
    /// # Errors
    /// The signing key is not there, does not sign, or the system gave no random bytes.
    pub fn open(source: Source, config: Config) -> anyhow::Result<App> {
        let metrics = Metrics::default();
        let signing = Signing::new();
        let observer = metrics.clone();
        let passwords = Arc::new(Passwords::new(move |step| match step {
            HashEvent::Waited(took) => observer.password_waited(took),
            HashEvent::Hashed(took) => observer.password_hashed(took),
        })?);
        let files = config.files.clone();
        let fixed = Fixed::from_config(&config);
        let warnings = config.lint();
        let open = |settings: &telemetry::Settings| Telemetry::open(settings.clone(), &metrics, this_moment());
        let telemetry = config.telemetry.as_ref().map(open).transpose()?;
        let acme = config.server.acme.clone().map(|settings| Arc::new(AcmeCertificate::open(settings)));
        let mut snapshot = Snapshot::build(config, 1, &passwords, &metrics, &signing, None)?;
        snapshot.tls = snapshot.tls.map(|tls| shown_in(&tls, acme.as_deref()));
        let gate = Arc::new(PolicyGate::default());
        let run = gate.enter((Arc::clone(&snapshot.tests), snapshot.chain()?), &source.file, || {})?;
        tell_of_waiting(&run);
        warn_of(&warnings, &source.file);
        warn_of_fallback(&snapshot, this_moment());
        Ok(App {
            metrics,
            decisions: Decisions::default(),
            said_asked_at_root: LastSaid::default(),
            ending: Mutex::default(),
            snapshot: ArcSwap::from_pointee(snapshot),
            source,
            generations: AtomicU64::new(1),
            passwords,
            signing,
            stopping: AtomicBool::new(false),
            renewing: Renewing::default(),
            telemetry,
            acme,
            reloading: Mutex::new(()),
            gate,
            files: Mutex::new(files),
            fixed,
        })
    }

    /// Makes the records ready that the first configuration names. Those that are away are asked again when they are needed.
    ///
    /// # Errors
    /// They will never be of use: a newer program has made them, or nobody has.
    pub async fn prepare(&self) -> anyhow::Result<()> {
        match &self.snapshot().records {
            Some(records) => Ok(records.prepare().await?),
            None => Ok(()),
        }
    }

    /// What tells a collector of requests, if the configuration names one.
    pub(crate) fn telemetry(&self) -> Option<&Telemetry> {
        self.telemetry.as_ref()
    }

    /// The configuration in use now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// All metrics as text.
    ///
    /// # Errors
    /// The text could not be formatted.
    pub fn metrics_text(&self, now: OffsetDateTime) -> Result<String, std::fmt::Error> {
        let tls_certificate_ends = self.acme.as_deref().map(acme::measured);
        self.metrics.text(metrics::Now { tls_certificate_ends, ..self.snapshot().measured(now) })
    }

    /// Every file that the configuration is read from.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the configuration anew and, if all of it is right, puts it in place of the old one. Requests under
    /// way keep the one they began with. If anything is wrong the old one stays, and the log says what it is.
    ///
    /// Reads files, and so must not run on a thread that serves requests.
    pub fn reload(&self) -> Reload {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let built = self.source.load_with_leaf().and_then(|config| {
            let files = config.files.clone();
            let fixed = Fixed::from_config(&config);
            let warnings = config.lint();
            let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
            let before = self.snapshot();
            let mut snapshot =
                Snapshot::build(config, generation, &self.passwords, &self.metrics, &self.signing, Some(&before))?;
            // A listener does not change between TLS and plain HTTP: passwords would travel in the clear. Nor does whether its
            // certificate is ordered.
            snapshot.tls = match self.fixed.tls {
                true if fixed.acme.is_some() != self.acme.is_some() => before.tls.clone(),
                true => snapshot.tls.map(|tls| shown_in(&tls, self.acme.as_deref())).or_else(|| before.tls.clone()),
                false => None,
            };
            let snapshot = Arc::new(snapshot);
            let put = || self.snapshot.store(Arc::clone(&snapshot));
            let run = self.gate.enter((Arc::clone(&snapshot.tests), snapshot.chain()?), &self.source.file, put)?;
            Ok((snapshot, run, files, fixed, warnings, before))
        });
        match built {
            Ok((snapshot, run, files, fixed, warnings, before)) => {
                if fixed != self.fixed {
                    warn!(
                        reason = "restart_needed",
                        "server.addr, admin_addr, path_prefix and letsencrypt, gateway.addr, telemetry and whether TLS is spoken change only at a restart"
                    );
                }
                *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
                self.metrics.reloaded();
                self.metrics.failing_tests(&[]);
                // After that, so that whoever has read this line is answered by the new configuration.
                info!(snapshot = snapshot.generation, warnings = warnings.len(), "configuration reloaded");
                tell_of_waiting(&run);
                warn_of(&warnings, &self.source.file);
                warn_of_other_pair(&before, &snapshot);
                warn_of_fallback(&snapshot, this_moment());
                Reload::Done
            }
            Err(cause) => {
                self.metrics.reload_failed();
                self.metrics.failing_tests(cause.downcast_ref().map_or(&[][..], |Failing { names, .. }| names));
                // With every cause of it: the outermost may be no more than the section's name.
                error!(reason = "reload_failed", file = %self.source.file.display(), cause = format!("{cause:#}"),
                    "the changed configuration cannot be used; the old one stays");
                Reload::Failed
            }
        }
    }

    /// Waits for a connection's turn to have a signature made, as TLS needs one.
    ///
    /// # Errors
    /// None came in time.
    pub(crate) async fn turn_to_sign(&self, peer: Peer) -> Result<Turn, Busy> {
        let address = match peer {
            Peer::Tcp(address) => Some(address),
            Peer::Unix => None,
        };
        self.signing.turn(self.snapshot().access.attempts().client(ClientNetwork::of(address))).await
    }

    /// Whether the gateway has a listener of its own.
    pub fn gateway_is_elsewhere(&self) -> bool {
        self.fixed.gateway.is_some()
    }

    /// Whether the server has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Says that the server has begun to stop.
    pub fn begin_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}

/// Whether registries may be declared in the records.
fn declares_in_records(access: &Access) -> bool {
    access.directory().is_some_and(|directory| directory.settings().store.is_some())
}

#[expect(clippy::disallowed_methods, reason = "a configuration is taken over at this moment, for no request")]
fn this_moment() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Says how many tests nobody can decide yet: they are asked again when the rules they wait for are read.
fn tell_of_waiting(run: &Run) {
    let is_waiting = |outcome: &Outcome| matches!(outcome, Outcome::Waits { .. });
    let tests = run.verdicts.iter().filter(|verdict| is_waiting(&verdict.outcome)).count();
    if tests > 0 {
        info!(tests, "tests of the policy wait for rules that are kept elsewhere");
    }
}

fn warn_of(warnings: &[Problem], file: &Path) {
    for warning in warnings {
        warn!(reason = "lint", "{}", warning.in_file(file));
    }
}
