//! The work that deciding one request may take, and where costly decisions are made: not on the threads that answer
//! everybody.
//!
//! What a rule costs depends on what is asked and by whom, so a stranger could find the costly ones. Each question is
//! first decided where it is asked, with little work; if that is not enough, it is decided once more from the start on a
//! thread of its own, when it is that client's turn.

use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use policy::Answer;
use policy::pattern::{LabelValues, TooComplex};
use policy::scope::{Actions, Reference, Resource};
use policy::{Budget, Compiling, REQUEST_STEPS};
use time::OffsetDateTime;

use super::rules::Question;
use crate::turns::{Lane, Turns};

/// Work that one question may take on a thread that answers others as well.
const STEPS_AT_ONCE: u64 = 20_000;
/// How long a request's questions wait for their turns, all together, before its client is told to come back.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whose question is decided next. There is one queue, since there is one set of cores; apart from the one for passwords,
/// where strangers wait much longer.
static TURNS: LazyLock<Turns> = LazyLock::new(Turns::beside_one_core);

/// The work that is left for deciding one request.
#[derive(Debug)]
pub struct Work {
    steps: AtomicU64,
    /// Whether one of its questions was too costly for where it was asked. The next ones probably are.
    is_costly: AtomicBool,
    /// Whose turns its questions have.
    lane: Lane,
}

impl Default for Work {
    fn default() -> Work {
        Work::of(Lane::Strangers)
    }
}

impl Work {
    /// That of a request from a network that is known, or is not.
    pub(crate) fn of(lane: Lane) -> Work {
        Work { steps: AtomicU64::new(REQUEST_STEPS), is_costly: AtomicBool::new(false), lane }
    }

    /// Whose turns its questions have, where they are costly or somebody else has to be asked.
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }

    /// Does something with at most so many of the steps that are left.
    fn take<T>(&self, most: u64, compiling: Compiling, decide: impl FnOnce(&mut Budget) -> T) -> T {
        let given = self.steps.load(Ordering::Relaxed).min(most);
        let mut budget = Budget::new(given, compiling);
        let said = decide(&mut budget);
        self.steps.fetch_sub(given.saturating_sub(budget.left()), Ordering::Relaxed);
        said
    }
}

/// Answers a question by rules that `decide` compares: at once where that costs little.
///
/// # Errors
/// [`TooComplex`] where what is left for the request is not enough, [`Busy`](crate::turns::Busy) where no turn came.
/// Either way nobody knows what may be granted.
pub(crate) async fn answer<D>(question: &Question<'_>, decide: D) -> anyhow::Result<Answer>
where
    D: Fn(&policy::Question<'_>, &mut Budget) -> Result<Answer, TooComplex> + Send + 'static,
{
    answer_in(&TURNS, question, decide).await
}

async fn answer_in<D>(turns: &Turns, question: &Question<'_>, decide: D) -> anyhow::Result<Answer>
where
    D: Fn(&policy::Question<'_>, &mut Budget) -> Result<Answer, TooComplex> + Send + 'static,
{
    let work = question.work;
    if !work.is_costly.load(Ordering::Relaxed) {
        match work.take(STEPS_AT_ONCE, Compiling::Elsewhere, |budget| decide(&question.asked, budget)) {
            Ok(answer) => return Ok(answer),
            // Whether it is too complex as a whole is not known yet.
            Err(TooComplex) => work.is_costly.store(true, Ordering::Relaxed),
        }
    }
    let turn = turns.turn(question.client(), question.began + PATIENCE).await?;
    let asked = OwnedQuestion::from_question(&question.asked);
    let steps = AtomicU64::new(work.steps.load(Ordering::Relaxed));
    let left = Work { steps, is_costly: AtomicBool::new(true), lane: work.lane };
    let (answer, left) = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let answer = left.take(u64::MAX, Compiling::Allowed, |budget| decide(&asked.question(), budget));
        (answer, left)
    })
    .await
    .context("the deciding thread died")?;
    work.steps.store(left.steps.into_inner(), Ordering::Relaxed);
    Ok(answer?)
}

/// The work that one look through many names may take, in steps: that of a hundred requests.
const STEPS_OF_MANY: u64 = 100 * REQUEST_STEPS;

/// Decides on many names by rules, when it is this client's turn, on a thread of its own. `decide` is asked with the question, and finds
/// out by itself which names there are.
///
/// # Errors
/// As [`answer`].
pub(crate) async fn about_many<T, D>(question: &Question<'_>, decide: D) -> anyhow::Result<T>
where
    T: Send + 'static,
    D: FnOnce(&policy::Question<'_>, &mut Budget) -> Result<T, TooComplex> + Send + 'static,
{
    let turn = TURNS.turn(question.client(), question.began + PATIENCE).await?;
    let asked = OwnedQuestion::from_question(&question.asked);
    let decided = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        decide(&asked.question(), &mut Budget::new(STEPS_OF_MANY, Compiling::Allowed))
    });
    Ok(decided.await.context("the deciding thread died")??)
}

/// A question that goes to another thread.
struct OwnedQuestion {
    account: String,
    labels: LabelValues,
    address: Option<IpAddr>,
    service: String,
    resource: Resource,
    actions: Actions,
    reference: Option<Reference>,
    now: OffsetDateTime,
}

impl OwnedQuestion {
    fn from_question(question: &policy::Question<'_>) -> OwnedQuestion {
        let policy::Question { account, labels, address, service, resource, actions, reference, now } = *question;
        OwnedQuestion {
            account: account.to_owned(),
            labels: labels.clone(),
            address,
            service: service.to_owned(),
            resource: resource.clone(),
            actions: actions.clone(),
            reference: reference.cloned(),
            now,
        }
    }

    fn question(&self) -> policy::Question<'_> {
        let OwnedQuestion { account, labels, address, service, resource, actions, reference, now } = self;
        let (address, reference, now) = (*address, reference.as_ref(), *now);
        policy::Question { account, labels, address, service, resource, actions, reference, now }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::client_network::ClientNetwork;
    use crate::turns::{Busy, Client};

    /// A question whose request was costly already.
    async fn ask(turns: &Turns, lane: Lane, address: u32) -> anyhow::Result<Answer> {
        let asked = policy::Question {
            account: "",
            labels: &LabelValues::new(),
            address: Some(Ipv4Addr::from_bits(address).into()),
            service: "registry",
            resource: &Resource::new("repository", "app")?,
            actions: &Actions::new(),
            reference: None,
            now: OffsetDateTime::UNIX_EPOCH,
        };
        let question = Question {
            asked,
            began: crate::clock::now(),
            work: &Work { is_costly: AtomicBool::new(true), ..Work::of(lane) },
        };
        answer_in(turns, &question, |_, _| Ok(Answer::NoMatch { until: None })).await
    }

    #[tokio::test]
    async fn costly_questions_of_known_networks_do_not_wait_for_those_of_a_thousand_others() -> anyhow::Result<()> {
        let turns = Turns::new(1);
        let network = |number: u32| ClientNetwork::of(Some(Ipv4Addr::from_bits(number).into()));
        let stranger = |network| Client { network, lane: Lane::Strangers };
        let deadline = crate::clock::now() + PATIENCE;
        let turn = turns.turn(stranger(ClientNetwork::Unknown), deadline).await?;
        let mut strangers = Vec::new();
        let mut number = 0;
        while let Ok(place) = turns.queue(stranger(network(number)), deadline) {
            strangers.push(place);
            number += 1;
        }
        let refused = ask(&turns, Lane::Strangers, number).await.map_err(|error| error.downcast_ref::<Busy>().copied());
        assert_eq!(refused, Err(Some(Busy::Full)));
        let (known, ()) = tokio::join!(ask(&turns, Lane::Known, number), async { drop(turn) });
        assert_eq!(known?, Answer::NoMatch { until: None });
        Ok(())
    }
}
