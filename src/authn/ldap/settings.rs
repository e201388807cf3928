//! The `ldap_auth:` section: where a directory is, who we are to it, whom it is asked about, and for how long.

use std::time::Duration;

use settings::number::{self, waiting_time};
use settings::{At, Field, Noted, Place, Refusal, Section};

use super::address::Address;
use super::course::shown;
use super::filter::{Filter, Place as FilterPlace, Value, is_attribute};
use super::labels::{LabelRule, LabelSource, read as read_labels};
use super::name::{ACCOUNT, NameTemplate, is_distinguished};
use super::reach::{read_addresses, read_login, read_trust, warn_of_clear_text};
use crate::authn::{LabelSyntax, Secret};
use crate::pem::tls::Authorities;

/// How long a login may take in all, where the file does not say: docker waits for 15 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The longest time that `deadline` may say.
const LONGEST_ANSWER: Duration = Duration::from_secs(60);
/// How long a server may be silent, where the file does not say: what says nothing is noticed within 1.5 s.
const SILENCE: Duration = Duration::from_millis(1400);
/// How many connections of each kind there are, where the file does not say, and at most.
const CONNECTIONS: usize = 8;
const MOST_CONNECTIONS: usize = 64;

/// The `ldap_auth:` section. Its `Debug` form holds no secret.
#[derive(Clone, Debug, PartialEq)]
pub struct LdapSettings {
    pub(super) addresses: Vec<Address>,
    pub(super) trust: Trust,
    pub(super) login: Login,
    pub(super) base: String,
    pub(super) filter: Filter,
    pub(super) account: AccountName,
    pub(super) groups: Option<Groups>,
    pub(super) labels: Vec<LabelRule>,
    pub(super) label_values: LabelSyntax,
    /// How long a server may be silent while a connection is made.
    pub(super) connect_within: Duration,
    /// How long a server may be silent when it was asked something.
    pub(super) timeout: Duration,
    /// How long a login may take in all.
    pub(super) deadline: Duration,
    /// How many connections there are for searching, and how many for checking passwords.
    pub(super) connections: usize,
}

/// Whose certificates a server may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those of this system's authorities.
    System,
    /// Those of the authorities in a PEM file. Its content is part of it: a changed file is a changed setting.
    File(Authorities),
    /// Anybody's.
    Anybody,
}

/// Who searches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// Nobody in particular.
    Anonymous,
    /// An account of our own.
    Ourselves {
        /// Its distinguished name.
        name: String,
        /// Its password.
        password: Secret,
    },
    /// Whoever logs in.
    User(NameTemplate),
}

/// What an account is called in rules and tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AccountName {
    /// As the directory spells what was typed, in one of these attributes.
    AsTyped(Vec<(String, Value)>),
    /// The value of this attribute, whatever was typed.
    Attribute(String),
}

/// Where an account's groups are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) base: String,
    pub(super) filter: Filter,
}

/// Reads the `ldap_auth:` section. Files with secrets and certificates are read here.
pub fn read(field: Field<'_>) -> Option<LdapSettings> {
    let mut section = field.section()?;
    let addresses = read_addresses(&mut section);
    let trust = read_trust(&mut section, addresses.as_deref());
    let login = read_login(&mut section);
    if let Some(addresses) = &addresses {
        warn_of_clear_text(&mut section, addresses);
    }
    let base = read_base(&mut section, "base");
    let filter = section.parsed("filter", |text| {
        let filter = Filter::parse(text, &[FilterPlace::Account])?;
        match filter.has(FilterPlace::Account) {
            true => Ok(filter),
            false => Err(format!(
                "this finds the same entries for everybody; write where the account belongs: (uid={ACCOUNT})"
            )),
        }
    });
    if !section.has("filter") {
        section.missing("filter", format!("the filter is missing; write filter: (uid={ACCOUNT})"));
    }
    let account = read_account(&mut section, filter.as_ref());
    let labels = section.field("labels").map_or_else(Vec::new, read_labels);
    let groups = read_groups(&mut section, base.as_deref(), &labels);
    let label_values = LabelSyntax::read(&mut section, LabelSyntax::Literal);
    let times = read_times(&mut section);
    let connections =
        section.word("pool_size", |text| number::count(text, MOST_CONNECTIONS, "connections there may be"));
    section.finish();
    let (connect_within, timeout, deadline) = times;
    Some(LdapSettings {
        addresses: addresses?,
        trust: trust?,
        login: login?,
        base: base?,
        filter: filter?.value,
        account: account?,
        groups: groups.ok()?,
        labels,
        label_values,
        connect_within,
        timeout,
        deadline,
        connections: connections.map_or(CONNECTIONS, |at| at.value),
    })
}

/// A place in the directory; empty for all of it, which only few servers search (Active Directory's global catalog does).
fn read_base(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    if !section.has(key) {
        section.missing(key, "where to search is missing; write base: ou=people,dc=example,dc=org");
        return None;
    }
    let read = |text: &str| match text.is_empty() || is_distinguished(text) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::is("not a distinguished name; write ou=people,dc=example,dc=org")),
    };
    section.word(key, read).map(|at| at.value)
}

fn read_account(section: &mut Section<'_>, filter: Option<&At<Filter>>) -> Option<AccountName> {
    let named = section.word("account_attribute", |text| match is_attribute(text) {
        true => Ok(text.to_owned()),
        false => Err(Refusal::is("not an attribute; write its name, such as uid")),
    });
    match (named, section.has("account_attribute")) {
        (Some(named), _) => return Some(AccountName::Attribute(named.value)),
        (None, true) => return None,
        (None, false) => {}
    }
    let filter = filter?;
    let compared = filter.value.account_attributes();
    match compared.as_slice() {
        [] => {
            let message =
                "which attribute is the account cannot be seen in the filter; write it: account_attribute: uid";
            section.problem(&filter.place, "account_attribute", message);
            return None;
        }
        [_] => {}
        [first, ..] => {
            let names: Vec<&str> = compared.iter().map(|(name, _)| name.as_str()).collect();
            let message = format!(
                "one person can log in under several names ({}), and a rule about one of them does not hold for the others; \
                 write which one is the account: account_attribute: {}",
                names.join(", "),
                first.0
            );
            section.warn(&filter.place, "filter", message);
        }
    }
    Some(AccountName::AsTyped(compared))
}

fn read_groups(section: &mut Section<'_>, base: Option<&str>, labels: &[LabelRule]) -> Result<Option<Groups>, Noted> {
    let place = |section: &mut Section<'_>, key| section.entry(key).map(|entry| entry.place.clone());
    let given: Vec<(&str, Place)> = ["group_base", "group_filter", "nested_groups"]
        .into_iter()
        .filter_map(|key| Some((key, place(section, key)?)))
        .collect();
    let own_base = match section.has("group_base") {
        true => Some(read_base(section, "group_base").ok_or(Noted)?),
        false => base.map(str::to_owned),
    };
    let nested = section.flag("nested_groups").is_some_and(|at| at.value);
    let both = [FilterPlace::Account, FilterPlace::Name];
    let read = |text: &str| {
        let filter = Filter::parse(text, &both)?;
        match (nested, both.iter().any(|place| filter.has(*place))) {
            (_, false) => {
                Err("this finds the same groups for everybody; write (member=${dn}) or (memberUid=${account})"
                    .to_owned())
            }
            (true, true) => filter.in_chain(),
            (false, true) => Ok(filter),
        }
    };
    let filter = match section.has("group_filter") {
        true => section.parsed("group_filter", read).map(|at| at.value).ok_or(Noted)?,
        false => read("(member=${dn})").map_err(|_| Noted)?,
    };
    let is_used = labels.iter().any(|rule| rule.from == LabelSource::Groups);
    match (is_used, given.first()) {
        (false, Some((key, place))) => {
            let message = "no label takes anything from groups; write labels: {groups: {attribute: cn, from: groups}}";
            section.warn(place, key, message);
            Ok(None)
        }
        (false, None) => Ok(None),
        (true, _) => Ok(Some(Groups { base: own_base.ok_or(Noted)?, filter })),
    }
}

/// How long a server may be silent while it is connected to, and when it was asked something; and how long a whole login may
/// take.
fn read_times(section: &mut Section<'_>) -> (Duration, Duration, Duration) {
    let time = |usual| move |text: &str| waiting_time(text, LONGEST_ANSWER, usual);
    let deadline = section.word("deadline", time("10s")).map_or(ANSWER_WITHIN, |at| at.value);
    let mut within = |key| match section.word(key, time("1400ms")) {
        Some(At { place, value }) if value > deadline => {
            let message = format!("a login ends after {}; write less, or set deadline", shown(deadline));
            section.problem(&place, key, message);
            value
        }
        Some(At { value, .. }) => value,
        None => SILENCE.min(deadline),
    };
    let connect_within = within("connect_timeout");
    let timeout = within("timeout");
    (connect_within, timeout, deadline)
}
