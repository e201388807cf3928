//! How many connections the clients of one network may have open, so that they cannot take every place there is.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use crate::app::Snapshot;
use crate::client_network::ClientNetwork;
use crate::http::client_address::{AddressSource, Peer};

/// What one network may have open where the configuration says nothing. Behind one address there may be a whole company.
pub const USUAL_SHARE: usize = 1024;
/// The highest number that the configuration may say: as many as there are places.
pub const LARGEST_SHARE: usize = 16_384;
/// How often the log says that a network has too many: whoever floods us must not flood the log.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Whatever the configuration says, one network gets no more than such a part of the places that there are: where few files
/// may be open, one address could otherwise take them all.
const LARGEST_PART: usize = 4;

/// The open connections, counted by network.
pub struct Connections {
    /// What one network may have at most.
    most: usize,
    open: Mutex<HashMap<ClientNetwork, usize>>,
    said: Mutex<Option<Instant>>,
}

/// One connection of those that are counted, until it is dropped.
pub struct Counted {
    connections: Arc<Connections>,
    network: ClientNetwork,
}

/// What becomes of a new connection.
pub enum Admission {
    /// It is one of its network's share.
    Counted(Counted),
    /// It is not counted: its network is that of all clients.
    Uncounted,
    /// The network has as many as it may have.
    Refused,
}

/// Whom a connection is counted for; nobody where all clients come from there.
fn counted(snapshot: &Snapshot, peer: Peer) -> Option<IpAddr> {
    let address = match peer {
        Peer::Tcp(address) => address,
        // The proxy's, or that of programs of this machine.
        Peer::Unix => return None,
    };
    let is_proxy = match &snapshot.address {
        AddressSource::Peer => false,
        AddressSource::Proxies(proxies) => proxies.peers.include(peer),
        // Each connection is believed to be a proxy's.
        AddressSource::Position { .. } => true,
    };
    let asks = snapshot.forward_auth.as_ref().is_some_and(|door| door.proxies.include(peer));
    (!is_proxy && !asks).then_some(address)
}

impl Connections {
    /// Nobody has any of so many places yet.
    pub fn sharing(places: usize) -> Connections {
        Connections { most: (places / LARGEST_PART).max(1), open: Mutex::default(), said: Mutex::default() }
    }

    /// Looks whether a new connection may stay.
    pub fn admit(self: &Arc<Connections>, snapshot: &Snapshot, peer: Peer) -> Admission {
        let Some(address) = counted(snapshot, peer) else { return Admission::Uncounted };
        let most = snapshot.connections_per_address.min(self.most);
        match self.count(ClientNetwork::of(Some(address)), most) {
            Some(counted) => Admission::Counted(counted),
            None => {
                self.say(address, most);
                Admission::Refused
            }
        }
    }

    fn count(self: &Arc<Connections>, network: ClientNetwork, most: usize) -> Option<Counted> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.entry(network).or_default();
        // A number of 0 cannot be configured, so a list of those that have none is not left behind here.
        if *number >= most {
            return None;
        }
        *number += 1;
        Some(Counted { connections: Arc::clone(self), network })
    }

    fn say(&self, address: IpAddr, most: usize) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|before| before.elapsed() >= SAID_EVERY) {
            *said = Some(Instant::now());
            warn!(
                reason = "too_many_connections",
                client.address = %address,
                connections = most,
                "connections are closed whose network has too many; if it is a proxy's, name it in server.trusted_proxies"
            );
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut entry) = open.entry(self.network) {
            *entry.get_mut() = entry.get().saturating_sub(1);
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_its_share_and_gets_back_what_it_closes() {
        let connections = Arc::new(Connections::sharing(LARGEST_SHARE));
        let network = |text: &str| ClientNetwork::of(text.parse().ok());
        let one = network("2001:db8:1:2::1");
        let mut open: Vec<Option<Counted>> = (0..5).map(|_| connections.count(one, 3)).collect();
        assert_eq!(open.iter().flatten().count(), 3);
        assert!(connections.count(network("2001:db8:1:2:ffff::"), 3).is_none(), "the same 64 bits");
        let elsewhere = connections.count(network("2001:db8:1:3::1"), 3);
        assert!(elsewhere.is_some());
        open.remove(0);
        assert!(connections.count(one, 3).is_some());
        // A share that a reload made smaller closes nothing, and lets nobody in either.
        assert!(connections.count(one, 1).is_none());
        drop((open, elsewhere));
        assert!(connections.open.lock().unwrap_or_else(PoisonError::into_inner).is_empty());
    }
}
