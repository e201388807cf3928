//! Tests of the chain: who said so, and whose turns questions have.

use std::sync::{Mutex, PoisonError};

use super::*;
use crate::authn::attempts::Spelled;
use crate::authz::{Gate, InUse};
use crate::reach::{Reach, Reachable};
use crate::turns::Lane;

/// Lets in whose password is "right", and keeps whose turns the questions have that it is asked.
#[derive(Clone, Default)]
struct Stub(Arc<Mutex<Vec<Lane>>>);

#[async_trait::async_trait]
impl Authenticator for Stub {
    async fn authenticate(&self, who: &Credentials, _from: ClientNetwork) -> anyhow::Result<Outcome> {
        Ok(match who.password() {
            Some((account, password)) if password.reveal() == "right" => {
                Outcome::Accepted(Identity { account: Some(account.clone()), ..Identity::default() })
            }
            Some(_) | None => Outcome::Rejected,
        })
    }

    async fn look_up(&self, _account: &Account, _from: ClientNetwork) -> anyhow::Result<LookUp> {
        Ok(LookUp::OnlyByLogin)
    }

    fn alike(&self, _name: &Spelled) -> Alike {
        Alike::NotKnown
    }

    async fn take_time(&self, _account: &Account, _password: &Secret, _from: ClientNetwork) -> anyhow::Result<Time> {
        Ok(Time::NotTaken)
    }
}

#[async_trait::async_trait]
impl Authorizer for Stub {
    async fn authorize(&self, question: &Question<'_>) -> anyhow::Result<Answer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(question.work.lane());
        Ok(Answer::NoMatch { until: None })
    }

    fn compiled(&self) -> anyhow::Result<Option<Arc<policy::acl::Acl>>> {
        Ok(None)
    }

    fn freshness(&self) -> Option<Freshness> {
        None
    }

    async fn rules(&self) -> anyhow::Result<Shown> {
        Ok(Shown::Decisions)
    }

    fn in_use(&self) -> InUse {
        InUse::Elsewhere
    }

    fn guard(&self, _gate: &Arc<dyn Gate>) {}
}

impl Reachable for Stub {
    fn reach(&self) -> Reach<'_> {
        Reach::Nothing
    }

    fn passage(&self) -> Option<Passage> {
        None
    }
}

#[tokio::test]
async fn costly_questions_from_networks_with_right_passwords_have_turns_of_their_own() -> anyhow::Result<()> {
    let stub = Stub::default();
    let access = Access::new(
        [("doorkeeper", Opened::identities(stub.clone())?), ("noting", Opened::rules(stub.clone())?)],
        &Metrics::default(),
        Arc::new(Attempts::new()?),
    );
    let (here, elsewhere) = ("203.0.113.1".parse().ok(), "203.0.113.2".parse().ok());
    for password in ["wrong", "right"] {
        let who = Credentials::Password { account: Account::parse("alice")?, password: Secret::new(password) };
        let by = access.identify(&who, here, OffsetDateTime::UNIX_EPOCH).await.ok().map(|identity| identity.by);
        let doorkeeper = IdentifiedBy { backend: "doorkeeper", method: Method::Password, credential: None };
        assert_eq!(by, (password == "right").then_some(Some(doorkeeper)));
        for address in [here, elsewhere] {
            let scopes = vec![Scope::parse("repository:app:pull")?];
            access.decide(&Identity::default(), address, "registry", scopes, OffsetDateTime::UNIX_EPOCH).await?;
        }
    }
    let noted = stub.0.lock().unwrap_or_else(PoisonError::into_inner);
    assert_eq!(*noted, [Lane::Strangers, Lane::Strangers, Lane::Known, Lane::Strangers]);
    Ok(())
}
