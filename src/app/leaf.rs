//! Leaves under an authority for tokens: made where there is none, and renewed while they sign.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use settings::ShownPath;
use time::OffsetDateTime;
use tokio::time::Instant;
use tracing::{error, info};

use super::App;
use crate::clock;
use crate::config::{Leaves, Token, TokenAuthority};
use crate::keys::{GeneratedPair, Issued, LeafError, LeafFiles, PairFiles, VerifyingKey, When, day};
use crate::pem::{self, PairFile};
use crate::token::HeaderForm;

/// How soon a renewal that failed is tried again: its cause may be gone.
const RETRY: Duration = Duration::from_secs(30);
/// For how long a new key is in the JWK set before it signs, where tokens name their key by id alone: so long may whoever asks
/// for the set keep it. Where tokens carry the leaf, nobody has to know it before.
const STAGED: Duration = Duration::from_secs(3600);

/// What makes the leaves of one configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    files: LeafFiles,
    name: String,
    header: HeaderForm,
}

impl Renewal {
    /// Leaves named after the issuer, if we make them.
    pub(super) fn of(token: &Token) -> Option<Renewal> {
        match &token.authority.as_ref()?.leaves {
            Leaves::Ours { files, generate: _ } => {
                Some(Renewal { files: files.clone(), name: token.issuer.clone(), header: token.header })
            }
            Leaves::Elsewhere => None,
        }
    }
}

/// A leaf that was made and does not sign yet.
struct Coming {
    pair: GeneratedPair,
    key: Arc<VerifyingKey>,
    since: Instant,
    of: Renewal,
}

/// How far the renewal of the leaf is.
#[derive(Default)]
pub(super) struct Renewing {
    /// Locked while files are read and written.
    state: Mutex<State>,
    /// The key of the leaf that is coming, for who must not wait.
    published: ArcSwapOption<VerifyingKey>,
}

#[derive(Default)]
struct State {
    coming: Option<Coming>,
    /// When it was tried last, without a new leaf in place.
    tried: Option<Instant>,
}

/// What a step of the renewal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing that a reload would see.
    Nothing,
    /// A new leaf is in its place, and waits for a reload.
    InPlace,
}

/// Makes the authority where it is missing, and a leaf.
pub(super) fn make(token: &Token, now: OffsetDateTime) -> Result<(), LeafError> {
    let Some(TokenAuthority { leaves: Leaves::Ours { files, generate }, .. }) = &token.authority else { return Ok(()) };
    // As they are called before there are such files: a password in their place is then no path yet.
    let authority = ShownPath(&files.authority_certificate).to_string();
    let leaf = ShownPath(&files.certificate).to_string();
    if *generate && files.make_authority(&token.issuer, now)? != PairFiles::Found {
        info!(certificate = %authority, "made an authority for tokens");
    }
    match files.issue(When::Needed, &token.issuer, now)? {
        Issued::Made => info!(certificate = %leaf, "made a leaf for signing tokens"),
        Issued::Found => {}
    }
    Ok(())
}

impl App {
    /// Does what is to be done for the leaf at this moment: makes the next one when two thirds of its life are over, and puts it in
    /// place. A failure is logged, and tried again.
    ///
    /// Reads and writes files, and so must not run on a thread that serves requests. Costs next to nothing while there is nothing
    /// to do.
    pub fn renew_leaf(&self, now: OffsetDateTime) -> Step {
        let snapshot = self.snapshot();
        let mut state = self.renewing.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = snapshot.issuer.key().renew_at().filter(|due| *due <= now);
        let (Some(renewal), Some(_)) = (&snapshot.renewal, due) else {
            // Another leaf signs by now, or none is made here any more.
            *state = State::default();
            self.renewing.published.store(None);
            return Step::Nothing;
        };
        if state.tried.is_some_and(|tried| tried.elapsed() < RETRY) {
            return Step::Nothing;
        }
        let ends = snapshot.issuer.key().not_after();
        let step = state.step(renewal, ends - now, now).unwrap_or_else(|cause| {
            state.tried = Some(clock::now());
            error!(reason = "leaf_not_renewed", not_after = day(ends), cause = %cause,
                "the leaf that signs tokens could not be renewed; it signs on until it ends, and this is tried again");
            Step::Nothing
        });
        self.renewing.published.store(state.coming.as_ref().map(|coming| Arc::clone(&coming.key)));
        step
    }

    /// Whether [`App::renew_leaf`] has anything to do.
    pub fn leaf_is_due(&self, now: OffsetDateTime) -> bool {
        let snapshot = self.snapshot();
        let is_due = snapshot.issuer.key().renew_at().is_some_and(|due| due <= now);
        (is_due && snapshot.renewal.is_some()) || self.renewing.published.load().is_some()
    }

    /// The key that will sign next, once it is known.
    pub fn coming_key(&self) -> Option<Arc<VerifyingKey>> {
        self.renewing.published.load_full()
    }
}

impl State {
    /// `left` is how long the leaf in place still lives.
    fn step(&mut self, renewal: &Renewal, left: time::Duration, now: OffsetDateTime) -> Result<Step, LeafError> {
        if self.coming.as_ref().is_some_and(|coming| coming.of != *renewal) {
            self.coming = None;
        }
        match (&self.coming, renewal.header) {
            (_, HeaderForm::X5c) => match renewal.files.issue(When::Needed, &renewal.name, now)? {
                Issued::Made => Ok(Step::InPlace),
                // Another process has made it, and its files are seen as any others.
                Issued::Found => {
                    self.tried = Some(clock::now());
                    Ok(Step::Nothing)
                }
            },
            (None, HeaderForm::Kid) => {
                let pair = renewal.files.prepare(&renewal.name, now)?;
                let key = Arc::new(public_key(&pair)?);
                info!(
                    kid = key.kid(crate::keys::KidForm::Thumbprint),
                    "the next key is in the JWK set, and signs in an hour"
                );
                self.coming = Some(Coming { pair, key, since: clock::now(), of: renewal.clone() });
                Ok(Step::Nothing)
            }
            (Some(coming), HeaderForm::Kid) if coming.since.elapsed() >= STAGED || left < STAGED => {
                renewal.files.put(&coming.pair)?;
                self.coming = None;
                Ok(Step::InPlace)
            }
            (Some(_), HeaderForm::Kid) => Ok(Step::Nothing),
        }
    }
}

fn public_key(pair: &GeneratedPair) -> Result<VerifyingKey, LeafError> {
    let block = pem::blocks(pair.certificate_pem.as_bytes(), PairFile::Certificate)
        .ok()
        .and_then(|blocks| blocks.into_iter().next());
    let key = block.and_then(|block| VerifyingKey::from_certificate(&block.der));
    key.ok_or(LeafError::Refused(crate::keys::ChainProblem::Unreadable))
}
