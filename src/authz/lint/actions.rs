//! What a rule grants and nobody can use: pushing without pulling, the catalog without `*`, words that mean nothing.

use policy::pattern::Field;
use policy::rule::{Grants, Rule};
use policy::scope::{Action, Actions, OURS, words};
use settings::spelling::nearest;

/// Looks at the actions of a rule. `own` are those of what is protected besides registries.
pub(super) fn lint_actions(rule: &Rule, own: &[&Action], warn: &mut impl FnMut(&str, String)) {
    let actions = match rule.grants() {
        Grants::Listed(actions) => actions,
        Grants::All if rule.pattern(Field::Type).and_then(|kind| kind.literal()) == Some(OURS) => {
            let message = "gives nothing: \"*\" stands for what registries know; list what is meant: [list, show, create, change, \
                           renew, revoke]";
            return warn(".actions", message.to_owned());
        }
        Grants::All => return,
    };
    let all = actions.contains(&Action::All);
    if all {
        warn(".actions", "\"*\" beside other actions stands only for itself; write [\"*\"] for everything".to_owned());
    } else {
        for action in actions.iter().filter(|action| !action.is_known() && !own.contains(action)) {
            warn(
                ".actions",
                format!(
                    "\"{action}\" is not an action of a registry (pull, push, delete), or one in forward_auth.paths{}",
                    meant(action.as_str())
                ),
            );
        }
    }
    if !all && actions.contains(&Action::Push) && !actions.contains(&Action::Pull) && may_be_for(rule, "repository", "")
    {
        let mut wanted: Actions = actions.clone();
        wanted.insert(Action::Pull);
        warn(
            ".actions",
            format!(
                "push without pull lets nobody push: clients ask for both, and registries want both; write [{}]",
                words(&wanted).replace(',', ", ")
            ),
        );
    }
    if !actions.is_empty() && !all && !may_be_for(rule, "repository", "") && may_be_for(rule, "registry", "catalog") {
        let message =
            "lists the catalog for nobody: clients ask for \"*\" there, and registries want it; write [\"*\"]";
        warn(".actions", message.to_owned());
    }
}

/// The words that ask for the action that was probably meant.
pub(crate) fn meant(word: &str) -> String {
    let word = word.to_lowercase();
    if ["all", "any", "everything", "full"].contains(&word.as_str()) {
        return "; write [\"*\"] for everything".to_owned();
    }
    match nearest(&word, &["pull", "push", "delete"]) {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => String::new(),
    }
}

/// Whether the rule can match resources of this type and, where one is given, this name. Says yes where that depends on
/// who asks.
fn may_be_for(rule: &Rule, kind: &str, name: &str) -> bool {
    let agrees = |field: Field, subject: &str| {
        rule.pattern(field).is_none_or(|pattern| {
            pattern.placeholders().next().is_some() || pattern.matches_alone(subject).unwrap_or(true)
        })
    };
    agrees(Field::Type, kind) && (name.is_empty() || agrees(Field::Name, name))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use policy::rule::RuleText;

    #[test]
    fn what_is_granted_and_cannot_be_used_is_told() {
        let push = Some("write [pull, push]");
        let catalog = Some("lists the catalog for nobody: clients ask for \"*\" there");
        for (kind, name, actions, expected) in [
            (None, None, &["push"][..], push),
            (None, Some("team/*"), &["push"], push),
            (Some("repository"), None, &["push", "delete"], Some("write [delete, pull, push]")),
            (Some("re*"), None, &["push"], push),
            (Some("registry"), Some("catalog"), &["pull"], catalog),
            (Some("registry"), None, &["pull", "push"], catalog),
            (Some("registry"), Some("*"), &["delete"], catalog),
            (None, None, &["pull", "push"], None),
            (None, None, &["pull"], None),
            (None, None, &["delete"], None),
            (None, None, &["*"], None),
            (Some("dockwarden"), None, &["*"], Some("gives nothing: \"*\" stands for what registries know")),
            (Some("dockwarden"), None, &[], None),
            (None, None, &[], None),
            (Some("web"), None, &["push"], None),
            (Some("registry"), Some("catalog"), &["*"], None),
            (Some("registry"), Some("catalog"), &[], None),
            (Some("registry"), Some("metrics"), &["pull"], None),
            (None, Some("catalog"), &["pull"], None),
            (None, None, &["all"], Some("; write [\"*\"] for everything")),
            (None, None, &["psh"], Some("did you mean \"push\"?")),
            (None, None, &["reed"], Some("is not an action of a registry")),
        ] {
            let text = RuleText {
                kind: kind.map(str::to_owned),
                name: name.map(str::to_owned),
                actions: actions.iter().map(|action| (*action).to_owned()).collect(),
                ..RuleText::default()
            };
            let mut found = Vec::new();
            lint_actions(&Rule::compile(&text).unwrap(), &[], &mut |_, message| found.push(message));
            match expected {
                None => assert_eq!(found, Vec::<String>::new(), "{text:?}"),
                Some(piece) => {
                    assert!(found.len() == 1 && found.iter().all(|one| one.contains(piece)), "{text:?} {found:?}")
                }
            }
        }
    }
}
