//! Standard rules (`standard_rules:`): ordinary rules over the labels that the directory gives, appended to a site's own.
//!
//! They are rules like any other: a site may print them, copy them into `acl`, and change them there.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use policy::acl::Acl;
use policy::rule::{Rule, RuleText};
use settings::{Field, Holds, Refusal};

use super::rules::StaticRules;
use crate::authn::password::Passwords;
use crate::backend::{Configured, Facts, Kind, Opened, Purpose, configured};
use crate::directory::Label;
use crate::directory::rights::{DESCRIPTIONS, ManagedAction, PULLS, REGISTRIES};

/// The row of the table.
pub const KIND: Kind = Kind { key: "standard_rules", purpose: Purpose::Rules, read: |field| configured(read(&field)) };

/// Whose rules they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardRules {
    /// Those of OpenSVC's collector, for users, groups, apps and services.
    Opensvc,
}

fn read(field: &Field<'_>) -> Option<StandardRules> {
    let text = field.text()?;
    match text.value.as_str() {
        "opensvc" => Some(StandardRules::Opensvc),
        _ => {
            let message = Refusal::is("not the name of standard rules; write opensvc").about(&text.value, Holds::Words);
            field.problem_at(&text.place, message);
            None
        }
    }
}

impl StandardRules {
    /// The rules, in their order.
    pub fn rules(self) -> Vec<RuleText> {
        match self {
            StandardRules::Opensvc => opensvc(),
        }
    }
}

impl Configured for StandardRules {
    fn open(self: Arc<Self>, _passwords: &Arc<Passwords>) -> anyhow::Result<Opened> {
        let compiled = self.rules().iter().map(Rule::compile).collect::<Result<Vec<_>, _>>();
        let rules = compiled.ok().context("a standard rule cannot be compiled")?;
        Opened::rules(StaticRules(Arc::new(Acl::new(rules))))
    }

    fn facts(&self) -> Facts<'_> {
        Facts::Rules
    }
}

/// A repository below `users/`, `groups/` or `apps/`: what the place is, and the label that says whose it is.
const OWN_PLACES: [(&str, Label); 3] = [("users", Label::Uid), ("groups", Label::Gid), ("apps", Label::AppPush)];

/// What somebody may have of a repository that they may push to, from the most to the least. The first rule that matches decides, so
/// that each set of rights has a rule.
const SETS: [&[Right]; 6] = [
    &[Right::Pull, Right::Push, Right::Delete],
    &[Right::Pull, Right::Push],
    &[Right::Pull, Right::Delete],
    &[Right::Push, Right::Delete],
    &[Right::Pull],
    &[Right::Push],
];

/// What may be done with a repository.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Right {
    Pull,
    Push,
    Delete,
}

/// The rules of OpenSVC's collector, as it documents or does them, whichever is safer; without its way of trying the next policy
/// where one gives nothing.
fn opensvc() -> Vec<RuleText> {
    let mut rules = Vec::new();
    for (place, owner) in OWN_PLACES {
        let name = format!("/^{place}\\/([^\\/]+)\\/.+$/");
        for set in SETS {
            let labels = with_rights(set, Label::Push).chain([(owner, "${name:1}")]);
            rules.push(repository(&name, labels, words(set), &format!("{place}/: {}", words(set).join(" and "))));
        }
    }
    let apps = "/^apps\\/([^\\/]+)\\/.+$/";
    for set in [&[Right::Pull, Right::Delete][..], &[Right::Pull]] {
        let labels = with_rights(set, Label::Push).chain([(Label::AppPull, "${name:1}")]);
        rules.push(repository(
            apps,
            labels,
            words(set),
            "apps/: of apps that are published to a group, and of a service's own",
        ));
    }
    let manages = || [(Label::Manage, "${service}")].into_iter();
    rules.push(repository(
        "/^(users|groups|apps)\\/[^\\/]+\\/.+$/",
        manages(),
        vec!["delete".to_owned()],
        "whoever manages a registry deletes in it everywhere",
    ));
    rules.push(repository(
        "/^(users|groups|apps)\\//",
        [].into_iter(),
        Vec::new(),
        "users/, groups/ and apps/ are nobody else's",
    ));
    for set in SETS {
        let labels = with_rights(set, Label::PushOther);
        rules.push(repository("/./", labels, words(set), &format!("elsewhere: {}", words(set).join(" and "))));
    }
    rules.push(repository(
        "/./",
        manages(),
        vec!["delete".to_owned()],
        "whoever manages a registry deletes in it everywhere",
    ));
    rules.extend(managing());
    rules
}

/// Who manages what, by the names of [`crate::directory::rights`].
fn managing() -> Vec<RuleText> {
    use ManagedAction::{Change, Create, Delete, Describe, List, Show, Sweep};
    let below = |name: &str| format!("/^{name}\\/(.+)$/");
    let rule = |name: &str, labels: &[(Label, &str)], actions: &[ManagedAction], comment: &str| RuleText {
        kind: Some("dockwarden".to_owned()),
        name: Some(name.to_owned()),
        labels: texts(labels.iter().copied()),
        actions: actions.iter().map(|action| action.as_str().to_owned()).collect(),
        comment: Some(comment.to_owned()),
        ..RuleText::default()
    };
    let each = "${name:1}";
    vec![
        rule(REGISTRIES, &[(Label::Privilege, "manager")], &[Create], "managers declare registries"),
        rule(
            &below(REGISTRIES),
            &[(Label::Manage, each)],
            &[List, Show, Change, Delete, Sweep],
            "managers manage the registries that a group of theirs is responsible for",
        ),
        rule(&below(REGISTRIES), &[(Label::See, each)], &[List, Show], "a registry is seen by whom it is published to"),
        rule(&below(DESCRIPTIONS), &[(Label::Push, each)], &[Describe], "pushers describe what they may push"),
        rule(&below(PULLS), &[(Label::Manage, each)], &[List], "managers see who pulled from their registries"),
        rule(&below("users"), &[(Label::Uid, each)], &[List, Show], "users see themselves"),
        rule(&below("groups"), &[(Label::Gid, each)], &[List, Show], "members see their groups"),
        rule(&below("apps"), &[(Label::AppPull, each)], &[List, Show], "an app is seen by whom it is published to"),
    ]
}

fn words(set: &[Right]) -> Vec<String> {
    let word = |right: &Right| match right {
        Right::Pull => "pull",
        Right::Push => "push",
        Right::Delete => "delete",
    };
    set.iter().map(|right| word(right).to_owned()).collect()
}

/// The labels by which somebody has these rights at the registry that is asked about.
fn with_rights(set: &[Right], push: Label) -> impl Iterator<Item = (Label, &'static str)> {
    set.iter().map(move |right| match right {
        Right::Pull => (Label::Pull, "${service}"),
        Right::Push => (push, "${service}"),
        Right::Delete => (Label::Manage, "${service}"),
    })
}

fn texts<'text>(labels: impl Iterator<Item = (Label, &'text str)>) -> BTreeMap<String, String> {
    labels.map(|(label, pattern)| (label.as_str().to_owned(), pattern.to_owned())).collect()
}

fn repository<'text>(
    name: &str,
    labels: impl Iterator<Item = (Label, &'text str)>,
    actions: Vec<String>,
    comment: &str,
) -> RuleText {
    RuleText {
        kind: Some("repository".to_owned()),
        name: Some(name.to_owned()),
        labels: texts(labels),
        actions,
        comment: Some(comment.to_owned()),
        ..RuleText::default()
    }
}
