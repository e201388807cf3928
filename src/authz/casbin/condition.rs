//! What a matcher asks with the columns of one line of the policy filled in: nothing in it can fail any more but for what is
//! asked.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use policy::Budget;
use policy::pattern::{Bindings, FieldValues, LabelValues, Pattern, TooComplex};

use super::expression::Comparison;
use super::roles::Roles;

/// The place of the client's address in what is asked.
pub(super) const ADDRESS: usize = 4;
/// The place of the account's labels in what is asked.
pub(super) const LABELS: usize = 6;
/// How many values are asked.
pub(super) const ASKED: usize = 7;
/// So many bytes of two texts are compared in one step.
const COMPARED_A_STEP: usize = 64;

/// What a line asks.
#[derive(Debug)]
pub(super) enum Condition {
    Always(bool),
    /// It cannot be decided, whatever is asked.
    Undecidable,
    Not(Box<Condition>),
    Both(Box<Condition>, Box<Condition>),
    Either(Box<Condition>, Box<Condition>),
    /// Both hold, or neither.
    Agree(Box<Condition>, Box<Condition>),
    Compared(Text, Order, Text),
    Within(Text, Vec<Text>),
    Fits(Text, Box<Pattern>),
    /// `keyMatch4`: what stands in braces of one name is the same everywhere. The name of each group, in order.
    FitsWithNames(Text, Box<Pattern>, Vec<String>),
    KeyMatch(Text, Text),
    KeyMatch5(Text, Text),
    Network(Text, IpNet),
    Labels(BTreeMap<String, Vec<String>>),
    Linked(Box<Link>),
}

/// Whether one text has another as a role.
#[derive(Debug)]
pub(super) struct Link {
    /// The place of the role definition.
    pub(super) definition: usize,
    pub(super) roles: Arc<Roles>,
    pub(super) name: Text,
    pub(super) role: Text,
    pub(super) domain: Text,
}

/// How two texts are compared, byte by byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Same,
    Less,
    More,
}

/// A text that a condition looks at.
#[derive(Debug)]
pub(super) enum Text {
    Fixed(String),
    Asked(usize),
    Joined(Box<Text>, Box<Text>),
    /// What stands in place of the pattern's `*`.
    KeyGet(Box<Text>, Box<Text>),
    /// What a group catches; nothing where there is no such group.
    Caught(Box<Text>, Box<Pattern>, Option<usize>),
    Undecidable,
}

/// What is asked about one action.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// In the order of docker_auth: account, type, name, service, address, action, labels.
    pub(super) values: [Cow<'a, str>; ASKED],
    pub(super) address: Option<IpAddr>,
    pub(super) labels: &'a BTreeMap<&'a str, Vec<&'a str>>,
}

/// Why a condition says neither yes nor no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// It asks something that makes no sense about this client, such as which network no address is in.
    Undecidable,
    /// It would take too much work.
    TooComplex,
}

impl From<TooComplex> for Halt {
    fn from(_: TooComplex) -> Halt {
        Halt::TooComplex
    }
}

/// One decision: what is asked, what work is left for it, and the roles that were looked up for it.
pub(super) struct Trial<'a, 'b> {
    pub(super) asked: &'a Asked<'a>,
    pub(super) budget: &'b mut Budget,
    /// By definition, name and domain.
    pub(super) reached: HashMap<(usize, String, String), HashSet<&'a str>>,
}

/// Patterns have no placeholders here.
fn no_bindings(labels: &LabelValues) -> Bindings<'_> {
    Bindings::new(FieldValues { account: "", kind: "", name: "", service: "" }, labels)
}

impl Condition {
    pub(super) fn not(condition: Condition) -> Condition {
        match condition {
            Condition::Always(is) => Condition::Always(!is),
            other => Condition::Not(Box::new(other)),
        }
    }

    pub(super) fn both(left: Condition, right: Condition) -> Condition {
        match left {
            Condition::Always(true) => right,
            Condition::Always(false) => Condition::Always(false),
            other => Condition::Both(Box::new(other), Box::new(right)),
        }
    }

    pub(super) fn either(left: Condition, right: Condition) -> Condition {
        match left {
            Condition::Always(true) => Condition::Always(true),
            Condition::Always(false) => right,
            other => Condition::Either(Box::new(other), Box::new(right)),
        }
    }

    pub(super) fn compared(left: Text, order: Order, right: Text) -> Condition {
        match (left, right) {
            (Text::Fixed(left), Text::Fixed(right)) => Condition::Always(order.holds(&left, &right)),
            (left, right) => Condition::Compared(left, order, right),
        }
    }

    /// Whether it holds. What is not needed to know that is not looked at, from left to right.
    pub(super) fn holds<'a>(&'a self, trial: &mut Trial<'a, '_>) -> Result<bool, Halt> {
        trial.budget.take(1)?;
        match self {
            Condition::Always(is) => Ok(*is),
            Condition::Undecidable => Err(Halt::Undecidable),
            Condition::Not(condition) => Ok(!condition.holds(trial)?),
            Condition::Both(left, right) => Ok(left.holds(trial)? && right.holds(trial)?),
            Condition::Either(left, right) => Ok(left.holds(trial)? || right.holds(trial)?),
            Condition::Agree(left, right) => Ok(left.holds(trial)? == right.holds(trial)?),
            Condition::Compared(left, order, right) => {
                let (left, right) = (left.value(trial)?, right.value(trial)?);
                trial.budget.take(left.len().min(right.len()) / COMPARED_A_STEP)?;
                Ok(order.holds(&left, &right))
            }
            Condition::Within(text, listed) => {
                let text = text.value(trial)?;
                // All of the list is looked at, as Casbin does: a part that makes no sense counts wherever it stands.
                let mut is_there = false;
                for one in listed {
                    trial.budget.take(1)?;
                    is_there |= one.value(trial)? == text;
                }
                Ok(is_there)
            }
            Condition::Fits(text, pattern) => {
                let text = text.value(trial)?;
                trial.budget.take(text.len())?;
                Ok(pattern.matches_within(&text, &no_bindings(&LabelValues::new()), trial.budget)?)
            }
            Condition::FitsWithNames(text, pattern, names) => {
                let text = text.value(trial)?;
                let labels = LabelValues::new();
                let mut caught: HashMap<&str, &str> = HashMap::new();
                let bindings = no_bindings(&labels);
                if !pattern.matches_within(&text, &bindings, trial.budget)? {
                    return Ok(false);
                }
                for (name, group) in names.iter().zip(1..) {
                    trial.budget.take(text.len())?;
                    let value = pattern.capture_within(&text, group, &bindings, trial.budget)?.unwrap_or_default();
                    if *caught.entry(name).or_insert(value) != value {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Condition::KeyMatch(text, key) => {
                let (text, key) = (text.value(trial)?, key.value(trial)?);
                Ok(key.split_once('*').map_or(text == key, |(before, _)| text.starts_with(before)))
            }
            Condition::KeyMatch5(text, key) => {
                let (text, key) = (text.value(trial)?, key.value(trial)?);
                Ok(text.split_once('?').map_or(&*text, |(before, _)| before) == key)
            }
            Condition::Network(text, network) => {
                let address = match text {
                    Text::Asked(ADDRESS) => trial.asked.address,
                    text => text.value(trial)?.parse().ok(),
                };
                Ok(network.contains(&address.ok_or(Halt::Undecidable)?.to_canonical()))
            }
            Condition::Labels(wanted) => {
                trial.budget.take(wanted.values().map(Vec::len).sum())?;
                let has = |label: &str, value: &String| {
                    trial.asked.labels.get(label).is_some_and(|values| values.contains(&value.as_str()))
                };
                Ok(wanted.iter().all(|(label, values)| values.iter().all(|value| has(label, value))))
            }
            Condition::Linked(link) => link.holds(trial),
        }
    }
}

impl Link {
    fn holds<'a>(&'a self, trial: &mut Trial<'a, '_>) -> Result<bool, Halt> {
        let (name, role) = (self.name.value(trial)?, self.role.value(trial)?);
        let domain = self.domain.value(trial)?;
        if name == role {
            return Ok(true);
        }
        let key = (self.definition, name.into_owned(), domain.into_owned());
        if let Some(reached) = trial.reached.get(&key) {
            return Ok(reached.contains(&*role));
        }
        let reached = self.roles.reached(&key.1, &key.2, trial.budget)?;
        let is_reached = reached.contains(&*role);
        trial.reached.insert(key, reached);
        Ok(is_reached)
    }
}

impl Order {
    fn holds(self, left: &str, right: &str) -> bool {
        let wanted = match self {
            Order::Same => return left == right,
            Order::Less => Ordering::Less,
            Order::More => Ordering::Greater,
        };
        left.cmp(right) == wanted
    }

    /// The comparison without a negation, and whether it is negated.
    pub(super) fn of(comparison: Comparison) -> Option<(Order, bool)> {
        match comparison {
            Comparison::Same => Some((Order::Same, false)),
            Comparison::Differs => Some((Order::Same, true)),
            Comparison::Less => Some((Order::Less, false)),
            Comparison::MoreOrSame => Some((Order::Less, true)),
            Comparison::More => Some((Order::More, false)),
            Comparison::LessOrSame => Some((Order::More, true)),
            Comparison::Fits | Comparison::FitsNot => None,
        }
    }
}

impl Text {
    fn value<'a>(&'a self, trial: &mut Trial<'a, '_>) -> Result<Cow<'a, str>, Halt> {
        match self {
            Text::Fixed(text) => Ok(Cow::Borrowed(text)),
            Text::Asked(place) => {
                let asked: &'a Asked<'a> = trial.asked;
                asked.values.get(*place).map(|value| Cow::Borrowed(&**value)).ok_or(Halt::Undecidable)
            }
            Text::Joined(left, right) => {
                let joined = left.value(trial)?.into_owned() + &right.value(trial)?;
                trial.budget.take(joined.len() / COMPARED_A_STEP)?;
                Ok(Cow::Owned(joined))
            }
            Text::KeyGet(text, key) => {
                let (text, key) = (text.value(trial)?, key.value(trial)?);
                let caught = key.split_once('*').and_then(|(before, _)| text.strip_prefix(before)).unwrap_or_default();
                Ok(Cow::Owned(caught.to_owned()))
            }
            Text::Caught(text, pattern, group) => {
                let text = text.value(trial)?;
                trial.budget.take(text.len())?;
                let Some(group) = group else { return Ok(Cow::Borrowed("")) };
                let labels = LabelValues::new();
                let caught = pattern.capture_within(&text, *group, &no_bindings(&labels), trial.budget)?;
                Ok(Cow::Owned(caught.unwrap_or_default().to_owned()))
            }
            Text::Undecidable => Err(Halt::Undecidable),
        }
    }
}
