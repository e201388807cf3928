//! One of each kind of address, moment, type, service, tag and account that rules tell apart.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::ops::ControlFlow;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use time::OffsetDateTime;

use crate::pattern::{Bindings, Field, FieldValues, LabelValues, Pattern, Placeholder};
use crate::regular::{Grammar, Unfinished, walk};
use crate::rule::Rule;
use crate::scope::OURS;

/// A digest stands for all others: rules do not look into it.
pub(super) const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

/// The types that registries ask about.
const REGISTRY_TYPES: [&str; 2] = ["repository", "registry"];

/// Why nobody can tell what is decided for other types than those that were tried.
pub(super) const OPEN_TYPES: &str = "types that were not tried may be told apart by these rules";
/// The same of services.
pub(super) const OPEN_SERVICES: &str =
    "token.services is open, and services that were not tried may be told apart by these rules";

/// A set of texts that is told from others by the patterns that match them.
pub(super) struct Kinds {
    /// One text of each kind, or a few.
    pub(super) texts: Vec<String>,
    /// Whether there is a text of every kind.
    pub(super) complete: bool,
}

/// One text of each kind that the patterns tell apart, those that are given first where they will do. Texts that are set apart stand
/// for no others, and no others for them. `each` is how many of a kind are wanted at most. Patterns with placeholders are not looked at,
/// and make it incomplete.
pub(super) fn kinds(
    grammar: Grammar,
    patterns: &[&Pattern],
    given: &[&str],
    apart: &BTreeSet<&str>,
    each: usize,
    still: &dyn Fn() -> bool,
) -> Kinds {
    let labels = LabelValues::new();
    let bindings = Bindings::new(FieldValues::default(), &labels);
    let plain: BTreeMap<&str, &Pattern> = patterns
        .iter()
        .filter(|pattern| pattern.placeholders().next().is_none())
        .map(|pattern| (pattern.text(), *pattern))
        .collect();
    let mut complete = patterns.iter().all(|pattern| pattern.placeholders().next().is_none());
    let plain: Vec<&Pattern> = plain.into_values().collect();
    let mut sources: Vec<String> = plain
        .iter()
        .map(|pattern| {
            let language = pattern.language(&bindings, &|_| false);
            complete &= language.is_exact();
            language.source().to_owned()
        })
        .collect();
    if !apart.is_empty() {
        let texts: Vec<String> = apart.iter().map(|text| regex_syntax::escape(text)).collect();
        sources.push(texts.join("|"));
    }
    let mut found: BTreeMap<Vec<usize>, Vec<String>> = BTreeMap::new();
    let mut order: Vec<String> = Vec::new();
    let mut add = |matched: Vec<usize>, text: &dyn Fn() -> String| {
        let known = found.entry(matched).or_default();
        if known.len() < each {
            let text = text();
            if !known.contains(&text) {
                order.push(text.clone());
                known.push(text);
            }
        }
    };
    for text in given {
        let does = |pattern: &&Pattern| pattern.matches(text, &bindings).unwrap_or(false);
        let matched = (0..plain.len()).filter(|index| plain.get(*index).is_some_and(does));
        add(matched.chain(apart.contains(text).then_some(plain.len())).collect(), &|| (*text).to_owned());
    }
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let ended = walk(grammar, None, &sources, still, &mut |met| {
        add(met.matched.to_vec(), &|| met.text());
        ControlFlow::Continue(())
    });
    match ended {
        Ok(()) => {}
        Err(Unfinished::Time | Unfinished::Size) => complete = false,
    }
    Kinds { texts: order, complete }
}

/// One type of each kind that rules tell apart: those that people know best first, and last Dockwarden's own, whose names are called
/// otherwise than those of all others.
pub(super) fn types(rules: &[&Rule], still: &dyn Fn() -> bool) -> Kinds {
    let patterns: Vec<&Pattern> = rules.iter().filter_map(|rule| rule.pattern(Field::Type)).collect();
    let Kinds { mut texts, complete } =
        kinds(Grammar::Type, &patterns, &REGISTRY_TYPES, &BTreeSet::from([OURS]), 1, still);
    texts.retain(|kind| kind != OURS);
    texts.push(OURS.to_owned());
    Kinds { texts, complete }
}

/// All patterns of a rule.
pub(super) fn patterns_of(rule: &Rule) -> impl Iterator<Item = &Pattern> {
    let fields = Field::ALL.into_iter().filter_map(|field| rule.pattern(field));
    fields.chain(rule.tag()).chain(rule.label_patterns().iter().map(|(_, pattern)| pattern))
}

/// The labels that a rule looks at: those that it asks for, and those that fill its patterns.
pub(super) fn labels_of(rule: &Rule) -> impl Iterator<Item = &str> {
    let asked = rule.label_patterns().iter().map(|(label, _)| label.as_str());
    asked.chain(patterns_of(rule).flat_map(Pattern::placeholders).filter_map(|placeholder| match placeholder {
        Placeholder::Label(label) => Some(label.as_str()),
        Placeholder::Value(_) | Placeholder::Capture(..) => None,
    }))
}

fn mentions(rule: &Rule, field: Field) -> bool {
    patterns_of(rule).any(|pattern| pattern.mentions(field))
}

/// Whether one text of each kind does not stand for all others of that field.
pub(super) fn is_open_in(rule: &Rule, field: Field) -> bool {
    mentions(rule, field) || rule.pattern(field).is_some_and(|pattern| pattern.placeholders().next().is_some())
}

/// One address of each kind that the networks of these rules tell apart, an unknown one first.
pub(super) fn addresses<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Vec<Option<IpAddr>> {
    let networks: HashSet<IpNet> = rules.into_iter().filter_map(|rule| rule.network().copied()).collect();
    let mut found = vec![None];
    if networks.is_empty() {
        return found;
    }
    let everywhere = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    // Addresses of IPv4 that are written as IPv6 are those of IPv4.
    let mapped = "::ffff:0:0/96".parse().ok();
    let wide: BTreeSet<IpNet> = networks.iter().copied().chain(everywhere).collect();
    for network in &wide {
        let inside: Vec<IpNet> =
            wide.iter().copied().chain(mapped).filter(|other| other != network && network.contains(other)).collect();
        let starts =
            std::iter::once(network.network()).chain(inside.iter().filter_map(|inner| after(inner.broadcast())));
        let left = |address: &IpAddr| network.contains(address) && !inside.iter().any(|inner| inner.contains(address));
        let starts: Vec<IpAddr> = starts.filter(left).collect();
        // The first address of a network is rarely anybody's.
        let one = starts.iter().filter_map(|start| after(*start)).find(left).or_else(|| starts.first().copied());
        found.extend(one.map(Some));
    }
    found
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => Some(IpAddr::V4(address.to_bits().checked_add(1)?.into())),
        IpAddr::V6(address) => Some(IpAddr::V6(address.to_bits().checked_add(1)?.into())),
    }
}

/// One moment of each time that the windows of these rules tell apart, from `from` on.
pub(super) fn moments<'r>(rules: impl IntoIterator<Item = &'r Rule>, from: OffsetDateTime) -> Vec<OffsetDateTime> {
    let windows = rules.into_iter().flat_map(|rule| {
        let (begins, ends) = rule.window();
        [begins, ends]
    });
    let later: BTreeSet<OffsetDateTime> = windows.flatten().filter(|moment| *moment > from).collect();
    std::iter::once(from).chain(later).collect()
}
