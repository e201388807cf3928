//! Identity backends and sources of rules beside the static ones: what all of them owe, and each one's own days, good
//! and bad.

mod another_spelling;
pub(crate) mod casbin_authz;
mod conformance;
mod ext_auth;
mod ext_authz;
mod htpasswd;
mod http_auth;
mod http_authz;
mod ldap;
mod metrics;
mod names;
#[expect(dead_code, reason = "the backend whose names have no case is tested against its real server")]
mod owed;
mod program;
mod sql;
mod stand_in;
mod turns;
mod unstartable;
