//! What loads but is probably not meant: rules that never decide, patterns wider or narrower than they look, weak hashes.

use std::collections::HashMap;

use super::index::Index;
use super::pattern::{Bindings, Field, LabelValues, Pattern, Placeholder, Values};
use super::rule::{Grants, ReferenceKind, Rule};
use crate::authn::users::Users;
use crate::config::problem::At;
use crate::config::{Challenge, Config, Problem};
use crate::scope::Action;

/// A cheaper hash than this can be guessed offline quickly.
pub(crate) const LEAST_COST: u32 = 10;
/// A dearer one than this takes more than a second.
const MOST_COST: u32 = 13;

/// Everything that is probably not meant, in the order of the file: what reading it brought up, and what users and
/// rules say together.
pub fn lint(config: &Config) -> Vec<Problem> {
    let mut found = config.warnings.clone();
    let (users, rules) = (&config.backends.users, &config.backends.acl.0);
    let mut anonymous = users.contains_key("");
    let covering = Covering::of(rules);
    let protected = config.forward_auth.iter().flat_map(|door| &door.paths);
    let own_actions: Vec<&Action> = protected.flat_map(|path| &path.scope.actions).collect();
    let is_asked_for = |action: &Action| own_actions.contains(&action);
    let has_label = |label: &str| {
        config.has_labels_from_elsewhere()
            || users.values().any(|user| user.labels.get(label).is_some_and(|values| !values.is_empty()))
    };
    for (index, At { place, value: rule }) in rules.iter().enumerate() {
        let mut warn = |field: &str, message: String| {
            found.push(Problem::new(place.clone(), format!("acl[{index}]{field}"), message));
        };
        let earlier = covering
            .candidates(index, rule)
            .into_iter()
            .find(|earlier| rules.get(*earlier).is_some_and(|earlier| covers(&earlier.value, rule)));
        if let Some(earlier) = earlier {
            warn("", format!("never decides: acl[{earlier}] matches everything it does; move it up, or remove it"));
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
        lint_patterns(rule, &has_label, &mut warn);
        if rule.needs_reference() {
            lint_reference(rule, Doors::of(config), &mut warn);
        }
        if rule.tag().is_some() && grants_pull(rule) && !rules.iter().any(|at| lets_pull_by_digest(&at.value, rule)) {
            let message = "lets nobody pull an image: what a tag stands for is fetched by digest, which no rule allows for \
                           this account; add one with reference: digest";
            warn(".match.tag", message.to_owned());
        }
        if config.takes_accounts_unchecked() && looks_at_the_account(rule, users) {
            let message = "with account: unchecked in http_auth, whoever has a password there matches this under any \
                           name that no other section knows; let rules look at labels only";
            warn("", message.to_owned());
        }
        match rule.grants() {
            Grants::Listed(actions) if actions.contains(&Action::All) => {
                warn(
                    ".actions",
                    "\"*\" beside other actions stands only for itself; write [\"*\"] for everything".to_owned(),
                );
            }
            Grants::Listed(actions) => {
                for action in actions.iter().filter(|action| !action.is_known() && !is_asked_for(action)) {
                    warn(
                        ".actions",
                        format!(
                            "\"{action}\" is no action of a registry (pull, push, delete), and none in forward_auth.paths"
                        ),
                    );
                }
            }
            Grants::All => {}
        }
    }
    lint_users(users, &mut found);
    found.sort_by(|one, other| one.place.cmp(&other.place));
    found
}

fn lint_patterns(rule: &Rule, has_label: &impl Fn(&str) -> bool, warn: &mut impl FnMut(&str, String)) {
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
        && (name.text() == "*" || name.text().contains("**"))
    {
        let text = name.text();
        warn(
            ".match.name",
            format!(
                "\"*\" does not cross a slash, and \"**\" is the same as \"*\", so \"{text}\" does not match names with more slashes; leave name out for every name, or write a regular expression (\"/^team\\\\/.*$/\")"
            ),
        );
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
                "{unknown} is no placeholder and stays as it is; there are ${{account}}, ${{type}}, ${{name}}, ${{service}}, ${{account:1}} and ${{labels:team}}"
            ),
        );
    }
    for placeholder in pattern.placeholders() {
        match placeholder {
            Placeholder::Value(_) => {}
            Placeholder::Capture(field, _) => {
                if !rule.pattern(*field).is_some_and(Pattern::is_regex) {
                    warn(
                        path,
                        format!("{placeholder} stands for nothing: {field} is no regular expression in this rule"),
                    );
                }
            }
            Placeholder::Label(label) => {
                if !has_label(label) {
                    warn(path, format!("no user has the label \"{label}\", so {placeholder} matches nothing"));
                }
            }
        }
    }
}

/// The doors that see which tag or digest is asked for.
#[derive(Clone, Copy)]
enum Doors {
    None,
    /// All of them tell clients to fetch a token first, and believe what it says.
    ByTokenOnly,
    ByPassword,
}

impl Doors {
    fn of(config: &Config) -> Doors {
        let of_forward_auth = config.forward_auth.as_ref().map(|section| &section.challenge);
        let of_gateway = config.gateway.as_ref().map(|section| &section.challenge);
        of_forward_auth.into_iter().chain(of_gateway).fold(Doors::None, |doors, challenge| match (doors, challenge) {
            (Doors::ByPassword, _) | (_, Challenge::Basic) => Doors::ByPassword,
            (Doors::None | Doors::ByTokenOnly, Challenge::Bearer { .. }) => Doors::ByTokenOnly,
        })
    }
}

/// The tag and the digest are in the path of a registry's request, and no token request has that path.
fn lint_reference(rule: &Rule, doors: Doors, warn: &mut impl FnMut(&str, String)) {
    let field = if rule.tag().is_some() { ".match.tag" } else { ".match.reference" };
    let refuses = match rule.grants() {
        Grants::Listed(actions) => actions.is_empty(),
        Grants::All => false,
    };
    let message = match doors {
        Doors::None => {
            "never matches: token requests name no tag and no digest, only forward_auth and gateway see them, and there is no \
             such section"
        }
        Doors::ByTokenOnly => {
            "never matches for clients that do as they are told: challenge: bearer makes them fetch a token, and token \
             requests name no tag and no digest; write challenge: basic"
        }
        Doors::ByPassword if refuses => {
            "refuses nothing to whoever fetches a token first: token requests name no tag and no digest; let a rule without \
             tag and reference refuse, and these allow"
        }
        Doors::ByPassword => return,
    };
    warn(field, message.to_owned());
}

fn grants_pull(rule: &Rule) -> bool {
    match rule.grants() {
        Grants::All => true,
        Grants::Listed(actions) => actions.contains(&Action::Pull) || actions.contains(&Action::All),
    }
}

/// Whether this rule may let those whom `tagged` lets pull a tag have what the tag stands for. Says yes where the texts of
/// the patterns do not tell.
fn lets_pull_by_digest(rule: &Rule, tagged: &Rule) -> bool {
    let may_cover = |field| match (rule.pattern(field), tagged.pattern(field)) {
        (Some(own), Some(other)) => {
            let plain = own.literal().is_some() && other.literal().is_some();
            !plain || own.text() == other.text()
        }
        (None, _) | (Some(_), None) => true,
    };
    rule.tag().is_none()
        && rule.reference() != Some(ReferenceKind::Tag)
        && grants_pull(rule)
        && may_cover(Field::Account)
        && may_cover(Field::Name)
}

fn lint_users(users: &Users, found: &mut Vec<Problem>) {
    let hashes = || users.iter().filter_map(|(account, user)| Some((account, user.password.as_ref()?)));
    let highest = hashes().map(|(_, hash)| hash.value.cost()).max().unwrap_or_default();
    // One warning for all of them: a list of a hundred hides what else is said.
    let mut warn =
        |is_meant: &dyn Fn(u32) -> bool, of_one: &dyn Fn(u32) -> String, of_many: &dyn Fn(usize) -> String| {
            let meant: Vec<_> = hashes().filter(|(_, hash)| is_meant(hash.value.cost())).collect();
            let Some((account, first)) = meant.iter().min_by_key(|(_, hash)| &hash.place) else { return };
            let (path, message) = match meant.len() {
                1 => (format!("users.{account}.password"), of_one(first.value.cost())),
                number => ("users".to_owned(), format!("{} (\"{account}\" has the first)", of_many(number))),
            };
            found.push(Problem::new(first.place.clone(), path, message));
        };
    let anew = format!("with: dockwarden hash-password --cost {LEAST_COST}");
    warn(
        &|cost| cost < LEAST_COST,
        &|cost| format!("the hash's cost of {cost} is weak; make a new one {anew}"),
        &|number| format!("{number} hashes of a cost below {LEAST_COST} are weak; make new ones {anew}"),
    );
    warn(
        &|cost| cost > MOST_COST,
        &|cost| format!("a cost of {cost} keeps a core busy for seconds at each login; 10 to 12 is usual"),
        &|number| {
            format!(
                "{number} hashes of a cost above {MOST_COST} keep a core busy for seconds at each login; 10 to 12 is usual"
            )
        },
    );
    let mixed = hashes().find(|(_, hash)| hash.value.cost() != highest).map(|(_, hash)| &hash.place);
    if let Some(place) = mixed {
        let message = "hashes of different cost take different time, which tells who exists; use one cost for all";
        found.push(Problem::new(place.clone(), "users", message));
    }
}

/// Whether it matters to the rule which account it is. One that names a static user is safe from others: nobody else
/// can log in under that name.
fn looks_at_the_account(rule: &Rule, users: &Users) -> bool {
    let means_anybody =
        |pattern: &Pattern| matches!(pattern.text(), "/.+/" | "/^.+$/" | "/.*/" | "/^.*$/" | "*" | "?*");
    let condition = rule.pattern(Field::Account).is_some_and(|pattern| {
        !means_anybody(pattern) && !pattern.literal().is_some_and(|account| users.contains_key(account))
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
    let values = Values { account: "", kind: "repository", name: "app", service: "" };
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

/// Which rules may cover which, so that of ten thousand rules only a few have to be compared with each other. A pattern
/// covers another that has the same text, or one that is a plain text which it matches.
struct Covering {
    index: Index,
    /// Rules by the field that the index finds them by, and the text of its pattern.
    same: HashMap<(Field, String), Vec<usize>>,
}

impl Covering {
    fn of(rules: &[At<Rule>]) -> Covering {
        let index = Index::of(rules.iter().map(|at| &at.value));
        let mut same: HashMap<(Field, String), Vec<usize>> = HashMap::new();
        for (number, At { value: rule, .. }) in rules.iter().enumerate() {
            let Some(field) = index.found_by(number) else { continue };
            let Some(pattern) = rule.pattern(field) else { continue };
            same.entry((field, pattern.text().to_owned())).or_default().push(number);
        }
        Covering { index, same }
    }

    /// The rules above this one that may cover it, in order.
    fn candidates(&self, number: usize, rule: &Rule) -> Vec<usize> {
        let plain = |field| rule.pattern(field).and_then(Pattern::literal);
        let mut candidates = self.index.candidates(plain(Field::Account), plain(Field::Name));
        for field in [Field::Account, Field::Name] {
            let Some(pattern) = rule.pattern(field) else { continue };
            candidates.extend(self.same.get(&(field, pattern.text().to_owned())).into_iter().flatten());
        }
        candidates.retain(|other| *other < number);
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }
}

/// Whether `one` matches everything that `other` does. Says no where that cannot be told from the texts.
fn covers(one: &Rule, other: &Rule) -> bool {
    let fields = [Field::Account, Field::Type, Field::Name, Field::Service];
    fields.iter().all(|&field| pattern_covers(one.pattern(field), other.pattern(field), one, other))
        && match (one.network(), other.network()) {
            (None, _) => true,
            (Some(wide), Some(narrow)) => wide.contains(narrow),
            (Some(_), None) => false,
        }
        && one.reference().is_none_or(|kind| other.reference() == Some(kind))
        && (one.tag().is_none() || pattern_covers(one.tag(), other.tag(), one, other))
        && one.label_patterns().iter().all(|(label, pattern)| {
            let own = other.label_patterns().iter().find(|(own, _)| own == label).map(|(_, pattern)| pattern);
            own.is_some_and(|own| pattern_covers(Some(pattern), Some(own), one, other))
        })
        && one.window() == (None, None)
}

fn pattern_covers(one: Option<&Pattern>, other: Option<&Pattern>, one_rule: &Rule, other_rule: &Rule) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return one.is_none() };
    if one.text() == other.text() {
        // The same text means the same, unless it speaks of groups of different expressions.
        return one.placeholders().all(|placeholder| match placeholder {
            Placeholder::Capture(field, _) => {
                one_rule.pattern(*field).map(Pattern::text) == other_rule.pattern(*field).map(Pattern::text)
            }
            Placeholder::Value(_) | Placeholder::Label(_) => true,
        });
    }
    if one.placeholders().next().is_some() || other.placeholders().next().is_some() {
        return false;
    }
    let labels = LabelValues::new();
    let bindings = Bindings::new(Values { account: "", kind: "", name: "", service: "" }, &labels);
    other.literal().is_some_and(|text| one.matches(text, &bindings).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::authz::rule::RuleText;
    use crate::config::problem::Place;

    #[test]
    fn no_rule_that_covers_another_is_overlooked() {
        let patterns = [
            None,
            Some("alice"),
            Some("alice-bot"),
            Some("*"),
            Some("alice*"),
            Some("?lice"),
            Some("/^alice/"),
            Some("/lic/"),
            Some("/^(alice|bobby)$/"),
            Some("/.+/"),
            Some("${labels:team}/alice"),
            Some("${account:1}"),
        ];
        let rule = |(account, name): (Option<&str>, Option<&str>)| {
            let text =
                RuleText { account: account.map(str::to_owned), name: name.map(str::to_owned), ..RuleText::default() };
            At { place: Place::Line(1), value: Rule::compile(&text).unwrap() }
        };
        let pairs = patterns.iter().flat_map(|account| patterns.iter().map(|name| (*account, *name)));
        let rules: Vec<At<Rule>> = pairs.clone().chain(pairs).map(rule).collect();
        let covering = Covering::of(&rules);
        let mut covered = 0;
        for (number, later) in rules.iter().enumerate() {
            let candidates = covering.candidates(number, &later.value);
            for (other, earlier) in rules.iter().enumerate().take(number) {
                if covers(&earlier.value, &later.value) {
                    covered += 1;
                    assert!(candidates.contains(&other), "acl[{other}] covers acl[{number}]");
                }
            }
        }
        assert!(covered > 1000, "{covered}");
    }
}
