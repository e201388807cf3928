//! Who may do something, and what somebody may do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use time::OffsetDateTime;

use super::aligned::Reach;
use super::held::{Left, left, tags};
use super::outcomes::{Decided, Live, Outcome, outcomes};
use super::places::{addresses, is_open_in, kinds, moments};
use super::unlisted::wanted;
use super::{Below, Narrow, Place, Unlisted, World, grants};
use crate::pattern::{Bindings, Field, FieldValues, LabelValue, LabelValues, Pattern, Placeholder};
use crate::regular::{Grammar, Unfinished, walk};
use crate::rule::Rule;
use crate::scope::{Action, OURS, Reference};

/// A digest stands for all others: rules do not look into it.
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// So many names are tried where it is not known which of them a rule matches.
const TRIED: usize = 24;
/// The account that stands for any that cannot be listed.
const SOMEBODY: &str = "somebody";

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
    /// Rules above that decide otherwise, where they match too.
    pub except: BTreeSet<usize>,
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
    /// The only account that it is about, where it is about one.
    pub account: Option<String>,
    /// The labels that are wanted, each with a value that will do.
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
    /// The type.
    pub kind: String,
    /// The names, as the rule has them with its placeholders filled in.
    pub name: String,
    /// How.
    pub way: Way,
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
    let mut asking = Asking::new(world, narrow, still, Some(wanted));
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
        Unlisted::Anybody => found.symbolic = asking.symbolic(wanted),
    }
    if world.below == Below::SomebodyElse {
        asking.say("what no rule matches is decided by somebody whose rules are not known", None);
    }
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
    let mut asking = Asking::new(world, narrow, still, None);
    let mut found = WhatCan { rules: asking.rights(account, labels), undecided: Vec::new() };
    if world.below == Below::SomebodyElse {
        asking.say("what no rule matches is decided by somebody whose rules are not known", None);
    }
    found.rules.sort_by_key(|can| can.way.rule);
    found.undecided = asking.undecided.into_iter().collect();
    found
}

/// Rules held against one account after the other.
struct Asking<'a, 'p> {
    world: &'a World<'p>,
    still: &'a dyn Fn() -> bool,
    rules: Vec<&'p Rule>,
    /// The rules that may be about what is asked.
    near: Vec<usize>,
    addresses: Vec<Option<IpAddr>>,
    moments: Vec<OffsetDateTime>,
    /// The moment from which on all matter; `None` where only one does.
    from: Option<OffsetDateTime>,
    services: Vec<String>,
    /// A tag of each kind that rules tell apart for everybody, where any rule looks at tags or digests.
    tags: Option<Vec<String>>,
    searches: HashMap<(Vec<Live>, Vec<String>), Arc<Search>>,
    undecided: BTreeMap<&'static str, BTreeSet<usize>>,
}

/// The outcomes that there are, each with names.
struct Search {
    met: Vec<(Outcome, Vec<String>)>,
    /// Rules that match names which others decide, each with those.
    hidden: BTreeSet<(usize, usize)>,
    ended: Result<(), Unfinished>,
}

impl<'a, 'p> Asking<'a, 'p> {
    fn new(
        world: &'a World<'p>,
        narrow: &'a Narrow,
        still: &'a dyn Fn() -> bool,
        wanted: Option<&Wanted>,
    ) -> Asking<'a, 'p> {
        let rules = world.rules();
        let is_near = |rule: &Rule| match wanted {
            Some(Wanted { names: Names::One(name), kind, .. }) => Reach::new(rule).may_reach(kind, name),
            Some(Wanted { names: Names::AnyOf(pattern) | Names::AllOf(pattern), kind, .. }) => {
                Reach::new(rule).may_begin(kind, pattern.beginning())
            }
            None => true,
        };
        let near: Vec<usize> =
            (0..rules.len()).filter(|number| rules.get(*number).is_some_and(|rule| is_near(rule))).collect();
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
            say_open(Field::Type, "types that were not tried may be told apart by these rules");
        }
        let services = match (&narrow.service, world.services.as_slice()) {
            (Some(service), _) => vec![service.clone()],
            (None, []) => {
                say_open(
                    Field::Service,
                    "token.services is open, and services that were not tried may be told apart by these rules",
                );
                let patterns: Vec<&Pattern> = about().filter_map(|rule| rule.pattern(Field::Service)).collect();
                kinds(Grammar::Text, &patterns, &["registry".to_owned()], 1, still).texts
            }
            (None, known) => known.to_vec(),
        };
        let plain_tags = about().any(Rule::needs_reference).then(|| {
            let patterns: Vec<&Pattern> = about().filter_map(Rule::tag).collect();
            kinds(Grammar::Tag, &patterns, &[], 1, still).texts
        });
        Asking {
            tags: plain_tags,
            addresses: narrow.address.map_or_else(|| addresses(about()), |address| vec![Some(address)]),
            from: narrow.at.is_none().then_some(narrow.from),
            moments: narrow.at.map_or_else(|| moments(about(), narrow.from), |at| vec![at]),
            services: services.into_iter().filter(|service| world.serves(service)).collect(),
            near,
            rules,
            world,
            still,
            searches: HashMap::new(),
            undecided,
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
        let mut places = Vec::new();
        for reference in references {
            for service in &self.services {
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
                    Ok(by) => vec![(by, name.clone())],
                    Err(()) => {
                        self.say("a decision takes too much work", None);
                        continue;
                    }
                },
                Names::AnyOf(pattern) | Names::AllOf(pattern) => {
                    let found = self.deciders((account, labels), &place, Some(pattern), &mut hidden);
                    let refused = |(by, _): &(Option<usize>, String)| !self.does_grant(*by, &wanted.action);
                    let all_of = matches!(wanted.names, Names::AllOf(_));
                    if all_of && found.iter().any(refused) { Vec::new() } else { found }
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
                Asking::add(&mut all, (rule, example), &place);
            }
        }
        if matches!(wanted.names, Names::One(_)) {
            // It is one name: whatever decides it anywhere does so instead of those below.
            hidden = all.keys().flat_map(|rule| deciding.iter().map(|by| (*rule, *by))).collect();
        }
        self.except(&mut all, &hidden);
        Ways { ways: all.into_values().collect(), always: asked == granted }
    }

    fn does_grant(&self, by: Option<usize>, action: &Action) -> bool {
        grants(by.and_then(|by| self.rules.get(by)), action)
    }

    fn add(all: &mut BTreeMap<usize, Way>, (rule, example): (usize, String), place: &Place) {
        let way = all.entry(rule).or_insert_with(|| Way {
            rule,
            services: BTreeSet::new(),
            example,
            place: place.clone(),
            except: BTreeSet::new(),
        });
        way.services.insert(place.service.clone());
    }

    /// Names those rules that decide otherwise what these do not because of them.
    fn except(&self, ways: &mut BTreeMap<usize, Way>, hidden: &BTreeSet<(usize, usize)>) {
        let grants = |rule: usize| self.rules.get(rule).map(|rule| rule.grants());
        for (rule, way) in ways {
            let by = hidden.range((*rule, 0)..(*rule, *rule)).map(|(_, by)| *by);
            way.except.extend(by.filter(|by| grants(*by) != grants(*rule)));
        }
    }

    /// Each rule that decides any name that the pattern matches, with such a name; confirmed by the ordinary decision. In `hidden`,
    /// each rule that matches some such name is put beside those that decide it instead.
    fn deciders(
        &mut self,
        (account, labels): (&str, &Arc<LabelValues>),
        place: &Place,
        pattern: Option<&Pattern>,
        hidden: &mut BTreeSet<(usize, usize)>,
    ) -> Vec<(Option<usize>, String)> {
        let mut sets: Vec<String> = Vec::new();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut live: Vec<Live> = Vec::new();
        for number in &self.near {
            let Some(rule) = self.rules.get(*number) else { continue };
            let Some(left) = left(rule, account, labels, &place.kind, &place.service) else { continue };
            if pattern.is_some_and(|pattern| left.is_apart(pattern.beginning())) {
                continue;
            }
            let Left { name, tag: _, exact, beginning: _ } = left;
            let matched = match_beside_name(rule, account, labels, place);
            if matched == Some(false) {
                continue;
            }
            let names = *numbers.entry(name).or_insert_with_key(|name| {
                sets.push(name.clone());
                sets.len() - 1
            });
            live.push(Live { rule: *number, names, exact: exact && matched == Some(true) });
        }
        let nothing = LabelValues::new();
        let within =
            pattern.map(|pattern| pattern.language(&Bindings::new(FieldValues::default(), &nothing), &|_| true));
        let within: Option<usize> = within.map(|language| {
            sets.push(language.source().to_owned());
            sets.len() - 1
        });
        let grammar = if place.kind == OURS { Grammar::Ours } else { Grammar::Name };
        let key = (live, sets);
        let search = match self.searches.get(&key) {
            Some(known) => Arc::clone(known),
            None => {
                let mut met: Vec<(Outcome, Vec<String>)> = Vec::new();
                let mut known: HashMap<Outcome, usize> = HashMap::new();
                let mut hidden: BTreeSet<(usize, usize)> = BTreeSet::new();
                let mut seen: HashSet<Vec<usize>> = HashSet::new();
                let mut of_set: HashMap<usize, Vec<usize>> = HashMap::new();
                for live in &key.0 {
                    of_set.entry(live.names).or_default().push(live.rule);
                }
                let within = within.map(|within| vec![within]);
                let ended = outcomes(
                    grammar,
                    within.as_deref(),
                    &[&key.0],
                    &key.1,
                    self.still,
                    &mut |Decided { met: text, sets, outcomes }| {
                        for outcome in outcomes {
                            if seen.insert(sets.to_vec()) {
                                let inside = sets.iter().filter_map(|set| of_set.get(set)).flatten();
                                let by = || outcome.first.iter().chain(&outcome.maybe);
                                hidden.extend(inside.flat_map(|rule| by().map(|by| (*rule, *by))));
                            }
                            let place = *known.entry(outcome.clone()).or_insert_with(|| {
                                met.push((outcome.clone(), Vec::new()));
                                met.len() - 1
                            });
                            if let Some((outcome, names)) = met.get_mut(place)
                                && names.len() < if outcome.maybe.is_empty() { 1 } else { TRIED }
                            {
                                names.push(text.text());
                            }
                        }
                        ControlFlow::Continue(())
                    },
                );
                let search = Arc::new(Search { met, hidden, ended });
                self.searches.insert(key.clone(), Arc::clone(&search));
                search
            }
        };
        match search.ended {
            Ok(()) => {}
            Err(Unfinished::Time) => self.say("the time was not enough to try all names", None),
            Err(Unfinished::Size) => self.say("the memory was not enough to try all names", None),
        }
        hidden.extend(&search.hidden);
        let mut found: BTreeMap<Option<usize>, String> = BTreeMap::new();
        for (outcome, names) in &search.met {
            for name in names {
                if let Ok(by) = self.world.decide(account, labels, place, name) {
                    found.entry(by).or_insert_with(|| name.clone());
                }
            }
            let missing = |rule: &usize| !found.contains_key(&Some(*rule));
            let open: Vec<usize> = outcome.maybe.iter().copied().filter(missing).collect();
            if !open.is_empty() {
                self.say("which names these rules match takes more than a regular expression", open);
            }
        }
        found.into_iter().collect()
    }

    fn rights(&mut self, account: &str, labels: &Arc<LabelValues>) -> Vec<Can> {
        let patterns: Vec<&Pattern> = self.rules.iter().filter_map(|rule| rule.pattern(Field::Type)).collect();
        let given = ["repository", "registry", OURS].map(str::to_owned);
        let mut types = kinds(Grammar::Type, &patterns, &given, 1, self.still).texts;
        let ours = patterns.iter().any(|pattern| pattern.literal() == Some(OURS));
        types.retain(|kind| kind != OURS);
        types.extend(ours.then(|| OURS.to_owned()));
        let mut all: BTreeMap<(String, usize), Way> = BTreeMap::new();
        for kind in types {
            let mut ways: BTreeMap<usize, Way> = BTreeMap::new();
            let mut hidden = BTreeSet::new();
            let term = self.world.term(account);
            for place in self.places(account, labels, &kind, None).iter().filter(|place| term.holds(place.now)) {
                if !(self.still)() {
                    self.say("the time was not enough for all that rules tell apart", None);
                    break;
                }
                for (by, name) in self.deciders((account, labels), place, None, &mut hidden) {
                    if let Some(rule) = by {
                        Asking::add(&mut ways, (rule, name), place);
                    }
                }
            }
            self.except(&mut ways, &hidden);
            all.extend(ways.into_iter().map(|(rule, way)| ((kind.clone(), rule), way)));
        }
        let can = all.into_iter().map(|((kind, rule), way)| {
            let values = FieldValues { account, kind: &kind, name: &way.example, service: &way.place.service };
            let pattern = self.rules.get(rule).and_then(|rule| rule.pattern(Field::Name));
            let name = pattern.map_or("*".to_owned(), |pattern| pattern.expand(&Bindings::new(values, labels)));
            let name = if pattern.is_none() { "any".to_owned() } else { name };
            Can { kind, name, way }
        });
        can.collect()
    }

    /// Accounts that cannot be listed: for each rule that grants it, one that has just what the rule asks for.
    fn symbolic(&mut self, asked: &Wanted) -> Vec<Symbolic> {
        let mut found: Vec<Symbolic> = Vec::new();
        for number in self.near.clone() {
            let Some(rule) = self.rules.get(number).copied() else { continue };
            if !grants(Some(&rule), &asked.action) {
                continue;
            }
            if !(self.still)() {
                self.say("the time was not enough for all rules", None);
                break;
            }
            let mut shown = false;
            let mut taken: BTreeSet<Option<usize>> = BTreeSet::new();
            for (account, labels) in self.candidates(rule, asked) {
                let values = labels.iter().map(|(label, values)| {
                    (label.clone(), values.iter().map(|value| LabelValue::literal(value)).collect())
                });
                let given: Arc<LabelValues> = Arc::new(values.collect());
                if self.world.accounts.contains_key(&account) {
                    continue;
                }
                let ways = self.ways(&account, &given, asked);
                taken.extend(ways.ways.iter().map(|way| Some(way.rule)));
                if let Some(way) = ways.ways.into_iter().find(|way| way.rule == number) {
                    shown = true;
                    let named = rule.pattern(Field::Account).is_none() && !names_account(rule);
                    let account = (!named).then_some(account);
                    if !found
                        .iter()
                        .any(|known| known.way.rule == number && known.labels == labels && known.account == account)
                    {
                        found.push(Symbolic { way, account, labels });
                    }
                }
            }
            let is_plain = rule.label_patterns().is_empty()
                && rule.pattern(Field::Account).is_none()
                && !self.near.iter().any(|above| {
                    *above < number
                        && self.rules.get(*above).is_some_and(|above| {
                            !above.label_patterns().is_empty() || above.pattern(Field::Account).is_some()
                        })
                });
            let exactly = rule.pattern(Field::Account).and_then(Pattern::literal);
            let is_listed = exactly.is_some_and(|account| self.world.accounts.contains_key(account));
            if !shown && !is_plain && !is_listed && self.may_match(rule, asked) {
                self.say("no account was found that this rule decides for, and there may be one", Some(number));
            }
        }
        found
    }

    /// Whether the rule could match any of the names, whatever its placeholders stand for.
    fn may_match(&self, rule: &Rule, asked: &Wanted) -> bool {
        let Some(pattern) = rule.pattern(Field::Name) else { return true };
        let nothing = LabelValues::new();
        let language = pattern.language(&Bindings::new(FieldValues::default(), &nothing), &|_| true);
        let names = match &asked.names {
            Names::One(name) => regex_syntax::escape(name),
            Names::AnyOf(pattern) | Names::AllOf(pattern) => {
                pattern.language(&Bindings::new(FieldValues::default(), &nothing), &|_| true).source().to_owned()
            }
        };
        let grammar = if asked.kind == OURS { Grammar::Ours } else { Grammar::Name };
        let mut any = false;
        let ended = walk(grammar, Some(&[&names]), &[language.source()], self.still, &mut |met| {
            any = !met.matched.is_empty();
            if any { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        any || ended.is_err()
    }

    /// Accounts and labels with which a rule could match the name: what stands in a placeholder is a piece of the name.
    fn candidates(&self, rule: &Rule, asked: &Wanted) -> Vec<(String, BTreeMap<String, BTreeSet<String>>)> {
        let wanted = wanted(rule, self.still);
        let account = match rule.pattern(Field::Account) {
            None => SOMEBODY.to_owned(),
            Some(pattern) => super::unlisted::shortest(pattern, self.still),
        };
        let mut all = vec![(account.clone(), wanted.clone())];
        let Names::One(name) = &asked.names else { return all };
        let holes: BTreeSet<String> =
            rule.pattern(Field::Name).into_iter().flat_map(Pattern::placeholders).map(ToString::to_string).collect();
        let Some(pattern) = rule.pattern(Field::Name).filter(|_| holes.len() == 1) else { return all };
        let Some(hole) = pattern.placeholders().next() else { return all };
        all.clear();
        for piece in pieces(name) {
            let (labels, filled) = match hole {
                Placeholder::Label(label) => {
                    let mut filled = wanted.clone();
                    filled.entry(label.clone()).or_default().insert(piece.to_owned());
                    (LabelValues::from([(label.clone(), vec![LabelValue::literal(piece)])]), (account.clone(), filled))
                }
                Placeholder::Value(Field::Account) => (LabelValues::new(), (piece.to_owned(), wanted.clone())),
                Placeholder::Value(Field::Type | Field::Name | Field::Service) | Placeholder::Capture(..) => {
                    return vec![(account, wanted)];
                }
            };
            let values = FieldValues { account: &filled.0, kind: &asked.kind, name, service: "" };
            if pattern.matches(name, &Bindings::new(values, &labels)).unwrap_or(false) {
                let mut filled = filled;
                if let Placeholder::Label(label) = hole
                    && !rule.label_patterns().iter().any(|(own, _)| own == label)
                {
                    filled.1.insert(label.clone(), BTreeSet::from([piece.to_owned()]));
                }
                all.push(filled);
            }
        }
        all
    }
}

/// All pieces of a name, each once, the short ones first.
fn pieces(name: &str) -> BTreeSet<&str> {
    let ends = 0..=name.len();
    ends.clone()
        .flat_map(|from| ends.clone().filter_map(move |to| name.get(from..to)))
        .filter(|piece| !piece.is_empty())
        .collect()
}

fn names_account(rule: &Rule) -> bool {
    Field::ALL.into_iter().filter_map(|field| rule.pattern(field)).any(|pattern| pattern.mentions(Field::Account))
}

/// Whether a rule matches as far as address, time, tag and reference go; `None` where that depends on the name.
fn match_beside_name(rule: &Rule, account: &str, labels: &LabelValues, place: &Place) -> Option<bool> {
    let (begins, ends) = rule.window();
    let in_time = begins.is_none_or(|start| place.now >= start) && ends.is_none_or(|end| place.now < end);
    let from_there = rule
        .network()
        .is_none_or(|network| place.address.is_some_and(|address| network.contains(&address.to_canonical())));
    let right_kind = rule.reference().is_none_or(|kind| match &place.reference {
        Some(Reference::Tag(_)) => kind.as_str() == "tag",
        Some(Reference::Digest(_)) => kind.as_str() == "digest",
        None => false,
    });
    let right_tag = match (rule.tag(), &place.reference) {
        (None, _) => Some(true),
        (Some(pattern), Some(Reference::Tag(tag))) => {
            let captures = pattern.placeholders().any(|placeholder| match placeholder {
                Placeholder::Capture(..) | Placeholder::Value(Field::Name) => true,
                Placeholder::Value(Field::Account | Field::Type | Field::Service) | Placeholder::Label(_) => false,
            });
            let values = FieldValues { account, kind: &place.kind, name: "", service: &place.service };
            match captures {
                true => None,
                false => pattern.matches(tag, &Bindings::new(values, labels)).ok(),
            }
        }
        (Some(_), Some(Reference::Digest(_)) | None) => Some(false),
    };
    match in_time && from_there && right_kind {
        true => right_tag,
        false => Some(false),
    }
}

/// The rules that decide anything for the listed accounts; `None` where that could not be told.
pub fn deciding(world: &World<'_>, narrow: &Narrow, still: &dyn Fn() -> bool) -> Option<BTreeSet<usize>> {
    match (world.unlisted, world.below) {
        (Unlisted::Nobody, Below::Nothing | Below::SomebodyElse) => {}
        (Unlisted::Anybody, Below::Nothing | Below::SomebodyElse) => return None,
    }
    let mut asking = Asking::new(world, narrow, still, None);
    let mut all = BTreeSet::new();
    for (account, labels) in &world.accounts {
        let Some(labels) = labels else { continue };
        all.extend(asking.rights(account, labels).into_iter().map(|can| can.way.rule));
    }
    asking.undecided.is_empty().then_some(all)
}
