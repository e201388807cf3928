//! What somebody who may ask about the policy does: the words that rules of type `dockwarden` list.

use std::sync::LazyLock;

use policy::scope::Action;

/// Something that is asked about the policy, `dockwarden:policy`. None of it changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyAction {
    /// Whether rules and tests can be used.
    Check,
    /// What tests come to, by the rules in use or by others. Whoever may do this learns what everybody may.
    Test,
    /// What other rules would decide differently, for whom. The same holds.
    Diff,
    /// Who may do something. The same holds.
    WhoCan,
    /// Why somebody may or may not do something: what each rule says. The same holds.
    Explain,
}

impl PolicyAction {
    /// The name of what it is about.
    pub const ON: &'static str = "policy";
    /// All of them.
    pub const ALL: [PolicyAction; 5] =
        [PolicyAction::Check, PolicyAction::Test, PolicyAction::Diff, PolicyAction::WhoCan, PolicyAction::Explain];

    /// Its word. A rule gives it only where it lists it: none is an action that registries know, for which `["*"]` stands.
    pub fn as_str(self) -> &'static str {
        match self {
            PolicyAction::Check => "check",
            PolicyAction::Test => "test",
            PolicyAction::Diff => "diff",
            PolicyAction::WhoCan => "who-can",
            PolicyAction::Explain => "explain",
        }
    }

    /// The action that is asked for.
    pub fn action(self) -> Action {
        Action::Other(self.as_str().into())
    }

    /// The actions of all of them.
    pub fn actions() -> &'static [Action] {
        static ACTIONS: LazyLock<Vec<Action>> =
            LazyLock::new(|| PolicyAction::ALL.into_iter().map(PolicyAction::action).collect());
        &ACTIONS
    }
}
