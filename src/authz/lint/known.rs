//! What a rule names and the file lacks: accounts, values of labels, services.

use std::collections::{BTreeSet, HashMap, HashSet};

use policy::lint::{each_or, is_mistaken, pieces};
use policy::pattern::{Field, LabelValue, LabelValues, Pattern};
use policy::rule::{Grants, Rule};
use policy::scope::{OUR_SERVICE, OURS};
use settings::spelling::nearest;

use crate::backend::{Facts, Names};
use crate::directory::entry::is_service;
use crate::directory::{self, Label};

/// So many times something similar is looked for; what is said without it is as true.
const MOST_GUESSES: usize = 50;
/// Among more than these nothing similar is looked for.
const MOST_COMPARED: usize = 1000;
/// So many services are held against a pattern, and named in a message.
const MOST_SERVICES: usize = 20;

/// Whether the rule only refuses.
pub(super) fn is_refusal(rule: &Rule) -> bool {
    match rule.grants() {
        Grants::Listed(actions) => actions.is_empty(),
        Grants::All => false,
    }
}

/// What the file knows, and whether anybody else knows more.
pub(super) struct Known<'c> {
    accounts: BTreeSet<&'c str>,
    /// The directory's users, who come in by another section, or not at all.
    members: BTreeSet<&'c str>,
    /// The values that users have, by label.
    labels: HashMap<&'c str, BTreeSet<&'c str>>,
    pub(super) anonymous: bool,
    /// Whether accounts and their labels can come from elsewhere too.
    elsewhere: bool,
    /// Whether the records may have services that the file does not.
    services_elsewhere: bool,
    /// Whether the directory gives labels, whose values follow from much besides what users have.
    directory_labels: bool,
    /// The section where nobody makes sure whose name a login has.
    pub(super) unchecked: Option<&'static str>,
    services: &'c [String],
    /// What was said already: a thousand rules may name the same account.
    said: HashSet<(String, String)>,
    guesses: usize,
}

impl<'c> Known<'c> {
    pub(super) fn new(
        facts: Vec<(&'static str, Facts<'c>)>,
        directory: Option<&'c directory::Settings>,
        services: &'c [String],
    ) -> Known<'c> {
        let mut known = Known {
            accounts: BTreeSet::new(),
            members: BTreeSet::new(),
            labels: HashMap::new(),
            anonymous: false,
            elsewhere: false,
            services_elsewhere: directory.is_some_and(|directory| directory.store.is_some()),
            directory_labels: directory.is_some(),
            unchecked: None,
            services,
            said: HashSet::new(),
            guesses: 0,
        };
        for (section, facts) in facts {
            match facts {
                Facts::Accounts(accounts) => accounts.into_iter().for_each(|(name, labels)| known.add(name, labels)),
                Facts::AccountsElsewhere(_) | Facts::LoginsElsewhere(Names::Checked) => known.elsewhere = true,
                Facts::LoginsElsewhere(Names::Unchecked) => {
                    known.elsewhere = true;
                    known.unchecked = Some(section);
                }
                Facts::Rules | Facts::RulesElsewhere | Facts::Decisions => {}
            }
        }
        if let Some(directory) = directory {
            // They log in by themselves.
            known.accounts.extend(directory.entries.services.iter().map(|service| service.name.as_str()));
            known.members.extend(directory.entries.users.iter().map(|user| user.name.as_str()));
        }
        known
    }

    fn add(&mut self, account: &'c str, labels: &'c LabelValues) {
        match account {
            "" => self.anonymous = true,
            named => drop(self.accounts.insert(named)),
        }
        for (label, values) in labels.iter().filter(|(_, values)| !values.is_empty()) {
            self.labels.entry(label).or_default().extend(values.iter().map(LabelValue::text));
        }
    }

    /// Whether this is an account of the file; `""` is every client without one.
    pub(super) fn has_account(&self, account: &str) -> bool {
        self.accounts.contains(account) || (account.is_empty() && self.anonymous)
    }

    /// Whether somebody has, or could have, this label.
    pub(super) fn has_label(&self, label: &str) -> bool {
        self.elsewhere || self.labels.contains_key(label) || self.is_of_directory(label)
    }

    fn is_of_directory(&self, label: &str) -> bool {
        self.directory_labels && Label::ALL.iter().any(|own| own.as_str() == label)
    }

    /// Warns of what the rule names and nobody has.
    pub(super) fn lint(&mut self, rule: &Rule, warn: &mut impl FnMut(&str, String)) {
        let plain = |pattern: &'_ Pattern| pattern.literal().filter(|_| !is_mistaken(pattern)).map(str::to_owned);
        if let Some(account) = rule.pattern(Field::Account).and_then(plain)
            && let Some(message) = self.of_account(&account, is_refusal(rule))
            && self.is_new("account", &account)
        {
            warn(".match.account", message);
        }
        for (label, pattern) in rule.label_patterns() {
            let path = format!(".match.labels.{label}");
            if let Some(value) = plain(pattern)
                && let Some(message) = self.of_label(label, &value)
                && self.is_new(&path, &value)
            {
                warn(&path, message);
            }
        }
        let kind = rule.pattern(Field::Type);
        let is_of_ours = kind.and_then(Pattern::literal) == Some(OURS);
        if let Some(service) = rule.pattern(Field::Service)
            && !is_mistaken(service)
            && let Some(message) = if is_of_ours { of_our_service(service) } else { self.of_service(service, kind) }
            && self.is_new("service", service.text())
        {
            warn(".match.service", message);
        }
    }

    fn is_new(&mut self, field: &str, text: &str) -> bool {
        self.said.insert((field.to_owned(), text.to_owned()))
    }

    fn of_account(&mut self, account: &str, is_refusal: bool) -> Option<String> {
        if account.is_empty() {
            let message = "clients without an account are not let in, so the rule never matches; write users: {\"\": {}} \
                           if they should be";
            return (!self.anonymous).then(|| message.to_owned());
        }
        if self.accounts.contains(account) {
            return None;
        }
        let several = pieces(account).count() > 1;
        let one_is_known = several && pieces(account).any(|piece| self.accounts.contains(piece));
        // A name in a directory may hold a comma (`cn=bob,dc=org`, `Doe, John`).
        let plain = account.contains(',') && !account.contains([' ', '=', '\\']);
        if one_is_known || (several && plain) {
            return Some(format!("\"{account}\" is taken as one account; {}", each_or(account)));
        }
        if self.elsewhere || self.accounts.is_empty() || (self.services_elsewhere && is_service(account)) {
            return None;
        }
        if account == "anonymous" {
            return Some("no user of this file has that name; clients without an account are account: \"\"".to_owned());
        }
        let accounts: Vec<&str> = self.accounts.iter().copied().take(MOST_COMPARED).collect();
        let meant = self.meant(account, &accounts);
        // Whoever has left may be refused for good.
        if is_refusal && meant.is_empty() {
            return None;
        }
        if self.members.contains(account) {
            return Some(format!(
                "the directory has \"{account}\", but no section lets them in, so the rule never matches{meant}"
            ));
        }
        Some(format!("no user of this file is called \"{account}\", so the rule never matches{meant}"))
    }

    fn of_label(&mut self, label: &str, value: &str) -> Option<String> {
        let values = self.labels.get(label).filter(|_| !self.elsewhere && !self.is_of_directory(label))?;
        if values.contains(value) {
            return None;
        }
        let several = pieces(value).count() > 1;
        if several && (value.contains('|') || pieces(value).any(|piece| values.contains(piece))) {
            return Some(format!("\"{value}\" is taken as one value; {}", each_or(value)));
        }
        let values: Vec<&str> = values.iter().copied().take(MOST_COMPARED).collect();
        let meant = self.meant(value, &values);
        Some(format!("no user has \"{value}\" among the label \"{label}\", so the rule never matches{meant}"))
    }

    fn of_service(&self, pattern: &Pattern, kind: Option<&Pattern>) -> Option<String> {
        if pattern.placeholders().next().is_some() || self.services.is_empty() || self.services.len() > MOST_SERVICES {
            return None;
        }
        let may_be_ours = kind.is_none_or(|kind| kind.matches_alone(OURS).unwrap_or(true));
        if may_be_ours && of_our_service(pattern).is_none() {
            return None;
        }
        if self.services.iter().any(|service| pattern.matches_alone(service).unwrap_or(true)) {
            return None;
        }
        let names: Vec<String> = self.services.iter().map(|service| format!("\"{service}\"")).collect();
        let names = names.join(", ");
        Some(format!("tokens are for no such service, so the rule never matches; token.services has {names}"))
    }

    /// The words that ask for what was probably meant.
    fn meant(&mut self, text: &str, known: &[&str]) -> String {
        self.guesses += 1;
        let first = |text: &str| text.chars().next().map(|letter| letter.to_ascii_lowercase());
        match nearest(text, known) {
            Some(near) if self.guesses <= MOST_GUESSES && first(near) == first(text) => {
                format!("; did you mean \"{near}\"?")
            }
            Some(_) | None => String::new(),
        }
    }
}

/// Why a rule about what is Dockwarden's own never matches, if its service is another.
fn of_our_service(pattern: &Pattern) -> Option<String> {
    let is_open = pattern.placeholders().next().is_some();
    let is_right = is_open || pattern.matches_alone(OUR_SERVICE).unwrap_or(true);
    let message = "what is Dockwarden's own is asked for under service: dockwarden, so the rule never matches";
    (!is_right).then(|| message.to_owned())
}
