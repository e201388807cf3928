//! The id of a rule: what it keeps wherever it stands, and loses when it means something else.

use std::fmt;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher24;
use time::OffsetDateTime;

use super::{RuleText, parse_network};

/// The id of a rule: a hash of all that it says but its comment. Two rules that say the same have the same id, and then the later one
/// never decides.
///
/// The hash is SipHash-2-4 without a key: an id is written down, and has to be the same in every process and version. It tells rules
/// apart that people wrote, and protects nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u64);

impl RuleId {
    /// The id of a rule that can be compiled. What is written in several ways (a network, the order of actions) counts once.
    pub(super) fn of(text: &RuleText) -> RuleId {
        let RuleText { labels, actions, comment: _, not_before, not_after, .. } = text;
        let mut parts = Parts(SipHasher24::new());
        for (field, written) in text.conditions() {
            let network = (field == super::MatchField::Ip).then(|| parse_network(written)).flatten();
            let network = network.map(|network| network.to_string());
            parts.add(field.key(), network.as_deref().unwrap_or(written));
        }
        for (label, pattern) in labels {
            parts.add("label", label);
            parts.add("is", pattern);
        }
        let mut actions: Vec<&str> = actions.iter().map(String::as_str).collect();
        actions.sort_unstable();
        actions.dedup();
        for action in actions {
            parts.add("grants", action);
        }
        for (key, moment) in [("not_before", not_before), ("not_after", not_after)] {
            if let Some(moment) = moment {
                parts.add(key, &OffsetDateTime::unix_timestamp_nanos(*moment).to_string());
            }
        }
        RuleId(parts.0.finish())
    }

    /// Reads what [`fmt::Display`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<RuleId> {
        let is_id = text.len() == 16 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        u64::from_str_radix(text, 16).ok().filter(|_| is_id).map(RuleId)
    }
}

/// As 16 hexadecimal digits.
impl fmt::Display for RuleId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

/// What is hashed. Each part goes in with its length before it, so that no two rules read the same.
struct Parts(SipHasher24);

impl Parts {
    fn add(&mut self, key: &str, value: &str) {
        for part in [key, value] {
            self.0.write(&(part.len() as u64).to_le_bytes());
            self.0.write(part.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(change: impl FnOnce(&mut RuleText)) -> RuleText {
        let mut text = RuleText {
            account: Some("alice".to_owned()),
            ip: Some("10.0.0.0/8".to_owned()),
            actions: vec!["pull".to_owned(), "push".to_owned()],
            ..RuleText::default()
        };
        change(&mut text);
        text
    }

    #[test]
    fn an_id_is_written_down_and_stays_what_it_is() {
        // Those in records would be nobody's if this changed.
        let id = RuleId::of(&text(|_| {}));
        assert_eq!(id.to_string(), "c9335ddfb1b19974");
        assert_eq!(RuleId::parse(&id.to_string()), Some(id));
        for odd in ["", "1", "000000000000000G", "+00000000000000a", "00000000000000AA", "00000000000000000"] {
            assert_eq!(RuleId::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_what_a_rule_says_is_in_its_id() {
        let id = RuleId::of(&text(|_| {}));
        for same in [
            text(|rule| rule.comment = Some("why".to_owned())),
            text(|rule| rule.ip = Some("10.1.2.3/8".to_owned())),
            text(|rule| rule.actions = ["push", "pull", "push"].map(str::to_owned).to_vec()),
        ] {
            assert_eq!(RuleId::of(&same), id, "{same:?}");
        }
        for other in [
            text(|rule| rule.account = None),
            text(|rule| rule.name = Some("alice".to_owned())),
            text(|rule| (rule.account, rule.name) = (None, Some("alice".to_owned()))),
            text(|rule| rule.ip = Some("10.0.0.0/9".to_owned())),
            text(|rule| rule.actions = Vec::new()),
            text(|rule| rule.actions = vec!["*".to_owned()]),
            text(|rule| _ = rule.labels.insert("team".to_owned(), "web".to_owned())),
            text(|rule| rule.not_before = Some(OffsetDateTime::UNIX_EPOCH)),
            text(|rule| rule.not_after = Some(OffsetDateTime::UNIX_EPOCH)),
        ] {
            assert_ne!(RuleId::of(&other), id, "{other:?}");
        }
    }
}
