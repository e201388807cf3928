//! What two policies decide differently, and for whom.
//!
//! A question that no changed rule matches is decided alike by both lists: the rules that they have in common are in the same order. So only names that a
//! changed rule matches are looked at.

mod profile;
mod questions;
mod search;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use time::OffsetDateTime;

use self::profile::{Numbered, Profile, is_in_force, sees};
use self::search::{Search, Sought};
use super::aligned::{Aligned, Reach};
use super::outcomes::Live;
use super::places::is_open_in;
use super::samples::Samples;
use super::unlisted::profiles;
use super::{DECIDED_BELOW, Narrow, Place, Unlisted, World, words};
use crate::pattern::{Field, LabelValues};
use crate::regular::Grammar;
use crate::rule::Rule;
use crate::scope::{Action, Actions, OUR_SERVICE, OURS};

/// So many accounts of a row are named.
const FIRST_ACCOUNTS: usize = 10;
/// After so much is left of rules for some accounts, names are searched: a first difference is told soon, however many accounts there are.
const HELD_AT_FIRST: usize = 20_000;
/// The same from then on. Each takes about 60 bytes.
const MOST_HELD: usize = 400_000;
/// So many sets of names are kept for the accounts that come next.
const MOST_SETS: usize = 200_000;

/// Which way a decision changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shift {
    /// Granted from now on, and not before.
    Granted,
    /// Granted before, and no more.
    Withheld,
}

/// One of the two policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The one that was.
    Old,
    /// The one that is to be.
    New,
}

/// What one pair of rules decides differently: a question for which both policies were asked, and who else is concerned.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Which way.
    pub shift: Shift,
    /// The action.
    pub action: Action,
    /// Who asks.
    pub account: String,
    /// With which labels, where the account cannot be listed.
    pub labels: Option<Arc<LabelValues>>,
    /// Where, when, and about what kind of thing.
    pub place: Place,
    /// The name: a shortest one.
    pub name: String,
    /// The rule of the old policy that decides; `None` where none matches, or nobody lets the account in.
    pub old: Option<usize>,
    /// The rule of the new policy.
    pub new: Option<usize>,
    /// How many listed accounts it concerns.
    pub count: usize,
    /// The first of them.
    pub first: Vec<String>,
}

/// What could not be told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Undecided {
    /// Why.
    pub why: Cow<'static, str>,
    /// The rules that stand in the way.
    pub rules: Vec<(Side, usize)>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// What is decided differently, in the order of the rules.
    pub differences: Vec<Difference>,
    /// What could not be told.
    pub undecided: Vec<Undecided>,
}

/// Finds what two policies decide differently, as long as `still` says so; `found` hears of each pair of rules as soon as it is met.
pub fn diff(
    old: &World<'_>,
    new: &World<'_>,
    narrow: &Narrow,
    still: &dyn Fn() -> bool,
    found: &mut dyn FnMut(&Difference),
) -> Findings {
    let mut work = Work::new(old, new, narrow, still);
    work.run(found);
    work.findings()
}

/// A time in which accounts come in, or do not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Phase {
    from: OffsetDateTime,
    until: Option<OffsetDateTime>,
}

/// An account as it is in one phase.
struct Asker {
    phase: Phase,
    name: String,
    old: Option<Arc<LabelValues>>,
    new: Option<Arc<LabelValues>>,
    listed: bool,
}

/// A pair of rules and what changes between them, for listed accounts or others.
type RowKey = (Option<usize>, Option<usize>, Action, Shift, bool);

struct Work<'w, 'p> {
    old: &'w World<'p>,
    new: &'w World<'p>,
    narrow: &'w Narrow,
    still: &'w dyn Fn() -> bool,
    old_rules: Vec<&'p Rule>,
    new_rules: Vec<&'p Rule>,
    aligned: Aligned,
    words: Actions,
    sets: Vec<String>,
    numbers: HashMap<String, usize>,
    rows: BTreeMap<RowKey, (Difference, HashSet<String>)>,
    samples: Samples,
    undecided: BTreeMap<&'static str, BTreeSet<(Side, usize)>>,
}

impl<'w, 'p> Work<'w, 'p> {
    fn new(old: &'w World<'p>, new: &'w World<'p>, narrow: &'w Narrow, still: &'w dyn Fn() -> bool) -> Work<'w, 'p> {
        let (old_rules, new_rules) = (old.rules(), new.rules());
        let words = words(old_rules.iter().chain(&new_rules).copied());
        Work {
            aligned: Aligned::new(&old_rules, &new_rules),
            old,
            new,
            narrow,
            still,
            old_rules,
            new_rules,
            words,
            sets: Vec::new(),
            numbers: HashMap::new(),
            rows: BTreeMap::new(),
            samples: Samples::default(),
            undecided: BTreeMap::new(),
        }
    }

    fn findings(self) -> Findings {
        let half_known = self.half_known();
        let differences = self.rows.into_values().map(|(mut row, accounts)| {
            row.count = accounts.len();
            let mut first: Vec<String> = accounts.into_iter().collect();
            first.sort_unstable();
            first.truncate(FIRST_ACCOUNTS);
            Difference { first, ..row }
        });
        let undecided = self.undecided.into_iter();
        let undecided = undecided.map(|(why, rules)| Undecided { why: why.into(), rules: rules.into_iter().collect() });
        let half_known = half_known.map(|why| Undecided { why: why.into(), rules: Vec::new() });
        Findings { differences: differences.collect(), undecided: undecided.chain(half_known).collect() }
    }

    /// Says which accounts only one side lists, where the other may let them in too: with which labels, nobody knows.
    fn half_known(&self) -> Option<String> {
        let is_met = |world: &World<'_>, name: &str| match world.unlisted {
            Unlisted::Anybody => !name.is_empty() && !world.accounts.contains_key(name),
            Unlisted::Nobody => false,
        };
        let listed: BTreeSet<&String> = self.old.accounts.keys().chain(self.new.accounts.keys()).collect();
        let mut names = listed.into_iter().filter(|name| is_met(self.old, name) || is_met(self.new, name));
        let no_rules = self.old_rules.is_empty() && self.new_rules.is_empty();
        let first: Vec<&str> = names.by_ref().take(FIRST_ACCOUNTS).map(String::as_str).collect();
        if first.is_empty() || no_rules {
            return None;
        }
        let more = if names.next().is_some() { ", …" } else { "" };
        Some(format!(
            "only one of the two lists these accounts, and whether the other lets them in, and with which labels, is not known: {}{more}",
            first.join(", ")
        ))
    }

    fn run(&mut self, found: &mut dyn FnMut(&Difference)) {
        let same_services = self.old.services == self.new.services;
        let listed: Vec<Asker> = self.listed();
        let anybody = self.old.unlisted == Unlisted::Anybody || self.new.unlisted == Unlisted::Anybody;
        let same_people = self.old.unlisted == self.new.unlisted && listed.iter().all(|asker| asker.old == asker.new);
        self.say_below(&listed, anybody);
        if self.aligned.is_whole() && same_services && same_people {
            return;
        }
        // Where only rules changed, most of the others are about something else.
        let (near_old, near_new) = self.near();
        let (all_old, all_new): (Vec<usize>, Vec<usize>) =
            ((0..self.old_rules.len()).collect(), (0..self.new_rules.len()).collect());
        let (ordinary, others): (Vec<Asker>, Vec<Asker>) =
            listed.into_iter().partition(|asker| same_services && asker.old.is_some() && asker.old == asker.new);
        if !ordinary.is_empty() && !self.aligned.is_whole() {
            self.compare(&ordinary, &near_old, &near_new, found);
        }
        if !others.is_empty() {
            self.compare(&others, &all_old, &all_new, found);
        }
        if anybody {
            self.compare_unlisted(same_services, (&near_old, &near_new), (&all_old, &all_new), found);
        }
    }

    /// Says so where what no rule matches may be decided otherwise: by somebody else than before, or by the same one who is asked something
    /// else, since an account has other labels.
    fn say_below(&mut self, listed: &[Asker], anybody: bool) {
        let is_asked = |asker: &Asker| asker.old.is_some() || asker.new.is_some();
        let asks_otherwise = |asker: &Asker| asker.old.is_some() && asker.new.is_some() && asker.old != asker.new;
        let otherwise = match self.old.below == self.new.below {
            true => self.is_anything_below() && listed.iter().any(asks_otherwise),
            false => anybody || listed.iter().any(is_asked),
        };
        let is_reached =
            |rules: &[&Rule]| !rules.iter().any(|rule| rule.matches_everything() && rule.window() == (None, None));
        if otherwise && (is_reached(&self.old_rules) || is_reached(&self.new_rules)) {
            self.say(DECIDED_BELOW, None);
        }
    }

    fn listed(&self) -> Vec<Asker> {
        let names: BTreeSet<&String> = self.old.accounts.keys().chain(self.new.accounts.keys()).collect();
        names.into_iter().flat_map(|name| self.in_each_phase(name)).collect()
    }

    /// An account in each phase that the policies have for it.
    fn in_each_phase(&self, name: &str) -> Vec<Asker> {
        let starts: BTreeSet<OffsetDateTime> = match self.narrow.at {
            Some(at) => BTreeSet::from([at]),
            None => {
                let from = self.narrow.from;
                let later = [self.old, self.new].into_iter().flat_map(|world| world.term(name).after(from));
                later.chain([from]).collect()
            }
        };
        let ends = starts.iter().skip(1).copied().map(Some).chain([None]);
        let asker = |(from, until): (&OffsetDateTime, Option<OffsetDateTime>)| Asker {
            phase: Phase { from: *from, until },
            name: name.to_owned(),
            old: self.old.labels(name, *from),
            new: self.new.labels(name, *from),
            listed: true,
        };
        starts.iter().zip(ends).map(asker).collect()
    }

    /// Accounts that nobody can list: some that rules tell apart.
    fn compare_unlisted(
        &mut self,
        same_services: bool,
        near: (&[usize], &[usize]),
        all: (&[usize], &[usize]),
        found: &mut dyn FnMut(&Difference),
    ) {
        let same = self.old.unlisted == self.new.unlisted && same_services;
        let (old, new) = if same { near } else { all };
        let rules: Vec<&Rule> = pick(&self.old_rules, old).chain(pick(&self.new_rules, new)).collect();
        let changed: Vec<&Rule> = self.changed_rules().filter(|_| same).collect();
        let changed = if same { changed } else { rules.clone() };
        if changed.is_empty() {
            return;
        }
        let listed: BTreeSet<&str> =
            self.old.accounts.keys().chain(self.new.accounts.keys()).map(String::as_str).collect();
        let (askers, complete) = profiles(&rules, &changed, &listed, self.still);
        let lets = |world: &World<'_>, labels: &Arc<LabelValues>| match world.unlisted {
            Unlisted::Anybody => Some(Arc::clone(labels)),
            Unlisted::Nobody => None,
        };
        let askers: Vec<Asker> = askers
            .into_iter()
            .map(|(name, labels)| Asker {
                phase: Phase { from: self.narrow.at.unwrap_or(self.narrow.from), until: None },
                name,
                old: lets(self.old, &labels),
                new: lets(self.new, &labels),
                listed: false,
            })
            .collect();
        self.compare(&askers, old, new, found);
        if !complete {
            let rules: Vec<(Side, usize)> = self.changed_numbers().collect();
            self.say("accounts that cannot be listed may have labels or names that were not tried", rules);
        }
    }

    fn changed_numbers(&self) -> impl Iterator<Item = (Side, usize)> + '_ {
        let old = self.aligned.old.iter().enumerate().filter(|(_, partner)| partner.is_none());
        let new = self.aligned.new.iter().enumerate().filter(|(_, partner)| partner.is_none());
        old.map(|(number, _)| (Side::Old, number)).chain(new.map(|(number, _)| (Side::New, number)))
    }

    fn rule(&self, (side, number): (Side, usize)) -> Option<&'p Rule> {
        match side {
            Side::Old => self.old_rules.get(number).copied(),
            Side::New => self.new_rules.get(number).copied(),
        }
    }

    fn changed_rules(&self) -> impl Iterator<Item = &'p Rule> + '_ {
        self.changed_numbers().filter_map(|changed| self.rule(changed))
    }

    /// The numbers of the rules that may match what a changed rule matches.
    fn near(&self) -> (Vec<usize>, Vec<usize>) {
        let changed: Vec<Reach<'_>> = self.changed_rules().map(Reach::new).collect();
        let is_near = |rule: &Rule| {
            let reach = Reach::new(rule);
            changed.iter().any(|changed| !changed.is_apart(&reach))
        };
        let mut near_old = Vec::new();
        let mut near_new = Vec::new();
        for (number, rule) in self.old_rules.iter().enumerate() {
            match self.aligned.old.get(number).copied().flatten() {
                None => near_old.push(number),
                Some(partner) if is_near(rule) => {
                    near_old.push(number);
                    near_new.push(partner);
                }
                Some(_) => {}
            }
        }
        near_new.extend((0..self.new_rules.len()).filter(|number| self.aligned.new.get(*number) == Some(&None)));
        near_new.sort_unstable();
        (near_old, near_new)
    }

    fn say(&mut self, why: &'static str, rules: impl IntoIterator<Item = (Side, usize)>) {
        self.undecided.entry(why).or_default().extend(rules);
    }

    fn out_of_time(&mut self) -> bool {
        let over = !(self.still)();
        if over {
            self.say("the time was not enough", None);
        }
        over
    }

    fn number(&mut self, source: String) -> usize {
        let next = self.sets.len();
        *self.numbers.entry(source).or_insert_with_key(|source| {
            self.sets.push(source.clone());
            next
        })
    }

    fn compare(&mut self, askers: &[Asker], old: &[usize], new: &[usize], found: &mut dyn FnMut(&Difference)) {
        let rules: Vec<&Rule> = pick(&self.old_rules, old).chain(pick(&self.new_rules, new)).collect();
        let open = |field: Field| -> Vec<(Side, usize)> {
            let sides = old.iter().map(|rule| (Side::Old, *rule)).chain(new.iter().map(|rule| (Side::New, *rule)));
            sides.filter(|numbered| self.rule(*numbered).is_some_and(|rule| is_open_in(rule, field))).collect()
        };
        let (open_types, open_services) = (open(Field::Type), open(Field::Service));
        let types = self.types(&rules, open_types);
        let services = self.services(&rules, open_services);
        let ours = self.narrow.service.clone().unwrap_or_else(|| OUR_SERVICE.to_owned());
        let ours = [ours];
        let mut groups: BTreeMap<Profile, Vec<usize>> = BTreeMap::new();
        let mut searches: HashMap<Sought, Rc<Search>> = HashMap::new();
        let (mut held, mut most) = (0, HELD_AT_FIRST);
        for (index, asker) in askers.iter().enumerate() {
            for kind in &types {
                for service in if kind == OURS { &ours[..] } else { &services[..] } {
                    if self.out_of_time() {
                        return;
                    }
                    if let Some(profile) = self.profile(asker, kind, service, old, new) {
                        let size = profile.size();
                        let members = groups.entry(profile).or_default();
                        held += if members.is_empty() { size } else { 0 };
                        members.push(index);
                    }
                }
            }
            if held > most {
                self.compare_groups(askers, std::mem::take(&mut groups), &types, &mut searches, found);
                (held, most) = (0, MOST_HELD);
                if self.sets.len() > MOST_SETS {
                    self.sets.clear();
                    self.numbers.clear();
                    searches.clear();
                }
            }
        }
        self.compare_groups(askers, groups, &types, &mut searches, found);
    }

    /// Searches for each group of accounts, with what was searched for others.
    fn compare_groups(
        &mut self,
        askers: &[Asker],
        groups: BTreeMap<Profile, Vec<usize>>,
        types: &[String],
        searches: &mut HashMap<Sought, Rc<Search>>,
        found: &mut dyn FnMut(&Difference),
    ) {
        // What people know best first, and the simplest first: a difference is told as soon as it is met.
        let mut groups: Vec<(Profile, Vec<usize>)> = groups.into_iter().collect();
        groups.sort_by_key(|(profile, _)| (types.iter().position(|kind| *kind == profile.kind), profile.size()));
        for (profile, members) in &groups {
            let places = self.places(profile);
            for (place, tags) in places {
                if self.out_of_time() {
                    return;
                }
                let here = |side: &Option<Vec<Numbered>>, rules: &[&Rule]| -> Option<Vec<(Live, bool)>> {
                    let all = side.as_ref()?.iter().filter(|numbered| {
                        rules
                            .get(numbered.live.rule)
                            .is_some_and(|rule| is_in_force(rule, &place) && sees(rule, &place, numbered.tags, &tags))
                    });
                    Some(all.map(|numbered| (numbered.live.clone(), numbered.changed)).collect())
                };
                let (old_here, new_here) = (here(&profile.old, &self.old_rules), here(&profile.new, &self.new_rules));
                let one_sided = old_here.is_none() != new_here.is_none();
                let both = old_here.iter().chain(&new_here).flatten();
                let changed: BTreeSet<usize> =
                    both.filter(|(_, changed)| *changed).map(|(live, _)| live.names).collect();
                if changed.is_empty() && !(one_sided && self.is_anything_below()) {
                    continue;
                }
                let within = (!one_sided || !self.is_anything_below()).then(|| changed.into_iter().collect::<Vec<_>>());
                let lives = |side: Option<Vec<(Live, bool)>>| -> Vec<Live> {
                    side.into_iter().flatten().map(|(live, _)| live).collect()
                };
                let grammar = Grammar::of_names(&place.kind);
                let is_both = |rule: usize| self.aligned.old.get(rule).copied().flatten().is_some();
                let apart = old_here.iter().flatten();
                let apart = apart.filter(|(live, changed)| *changed && !live.exact && is_both(live.rule));
                let apart: Vec<usize> = apart.map(|(live, _)| live.rule).collect();
                // Whom one side does not let in is refused there, and nobody else is asked.
                let asks_below = (
                    old_here.is_some() && self.old.below.is_somebody(),
                    new_here.is_some() && self.new.below.is_somebody(),
                );
                let key = Sought { grammar, old: lives(old_here), new: lives(new_here), within, apart, asks_below };
                let search = match searches.get(&key) {
                    Some(known) => Rc::clone(known),
                    None => {
                        let search = Rc::new(self.search(&key, |candidate, work| {
                            if let Some(asker) = members.first().and_then(|first| askers.get(*first)) {
                                work.confirm(candidate, &[asker], &place, found);
                            }
                        }));
                        searches.insert(key.clone(), Rc::clone(&search));
                        search
                    }
                };
                let people: Vec<&Asker> = members.iter().filter_map(|index| askers.get(*index)).collect();
                self.settle(&search, &key, &people, &place, found);
            }
        }
    }

    fn is_anything_below(&self) -> bool {
        self.old.below.is_somebody() || self.new.below.is_somebody()
    }
}

fn pick<'a, 'p>(rules: &'a [&'p Rule], numbers: &'a [usize]) -> impl Iterator<Item = &'p Rule> + 'a {
    numbers.iter().filter_map(|number| rules.get(*number).copied())
}
