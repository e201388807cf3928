//! Questions about the policy as a whole: what other rules would decide differently, and who may do something.

use std::net::IpAddr;
use std::sync::Arc;

use policy::analysis::{self, Below, Narrow, Unlisted, Wanted, WhoCan};
use policy::scope::Action;
use settings::{DayEnd, Refusal, Section};
use time::OffsetDateTime;

use super::problem::Refused;
use crate::access::{Chain, Denied};
use crate::app::Snapshot;
use crate::authz::rules::{KIND as ACL, Rules};
use crate::authz::{Above, InUse};
use crate::identity::{Identity, Standing};
use crate::records::{self, Robot};
use crate::secrets::robot_account;
use crate::whole_policy::{DiffTold, Listed, OfPattern, WhoCanTold, WholePolicy, wanted};

/// So many robots are looked at one by one; of more, none is.
const MOST_ROBOTS: usize = 10_000;

/// What is asked: about whom or what, where, and when.
#[derive(Default)]
pub(super) struct Asked {
    wanted: Option<Wanted>,
    service: Option<String>,
    address: Option<IpAddr>,
    at: Option<OffsetDateTime>,
}

impl Asked {
    /// Reads where and when.
    pub(super) fn where_and_when(fields: &mut Section<'_>) -> Asked {
        let address = fields.word("ip", |text| {
            text.parse::<IpAddr>().map_err(|_| Refusal::is("not an address; write 10.1.2.3 or 2001:db8::1"))
        });
        Asked {
            wanted: None,
            service: fields.text("service").map(|at| at.value),
            address: address.map(|at| at.value),
            at: fields.moment("at", DayEnd::Start).map(|at| at.value),
        }
    }

    /// Reads what somebody may do, besides where and when.
    pub(super) fn who(fields: &mut Section<'_>) -> Asked {
        let of_pattern = match fields.flag("all").is_some_and(|all| all.value) {
            true => OfPattern::All,
            false => OfPattern::Any,
        };
        let (action, resource) = (fields.text("action"), fields.text("resource"));
        if action.is_none() {
            fields.missing("action", "an action is needed; write action: push");
        }
        if resource.is_none() {
            fields.missing("resource", "what it is done to is needed; write resource: \"repository:team/app\"");
        }
        if let Some(action) = &action
            && Action::parse(&action.value).is_none()
        {
            fields.problem(&action.place, "action", "this is no action; write pull, push, delete or \"*\"");
            return Asked::where_and_when(fields);
        }
        let wanted = action.zip(resource).and_then(|(action, resource)| {
            let wanted = wanted(&action.value, &resource.value, of_pattern);
            wanted.map_err(|wrong| fields.problem(&resource.place, "resource", wrong)).ok()
        });
        Asked { wanted, ..Asked::where_and_when(fields) }
    }

    /// What is meant in a policy; a service that nobody asks for would make every answer empty.
    fn narrow(&self, policy: &WholePolicy) -> Result<Narrow, Refused> {
        if let Some(service) = &self.service
            && !policy.knows(service)
        {
            return Err(Refused::Request("no token is made for this service".to_owned()));
        }
        Ok(Narrow { service: self.service.clone(), address: self.address, at: self.at, from: policy.now })
    }
}

/// Everybody who can be listed without asking a backend about each, at one moment.
pub(in crate::http) struct People {
    listed: Listed,
    unlisted: Unlisted,
    now: OffsetDateTime,
}

impl People {
    /// Those of the configuration with the services of the directory, and the robots of the records. Accounts of databases are not listed
    /// here: there may be any number, and each question would ask for all of them.
    pub(in crate::http) async fn now(snapshot: &Snapshot, now: OffsetDateTime) -> Result<People, Refused> {
        let (people, mut unlisted) = snapshot.access.people()?;
        let mut listed = Listed::default();
        people.iter().for_each(|(name, who)| listed.add(name, who));
        // They are asked before all others, so that nobody else is called so.
        snapshot.access.services()?.iter().for_each(|who| listed.add(who.name(), who));
        if let Some(records) = &snapshot.records {
            let robots = records::all_robots(&*records.records, MOST_ROBOTS + 1).await;
            let unavailable =
                |cause: records::Failure| Denied::Unavailable { backend: records::NAME, cause: cause.into() };
            let robots = robots.map_err(unavailable)?;
            if robots.len() > MOST_ROBOTS {
                unlisted = Unlisted::Anybody;
            }
            for Robot { name, labels: own, state, .. } in robots.into_iter().take(MOST_ROBOTS) {
                let account = robot_account(&name).map_err(|wrong| Refused::Request(wrong.to_string()))?;
                let standing = Standing { state, ..Standing::default() };
                let who = Identity { account: Some(account.clone()), labels: own, standing, ..Identity::default() };
                listed.add(account.as_str(), &snapshot.access.in_directory(who)?);
            }
        }
        Ok(People { listed, unlisted, now })
    }
}

/// What each source of rules decides by, with other rules in place of the file's.
pub(super) fn sources(chain: &Chain, rules: Option<Rules>) -> Vec<(&'static str, InUse)> {
    let mut sources = chain.in_use();
    if let Some(rules) = rules {
        sources.retain(|(name, _)| *name != ACL.key);
        // They are asked before all others.
        sources.insert(0, (ACL.key, InUse::Rules { acl: rules.acl, seqs: Arc::from([]) }));
    }
    sources
}

/// The policy in use, or with other rules in place of the file's.
fn whole(snapshot: &Snapshot, people: &People, rules: Option<Rules>) -> Result<WholePolicy, Refused> {
    let Above { lists, decider } = Above::of(sources(&snapshot.access.chain([])?, rules)).map_err(|section| {
        let cause = anyhow::anyhow!("its rules have not been read yet");
        Denied::Unavailable { backend: section, cause }
    })?;
    // Other rules change nothing about who is asked below them.
    let below = decider.map_or(Below::Nothing, |_| Below::SomebodyElse(0));
    let People { listed, unlisted, now } = people;
    let (services, door_services) = (snapshot.all_services(), snapshot.door_services.clone());
    Ok(WholePolicy { lists, listed: listed.clone(), unlisted: *unlisted, services, door_services, below, now: *now })
}

/// What other rules in place of the file's would decide differently.
pub(super) fn diff(
    snapshot: &Snapshot,
    people: People,
    rules: Option<Rules>,
    asked: &Asked,
    still: &dyn Fn() -> bool,
) -> Result<DiffTold, Refused> {
    let (old, new) = (whole(snapshot, &people, None)?, whole(snapshot, &people, rules)?);
    let found = analysis::diff(&old.world(), &new.world(), &asked.narrow(&new)?, still, &mut |_| {});
    Ok(DiffTold::of(&found, &old, &new))
}

/// Who may do something, by the rules in use or by others in place of the file's.
pub(super) fn who_can(
    snapshot: &Snapshot,
    people: People,
    rules: Option<Rules>,
    asked: &Asked,
    still: &dyn Fn() -> bool,
) -> Result<WhoCanTold, Refused> {
    let wanted = asked.wanted.as_ref().ok_or(Refused::NotFound)?;
    let policy = whole(snapshot, &people, rules)?;
    let found = analysis::who_can(&policy.world(), wanted, &asked.narrow(&policy)?, still);
    Ok(WhoCanTold::of(&found, &policy))
}

/// Who may do something by the rules in use, now and later, and the policy that says so.
pub(in crate::http) fn find_who(
    snapshot: &Snapshot,
    people: &People,
    wanted: &Wanted,
    service: Option<String>,
    still: &dyn Fn() -> bool,
) -> Result<(WhoCan, WholePolicy), Refused> {
    let policy = whole(snapshot, people, None)?;
    let narrow = Narrow { service, address: None, at: None, from: policy.now };
    Ok((analysis::who_can(&policy.world(), wanted, &narrow, still), policy))
}
