//! What runs: a snapshot of everything compiled from one configuration, swapped as a whole when the files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use jsonwebtoken::Algorithm;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::access::{Access, Decision};
use crate::authn::password::Passwords;
use crate::authz::lint::lint;
use crate::chain::Connections;
use crate::client_network::ClientNetwork;
use crate::config::refused::ShownPath;
use crate::config::{Config, ForwardAuth, Hsts, Invalid, Keys, Pair, Problem, Server, Tls};
use crate::connections::Said;
use crate::gateway::Gateway;
use crate::http::client_address::{AddressSource, Peer};
use crate::keys::{Effort, PairFiles, create_pair};
use crate::metrics::Metrics;
use crate::scope::Action;
use crate::server::transfers_at_once;
use crate::token::recent::{Content, Recent, RecentTokens};
use crate::token::{AccessEntry, CertificateTime, HeaderChoice, HeaderForm, Issuer, jti};
use crate::turns::{Busy, Client, PATIENCE, Turn, Turns};

/// Clients do not ask for a token more often than this, whatever a reply says.
const SHORTEST_LIFE: Duration = Duration::from_secs(60);

/// Everything that one configuration says, ready for use. A request holds one snapshot from beginning to end, so that
/// it never sees half of a change.
pub struct Snapshot {
    /// Counts the configurations of this process, from 1; it is in each line of the decision log.
    pub generation: u64,
    /// Who, and what they may do.
    pub access: Access,
    /// Signs.
    pub issuer: Issuer,
    /// The audiences that tokens are made for; empty means any.
    pub services: Vec<String>,
    /// How requests that proxies ask about are decided, if they may ask.
    pub forward_auth: Option<ForwardAuth>,
    /// The registries that are served through us, if there are any.
    pub gateway: Option<Gateway>,
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
    life: Duration,
    recent: Option<RecentTokens>,
    loaded: Instant,
    connections: Connections,
}

impl Snapshot {
    /// How long it has been in use.
    pub fn age(&self) -> Duration {
        self.loaded.elapsed()
    }

    fn build(
        config: Config,
        generation: u64,
        passwords: &Arc<Passwords>,
        metrics: &Metrics,
        before: Option<&Snapshot>,
    ) -> anyhow::Result<Snapshot> {
        let Pair::Loaded(key) = config.token.pair else {
            anyhow::bail!("the signing certificate is not there; it is made only when the server starts");
        };
        let (access, connections) =
            config.backends.open(before.map(|before| &before.connections), passwords, metrics)?;
        let gateway_before = before.and_then(|before| before.gateway.as_ref());
        let open = |settings| Gateway::open(settings, gateway_before, transfers_at_once());
        let gateway = config.gateway.map(open).transpose()?;
        let proxy_rest = config.server.proxy_rest();
        Ok(Snapshot {
            generation,
            access,
            issuer: Issuer::new(key, config.token.issuer, config.token.header, config.token.kid)?,
            services: config.token.services,
            forward_auth: config.forward_auth,
            gateway,
            address: config.server.address,
            connections_per_address: config.server.connections_per_address,
            proxy_rest,
            hsts: config.server.hsts,
            tls: config.server.tls,
            life: config.token.life,
            recent: config.token.reuse.map(RecentTokens::new),
            loaded: Instant::now(),
            connections,
        })
    }
}

/// A signed token and the seconds it lives.
pub struct Minted {
    /// The token.
    pub token: Arc<str>,
    /// Its `jti`.
    pub id: Arc<str>,
    /// Whether it was made for this request.
    pub made: Made,
    /// From now until its `exp`.
    pub lives_for: i64,
}

/// Where a token comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It was signed for this request.
    Now,
    /// It was signed a moment ago, for a request with the same answer.
    Before,
}

/// The running server's state.
pub struct App {
    /// The figures.
    pub metrics: Metrics,
    /// When the log last said that a proxy seems to ask at `/`.
    pub(crate) said_asked_at_root: Said,
    snapshot: ArcSwap<Snapshot>,
    source: Source,
    generations: AtomicU64,
    passwords: Arc<Passwords>,
    /// Whose token is signed next. More at once than there are cores would only wait for each other.
    signing: Turns,
    stopping: AtomicBool,
    /// Held while a changed configuration is read: of two reloads, the one that begins later reads the newer files.
    reloading: Mutex<()>,
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
    pub fn load(&self, keys: Keys) -> Result<Config, Invalid> {
        Config::load(&self.file, self.variables.iter().cloned(), keys)
    }

    /// Reads the configuration for who asks its backends and signs nothing.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load_backends(&self) -> Result<Config, Invalid> {
        Config::load_backends(&self.file, self.variables.iter().cloned())
    }

    /// Reads the configuration, after making the signing key where the file asks for that and there is none.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or why the key could not be made.
    pub fn load_and_make_key(&self) -> anyhow::Result<Config> {
        let config = self.load(Keys::Read)?;
        let Pair::ToBeMade { key } = &config.token.pair else { return Ok(config) };
        let certificate = &config.token.certificate;
        // As they are called before there are such files: a password in their place is then no path yet.
        let (at, beside) = (ShownPath(key).to_string(), ShownPath(certificate).to_string());
        let made = create_pair(key, certificate, Algorithm::RS256, &config.token.issuer, OffsetDateTime::now_utc())?;
        match made {
            PairFiles::Made | PairFiles::CertificateMade => {
                info!(key = %at, certificate = %beside, "made a key pair for signing tokens");
            }
            PairFiles::Found => {}
        }
        Ok(self.load(Keys::Read)?)
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
}

impl Fixed {
    fn of(config: &Config) -> Fixed {
        let server: &Server = &config.server;
        Fixed {
            gateway: config.gateway.as_ref().and_then(|gateway| gateway.listen.clone()),
            listen: server.listen.clone(),
            admin: server.admin.clone(),
            path_prefix: server.path_prefix.clone(),
            tls: server.pair.is_some(),
        }
    }
}

impl App {
    /// Makes everything ready for a first configuration.
    ///
    /// # Errors
    /// The signing key is not there, does not sign, or the system gave no random bytes.
    pub fn open(source: Source, config: Config) -> anyhow::Result<App> {
        let metrics = Metrics::default();
        let observer = metrics.clone();
        let passwords = Arc::new(Passwords::new(move |step| observer.checked(step))?);
        let files = config.files.clone();
        let fixed = Fixed::of(&config);
        let warnings = lint(&config);
        let snapshot = Snapshot::build(config, 1, &passwords, &metrics, None)?;
        warn_of(&warnings, &source.file);
        warn_of_fallback(&snapshot, OffsetDateTime::now_utc());
        Ok(App {
            metrics,
            said_asked_at_root: Said::default(),
            snapshot: ArcSwap::from_pointee(snapshot),
            source,
            generations: AtomicU64::new(1),
            passwords,
            signing: Turns::on_all_cores(),
            stopping: AtomicBool::new(false),
            reloading: Mutex::new(()),
            files: Mutex::new(files),
            fixed,
        })
    }

    /// The configuration in use now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Every file that the configuration is read from.
    pub fn files(&self) -> Vec<PathBuf> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the configuration anew and, if all of it is right, puts it in the place of the old one. Requests under
    /// way keep the one they began with. If anything is wrong the old one stays, and the log says what it is.
    ///
    /// Reads files, and so must not run on a thread that serves requests.
    pub fn reload(&self) -> Reload {
        let _alone = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let built = self.source.load(Keys::Read).map_err(anyhow::Error::from).and_then(|config| {
            let files = config.files.clone();
            let fixed = Fixed::of(&config);
            let warnings = lint(&config);
            let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
            let before = self.snapshot();
            let mut snapshot = Snapshot::build(config, generation, &self.passwords, &self.metrics, Some(&before))?;
            // A listener does not change between TLS and plain HTTP: passwords would travel in the clear.
            snapshot.tls = match self.fixed.tls {
                true => snapshot.tls.or_else(|| before.tls.clone()),
                false => None,
            };
            Ok((snapshot, files, fixed, warnings, before))
        });
        match built {
            Ok((snapshot, files, fixed, warnings, before)) => {
                if fixed != self.fixed {
                    warn!(
                        reason = "restart_needed",
                        "server.addr, admin_addr, path_prefix, gateway.addr and whether TLS is spoken change only at a restart"
                    );
                }
                let snapshot = Arc::new(snapshot);
                *self.files.lock().unwrap_or_else(PoisonError::into_inner) = files;
                self.snapshot.store(Arc::clone(&snapshot));
                self.metrics.reloaded();
                // After that, so that whoever has read this line is answered by the new configuration.
                info!(snapshot = snapshot.generation, warnings = warnings.len(), "configuration reloaded");
                warn_of(&warnings, &self.source.file);
                warn_of_other_pair(&before, &snapshot);
                warn_of_fallback(&snapshot, OffsetDateTime::now_utc());
                Reload::Done
            }
            Err(cause) => {
                self.metrics.reload_failed();
                // With every cause of it: the outermost may be no more than the section's name.
                error!(reason = "reload_failed", file = %self.source.file.display(), cause = format!("{cause:#}"),
                    "the changed configuration cannot be used; the old one stays");
                Reload::Failed
            }
        }
    }

    /// Makes the token for a decision. It lives as long as the configuration says, and no longer than the account or
    /// the rules behind the decision.
    ///
    /// # Errors
    /// The signature failed, or its turn did not come in time ([`Busy`]).
    pub async fn mint(
        &self,
        snapshot: &Arc<Snapshot>,
        decision: &Decision,
        service: &str,
        now: OffsetDateTime,
    ) -> anyhow::Result<Minted> {
        let mut latest = now + snapshot.life;
        let form = snapshot.issuer.header_form_at(now);
        if form == HeaderChoice::Configured(HeaderForm::X5c) {
            // Registries refuse the token once its certificate has ended: clients had better ask again by then.
            latest = latest.min(snapshot.issuer.key().not_after().max(now + SHORTEST_LIFE));
        }
        let expires = decision.until().map_or(latest, |until| until.min(latest));
        let lives_for = expires.unix_timestamp().saturating_sub(now.unix_timestamp()).max(0);
        let access = access_of(decision);
        let recent = snapshot.recent.as_ref();
        let recent = recent.map(|recent| (recent, Content::of(decision.account(), service, &access, form.form())));
        if let Some((tokens, content)) = &recent
            && let Some(found) = tokens.find(content, now, expires.unix_timestamp())
        {
            self.metrics.reused();
            let lives_for = found.expires.saturating_sub(now.unix_timestamp());
            return Ok(Minted { token: found.token, id: found.id, made: Made::Before, lives_for });
        }
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| anyhow::anyhow!("the system gave no random bytes"))?;
        let lifetime = u32::try_from(lives_for).unwrap_or(u32::MAX);
        let claims = snapshot.issuer.claims(decision.account(), service, access, now, lifetime, jti(random));
        let (id, expires): (Arc<str>, i64) = (claims.jti.as_str().into(), claims.exp);
        let turn = self.turn_of(decision.client()).await?;
        let token: Arc<str> = match snapshot.issuer.key().effort() {
            Effort::Small => {
                let token = snapshot.issuer.mint(&claims, now)?;
                drop(turn);
                token
            }
            Effort::Large => {
                let snapshot = Arc::clone(snapshot);
                tokio::task::spawn_blocking(move || {
                    let _turn = turn;
                    snapshot.issuer.mint(&claims, now)
                })
                .await
                .context("the signing thread died")??
            }
        }
        .into();
        if let Some((tokens, content)) = recent {
            let (token, id) = (Arc::clone(&token), Arc::clone(&id));
            tokens.keep(content, Recent { token, id, signed: now, expires });
        }
        Ok(Minted { token, id, made: Made::Now, lives_for })
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
        self.turn_of(self.snapshot().access.attempts().client(ClientNetwork::of(address))).await
    }

    /// A network that asks without a pause waits behind its own requests, and others do not.
    async fn turn_of(&self, client: Client) -> Result<Turn, Busy> {
        let turn = self.signing.turn(client, Instant::now() + PATIENCE).await?;
        // Who has asked meanwhile is heard before the next signature, and has a place by then.
        tokio::task::yield_now().await;
        Ok(turn)
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

fn warn_of(warnings: &[Problem], file: &Path) {
    for warning in warnings {
        warn!(reason = "lint", "{}", warning.in_file(file));
    }
}

fn access_of(decision: &Decision) -> Vec<AccessEntry> {
    let entry = |grant: &crate::access::Grant| AccessEntry {
        kind: grant.scope.resource.kind().to_owned(),
        name: grant.scope.resource.name().to_owned(),
        actions: grant.granted.iter().map(Action::as_str).map(str::to_owned).collect(),
    };
    decision.grants().iter().map(entry).collect()
}

/// Says that tokens are signed by another pair from now on. Whoever renewed it, perhaps a program, may not know that no
/// registry takes them before it was told.
fn warn_of_other_pair(before: &Snapshot, now: &Snapshot) {
    let (old, new) = (before.issuer.key(), now.issuer.key());
    // In one form: which form the id has is a setting, and no matter of the pair.
    let [old_id, new_id] = [old, new].map(|key| now.issuer.kid_of(key));
    let message = match (old_id == new_id, old.certificates().first() == new.certificates().first()) {
        (true, true) => return,
        (false, _) => {
            "tokens are signed by another key from now on, and registries read their bundle only when they start: each of them \
             refuses every token until its bundle (REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE) or JWK set holds the new one and it was \
             started anew; those whose bundle held the new certificate, or its authority's, when they started go on"
        }
        (true, false) => {
            "tokens carry another certificate of the same key from now on, and registries read their bundle only when they \
             start, and do not take a certificate for its key: each of them refuses every token until its bundle \
             (REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE) holds the new one and it was started anew; those whose bundle held it, or its \
             authority's, when they started go on"
        }
    };
    warn!(reason = "signing_pair_changed", kid.before = old_id, kid.now = new_id, "{message}");
}

/// Says what is wrong with the signing certificate, or soon will be. When a configuration is taken over, the same is
/// among its warnings already.
pub fn remind_of_certificate(snapshot: &Snapshot, now: OffsetDateTime) {
    for warning in snapshot.issuer.key().warnings(now) {
        warn!(reason = "certificate", not_after = %snapshot.issuer.key().not_after(), "{warning}");
    }
    warn_of_fallback(snapshot, now);
}

/// Says loudly that registries would refuse the certificate at this moment.
fn warn_of_fallback(snapshot: &Snapshot, now: OffsetDateTime) {
    let message = match snapshot.issuer.header_form_at(now) {
        HeaderChoice::Configured(_) => return,
        HeaderChoice::KidInstead(CertificateTime::NotBegun) => {
            "the signing certificate's time has not begun by this machine's clock, so tokens name the key by kid alone, \
             which only registries take that know the key by this id; set the clock, or make the certificate anew if \
             the clock is right"
        }
        HeaderChoice::KidInstead(CertificateTime::Over) => {
            "the signing certificate is out of its time: registries refuse it, so tokens name the key by kid alone, which \
             only registries take that know the key by this id; put a new certificate in place, here and in the \
             registries' bundle"
        }
    };
    error!(
        reason = "certificate_out_of_time",
        not_before = %snapshot.issuer.key().not_before(),
        not_after = %snapshot.issuer.key().not_after(),
        "{message}"
    );
}
