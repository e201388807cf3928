//! The steps of a login at a directory, by the names that people read.

use std::fmt;

/// What a login waits for, a question at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its turn to use a connection.
    Turn,
    /// The addresses of a server's name.
    Lookup,
    /// A connection.
    Connect,
    /// The leave to begin TLS.
    StartTls,
    /// TLS itself.
    Tls,
    /// Others who try our own credentials first.
    Others,
    /// The bind of this configuration's own name.
    OwnBind,
    /// A look at one entry: the server's own, or the base.
    Look,
    /// The search for the account's entry.
    Account,
    /// The search for its groups.
    Groups,
    /// The bind that checks the password.
    Check,
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Step::Turn => "the turn",
            Step::Lookup => "the look-up of the name",
            Step::Connect => "the connection",
            Step::StartTls => "StartTLS",
            Step::Tls => "TLS",
            Step::Others => "the connections of others",
            Step::OwnBind => "the bind as bind_dn",
            Step::Look => "a first search",
            Step::Account => "the search for the account",
            Step::Groups => "the search for groups",
            Step::Check => "the check of the password",
        })
    }
}
