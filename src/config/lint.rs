//! What loads but is probably not meant, in the file as a whole.

use std::borrow::Borrow;

use policy::rule::Rule;
use policy::scope::Action;
use settings::Problem;

use super::{Api, Challenge, Config};
use crate::authn::users;
use crate::authz::lint::{Doors, Surroundings, lint_each, lint_listed};
use crate::authz::rules::Rules;
use crate::backend::{Facts, Names};
use crate::directory::rights::ManagedAction;
use crate::policy_tests::PolicyAction;
use crate::secrets::TokenAction;
use crate::workload;

impl Config {
    /// Everything that is probably not meant, in the order of the file: what reading it brought up, and what users and
    /// rules say together.
    pub fn lint(&self) -> Vec<Problem> {
        let mut found = self.warnings.clone();
        found
            .extend(self.backends.get::<Rules>().into_iter().flat_map(|rules| lint_listed(rules, self.surroundings())));
        found.extend(self.backends.get().map(users::doubts).unwrap_or_default());
        found.sort_by(|one, other| one.place.cmp(&other.place));
        found
    }

    /// What is probably not meant in rules that would stand in place of the file's.
    pub(crate) fn lint_given(&self, rules: &Rules) -> Vec<Problem> {
        lint_listed(rules, self.surroundings())
    }

    /// What is probably not meant in rules that are kept elsewhere: see [`lint_each`].
    pub(crate) fn lint_elsewhere<R: Borrow<Rule>>(&self, rules: &[R]) -> Vec<(usize, String, String)> {
        lint_each(rules, self.surroundings())
    }

    /// Whether there is a way to administer anything: the API, or pages.
    fn is_administered(&self) -> bool {
        match self.api {
            Api::Off => self.sign_in.is_some(),
            Api::Main | Api::Admin => true,
        }
    }

    /// The actions of those who administer secrets, where that can be done.
    pub(crate) fn token_actions(&self) -> &'static [Action] {
        if self.is_administered() { TokenAction::actions() } else { &[] }
    }

    /// The actions of those who ask about the policy, where that can be done.
    pub(crate) fn policy_actions(&self) -> &'static [Action] {
        if self.is_administered() { PolicyAction::actions() } else { &[] }
    }

    /// The actions of those who manage registries and the directory, where that can be done.
    pub(crate) fn managed_actions(&self) -> &'static [Action] {
        if self.is_administered() { ManagedAction::actions() } else { &[] }
    }

    fn surroundings(&self) -> Surroundings<'_> {
        let upstreams = self.gateway.iter().flat_map(|gateway| &gateway.upstreams);
        let protected = self.forward_auth.iter().flat_map(|door| &door.paths);
        let workloads = self.workload.iter().map(|_| (workload::NAME, Facts::LoginsElsewhere(Names::Checked)));
        let challenges = [
            self.forward_auth.as_ref().map(|section| &section.challenge),
            self.gateway.as_ref().map(|section| &section.challenge),
        ];
        Surroundings {
            facts: self.backends.facts().chain(workloads).collect(),
            directory: self.directory.as_ref(),
            services: &self.token.services,
            hosts: upstreams.filter_map(|upstream| upstream.host.as_deref()).collect(),
            doors: challenges.into_iter().flatten().fold(Doors::None, |doors, challenge| match (doors, challenge) {
                (Doors::ByPassword, _) | (_, Challenge::Basic) => Doors::ByPassword,
                (Doors::None | Doors::ByTokenOnly, Challenge::Bearer { .. }) => Doors::ByTokenOnly,
            }),
            own_actions: protected
                .flat_map(|path| &path.scope.actions)
                .chain(self.token_actions())
                .chain(self.policy_actions())
                .chain(self.managed_actions())
                .collect(),
        }
    }
}
