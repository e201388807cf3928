//! Whether a directory's servers are there: they are greeted before the first login, tried again while they fail, and reached for
//! an administrator.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::connection::Connection;
use super::course::{Course, Limit};
use super::directory::{Directory, Errand, Question, blame};
use super::filter;
use super::protocol::{Depth, Search};
use super::route::Route;
use super::server::{Purpose, Server};
use super::settings::Login;
use super::step::Step;
use super::verdict::{Failure, of_search};
use crate::breaker::{Pass, Trial, trials_of};
use crate::turns::Client;

/// How long a trial of a server that failed may take, if a login may not take longer.
const TRIAL: Duration = Duration::from_secs(1);

/// What was found where servers were asked whether they are there.
pub(super) struct Reached {
    /// In words.
    pub(super) said: String,
    /// What was waited for at the slowest one that answers.
    pub(super) steps: Vec<(Step, Duration)>,
}

impl Directory {
    /// Stops asking a server, and tries it again in the background until it answers.
    pub(super) fn failed(self: &Arc<Self>, number: usize, pass: Pass, failure: &Failure) {
        let Some(server) = self.servers.get(number) else { return };
        server.forget();
        let trial = trials_of(self, move |directory| async move { directory.try_again(number).await });
        let address = server.address.to_string();
        let closed = server.breaker.fail(pass, trial, move || {
            info!(
                reason = "backend_back",
                backend = super::KIND.key,
                server = address,
                "a directory server is asked again"
            );
        });
        if closed {
            server.failed_by(failure);
            let left = self.servers.iter().filter(|server| server.breaker.admit().is_ok()).count();
            warn!(reason = "backend_down", backend = super::KIND.key, server = %server.address, servers_left = left,
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
        let search = self.look(String::new(), Depth::Base, filter::anything(), Step::Look);
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
        for (number, server) in self.servers.iter().enumerate() {
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
                Err(failure) => {
                    said.push(format!("{address} does not answer as it must: {failure}"));
                    match (&failure, server.breaker.admit()) {
                        (Failure::Down(_) | Failure::Stranger(_), Ok(pass)) => self.failed(number, pass, &failure),
                        (_, Err(_)) | (Failure::Unknown(_) | Failure::Late(_) | Failure::NoTurn(_), Ok(_)) => {}
                    }
                }
            }
        }
        let said = said.join("; ");
        let Some(slowest) = slowest else { anyhow::bail!("{said}") };
        match &self.settings.login {
            Login::User(_) => {}
            Login::Anonymous | Login::Ourselves { .. } if self.settings.base.is_empty() => {}
            Login::Anonymous | Login::Ourselves { .. } => {
                let search = self.look(self.settings.base.clone(), Depth::Base, filter::anything(), Step::Look);
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

    /// A search that tells only whether there is an entry.
    pub(super) fn look(&self, base: String, depth: Depth, filter: Vec<u8>, step: Step) -> Search {
        // No attribute (RFC 4511, section 4.5.1.8).
        Search { base, depth, filter, attributes: vec!["1.1".to_owned()], most: 1, seconds: self.seconds(), step }
    }
}
