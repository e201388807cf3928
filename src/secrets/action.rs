//! What somebody who administers secrets does with them: the words that rules of type `dockwarden` list.

use std::sync::LazyLock;

use policy::scope::Action;

/// Something that is done with the secrets of an account, `dockwarden:tokens/ACCOUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAction {
    /// To see which there are.
    List,
    /// To see one.
    Show,
    /// To make one. Whoever has it acts as its owner.
    Create,
    /// To change the name or the limits of one.
    Change,
    /// To make one anew.
    Renew,
    /// To end one.
    Revoke,
}

impl TokenAction {
    /// All of them.
    pub const ALL: [TokenAction; 6] = [
        TokenAction::List,
        TokenAction::Show,
        TokenAction::Create,
        TokenAction::Change,
        TokenAction::Renew,
        TokenAction::Revoke,
    ];

    /// Its word. A rule gives it only where it lists it: none is an action that registries know, for which `["*"]` stands.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenAction::List => "list",
            TokenAction::Show => "show",
            TokenAction::Create => "create",
            TokenAction::Change => "change",
            TokenAction::Renew => "renew",
            TokenAction::Revoke => "revoke",
        }
    }

    /// The action that is asked for.
    pub fn action(self) -> Action {
        Action::Other(self.as_str().into())
    }

    /// The actions of all of them.
    pub fn actions() -> &'static [Action] {
        static ACTIONS: LazyLock<Vec<Action>> =
            LazyLock::new(|| TokenAction::ALL.into_iter().map(TokenAction::action).collect());
        &ACTIONS
    }
}
