//! Any bytes as Authorization header lines: an account with a password, a secret, nobody, or refused; never an empty half.
#![no_main]

use dockwarden::authn::Credentials;
use dockwarden::http::credentials::from_header;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(3) {
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        headers.append(AUTHORIZATION, value);
    }
    match from_header(&headers) {
        Ok(Credentials::Password { account, password }) => {
            assert!(!account.is_empty() && !account.contains(':') && !password.reveal().is_empty());
        }
        Ok(Credentials::Secret { claimed, .. }) => {
            assert!(claimed.is_none_or(|claimed| !claimed.is_empty() && !claimed.contains(':')));
        }
        // Told from a password later, by its issuer.
        Ok(Credentials::Workload { .. }) => panic!("a header says what a token is for"),
        Ok(Credentials::Anonymous) | Err(_) => {}
    }
});
