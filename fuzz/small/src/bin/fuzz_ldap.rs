//! Any filter, name and account, and any message of a directory: what a client types stays one value, and what a server sends
//! is read or refused.
#![no_main]

/// The files of the program that read what others write, as they are: nothing of this is public in the program.
#[allow(dead_code)]
#[path = "../../../../src/authn/ldap"]
mod ldap {
    mod ber;
    mod filter;
    mod name;
    pub mod properties;
    mod protocol;
    mod step;
}

use ldap::properties::{filter_keeps_its_shape, message_is_read_or_refused, name_keeps_its_place};
use libfuzzer_sys::fuzz_target;

// The first byte says which of the three; the parts of a text are one a line.
fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else { return };
    if *kind == b'm' {
        return message_is_read_or_refused(rest);
    }
    let Ok(text) = str::from_utf8(rest) else { return };
    let mut parts = text.split('\n');
    let mut part = || parts.next().unwrap_or_default();
    match kind {
        b'f' => filter_keeps_its_shape(part(), part(), part()),
        b'n' => name_keeps_its_place(part(), part()),
        _ => {}
    }
});
