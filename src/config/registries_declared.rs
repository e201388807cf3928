//! The `registries_declared:` section: where registries may be that managers declare while the server runs.

use policy::rule::parse_network;
use settings::{Refusal, Section};

use crate::registries::Networks;

/// The name of the section.
pub(super) const NAME: &str = "registries_declared";

/// Reads the section.
pub(super) fn read(mut section: Section<'_>) -> Networks {
    let mut networks = Vec::new();
    for text in section.texts("networks").unwrap_or_default() {
        match parse_network(&text.value) {
            Some(network) => networks.push(network),
            None => section.refuse_word(
                &text,
                "networks",
                &Refusal::is("not a network; write 10.20.0.0/16, 192.168.1.5 or fd00:1::/32"),
            ),
        }
    }
    section.finish();
    Networks::from_allowed(networks)
}
