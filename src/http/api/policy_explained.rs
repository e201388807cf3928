//! Why somebody may or may not do something by the rules in use: what each rule says, up to the one that decides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use policy::explain::{RuleOutcome, explain as compare};
use policy::pattern::{LabelValue, LabelValues};
use policy::scope::{Action, Actions, OURS, Reference, Scope};
use policy::{Budget, Question};
use serde::Serialize;
use settings::{At, DayEnd, Field, Reading, Refusal, Secrets, Section, yaml};
use time::OffsetDateTime;

use super::policy_questions::{apart, turn_of};
use super::problem::Refused;
use crate::access::Denied;
use crate::app::Snapshot;
use crate::authz::InUse;
use crate::http::visit::Visit;
use crate::identity::{Account, Identity, LookUp};
use crate::management::SERVICE;
use crate::policy_tests::scope_from;
use crate::turns::Turns;
use crate::whole_policy::{RuleTold, other_service};

/// The queue of explanations. They run one at a time: each takes little longer than a decision.
static TURNS: LazyLock<Turns> = LazyLock::new(|| Turns::new(1));

/// What is asked.
pub(in crate::http) struct Asked {
    /// The account; `None` is a client without one.
    pub(in crate::http) account: Option<Account>,
    /// The labels that it is to have in place of its own.
    pub(in crate::http) labels: Option<LabelValues>,
    pub(in crate::http) address: Option<IpAddr>,
    pub(in crate::http) service: String,
    pub(in crate::http) scope: Scope,
    pub(in crate::http) at: OffsetDateTime,
}

/// The answer.
pub(in crate::http) struct Explained {
    pub(in crate::http) granted: Actions,
    pub(in crate::http) withheld: Actions,
    /// What else is to be said.
    pub(in crate::http) notes: Vec<String>,
    /// The rules that were compared, in their order.
    pub(in crate::http) rules: Vec<RuleTold>,
    /// The labels that they were compared with.
    pub(in crate::http) labels: BTreeMap<String, Vec<String>>,
}

/// The answer as JSON.
#[derive(Serialize)]
pub(super) struct ExplainedTold<'a> {
    granted: Vec<&'a str>,
    withheld: Vec<&'a str>,
    notes: &'a [String],
    labels: &'a BTreeMap<String, Vec<String>>,
    rules: &'a [RuleTold],
}

fn texts(actions: &Actions) -> Vec<&str> {
    actions.iter().map(Action::as_str).collect()
}

impl Explained {
    pub(super) fn told(&self) -> ExplainedTold<'_> {
        let Explained { granted, withheld, notes, rules, labels } = self;
        ExplainedTold { granted: texts(granted), withheld: texts(withheld), notes, labels, rules }
    }
}

impl Asked {
    /// Reads the question from a body; JSON is YAML.
    ///
    /// # Errors
    /// Something in it is wrong.
    pub(super) fn read(body: &str, snapshot: &Snapshot, now: OffsetDateTime) -> Result<Asked, Refused> {
        let root =
            yaml::parse(body).map_err(|problem| Refused::Request(format!("{}: {}", problem.place, problem.message)))?;
        let (reading, mut asked) = (Reading::default(), None);
        if let Some(mut top) = reading.root(&root, Secrets::Skip).section() {
            asked = Asked::from_section(&mut top, snapshot, now);
            top.finish();
        }
        match (asked, reading.into_findings().problems.first()) {
            (Some(asked), None) => Ok(asked),
            (_, Some(first)) => Err(Refused::Request(format!("{}: {}: {}", first.place, first.path, first.message))),
            (None, None) => {
                Err(Refused::Request("say what is asked for, such as scope: repository:team/app:pull".to_owned()))
            }
        }
    }

    fn from_section(fields: &mut Section<'_>, snapshot: &Snapshot, now: OffsetDateTime) -> Option<Asked> {
        let address = fields.word("ip", |text| {
            text.parse::<IpAddr>().map_err(|_| Refusal::is("not an address; write 10.1.2.3 or 2001:db8::1"))
        });
        let at = fields.moment("at", DayEnd::Start).map_or(now, |at| at.value);
        let account = fields.text("account").map(|at| {
            let account = Account::parse_or_anonymous(&at.value);
            account.map_err(|wrong| fields.problem(&at.place, "account", wrong.to_string())).ok().flatten()
        });
        let reference = fields.text("reference").map(|at| {
            let wrong = || fields.problem(&at.place, "reference", "neither a tag nor a digest");
            Reference::parse(&at.value).ok_or_else(wrong).ok()
        });
        let labels = fields.field("labels").map(|field| labels_from(&field));
        let service = fields.text("service").map(|at| at.value);
        let Some(scope) = fields.text("scope") else {
            fields.missing("scope", "what is asked for is needed; write scope: \"repository:team/app:pull,push\"");
            return None;
        };
        let read = scope_from(&scope.value);
        let mut scope = read.map_err(|wrong| fields.problem(&scope.place, "scope", wrong.to_string())).ok()?;
        scope.reference = reference.flatten();
        let usual = snapshot.services.first().map_or("", String::as_str);
        let service = service.unwrap_or_else(|| scope.resource.service_or(usual).to_owned());
        Some(Asked { account: account.flatten(), labels, address: address.map(|at| at.value), service, scope, at })
    }
}

/// Labels as an administrator writes them: globs.
fn labels_from(field: &Field<'_>) -> LabelValues {
    let Some(entries) = field.entries() else {
        field.problem("labels are written {team: [web]}");
        return LabelValues::new();
    };
    let read = |(name, values): (&str, Field<'_>)| {
        let glob =
            |at: &At<String>| LabelValue::glob(&at.value).map_err(|wrong| values.problem(wrong.to_string())).ok();
        (name.to_owned(), values.texts().iter().filter_map(glob).collect())
    };
    entries.into_iter().map(read).collect()
}

/// What the rules say to a question.
enum Said {
    /// A rule decides.
    Decided(Actions),
    /// None of them matches.
    Nothing,
    /// This section decides as a whole what the rules before it do not.
    Elsewhere(&'static str),
}

/// Explains a decision. Nothing is granted by it, and no use of a rule is counted.
///
/// # Errors
/// A backend or a source of rules could not tell, or too many wait.
pub(in crate::http) async fn explain(visit: &Visit<'_>, asked: Asked) -> Result<Explained, Refused> {
    let snapshot = Arc::clone(visit.snapshot);
    let mut notes = Vec::new();
    let mut who = found(&snapshot, &asked, &mut notes).await?;
    if let Some(labels) = &asked.labels {
        who.labels = Arc::new(labels.clone());
    }
    let closed = who.standing.check(asked.at).err().map(|closed| format!("{closed}: nobody can log in with it"));
    let services = &snapshot.services;
    if asked.scope.resource.kind() == OURS {
        if asked.service != SERVICE {
            notes.push(other_service());
        }
    } else if !services.is_empty() && !services.contains(&asked.service) && !snapshot.declares(&asked.service) {
        notes.push("the server makes no tokens for this service".to_owned());
    }
    // Why nothing is granted, whatever the rules say.
    let is_refused = closed.is_some() || !notes.is_empty();
    notes.extend(closed);
    let turn = turn_of(&TURNS, visit).await?;
    let (asked, who, said, rules) = apart(turn, move |_| {
        let (said, rules) = compared(&snapshot, &asked, &who)?;
        Ok((asked, who, said, rules))
    })
    .await?;
    let granted = match said {
        Said::Decided(_) if is_refused => Actions::new(),
        Said::Decided(granted) => granted,
        Said::Nothing => {
            notes.push("no rule matches: nothing is granted".to_owned());
            Actions::new()
        }
        Said::Elsewhere(section) => {
            notes.push(format!("{section} decides what no rule above it matches, and shows no rules"));
            match is_refused {
                true => Actions::new(),
                false => {
                    let (access, scopes) = (&visit.snapshot.access, vec![asked.scope.clone()]);
                    let decision = access.decide(&who, asked.address, &asked.service, scopes, asked.at).await?;
                    decision.grants().iter().flat_map(|grant| grant.granted.iter().cloned()).collect()
                }
            }
        }
    };
    let withheld = asked.scope.actions.difference(&granted).cloned().collect();
    let told = |(label, values): (&String, &Vec<LabelValue>)| {
        (label.clone(), values.iter().map(|value| value.text().to_owned()).collect())
    };
    Ok(Explained { granted, withheld, notes, rules, labels: who.labels.iter().map(told).collect() })
}

/// Who the account is, as at a login.
async fn found(snapshot: &Snapshot, asked: &Asked, notes: &mut Vec<String>) -> Result<Identity, Refused> {
    let access = &snapshot.access;
    let records = snapshot.records.as_ref().map(|in_use| &*in_use.records);
    let said = access.look_up_any(asked.account.as_ref(), records, asked.address, asked.at).await?;
    let nobody = Identity { account: asked.account.clone(), ..Identity::default() };
    let is_supposed = asked.labels.is_some();
    Ok(match (said, &asked.account) {
        (LookUp::Known(who), _) => who,
        (LookUp::OnlyByLogin, _) => access.in_directory(nobody)?,
        (LookUp::Unknown, _) if is_supposed => nobody,
        (LookUp::Unknown, Some(_)) => {
            notes.push("no section knows this account: the server answers 401".to_owned());
            nobody
        }
        (LookUp::Unknown, None) => {
            notes.push("nobody may come in without an account: the server answers 401".to_owned());
            nobody
        }
    })
}

fn compared(snapshot: &Snapshot, asked: &Asked, who: &Identity) -> Result<(Said, Vec<RuleTold>), Refused> {
    let Scope { resource, actions, reference, class: _ } = &asked.scope;
    let (account, labels, service) = (who.name(), &*who.labels, asked.service.as_str());
    let (address, reference, now) = (asked.address, reference.as_ref(), asked.at);
    let question = Question { account, labels, address, service, resource, actions, reference, now };
    let (mut rules, mut budget) = (Vec::new(), Budget::for_request());
    for (section, in_use) in snapshot.access.chain([])?.in_use() {
        let unavailable = |cause| Denied::Unavailable { backend: section, cause };
        let (acl, seqs) = match in_use {
            InUse::Rules { acl, seqs } => (acl, seqs),
            InUse::Unread => return Err(unavailable(anyhow::anyhow!("its rules have not been read yet")).into()),
            InUse::Policy(_) | InUse::Elsewhere => return Ok((Said::Elsewhere(section), rules)),
        };
        let steps = compare(&acl, &question, &mut budget).map_err(|cause| unavailable(cause.into()))?;
        let decides = steps.last().filter(|step| step.said == RuleOutcome::Decides).map(|step| step.index);
        rules.extend(steps.into_iter().map(|step| {
            let seq = seqs.get(step.index).copied().flatten();
            RuleTold::of((section, seq), step, account)
        }));
        if let Some(rule) = decides.and_then(|index| acl.rules().get(index)) {
            return Ok((Said::Decided(rule.grants().of(actions)), rules));
        }
    }
    Ok((Said::Nothing, rules))
}
