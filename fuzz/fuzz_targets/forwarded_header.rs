//! Any bytes as forwarded-for lines: whoever is not a trusted proxy is never believed, and nothing panics.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use dockwarden::client_address::{AddressSource, Peer, Peers, Proxies};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let header = HeaderName::from_static("x-forwarded-for");
    let mut headers = HeaderMap::new();
    let (position, lines) = bytes.split_first().map_or((0, bytes), |(first, rest)| (i32::from(*first) - 128, rest));
    for line in lines.split(|byte| *byte == b'\n').take(8) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(header.clone(), value);
    }
    let stranger = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    let proxy = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    let Ok(network) = "10.0.0.0/8".parse() else { return };
    let proxies = AddressSource::Proxies(Proxies { header: header.clone(), peers: Peers { networks: vec![network], unix: false } });
    assert_eq!(proxies.client(Peer::Tcp(stranger), &headers), Ok(Some(stranger)));
    assert_eq!(proxies.client(Peer::Unix, &headers), Ok(None));
    drop(proxies.client(Peer::Tcp(proxy), &headers));
    drop(AddressSource::Position { header, position }.client(Peer::Tcp(proxy), &headers));
});
