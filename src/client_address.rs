//! The client's address behind proxies: which header lines to believe, and whose.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName};
use ipnet::IpNet;

/// Header text beyond this many bytes is not looked at: it is an attack, not a chain of proxies.
const MAX_HEADER: usize = 8 * 1024;
/// What a proxy writes that does not know its client, or does not tell (RFC 7239, section 6.2, and Squid before it).
const UNKNOWN: &str = "unknown";

/// Where a client's address is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// The connection itself.
    Peer,
    /// docker_auth's way: one position in the header's list, from whoever connects. The header has to be there.
    Position {
        /// The header.
        header: HeaderName,
        /// 0 is the first address of the list, -1 the last; beyond the beginning is the first.
        position: i32,
    },
    /// The header is read from right to left, past the proxies that are trusted, and only from one of them.
    Proxies(Proxies),
}

/// The proxies that are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    /// The header they add their client's address to, at the end.
    pub header: HeaderName,
    /// Who they are.
    pub peers: Peers,
}

/// Whose connections are from a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Their networks.
    pub networks: Vec<IpNet>,
    /// Whether whoever connects by unix socket is one of them.
    pub unix: bool,
}

impl Peers {
    /// Whether this connection is from one of them.
    pub fn include(&self, peer: Peer) -> bool {
        match peer {
            Peer::Tcp(address) => self.contain(address),
            Peer::Unix => self.unix,
        }
    }

    fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP connection from this address.
    Tcp(IpAddr),
    /// A unix socket.
    Unix,
}

impl Peer {
    fn address(self) -> Option<IpAddr> {
        match self {
            Peer::Tcp(address) => Some(address.to_canonical()),
            Peer::Unix => None,
        }
    }
}

/// The words of a log for it.
impl std::fmt::Display for Peer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Tcp(address) => address.to_canonical().fmt(out),
            Peer::Unix => out.write_str("a unix socket"),
        }
    }
}

/// The header that should name the client does not. Clients are told this much.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {header} does not hold the client's address")]
pub struct NoAddress {
    header: HeaderName,
    #[source]
    cause: NotThere,
}

/// Who sent such a header, and what is wrong with it: for the log only. What the header holds is not repeated, since whoever
/// connects may have put anything into it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wrong}, in a request from {peer}")]
struct NotThere {
    peer: Peer,
    wrong: Wrong,
}

/// What is wrong with a header that should name the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Wrong {
    #[error("it is missing")]
    Missing,
    #[error("it names fewer addresses than server.real_ip_pos counts")]
    TooShort,
    #[error("element {0} from the right is not an IP address")]
    FromTheRight(usize),
    #[error("the element at server.real_ip_pos is not an IP address")]
    AtPosition,
    #[error("it has bytes that are not visible ASCII")]
    NotText,
    #[error("it is longer than {MAX_HEADER} bytes")]
    TooLong,
}

impl AddressSource {
    /// The client's address; `None` where there is none to know (a unix socket without a header, or a trusted proxy that
    /// says `unknown` or names nobody). Rules with `ip` then do not match.
    ///
    /// # Errors
    /// The header is missing, or holds no address where one has to be: the request is not understood (400).
    pub fn client(&self, peer: Peer, headers: &HeaderMap) -> Result<Option<IpAddr>, NoAddress> {
        match self {
            AddressSource::Peer => Ok(peer.address()),
            AddressSource::Position { header, position } => {
                let no_address = |wrong| NoAddress { header: header.clone(), cause: NotThere { peer, wrong } };
                let line = joined(headers, header).map_err(no_address)?.ok_or_else(|| no_address(Wrong::Missing))?;
                let all: Vec<&str> = elements(&line).collect();
                let index = match usize::try_from(*position) {
                    Ok(index) => index,
                    Err(_) => all.len().saturating_sub(position.unsigned_abs() as usize),
                };
                let text = all.get(index).ok_or_else(|| no_address(Wrong::TooShort))?;
                parse(text).map(Some).ok_or_else(|| no_address(Wrong::AtPosition))
            }
            AddressSource::Proxies(proxies) => proxies.client(peer, headers),
        }
    }
}

impl Proxies {
    fn client(&self, peer: Peer, headers: &HeaderMap) -> Result<Option<IpAddr>, NoAddress> {
        if !self.peers.include(peer) {
            return Ok(peer.address());
        }
        let no_address = |wrong| NoAddress { header: self.header.clone(), cause: NotThere { peer, wrong } };
        let Some(line) = joined(headers, &self.header).map_err(no_address)? else { return Ok(peer.address()) };
        // Of a list that names nobody, only who wrote it is known, and that is the proxy.
        let mut nearest = None;
        for (number, text) in (1..).zip(elements(&line).rev()) {
            if text.eq_ignore_ascii_case(UNKNOWN) {
                return Ok(None);
            }
            // What stands left of something that is not an address was not written by a proxy that is trusted.
            let address = parse(text).ok_or_else(|| no_address(Wrong::FromTheRight(number)))?;
            nearest = Some(address);
            if !self.peers.contain(address) {
                break;
            }
        }
        Ok(nearest)
    }
}

/// All lines of the header as one list, `None` where there is no such line. A proxy may add a line of its own after the
/// client's instead of adding to it; reading only the first would leave the client's in charge. A line that cannot be
/// read is an error, never "no header": the request would then seem to come from the proxy itself.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Wrong> {
    let mut all: Option<String> = None;
    for line in headers.get_all(name) {
        let line = line.to_str().map_err(|_| Wrong::NotText)?;
        let list = all.get_or_insert_default();
        if list.len() + line.len() > MAX_HEADER {
            return Err(Wrong::TooLong);
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(line);
    }
    Ok(all)
}

/// The elements of a list. Empty ones do not count (RFC 9110, section 5.6.1.2): some proxies add a comma with nothing after it.
fn elements(list: &str) -> impl DoubleEndedIterator<Item = &str> {
    list.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// Reads `1.2.3.4`, `1.2.3.4:555`, `2001:db8::1`, `[2001:db8::1]` and `[2001:db8::1]:555`.
fn parse(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let port_is_one = port.strip_prefix(':').is_none_or(|port| port.parse::<u16>().is_ok());
            let nothing_else = port.is_empty() || port.starts_with(':');
            address.parse::<std::net::Ipv6Addr>().ok().filter(|_| port_is_one && nothing_else).map(IpAddr::V6)?
        }
        None => match text.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => {
                let (address, port) = text.split_once(':')?;
                port.parse::<u16>().ok()?;
                IpAddr::V4(address.parse().ok()?)
            }
        },
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            if let Ok(value) = line.parse() {
                headers.append("x-forwarded-for", value);
            }
        }
        headers
    }

    fn address(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn one_position_of_the_list_is_taken_as_docker_auth_takes_it() {
        let cases: &[(i32, &[&str], Option<&str>)] = &[
            (0, &["1.1.1.1, 2.2.2.2"], Some("1.1.1.1")),
            (1, &["1.1.1.1, 2.2.2.2"], Some("2.2.2.2")),
            (-1, &["1.1.1.1, 2.2.2.2"], Some("2.2.2.2")),
            (-1, &["6.6.6.6", "1.1.1.1"], Some("1.1.1.1")),
            (-5, &["1.1.1.1, 2.2.2.2"], Some("1.1.1.1")),
            (2, &["1.1.1.1, 2.2.2.2"], None),
            (0, &["1.2.3.4:555"], Some("1.2.3.4")),
            (0, &["[2001:db8::1]:555"], Some("2001:db8::1")),
            (0, &["[::1]"], Some("::1")),
            (0, &["::ffff:1.2.3.4"], Some("1.2.3.4")),
            // Positions count what the list holds, without its empty elements.
            (-1, &["1.1.1.1, 2.2.2.2,"], Some("2.2.2.2")),
            (0, &[" , 1.1.1.1"], Some("1.1.1.1")),
            (1, &["1.1.1.1,, 2.2.2.2"], Some("2.2.2.2")),
            (1, &["1.1.1.1,", ",2.2.2.2"], Some("2.2.2.2")),
            (0, &["unknown"], None),
            (0, &[""], None),
            (0, &[" , ,"], None),
            (0, &[], None),
        ];
        for (position, lines, expected) in cases {
            let source =
                AddressSource::Position { header: HeaderName::from_static("x-forwarded-for"), position: *position };
            let found = source.client(Peer::Unix, &headers(lines)).ok().flatten();
            assert_eq!(found, expected.and_then(address), "{position} of {lines:?}");
        }
    }

    fn ten_and_unix() -> AddressSource {
        let networks = ["10.0.0.0/8", "fd00::/8"].iter().filter_map(|text| text.parse().ok()).collect();
        AddressSource::Proxies(Proxies {
            header: HeaderName::from_static("x-forwarded-for"),
            peers: Peers { networks, unix: true },
        })
    }

    #[test]
    fn proxies_are_believed_from_the_right_and_nobody_else() {
        let source = ten_and_unix();
        // The client: an address, nobody who is known, or no answer.
        type Client = Result<Option<&'static str>, ()>;
        let cases: &[(&str, &[&str], Client)] = &[
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], Ok(Some("1.1.1.1"))),
            ("10.0.0.1", &["6.6.6.6", "1.1.1.1, 10.0.0.2"], Ok(Some("1.1.1.1"))),
            ("::ffff:10.0.0.1", &["1.1.1.1"], Ok(Some("1.1.1.1"))),
            ("10.0.0.1", &["10.0.0.9, 10.0.0.2"], Ok(Some("10.0.0.9"))),
            ("10.0.0.1", &[], Ok(Some("10.0.0.1"))),
            ("9.9.9.9", &["1.1.1.1"], Ok(Some("9.9.9.9"))),
            ("10.0.0.1", &["1.1.1.1, junk"], Err(())),
            ("10.0.0.1", &[&"1.1.1.1,".repeat(2000)], Err(())),
            ("10.0.0.1", &["junk, 1.1.1.1"], Ok(Some("1.1.1.1"))),
            // Empty elements are none, wherever they stand.
            ("10.0.0.1", &["1.1.1.1,"], Ok(Some("1.1.1.1"))),
            ("10.0.0.1", &["6.6.6.6,, 1.1.1.1 , ,\t10.0.0.2,"], Ok(Some("1.1.1.1"))),
            ("10.0.0.1", &["1.1.1.1", ""], Ok(Some("1.1.1.1"))),
            ("10.0.0.1", &["", ",1.1.1.1"], Ok(Some("1.1.1.1"))),
            ("10.0.0.1", &["1.1.1.1, junk,"], Err(())),
            // A list of nothing names nobody: the request is not the proxy's own.
            ("10.0.0.1", &[""], Ok(None)),
            ("10.0.0.1", &[" , ,"], Ok(None)),
            // A proxy that does not know its client, and one before it that does not.
            ("10.0.0.1", &["unknown"], Ok(None)),
            ("10.0.0.1", &["1.1.1.1, Unknown,"], Ok(None)),
            ("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], Ok(None)),
            ("10.0.0.1", &["unknown, 1.1.1.1"], Ok(Some("1.1.1.1"))),
            ("10.0.0.1", &["unknown:80"], Err(())),
            ("9.9.9.9", &["unknown"], Ok(Some("9.9.9.9"))),
        ];
        for (peer, lines, expected) in cases {
            let Some(peer_address) = address(peer) else { continue };
            let found = source.client(Peer::Tcp(peer_address), &headers(lines)).map_err(drop);
            assert_eq!(found, expected.map(|client| client.and_then(address)), "{peer} with {lines:?}");
        }
        assert_eq!(source.client(Peer::Unix, &headers(&["1.1.1.1"])).ok().flatten(), address("1.1.1.1"));
    }

    #[test]
    fn the_log_learns_who_sent_what_the_client_is_not_told() {
        use std::error::Error as _;
        let position = AddressSource::Position { header: HeaderName::from_static("x-forwarded-for"), position: 1 };
        let (tcp, unix) = (Peer::Tcp([10, 0, 0, 1].into()), Peer::Unix);
        for (source, peer, lines, expected) in [
            (ten_and_unix(), tcp, &["hunter2, junk, 10.0.0.2"][..], "element 2…10.0.0.1"),
            (ten_and_unix(), unix, &["hunter2"], "element 1…a unix socket"),
            (position.clone(), tcp, &[], "it is missing"),
            (position.clone(), tcp, &["1.1.1.1"], "it names fewer addresses than server.real_ip_pos counts"),
            (position, tcp, &["1.1.1.1, hunter2"], "the element at server.real_ip_pos is not an IP address"),
        ] {
            let refused = source.client(peer, &headers(lines)).err();
            let told = refused.as_ref().map(ToString::to_string);
            assert_eq!(told.as_deref(), Some("the header x-forwarded-for does not hold the client's address"));
            let cause = refused.as_ref().and_then(|refused| refused.source()).map(ToString::to_string);
            let cause = cause.unwrap_or_default();
            let expected = expected.replace('…', " from the right is not an IP address, in a request from ");
            assert!(cause.contains(&expected) && !cause.contains("hunter2"), "{lines:?}: {cause}");
        }
    }
}
