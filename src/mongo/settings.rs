//! The `dial_info:` section: where a MongoDB server is, who we are to it, and how long it may take.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mongodb::options::{AuthMechanism, ConnectionString, ServerAddress, Tls};
use rustls::ClientConfig;
use settings::number::{duration, waiting_time};
use settings::refused::holds_key;
use settings::{At, Holds, Noted, Refusal, Section};

use crate::pem::named::{read_authorities, read_pair_in_one};
use crate::pem::tls::{Authorities, TlsIdentity, client_config};
use crate::secret::Secret;

/// How long a server may say nothing, where the file does not say: with what else a request takes, clients are to know of an
/// outage within a second and a half.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_millis(1300);
/// How long all of it may take, connecting included, where the file does not say. Over a long way there are many answers,
/// and none of them is silence.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest time that `deadline` may say.
const LONGEST_DEADLINE: Duration = Duration::from_secs(60);
/// How long the driver waits for one connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(4);
/// The longest name of a database, in bytes.
const LONGEST_DATABASE: usize = 63;
/// The longest name of a collection, in bytes, with its database and the dot between.
const LONGEST_COLLECTION: usize = 255;
/// Where users are that the server knows from elsewhere, by a certificate for one.
const EXTERNAL: &str = "$external";

/// Everything that is needed to ask one collection. Its `Debug` form holds no secret.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionSettings {
    pub(super) servers: Servers,
    pub(super) database: String,
    pub(super) collection: String,
    pub(super) login: Option<Login>,
    /// How long finding a server may take, all of them included.
    pub(super) selection: Duration,
    /// How long connecting to one may take.
    pub(super) connecting: Duration,
    /// How long a server may take for an answer.
    pub(super) answer_within: Duration,
    /// How long all of it may take, connecting included.
    pub(super) deadline: Duration,
    pub(super) tls: Option<TlsFiles>,
    pub(super) direct: Option<bool>,
}

/// Where the servers are.
#[derive(Clone, PartialEq)]
pub(super) enum Servers {
    Addresses(Vec<ServerAddress>),
    /// A whole URI, which may hold a password. Names in it are looked up when the server is first asked.
    Uri(Box<ConnectionString>),
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Servers::Addresses(addresses) => out.debug_list().entries(addresses).finish(),
            Servers::Uri(_) => out.write_str("[uri]"),
        }
    }
}

/// Who we are to the server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Login {
    /// Absent only with a client certificate, whose subject it then is.
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) mechanism: Option<AuthMechanism>,
    /// The databases that may know the user, in the order in which they are tried.
    pub(super) sources: Vec<String>,
}

/// TLS to the server. The files' content is part of it: changed files are changed settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TlsFiles {
    /// The authorities that the server's certificate may be from; `None` for the public ones.
    pub(super) authority: Option<Authorities>,
    /// Who we are to the server.
    pub(super) client: Option<ClientCertificate>,
}

/// Our certificate and key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ClientCertificate {
    /// Read from its file.
    Read(Arc<TlsIdentity>),
    /// Nobody asked for it ([`Secrets::Skip`]).
    LeftAlone,
}

impl CollectionSettings {
    /// What the TLS library needs to know to ask the server something small, beside the driver.
    pub(super) fn tls_besides(&self) -> Option<Arc<ClientConfig>> {
        let files = self.tls.as_ref()?;
        let own = match &files.client {
            Some(ClientCertificate::Read(identity)) => Some(&**identity),
            Some(ClientCertificate::LeftAlone) | None => None,
        };
        client_config(files.authority.as_ref(), own).ok().map(Arc::new)
    }

    /// The collection's full name, for messages.
    pub fn namespace(&self) -> String {
        format!("{}.{}", self.database, self.collection)
    }

    /// How long all of it may take, connecting included.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// How long a server may take for an answer.
    pub fn answer_within(&self) -> Duration {
        self.answer_within
    }
}

/// Reads `dial_info` and `collection` of a section. What is needed and not there is a problem; `usual` is the name that
/// the collection usually has. Files with secrets and certificates are read here.
pub fn read(section: &mut Section<'_>, usual: &str) -> Option<CollectionSettings> {
    let written = section.filled("collection");
    if written.is_none() {
        section.missing("collection", format!("the collection's name is missing; write collection: \"{usual}\""));
    }
    let collection = written.and_then(|at| usable_name(section, at, "collection", refusal_of_collection));
    let settings = read_database(section, String::new());
    Some(CollectionSettings { collection: collection?, ..settings? })
}

/// Reads `dial_info` of a section whose collections are not for the file to name; `collection` is one of them.
pub(crate) fn read_database(section: &mut Section<'_>, collection: String) -> Option<CollectionSettings> {
    let deadline = section.word("deadline", |text| waiting_time(text, LONGEST_DEADLINE, "10s")).map(|at| at.value);
    let Some(dial) = section.field("dial_info") else {
        let message = "this section is missing; it needs at least: {addrs: [\"localhost\"], database: \"…\"}";
        section.missing("dial_info", message);
        return None;
    };
    let mut dial = dial.section()?;
    let settings = read_dial_info(&mut dial, deadline);
    dial.finish();
    Some(CollectionSettings { collection, ..settings? })
}

/// Reads `dial_info`; `deadline` stands beside it.
fn read_dial_info(dial: &mut Section<'_>, deadline: Option<Duration>) -> Option<CollectionSettings> {
    let mut servers = read_servers(dial);
    let in_uri = match &servers {
        Some(Servers::Uri(uri)) => uri.default_database.clone(),
        Some(Servers::Addresses(_)) | None => None,
    };
    let place_of_uri = dial.field("uri").map_or_else(|| dial.place(), |uri| uri.place()).clone();
    let in_uri = in_uri.map(|value| (At { place: place_of_uri, value }, "uri"));
    let written = dial.filled("database").map(|at| (at, "database")).or(in_uri);
    if written.is_none() {
        dial.missing("database", "the database's name is missing");
    }
    let database = written.and_then(|(at, key)| usable_name(dial, at, key, refusal_of_database));
    let timeout = dial.word("timeout", |text| match duration(text)? {
        Duration::ZERO => Err(Refusal::says("no server can be reached in no time; leave the key out, or write 1s")),
        time => Ok(time),
    });
    for key in ["service", "failfast"] {
        if let Some(entry) = dial.entry(key) {
            let message = "this key has no effect, here as in docker_auth; remove it";
            dial.warn(&entry.place, key, message);
        }
    }
    let tls = match read_tls(dial) {
        Ok(None) => read_tls_of_uri(dial, servers.as_mut()),
        read => read,
    };
    let login = read_login(dial, database.as_deref().unwrap_or_default(), tls.as_ref().ok());
    let direct = dial.flag("direct").map(|at| at.value);
    // Where it is set, it has always been for one answer as well.
    let answer_within = deadline.unwrap_or(ANSWER_WITHIN);
    let deadline = deadline.unwrap_or(DEADLINE);
    // A part of the whole, so that what is said in the log is which server could not be found.
    let selection = timeout.map_or(deadline, |at| at.value).min(deadline.mul_f64(2.0 / 3.0));
    Some(CollectionSettings {
        servers: servers?,
        database: database?,
        collection: String::new(),
        login: login.ok()?,
        selection,
        connecting: selection.min(CONNECT_WITHIN),
        answer_within,
        deadline,
        tls: tls.ok()?,
        direct,
    })
}

/// The name of a database or a collection. Such names are in messages and in the log, and a URI with its login that was
/// pasted in place of one must not get there.
fn usable_name(
    section: &Section<'_>,
    at: At<String>,
    key: &str,
    refusal_of: fn(&str) -> Option<Refusal>,
) -> Option<String> {
    match refusal_of(&at.value) {
        None => Some(at.value),
        Some(refusal) => {
            section.problem(&at.place, key, refusal.about(&at.value, Holds::Secrets));
            None
        }
    }
}

/// Why this can be no database: what MongoDB forbids in its name on any system ("Naming Restrictions" in its manual), and `@`,
/// which ends a login.
fn refusal_of_database(name: &str) -> Option<Refusal> {
    let is_forbidden = |letter: char| "/\\. \"$*<>:|?@".contains(letter) || letter.is_control();
    let is_one = !name.contains(is_forbidden) && name.len() <= LONGEST_DATABASE && !holds_key(name);
    (!is_one).then(|| {
        Refusal::is(format!(
            "not the name of a database; MongoDB takes at most {LONGEST_DATABASE} bytes and none of / \\ . \" $ * < > : | ? in its name, and a \
             whole address is uri: \"mongodb://…\""
        ))
    })
}

/// Why this can be no collection of ours: what MongoDB forbids in its name, and what a pasted address has.
fn refusal_of_collection(name: &str) -> Option<Refusal> {
    let is_address = name.contains("://") || name.contains('@');
    let is_one = !is_address
        && !name.contains('$')
        && !name.contains(char::is_control)
        && !name.starts_with("system.")
        && name.len() <= LONGEST_COLLECTION
        && !holds_key(name);
    (!is_one).then(|| {
        Refusal::is(
            "not the name of a collection; write its name alone, without $ and @, and not one of the server's own (system.…); the server's \
             address and the login are in dial_info",
        )
    })
}

fn read_servers(dial: &mut Section<'_>) -> Option<Servers> {
    let addresses = dial.texts("addrs");
    let uri = dial.text("uri");
    match (addresses, uri) {
        (Some(_), Some(uri)) => {
            dial.problem(&uri.place, "uri", "give addrs or uri, not both");
            None
        }
        (None, Some(uri)) => match ConnectionString::parse(&uri.value) {
            Ok(parsed) if trusts_anybody(&parsed) => {
                dial.problem(&uri.place, "uri", "a server whose certificate nobody checks could be anybody; remove tlsInsecure and tlsAllow… and name the authority in ca_certificate");
                None
            }
            Ok(parsed) => Some(Servers::Uri(Box::new(parsed))),
            // Without the reader's own words: they may repeat the password.
            Err(_) => {
                let message = "this is not a MongoDB URI; write mongodb://host:27017/database or mongodb+srv://name/database, \
                     with the characters : / ? # [ ] @ % of a password percent-encoded";
                dial.problem(&uri.place, "uri", message);
                None
            }
        },
        (None, None) => {
            dial.missing("addrs", "no server is named; write addrs: [\"localhost:27017\"] or uri: \"mongodb://…\"");
            None
        }
        (Some(addresses), None) => {
            if addresses.is_empty() {
                dial.missing("addrs", "the list names no server; write addrs: [\"localhost:27017\"]");
            }
            let parsed: Vec<ServerAddress> = addresses
                .iter()
                .filter_map(|At { place, value }| {
                    // Only `uri` holds a login; the driver would take one here for a part of the name, which is logged.
                    let plain = !value.contains(['@', '/', '?', '#']) && !value.contains(char::is_whitespace);
                    let address = ServerAddress::parse(value).ok().filter(|_| plain);
                    if address.is_none() {
                        let refusal = Refusal::is(
                            "not a server; write host, host:27017 or [2001:db8::1]:27017, and the login as username and \
                             password, or all of it as uri: \"mongodb://…\"",
                        );
                        dial.problem(place, "addrs", refusal.about(value, Holds::Secrets));
                    }
                    address
                })
                .collect();
            (!parsed.is_empty()).then_some(Servers::Addresses(parsed))
        }
    }
}

/// Whether the URI turns off the check of the server's certificate: a password would then go to whoever answers.
fn trusts_anybody(uri: &ConnectionString) -> bool {
    let lax = match &uri.tls {
        Some(Tls::Enabled(options)) => options.allow_invalid_certificates == Some(true),
        Some(Tls::Disabled) | None => false,
    };
    lax || uri.tls_insecure() == Some(true)
}

/// Who we are; an empty user name is nobody, as docker_auth's example file has it.
fn read_login(dial: &mut Section<'_>, database: &str, tls: Option<&Option<TlsFiles>>) -> Result<Option<Login>, Noted> {
    let username = dial.filled("username");
    let password = dial.secret("password", "password_file");
    let source = match dial.filled("source") {
        Some(at) => {
            // The database that knows the user may be none of the server's own.
            let refusal = |name: &str| if name == EXTERNAL { None } else { refusal_of_database(name) };
            Some(usable_name(dial, at, "source", refusal).ok_or(Noted)?)
        }
        None => None,
    };
    let mechanism = dial.word("mechanism", |text| match text {
        "" => Ok(None),
        "SCRAM-SHA-1" => Ok(Some(AuthMechanism::ScramSha1)),
        "SCRAM-SHA-256" => Ok(Some(AuthMechanism::ScramSha256)),
        "MONGODB-X509" => Ok(Some(AuthMechanism::MongoDbX509)),
        _ => Err(Refusal::is("not supported; write SCRAM-SHA-1, SCRAM-SHA-256 or MONGODB-X509, or leave the key out")),
    });
    let mechanism = mechanism.and_then(|at| at.value.map(|value| At { place: at.place, value }));
    let password = password?;
    if let Some(At { place, value: AuthMechanism::MongoDbX509 }) = &mechanism {
        if tls.is_some_and(|tls| tls.as_ref().is_none_or(|tls| tls.client.is_none())) {
            dial.problem(place, "mechanism", "MONGODB-X509 needs enable_tls: true and client_certificate");
            return Err(Noted);
        }
        return Ok(Some(Login {
            username: username.map(|at| at.value),
            password: None,
            mechanism: Some(AuthMechanism::MongoDbX509),
            sources: vec![EXTERNAL.to_owned()],
        }));
    }
    let Some(username) = username else { return Ok(None) };
    let Some(password) = password else {
        dial.problem(&username.place, "username", "a user name is given without password or password_file");
        return Err(Noted);
    };
    let mut sources = match source {
        Some(source) => vec![source],
        // docker_auth asks `admin`, whatever the file says; many guides make the user in the database itself.
        None => vec!["admin".to_owned(), database.to_owned()],
    };
    sources.dedup();
    Ok(Some(Login {
        username: Some(username.value),
        password: Some(Secret::new(password.value)),
        mechanism: mechanism.map(|at| at.value),
        sources,
    }))
}

fn read_tls(dial: &mut Section<'_>) -> Result<Option<TlsFiles>, Noted> {
    let enable = dial.flag("enable_tls");
    // A guide that many followed writes it so; docker_auth ignores it.
    let enabled = dial.flag("enabled_tls");
    if let (Some(one), Some(other)) = (&enable, &enabled)
        && one.value != other.value
    {
        dial.problem(&other.place, "enabled_tls", "this contradicts enable_tls; remove one of them");
        return Err(Noted);
    }
    let on = enable.or(enabled).is_some_and(|at| at.value);
    let authority = dial.path("ca_certificate");
    let client = dial.path("client_certificate");
    if !on {
        return match authority.or(client) {
            // Otherwise the password would go over the wire in the clear, against what was meant.
            Some(file) => {
                dial.problem(
                    &file.place,
                    "enable_tls",
                    "certificates are given, and TLS is off; write enable_tls: true",
                );
                Err(Noted)
            }
            None => Ok(None),
        };
    }
    let authority = authority.map(|at| (at, "ca_certificate"));
    let client = client.map(|at| (at, "client_certificate"));
    load_tls(dial, authority, client).map(Some)
}

/// The files that a URI names, which are taken out of it: the driver would read them by itself.
fn read_tls_of_uri(dial: &mut Section<'_>, servers: Option<&mut Servers>) -> Result<Option<TlsFiles>, Noted> {
    let Some(place) = dial.field("uri").map(|uri| uri.place().clone()) else { return Ok(None) };
    let Some(Servers::Uri(uri)) = servers else { return Ok(None) };
    let Some(Tls::Enabled(options)) = &mut uri.tls else { return Ok(None) };
    let at = |value: PathBuf| (At { place: place.clone(), value }, "uri");
    let authority = options.ca_file_path.take().map(at);
    let client = options.cert_key_file_path.take().map(at);
    if authority.is_none() && client.is_none() {
        return Ok(None);
    }
    load_tls(dial, authority, client).map(Some)
}

/// A file, and the key that names it.
type Named<'key> = (At<PathBuf>, &'key str);

fn load_tls(dial: &Section<'_>, authority: Option<Named<'_>>, client: Option<Named<'_>>) -> Result<TlsFiles, Noted> {
    let authority = authority.map(|(at, key)| read_authorities(dial, &at, key)).transpose();
    let client = client.map(|(at, key)| read_pair_in_one(dial, (&at, key), "the file")).transpose();
    let client = client?
        .map(|read| read.map_or(ClientCertificate::LeftAlone, |identity| ClientCertificate::Read(Arc::new(identity))));
    Ok(TlsFiles { authority: authority?, client })
}
