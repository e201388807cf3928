//! The sources of rules, one file or folder each; what they owe is in [`crate::backend`].

pub mod casbin;
pub mod http_api;
mod kept;
pub mod lint;
pub mod mongo;
pub mod program;
pub mod records;
pub mod rules;
pub mod sql;
pub mod standard;
mod whole;

pub use crate::backend::rules::{Authorizer, Decides, Freshness, Gate, InUse, KeptOut, Question, Shown};
pub use crate::backend::work;
pub use policy::{Answer, RuleRef, acl, explain, pattern, rule};
pub use whole::Above;
