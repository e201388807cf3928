//! The table of backends, and the only file that knows all of them. A new one is a row here; what else it needs, lists of tests
//! and documents, is under "Adding an identity backend" in `docs/explain/architecture.md`.

use crate::backend::Kind;
use crate::{authn, authz, sign_in};

/// All backends, in the order in which they are asked.
///
/// In docker_auth's order, what needs nobody else first: a static user never waits for a program or a database. The HTTP API
/// comes last among those that know accounts: few APIs tell an unknown account from a wrong password, and what they refuse
/// nobody is asked about any more. Nor can a password there be used under the name of an account that another backend knows.
/// Of the sources of rules, the program and then the Casbin policy come last, since each always decides.
pub static BACKENDS: &[Kind] = &[
    authn::users::KIND,
    authn::htpasswd::KIND,
    authn::program::KIND,
    authn::ldap::KIND,
    authn::mongo::KIND,
    authn::sql::KIND,
    authn::records::KIND,
    sign_in::GOOGLE,
    sign_in::GITHUB,
    sign_in::GITLAB,
    sign_in::OPENID,
    authn::http_api::KIND,
    #[cfg(test)]
    authn::silly::KIND,
    authz::rules::KIND,
    authz::mongo::KIND,
    authz::sql::KIND,
    authz::records::KIND,
    authz::standard::KIND,
    authz::http_api::KIND,
    authz::program::KIND,
    authz::casbin::KIND,
];
