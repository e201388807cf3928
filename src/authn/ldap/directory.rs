//! A directory of one or more servers: who of them is asked, on which connection, and for how long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use super::address::Protection;
use super::connection::{Connection, Trouble, connect, look_up};
use super::course::{Course, Limit, Silence, Step};
use super::protocol::{Depth, Entry, Search};
use super::route::Route;
use super::server::{IDLE, Purpose, Server};
use super::settings::{Login, Settings};
use super::verdict::{Extent, Failure, Verdict, of_ourselves, of_search, of_user};
use super::{filter, tls};
use crate::authn::Secret;
use crate::breaker::{Pass, Passage, Trial};
use crate::turns::{Client, Turns};

/// With less time left than this, no other server is asked.
const FAIR: Duration = Duration::from_millis(100);
/// How long a trial of a server that failed may take, if a login may not take longer.
const TRIAL: Duration = Duration::from_secs(1);

/// The servers of one configuration. They hold the same entries; the first that answers is asked.
pub(super) struct Directory {
    settings: Settings,
    tls: Option<Arc<ClientConfig>>,
    servers: Vec<Server>,
    searching: Turns,
    checking: Turns,
}

/// For whom a directory is asked, and in the course of which login.
#[derive(Clone, Copy)]
pub(super) struct Errand<'of> {
    /// Whose turn it has to be.
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
pub(super) struct Reply {
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
    pub(super) fn new(settings: Settings) -> anyhow::Result<Directory> {
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
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether any server is asked now.
    pub(super) fn passage(&self) -> Passage {
        let passing = |server: &Server| match server.breaker.passage() {
            Passage::Passing => true,
            Passage::Shut => false,
        };
        match self.servers.iter().any(passing) {
            true => Passage::Passing,
            false => Passage::Shut,
        }
    }

    /// How long a server may be silent while a connection is made, and then at each question.
    fn silence_connecting(&self) -> Silence {
        Silence { key: "connect_timeout", length: self.settings.connect_within }
    }

    fn silence(&self) -> Silence {
        Silence { key: "timeout", length: self.settings.timeout }
    }

    /// Asks the first server that answers, when it is the client's turn.
    ///
    /// # Errors
    /// None does, or not within the time; or no turn came.
    pub(super) async fn ask(self: &Arc<Self>, question: Question<'_>, errand: Errand<'_>) -> Result<Reply, Failure> {
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

    async fn ask_server(&self, server: &Server, question: Question<'_>, course: &Course) -> Result<Reply, Failure> {
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
    async fn connect(
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
                let began = Instant::now();
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
    ) -> Result<Result<Reply, Failure>, Trouble> {
        let limit = |step| Limit { step, silence: self.silence(), course };
        let (bind, search) = match question {
            Question::Check(bind) => (Some(bind), None),
            Question::Search(search) => (None, Some(search)),
            Question::SearchAs(bind, search) => (Some(bind), Some(search)),
        };
        let mut reply = Reply { verdict: Verdict::Right, entries: Vec::new(), extent: Extent::Whole };
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

    /// Stops asking a server, and tries it again in the background until it answers.
    fn failed(self: &Arc<Self>, number: usize, pass: Pass, failure: &Failure) {
        let Some(server) = self.servers.get(number) else { return };
        let directory = Arc::downgrade(self);
        server.forget();
        let trial = move || {
            let directory = directory.upgrade();
            async move {
                match directory {
                    Some(directory) => directory.try_again(number).await,
                    None => Trial::Ended,
                }
            }
        };
        let address = server.address.to_string();
        let closed = server.breaker.fail(pass, trial, move || {
            info!(
                reason = "backend_back",
                backend = "ldap_auth",
                server = address,
                "a directory server is asked again"
            );
        });
        if closed {
            server.failed_by(failure);
            let left = self.servers.iter().filter(|server| server.breaker.admit().is_ok()).count();
            warn!(reason = "backend_down", backend = "ldap_auth", server = %server.address, servers_left = left,
                cause = %failure, "a directory server cannot be asked; without another one, logins are answered with 503");
        }
    }

    async fn try_again(&self, number: usize) -> Trial {
        let Some(server) = self.servers.get(number) else { return Trial::Ended };
        if server.estranged().is_some() {
            return Trial::Failed;
        }
        match self.greet(server, &Course::of(TRIAL.max(self.settings.deadline))).await {
            Ok(()) => Trial::Answered,
            Err(failure) => {
                server.failed_by(&failure);
                Trial::Failed
            }
        }
    }

    /// Connects to each server before the first login has to wait for that.
    pub(super) async fn greet_all(self: &Arc<Self>) {
        for (number, server) in self.servers.iter().enumerate() {
            let Ok(pass) = server.breaker.admit() else { continue };
            match self.greet(server, &Course::of(TRIAL.max(self.settings.deadline))).await {
                Ok(()) | Err(Failure::Unknown(_) | Failure::Late(_) | Failure::NoTurn(_)) => {}
                Err(failure @ (Failure::Down(_) | Failure::Stranger(_))) => self.failed(number, pass, &failure),
            }
        }
    }

    /// Closes connections that nobody uses any more, for as long as the directory is there.
    pub(super) async fn close_idle(directory: std::sync::Weak<Directory>) {
        loop {
            tokio::time::sleep(IDLE / 4).await;
            let Some(directory) = directory.upgrade() else { return };
            directory.servers.iter().for_each(Server::close_idle);
        }
    }

    /// Whether the server answers, and knows us if we are somebody. The connection is kept for the next search.
    async fn greet(&self, server: &Server, course: &Course) -> Result<(), Failure> {
        let mut route = Route::default();
        loop {
            let mut connection = self.connect(server, Purpose::Searching, &mut route, course).await?;
            let heard = match &self.settings.login {
                // Its bind was an answer.
                Login::Ourselves { .. } => Ok(()),
                Login::Anonymous | Login::User(_) => self.hear(&mut connection, course).await,
            };
            match heard {
                Ok(()) => {
                    match self.settings.login {
                        Login::Ourselves { .. } | Login::Anonymous => server.give_back(Purpose::Searching, connection),
                        Login::User(_) => {}
                    }
                    return Ok(());
                }
                Err(failure) => route.failed(server, connection.at(), failure)?,
            }
        }
    }

    /// Asks for the server's own entry, which nobody has to be anybody for. Whatever it says to that is an answer.
    async fn hear(&self, connection: &mut Connection, course: &Course) -> Result<(), Failure> {
        let search = self.look_at(String::new());
        let limit = Limit { step: search.step, silence: self.silence(), course };
        let (_, done) = connection.search(&search, limit).await.map_err(blame)?;
        match of_search(&done, "") {
            Err(failure @ Failure::Down(_)) => Err(failure),
            Ok(_) | Err(Failure::Stranger(_) | Failure::Unknown(_) | Failure::Late(_) | Failure::NoTurn(_)) => Ok(()),
        }
    }

    /// Asks each server who is there, and whether it holds the base; says what was found, and what the slowest waited for.
    ///
    /// # Errors
    /// None of them answers, or the base is not there.
    pub(super) async fn reach(self: &Arc<Self>) -> anyhow::Result<Reached> {
        let mut said = Vec::new();
        let mut slowest: Option<Course> = None;
        for server in &self.servers {
            let address = &server.address;
            // What was connected in the background would hide how long that takes.
            server.forget();
            let course = Course::of(self.settings.deadline);
            match self.greet(server, &course).await {
                Ok(()) => {
                    said.push(format!("{address} answers, {}", self.known_as()));
                    slowest = Some(match slowest {
                        Some(other) if other.total() >= course.total() => other,
                        Some(_) | None => course,
                    });
                }
                Err(failure) => said.push(format!("{address} does not answer as it must: {failure}")),
            }
        }
        let said = said.join("; ");
        let Some(slowest) = slowest else { anyhow::bail!("{said}") };
        match &self.settings.login {
            Login::User(_) => {}
            Login::Anonymous | Login::Ourselves { .. } if self.settings.base.is_empty() => {}
            Login::Anonymous | Login::Ourselves { .. } => {
                let search = self.look_at(self.settings.base.clone());
                let course = Course::of(self.settings.deadline);
                let errand = Errand { client: Client::OURSELVES, course: &course };
                self.ask(Question::Search(&search), errand).await?;
            }
        }
        Ok(Reached { said, steps: slowest.steps() })
    }

    fn known_as(&self) -> String {
        match &self.settings.login {
            Login::Anonymous => "and is searched anonymously".to_owned(),
            Login::Ourselves { name, .. } => format!("bound as {name}"),
            Login::User(template) => format!("and users bind as {}", template.text()),
        }
    }

    fn look_at(&self, base: String) -> Search {
        Search {
            base,
            depth: Depth::Base,
            filter: filter::anything(),
            // None.
            attributes: vec!["1.1".to_owned()],
            most: 1,
            seconds: self.seconds(),
            step: Step::Look,
        }
    }

    /// How long a server may look for an answer, in whole seconds, as LDAP counts them.
    pub(super) fn seconds(&self) -> u32 {
        let whole = self.settings.timeout.as_millis().div_ceil(1000);
        u32::try_from(whole).unwrap_or(u32::MAX).max(1)
    }
}

/// What was found where servers were asked whether they are there.
pub(super) struct Reached {
    /// In words.
    pub(super) said: String,
    /// What was waited for at the slowest one that answers.
    pub(super) steps: Vec<(Step, Duration)>,
}

/// Takes note of a server that does not know us.
fn known(server: &Server, answer: Result<(), Failure>) -> Result<(), Failure> {
    answer.inspect_err(|failure| match failure {
        Failure::Stranger(_) => server.refused_us(failure),
        Failure::Down(_) | Failure::Unknown(_) | Failure::Late(_) | Failure::NoTurn(_) => {}
    })
}

/// Whose fault trouble on a connection is.
fn blame(trouble: Trouble) -> Failure {
    match trouble {
        Trouble::Overdue(message) => Failure::Late(message),
        // Somebody's large entry must not keep everybody else out, and no password is needed to have it searched.
        Trouble::TooMuch(_) => Failure::Unknown(trouble.to_string()),
        Trouble::Silent(_) | Trouble::Lost(_) | Trouble::Garbled(_) | Trouble::NoTls { .. } | Trouble::Injected => {
            Failure::Down(trouble.to_string())
        }
    }
}
