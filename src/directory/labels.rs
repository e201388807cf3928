//! The labels that the directory gives: whose values are compared as they stand, and never read as patterns.

use std::collections::BTreeSet;

use policy::pattern::{LabelValue, LabelValues};

use super::entry::Privilege;
use crate::authn::Identity;

/// A label that the directory gives, and nobody else: a backend's label of the same name is dropped, since whoever writes it
/// there could otherwise give themselves what the directory did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Label {
    /// The user's id, and their name where it can be a part of a repository's.
    Uid,
    /// The ids of the user's groups, and their names likewise.
    Gid,
    /// The apps, by id and code, that may be pulled from: of a service, its own.
    AppPull,
    /// The apps that may be pushed to.
    AppPush,
    /// The registries that are published to a group of theirs.
    See,
    /// The registries that may be pulled from.
    Pull,
    /// The registries that may be pushed to, below `users/`, `groups/` and `apps/`.
    Push,
    /// The registries that may be pushed to elsewhere.
    PushOther,
    /// The registries that may be managed, and deleted from.
    Manage,
    /// The privileges.
    Privilege,
}

impl Label {
    /// All of them.
    pub const ALL: [Label; 10] = [
        Label::Uid,
        Label::Gid,
        Label::AppPull,
        Label::AppPush,
        Label::See,
        Label::Pull,
        Label::Push,
        Label::PushOther,
        Label::Manage,
        Label::Privilege,
    ];

    /// Its name in rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Label::Uid => "uid",
            Label::Gid => "gid",
            Label::AppPull => "app_pull",
            Label::AppPush => "app_push",
            Label::See => "see",
            Label::Pull => "pull",
            Label::Push => "push",
            Label::PushOther => "push_other",
            Label::Manage => "manage",
            Label::Privilege => "privilege",
        }
    }
}

/// Whether somebody is in the group of this id, by the labels that they came in with.
pub(crate) fn is_in_group(who: &Identity, id: &str) -> bool {
    who.labels.get(Label::Gid.as_str()).is_some_and(|own| own.contains(&LabelValue::literal(id)))
}

/// What somebody is and has, as far as the directory knows.
pub(super) struct Member<'view> {
    pub(super) uid: Vec<&'view str>,
    pub(super) gid: BTreeSet<&'view str>,
    pub(super) app_pull: BTreeSet<&'view str>,
    pub(super) app_push: BTreeSet<&'view str>,
    /// P: the registries that are published to a group of theirs.
    pub(super) published: BTreeSet<&'view str>,
    /// R: those that a group of theirs is responsible for.
    pub(super) responsible: BTreeSet<&'view str>,
    /// Those of all registries that are restricted.
    pub(super) restricted: &'view BTreeSet<&'view str>,
    pub(super) privileges: BTreeSet<Privilege>,
}

impl Member<'_> {
    /// The labels. What is empty is left out.
    pub(super) fn labels(&self) -> LabelValues {
        let has = |privilege| self.privileges.contains(&privilege);
        let given = |is_given: bool, services: BTreeSet<&str>| if is_given { literal(services) } else { Vec::new() };
        let push = self
            .published
            .iter()
            .copied()
            .filter(|own| self.responsible.contains(own) || !self.restricted.contains(own));
        let all = Label::ALL.map(|label| {
            let values = match label {
                Label::Uid => literal(self.uid.iter().copied()),
                Label::Gid => literal(self.gid.iter().copied()),
                Label::AppPull => literal(self.app_pull.iter().copied()),
                Label::AppPush => literal(self.app_push.iter().copied()),
                Label::See => literal(self.published.iter().copied()),
                Label::Pull => given(has(Privilege::Puller), self.published.clone()),
                Label::Push => given(has(Privilege::Pusher), push.clone().collect()),
                Label::PushOther => {
                    given(has(Privilege::Pusher), self.published.intersection(&self.responsible).copied().collect())
                }
                Label::Manage => given(has(Privilege::Manager), self.responsible.clone()),
                Label::Privilege => literal(self.privileges.iter().map(|privilege| privilege.as_str())),
            };
            (label.as_str().to_owned(), values)
        });
        all.into_iter().filter(|(_, values)| !values.is_empty()).collect()
    }
}

fn literal<'text>(texts: impl IntoIterator<Item = &'text str>) -> Vec<LabelValue> {
    texts.into_iter().map(LabelValue::literal).collect()
}
