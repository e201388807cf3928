//! Rules on tags and digests, which only some doors see.

use std::collections::HashSet;

use policy::pattern::{Field, Pattern};
use policy::rule::{Grants, ReferenceKind, Rule};
use policy::scope::Action;

use super::known::is_refusal;

/// The doors that see which tag or digest is asked for.
#[derive(Clone, Copy)]
pub enum Doors {
    /// There are none.
    None,
    /// All of them tell clients to fetch a token first, and believe what it says.
    ByTokenOnly,
    /// One of them asks for the password.
    ByPassword,
}

/// The tag and the digest are in the path of a registry's request, and no token request has that path.
pub(super) fn lint_reference(rule: &Rule, doors: Doors, warn: &mut impl FnMut(&str, String)) {
    let field = if rule.tag().is_some() { ".match.tag" } else { ".match.reference" };
    let message = match doors {
        Doors::None => {
            "never matches: token requests name no tag and no digest, only forward_auth and gateway see them, and there is no \
             such section"
        }
        Doors::ByTokenOnly => {
            "never matches for clients that do as they are told: challenge: bearer makes them fetch a token, and token \
             requests name no tag and no digest; write challenge: basic"
        }
        Doors::ByPassword if is_refusal(rule) => {
            "refuses nothing to whoever fetches a token first: token requests name no tag and no digest; let a rule without \
             tag and reference refuse, and these allow"
        }
        Doors::ByPassword => return,
    };
    warn(field, message.to_owned());
}

pub(super) fn grants_pull(rule: &Rule) -> bool {
    match rule.grants() {
        Grants::All => true,
        Grants::Listed(actions) => actions.contains(&Action::Pull) || actions.contains(&Action::All),
    }
}

/// The rules that let pull by digest, by the plain texts that they name: of many rules none is compared with each other.
pub(super) struct ByDigest<'r> {
    /// Account and name; `None` where the rule has none, or one that is not plain text.
    both: HashSet<(Option<&'r str>, Option<&'r str>)>,
    accounts: HashSet<Option<&'r str>>,
    names: HashSet<Option<&'r str>>,
}

impl<'r> ByDigest<'r> {
    pub(super) fn from_rules(rules: impl IntoIterator<Item = &'r Rule>) -> ByDigest<'r> {
        let lets_pull =
            |rule: &&Rule| rule.tag().is_none() && rule.reference() != Some(ReferenceKind::Tag) && grants_pull(rule);
        let both: HashSet<_> = rules.into_iter().filter(lets_pull).map(plain).collect();
        let accounts = both.iter().map(|(account, _)| *account).collect();
        let names = both.iter().map(|(_, name)| *name).collect();
        ByDigest { both, accounts, names }
    }

    /// Whether one of them may let those whom `tagged` lets pull a tag have what the tag stands for. Says yes where the
    /// texts of the patterns do not tell.
    pub(super) fn lets_pull(&self, tagged: &Rule) -> bool {
        match plain(tagged) {
            (None, None) => !self.both.is_empty(),
            (account @ Some(_), None) => [account, None].iter().any(|account| self.accounts.contains(account)),
            (None, name @ Some(_)) => [name, None].iter().any(|name| self.names.contains(name)),
            (account, name) => {
                let pairs = [(account, name), (account, None), (None, name), (None, None)];
                pairs.iter().any(|pair| self.both.contains(pair))
            }
        }
    }
}

/// The plain texts of a rule's account and name.
fn plain(rule: &Rule) -> (Option<&str>, Option<&str>) {
    let text = |field| rule.pattern(field).filter(|pattern| pattern.literal().is_some()).map(Pattern::text);
    (text(Field::Account), text(Field::Name))
}
