//! Who presents what no backend is asked about: a secret of ours, or a workload's own token.

use std::net::IpAddr;
use std::sync::Arc;

use time::OffsetDateTime;

use super::{Access, Counted, Denied};
use crate::authn::{Account, ClosedBy, Identity, Narrowing, Secret};
use crate::client_network::ClientNetwork;
use crate::metrics::{BackendOutcome, Metrics};
use crate::records::{NAME as RECORDS, Presented as Seen};
use crate::secret::lasting::{LastingSecret, SecretKind};
use crate::secrets::{Asked, Dead, DeadSecret, Lasting, Living, TokenOfSecret};
use crate::workload::{self, OneUse, Presented, Refused, Verified, Workloads};

impl Access {
    /// The same with secrets that last.
    #[must_use]
    pub fn with_secrets(self, lasting: Arc<Lasting>, metrics: &Metrics) -> Access {
        use BackendOutcome::{Accepted, Error, Rejected};
        let metrics = metrics.backend(RECORDS, &[Accepted, Rejected, Error]);
        Access { lasting: Some(Counted { name: RECORDS, backend: lasting, metrics }), ..self }
    }

    /// The secrets that last, where records are configured.
    pub fn lasting(&self) -> Option<&Arc<Lasting>> {
        Some(&self.lasting.as_ref()?.backend)
    }

    /// The same with the entries of `workload:`, if there are any.
    ///
    /// # Errors
    /// As [`Workloads::open`].
    pub fn with_workloads(
        self,
        settings: Option<workload::Settings>,
        before: Option<&Access>,
        metrics: &Metrics,
    ) -> anyhow::Result<Access> {
        use BackendOutcome::{Accepted, Error, Rejected};
        let before = before.and_then(Access::workloads);
        let open = |settings| {
            let metrics = metrics.backend(workload::NAME, &[Accepted, Rejected, Error]);
            anyhow::Ok(Counted { name: workload::NAME, backend: Workloads::open(settings, before)?, metrics })
        };
        Ok(Access { workloads: settings.map(open).transpose()?, ..self })
    }

    /// The entries of `workload:`, if there are any.
    pub fn workloads(&self) -> Option<&Arc<Workloads>> {
        Some(&self.workloads.as_ref()?.backend)
    }

    /// Whose token of a workload it is that was presented as one.
    pub(super) async fn by_workload_token(
        &self,
        token: &Secret,
        from: ClientNetwork,
        now: OffsetDateTime,
    ) -> Result<Identity, Denied> {
        let Some(workloads) = &self.workloads else { return Err(Denied::Workload(Refused::Issuer)) };
        match workloads.backend.recognise(token) {
            Some(token) => self.by_recognised_token(workloads, &token, from, now).await,
            None => {
                workloads.backend.admit(from)?;
                workloads.backend.refused(from);
                Err(Denied::Workload(Refused::Issuer))
            }
        }
    }

    /// Whose token it is, of those that workloads have. The user's name says nothing, and is not looked at: refused ones count for
    /// their network alone.
    pub(super) async fn by_recognised_token(
        &self,
        workloads: &Counted<Workloads>,
        token: &Presented<'_>,
        from: ClientNetwork,
        now: OffsetDateTime,
    ) -> Result<Identity, Denied> {
        workloads.backend.admit(from)?;
        let began = crate::clock::now();
        let said = workloads.backend.identify(token, self.attempts.client(from), now).await;
        let Verified { identity, once } = workloads.count(began, said, accepted)?.map_err(Denied::Workload)?;
        let identity = self.in_directory(identity)?;
        let Some(once) = once else { return Ok(identity) };
        match self.use_up(&once, from, now).await? {
            Seen::First => Ok(identity),
            Seen::Again => {
                workloads.backend.refused(from);
                Err(Denied::Workload(Refused::Used { entry: once.entry }))
            }
        }
    }

    /// Notes that a token was used which may be used once. Of those that present it, whoever comes second is told so, at every
    /// replica.
    async fn use_up(&self, once: &OneUse, from: ClientNetwork, now: OffsetDateTime) -> Result<Seen, Denied> {
        let Some(lasting) = &self.lasting else {
            let cause = anyhow::anyhow!("nothing remembers which tokens were used: there is no records section");
            return Err(Denied::Unavailable { backend: RECORDS, cause });
        };
        let began = crate::clock::now();
        let said = lasting.backend.use_up((&once.token, once.until), self.attempts.client(from), now).await;
        lasting.count(began, said, |seen| match seen {
            Seen::First => Some(BackendOutcome::Accepted),
            Seen::Again => Some(BackendOutcome::Rejected),
        })
    }

    /// Finds out whose a secret is that lasts, by the records and by a look-up of its owner.
    pub(super) async fn by_secret(
        &self,
        (claimed, secret): (Option<&Account>, &LastingSecret),
        address: Option<IpAddr>,
        now: OffsetDateTime,
    ) -> Result<Identity, Denied> {
        let from = ClientNetwork::of(address);
        let presented = Secret::new(secret.reveal());
        let found = self.owner_of((claimed, secret), address, now).await;
        match &found {
            Ok(identity) => self.attempts.secret_was_good(identity.name(), &presented, from),
            // Not what the owner's backend says of its account: that is no guess.
            Err(Denied::Secret(_)) => self.attempts.secret_was_dead(&presented, from)?,
            Err(
                Denied::Credentials
                | Denied::OtherIssuer { .. }
                | Denied::Workload(_)
                | Denied::NameTaken { .. }
                | Denied::Closed(_)
                | Denied::Anonymous
                | Denied::TooMany(_)
                | Denied::Busy { .. }
                | Denied::Unavailable { .. },
            ) => {}
        }
        found
    }

    async fn owner_of(
        &self,
        (claimed, secret): (Option<&Account>, &LastingSecret),
        address: Option<IpAddr>,
        now: OffsetDateTime,
    ) -> Result<Identity, Denied> {
        let lasting = self.lasting.as_ref().ok_or(Dead::NotKept)?;
        let client = self.attempts.client(ClientNetwork::of(address));
        let began = crate::clock::now();
        let living = lasting.count(began, lasting.backend.find(secret, (client, address), now).await, accepted)??;
        let identity = self.owner(&lasting.backend, &living, address).await?;
        // How a name is spelled is for its backend to say, and nobody is let in by it: but to name somebody else is a mistake that
        // had better be noticed, or a trick. Who has a session writes any name: that of a workload cannot stand in a Basic header.
        // A service has its name from the directory, and is called nothing else.
        let is_named = |claimed: &Account| match self.is_service(identity.name()) {
            true => claimed.as_str() == identity.name(),
            false => claimed.to_lowercase() == identity.name().to_lowercase(),
        };
        let says_nothing = match secret.kind() {
            SecretKind::Session => true,
            SecretKind::Personal | SecretKind::Robot | SecretKind::Refresh => false,
        };
        match says_nothing || claimed.is_none_or(is_named) {
            true => Ok(identity),
            // Who has a robot's secret may know how it logs in.
            false => Err(DeadSecret { robot: living.robot(), ..living.dead(Dead::NotTheirs) }.into()),
        }
    }

    /// Whether an account is a service of the directory; also where nobody knows, which only asks for more.
    fn is_service(&self, account: &str) -> bool {
        self.directory().is_some_and(|directory| directory.view().map_or(true, |view| view.service(account).is_some()))
    }

    /// Who the owner of a secret is now.
    async fn owner(&self, lasting: &Lasting, living: &Living, address: Option<IpAddr>) -> Result<Identity, Denied> {
        let dead = |dead| living.dead(dead);
        Ok(match lasting.asked(living).map_err(dead)? {
            Asked::Nobody(identity) => self.in_directory(identity)?,
            Asked::Backends(account) => living.of_account(self.look_up(account, address).await?).map_err(dead)?,
        })
    }

    /// Whether an access token that was made for a secret is still to be honoured, presented from there: whether the secret would bring
    /// another. Its owner is looked up as for the secret itself: who that is now, narrowed as the secret narrows them now.
    ///
    /// # Errors
    /// [`Denied::Secret`], [`Denied::Closed`] and [`Denied::NameTaken`] where it would not, [`Denied::Busy`] and [`Denied::Unavailable`] as for [`Access::identify`].
    pub async fn honours(
        &self,
        token: &TokenOfSecret<'_>,
        address: Option<IpAddr>,
        now: OffsetDateTime,
    ) -> Result<(Identity, Arc<Narrowing>), Denied> {
        let lasting = self.lasting.as_ref().ok_or(Dead::NotKept)?;
        let client = self.attempts.client(ClientNetwork::of(address));
        let began = crate::clock::now();
        let living = lasting.count(began, lasting.backend.honours(token, (client, address), now).await, accepted)??;
        let owner = self.owner(&lasting.backend, &living, address).await?;
        owner.standing.check(now).map_err(ClosedBy::from)?;
        let narrowing = owner.narrowing.clone().ok_or(Dead::OwnerGone)?;
        Ok((owner, narrowing))
    }
}

/// How an answer is counted that says who it is, or why nobody.
fn accepted<T, Refusal>(said: &Result<T, Refusal>) -> Option<BackendOutcome> {
    Some(match said {
        Ok(_) => BackendOutcome::Accepted,
        Err(_) => BackendOutcome::Rejected,
    })
}
