//! Everything that the API does: one table of methods, addresses and rights.

use axum::http::Method;

use crate::policy_tests::PolicyAction;
use crate::secrets::TokenAction;

/// What the API's addresses begin with, below `server.path_prefix`.
pub(super) const BASE: &str = "/api/v1";

/// Something that the API does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Lists secrets.
    List,
    /// Makes a secret.
    Create,
    /// Shows a secret.
    Show,
    /// Changes a secret.
    Change,
    /// Revokes a secret by its id.
    Revoke,
    /// Makes a secret anew.
    Renew,
    /// Ends everything lasting that an account has.
    SignOut,
    /// Revokes a secret that is presented.
    RevokePresented,
    /// Says whether rules and tests can be used.
    CheckPolicy,
    /// Says what tests come to.
    TestPolicy,
    /// Says what other rules would decide differently.
    DiffPolicy,
    /// Says who may do something.
    WhoCan,
    /// Says why somebody may do something, or not.
    ExplainPolicy,
    /// Describes all of this.
    Describe,
}

/// Who may do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Whom the rules give this action on `dockwarden:tokens/OWNER`.
    Action(TokenAction),
    /// Whom the rules give this action on `dockwarden:policy`.
    Policy(PolicyAction),
    /// Whoever has the secret.
    Holder,
    /// Everybody: it says nothing of this server.
    Everybody,
}

impl Operation {
    /// All of them.
    pub const ALL: [Operation; 14] = [
        Operation::List,
        Operation::Create,
        Operation::Show,
        Operation::Change,
        Operation::Revoke,
        Operation::Renew,
        Operation::SignOut,
        Operation::RevokePresented,
        Operation::CheckPolicy,
        Operation::TestPolicy,
        Operation::DiffPolicy,
        Operation::WhoCan,
        Operation::ExplainPolicy,
        Operation::Describe,
    ];

    /// Its method, its address below `/api/v1`, and who may do it.
    pub fn row(self) -> (Method, &'static str, Right) {
        match self {
            Operation::List => (Method::GET, "/tokens", Right::Action(TokenAction::List)),
            Operation::Create => (Method::POST, "/tokens", Right::Action(TokenAction::Create)),
            Operation::Show => (Method::GET, "/tokens/{id}", Right::Action(TokenAction::Show)),
            Operation::Change => (Method::PATCH, "/tokens/{id}", Right::Action(TokenAction::Change)),
            Operation::Revoke => (Method::DELETE, "/tokens/{id}", Right::Action(TokenAction::Revoke)),
            Operation::Renew => (Method::POST, "/tokens/{id}/renew", Right::Action(TokenAction::Renew)),
            Operation::SignOut => (Method::POST, "/sign-out", Right::Action(TokenAction::Revoke)),
            Operation::RevokePresented => (Method::POST, "/revoke", Right::Holder),
            Operation::CheckPolicy => (Method::POST, "/policy:check", Right::Policy(PolicyAction::Check)),
            Operation::TestPolicy => (Method::POST, "/policy:test", Right::Policy(PolicyAction::Test)),
            Operation::DiffPolicy => (Method::POST, "/policy:diff", Right::Policy(PolicyAction::Diff)),
            Operation::WhoCan => (Method::POST, "/policy:who-can", Right::Policy(PolicyAction::WhoCan)),
            Operation::ExplainPolicy => (Method::POST, "/policy:explain", Right::Policy(PolicyAction::Explain)),
            Operation::Describe => (Method::GET, "/openapi.json", Right::Everybody),
        }
    }

    /// What a method does at an address.
    pub(super) fn of(path: &str, method: &Method) -> Option<Operation> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        Operation::ALL.into_iter().find(|operation| {
            let (own, at, _) = operation.row();
            own == *method && at == path
        })
    }

    /// The methods that there are at an address.
    pub(super) fn methods(path: &str) -> String {
        let rows = Operation::ALL.into_iter().map(Operation::row);
        let methods: Vec<String> = rows.filter(|(_, at, _)| *at == path).map(|(own, ..)| own.to_string()).collect();
        methods.join(", ")
    }
}
