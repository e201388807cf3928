//! The `lasting:` section: which logins get a refresh token, and how long a secret may live.

use settings::yaml::Value;
use settings::{Refusal, Section};

use crate::secrets::{Refresh, Settings, length};

/// The name of the section.
pub(super) const NAME: &str = "lasting";

/// Reads the section. `services` are those that tokens are made for; empty means any, and `None` that they are not known.
pub(super) fn read(mut section: Section<'_>, services: Option<&[String]>) -> Settings {
    let longest = section.word("longest", |text| {
        let expected = || Refusal::is("not a length of time; write days (365d) or hours (12h)");
        length(text).filter(|length| !length.is_zero()).ok_or_else(expected)
    });
    let refresh = match section.field("refresh") {
        None => Refresh::Never,
        Some(field) => match field.value() {
            Value::List(_) => {
                let named = field.texts();
                for service in &named {
                    if services.is_some_and(|known| !known.is_empty() && !known.contains(&service.value)) {
                        let message = "no tokens are made for this service; write one that token.services names";
                        section.problem(&service.place, "refresh", message);
                    }
                }
                Refresh::For(named.into_iter().map(|service| service.value).collect())
            }
            Value::Text(_) | Value::Null | Value::Map(_) => {
                let expected = "neither true nor false; write a service as a list of one ([registry.example.org])";
                match section.flag_or("refresh", expected).map(|at| at.value) {
                    Some(true) => Refresh::Always,
                    Some(false) | None => Refresh::Never,
                }
            }
        },
    };
    section.finish();
    Settings { refresh, longest: longest.map(|at| at.value) }
}
