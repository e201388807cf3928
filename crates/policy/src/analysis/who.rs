//! Who may do something, and what somebody may do.

mod deciders;
mod exceptions;
mod symbolic;
mod ties;
mod whole;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use time::OffsetDateTime;

use self::deciders::Search;
pub use self::ties::Tie;
use self::ties::ties;
use self::whole::Whole;
use super::aligned::Reach;
use super::held::tags;
use super::outcomes::{Live, Outcome};
use super::places::{
    DIGEST, Kinds, OPEN_SERVICES, OPEN_TYPES, addresses, is_open_in, kinds, labels_of, moments, types,
};
use super::samples::Samples;
use super::{DECIDED_BELOW, Narrow, Place, Unlisted, World, grants};
use crate::pattern::{Bindings, Field, FieldValues, LabelValues, Pattern};
use crate::regular::{Grammar, walk};
use crate::rule::{Grants, Rule};
use crate::scope::{Action, Actions, OUR_SERVICE, OURS, Reference, Resource};
use crate::{Budget, Question};

const TOO_MUCH: &str = "a decision takes too much work";
const NOT_REGULAR: &str = "which names these rules match takes more than a regular expression";

/// The names that are asked about.
#[derive(Debug)]
pub enum Names {
    /// This one.
    One(String),
    /// At least one that the pattern matches.
    AnyOf(Pattern),
    /// All that the pattern matches.
    AllOf(Pattern),
}

/// What is asked about.
#[derive(Debug)]
pub struct Wanted {
    /// The action.
    pub action: Action,
    /// The type.
    pub kind: String,
    /// The names.
    pub names: Names,
}

/// One way to a right: a rule that grants it, and what it asks for besides the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The rule.
    pub rule: usize,
    /// The services for which it does.
    pub services: BTreeSet<String>,
    /// A name for which it does.
    pub example: String,
    /// The first place in which it does.
    pub place: Place,
    /// Rules above that decide otherwise, where they match too; of accounts that cannot be listed, those that may.
    pub except: BTreeSet<usize>,
    /// What has to agree with the name, where several are asked about.
    pub where_name: Vec<Tie>,
}

/// Somebody's ways to a right.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    /// Each rule that grants it.
    pub ways: Vec<Way>,
    /// Whether it is granted wherever and whenever it is asked for.
    pub always: bool,
}

/// Those who cannot be listed and have a right all the same.
#[derive(Clone, Debug)]
pub struct Symbolic {
    /// The rule that grants it.
    pub way: Way,
    /// The only account that it is about, where it is about one; or what the rule has, where the name says which one.
    pub account: Option<String>,
    /// The labels that are wanted, each with a value that will do: the only one, or `*`, or what the rule has, where others will do as well.
    pub labels: BTreeMap<String, BTreeSet<String>>,
}

/// Everybody who has a right.
#[derive(Clone, Debug, Default)]
pub struct WhoCan {
    /// The listed accounts that do.
    pub accounts: Vec<(String, Ways)>,
    /// The others.
    pub symbolic: Vec<Symbolic>,
    /// What could not be told, and the rules that stand in the way.
    pub undecided: Vec<(&'static str, BTreeSet<usize>)>,
}

/// One thing that somebody may do.
#[derive(Clone, Debug)]
pub struct Can {
    /// The types that the rule matches, as it has them, or `any`; one type where its names go by that, or where it is Dockwarden's own.
    pub kind: String,
    /// The names, as the rule has them with its placeholders filled in.
    pub name: String,
    /// How.
    pub way: Way,
}

impl Can {
    /// Of the actions that its rule lists, those that somebody asks for there: what only registries know is nothing that Dockwarden does, and
    /// a name that no repository has is none of their resources.
    pub fn rights(&self, listed: &Actions) -> Actions {
        let is_right = |action: &&Action| match action {
            Action::All | Action::Pull | Action::Push => self.kind != OURS,
            Action::Delete | Action::Other(_) => true,
        };
        listed.iter().filter(is_right).cloned().collect()
    }
}

/// What an account may do.
#[derive(Clone, Debug, Default)]
pub struct WhatCan {
    /// Each rule that decides anything that it asks, in order, by type.
    pub rules: Vec<Can>,
    /// What could not be told, and the rules that stand in the way.
    pub undecided: Vec<(&'static str, BTreeSet<usize>)>,
}

/// Finds everybody who may do something.
pub fn who_can(world: &World<'_>, wanted: &Wanted, narrow: &Narrow, still: &dyn Fn() -> bool) -> WhoCan {
    let mut asking = Asking::new(&Whole { world, narrow, wanted: Some(wanted), account: None, still });
    let mut found = WhoCan::default();
    for (account, labels) in &world.accounts {
        let Some(labels) = labels else { continue };
        if !still() {
            asking.say("the time was not enough for all accounts", None);
            break;
        }
        let ways = asking.ways(account, labels, wanted);
        if !ways.ways.is_empty() {
            found.accounts.push((account.clone(), ways));
        }
    }
    match world.unlisted {
        Unlisted::Nobody => {}
        Unlisted::Anybody => found.symbolic = asking.symbolic(wanted, narrow),
    }
    asking.say_what_is_below();
    found.undecided = asking.undecided.into_iter().collect();
    found
}

/// Finds everything that an account with these labels may do.
pub fn what_can(
    world: &World<'_>,
    account: &str,
    labels: &Arc<LabelValues>,
    narrow: &Narrow,
    still: &dyn Fn() -> bool,
) -> WhatCan {
    let mut asking = Asking::new(&Whole { world, narrow, wanted: None, account: Some(account), still });
    let mut found = WhatCan { rules: asking.rights(account, labels), undecided: Vec::new() };
    asking.say_what_is_below();
    if !world.accounts.contains_key(account) {
        let is_by_label =
            |number: &usize| asking.rules.get(*number).is_some_and(|rule| labels_of(rule).next().is_some());
        let by_label: BTreeSet<usize> = asking.near.iter().copied().filter(is_by_label).collect();
        if !by_label.is_empty() {
            asking.say(
                "the account cannot be listed, so its labels are not known, and these rules look at labels",
                by_label,
            );
        }
    }
    found.undecided = asking.undecided.into_iter().collect();
    found
}

/// Whether a rule lists any action that registries do not know.
fn manages(rule: &Rule) -> bool {
    match rule.grants() {
        Grants::All => false,
        Grants::Listed(listed) => listed.iter().any(|action| !action.is_known()),
    }
}

/// Rules held against one account after the other.
struct Asking<'a, 'p> {
    world: &'a World<'p>,
    still: &'a dyn Fn() -> bool,
    rules: Vec<&'p Rule>,
    /// The rules that may be about what is asked, down to one that decides all of it.
    near: Vec<usize>,
    /// Whether anything that was asked may be decided by no rule.
    falls_through: bool,
    addresses: Vec<Option<IpAddr>>,
    moments: Vec<OffsetDateTime>,
    /// The moment from which on all matter; `None` where only one does.
    from: Option<OffsetDateTime>,
    /// Those of registries.
    services: Vec<String>,
    /// Whether these are all, and none stands for others.
    knows_services: bool,
    /// Those for which is asked about what is Dockwarden's own.
    ours: Vec<String>,
    /// A tag of each kind that rules tell apart for everybody, where any rule looks at tags or digests.
    tags: Option<Vec<String>>,
    searches: HashMap<(Grammar, Vec<Live>, Vec<String>), Arc<Search>>,
    samples: Samples,
    undecided: BTreeMap<&'static str, BTreeSet<usize>>,
}

impl<'a, 'p> Asking<'a, 'p> {
    fn new(asked: &Whole<'a, 'p>) -> Asking<'a, 'p> {
        let Whole { world, narrow, wanted, account, still } = *asked;
        let rules = world.rules();
        let is_near = |rule: &Rule| match wanted {
            Some(Wanted { names: Names::One(name), kind, .. }) => Reach::new(rule).may_reach(kind, name),
            Some(Wanted { names: Names::AnyOf(pattern) | Names::AllOf(pattern), kind, .. }) => {
                Reach::new(rule).may_begin(kind, pattern.beginning())
            }
            None => true,
        };
        let mut near: Vec<usize> =
            (0..rules.len()).filter(|number| rules.get(*number).is_some_and(|rule| is_near(rule))).collect();
        // What is below is never asked, and leaves nothing open.
        let decides_all = |number: &usize| rules.get(*number).is_some_and(|rule| asked.is_decided_by(rule));
        let last = near.iter().position(decides_all);
        near.truncate(last.map_or(near.len(), |last| last + 1));
        let about = || near.iter().filter_map(|number| rules.get(*number).copied());
        let mut undecided: BTreeMap<&'static str, BTreeSet<usize>> = BTreeMap::new();
        let mut say_open = |field: Field, why: &'static str| {
            let is_open = |number: &usize| rules.get(*number).is_some_and(|rule| is_open_in(rule, field));
            let open: BTreeSet<usize> = near.iter().copied().filter(is_open).collect();
            if !open.is_empty() {
                undecided.insert(why, open);
            }
        };
        if wanted.is_none() {
            say_open(Field::Type, OPEN_TYPES);
        }
        let ours = wanted.is_some_and(|wanted| wanted.kind == OURS);
        let services = match (&narrow.service, world.services.as_slice()) {
            (Some(service), _) => vec![service.clone()],
            // Nobody asks for other services about what is Dockwarden's own.
            (None, _) if ours => Vec::new(),
            (None, []) => {
                say_open(Field::Service, OPEN_SERVICES);
                let patterns: Vec<&Pattern> = about().filter_map(|rule| rule.pattern(Field::Service)).collect();
                let mut found = kinds(Grammar::Text, &patterns, &["registry"], &BTreeSet::new(), 1, still);
                if !found.complete {
                    undecided.entry(OPEN_SERVICES).or_default();
                }
                let more: Vec<&String> = world.known_services.iter().filter(|own| !found.texts.contains(own)).collect();
                found.texts.extend(more.into_iter().cloned());
                found.texts
            }
            (None, known) => known.to_vec(),
        };
        let plain_tags = about().any(Rule::needs_reference).then(|| {
            let patterns: Vec<&Pattern> = about().filter_map(Rule::tag).collect();
            kinds(Grammar::Tag, &patterns, &[], &BTreeSet::new(), 1, still).texts
        });
        Asking {
            tags: plain_tags,
            addresses: narrow.address.map_or_else(|| addresses(about()), |address| vec![Some(address)]),
            from: narrow.at.is_none().then_some(narrow.from),
            moments: narrow.at.map_or_else(|| moments(about(), narrow.from), |at| vec![at]),
            ours: vec![narrow.service.clone().unwrap_or_else(|| OUR_SERVICE.to_owned())],
            knows_services: narrow.service.is_some() || !world.services.is_empty(),
            services,
            near,
            rules,
            // Of those who cannot be listed, not all are tried.
            falls_through: last.is_none() && world.unlisted == Unlisted::Anybody && account.is_none(),
            world,
            still,
            searches: HashMap::new(),
            samples: Samples::default(),
            undecided,
        }
    }

    /// Says that what no rule matches may be granted all the same, where anything gets there.
    fn say_what_is_below(&mut self) {
        if self.falls_through && self.world.below.is_somebody() {
            self.say(DECIDED_BELOW, None);
        }
    }

    fn say(&mut self, why: &'static str, rules: impl IntoIterator<Item = usize>) {
        self.undecided.entry(why).or_default().extend(rules);
    }

    /// Each place that rules tell apart, for an account and a name, or any: tags may hold both.
    fn places(&self, account: &str, labels: &LabelValues, kind: &str, name: Option<&str>) -> Vec<Place> {
        let about = || self.near.iter().filter_map(|number| self.rules.get(*number).copied());
        let mut references = vec![None];
        if let Some(plain) = &self.tags {
            let filled = about().filter(|rule| rule.tag().is_some_and(|tag| tag.placeholders().next().is_some()));
            let filled = filled.filter_map(|rule| {
                let language = tags(rule, account, labels, (kind, name))?;
                let mut found = None;
                // Where nothing was found there is no such tag.
                let _ = walk(Grammar::Tag, Some(&[language.source()]), &[language.source()], self.still, &mut |met| {
                    found = Some(met.text());
                    ControlFlow::Break(())
                });
                found
            });
            references.extend(plain.iter().cloned().chain(filled).map(|tag| Reference::parse(&tag)));
            references.push(Reference::parse(DIGEST));
        }
        let mut moments = self.moments.clone();
        moments.extend(self.from.into_iter().flat_map(|from| self.world.term(account).after(from)));
        moments.sort_unstable();
        moments.dedup();
        let services = if kind == OURS { &self.ours } else { &self.services };
        let services = || services.iter().filter(|service| self.world.serves(kind, service));
        let mut places = Vec::new();
        for reference in references {
            for service in services() {
                for now in &moments {
                    for address in &self.addresses {
                        places.push(Place {
                            kind: kind.to_owned(),
                            service: service.clone(),
                            address: *address,
                            reference: reference.clone(),
                            now: *now,
                        });
                    }
                }
            }
        }
        places
    }

    fn ways(&mut self, account: &str, labels: &Arc<LabelValues>, wanted: &Wanted) -> Ways {
        let mut all: BTreeMap<usize, Way> = BTreeMap::new();
        let (mut asked, mut granted) = (0, 0);
        let mut hidden = BTreeSet::new();
        let mut deciding = BTreeSet::new();
        let name = match &wanted.names {
            Names::One(name) => Some(name.as_str()),
            Names::AnyOf(_) | Names::AllOf(_) => None,
        };
        for place in self.places(account, labels, &wanted.kind, name) {
            // What is asked of a door by tag or digest is no other right than the one of a token.
            asked += 1;
            if !self.world.term(account).holds(place.now) {
                continue;
            }
            let by = match &wanted.names {
                Names::One(name) => match self.world.decide(account, labels, &place, name) {
                    Ok(by) => {
                        self.falls_through |= by.is_none();
                        vec![(by, name.clone())]
                    }
                    Err(()) => {
                        self.say(TOO_MUCH, None);
                        continue;
                    }
                },
                Names::AnyOf(pattern) | Names::AllOf(pattern) => {
                    let (found, unsure) = self.deciders((account, labels), &place, Some(pattern), &mut hidden);
                    let all_of = matches!(wanted.names, Names::AllOf(_));
                    if all_of && !self.grants_all(&found, &unsure, &wanted.action) { Vec::new() } else { found }
                }
            };
            deciding.extend(by.iter().filter_map(|(by, _)| *by));
            let granting: Vec<(usize, String)> = by
                .into_iter()
                .filter(|(by, _)| self.does_grant(*by, &wanted.action))
                .filter_map(|(by, name)| Some((by?, name)))
                .collect();
            granted += usize::from(!granting.is_empty());
            for (rule, example) in granting {
                Asking::add(&mut all, rule, (rule, example), &place);
            }
        }
        match &wanted.names {
            // It is one name: whatever decides it anywhere does so instead of those below.
            Names::One(_) => {
                hidden = all.keys().flat_map(|rule| deciding.iter().map(|by| (*rule, *by))).collect();
            }
            Names::AnyOf(_) | Names::AllOf(_) => {
                all.values_mut().for_each(|way| way.where_name = self.ties(way.rule, account, labels));
            }
        }
        self.except(all.values_mut(), &hidden);
        Ways { ways: all.into_values().collect(), always: asked == granted }
    }

    fn does_grant(&self, by: Option<usize>, action: &Action) -> bool {
        grants(by.and_then(|by| self.rules.get(by)), action)
    }

    /// Whether an action is granted for all names, of which these are decided so; where nobody can tell, that is said.
    fn grants_all(&mut self, found: &[(Option<usize>, String)], unsure: &[Outcome], action: &Action) -> bool {
        if found.iter().any(|(by, _)| !self.does_grant(*by, action)) {
            return false;
        }
        // One of the names that were not tried may be decided by any of the rules that could do so.
        let is_open = |outcome: &&Outcome| {
            let refuses = |by: Option<usize>| !self.does_grant(by, action);
            refuses(outcome.first) || outcome.maybe.iter().any(|by| refuses(Some(*by)))
        };
        let open: BTreeSet<usize> = unsure.iter().filter(is_open).flat_map(|outcome| outcome.maybe.clone()).collect();
        let is_sure = open.is_empty();
        if !is_sure {
            self.say(NOT_REGULAR, open);
        }
        is_sure
    }

    fn add<K: Ord>(all: &mut BTreeMap<K, Way>, key: K, (rule, example): (usize, String), place: &Place) {
        let way = all.entry(key).or_insert_with(|| Way {
            rule,
            services: BTreeSet::new(),
            example,
            place: place.clone(),
            except: BTreeSet::new(),
            where_name: Vec::new(),
        });
        way.services.insert(place.service.clone());
    }

    /// What of a rule has to agree with the name, for an account.
    fn ties(&self, rule: usize, account: &str, labels: &LabelValues) -> Vec<Tie> {
        self.rules.get(rule).map(|rule| ties(rule, account, labels)).unwrap_or_default()
    }

    /// Names those rules that decide otherwise what these do not because of them.
    fn except<'w>(&self, ways: impl Iterator<Item = &'w mut Way>, hidden: &BTreeSet<(usize, usize)>) {
        let grants = |rule: usize| self.rules.get(rule).map(|rule| rule.grants());
        for way in ways {
            let rule = way.rule;
            let by = hidden.range((rule, 0)..(rule, rule)).map(|(_, by)| *by);
            way.except.extend(by.filter(|by| grants(*by) != grants(rule)));
        }
    }

    fn rights(&mut self, account: &str, labels: &Arc<LabelValues>) -> Vec<Can> {
        let about: Vec<&Rule> = self.near.iter().filter_map(|number| self.rules.get(*number).copied()).collect();
        let Kinds { texts: types, complete } = types(&about, self.still);
        if !complete {
            self.say(OPEN_TYPES, None);
        }
        let mut all: Vec<(usize, String, usize, Way)> = Vec::new();
        // What rules decide instead of others, of Dockwarden's own and of all else: of rules that decide nothing of a type as well.
        let (mut of_ours, mut of_others) = (BTreeSet::new(), BTreeSet::new());
        for (order, kind) in types.into_iter().enumerate() {
            let mut ways: BTreeMap<(usize, Option<String>), Way> = BTreeMap::new();
            let mut hidden = BTreeSet::new();
            let term = self.world.term(account);
            for place in self.places(account, labels, &kind, None).iter().filter(|place| term.holds(place.now)) {
                if !(self.still)() {
                    self.say("the time was not enough for all that rules tell apart", None);
                    break;
                }
                for (by, name) in self.deciders((account, labels), place, None, &mut hidden).0 {
                    let Some(rule) = by else { continue };
                    // Other names for each service are told for each.
                    let service = self.names_by_service(rule).then(|| place.service.clone());
                    Asking::add(&mut ways, (rule, service), (rule, name), place);
                }
            }
            self.except(ways.values_mut(), &hidden);
            all.extend(ways.into_iter().map(|((rule, _), way)| (order, kind.clone(), rule, way)));
            if kind == OURS { &mut of_ours } else { &mut of_others }.extend(hidden);
        }
        let mut told: BTreeMap<(usize, usize, String, String), Can> = BTreeMap::new();
        let elsewhere: BTreeSet<usize> =
            all.iter().filter(|(_, kind, _, _)| kind != OURS).map(|(_, _, rule, _)| *rule).collect();
        for (order, kind, rule, mut way) in all {
            let Some(own) = self.rules.get(rule).copied() else { continue };
            // A rule about whatever there is names no right to manage anything, unless it lists one.
            let is_incidental = own.pattern(Field::Type).is_none() && !manages(own);
            if kind == OURS && is_incidental && elsewhere.contains(&rule) {
                continue;
            }
            way.where_name = self.ties(rule, account, labels);
            let name = self.names_told((account, labels), &kind, &way);
            let is_one = kind == OURS || own.names_by(Field::Type);
            if !is_one {
                // A type that was tried stands for all that the rule matches, also for those of which others decide everything.
                self.except(std::iter::once(&mut way), &of_others);
                // Of the words for all, one is about what is Dockwarden's own, too.
                if is_incidental && grants(Some(&own), &Action::Delete) {
                    self.except(std::iter::once(&mut way), &of_ours);
                }
            }
            let (order, kind) = match (is_one, own.pattern(Field::Type)) {
                (true, _) => (order, kind),
                (false, None) => (0, "any".to_owned()),
                (false, Some(pattern)) => {
                    let values = FieldValues { account, kind: &kind, name: &way.example, service: &way.place.service };
                    (0, pattern.expand(&Bindings::new(values, labels)))
                }
            };
            match told.entry((rule, order, kind.clone(), name.clone())) {
                Entry::Vacant(place) => _ = place.insert(Can { kind, name, way }),
                Entry::Occupied(mut known) => {
                    let known = &mut known.get_mut().way;
                    known.services.extend(way.services);
                    known.except.extend(way.except);
                }
            }
        }
        told.into_values().collect()
    }

    /// Whether a rule matches other names for each service, and the services are known.
    fn names_by_service(&self, rule: usize) -> bool {
        self.knows_services && self.rules.get(rule).is_some_and(|rule| rule.names_by(Field::Service))
    }

    /// The names that a rule matches, with its placeholders filled in where they stand for one thing.
    fn names_told(&self, (account, labels): (&str, &LabelValues), kind: &str, way: &Way) -> String {
        let Some(rule) = self.rules.get(way.rule) else { return String::new() };
        let Some(pattern) = rule.pattern(Field::Name) else { return "any".to_owned() };
        // A service that was tried stands for others.
        if rule.names_by(Field::Service) && !self.names_by_service(way.rule) {
            return pattern.text().to_owned();
        }
        let Ok(resource) = Resource::of_type(kind, &way.example) else { return pattern.text().to_owned() };
        let question = Question {
            account,
            labels,
            address: way.place.address,
            service: &way.place.service,
            resource: &resource,
            actions: &Actions::new(),
            reference: way.place.reference.as_ref(),
            now: way.place.now,
        };
        match rule.bindings(&question, &mut Budget::for_request()) {
            Ok(bindings) => pattern.expand(&bindings),
            Err(_) => pattern.text().to_owned(),
        }
    }
}

/// The rules that decide anything for the listed accounts; `None` where that could not be told.
pub fn deciding(world: &World<'_>, narrow: &Narrow, still: &dyn Fn() -> bool) -> Option<BTreeSet<usize>> {
    match world.unlisted {
        Unlisted::Nobody => {}
        Unlisted::Anybody => return None,
    }
    let mut asking = Asking::new(&Whole { world, narrow, wanted: None, account: None, still });
    let mut all = BTreeSet::new();
    for (account, labels) in &world.accounts {
        let Some(labels) = labels else { continue };
        all.extend(asking.rights(account, labels).into_iter().map(|can| can.way.rule));
    }
    asking.undecided.is_empty().then_some(all)
}
