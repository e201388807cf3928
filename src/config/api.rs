//! The `api:` section: on which listener secrets are administered, if on any.

use settings::{Refusal, Section};

use super::ListenAddress;

/// The name of the section.
pub(super) const NAME: &str = "api";

/// Where the API is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Api {
    /// Nowhere.
    #[default]
    Off,
    /// On `server.addr`, below its `path_prefix`.
    Main,
    /// On `server.admin_addr`.
    Admin,
}

/// Reads the section. `admin` is the address of `server.admin_addr`, where it is configured.
pub(super) fn read(mut section: Section<'_>, admin: Option<&ListenAddress>) -> Api {
    let listen = section.parsed("listen", |text| match text {
        "off" => Ok(Api::Off),
        "main" => Ok(Api::Main),
        "admin" if admin.is_some() => Ok(Api::Admin),
        "admin" => Err(Refusal::says(
            "the API needs server.admin_addr to be served there; name one, or write main for the listener of server.addr",
        )),
        _ => Err(Refusal::is("not a listener; write admin, main or off")),
    });
    if !section.has("listen") {
        section.missing("listen", "say where the API is served: admin (server.admin_addr), main (server.addr) or off");
    }
    section.finish();
    listen.map(|at| at.value).unwrap_or_default()
}
