//! The lines in the log about decisions: everything needed to answer "why?", and no secret.

use std::net::IpAddr;
use std::sync::Arc;

use policy::scope::{Actions, Scope, words};
use tracing::{error, info, warn};

pub use crate::decision_id::DecisionId;

use crate::access::{Decision, DecisionOutcome, Denied, Grant};
use crate::decisions::{Decisions, Kind, Noted};
use crate::identity::{Credentials, IdentifiedBy, Identity, Method};
use crate::shown::{chain_of, printable};

/// The most scopes of a request that have a line each; of more, those that were decided alike share one. With a line for each,
/// a client that asks for hundreds at once would fill the log faster than it is written, and others' lines would be dropped.
const ONE_BY_ONE: usize = 16;
/// The longest list of scopes in a line, in bytes: what collects the log may cut or refuse longer fields. No scope by itself is
/// as long; a longer list goes on in the next line.
const MAX_LIST: usize = 1024;

/// The door that a request came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// The token endpoint.
    #[default]
    Token,
    /// Forward-auth: a proxy asks about a client's request.
    ForwardAuth,
    /// The gateway.
    Gateway,
    /// The API that administers secrets.
    Api,
    /// Search, and the catalog of a registry that is not served through us.
    Search,
    /// The pages for people.
    Pages,
}

impl Door {
    fn as_str(self) -> &'static str {
        match self {
            Door::Token => "token",
            Door::ForwardAuth => "forward_auth",
            Door::Gateway => "gateway",
            Door::Api => "api",
            Door::Search => "search",
            Door::Pages => "pages",
        }
    }
}

/// A request as its lines in the log tell of it, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// The door.
    pub door: Door,
    /// The method and target that a proxy asks about, or that the gateway was given.
    pub request: Option<String>,
    /// The account; before it was verified, the claimed one.
    pub account: String,
    /// Who verified it, and by what.
    pub by: Option<IdentifiedBy>,
    /// The secret that was presented and refused, as far as it was found.
    pub dead: Option<Arc<str>>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The audience.
    pub service: String,
    /// The number of scopes that could not be read.
    pub scopes_ignored: usize,
}

impl Asker {
    /// Takes note of the account that is claimed.
    pub(crate) fn claimed(&mut self, who: &Credentials) {
        self.account = who.account().map(ToString::to_string).unwrap_or_default();
    }

    /// Takes note of who it is.
    pub(crate) fn identified(&mut self, who: &Identity) {
        self.account = who.name().to_owned();
        self.by.clone_from(&who.by);
    }

    /// Takes note of why it is nobody.
    pub(crate) fn refused(&mut self, denied: &Denied) {
        if let Denied::Secret(secret) = denied {
            self.dead.clone_from(&secret.id);
        }
    }

    fn backend(&self) -> Option<&'static str> {
        self.by.as_ref().map(|by| by.backend)
    }

    /// The id of the secret that was presented, if it was one.
    fn secret(&self) -> Option<&str> {
        let Some(by) = &self.by else { return self.dead.as_deref() };
        match by.method {
            Method::Secret => by.credential.as_deref(),
            Method::Anonymous
            | Method::Password
            | Method::OldPassword
            | Method::Token
            | Method::Workload
            | Method::LookUp => None,
        }
    }

    /// What is remembered of it, besides what came of it.
    fn noted(&self, id: &DecisionId, outcome: &'static str) -> Noted {
        Noted {
            id: id.as_str().to_owned(),
            outcome,
            door: self.door.as_str(),
            request: self.request(),
            account: printable(&self.account),
            backend: self.backend(),
            address: self.address,
            service: printable(&self.service),
            ..Noted::default()
        }
    }

    fn request(&self) -> Option<String> {
        self.request.as_deref().map(printable)
    }

    fn address(&self) -> String {
        self.address.map(|address| address.to_string()).unwrap_or_default()
    }
}

/// The token that a decision led to.
#[derive(Clone, Copy, Debug)]
pub struct LoggedToken<'a> {
    /// Its `jti`.
    pub id: &'a str,
    /// Whether it was signed before, for a request with the same answer.
    pub reused: bool,
}

/// Writes a line about a request: what every line has, and what else is told.
macro_rules! line {
    ($level:ident, $id:expr, $asker:expr, $outcome:expr, {$($more:tt)*}, $message:literal) => {
        $level!(
            decision.id = $id.as_str(),
            decision.outcome = $outcome,
            door = $asker.door.as_str(),
            request = $asker.request(),
            user.account = %printable(&$asker.account),
            user.backend = $asker.backend(),
            client.address = $asker.address(),
            service = %printable(&$asker.service),
            $($more)*
            $message
        )
    };
}

/// Writes one line for each scope of a request, or for all that were decided alike if they are many; or one for a login
/// without scopes. `generation` is that of the snapshot; `token` is what the client got, if the door gives tokens. The same is kept in
/// `remembered`, where somebody can look at that.
pub fn decided(
    remembered: Option<&Decisions>,
    id: &DecisionId,
    asker: &Asker,
    generation: u64,
    decision: &Decision,
    token: Option<LoggedToken<'_>>,
) {
    let line = |scope: String,
                (granted, withheld, cut): (&Actions, &Actions, &Actions),
                first: Option<&Grant>,
                outcome: DecisionOutcome| {
        let (granted, withheld, by) = (words(granted), words(withheld), first.and_then(rule));
        line!(info, id, asker, outcome.as_str(), {
            scope,
            granted,
            withheld,
            cut = (!cut.is_empty()).then(|| words(cut)),
            rule = by,
            rule.id = first.and_then(rule_id),
            secret.id = asker.secret(),
            token.id = token.map(|token| token.id),
            token.reused = token.map(|token| token.reused),
            scopes.ignored = asker.scopes_ignored,
            snapshot = generation,
        }, "decided");
        let Some(remembered) = remembered else { return };
        let kind = match outcome {
            DecisionOutcome::Granted | DecisionOutcome::PartlyGranted | DecisionOutcome::Login => Kind::Granted,
            DecisionOutcome::NothingGranted => Kind::Nothing,
        };
        let snapshot = Some(generation);
        let noted = Noted { scope, granted, withheld, rule: by, snapshot, ..asker.noted(id, outcome.as_str()) };
        remembered.note(kind, noted);
    };
    if decision.grants().is_empty() {
        let none = Actions::new();
        line(String::new(), (&none, &none, &none), None, decision.outcome());
    }
    for alike in lines_of(decision.grants()) {
        let Some(first) = alike.first() else { continue };
        let scopes: Vec<String> = alike.iter().map(|grant| grant.scope.to_string()).collect();
        let granted = alike.iter().flat_map(|grant| grant.granted.iter().cloned()).collect();
        let withheld = alike.iter().flat_map(|grant| grant.withheld()).collect();
        let cut = alike.iter().flat_map(|grant| grant.cut.iter().cloned()).collect();
        line(scopes.join(" "), (&granted, &withheld, &cut), Some(first), first.outcome());
    }
}

/// The grants that have a line together: each by itself where they are few, otherwise as many as a line holds.
fn lines_of(grants: &[Grant]) -> Vec<Vec<&Grant>> {
    if grants.len() <= ONE_BY_ONE {
        return grants.iter().map(|grant| vec![grant]).collect();
    }
    let is_alike = |one: &Grant, other: &Grant| {
        one.by == other.by
            && one.cut == other.cut
            && one.outcome() == other.outcome()
            && match one.outcome() {
                // What was granted of it is not seen from the scope.
                DecisionOutcome::PartlyGranted => one.granted == other.granted,
                DecisionOutcome::Granted | DecisionOutcome::NothingGranted | DecisionOutcome::Login => true,
            }
    };
    // With the length of its list; of those that are alike, the last one has room.
    let mut lines: Vec<(usize, Vec<&Grant>)> = Vec::new();
    for grant in grants {
        let length = grant.scope.to_string().len();
        let alike = |(_, line): &&mut (usize, Vec<&Grant>)| line.first().is_some_and(|first| is_alike(first, grant));
        match lines.iter_mut().rev().find(alike) {
            Some((filled, line)) if *filled + 1 + length <= MAX_LIST => {
                *filled += 1 + length;
                line.push(grant);
            }
            Some(_) | None => lines.push((length, vec![grant])),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Writes the line of a request that a token of ours allows; what it allows was decided when it was made.
pub fn allowed_by_token(
    remembered: Option<&Decisions>,
    id: &DecisionId,
    asker: &Asker,
    generation: u64,
    scopes: &[Scope],
) {
    const OUTCOME: &str = "allowed_by_token";
    let scope = scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    line!(info, id, asker, OUTCOME, {
        scope,
        token.id = asker.by.as_ref().and_then(|by| by.credential.as_deref()),
        snapshot = generation,
    }, "allowed");
    if let Some(remembered) = remembered {
        remembered.note(Kind::Granted, Noted { scope, snapshot: Some(generation), ..asker.noted(id, OUTCOME) });
    }
}

/// Whose fault it is that a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody's: every client begins so, to be told how to log in.
    Nobody,
    /// The client's: it asked wrongly, or for what it may not have.
    Client,
    /// Ours, before a decision: somebody has to look.
    Ours,
    /// Ours, after the decision: what follows from it, such as a signature, could not be done.
    OursAfterwards,
}

/// Writes the line of a request that was refused. The cause is here and nowhere else: the client is not told.
pub fn refused(
    remembered: Option<&Decisions>,
    id: &DecisionId,
    asker: &Asker,
    reason: &'static str,
    fault: Fault,
    cause: &(dyn std::error::Error + 'static),
) {
    macro_rules! refused {
        ($level:ident, $message:literal) => {
            line!($level, id, asker, "refused", { reason, secret.id = asker.secret(), cause = %chain_of(cause), }, $message)
        };
    }
    let kind = match fault {
        // Every client begins so.
        Fault::Nobody => None,
        Fault::Client => Some(Kind::Refused),
        Fault::Ours | Fault::OursAfterwards => Some(Kind::Failed),
    };
    if let (Some(remembered), Some(kind)) = (remembered, kind) {
        let (reason, cause) = (Some(reason), Some(chain_of(cause)));
        remembered.note(kind, Noted { reason, cause, ..asker.noted(id, "refused") });
    }
    match fault {
        Fault::Ours => refused!(error, "could not be decided"),
        Fault::OursAfterwards => refused!(error, "was decided, and could not be answered"),
        Fault::Nobody => refused!(info, "refused"),
        Fault::Client => refused!(warn, "refused"),
    }
}

fn rule_id(grant: &Grant) -> Option<String> {
    let (_, rule) = grant.by.as_ref()?;
    rule.id.map(|id| id.to_string())
}

fn rule(grant: &Grant) -> Option<String> {
    let (source, rule) = grant.by.as_ref()?;
    let number = match rule.seq {
        Some(seq) => format!("seq {seq}"),
        None => rule.index.to_string(),
    };
    Some(match &rule.comment {
        Some(comment) => format!("{source}[{number}] {}", printable(comment)),
        None => format!("{source}[{number}]"),
    })
}
