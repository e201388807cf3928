//! The registries behind the gateway: sending a request to one of them with our own credentials, and both bodies as they come.
//!
//! The door half, which reads requests and decides, is `http/gateway/`. Here, `upstream.rs` sends a request over `connect.rs`,
//! with what its `UpstreamCredentials` give; `places.rs` bounds how many are under way; `headers.rs` and `via.rs` say which
//! headers pass; `body.rs` passes the bodies on, and `transfer.rs` writes the line at the end.

pub(crate) mod body;
mod connect;
mod ecr;
pub(crate) mod headers;
pub(crate) mod places;
mod renewing;
mod token_service;
pub(crate) mod transfer;
pub(crate) mod upstream;
pub(crate) mod via;

use std::sync::Arc;

use self::places::Places;
use self::upstream::Upstream;
use self::via::Pseudonym;
use crate::config::{self, Challenge};
use crate::reach::{REACH_WITHIN, Reached};

/// The registries behind the gateway, ready for use.
pub struct Gateway {
    pub(crate) service: String,
    pub(crate) challenge: Challenge,
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    pub(crate) places: Places,
    pub(crate) pseudonym: Pseudonym,
}

impl Gateway {
    /// Makes the upstreams ready. Those whose settings a snapshot before had too keep their connections and tokens.
    /// `transfers_at_once` is how many requests may be under way to all of them, if there was no gateway before.
    ///
    /// # Errors
    /// Certificates or an account that cannot be used. An upstream that does not answer is not an error here.
    pub fn open(
        settings: config::Gateway,
        before: Option<&Gateway>,
        transfers_at_once: usize,
    ) -> anyhow::Result<Gateway> {
        let held = before.map(|before| before.upstreams.as_slice()).unwrap_or_default();
        let mut upstreams = Vec::with_capacity(settings.upstreams.len());
        for settings in settings.upstreams {
            let kept = held.iter().find(|upstream| upstream.settings == settings);
            upstreams.push(match kept {
                Some(kept) => Arc::clone(kept),
                None => Arc::new(Upstream::open(settings)?),
            });
        }
        let places = before.map_or_else(|| Places::new(transfers_at_once), |before| before.places.clone());
        let pseudonym = before.map_or_else(Pseudonym::new, |before| before.pseudonym.clone());
        Ok(Gateway { service: settings.service, challenge: settings.challenge, upstreams, places, pseudonym })
    }

    /// Asks each upstream, all at the same time, something that changes nothing. None waits longer than half a minute.
    pub async fn reach(&self) -> Vec<Reached> {
        let mut asked = Vec::with_capacity(self.upstreams.len());
        for upstream in &self.upstreams {
            let upstream = Arc::clone(upstream);
            asked.push(tokio::spawn(tokio::time::timeout(REACH_WITHIN, async move { upstream.reach().await })));
        }
        let mut reached = Vec::with_capacity(asked.len());
        for (asked, upstream) in asked.into_iter().zip(&self.upstreams) {
            let found = match asked.await {
                Ok(Ok(found)) => found,
                Ok(Err(_)) => {
                    Err(anyhow::anyhow!("{}: no answer within {} s", upstream.settings.name, REACH_WITHIN.as_secs()))
                }
                Err(died) => Err(died.into()),
            };
            reached.push(Reached { name: "gateway", found });
        }
        reached
    }
}
