//! The sources of a chain as a whole policy has them: lists of rules, as far as they are asked for sure.

use super::InUse;
use crate::whole_policy::List;

/// Lists of rules, and the first source below them that decides by itself, if there is one.
pub struct Above {
    /// The lists, in the order in which they are asked.
    pub lists: Vec<List>,
    /// What comes below it is asked where it says nothing, and nobody knows where that is.
    pub decider: Option<&'static str>,
}

impl Above {
    /// What is above the first source that decides by itself.
    ///
    /// # Errors
    /// The section of which no rules have been read yet.
    pub fn of(sources: impl IntoIterator<Item = (&'static str, InUse)>) -> Result<Above, &'static str> {
        let mut lists = Vec::new();
        for (section, in_use) in sources {
            match in_use {
                InUse::Rules { acl, seqs } => lists.push(List { section, acl, seqs: seqs.to_vec() }),
                InUse::Unread => return Err(section),
                InUse::Policy(_) | InUse::Elsewhere => return Ok(Above { lists, decider: Some(section) }),
            }
        }
        Ok(Above { lists, decider: None })
    }
}
