//! What loads but is probably not meant: rules that never decide, patterns wider or narrower than they look, weak hashes.

mod actions;
mod covering;
mod hosts;
mod known;
mod reference;

use std::borrow::Borrow;
use std::time::Duration;

use policy::analysis::shadowed;
use policy::lint::{across_slashes, lint_impossible};
use policy::pattern::{Bindings, Field, FieldValues, LabelValues, Pattern, Placeholder};
use policy::rule::{Grants, Rule};
use policy::scope::Action;
use settings::Problem;
use time::OffsetDateTime;

pub(crate) use actions::meant as meant_action;
pub use reference::Doors;

use super::rules::Rules;
use crate::backend::Facts;
use crate::clock;
use crate::directory;
use actions::lint_actions;
use covering::{Covering, covers};
use hosts::Hosts;
use known::Known;
use reference::{ByDigest, grants_pull, lint_reference};

/// What else the file says, which rules are held against.
pub struct Surroundings<'c> {
    /// What each backend tells, with its section.
    pub facts: Vec<(&'static str, Facts<'c>)>,
    /// Who is in the directory, if there is one.
    pub directory: Option<&'c directory::Settings>,
    /// The audiences of tokens.
    pub services: &'c [String],
    /// The host names of the gateway's upstreams.
    pub hosts: Vec<&'c str>,
    /// The doors that see tags and digests.
    pub doors: Doors,
    /// The actions of what is protected besides registries.
    pub own_actions: Vec<&'c Action>,
}

/// So long rules are looked for that others above hide, where that does not show in their texts.
const SHADOWS: Duration = Duration::from_secs(1);

/// What is probably not meant in the rules of the file.
pub fn lint_listed(Rules { acl, places }: &Rules, surroundings: Surroundings<'_>) -> Vec<Problem> {
    let mut found = Vec::new();
    let rules = acl.rules();
    let mut each = Each::new(surroundings, rules);
    let mut anonymous = each.known.anonymous;
    let mut covering = Covering::from_rules(rules);
    let by_digest = ByDigest::from_rules(rules);
    let began = clock::now();
    let still = || clock::now().duration_since(began) < SHADOWS;
    let shadowed = shadowed(acl, OffsetDateTime::UNIX_EPOCH, &still);
    for (index, (rule, place)) in rules.iter().zip(places).enumerate() {
        let mut warn = |field: &str, message: String| {
            found.push(Problem::new(place.clone(), format!("acl[{index}]{field}"), message));
        };
        let earlier = covering
            .candidates(index, rule)
            .into_iter()
            .find(|earlier| rules.get(*earlier).is_some_and(|earlier| covers(earlier, rule)));
        if let Some(earlier) = earlier {
            warn("", format!("never decides: acl[{earlier}] matches everything it does; move it up, or remove it"));
        } else if let Some(above) = shadowed.get(&index) {
            let above: Vec<String> = above.iter().map(|above| format!("acl[{above}]")).collect();
            let (names, s) = (above.join(" and "), if above.len() == 1 { "es" } else { "" });
            warn("", format!("never decides: {names} match{s} everything it does; move it up, or remove it"));
        }
        if rule.matches_everything() && index + 1 < rules.len() {
            warn(
                ".match",
                "an empty match is for everybody and everything, so no rule below it is ever looked at".to_owned(),
            );
        }
        if anonymous && lets_anonymous_write(rule) {
            warn(
                "",
                "clients without an account may push or delete; add account: \"/.+/\" to the match if they should not"
                    .to_owned(),
            );
        }
        // Below a rule that takes all that anonymous clients ask for, nothing is theirs any more.
        anonymous &= !takes_all_of_anonymous(rule);
        each.lint(rule, &mut warn);
        if rule.tag().is_some() && grants_pull(rule) && !by_digest.lets_pull(rule) {
            let message = "lets nobody pull an image: what a tag stands for is fetched by digest, which no rule allows for \
                           this account; add one with reference: digest";
            warn(".match.tag", message.to_owned());
        }
    }
    found
}

/// What is probably not meant in rules that are kept elsewhere, each by itself: the rule's index, the field, and the
/// message. What they say together with others is not looked at.
pub fn lint_each<R: Borrow<Rule>>(rules: &[R], surroundings: Surroundings<'_>) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut each = Each::new(surroundings, rules.iter().map(Borrow::borrow));
    for (index, rule) in rules.iter().enumerate() {
        each.lint(rule.borrow(), &mut |field: &str, message| {
            found.push((index, field.trim_start_matches('.').to_owned(), message));
        });
    }
    found
}

/// What is looked at in one rule after the other.
struct Each<'c> {
    known: Known<'c>,
    hosts: Hosts,
    doors: Doors,
    /// Whether one of the rules is for all names with one slash.
    names_with_slashes: bool,
    own_actions: Vec<&'c Action>,
}

impl<'c> Each<'c> {
    fn new<'r>(surroundings: Surroundings<'c>, rules: impl IntoIterator<Item = &'r Rule> + Clone) -> Each<'c> {
        let mut all = rules.clone().into_iter();
        let names_with_slashes =
            all.any(|rule| rule.pattern(Field::Name).is_some_and(|pattern| pattern.text() == "*/*"));
        let Surroundings { facts, directory, services, hosts, doors, own_actions } = surroundings;
        Each {
            known: Known::new(facts, directory, services),
            hosts: Hosts::new(services, hosts, rules),
            doors,
            names_with_slashes,
            own_actions,
        }
    }

    fn lint(&mut self, rule: &Rule, warn: &mut impl FnMut(&str, String)) {
        lint_patterns(rule, self.names_with_slashes, &|label| self.known.has_label(label), warn);
        lint_impossible(rule, warn);
        self.hosts.lint(rule, warn);
        self.known.lint(rule, warn);
        if rule.needs_reference() {
            lint_reference(rule, self.doors, warn);
        }
        if let Some(section) = self.known.unchecked
            && looks_at_the_account(rule, &self.known)
        {
            let message = format!(
                "with account: unchecked in {section}, whoever has a password there matches this under any name that no \
                 other section knows; let rules look at labels only"
            );
            warn("", message);
        }
        lint_actions(rule, &self.own_actions, warn);
    }
}

/// `names_with_slashes`: whether the rules have a `*/*` of their own, beside which `*` means what it says.
fn lint_patterns(
    rule: &Rule,
    names_with_slashes: bool,
    has_label: &impl Fn(&str) -> bool,
    warn: &mut impl FnMut(&str, String),
) {
    if let Some(account) = rule.pattern(Field::Account)
        && account.is_regex()
        && !account.is_anchored()
    {
        let text = account.text();
        warn(
            ".match.account",
            format!("{text} also matches inside longer names; write /^(?:…)$/ around it if it should not"),
        );
    }
    if let Some(name) = rule.pattern(Field::Name)
        && !name.is_regex()
        && ((name.text() == "*" && !names_with_slashes) || name.text().contains("**"))
    {
        let message = match name.text() {
            "*" => "\"*\" does not cross a slash, so it matches no name with a slash; leave name out for every name"
                .to_owned(),
            text => format!(
                "\"*\" does not cross a slash, and \"**\" is the same as \"*\", so \"{text}\" does not match names with more slashes; leave name out for every name, or write the regular expression {}",
                across_slashes(text)
            ),
        };
        warn(".match.name", message);
    }
    let fields = [
        (Field::Account, ".match.account"),
        (Field::Type, ".match.type"),
        (Field::Name, ".match.name"),
        (Field::Service, ".match.service"),
    ];
    for (field, path) in fields {
        if let Some(pattern) = rule.pattern(field) {
            lint_placeholders(pattern, rule, has_label, path, warn);
        }
    }
    if let Some(tag) = rule.tag() {
        lint_placeholders(tag, rule, has_label, ".match.tag", warn);
    }
    for (label, pattern) in rule.label_patterns() {
        lint_placeholders(pattern, rule, has_label, &format!(".match.labels.{label}"), warn);
        if !has_label(label) {
            warn(
                &format!(".match.labels.{label}"),
                format!("no user has the label \"{label}\", so the rule never matches"),
            );
        }
    }
}

fn lint_placeholders(
    pattern: &Pattern,
    rule: &Rule,
    has_label: &impl Fn(&str) -> bool,
    path: &str,
    warn: &mut impl FnMut(&str, String),
) {
    for unknown in pattern.unknown_placeholders() {
        warn(
            path,
            format!(
                "{unknown} is not a placeholder and stays as it is; there are ${{account}}, ${{type}}, ${{name}}, ${{service}}, ${{account:1}} and ${{labels:team}}"
            ),
        );
    }
    for placeholder in pattern.placeholders() {
        match placeholder {
            Placeholder::Value(_) => {}
            Placeholder::Capture(field, group) => {
                let groups = rule.pattern(*field).and_then(Pattern::groups);
                let why = match groups {
                    None => format!("{field} is not a regular expression in this rule"),
                    Some(0) => format!("the expression of {field} has no group (…)"),
                    Some(groups) if groups < *group => {
                        format!("the expression of {field} has {groups} group{}", if groups == 1 { "" } else { "s" })
                    }
                    Some(_) => continue,
                };
                warn(path, format!("{placeholder} stands for nothing: {why}"));
            }
            Placeholder::Label(label) => {
                if !has_label(label) {
                    warn(path, format!("no user has the label \"{label}\", so {placeholder} matches nothing"));
                }
            }
        }
    }
}

/// Whether it matters to the rule which account it is. One that names an account of the file is safe from others: nobody
/// else can log in under that name.
fn looks_at_the_account(rule: &Rule, known: &Known<'_>) -> bool {
    let means_anybody =
        |pattern: &Pattern| matches!(pattern.text(), "/.+/" | "/^.+$/" | "/.*/" | "/^.*$/" | "*" | "?*");
    let condition = rule.pattern(Field::Account).is_some_and(|pattern| {
        !means_anybody(pattern) && !pattern.literal().is_some_and(|account| known.has_account(account))
    });
    let mentioned = |pattern: &Pattern| {
        pattern.placeholders().any(|placeholder| match placeholder {
            Placeholder::Value(field) | Placeholder::Capture(field, _) => *field == Field::Account,
            Placeholder::Label(_) => false,
        })
    };
    let fields = [Field::Type, Field::Name, Field::Service];
    let patterns = fields.iter().filter_map(|field| rule.pattern(*field));
    condition || patterns.chain(rule.label_patterns().iter().map(|(_, pattern)| pattern)).any(mentioned)
}

/// Whether a client without an account, and without labels, could be let push or delete by this rule.
fn lets_anonymous_write(rule: &Rule) -> bool {
    let labels = LabelValues::new();
    let values = FieldValues { account: "", kind: "repository", name: "app", service: "" };
    let bindings = Bindings::new(values, &labels);
    let agrees = |field: Field, subject: &str| {
        rule.pattern(field).is_none_or(|pattern| pattern.matches(subject, &bindings).unwrap_or(true))
    };
    let writes = match rule.grants() {
        Grants::All => true,
        Grants::Listed(actions) => {
            [Action::Push, Action::Delete, Action::All].iter().any(|action| actions.contains(action))
        }
    };
    let out_of_reach = rule
        .pattern(Field::Name)
        .is_some_and(|pattern| pattern.placeholders().any(|placeholder| matches!(placeholder, Placeholder::Label(_))));
    writes
        && rule.network().is_none()
        && rule.label_patterns().is_empty()
        && !out_of_reach
        && agrees(Field::Account, "")
        && agrees(Field::Type, "repository")
}

/// Whether everything that clients without an account ask for ends at this rule.
fn takes_all_of_anonymous(rule: &Rule) -> bool {
    let only_account = [Field::Type, Field::Name, Field::Service].iter().all(|field| rule.pattern(*field).is_none());
    rule.pattern(Field::Account).and_then(Pattern::literal) == Some("")
        && only_account
        && rule.network().is_none()
        && !rule.needs_reference()
        && rule.label_patterns().is_empty()
        && rule.window() == (None, None)
}
