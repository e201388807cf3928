//! How something narrower than an account is cut out of what the account may do: scopes with globs, action by action.

use crate::glob::{self, GlobToken};
use crate::pattern::PatternError;
use crate::rule::Grants;
use crate::scope::{Action, Actions, MAX_ACTIONS, Resource, ScopeError, is_type};

/// The most scopes of a cut.
pub const MAX_CUTS: usize = 64;
/// The longest of them, in bytes.
pub const MAX_CUT: usize = 512;

/// What is left of the rights of an account: what one of its scopes allows. Without any scope, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut(Vec<Allowed>);

/// One scope of a cut.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    kind: Box<str>,
    name: Vec<GlobToken>,
    grants: Grants,
}

/// Why a text is not a scope of a cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotACut {
    /// There are more than [`MAX_CUTS`].
    #[error("there are more than {MAX_CUTS} scopes")]
    TooMany,
    /// It is longer than [`MAX_CUT`].
    #[error("a scope is longer than {MAX_CUT} bytes")]
    TooLong,
    /// Not a type, a name and actions.
    #[error("{0}; write for example repository:team/*:pull")]
    Scope(ScopeError),
    /// The name is not a glob.
    #[error("the name is not a glob, as rules have them: {0}")]
    Name(PatternError),
    /// A name that only a rule could have.
    #[error(
        "the name must not be a regular expression and holds no placeholder; * stands for anything without a slash"
    )]
    Rule,
    /// A word that is no action, or none at all.
    #[error("the actions are words such as pull,push or delete, or * for all of them")]
    Actions,
}

impl Cut {
    /// Reads scopes whose names are globs: `repository:team/*:pull,push`.
    ///
    /// # Errors
    /// Why the first wrong one is wrong.
    pub fn parse<'text>(texts: impl IntoIterator<Item = &'text str>) -> Result<Cut, NotACut> {
        let mut all = Vec::new();
        for text in texts {
            if all.len() == MAX_CUTS {
                return Err(NotACut::TooMany);
            }
            all.push(Allowed::parse(text)?);
        }
        Ok(Cut(all))
    }

    /// Whether nothing is cut away.
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left of the actions that an account is granted on a resource.
    pub fn of(&self, resource: &Resource, granted: &Actions) -> Actions {
        if self.is_whole() {
            return granted.clone();
        }
        let fitting = self.0.iter().filter(|allowed| allowed.is_about(resource));
        fitting.flat_map(|allowed| allowed.left_of(granted)).collect()
    }
}

impl Allowed {
    fn parse(text: &str) -> Result<Allowed, NotACut> {
        if text.len() > MAX_CUT {
            return Err(NotACut::TooLong);
        }
        let (kind, rest) = text.split_once(':').ok_or(NotACut::Scope(ScopeError::Parts))?;
        let (name, words) = rest.rsplit_once(':').ok_or(NotACut::Scope(ScopeError::Parts))?;
        if !is_type(kind) {
            return Err(NotACut::Scope(ScopeError::Type));
        }
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(NotACut::Scope(ScopeError::Name));
        }
        if name.starts_with('/') || name.contains("${") {
            return Err(NotACut::Rule);
        }
        let name = glob::parse(name, &[]).map_err(|bad| NotACut::Name(PatternError::glob(name, bad)))?;
        let actions: Option<Actions> = words.split(',').map(Action::parse).collect();
        let actions = actions.filter(|actions| actions.len() <= MAX_ACTIONS).ok_or(NotACut::Actions)?;
        let grants = match actions.contains(&Action::All) {
            true => Grants::All,
            false => Grants::Listed(actions),
        };
        Ok(Allowed { kind: kind.into(), name, grants })
    }

    /// Asking for `*` asks for all that the scope lists ([`Grants::of`]). What was granted by `*` is what registries know: any
    /// other word would be more than the account has.
    fn left_of(&self, granted: &Actions) -> Actions {
        let left = self.grants.of(granted).into_iter();
        left.filter(|action| action.is_known() || granted.contains(action)).collect()
    }

    fn is_about(&self, resource: &Resource) -> bool {
        *self.kind == *resource.kind() && glob::matches(&self.name, resource.name())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::scope::{parse_actions, words};

    fn left(cuts: &[&str], kind: &str, name: &str, granted: &str) -> String {
        let cut = Cut::parse(cuts.iter().copied()).unwrap();
        words(&cut.of(&Resource::new(kind, name).unwrap(), &parse_actions(granted.split(','))))
    }

    #[test]
    fn of_what_is_granted_only_what_a_scope_allows_is_left() {
        for (cuts, name, granted, expected) in [
            (&[][..], "a/x", "pull,push", "pull,push"),
            (&["repository:a/*:pull"], "a/x", "pull,push", "pull"),
            (&["repository:a/*:pull"], "a/x", "push", ""),
            (&["repository:a/*:pull"], "a/x", "", ""),
            (&["repository:a/*:pull"], "b/y", "pull", ""),
            (&["repository:a/*:pull"], "a/b/c", "pull", ""),
            (&["repository:a/*/*:pull"], "a/b/c", "pull", "pull"),
            (&["repository:a/x:pull", "repository:*/x:push"], "a/x", "delete,pull,push", "pull,push"),
            // A star of the rules is everything that registries know; of a secret's, too, but no word of somebody else's.
            (&["repository:a/x:pull"], "a/x", "*", "pull"),
            (&["repository:a/x:*"], "a/x", "*", "*"),
            (&["repository:a/x:*"], "a/x", "delete,scan,push", "delete,push"),
            (&["repository:a/x:scan"], "a/x", "pull,scan", "scan"),
            (&["repository:a/x:pull,scan"], "a/x", "*", "pull"),
            (&["registry:catalog:*"], "catalog", "pull", ""),
            (&["repository:host.tld:5000/*:pull"], "host.tld:5000/a", "pull", "pull"),
            (&["repository:[ab]/?:pull"], "b/z", "pull", "pull"),
        ] {
            assert_eq!(left(cuts, "repository", name, granted), expected, "{cuts:?} {name} {granted}");
        }
        assert_eq!(left(&["registry:catalog:*"], "registry", "catalog", "*"), "*");
    }

    #[test]
    fn what_is_not_a_scope_is_refused_and_says_what_to_write() {
        for (text, expected) in [
            ("repository", "a scope has the form type:name:actions; write for example repository:team/*:pull"),
            ("Repository:a:pull", "the type must be"),
            ("repository::pull", "the name is not one"),
            ("repository:/^a$/:pull", "regular expression"),
            ("repository:${account}/*:pull", "placeholder"),
            ("repository:[a:pull", "not a glob"),
            ("repository:a:", "actions"),
            ("repository:a:pull,PUSH", "actions"),
            (&format!("repository:{}:pull", "a".repeat(MAX_CUT)), "longer"),
        ] {
            let refused = Cut::parse([text]).unwrap_err().to_string();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
        assert_eq!(Cut::parse(["repository:a:pull"; MAX_CUTS + 1]), Err(NotACut::TooMany));
        assert!(Cut::parse(["repository:a:pull"; MAX_CUTS]).is_ok());
    }
}
