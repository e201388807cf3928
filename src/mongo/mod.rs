//! One collection of a MongoDB server, asked under a deadline: what users and rules in MongoDB share.

pub mod document;
mod failure;
mod in_memory;
pub mod migrations;
mod pulse;
pub mod settings;

use std::future::{Future, IntoFuture as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use mongodb::bson::Document;
use mongodb::error::{Error, ErrorKind};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{ClientOptions, Credential, Tls, TlsOptions};
use mongodb::{Client, Cursor};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

pub use failure::{Failure, NotChanged};
pub(crate) use failure::{Write, code_of, is_duplicate, not_changed};

use failure::{AUTHENTICATION_FAILED, UNREACHED, is_refused_login, written};
use in_memory::DriverFiles;
use pulse::Question;
use settings::{ANSWER_WITHIN, CollectionSettings, Login, Servers};

/// The connections to one server. A look-up takes a millisecond: more would only wait for each other there.
const MAX_CONNECTIONS: u32 = 16;
/// Connections that are made at once.
const MAX_CONNECTING: u32 = 4;
/// How long one write by an administrator's command may take.
pub(crate) const WRITING: Duration = Duration::from_secs(5);
/// What is allowed besides, where nothing is connected yet.
const CONNECTING: Duration = Duration::from_secs(20);
/// A connection that was not used for so long is closed.
const IDLE: Duration = Duration::from_secs(120);
/// How often the driver looks whether the server is still there; while it is not, twice a second.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// One collection, and the client that reaches it. The client is made at the first question, since names may have to
/// be looked up for it.
#[derive(Debug)]
pub struct Collection {
    settings: CollectionSettings,
    connected: ArcSwapOption<Connected>,
    connecting: Mutex<()>,
    /// The login's database that worked last.
    source: AtomicUsize,
    /// What the driver reads, once it was needed.
    files: OnceLock<Arc<DriverFiles>>,
}

/// A client, and which of the login's databases it names.
#[derive(Debug)]
struct Connected {
    client: Client,
    source: usize,
    /// What it reads for as long as it lives.
    _files: Option<Arc<DriverFiles>>,
    since: Instant,
}

/// Whether a command changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It does.
    Real,
    /// It only says what it would change.
    Dry,
}

impl Collection {
    /// A collection; nothing is connected yet.
    pub fn new(settings: CollectionSettings) -> Collection {
        Collection {
            settings,
            connected: ArcSwapOption::empty(),
            connecting: Mutex::new(()),
            source: AtomicUsize::new(0),
            files: OnceLock::new(),
        }
    }

    /// What it was made from.
    pub fn settings(&self) -> &CollectionSettings {
        &self.settings
    }

    /// Asks, and waits no longer than the settings say: for the whole of it, and for each answer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn ask<T, F, Q>(&self, question: Q) -> Result<T, Failure>
    where
        Q: Fn(mongodb::Collection<Document>) -> F + Send + Sync,
        F: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        self.ask_by(self.settings.answer_within, self.settings.deadline, question).await
    }

    /// As [`Collection::ask`], with another limit for an answer: reading everything takes longer than reading one document.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn ask_within<T, F, Q>(&self, limit: Duration, question: Q) -> Result<T, Failure>
    where
        Q: Fn(mongodb::Collection<Document>) -> F + Send + Sync,
        F: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let connecting = if self.connected.load().is_some() { Duration::ZERO } else { CONNECTING };
        self.ask_by(limit, limit + connecting, question).await
    }

    /// Asks, and waits as long as something comes on: silence is what ends it.
    async fn ask_by<T, F, Q>(&self, answer_within: Duration, deadline: Duration, question: Q) -> Result<T, Failure>
    where
        Q: Fn(mongodb::Collection<Document>) -> F + Send + Sync,
        F: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let (used, began) = (self.connected.load_full(), crate::clock::now());
        let asked = Arc::new(Question::new());
        let mut work = std::pin::pin!(asked.of(self.ask_each_source(question)));
        let besides = async {
            match self.options(None).await {
                Ok(options) => Arc::clone(&asked).keep_asking(options.hosts, self.settings.tls_besides()).await,
                // The driver says what is wrong with the names.
                Err(_) => std::future::pending().await,
            }
        };
        let mut besides = std::pin::pin!(besides);
        let (place, end) = (self.settings.namespace(), began + deadline);
        loop {
            let silence = answer_within.min(ANSWER_WITHIN);
            tokio::select! {
                biased;
                done = &mut work => return done.map_err(|error| self.settings.failure(&error)),
                () = sleep_until(asked.silent_at(began, answer_within, silence).min(end)) => {}
                // Afterwards the answer to this very question is what tells.
                () = &mut besides, if asked.is_connecting() => {}
            }
            let (now, sent) = (crate::clock::now(), asked.sent());
            let is_over = now >= end;
            if now >= asked.silent_at(began, answer_within, silence) || is_over && asked.is_silent(answer_within) {
                // One that was made for this question got no answer either.
                let made = || self.connected.load_full().filter(|made| made.since >= began);
                self.forget(used.or_else(made).as_ref());
                let waited = (now - sent.unwrap_or(began)).as_millis();
                let cause = match (asked.wrong(), sent) {
                    (Some(wrong), None) => format!("no server answers ({wrong})"),
                    (None, None) => format!("no answer within {waited} ms while connecting"),
                    (_, Some(sent)) => {
                        let connected = (sent - began).as_millis();
                        format!(
                            "no answer within {waited} ms, after {connected} ms for a connection; is the deadline too short?"
                        )
                    }
                };
                return Err(Failure::Down { place, cause, advice: UNREACHED });
            }
            if is_over {
                let waits = match sent {
                    Some(sent) => format!("a connection took {} ms", (sent - began).as_millis()),
                    None => "connecting and logging in took all of it".to_owned(),
                };
                // What is connected by now serves the next one.
                return Err(Failure::Slow {
                    place,
                    cause: format!("it took longer than {} ms (deadline): {waits}", deadline.as_millis()),
                });
            }
        }
    }

    /// Lets go of a client that gave no answer, unless another one has taken its place already. Its connections may be
    /// lost (a machine that lost its power closes none), and the driver tries them one after the other, each for a whole
    /// deadline, long after the server is back.
    fn forget(&self, used: Option<&Arc<Connected>>) {
        let current = self.connected.load();
        if let (Some(used), Some(now)) = (used, current.as_ref())
            && Arc::ptr_eq(used, now)
        {
            self.connected.compare_and_swap(&current, None);
            // Not before its next look at the server, which ends handshakes that hang: nothing else ever would.
            let (retired, looked) = (Arc::clone(used), HEARTBEAT + self.settings.connecting.saturating_mul(2));
            tokio::spawn(async move {
                tokio::time::sleep(looked).await;
                drop(retired);
            });
        }
    }

    /// Inserts a document.
    ///
    /// # Errors
    /// There is no answer; the change may have been made all the same.
    pub(crate) async fn insert(&self, document: &Document) -> Result<Write, NotChanged> {
        let written = self
            .ask_within(WRITING, |collection| async move { written(collection.insert_one(document).await.map(|_| 1)) });
        written.await.map_err(NotChanged::Unknown)
    }

    /// Changes the one document that `filter` finds. A filter that names what the document was makes this safe against
    /// others who change it at the same time.
    ///
    /// # Errors
    /// As for [`Collection::insert`].
    pub(crate) async fn update(&self, filter: &Document, change: &Document) -> Result<Write, NotChanged> {
        let written = self.ask_within(WRITING, |collection| {
            let (filter, change) = (filter.clone(), change.clone());
            async move { written(collection.update_one(filter, change).await.map(|done| done.matched_count)) }
        });
        written.await.map_err(NotChanged::Unknown)
    }

    /// Puts `document` in place of the one that `filter` finds, under its `_id`.
    ///
    /// # Errors
    /// As for [`Collection::insert`].
    pub(crate) async fn replace(&self, filter: &Document, document: &Document) -> Result<Write, NotChanged> {
        let written = self.ask_within(WRITING, |collection| {
            let filter = filter.clone();
            async move { written(collection.replace_one(filter, document).await.map(|done| done.matched_count)) }
        });
        written.await.map_err(NotChanged::Unknown)
    }

    /// Removes the one document that `filter` finds.
    ///
    /// # Errors
    /// As for [`Collection::insert`].
    pub(crate) async fn delete(&self, filter: &Document) -> Result<Write, NotChanged> {
        let written = self.ask_within(WRITING, |collection| {
            let filter = filter.clone();
            async move { written(collection.delete_one(filter).await.map(|done| done.deleted_count)) }
        });
        written.await.map_err(NotChanged::Unknown)
    }

    /// Asks with the credentials that worked last; where the server refuses them, with the same in the other databases
    /// that may know the user.
    async fn ask_each_source<T, F, Q>(&self, question: Q) -> Result<T, Error>
    where
        Q: Fn(mongodb::Collection<Document>) -> F + Send + Sync,
        F: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        let connected = self.connected().await?;
        let mut refusal = match question(self.handle(&connected.client)).await {
            Err(error) if is_refused_login(&error) => error,
            answer => return answer,
        };
        let sources = self.settings.login.as_ref().map_or(0, |login| login.sources.len());
        for source in (0..sources).filter(|source| *source != connected.source) {
            let client = self.client(Some(source)).await?;
            match question(self.handle(&client)).await {
                Err(error) if is_refused_login(&error) => refusal = error,
                answer => {
                    self.source.store(source, Ordering::Relaxed);
                    self.keep(client, source);
                    return answer;
                }
            }
        }
        Err(refusal)
    }

    fn handle(&self, client: &Client) -> mongodb::Collection<Document> {
        client.database(&self.settings.database).collection(&self.settings.collection)
    }

    async fn connected(&self) -> Result<Arc<Connected>, Error> {
        if let Some(connected) = self.connected.load_full() {
            return Ok(connected);
        }
        // One client for all that ask first at the same time.
        let _alone = self.connecting.lock().await;
        if let Some(connected) = self.connected.load_full() {
            return Ok(connected);
        }
        let source = self.source.load(Ordering::Relaxed);
        Ok(self.keep(self.client(Some(source)).await?, source))
    }

    /// Keeps a client for the questions to come.
    fn keep(&self, client: Client, source: usize) -> Arc<Connected> {
        let files = self.files.get().cloned();
        let connected = Arc::new(Connected { client, source, _files: files, since: crate::clock::now() });
        self.connected.store(Some(Arc::clone(&connected)));
        connected
    }

    async fn client(&self, source: Option<usize>) -> Result<Client, Error> {
        Client::with_options(self.options(source).await?)
    }

    /// What the driver is told; names in a `mongodb+srv` URI are looked up for it.
    async fn options(&self, source: Option<usize>) -> Result<ClientOptions, Error> {
        let settings = &self.settings;
        let mut options = match &settings.servers {
            Servers::Addresses(addresses) => ClientOptions::builder().hosts(addresses.clone()).build(),
            Servers::Uri(uri) => ClientOptions::parse((**uri).clone()).into_future().await?,
        };
        options.app_name = Some("dockwarden".to_owned());
        options.server_selection_timeout = Some(settings.selection);
        options.connect_timeout = Some(settings.connecting);
        options.command_event_handler = Some(EventHandler::callback(|event| match event {
            CommandEvent::Started(_) => pulse::sent(),
            CommandEvent::Succeeded(_) => pulse::answered(),
            CommandEvent::Failed(failed) => match failed.failure.kind.as_ref() {
                ErrorKind::Command(_) | ErrorKind::Write(_) => pulse::answered(),
                _ => pulse::lost(),
            },
            _ => {}
        }));
        options.heartbeat_freq = Some(HEARTBEAT);
        options.max_pool_size = Some(MAX_CONNECTIONS);
        options.max_connecting = Some(MAX_CONNECTING);
        options.max_idle_time = Some(IDLE);
        if let Some(direct) = settings.direct {
            options.direct_connection = Some(direct);
        }
        if let Some(login) = &settings.login {
            options.credential = Some(credential(login, source));
        }
        if let Some(tls) = &settings.tls {
            let files = match self.files.get() {
                Some(files) => files,
                None => {
                    let made = Arc::new(DriverFiles::new(tls)?);
                    self.files.get_or_init(|| made)
                }
            };
            let mut named = TlsOptions::default();
            named.ca_file_path = files.authority();
            named.cert_key_file_path = files.client();
            options.tls = Some(Tls::Enabled(named));
        }
        Ok(options)
    }
}

fn credential(login: &Login, source: Option<usize>) -> Credential {
    let mut credential = Credential::default();
    credential.username.clone_from(&login.username);
    credential.password = login.password.as_ref().map(|password| password.reveal().to_owned());
    credential.mechanism.clone_from(&login.mechanism);
    credential.source = source.and_then(|source| login.sources.get(source)).cloned();
    credential
}

/// All that a search finds.
pub(crate) async fn all<T: DeserializeOwned>(mut cursor: Cursor<T>) -> Result<Vec<T>, Error> {
    let mut found = Vec::new();
    while cursor.advance().await? {
        found.push(cursor.deserialize_current()?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::settings::TlsFiles;
    use anyhow::Context as _;
    use mongodb::options::{AuthMechanism, ConnectionString, ReadConcern};

    use super::*;
    use crate::pem::tls::{Authorities, TlsIdentity};

    fn collection(uri: &str, login: Option<Login>) -> Collection {
        let Ok(uri) = ConnectionString::parse(uri) else { unreachable!("{uri} is a URI") };
        Collection::new(CollectionSettings {
            servers: Servers::Uri(Box::new(uri)),
            database: "registry".to_owned(),
            collection: "users".to_owned(),
            login,
            selection: Duration::from_millis(800),
            connecting: Duration::from_millis(700),
            answer_within: Duration::from_millis(1300),
            deadline: Duration::from_secs(10),
            tls: None,
            direct: None,
        })
    }

    #[tokio::test]
    async fn what_a_uri_says_reaches_the_driver_with_our_limits() -> anyhow::Result<()> {
        let uri = "mongodb://reader:p%40ss@a.example,b.example:27018/registry?replicaSet=rs0&authSource=people\
                   &readConcernLevel=majority&tls=true&tlsCAFile=ca.pem&serverSelectionTimeoutMS=60000&maxPoolSize=500";
        let options = collection(uri, None).options(Some(0)).await?;
        let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["a.example:27017", "b.example:27018"]);
        assert_eq!(options.repl_set_name.as_deref(), Some("rs0"));
        assert_eq!(options.read_concern, Some(ReadConcern::majority()));
        let credential = options.credential.context("credentials")?;
        assert_eq!(
            (credential.username.as_deref(), credential.password.as_deref(), credential.source.as_deref()),
            (Some("reader"), Some("p@ss"), Some("people"))
        );
        match options.tls {
            Some(Tls::Enabled(tls)) => assert_eq!(tls.ca_file_path, Some("ca.pem".into())),
            Some(Tls::Disabled) | None => unreachable!("TLS is asked for"),
        }
        // Clients wait with every answer: no URI makes that longer, or takes more of the server.
        assert_eq!(options.server_selection_timeout, Some(Duration::from_millis(800)));
        assert_eq!(options.max_pool_size, Some(MAX_CONNECTIONS));
        Ok(())
    }

    #[tokio::test]
    async fn a_certificate_is_who_we_are_and_credentials_name_the_database_that_is_tried() -> anyhow::Result<()> {
        let login = |mechanism, sources: &[&str]| Login {
            username: Some("reader".to_owned()),
            password: None,
            mechanism,
            sources: sources.iter().map(|source| (*source).to_owned()).collect(),
        };
        let x509 = collection("mongodb://a.example", Some(login(Some(AuthMechanism::MongoDbX509), &["$external"])));
        let credential = x509.options(Some(0)).await?.credential.context("credentials")?;
        assert_eq!(credential.mechanism, Some(AuthMechanism::MongoDbX509));
        assert_eq!((credential.source.as_deref(), credential.password), (Some("$external"), None));
        let guide = collection("mongodb://a.example", Some(login(None, &["admin", "23-5"])));
        for (number, source) in ["admin", "23-5"].into_iter().enumerate() {
            let credential = guide.options(Some(number)).await?.credential.context("credentials")?;
            assert_eq!(credential.source.as_deref(), Some(source));
        }
        Ok(())
    }

    /// The driver reads what our reader of PEM has read, also where its own could not read the file.
    #[tokio::test]
    async fn the_driver_is_given_certificates_that_were_mended() -> anyhow::Result<()> {
        let file =
            |name: &str| std::fs::read_to_string(format!("{}/tests/fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR")));
        let both = [file("p256.crt")?, file("p256-pkcs8.key")?].concat();
        let authority = file("ca.crt")?;
        let mut collection = collection("mongodb://localhost/registry", None);
        let identity = TlsIdentity::from_pem(both.replace('\n', " ").as_bytes(), both.replace('\n', "\\n").as_bytes());
        let identity = identity.map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
        collection.settings.tls = Some(TlsFiles {
            authority: Some(Authorities::from_pem(format!("\u{feff}{authority}").as_bytes())?),
            client: Some(settings::ClientCertificate::Read(Arc::new(identity))),
        });
        let options = collection.options(Some(0)).await?;
        let Some(Tls::Enabled(tls)) = &options.tls else { anyhow::bail!("no TLS") };
        for (path, expected) in [(&tls.ca_file_path, authority), (&tls.cert_key_file_path, both)] {
            let path = path.as_ref().context("a path")?;
            // As often as it likes.
            for _ in 0..2 {
                assert_eq!(std::fs::read_to_string(path)?.trim_end(), expected.trim_end());
            }
        }
        let error = Client::with_options(options).err();
        assert!(error.is_none(), "{error:?}");
        Ok(())
    }
}
