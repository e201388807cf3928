//! How the server is and what it decided, as the API tells it: the facts that the page of the overview shows.

use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::app::{Ending, Overview, RulesAge};
use crate::decisions::{Failing, Kind, Noted};

/// How the server is.
#[derive(Serialize)]
pub(super) struct OverviewTold<'a> {
    configuration: u64,
    loaded: String,
    rules: Vec<RulesTold<'a>>,
    backends: Vec<BackendTold>,
    refused: Vec<FailingTold<'a>>,
    decisions: Vec<DecisionTold<'a>>,
    counts: CountsTold<'a>,
    ending: Vec<EndingTold<'a>>,
    more_secrets: usize,
    secrets_looked: Option<String>,
}

/// A source of rules that is read from elsewhere.
#[derive(Serialize)]
struct RulesTold<'a> {
    source: &'static str,
    known: Option<String>,
    refused: &'a [String],
}

/// A backend that remembers an outage.
#[derive(Serialize)]
struct BackendTold {
    section: &'static str,
    down_since: Option<String>,
}

/// Those that are refused for one reason.
#[derive(Serialize)]
struct FailingTold<'a> {
    account: &'a str,
    network: &'a str,
    reason: &'static str,
    count: usize,
    last: String,
}

/// What ends soon, or has ended.
#[derive(Serialize)]
struct EndingTold<'a> {
    what: &'static str,
    name: &'a str,
    ends: String,
}

/// How many decisions there were in each ten minutes of the last day.
#[derive(Default, Serialize)]
struct CountsTold<'a> {
    granted: &'a [u64],
    nothing_granted: &'a [u64],
    refused: &'a [u64],
    failed: &'a [u64],
}

/// A decision or a refusal.
#[derive(Serialize)]
pub(super) struct DecisionTold<'a> {
    id: &'a str,
    at: String,
    outcome: &'static str,
    door: &'static str,
    request: Option<&'a str>,
    account: &'a str,
    backend: Option<&'static str>,
    address: Option<String>,
    service: &'a str,
    scope: &'a str,
    granted: &'a str,
    withheld: &'a str,
    rule: Option<&'a str>,
    reason: Option<&'static str>,
    cause: Option<&'a str>,
    configuration: Option<u64>,
}

impl<'a> OverviewTold<'a> {
    pub(super) fn of(seen: &'a Overview) -> OverviewTold<'a> {
        let rules =
            |one: &'a RulesAge| RulesTold { source: one.source, known: one.known.map(moment), refused: &one.refused };
        let backend = |(section, since): &(&'static str, Option<OffsetDateTime>)| BackendTold {
            section,
            down_since: since.map(moment),
        };
        let failing = |one: &'a Failing| FailingTold {
            account: &one.account,
            network: &one.network,
            reason: one.reason,
            count: one.count,
            last: moment(one.last),
        };
        let ending = |one: &'a Ending| EndingTold { what: one.what.as_str(), name: &one.name, ends: moment(one.at) };
        OverviewTold {
            configuration: seen.generation,
            loaded: moment(seen.loaded),
            rules: seen.rules.iter().map(rules).collect(),
            backends: seen.backends.iter().map(backend).collect(),
            refused: seen.failing.iter().map(failing).collect(),
            decisions: told(&seen.decisions),
            counts: CountsTold::of(&seen.counts),
            ending: seen.ending.iter().map(ending).collect(),
            more_secrets: seen.more_secrets,
            secrets_looked: seen.secrets_looked.map(moment),
        }
    }
}

impl<'a> CountsTold<'a> {
    fn of(counts: &'a [(Kind, Vec<u64>)]) -> CountsTold<'a> {
        let mut told = CountsTold::default();
        for (kind, numbers) in counts {
            let own = match kind {
                Kind::Granted => &mut told.granted,
                Kind::Nothing => &mut told.nothing_granted,
                Kind::Refused => &mut told.refused,
                Kind::Failed => &mut told.failed,
            };
            *own = numbers;
        }
        told
    }
}

/// Decisions and refusals, in their order.
pub(super) fn told(all: &[(OffsetDateTime, Noted)]) -> Vec<DecisionTold<'_>> {
    all.iter().map(|(at, noted)| DecisionTold::of(*at, noted)).collect()
}

impl DecisionTold<'_> {
    fn of(at: OffsetDateTime, noted: &Noted) -> DecisionTold<'_> {
        let Noted { id, outcome, door, request, account, backend, .. } = noted;
        DecisionTold {
            id,
            at: moment(at),
            outcome,
            door,
            request: request.as_deref(),
            account,
            backend: *backend,
            address: noted.address.map(|address| address.to_string()),
            service: &noted.service,
            scope: &noted.scope,
            granted: &noted.granted,
            withheld: &noted.withheld,
            rule: noted.rule.as_deref(),
            reason: noted.reason,
            cause: noted.cause.as_deref(),
            configuration: noted.snapshot,
        }
    }
}

/// A moment in RFC 3339, in UTC and to the second.
fn moment(at: OffsetDateTime) -> String {
    let utc = at.to_offset(UtcOffset::UTC);
    utc.replace_nanosecond(0).unwrap_or(utc).format(&Rfc3339).unwrap_or_default()
}
