//! The `token:` section: the issuer, how long tokens live, which registries they may be for, and what signs them.

mod authority;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use settings::number::duration;
use settings::{At, DayEnd, Refusal, Secrets, Section};
use time::OffsetDateTime;

pub use self::authority::{Leaves, TokenAuthority};
use super::server::{FilesOfPair, paths_of_pair};
use crate::directory::Directory;
use crate::keys::{KeyProblem, KidForm, Renewal, SigningKey, key_permission_warning};
use crate::pem::named::read_pair;
use crate::token::{HeaderForm, recent};

/// How long a token lives where the file does not say.
const DEFAULT_LIFE: Duration = Duration::from_secs(300);
/// A shorter life than this makes clients ask for a token before every request.
const SHORT_LIFE: Duration = Duration::from_secs(60);
/// A longer life than this is hardly meant: a revoked right lives on as long.
const LONG_LIFE: Duration = Duration::from_secs(24 * 3600);
/// What a token that is handed out again has left at least.
const LEAST_LEFT: Duration = Duration::from_secs(recent::LEAST_LEFT.unsigned_abs());
/// No token can live longer: its end has to be a date.
const MAX_LIFE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// What tokens look like and what signs them.
#[derive(Debug)]
pub struct Token {
    /// The `iss` claim; the registry's `REGISTRY_AUTH_TOKEN_ISSUER` must be the same text.
    pub issuer: String,
    /// How long a token lives.
    pub life: Duration,
    /// For how long a signed token is handed out again to whom it was made for; `None`: never.
    pub reuse: Option<Duration>,
    /// The audiences that may be asked for; empty means any.
    pub services: Vec<String>,
    /// What says so.
    pub services_from: ServicesFrom,
    /// How a registry finds the key: by certificate or by its id.
    pub header: HeaderForm,
    /// Which id the key has.
    pub kid: KidForm,
    /// The certificate's file, for the registry's `REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE`.
    pub certificate: PathBuf,
    /// The private key's file.
    pub key: PathBuf,
    /// The key pair.
    pub pair: Pair,
    /// The authority for tokens alone above the pair, if there is one.
    pub authority: Option<TokenAuthority>,
    /// Tokens that were made before this moment are refused at our own doors.
    pub not_before: Option<OffsetDateTime>,
}

impl Token {
    /// What registries get as their bundle.
    pub fn bundle(&self) -> &Path {
        self.authority.as_ref().map_or(&self.certificate, |authority| &authority.certificate)
    }
}

/// What says which audiences there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServicesFrom {
    /// The section itself.
    Token,
    /// The registries that are declared, in the file and elsewhere.
    Registries,
}

impl ServicesFrom {
    /// The services that the file names, with the registries that are declared elsewhere; none: any.
    pub fn with_declared(self, mut services: Vec<String>, directory: Option<&Arc<Directory>>) -> Vec<String> {
        match self {
            ServicesFrom::Registries if !services.is_empty() => {
                let declared = directory.into_iter().flat_map(|directory| directory.services_declared());
                let more: Vec<String> = declared.filter(|service| !services.contains(service)).collect();
                services.extend(more);
            }
            ServicesFrom::Token | ServicesFrom::Registries => {}
        }
        services
    }
}

/// The key pair that signs.
#[derive(Debug)]
pub enum Pair {
    /// Read and checked.
    Loaded(Arc<SigningKey>),
    /// `generate: true`, and the certificate is not there: what is missing is made when the server first starts.
    ToBeMade {
        /// Where the private key will be.
        key: PathBuf,
    },
    /// The authority's key is there, or will be, and no leaf that can sign: one is made when the server starts.
    LeafToBeMade,
    /// Nobody asked for it ([`Secrets::Skip`]).
    NotRead,
}

/// Reads the section. `of_server` is the server's certificate and key, which sign where the section names none.
pub(super) fn read(mut section: Section<'_>, of_server: Option<&FilesOfPair>) -> Option<Token> {
    let issuer = section.text("issuer").filter(|issuer| !issuer.value.is_empty());
    if issuer.is_none() {
        section.missing("issuer", "an issuer is needed, the same text as the registry's REGISTRY_AUTH_TOKEN_ISSUER");
    }
    let issuer = issuer.and_then(|issuer| {
        if issuer.value.contains(|letter: char| letter.is_control()) {
            section.problem(&issuer.place, "issuer", "the issuer must not contain control characters");
            return None;
        }
        warn_of_quotes(&section, &issuer, "issuer");
        Some(issuer.value)
    });
    let life = section.word("expiration", |text| match duration(text)? {
        life if life < Duration::from_secs(1) => {
            Err(Refusal::says("a token must live at least one second; 900 is usual"))
        }
        life if life > MAX_LIFE => Err(Refusal::says("a token cannot live for longer than a hundred years")),
        life if life.subsec_nanos() != 0 => Err(Refusal::says("a token lives for whole seconds")),
        life => Ok(life),
    });
    if let Some(At { place, value }) = &life {
        let message = match *value {
            life if life < SHORT_LIFE => {
                Some("clients treat a life below 60 seconds as 60, and ask for a token before every request")
            }
            life if life > LONG_LIFE => Some("a token keeps a right that you take away until it expires; 900 is usual"),
            _ => None,
        };
        if let Some(message) = message {
            section.warn(place, "expiration", message);
        }
    }
    let reuse = section.word("reuse", duration).filter(|at| !at.value.is_zero());
    if let Some(At { place, value }) = &reuse {
        let life = life.as_ref().map_or(DEFAULT_LIFE, |at| at.value);
        let most = (life / 2).min(life.saturating_sub(LEAST_LEFT));
        if *value > most {
            let life = life.as_secs();
            let message = match most.as_secs() {
                0 => format!(
                    "a token that lives for {life} seconds cannot be handed out again; leave the key out, or make expiration longer"
                ),
                most => format!(
                    "a token is handed out again only while it has half of its life, and a minute, left: with an expiration \
                     of {life} seconds, write {most} or less"
                ),
            };
            section.problem(place, "reuse", message);
        }
    }
    let services = section.texts("services");
    if let Some([]) = services.as_deref() {
        section.missing("services", "the list is empty; leave the key out if tokens may be for any service");
    }
    let services = services.unwrap_or_default();
    for service in services.iter().filter(|service| service.value.is_empty()) {
        section.problem(
            &service.place,
            "services",
            "a service needs a name, the registry's REGISTRY_AUTH_TOKEN_SERVICE",
        );
    }
    for service in &services {
        warn_of_quotes(&section, service, "services");
    }
    let header = section.word("header", |text| match text {
        "x5c" => Ok(HeaderForm::X5c),
        "kid" => Ok(HeaderForm::Kid),
        _ => Err(Refusal::is("neither x5c nor kid")),
    });
    let kid = match section.flag("disable_legacy_key_id") {
        Some(At { value: true, .. }) => KidForm::Thumbprint,
        Some(At { value: false, .. }) | None => KidForm::Libtrust,
    };
    #[expect(clippy::disallowed_methods, reason = "a configuration is read for the moment of reading")]
    let now = OffsetDateTime::now_utc();
    let not_before = section.moment("not_before", DayEnd::Start);
    if let Some(At { place, value }) = &not_before
        && *value > now
    {
        let message = "this moment has not come, and until then every token would be refused; write the moment from which tokens are \
                       good, now at the latest";
        section.problem(place, "not_before", message);
    }
    let generate = section.flag("generate");
    let under = section.section("authority").and_then(authority::read);
    let named = paths_of_pair(&mut section);
    if under.is_some() {
        if matches!(named, Ok(None)) {
            let message = "with an authority, certificate and key name the leaf that signs; name two files";
            section.missing("certificate", message);
            section.finish();
            return None;
        }
        if let Some(At { place, value: true }) = &generate {
            let message = "with an authority, no pair of its own is made; leaves are where the authority's key is, and the authority \
                           itself by generate: true below authority; leave it out here";
            section.warn(place, "generate", message);
        }
    }
    let generate = generate.is_some_and(|at| at.value);
    if matches!(named, Ok(None)) && of_server.is_none() {
        let message =
            "a certificate and a key are needed to sign tokens; name them, and write generate: true to have them made";
        section.missing("certificate", message);
    }
    let files_of_pair = named.ok().and_then(|pair| pair.or(of_server.cloned()));
    let signs = files_of_pair.as_ref().and_then(|files| match under {
        Some(under) => under.leaf(&section, files, of_server, now).map(|(pair, authority)| (pair, Some(authority))),
        None => pair_alone(&section, files, of_server, generate).map(|pair| (pair, None)),
    });
    section.finish();
    let (certificate, key) = files_of_pair?;
    let (pair, authority) = signs?;
    Some(Token {
        issuer: issuer?,
        life: life.map_or(DEFAULT_LIFE, |at| at.value),
        reuse: reuse.map(|at| at.value),
        services: services.into_iter().map(|at| at.value).collect(),
        services_from: ServicesFrom::Token,
        header: header.map_or(HeaderForm::X5c, |at| at.value),
        kid,
        certificate: certificate.value,
        key: key.value,
        pair,
        authority,
        not_before: not_before.map(|at| at.value),
    })
}

/// The pair without an authority for tokens above it.
fn pair_alone(
    section: &Section<'_>,
    (certificate, key): &FilesOfPair,
    of_server: Option<&FilesOfPair>,
    generate: bool,
) -> Option<Pair> {
    match section.secrets() {
        Secrets::Skip => return Some(Pair::NotRead),
        Secrets::Read => {}
    }
    section.watch(&certificate.value);
    section.watch(&key.value);
    if generate && is_absent(&certificate.value) {
        return Some(Pair::ToBeMade { key: key.value.clone() });
    }
    let loaded = load_pair(certificate, key, section)?;
    let is_servers = of_server.is_some_and(|(_, own)| own.value == key.value);
    if let Some(message) = renewal_warning(is_servers, loaded.renewals()) {
        section.warn(&certificate.place, "certificate", message);
    }
    Some(Pair::Loaded(loaded))
}

/// What there is to say of a pair that is likely to be replaced by a program: tokens are signed by the new one a moment
/// later, and no registry knows it.
fn renewal_warning(is_servers: bool, signs: &[Renewal]) -> Option<String> {
    let of_server = is_servers.then(|| "is the one that server speaks TLS with".to_owned());
    let signs: Vec<String> = of_server.into_iter().chain(signs.iter().map(ToString::to_string)).collect();
    if signs.is_empty() {
        return None;
    }
    Some(format!(
        "the pair that signs tokens {}: when it is renewed, registries refuse every token, as they read their bundle only \
         when they start; sign with a pair that stays (certificate and key here, in files of their own; with generate: true \
         it is made), unless the bundle holds the certificate of an authority of your own that signs each new one",
        joined(&signs)
    ))
}

/// `a`, `a and b`, `a, b and c`.
fn joined(signs: &[String]) -> String {
    match signs.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        Some(_) | None => signs.concat(),
    }
}

/// Quotation marks that became part of a text: of a word processor's, or within others (`"'Acme'"`). Registries compare the
/// whole text.
fn warn_of_quotes(section: &Section<'_>, at: &At<String>, key: &str) {
    let is_curly = |letter: char| ('\u{2018}'..='\u{201f}').contains(&letter) || matches!(letter, '\u{ab}' | '\u{bb}');
    let is_within = |mark: char| at.value.len() > 1 && at.value.starts_with(mark) && at.value.ends_with(mark);
    if at.value.contains(is_curly) || is_within('"') || is_within('\'') {
        let message = "quotation marks are part of this text, and would have to be in the registry's setting too; write only \
                       straight ones around it";
        section.warn(&at.place, key, message);
    }
}

fn is_absent(file: &Path) -> bool {
    matches!(file.try_exists(), Ok(false))
}

fn load_pair(certificate: &At<PathBuf>, key: &At<PathBuf>, section: &Section<'_>) -> Option<Arc<SigningKey>> {
    if let Some(message) = key_permission_warning(&key.value) {
        section.warn(&key.place, "key", message);
    }
    let parse = |certificate: &[u8], key: &[u8]| SigningKey::from_pem(key, certificate);
    let read = read_pair(section, (certificate, "certificate"), (key, "key"), parse, KeyProblem::file);
    let pair = read.ok().flatten()?;
    #[expect(clippy::disallowed_methods, reason = "a configuration is read for the moment of reading")]
    let now = OffsetDateTime::now_utc();
    for message in pair.warnings(now) {
        section.warn(&certificate.place, "certificate", message.to_string());
    }
    Some(Arc::new(pair))
}
