//! The network that a client is counted by, where something is shared out or one client must not pay for another.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Clients that are counted as one.
///
/// One address of IPv4, and 64 bits of IPv6: whoever has a line of IPv6 has at least so many addresses (RFC 6177), and
/// would otherwise be as many clients as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientNetwork {
    /// One address.
    V4(Ipv4Addr),
    /// The first half of an address.
    V6([u16; 4]),
    /// Clients whose address cannot be known, such as those of a unix socket. They are one.
    Unknown,
}

impl ClientNetwork {
    /// The network that an address belongs to. An IPv4 address in IPv6's clothes (`::ffff:1.2.3.4`) is one of IPv4.
    pub fn of(address: Option<IpAddr>) -> ClientNetwork {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => ClientNetwork::V4(address),
            Some(IpAddr::V6(address)) => {
                let [first, second, third, fourth, ..] = address.segments();
                ClientNetwork::V6([first, second, third, fourth])
            }
            None => ClientNetwork::Unknown,
        }
    }
}

impl fmt::Display for ClientNetwork {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientNetwork::V4(address) => address.fmt(out),
            ClientNetwork::V6([a, b, c, d]) => write!(out, "{}/64", Ipv6Addr::new(*a, *b, *c, *d, 0, 0, 0, 0)),
            ClientNetwork::Unknown => out.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv4_and_64_bits_of_ipv6_are_one_client() {
        let network = |text: &str| ClientNetwork::of(text.parse().ok());
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
        ] {
            assert_eq!(network(one) == network(other), same, "{one} and {other}");
        }
        assert_eq!(ClientNetwork::of(None), ClientNetwork::Unknown);
        assert_eq!(network("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(network("192.0.2.1").to_string(), "192.0.2.1");
    }
}
