//! The identity backends, one file or folder each; what they owe is in [`crate::backend`].

mod costs;
pub mod htpasswd;
pub mod http_api;
mod label_syntax;
pub mod ldap;
pub mod mongo;
pub mod program;
pub mod records;
#[cfg(test)]
pub mod silly;
pub mod sql;
mod stored;
pub mod users;

pub use crate::backend::Authenticator;
pub use crate::identity::{
    Account, AccountState, Alike, Closed, ClosedBy, Credentials, IdentifiedBy, Identity, LookUp, Method, Narrowing,
    NotAnAccount, Outcome, Standing, Time,
};
pub use crate::passwords::{attempts, hash_kind, password};
pub use crate::secret::Secret;
pub use label_syntax::LabelSyntax;
