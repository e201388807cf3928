//! The chains of identity backends and sources of rules that a configuration names, in the order in which they are
//! asked, and the connections among them that a reload keeps.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::access::Access;
use crate::authn::Authenticator;
use crate::authn::attempts::Manner;
use crate::authn::htpasswd::{Accounts, Htpasswd};
use crate::authn::http_api::HttpUsers;
use crate::authn::ldap::DirectoryUsers;
use crate::authn::mongo::MongoUsers;
use crate::authn::password::Passwords;
use crate::authn::program::{ProgramAuthn, ProgramUsers};
use crate::authn::users::{StaticUsers, Users};
use crate::authz::Authorizer;
use crate::authz::acl::Acl;
use crate::authz::http_api::HttpAuthz;
use crate::authz::mongo::MongoRules;
use crate::authz::program::ProgramAuthz;
use crate::config::Rules;
use crate::metrics::Metrics;
use crate::program::{self, ProgramSettings};
use crate::{authn, authz};

/// How long a backend may take to be reached, before a reload gives it up or `check --connect` says so. One that says nothing
/// ends sooner by itself; over a long way, all that connecting takes is more than ten answers.
pub(crate) const REACH_WITHIN: Duration = Duration::from_secs(30);

/// The backends of a configuration, as their sections say.
#[derive(Debug)]
pub struct Backends {
    /// The static users.
    pub users: Users,
    /// The accounts of the htpasswd file, if one is configured.
    pub htpasswd_auth: Option<Accounts>,
    /// The program that knows accounts, if one is configured.
    pub ext_auth: Option<ProgramUsers>,
    /// The directory that knows accounts, if one is configured.
    pub ldap_auth: Option<authn::ldap::Settings>,
    /// Where users are in MongoDB, if they are.
    pub mongo_auth: Option<authn::mongo::Settings>,
    /// The HTTP API that knows accounts, if one is configured.
    pub http_auth: Option<authn::http_api::Settings>,
    /// The static rules.
    pub acl: Rules,
    /// Where rules are in MongoDB, if they are.
    pub acl_mongo: Option<authz::mongo::Settings>,
    /// The HTTP API that decides, if one is configured.
    pub http_authz: Option<authz::http_api::Settings>,
    /// The program that decides, if one is configured.
    pub ext_authz: Option<ProgramSettings>,
}

/// The backends with connections of their own. A reload that leaves their settings as they are keeps them: what they
/// read need not be read anew, and no connection is lost.
#[derive(Clone, Default)]
pub struct Connections {
    ldap_auth: Option<DirectoryUsers>,
    mongo_auth: Option<MongoUsers>,
    acl_mongo: Option<MongoRules>,
    http_auth: Option<HttpUsers>,
    http_authz: Option<HttpAuthz>,
}

/// What asking one backend brought.
#[derive(Debug)]
pub struct Reached {
    /// The backend: its section of the file.
    pub name: &'static str,
    /// A few words on what was found; otherwise what is wrong, and what to do.
    pub found: anyhow::Result<String>,
}

impl Connections {
    /// Asks each of them, all at the same time, something that changes nothing. None waits longer than half a minute (a
    /// directory: and its deadline), and one that fails keeps no other from being asked.
    pub async fn reach(&self) -> Vec<Reached> {
        let (ldap_auth, mongo_auth, acl_mongo, http_auth, http_authz) = tokio::join!(
            reached("ldap_auth", self.ldap_auth.as_ref()),
            reached("mongo_auth", self.mongo_auth.as_ref()),
            reached("acl_mongo", self.acl_mongo.as_ref()),
            reached("http_auth", self.http_auth.as_ref()),
            reached("http_authz", self.http_authz.as_ref()),
        );
        [ldap_auth, mongo_auth, acl_mongo, http_auth, http_authz].into_iter().flatten().collect()
    }
}

/// Asks one backend; brings nothing where none is configured.
async fn reached(name: &'static str, backend: Option<&impl Connected>) -> Option<Reached> {
    Some(Reached { name, found: reach(backend?).await })
}

async fn reach(backend: &impl Connected) -> anyhow::Result<String> {
    let patience = backend.patience();
    let asked = tokio::time::timeout(patience, backend.reach()).await;
    asked.unwrap_or_else(|_| anyhow::bail!("no answer within {} s; is the server running?", patience.as_secs()))
}

/// A backend that holds connections.
pub(crate) trait Connected: Clone {
    /// What its section of the file says.
    type Settings;

    /// Makes it ready; it may begin to connect in the background.
    ///
    /// # Errors
    /// Something of this machine is missing. A server that does not answer is no error here.
    fn open(settings: Self::Settings, passwords: &Arc<Passwords>) -> anyhow::Result<Self>;

    /// Whether it was made from these settings.
    fn is_of(&self, settings: &Self::Settings) -> bool;

    /// How long asking it may take.
    fn patience(&self) -> Duration {
        REACH_WITHIN
    }

    /// Asks its server something that changes nothing, and says in a few words what was found there.
    ///
    /// # Errors
    /// It does not answer as it must: why, and what to do. Never with a secret: the message is printed.
    fn reach(&self) -> impl Future<Output = anyhow::Result<String>>;
}

impl Backends {
    /// Looks for the programs, without starting them.
    pub fn find_programs(&self) -> Vec<Reached> {
        let who = self.ext_auth.as_ref().map(|users| ("ext_auth", &users.program));
        let what = self.ext_authz.as_ref().map(|program| ("ext_authz", program));
        let find = |(name, settings)| {
            let found = program::find(settings).map_err(anyhow::Error::msg);
            Reached { name, found: found.map(|path| format!("{} can be started", path.display())) }
        };
        who.into_iter().chain(what).map(find).collect()
    }

    /// Makes the chains ready, taking over what a snapshot before held.
    ///
    /// # Errors
    /// The system gave no random bytes; or, at a reload, a new server does not answer.
    pub fn open(
        self,
        before: Option<&Connections>,
        passwords: &Arc<Passwords>,
        metrics: &Metrics,
    ) -> anyhow::Result<(Access, Connections)> {
        let connections = Connections {
            ldap_auth: keep_or_open(
                "ldap_auth",
                self.ldap_auth,
                before.map(|held| held.ldap_auth.as_ref()),
                passwords,
            )?,
            mongo_auth: keep_or_open(
                "mongo_auth",
                self.mongo_auth,
                before.map(|held| held.mongo_auth.as_ref()),
                passwords,
            )?,
            acl_mongo: keep_or_open(
                "acl_mongo",
                self.acl_mongo,
                before.map(|held| held.acl_mongo.as_ref()),
                passwords,
            )?,
            http_auth: keep_or_open(
                "http_auth",
                self.http_auth,
                before.map(|held| held.http_auth.as_ref()),
                passwords,
            )?,
            http_authz: keep_or_open(
                "http_authz",
                self.http_authz,
                before.map(|held| held.http_authz.as_ref()),
                passwords,
            )?,
        };
        passwords.attempts().count_as(match &connections.http_auth {
            Some(_) => Manner::Tokens,
            None => Manner::Passwords,
        });
        // In docker_auth's order, what needs nobody else first: a static user never waits for a program or a database.
        let mut authn: Vec<Box<dyn Authenticator>> = Vec::new();
        if !self.users.is_empty() {
            authn.push(Box::new(StaticUsers::new(self.users, Arc::clone(passwords))?));
        }
        if let Some(accounts) = self.htpasswd_auth {
            authn.push(Box::new(Htpasswd::new(accounts, Arc::clone(passwords))?));
        }
        if let Some(users) = self.ext_auth {
            authn.push(Box::new(ProgramAuthn::new(users, Arc::clone(passwords.attempts()))));
        }
        if let Some(users) = &connections.ldap_auth {
            authn.push(Box::new(users.clone()));
        }
        if let Some(users) = &connections.mongo_auth {
            authn.push(Box::new(users.clone()));
        }
        // Last: few APIs tell an unknown account from a wrong password, and what they refuse nobody is asked about any
        // more. Nor can a password there be used under the name of an account that another backend knows.
        if let Some(users) = &connections.http_auth {
            authn.push(Box::new(users.clone()));
        }
        let mut authz: Vec<Box<dyn Authorizer>> = vec![Box::new(Arc::new(Acl::new(self.acl.into_rules())))];
        if let Some(rules) = &connections.acl_mongo {
            authz.push(Box::new(rules.clone()));
        }
        // Before the program, which always decides.
        if let Some(api) = &connections.http_authz {
            authz.push(Box::new(api.clone()));
        }
        if let Some(settings) = self.ext_authz {
            authz.push(Box::new(ProgramAuthz::new(settings)));
        }
        Ok((Access::new(authn, authz, metrics, Arc::clone(passwords.attempts())), connections))
    }
}

/// What was held before, if it was made from the same settings; otherwise a new one.
///
/// At a reload, what is new has to answer before what works is given up for it. At the start nothing works yet, and the
/// server comes up in any case: the backend may come up after it.
fn keep_or_open<C: Connected>(
    name: &'static str,
    settings: Option<C::Settings>,
    before: Option<Option<&C>>,
    passwords: &Arc<Passwords>,
) -> anyhow::Result<Option<C>> {
    let Some(settings) = settings else { return Ok(None) };
    let Some(held) = before else { return Ok(Some(C::open(settings, passwords)?)) };
    if let Some(kept) = held.filter(|kept| kept.is_of(&settings)) {
        return Ok(Some(kept.clone()));
    }
    let opened = C::open(settings, passwords)?;
    tokio::runtime::Handle::try_current()?.block_on(reach(&opened)).context(name)?;
    Ok(Some(opened))
}
