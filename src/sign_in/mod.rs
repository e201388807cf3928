//! People who sign in in a browser at a provider: OpenID Connect, Google, GitHub and GitLab.
//!
//! Whoever the provider says it is, is kept in the records under who keeps it and what it is called there, with an account and
//! labels. Docker passwords are secrets of that account, and ask here by a look-up: the provider is asked again when its last word
//! is old. Gone there is gone here.

mod api;
mod backend;
mod found;
mod openid;
mod person;
mod provider;
mod settings;
mod token_db;
pub(crate) mod web;

pub use settings::{Section, check, read};

use crate::backend::{Kind, Purpose, configured};

/// The section of the file that is about pages and sign-in as such.
pub const NAME: &str = "sign_in";

/// Any provider of OpenID Connect.
pub const OPENID: Kind = Kind {
    key: "oidc_auth",
    purpose: Purpose::Identity,
    read: |field| configured(settings::read_section(field, settings::Brand::OpenId)),
};
/// Google.
pub const GOOGLE: Kind = Kind {
    key: "google_auth",
    purpose: Purpose::Identity,
    read: |field| configured(settings::read_section(field, settings::Brand::Google)),
};
/// GitHub, or what speaks as it does.
pub const GITHUB: Kind = Kind {
    key: "github_auth",
    purpose: Purpose::Identity,
    read: |field| configured(settings::read_section(field, settings::Brand::GitHub)),
};
/// GitLab.
pub const GITLAB: Kind = Kind {
    key: "gitlab_auth",
    purpose: Purpose::Identity,
    read: |field| configured(settings::read_section(field, settings::Brand::GitLab)),
};

/// The sections whose people sign in, which is also the last part of the address that they come back to.
pub const KINDS: [&Kind; 4] = [&OPENID, &GOOGLE, &GITHUB, &GITLAB];
