//! A directory of one or more servers: who of them is asked, on which connection, and for how long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::address::Protection;
use super::connection::{Connection, Trouble, connect, look_up};
use super::course::{Course, Limit, Silence};
use super::protocol::{Entry, Search};
use super::route::Route;
use super::server::{IDLE, Purpose, Server};
use super::settings::{LdapSettings, Login};
use super::step::Step;
use super::tls;
use super::verdict::{Extent, Failure, Verdict, of_ourselves, of_search, of_user};
use crate::authn::Secret;
use crate::breaker::Passage;
use crate::turns::{Client, Turns};

/// With less time left than this, no other server is asked.
const FAIR: Duration = Duration::from_millis(100);

/// The servers of one configuration. They hold the same entries; the first that answers is asked.
pub(super) struct Directory {
    pub(super) settings: LdapSettings,
    tls: Option<Arc<ClientConfig>>,
    pub(super) servers: Vec<Server>,
    searching: Turns,
    checking: Turns,
}

/// The client that a directory is asked for, and the login that the question belongs to.
#[derive(Clone, Copy)]
pub(super) struct Errand<'of> {
    /// The client, whose turn it has to be.
    pub(super) client: Client,
    /// All of a login's questions share it, and its deadline.
    pub(super) course: &'of Course,
}

/// What a directory is asked, on a connection for itself.
#[derive(Clone, Copy)]
pub(super) enum Question<'of> {
    /// Whether this is the password that belongs to the name.
    Check(Bind<'of>),
    /// For entries, in the name of this configuration.
    Search(&'of Search),
    /// For entries, in a user's name.
    SearchAs(Bind<'of>, &'of Search),
}

/// A name and the password that is to belong to it.
#[derive(Clone, Copy)]
pub(super) struct Bind<'of> {
    /// A distinguished name.
    pub(super) name: &'of str,
    /// The password; not empty.
    pub(super) password: &'of Secret,
}

/// What it answers.
#[derive(Debug)]
pub(super) struct DirectoryAnswer {
    /// Whether the password is right, where one was asked about; otherwise no entries are looked for.
    pub(super) verdict: Verdict,
    /// The entries that were found.
    pub(super) entries: Vec<Entry>,
    /// Whether these are all.
    pub(super) extent: Extent,
}

impl Question<'_> {
    fn purpose(&self) -> Purpose {
        match self {
            Question::Search(_) => Purpose::Searching,
            Question::Check(_) | Question::SearchAs(..) => Purpose::Checking,
        }
    }
}

impl Directory {
    /// The directory that the settings name; nothing is connected yet.
    ///
    /// # Errors
    /// TLS is asked for, and no authority is known.
    pub(super) fn new(settings: LdapSettings) -> anyhow::Result<Directory> {
        let is_protected = settings.addresses.iter().any(|address| match address.protection {
            Protection::None => false,
            Protection::StartTls | Protection::Tls => true,
        });
        Ok(Directory {
            tls: is_protected.then(|| tls::config(&settings.trust)).transpose()?,
            servers: settings
                .addresses
                .iter()
                .map(|address| Server::new(address.clone(), settings.connections))
                .collect(),
            searching: Turns::new(settings.connections),
            checking: Turns::new(settings.connections),
            settings,
        })
    }

    /// What it was made from.
    pub(super) fn settings(&self) -> &LdapSettings {
        &self.settings
    }

    /// Whether any server is asked now.
    pub(super) fn passage(&self) -> Passage {
        let all = self.servers.iter().map(|server| server.breaker.passage());
        all.reduce(|one, other| match (one, other) {
            (Passage::Passing, _) | (_, Passage::Passing) => Passage::Passing,
            // Until the last one was lost, somebody answered.
            (Passage::Shut { since: one }, Passage::Shut { since: other }) => Passage::Shut { since: one.max(other) },
        })
        .unwrap_or(Passage::Passing)
    }

    /// How long a server may be silent while a connection is made, and then at each question.
    pub(super) fn silence_connecting(&self) -> Silence {
        Silence { key: "connect_timeout", length: self.settings.connect_within }
    }

    pub(super) fn silence(&self) -> Silence {
        Silence { key: "timeout", length: self.settings.timeout }
    }

    /// Asks the first server that answers, when it is the client's turn.
    ///
    /// # Errors
    /// None does, or not within the time; or no turn came.
    pub(super) async fn ask(
        self: &Arc<Self>,
        question: Question<'_>,
        errand: Errand<'_>,
    ) -> Result<DirectoryAnswer, Failure> {
        let Errand { client, course } = errand;
        let turns = match question.purpose() {
            Purpose::Searching => &self.searching,
            Purpose::Checking => &self.checking,
        };
        let turn = course.wait_for(Step::Turn, turns.turn(client, course.deadline())).await;
        let _turn = turn.map_err(Failure::NoTurn)?;
        let mut causes = Vec::new();
        for (number, server) in self.servers.iter().enumerate() {
            let Ok(pass) = server.breaker.admit() else {
                causes.push(format!("{} (it has not answered since)", server.last_failure()));
                continue;
            };
            if course.left() < FAIR {
                causes.push("no time was left to ask another server; see deadline".to_owned());
                break;
            }
            match self.ask_server(server, question, course).await {
                Ok(reply) => return Ok(reply),
                Err(failure @ (Failure::Down(_) | Failure::Stranger(_))) => {
                    causes.push(format!("{}: {failure}", server.address));
                    self.failed(number, pass, &failure);
                }
                Err(failure @ (Failure::Unknown(_) | Failure::Late(_) | Failure::NoTurn(_))) => return Err(failure),
            }
        }
        Err(Failure::Down(causes.join("; ")))
    }

    async fn ask_server(
        &self,
        server: &Server,
        question: Question<'_>,
        course: &Course,
    ) -> Result<DirectoryAnswer, Failure> {
        let purpose = question.purpose();
        let mut route = Route::default();
        let mut waited = server.take(purpose);
        loop {
            let (mut connection, is_new) = match waited.take() {
                Some(connection) => (connection, false),
                None => (self.connect(server, purpose, &mut route, course).await?, true),
            };
            let failure = match self.converse(&mut connection, question, course).await {
                // Another address may be of a server that is not busy.
                Ok(Err(failure @ Failure::Down(_))) => failure,
                Ok(answer) => {
                    server.give_back(purpose, connection);
                    return answer;
                }
                // The server closed it, perhaps as it was restarted, and then the others are gone as well. That says
                // nothing about a new one; which is tried once, since it is new.
                Err(Trouble::Lost(_)) if !is_new => {
                    server.forget_at(connection.at());
                    continue;
                }
                Err(trouble) => blame(trouble),
            };
            route.failed(server, connection.at(), failure)?;
        }
    }

    /// A new connection that is ready for its purpose, to the first of the server's addresses that was not tried yet and that
    /// answers: one that takes connections and says nothing must not keep the others from being asked.
    pub(super) async fn connect(
        &self,
        server: &Server,
        purpose: Purpose,
        route: &mut Route,
        course: &Course,
    ) -> Result<Connection, Failure> {
        let limit = Limit { step: Step::Connect, silence: self.silence_connecting(), course };
        if !route.is_known() {
            route.leads_to(server, look_up(&server.address, limit).await.map_err(blame)?);
        }
        loop {
            let left = route.left()?;
            let (stream, at) = match connect(left, limit).await {
                Ok(connected) => connected,
                // Each of them was tried.
                Err(trouble) => return Err(route.ended_by(blame(trouble))),
            };
            match self.introduce(server, purpose, (stream, at), course).await {
                Ok(connection) => return Ok(connection),
                Err(failure) => route.failed(server, at, failure)?,
            }
        }
    }

    /// Makes a connection ready for its purpose: under TLS, if there is to be any, and with our own name, if we have one.
    async fn introduce(
        &self,
        server: &Server,
        purpose: Purpose,
        (stream, at): (TcpStream, SocketAddr),
        course: &Course,
    ) -> Result<Connection, Failure> {
        let limit = Limit { step: Step::Connect, silence: self.silence_connecting(), course };
        let connection = Connection::over(stream, at, &server.address, self.tls.as_ref(), limit).await;
        let mut connection = connection.map_err(blame)?;
        match (purpose, &self.settings.login) {
            (Purpose::Searching, Login::Ourselves { name, password }) => {
                let began = crate::clock::now();
                let alone = timeout_at(course.deadline(), server.introduction.lock());
                let Ok(mut introduction) = course.wait_for(Step::Others, alone).await else {
                    return Err(course.late(Step::Others, Duration::ZERO));
                };
                if let Some(refusal) = server.estranged() {
                    return Err(refusal);
                }
                // One after the other, a crowd would wait as many times as long for a server that is silent.
                if let Some(failure) = introduction.failure_since(began, at) {
                    return Err(failure);
                }
                let limit = Limit { step: Step::OwnBind, silence: self.silence(), course };
                if introduction.is_recent() {
                    drop(introduction);
                    let done = connection.bind(name, password.reveal(), limit).await.map_err(blame)?;
                    known(server, of_ourselves(&done, name))?;
                    return Ok(connection);
                }
                let done = match connection.bind(name, password.reveal(), limit).await.map_err(blame) {
                    Ok(done) => done,
                    Err(failure) => {
                        introduction.was_unanswered(at, &failure);
                        return Err(failure);
                    }
                };
                known(server, of_ourselves(&done, name))?;
                introduction.was_taken();
            }
            (Purpose::Searching, Login::Anonymous | Login::User(_)) | (Purpose::Checking, _) => {}
        }
        Ok(connection)
    }

    /// Asks on this connection. An answer leaves it ready for the next question, also where the answer is an error.
    async fn converse(
        &self,
        connection: &mut Connection,
        question: Question<'_>,
        course: &Course,
    ) -> Result<Result<DirectoryAnswer, Failure>, Trouble> {
        let limit = |step| Limit { step, silence: self.silence(), course };
        let (bind, search) = match question {
            Question::Check(bind) => (Some(bind), None),
            Question::Search(search) => (None, Some(search)),
            Question::SearchAs(bind, search) => (Some(bind), Some(search)),
        };
        let mut reply = DirectoryAnswer { verdict: Verdict::Right, entries: Vec::new(), extent: Extent::Whole };
        if let Some(Bind { name, password }) = bind {
            // Neither may be empty: such a bind succeeds on many servers, for nobody in particular (RFC 4513, sections
            // 5.1.1 and 5.1.2; CVE-2017-14623 and many after it).
            if name.trim().is_empty() || password.reveal().is_empty() {
                reply.verdict = Verdict::No("a name and a password are needed".to_owned());
                return Ok(Ok(reply));
            }
            let done = connection.bind(name, password.reveal(), limit(Step::Check)).await?;
            match of_user(&done) {
                Ok(Verdict::Right) => {}
                Ok(no @ (Verdict::No(_) | Verdict::Closed(_))) => {
                    reply.verdict = no;
                    return Ok(Ok(reply));
                }
                Err(failure) => return Ok(Err(failure)),
            }
        }
        if let Some(search) = search {
            let (entries, done) = connection.search(search, limit(search.step)).await?;
            match of_search(&done, &search.base) {
                Ok(extent) => (reply.entries, reply.extent) = (entries, extent),
                Err(failure) => return Ok(Err(failure)),
            }
        }
        Ok(Ok(reply))
    }

    /// Closes connections that nobody uses any more, for as long as the directory is there.
    pub(super) async fn close_idle(directory: std::sync::Weak<Directory>) {
        loop {
            tokio::time::sleep(IDLE / 4).await;
            let Some(directory) = directory.upgrade() else { return };
            directory.servers.iter().for_each(Server::close_idle);
        }
    }

    /// How long a server may look for an answer, in whole seconds, as LDAP counts them.
    pub(super) fn seconds(&self) -> u32 {
        let whole = self.settings.timeout.as_millis().div_ceil(1000);
        u32::try_from(whole).unwrap_or(u32::MAX).max(1)
    }
}

/// Takes note of a server that does not know us.
fn known(server: &Server, answer: Result<(), Failure>) -> Result<(), Failure> {
    answer.inspect_err(|failure| match failure {
        Failure::Stranger(_) => server.refused_us(failure),
        Failure::Down(_) | Failure::Unknown(_) | Failure::Late(_) | Failure::NoTurn(_) => {}
    })
}

/// Whose fault trouble on a connection is.
pub(super) fn blame(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Overdue(message) => Failure::Late(message),
        // Somebody's large entry must not keep everybody else out, and no password is needed to have it searched.
        Trouble::TooMuch(_) => Failure::Unknown(trouble.to_string()),
        Trouble::Silent(_) | Trouble::Lost(_) | Trouble::Garbled(_) | Trouble::NoTls { .. } | Trouble::Injected => {
            Failure::Down(trouble.to_string())
        }
    }
}
