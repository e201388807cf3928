//! Users and rules as `explain` asks them: those of the file, and those in MongoDB as they are now.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::runtime::Runtime;

use super::told::{ExplainedRule, explained};
use crate::authn::Identity;
use crate::authn::htpasswd::Accounts;
use crate::authn::mongo::accounts::Accounts as MongoAccounts;
use crate::authn::users::Users;
use crate::authz::acl::Acl;
use crate::authz::explain::{RuleOutcome, explain};
use crate::authz::mongo::book::RuleBook;
use crate::authz::pattern::LabelValues;
use crate::config::Config;
use crate::scope::Actions;
use ::policy::{Answer, Budget, Question, RuleRef};

/// So many users in MongoDB are remembered while a file of questions is answered.
const MOST_SEEN: usize = 10_000;

/// Which rules are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sources {
    All,
    MongoAlone,
}

/// The rules of one source.
pub(super) struct RuleSource {
    pub(super) name: &'static str,
    acl: Acl,
    /// The rules' own numbers, where the source has such.
    pub(super) seqs: Vec<i64>,
}

/// Users and rules, at one moment.
pub(super) struct Policy {
    users: Users,
    htpasswd: Accounts,
    /// Users in MongoDB, looked up as they are asked for.
    mongo: Option<MongoUsers>,
    /// In the order in which they are asked.
    sources: Vec<RuleSource>,
    /// The sections that know accounts too and are not asked here: only a login finds out what they say.
    pub(super) strangers: Vec<&'static str>,
    /// The sections that decide what no rule matches and are not asked here.
    pub(super) deciders: Vec<&'static str>,
    pub(super) services: Vec<String>,
    /// The actions of what is protected besides registries.
    pub(super) actions: Actions,
    pub(super) now: OffsetDateTime,
}

/// Users in MongoDB.
struct MongoUsers {
    accounts: MongoAccounts,
    runtime: Runtime,
    /// Those that were looked up, so that a file of questions does not ask for each line.
    seen: HashMap<String, Option<Identity>>,
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

impl Policy {
    /// Reads the rules; users are read when they are asked about.
    pub(super) fn read(config: Config, which: Sources) -> Result<Policy, String> {
        let backends = config.backends;
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string());
        let mut sources = Vec::new();
        match which {
            Sources::All => {
                sources.push(RuleSource { name: "acl", acl: Acl::new(backends.acl.into_rules()), seqs: Vec::new() });
            }
            Sources::MongoAlone => {}
        }
        if let Some(settings) = &backends.acl_mongo {
            let book = RuleBook::open(settings);
            let set = runtime()?.block_on(book.read()).map_err(|refused| refused.to_string())?;
            let (acl, seqs) = set.compile().map_err(|problems| {
                format!(
                    "the rules in {} cannot be used as they are; a server that runs keeps the last good ones:\n  {}",
                    book.namespace(),
                    problems.join("\n  ")
                )
            })?;
            sources.push(RuleSource { name: "acl_mongo", acl, seqs });
        }
        let mongo = match &backends.mongo_auth {
            None => None,
            Some(settings) => {
                Some(MongoUsers { accounts: MongoAccounts::open(settings), runtime: runtime()?, seen: HashMap::new() })
            }
        };
        let named = |sections: &[(bool, &'static str)]| {
            sections.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| *name).collect::<Vec<_>>()
        };
        let strangers = named(&[
            (backends.ext_auth.is_some(), "ext_auth"),
            (backends.ldap_auth.is_some(), "ldap_auth"),
            (backends.http_auth.is_some(), "http_auth"),
        ]);
        let deciders = match which {
            Sources::All => {
                named(&[(backends.http_authz.is_some(), "http_authz"), (backends.ext_authz.is_some(), "ext_authz")])
            }
            Sources::MongoAlone => Vec::new(),
        };
        let protected = config.forward_auth.iter().flat_map(|door| &door.paths);
        let actions = protected.flat_map(|path| path.scope.actions.iter().cloned()).collect();
        Ok(Policy {
            strangers,
            actions,
            deciders,
            users: backends.users,
            htpasswd: backends.htpasswd_auth.unwrap_or_default(),
            mongo,
            sources,
            services: config.token.services,
            now: OffsetDateTime::now_utc(),
        })
    }

    /// The account with the given labels, or with its own where none are given. The first that knows it says who it is,
    /// as at a login.
    pub(super) fn asker(&mut self, account: &str, labels: Option<LabelValues>) -> Result<Asker, String> {
        let found = if let Some(user) = self.users.get(account) {
            Some(Identity { account: account.to_owned(), labels: Arc::clone(&user.labels), standing: user.standing })
        } else if self.htpasswd.contains_key(account) {
            Some(Identity { account: account.to_owned(), ..Identity::default() })
        } else {
            match &mut self.mongo {
                Some(mongo) => mongo.find(account)?,
                None => None,
            }
        };
        let known = found.is_some();
        let mut identity = found.unwrap_or_else(|| Identity { account: account.to_owned(), ..Identity::default() });
        let labels = match labels {
            Some(labels) => {
                identity.labels = Arc::new(labels);
                Labels::Given
            }
            None => Labels::Own,
        };
        Ok(Asker { identity, known, labels })
    }

    /// Why a server lets nobody in as this account, if it is sure that no section knows it. The sections that are not asked
    /// here may know any account, but none of them lets anybody in without one.
    pub(super) fn turns_away(&self, asker: &Asker) -> Option<String> {
        let is_supposed = asker.labels == Labels::Given;
        match asker.identity.account.as_str() {
            _ if asker.known || is_supposed => None,
            "" => Some("nobody may come in without an account: the server answers 401".to_owned()),
            _ if self.strangers.is_empty() => Some(
                "no section knows this account: the server answers 401 (--label asks what the rules would say)"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Why a server refuses requests for this service, if it does.
    pub(super) fn refuses(&self, service: &str) -> Option<String> {
        if self.services.is_empty() || self.services.iter().any(|known| known == service) {
            return None;
        }
        let names: Vec<String> = self.services.iter().map(|known| format!("\"{known}\"")).collect();
        let names = names.join(", ");
        Some(format!("the server refuses requests for the service \"{service}\": token.services has {names}"))
    }

    /// Where users are looked for that are not in the file.
    pub(super) fn elsewhere(&self) -> Option<String> {
        self.mongo.as_ref().map(|mongo| mongo.accounts.namespace())
    }

    /// Asks the sources one after the other, as a server does.
    pub(super) fn decide(&self, question: &Question<'_>) -> Result<(Actions, Option<DecidedBy>), String> {
        let mut budget = Budget::for_request();
        for source in &self.sources {
            match source.acl.decide(question, &mut budget).map_err(|error| error.to_string())? {
                Answer::Decided { actions, mut by, .. } => {
                    by.seq = source.seqs.get(by.index).copied();
                    return Ok((actions, Some((source.name, by))));
                }
                Answer::NoMatch { .. } => {}
            }
        }
        Ok((Actions::new(), None))
    }

    /// What each rule says, up to the one that decides.
    pub(super) fn steps(&self, question: &Question<'_>) -> Result<Vec<ExplainedRule>, String> {
        let (mut all, mut budget) = (Vec::new(), Budget::for_request());
        for source in &self.sources {
            let steps = explain(&source.acl, question, &mut budget).map_err(|error| error.to_string())?;
            let decided = steps.iter().any(|step| step.said == RuleOutcome::Decides);
            let account = question.account;
            all.extend(steps.into_iter().map(|step| explained(source, step, account)));
            if decided {
                break;
            }
        }
        Ok(all)
    }
}

impl MongoUsers {
    fn find(&mut self, account: &str) -> Result<Option<Identity>, String> {
        if let Some(seen) = self.seen.get(account) {
            return Ok(seen.clone());
        }
        let found = self.runtime.block_on(self.accounts.find(account)).map_err(|refused| refused.to_string())?;
        let identity = match found {
            None => None,
            Some(user) => match user.usable {
                Ok(usable) => Some(usable.identity),
                Err(problems) => {
                    return Err(format!(
                        "the document of \"{}\" in {} cannot be used, and logins with it get 503: {}",
                        user.name,
                        self.accounts.namespace(),
                        problems.join("; ")
                    ));
                }
            },
        };
        if self.seen.len() >= MOST_SEEN {
            self.seen.clear();
        }
        self.seen.insert(account.to_owned(), identity.clone());
        Ok(identity)
    }
}
