//! The addresses that we connect to at the word of somebody who is not the operator.
//!
//! Whoever may name a server has us ask there: this machine's own services and those of its site, which no firewall keeps from us, and
//! the cloud's metadata with its keys (server-side request forgery). So public addresses alone count, and the networks that the
//! operator allows. A name is looked up, its addresses are looked at, and one of these is connected to: what the name means a moment
//! later (DNS rebinding) makes no difference.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use ipnet::IpNet;
use tokio::time::timeout;
use tower::{Service as _, ServiceExt as _};
use url::{Host, Url};

use crate::lookups::Lookups;

/// How long the name of a server may be looked up that nobody connects to yet.
const LOOKUP_WITHIN: Duration = Duration::from_secs(3);

/// The networks that are allowed besides the public addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// The server is where nobody but the operator may have us connect to. The address is not named: it may be the inside of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not at a public address, nor in a network that the configuration allows (registries_declared.networks), or its name \
     has no address now"
)]
pub struct NotAllowed;

impl Networks {
    /// These networks.
    pub fn from_allowed(networks: Vec<IpNet>) -> Networks {
        Networks(networks)
    }

    /// Whether this address may be connected to.
    pub(super) fn allow(&self, address: IpAddr) -> bool {
        // An address of IPv4 in IPv6's clothes is one of IPv4.
        let address = address.to_canonical();
        let is_public = match address {
            IpAddr::V4(address) => is_public_v4(address),
            IpAddr::V6(address) => is_public_v6(address),
        };
        is_public || self.0.iter().any(|network| network.contains(&address))
    }
}

/// Whether an address is none of those that mean something else than one machine on the internet (RFC 6890 and its registry).
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, fourth] = address.octets();
    // The metadata of Azure, which are at a public address; those of others are among the networks below.
    if matches!((first, second, third, fourth), (168, 63, 129, 16)) {
        return false;
    }
    let is_special = match (first, second, third) {
        // This network; private; loopback; multicast, reserved and broadcast.
        (0 | 10 | 127 | 224..=255, _, _) => true,
        // Behind a carrier's translation.
        (100, 64..=127, _) => true,
        // Link-local, the metadata of clouds among it.
        (169, 254, _) => true,
        (172, 16..=31, _) | (192, 168, _) => true,
        // Protocols, documentation, 6to4 relays.
        (192, 0, 0 | 2) | (192, 88, 99) => true,
        // Measurements between networks, and documentation.
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => true,
        _ => false,
    };
    !is_special
}

/// Whether an address is of the unicast addresses that are given out, and is not one of IPv4 in another form.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let is_special = match (first, second) {
        // Teredo, ORCHID, benchmarks and other protocols; documentation.
        (0x2001, 0..=0x01ff | 0x0db8) => true,
        // 6to4: an address of IPv4 is in it.
        (0x2002, _) => true,
        // Documentation.
        (0x3fff, 0..=0x0fff) => true,
        (0x2000..=0x3fff, _) => false,
        _ => true,
    };
    !is_special
}

/// What looks at the addresses of servers before anybody connects to them.
#[derive(Clone)]
pub(crate) struct Places {
    lookups: Lookups<GaiResolver>,
    networks: Networks,
}

impl Places {
    /// Looks at addresses by these networks.
    pub(crate) fn new(networks: Networks) -> Places {
        Places { lookups: Lookups::new(GaiResolver::new()), networks }
    }

    /// Whether a server may be there, by what is written alone: whoever asks learns of no name whether there is one inside. Whatever a
    /// name means is looked at at each connection.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn check_written(&self, url: &Url) -> Result<(), NotAllowed> {
        let is_allowed = match url.host() {
            None => false,
            Some(Host::Ipv4(address)) => self.networks.allow(address.into()),
            Some(Host::Ipv6(address)) => self.networks.allow(address.into()),
            Some(Host::Domain(name)) => {
                let name = name.strip_suffix('.').unwrap_or(name);
                // It means this machine everywhere.
                let is_here = name == "localhost" || name.ends_with(".localhost");
                !is_here
                    || self.networks.allow(Ipv4Addr::LOCALHOST.into())
                    || self.networks.allow(Ipv6Addr::LOCALHOST.into())
            }
        };
        if is_allowed { Ok(()) } else { Err(NotAllowed) }
    }

    /// Whether a server may be there, for the operator. One whose name has no address now may be: it is looked at again at each connection.
    ///
    /// # Errors
    /// It may not.
    pub(crate) async fn check(&self, url: &Url) -> Result<(), NotAllowed> {
        let allowed = |address: IpAddr| if self.networks.allow(address) { Ok(()) } else { Err(NotAllowed) };
        match url.host() {
            None => Err(NotAllowed),
            Some(Host::Ipv4(address)) => allowed(address.into()),
            Some(Host::Ipv6(address)) => allowed(address.into()),
            Some(Host::Domain(name)) => {
                let Ok(name) = name.parse::<Name>() else { return Err(NotAllowed) };
                let mut lookups = self.lookups.clone();
                let found = async { lookups.ready().await?.call(name).await };
                let Ok(Ok(found)) = timeout(LOOKUP_WITHIN, found).await else { return Ok(()) };
                let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
                match addresses.is_empty() || addresses.into_iter().any(|address| self.networks.allow(address)) {
                    true => Ok(()),
                    false => Err(NotAllowed),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

    use super::*;

    #[test]
    fn public_addresses_and_those_that_are_allowed_are_connected_to_and_no_others() {
        let none = Networks::default();
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "100.128.0.1",
            "193.0.0.1",
            "168.63.129.17",
            "2606:4700::1111",
        ] {
            assert!(none.allow(address.parse().unwrap()), "{address}");
        }
        let special = [
            "0.0.0.0",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            // The metadata of AWS's containers, of Alibaba, of Oracle's first generation, and of Azure.
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "::ffff:168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.1.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "100::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "3fff::1",
        ];
        for address in special {
            assert!(!none.allow(address.parse().unwrap()), "{address}");
        }
        let some = Networks::from_allowed(vec!["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        for (address, allowed) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("10.2.0.1", false),
            ("fd01::1", true),
            ("127.0.0.1", false),
        ] {
            assert_eq!(some.allow(address.parse().unwrap()), allowed, "{address}");
        }
    }

    /// What a url writes otherwise is the same address.
    #[tokio::test]
    async fn an_address_is_looked_at_however_it_is_written() {
        let places = Places::new(Networks::default());
        for url in [
            "http://127.0.0.1:5000",
            "http://127.1",
            "http://0x7f000001",
            "http://2130706433",
            "http://017700000001",
            "http://[::1]:5000",
            "http://[::ffff:127.0.0.1]",
            "http://169.254.169.254",
            "http://localhost:5000",
        ] {
            assert_eq!(places.check(&url.parse().unwrap()).await, Err(NotAllowed), "{url}");
        }
        assert_eq!(places.check(&"https://1.1.1.1".parse().unwrap()).await, Ok(()));
    }
}
