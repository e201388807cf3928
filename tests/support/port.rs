//! Ports for programs that cannot be asked which one they got.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the system hands out for port 0 (from 32768 on): a part that is started meanwhile on a port of
/// the system's choice can then never get this one.
const FIRST: u16 = 20_000;
const NUMBER: u16 = 12_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Holds a port that no other test holds. Let go of it right before the program that takes it over.
///
/// # Panics
/// If there is none.
pub(crate) fn hold() -> TcpListener {
    // Two test binaries at once begin at different places.
    let offset = u16::try_from(std::process::id() % u32::from(NUMBER)).unwrap_or_default();
    (0..NUMBER)
        .find_map(|_| {
            let turn = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(offset) % NUMBER;
            TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST + turn)).ok()
        })
        .unwrap_or_else(|| panic!("no port is free"))
}

/// Starts a program on ports that were free a moment ago; where one of them was not free any more, `start` gives nothing,
/// and others are tried.
///
/// # Panics
/// If that happens again and again.
pub(crate) fn with_free<const N: usize, T>(mut start: impl FnMut([u16; N]) -> Option<T>) -> T {
    let attempt = |_| {
        let held = [(); N].map(|()| hold());
        let ports = held.each_ref().map(|listener| listener.local_addr().unwrap().port());
        drop(held);
        start(ports)
    };
    (0..5).find_map(attempt).unwrap_or_else(|| panic!("no port stays free"))
}
