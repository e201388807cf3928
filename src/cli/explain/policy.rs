//! The chain of a server as `explain` asks it, and the rules of those sources that show them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ::policy::acl::Acl;
use ::policy::explain::{ComparedRule, RuleOutcome, explain};
use ::policy::pattern::LabelValues;
use ::policy::scope::{Actions, OUR_SERVICE, OURS, Scope};
use ::policy::{Budget, Question, RuleRef};
use time::OffsetDateTime;
use tokio::runtime::Runtime;

use crate::access::{Access, Denied};
use crate::authn::password::Passwords;
use crate::authn::{Account, Identity, LookUp};
use crate::authz::{Above, InUse, Shown};
use crate::backend::{Backends, Facts, Purpose, Row};
use crate::config::Config;
use crate::directory::{self, Directory};
use crate::metrics::Metrics;
use crate::mongo::Failure;
use crate::records::{self, Records};
use crate::secrets::robot_account;
use crate::whole_policy::{List, Listed, RuleTold, other_service};
use crate::workload;

/// So many accounts are remembered while a file of questions is answered.
const MOST_SEEN: usize = 10_000;

/// Which rules are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Sources {
    All,
    /// Those of this section.
    Only(&'static str),
}

/// The rules of one source.
pub(super) struct RuleSource {
    pub(super) name: &'static str,
    acl: Arc<Acl>,
    /// The rules' own numbers, where the source has such.
    pub(super) seqs: Vec<i64>,
}

/// Users and rules, at one moment.
pub(in crate::cli) struct Policy {
    access: Access,
    runtime: Runtime,
    /// In the order in which they are asked.
    sources: Vec<RuleSource>,
    /// The rules that are above whoever decides by itself.
    lists: Vec<List>,
    /// The sections below those rules, in the order in which they are asked.
    pub(in crate::cli) below: Vec<Row>,
    /// Where accounts are looked up that are not in the file.
    elsewhere: Vec<String>,
    /// The records, which know the robots.
    records: Option<Arc<dyn Records>>,
    /// The accounts that were looked up, so that a file of questions does not ask for each line.
    seen: HashMap<Option<Account>, Option<Identity>>,
    /// The sections that know accounts too and are not asked here: only a login finds out what they say.
    pub(in crate::cli) strangers: Vec<&'static str>,
    /// The sections that decide what no rule matches and are not asked here.
    pub(in crate::cli) deciders: Vec<&'static str>,
    pub(in crate::cli) services: Vec<String>,
    /// The actions of what is protected besides registries.
    pub(super) actions: Actions,
    pub(in crate::cli) now: OffsetDateTime,
}

/// Who asks, and whether anybody knows that account.
pub(super) struct Asker {
    pub(super) identity: Identity,
    pub(super) known: bool,
    labels: Labels,
}

/// Whose labels an asker has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Labels {
    /// Those of the account.
    Own,
    /// Those of the question: it asks what would be, if there were such an account.
    Given,
}

/// The rule that decided: of which source, and which it is there.
pub(super) type DecidedBy = (&'static str, RuleRef);

/// Why there was no answer, what follows from that, and what can be done about it: for who runs the command.
fn unanswered(denied: Denied, what_follows: &str) -> String {
    match denied {
        Denied::Unavailable { backend, cause } | Denied::Busy { backend, cause } => {
            let failure = cause.chain().find_map(|cause| cause.downcast_ref::<Failure>());
            let advice = failure.map(|failure| format!("; {}", failure.advice())).unwrap_or_default();
            format!("{backend}: {cause:#}{what_follows}{advice}")
        }
        Denied::Anonymous
        | Denied::Credentials
        | Denied::OtherIssuer { .. }
        | Denied::Workload(_)
        | Denied::Closed(_)
        | Denied::NameTaken { .. }
        | Denied::Secret(_)
        | Denied::TooMany(_) => denied.to_string(),
    }
}

impl Policy {
    /// Opens those sections that can be asked without a login, and reads the rules; accounts are looked up when they are asked
    /// about.
    pub(in crate::cli) fn read(config: Config, which: Sources) -> Result<Policy, String> {
        let (mut asked, mut elsewhere) = (Vec::new(), Vec::new());
        let (mut strangers, mut deciders) = (Vec::new(), Vec::new());
        let is_meant = |key| which == Sources::All || which == Sources::Only(key);
        // Where there are none yet, there are no robots, users or rules in them, and who only looks makes no file.
        let unmade = config.records.as_ref().filter(|store| store.is_unmade());
        for row in &config.backends.0 {
            let key = row.kind.key;
            if unmade.is_some_and(|store| row.settings.kept_in(store).is_some()) {
                continue;
            }
            match row.settings.facts() {
                Facts::Accounts(_) => asked.push(row.clone()),
                Facts::AccountsElsewhere(place) => {
                    elsewhere.push(place);
                    asked.push(row.clone());
                }
                Facts::LoginsElsewhere(_) => strangers.push(key),
                // Behind one that is not asked here, nobody knows whether it would be asked at all.
                Facts::Rules | Facts::RulesElsewhere if is_meant(key) && deciders.is_empty() => asked.push(row.clone()),
                Facts::Rules | Facts::RulesElsewhere | Facts::Decisions if is_meant(key) => deciders.push(key),
                Facts::Rules | Facts::RulesElsewhere | Facts::Decisions => {}
            }
        }
        let (token_actions, policy_actions) = (config.token_actions(), config.policy_actions());
        let managed_actions = config.managed_actions();
        let records = config.records.as_ref().filter(|_| unmade.is_none());
        // Their accounts are known by tokens alone.
        strangers.extend(config.workload.iter().map(|_| workload::NAME));
        let plain = |error: anyhow::Error| format!("{error:#}");
        let passwords = Arc::new(Passwords::new(|_| {}).map_err(plain)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let (access, shown) = runtime.block_on(async {
            let metrics = Metrics::default();
            let access = Access::open(&Backends(asked), None, &passwords, &metrics).map_err(plain)?;
            let access = match config.directory {
                None => access,
                Some(settings) => {
                    let directory = Directory::keep_or_open(settings, None).map_err(plain)?;
                    directory.read_again().await.map_err(|failure| format!("{}: {failure}", directory::NAME))?;
                    access.with_directory(directory, &passwords, &metrics).map_err(plain)?
                }
            };
            let shown = access.rules().await.map_err(|denied| unanswered(denied, ""))?;
            Ok::<_, String>((access, shown))
        })?;
        let in_use = shown.iter().map(|(name, shown)| {
            let in_use = match shown {
                Shown::Rules { acl, seqs } => {
                    InUse::Rules { acl: Arc::clone(acl), seqs: seqs.iter().copied().map(Some).collect() }
                }
                Shown::Decisions => InUse::Elsewhere,
            };
            (*name, in_use)
        });
        let not_asked = deciders.iter().map(|name| (*name, InUse::Elsewhere));
        let above = Above::of(in_use.chain(not_asked));
        let Above { lists, decider } = above.map_err(|section| format!("{section}: its rules have not been read"))?;
        let rows = config.backends.0.iter().filter(|row| row.kind.purpose == Purpose::Rules);
        let below = rows.skip_while(|row| Some(row.kind.key) != decider).cloned().collect();
        let sources = shown.into_iter().filter_map(|(name, shown)| match shown {
            Shown::Rules { acl, seqs } => Some(RuleSource { name, acl, seqs }),
            Shown::Decisions => None,
        });
        let services = config.token.services_from.with_declared(config.token.services, access.directory());
        let protected = config.forward_auth.iter().flat_map(|door| &door.paths);
        #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
        let now = OffsetDateTime::now_utc();
        Ok(Policy {
            access,
            runtime,
            sources: sources.collect(),
            lists,
            below,
            elsewhere,
            records: records.map(records::open),
            seen: HashMap::new(),
            strangers,
            deciders,
            actions: protected
                .flat_map(|path| &path.scope.actions)
                .chain(token_actions)
                .chain(policy_actions)
                .chain(managed_actions)
                .cloned()
                .collect(),
            services,
            now,
        })
    }

    /// The robots, which log in with secrets of the records.
    pub(in crate::cli) fn robots(&self) -> Result<Vec<Account>, String> {
        let Some(records) = &self.records else { return Ok(Vec::new()) };
        let all = self.runtime.block_on(records::all_robots(&**records, usize::MAX));
        let all = all.map_err(|failure| format!("{}: {failure}", records::NAME))?;
        all.iter().map(|robot| robot_account(&robot.name).map_err(|wrong| wrong.to_string())).collect()
    }

    /// The directory, where there is one.
    pub(in crate::cli) fn directory(&self) -> Option<&Directory> {
        self.access.directory().map(|directory| &**directory)
    }

    /// The services of the directory, which log in with secrets of their own.
    pub(in crate::cli) fn services_of_directory(&self) -> Result<Vec<Identity>, String> {
        self.access.services().map_err(|denied| unanswered(denied, ""))
    }

    /// These accounts as they come in at a login; those that nobody ever lets in are left out.
    pub(in crate::cli) fn people(
        &mut self,
        accounts: impl IntoIterator<Item = Option<Account>>,
    ) -> Result<Listed, String> {
        let mut people = Listed::default();
        for account in accounts {
            let Some(identity) = self.find(&account)? else { continue };
            people.add(identity.name(), &identity);
        }
        Ok(people)
    }

    /// The lists of rules in the order in which they are asked, each with its section and the rules' own numbers. None is below a
    /// section that decides by itself: nobody knows whether it is asked.
    pub(in crate::cli) fn lists(&self) -> impl Iterator<Item = List> {
        self.lists.iter().cloned()
    }

    /// Waits for something that is asked elsewhere.
    pub(in crate::cli) fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The account with the given labels, or with its own where none are given. The first that knows it says who it is,
    /// as at a login.
    pub(super) fn asker(&mut self, account: &str, labels: Option<LabelValues>) -> Result<Asker, String> {
        let account = Account::parse_or_anonymous(account).map_err(|wrong| wrong.to_string())?;
        let found = self.find(&account)?;
        let known = found.is_some();
        let mut identity = found.unwrap_or_else(|| Identity { account, ..Identity::default() });
        let labels = match labels {
            Some(labels) => {
                identity.labels = Arc::new(labels);
                Labels::Given
            }
            None => Labels::Own,
        };
        Ok(Asker { identity, known, labels })
    }

    fn find(&mut self, account: &Option<Account>) -> Result<Option<Identity>, String> {
        if let Some(seen) = self.seen.get(account) {
            return Ok(seen.clone());
        }
        let (access, now) = (&self.access, self.now);
        let found = self.runtime.block_on(access.look_up_any(account.as_ref(), self.records.as_deref(), None, now));
        let found = match found {
            Ok(LookUp::Known(identity)) => Some(identity),
            Ok(LookUp::Unknown | LookUp::OnlyByLogin) => None,
            Err(denied) => return Err(unanswered(denied, "; logins with it get 503")),
        };
        if self.seen.len() >= MOST_SEEN {
            self.seen.clear();
        }
        self.seen.insert(account.clone(), found.clone());
        Ok(found)
    }

    /// Why a server lets nobody in as this account, if it is sure that no section knows it. The sections that are not asked
    /// here may know any account, but none of them lets anybody in without one.
    pub(super) fn turns_away(&self, asker: &Asker) -> Option<String> {
        let is_supposed = asker.labels == Labels::Given;
        match asker.identity.account {
            _ if asker.known || is_supposed => None,
            None => Some("nobody may come in without an account: the server answers 401".to_owned()),
            Some(_) if self.strangers.is_empty() => Some(
                "no section knows this account: the server answers 401 (--label asks what the rules would say)"
                    .to_owned(),
            ),
            Some(_) => None,
        }
    }

    /// Why a server refuses requests for this service, if it does.
    pub(super) fn refuses(&self, kind: &str, service: &str) -> Option<String> {
        if kind == OURS {
            return (service != OUR_SERVICE).then(|| format!("{}: leave --service out", other_service()));
        }
        if self.services.is_empty() || self.services.iter().any(|known| known == service) {
            return None;
        }
        let names: Vec<String> = self.services.iter().map(|known| format!("\"{known}\"")).collect();
        let names = names.join(", ");
        Some(format!("the server refuses requests for the service \"{service}\": token.services has {names}"))
    }

    /// Whether the rules of this source are told one by one.
    pub(super) fn shows(&self, source: &str) -> bool {
        self.sources.iter().any(|shown| shown.name == source)
    }

    /// Where accounts are looked up that are not in the file, for messages.
    pub(super) fn elsewhere(&self) -> Option<String> {
        (!self.elsewhere.is_empty()).then(|| self.elsewhere.join(" or of "))
    }

    /// Asks the sources one after the other, as a server does.
    pub(super) fn decide(
        &self,
        who: &Identity,
        address: Option<IpAddr>,
        service: &str,
        scope: Scope,
    ) -> Result<(Actions, Option<DecidedBy>), String> {
        self.decide_at(self.now, (who, address), service, scope)
    }

    /// The same at another moment.
    pub(super) fn decide_at(
        &self,
        now: OffsetDateTime,
        (who, address): (&Identity, Option<IpAddr>),
        service: &str,
        scope: Scope,
    ) -> Result<(Actions, Option<DecidedBy>), String> {
        let decided = self.runtime.block_on(self.access.decide(who, address, service, vec![scope], now));
        let decided = decided.map_err(|denied| unanswered(denied, ""))?;
        let grant = decided.grants().first().cloned();
        Ok(grant.map(|grant| (grant.granted, grant.by)).unwrap_or_default())
    }

    /// What each rule says, up to the one that decides.
    pub(super) fn steps(&self, question: &Question<'_>) -> Result<Vec<RuleTold>, String> {
        let (mut all, mut budget) = (Vec::new(), Budget::for_request());
        for source in &self.sources {
            let steps = explain(&source.acl, question, &mut budget).map_err(|error| error.to_string())?;
            let decided = steps.iter().any(|step| step.said == RuleOutcome::Decides);
            let account = question.account;
            let told =
                |step: ComparedRule| RuleTold::of((source.name, source.seqs.get(step.index).copied()), step, account);
            all.extend(steps.into_iter().map(told));
            if decided {
                break;
            }
        }
        Ok(all)
    }
}
