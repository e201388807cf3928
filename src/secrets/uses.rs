//! Last uses of secrets: gathered in memory, and written now and then, all at once. Nothing on a token's way writes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipnet::IpNet;
use time::OffsetDateTime;

use crate::records::{Failure, SecretId, Secrets, Use};

/// How old what is written may be before another use is worth writing: so a secret is written at most so often.
const WORTH_WRITING: Duration = Duration::from_secs(600);
/// How many secrets have a use here that is not written yet (about 250 bytes each). Of further ones none is noted: what is lost are
/// times in a list.
const MOST: usize = 32_768;
/// The longest name of a client that is kept, in bytes.
const LONGEST_CLIENT: usize = 64;

/// The uses that are not written yet. Of each secret, the last one.
#[derive(Default)]
pub struct Uses(Mutex<BTreeMap<SecretId, Use>>);

impl Uses {
    /// Takes note of a use. `written` is when the last one was that is written down.
    pub fn note(&self, id: SecretId, written: Option<OffsetDateTime>, used: Use) {
        if written.is_some_and(|written| used.at - written < WORTH_WRITING) {
            return;
        }
        let mut pending = self.pending();
        if pending.len() < MOST || pending.contains_key(&id) {
            pending.insert(id, used);
        }
    }

    /// Writes all of them down. What cannot be written is kept for the next time.
    ///
    /// # Errors
    /// Why nothing was written.
    pub async fn write(&self, store: &(impl Secrets + ?Sized)) -> Result<usize, Failure> {
        let uses = std::mem::take(&mut *self.pending());
        if uses.is_empty() {
            return Ok(0);
        }
        let written = store.used(&uses).await;
        if written.is_err() {
            let mut pending = self.pending();
            for (id, used) in uses {
                if pending.len() < MOST {
                    pending.entry(id).or_insert(used);
                }
            }
            return written.map(|()| 0);
        }
        Ok(uses.len())
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<SecretId, Use>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A use at this moment, with no more of where and what than is needed to recognise it.
pub fn use_of(at: OffsetDateTime, address: Option<IpAddr>, client: &str) -> Use {
    let network = address.and_then(|address| {
        let bits = if address.is_ipv4() { 24 } else { 48 };
        IpNet::new(address, bits).ok().map(|network| network.trunc())
    });
    let mut name = String::new();
    for letter in client.chars().filter(|letter| !letter.is_control()) {
        if name.len() + letter.len_utf8() > LONGEST_CLIENT {
            break;
        }
        name.push(letter);
    }
    Use { at, network, client: name }
}
