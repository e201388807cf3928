//! Whether accounts of two providers could be called the same.

use settings::Section as Map;

use super::{Asked, ProviderSettings, Settings};
use crate::backend::Backends;
use crate::sign_in::token_db::TokenDb;
use crate::sign_in::{KINDS, NAME};

/// The form that a provider's names have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Addresses of e-mail, which have an @.
    Address,
    /// Logins, which have none.
    Login,
    /// Anything.
    Any,
}

impl Form {
    /// Whether a name may be one of it.
    fn has(self, name: &str) -> bool {
        match self {
            Form::Address => name.contains('@'),
            Form::Login => !name.contains('@'),
            Form::Any => true,
        }
    }

    fn of(provider: &ProviderSettings) -> Form {
        match &provider.asked {
            Asked::OpenId(own) if own.user_claim.as_str() == "email" => Form::Address,
            Asked::OpenId(_) => Form::Any,
            Asked::GitHub(_) | Asked::GitLab(_) => Form::Login,
        }
    }

    fn overlaps(self, other: Form) -> bool {
        match (self, other) {
            (Form::Address, Form::Login) | (Form::Login, Form::Address) => false,
            (Form::Any, _) | (_, Form::Any) => true,
            (Form::Address, Form::Address) | (Form::Login, Form::Login) => true,
        }
    }
}

/// Whether a name in a database that several providers share may be this one's.
pub(in crate::sign_in) fn may_be_called(provider: &ProviderSettings, name: &str) -> bool {
    Form::of(provider).has(name)
}

/// Whether both read their people's passwords in one Redis, where nothing but the name tells whose one is.
fn share_redis(one: &ProviderSettings, other: &ProviderSettings) -> bool {
    let (Some(TokenDb::Redis(own)), Some(TokenDb::Redis(others))) = (&one.token_db, &other.token_db) else {
        return false;
    };
    own.servers == others.servers && Form::of(one).overlaps(Form::of(other))
}

/// Notes what is wrong with the sections of providers together: that two could name one account, and that nothing signs their
/// cookies.
pub fn check(top: &mut Map<'_>, backends: &Backends) {
    let mut all: Vec<(&'static str, &ProviderSettings)> = Vec::new();
    for row in &backends.0 {
        let settings = (&*row.settings as &dyn std::any::Any).downcast_ref::<Settings>();
        for own in settings.into_iter().flat_map(|settings| &settings.providers) {
            let clash = all.iter().find(|(_, other)| {
                other.account_prefix == own.account_prefix && Form::of(other).overlaps(Form::of(own))
            });
            if let Some((section, _)) = clash
                && let Some(entry) = top.entry(row.kind.key)
            {
                let message = format!(
                    "somebody of this provider could be called as somebody else of {section} is; write account_prefix: in one of \
                     them, and give its people rights by that: account_prefix: \"work:\""
                );
                top.problem(&entry.place, row.kind.key, message);
            }
            if let Some((section, _)) = all.iter().find(|(_, other)| share_redis(own, other))
                && let Some(entry) = top.entry(row.kind.key)
            {
                let message = format!(
                    "{section} reads docker passwords in the same Redis, where nothing tells of which provider one is; keep redis_token_db \
                     in one of them"
                );
                top.problem(&entry.place, row.kind.key, message);
            }
            all.push((row.kind.key, own));
        }
    }
    if KINDS.iter().any(|kind| top.has(kind.key)) && !top.has(NAME) {
        let message = "people sign in, and nothing says what their browsers' cookies are signed with; write sign_in: {secret_file: …}, \
                       a file with what `openssl rand -base64 48` says";
        top.missing(NAME, message);
    }
}
