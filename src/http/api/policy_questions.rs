//! Questions about the policy: whether rules can be used, and what tests come to. Nothing is changed by them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use policy::scope::{Actions, Resource, Scope};
use serde::Serialize;
use settings::{Findings, Place, Problem, Reading, Secrets, text, yaml};
use time::OffsetDateTime;

use super::policy_explained::{Asked as Why, explain};
use super::policy_wholes::{Asked, People, diff, sources, who_can};
use super::problem::Refused;
use super::{SERVICE, admit, asked, reply};
use crate::access::Denied;
use crate::app::{Snapshot, Source};
use crate::authz::rules::{KIND as ACL, Rules, read as read_rules};
use crate::config::{Invalid, SecretsOf};
use crate::http::visit::Visit;
use crate::policy_tests::{Comments, NAME as TESTS, PolicyAction, Read, Summary, Tests, read as read_tests, run};
use crate::turns::{Turn, Turns};

/// The longest body, in bytes: some thousand rules fit.
pub(super) const MAX_BODY: usize = 256 * 1024;
/// How long a question waits for its turn, and how long its tests may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one question about a whole policy may take; what was found until then is told.
const LONGEST: Duration = Duration::from_secs(10);
/// What could not be asked where the file does not load.
const FILE: &str = "configuration";
/// The media types of a body. No form of a browser can announce them.
const TYPES: [&str; 2] = ["application/yaml", "application/json"];

/// Whose question is worked on next. One at a time: they may take seconds, and everybody else's tokens need the cores.
static TURNS: LazyLock<Turns> = LazyLock::new(|| Turns::new(1));

/// What stands in a body.
struct Given {
    rules: Option<Rules>,
    tests: Option<Tests>,
    asked: Asked,
    findings: Findings,
}

/// What is said of rules and tests.
#[derive(Serialize)]
struct Checked {
    rules: usize,
    tests: usize,
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// A problem or a warning.
#[derive(Serialize)]
struct Finding {
    line: Option<usize>,
    path: String,
    message: String,
}

impl From<Problem> for Finding {
    fn from(problem: Problem) -> Finding {
        let Problem { place, path, message } = problem;
        let line = match place {
            Place::Line(line) => Some(line),
            Place::Environment(_) => None,
        };
        Finding { line, path, message }
    }
}

/// Answers a question about the policy, if the rules give the right to ask it.
pub(super) async fn answer(
    visit: &mut Visit<'_>,
    action: PolicyAction,
    parts: &Parts,
    body: Vec<u8>,
    now: OffsetDateTime,
) -> Result<Response, Refused> {
    require(visit, action, &parts.headers, now).await?;
    if !TYPES.iter().any(|own| asked::media_type(&parts.headers).as_deref() == Some(*own)) {
        return Err(Refused::ContentType("application/yaml or application/json"));
    }
    let body = text::decode(body).map_err(|wrong| Refused::Request(wrong.to_string()))?;
    match action {
        PolicyAction::Explain => {
            let asked = Why::read(&body, visit.snapshot, now)?;
            return reply(StatusCode::OK, &explain(visit, asked).await?.told());
        }
        PolicyAction::Check | PolicyAction::Test | PolicyAction::Diff | PolicyAction::WhoCan => {}
    }
    let turn = turn(visit).await?;
    let (snapshot, source) = (Arc::clone(visit.snapshot), visit.app.source().clone());
    let people = match action {
        PolicyAction::Check | PolicyAction::Test | PolicyAction::Explain => None,
        PolicyAction::Diff | PolicyAction::WhoCan => Some(People::now(&snapshot, now).await?),
    };
    apart(turn, move |still| {
        let given = Given::read(&body, action, &snapshot)?;
        match (action, people) {
            (PolicyAction::Check, _) => reply(StatusCode::OK, &given.checked(&source)?),
            (PolicyAction::Test, _) => reply(StatusCode::OK, &given.tested(&snapshot)?),
            (PolicyAction::Diff, Some(people)) => {
                let (rules, asked) = given.whole()?;
                reply(StatusCode::OK, &diff(&snapshot, people, rules, &asked, still)?)
            }
            (PolicyAction::WhoCan, Some(people)) => {
                let (rules, asked) = given.whole()?;
                reply(StatusCode::OK, &who_can(&snapshot, people, rules, &asked, still)?)
            }
            (PolicyAction::Diff | PolicyAction::WhoCan | PolicyAction::Explain, _) => Err(Refused::NotFound),
        }
    })
    .await
}

/// Waits for the turn to ask about the policy.
///
/// # Errors
/// Too many wait.
pub(in crate::http) async fn turn(visit: &Visit<'_>) -> Result<Turn, Refused> {
    turn_of(&TURNS, visit).await
}

/// The same among those who ask something else.
pub(super) async fn turn_of(turns: &Turns, visit: &Visit<'_>) -> Result<Turn, Refused> {
    Ok(turns.turn(visit.whose_turn(), crate::clock::now() + PATIENCE).await?)
}

/// Compares rules where no thread that serves requests is kept from others. The work is told whether somebody still waits for it, and
/// its time is not over.
///
/// # Errors
/// Those of the work, or it died.
pub(in crate::http) async fn apart<T: Send + 'static>(
    turn: Turn,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    // Whoever waits no more is not worked for: this is gone then.
    let waits = Arc::new(());
    let waiting = Arc::downgrade(&waits);
    let ends = crate::clock::now() + LONGEST;
    let answered = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work(&|| waiting.strong_count() > 0 && crate::clock::now() < ends)
    });
    let died = |cause: tokio::task::JoinError| Denied::Unavailable { backend: TESTS, cause: cause.into() };
    let answered = answered.await.map_err(died)?;
    drop(waits);
    answered
}

/// Whether whoever asks may do this.
async fn require(
    visit: &mut Visit<'_>,
    action: PolicyAction,
    headers: &HeaderMap,
    now: OffsetDateTime,
) -> Result<(), Refused> {
    let admitted = admit(visit, headers, now).await?;
    let resource = Resource::ours(PolicyAction::ON).map_err(|_| Refused::NotFound)?;
    let actions: Actions = [action.action()].into();
    let scope = Scope { resource, class: None, actions, reference: None };
    let (snapshot, asker) = (visit.snapshot, &visit.asker);
    let decision = snapshot.access.decide(&admitted.who, asker.address, SERVICE, vec![scope], now).await?;
    if let Some(lasting) = snapshot.access.lasting() {
        lasting.used(&admitted.who, asker.address, visit.client(), now);
    }
    visit.log_decision(&decision, None);
    match decision.grants().first().is_some_and(|grant| grant.granted.contains(&action.action())) {
        true => Ok(()),
        false => Err(Refused::NotGranted { action: action.as_str(), name: PolicyAction::ON.to_owned() }),
    }
}

impl Given {
    /// Reads `acl:` and `tests:` as a configuration file has them; JSON is YAML.
    fn read(body: &str, action: PolicyAction, snapshot: &Snapshot) -> Result<Given, Refused> {
        let root =
            yaml::parse(body).map_err(|problem| Refused::Request(format!("{}: {}", problem.place, problem.message)))?;
        let reading = Reading::default();
        let (mut rules, mut tests, mut asked) = (None, None, Asked::default());
        if let Some(mut top) = reading.root(&root, Secrets::Skip).section() {
            rules = top.field(ACL.key).and_then(read_rules);
            match action {
                PolicyAction::Check | PolicyAction::Test => {
                    let services = &snapshot.services;
                    // The rules that a test names may stand elsewhere.
                    let with = Read { services, other_services: true, comments: Comments::Any, file: None };
                    tests = top.field(TESTS).map(|field| read_tests(&field, &with));
                }
                PolicyAction::Diff => {
                    if !top.has(ACL.key) {
                        top.missing(ACL.key, "the rules are needed that those in use are compared with");
                    }
                    asked = Asked::where_and_when(&mut top);
                }
                PolicyAction::WhoCan => asked = Asked::who(&mut top),
                PolicyAction::Explain => {}
            }
            top.finish();
        }
        Ok(Given { rules, tests, asked, findings: reading.into_findings() })
    }

    /// What is wrong with them, and what is probably not meant, beside all else that the file says now.
    fn checked(self, source: &Source) -> Result<Checked, Refused> {
        let Findings { problems, mut warnings, .. } = self.findings;
        if let Some(rules) = &self.rules {
            let unread = |cause: Invalid| Denied::Unavailable { backend: FILE, cause: cause.into() };
            warnings.extend(source.load(SecretsOf::backends()).map_err(unread)?.lint_given(rules));
        }
        Ok(Checked {
            rules: self.rules.map_or(0, |rules| rules.acl.rules().len()),
            tests: self.tests.map_or(0, |tests| tests.len()),
            problems: problems.into_iter().map(Finding::from).collect(),
            warnings: warnings.into_iter().map(Finding::from).collect(),
        })
    }

    /// The tests that are given, or those in use, by the rules that are given in place of the file's, or by those in use.
    fn tested(self, snapshot: &Snapshot) -> Result<Summary, Refused> {
        self.usable()?;
        let tests = self.tests.unwrap_or_else(|| Arc::clone(&snapshot.tests));
        let chain = snapshot.access.chain(tests.iter().map(|test| &test.account))?;
        let sources = sources(&chain, self.rules);
        Ok(Summary::of(&run(&tests, &chain, &sources, PATIENCE)))
    }

    /// The rules that are given, and what is asked about all of them.
    fn whole(self) -> Result<(Option<Rules>, Asked), Refused> {
        self.usable()?;
        Ok((self.rules, self.asked))
    }

    /// Refuses what could not be read.
    fn usable(&self) -> Result<(), Refused> {
        if let Some(first) = self.findings.problems.first() {
            let more = match self.findings.problems.len() {
                1 => String::new(),
                number => format!(" (the first of {number} problems; policy:check says all of rules and tests)"),
            };
            return Err(Refused::Request(format!("{}: {}: {}{more}", first.place, first.path, first.message)));
        }
        Ok(())
    }
}
