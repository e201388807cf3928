//! What two policies decide differently, and for whom.
//!
//! A question that no changed rule matches is decided alike by both lists: the rules that they have in common are in the same order. So only names that a
//! changed rule matches are looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use time::OffsetDateTime;

use super::aligned::{Aligned, Reach};
use super::held::{Left, left};
use super::outcomes::{Live, Outcome, outcomes};
use super::places::{addresses, is_open_in, kinds, moments};
use super::unlisted::profiles;
use super::{Below, Narrow, Place, Unlisted, World, grants, words};
use crate::pattern::{Field, LabelValues, Pattern};
use crate::regular::{Grammar, Unfinished};
use crate::rule::{ReferenceKind, Rule};
use crate::scope::{Action, Actions, OURS, Reference};

/// So many accounts of a row are named.
const FIRST_ACCOUNTS: usize = 10;
/// So many names are tried where it is not known which of them a rule matches.
const TRIED: usize = 24;
/// A digest stands for all others: rules do not look into it.
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

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
    pub why: &'static str,
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

/// What is left of the rules of both lists for a group of accounts, with the numbers of their sets.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Profile {
    phase: Phase,
    kind: String,
    service: String,
    old: Option<Vec<Numbered>>,
    new: Option<Vec<Numbered>>,
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Numbered {
    live: Live,
    tags: Option<usize>,
    changed: bool,
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

/// A name for which the lists have these outcomes.
struct Candidate {
    name: String,
    old: Outcome,
    new: Outcome,
    /// Whether the outcomes are sure.
    sure: bool,
}

struct Search {
    candidates: Vec<Candidate>,
    ended: Result<(), Unfinished>,
}

/// What is looked for among names: the grammar, the rules of both lists, and the sets that changed rules have.
type Sought = (Grammar, Vec<Live>, Vec<Live>, Option<Vec<usize>>);

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
            undecided: BTreeMap::new(),
        }
    }

    fn findings(self) -> Findings {
        let differences = self.rows.into_values().map(|(mut row, accounts)| {
            row.count = accounts.len();
            let mut first: Vec<String> = accounts.into_iter().collect();
            first.sort_unstable();
            first.truncate(FIRST_ACCOUNTS);
            Difference { first, ..row }
        });
        let undecided = self.undecided.into_iter();
        Findings {
            differences: differences.collect(),
            undecided: undecided.map(|(why, rules)| Undecided { why, rules: rules.into_iter().collect() }).collect(),
        }
    }

    fn run(&mut self, found: &mut dyn FnMut(&Difference)) {
        let same_services = self.old.services == self.new.services;
        let listed: Vec<Asker> = self.listed();
        let anybody = self.old.unlisted == Unlisted::Anybody || self.new.unlisted == Unlisted::Anybody;
        let same_people = self.old.unlisted == self.new.unlisted && listed.iter().all(|asker| asker.old == asker.new);
        if self.aligned.is_whole() && same_services && same_people && self.old.below == self.new.below {
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
        let is_listed = |name: &str| self.old.accounts.contains_key(name) || self.new.accounts.contains_key(name);
        let (askers, complete) = profiles(&rules, &changed, &is_listed, self.still);
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
        let mut groups: BTreeMap<Profile, Vec<usize>> = BTreeMap::new();
        'askers: for (index, asker) in askers.iter().enumerate() {
            for kind in &types {
                for service in &services {
                    if self.out_of_time() {
                        break 'askers;
                    }
                    if let Some(profile) = self.profile(asker, kind, service, old, new) {
                        groups.entry(profile).or_default().push(index);
                    }
                }
            }
        }
        let mut searches: HashMap<Sought, Rc<Search>> = HashMap::new();
        // What concerns the most accounts first, and then the simplest.
        let mut groups: Vec<(Profile, Vec<usize>)> = groups.into_iter().collect();
        groups.sort_by_key(|(profile, _)| {
            let length = |side: &Option<Vec<Numbered>>| side.as_ref().map_or(0, Vec::len);
            length(&profile.old) + length(&profile.new)
        });
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
                let grammar = if place.kind == OURS { Grammar::Ours } else { Grammar::Name };
                let key = (grammar, lives(old_here), lives(new_here), within);
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
        self.old.below == Below::SomebodyElse || self.new.below == Below::SomebodyElse
    }

    /// Confirms what a search found, and says what it could not find.
    fn settle(
        &mut self,
        search: &Search,
        (_, old, new, _): &Sought,
        people: &[&Asker],
        place: &Place,
        found: &mut dyn FnMut(&Difference),
    ) {
        let mut confirmed: HashSet<(&Outcome, &Outcome)> = HashSet::new();
        for candidate in &search.candidates {
            if self.confirm(candidate, people, place, found) {
                confirmed.insert((&candidate.old, &candidate.new));
            }
        }
        let mut told = HashSet::new();
        for candidate in &search.candidates {
            let outcome = (&candidate.old, &candidate.new);
            let is_sure = candidate.sure && confirmed.contains(&outcome);
            if is_sure || !told.insert(outcome) {
                continue;
            }
            let old = candidate.old.maybe.iter().map(|rule| (Side::Old, *rule));
            let new = candidate.new.maybe.iter().map(|rule| (Side::New, *rule));
            let mut rules: Vec<(Side, usize)> = old.chain(new).collect();
            let settled = rules.is_empty() && confirmed.contains(&outcome);
            // Rules that both have, and that both lists meet or pass, change nothing where a difference was found.
            if settled || (confirmed.contains(&outcome) && self.are_common(&candidate.old, &candidate.new)) {
                continue;
            }
            if rules.is_empty() {
                rules.extend(candidate.old.first.map(|rule| (Side::Old, rule)));
                rules.extend(candidate.new.first.map(|rule| (Side::New, rule)));
                let unknown = |first: Option<usize>, below| first.is_none() && below == Below::SomebodyElse;
                let why =
                    if unknown(candidate.old.first, self.old.below) || unknown(candidate.new.first, self.new.below) {
                        "what no rule matches is decided by somebody whose rules are not known"
                    } else {
                        "a name was found that both policies decide alike after all"
                    };
                self.say(why, rules);
            } else {
                self.say("which names these rules match takes more than a regular expression", rules);
            }
        }
        match search.ended {
            Ok(()) => {}
            Err(unfinished) => {
                let broad = |side: Side, live: &[Live]| -> Vec<(Side, usize)> {
                    let many = live.iter().filter(|live| {
                        let rule = self.rule((side, live.rule));
                        rule.and_then(|rule| rule.pattern(Field::Name)).is_some_and(Pattern::is_regex)
                    });
                    many.map(|live| (side, live.rule)).collect()
                };
                let mut rules = broad(Side::Old, old);
                rules.extend(broad(Side::New, new));
                self.say(
                    match unfinished {
                        Unfinished::Time => {
                            "the time was not enough to try all names that these rules tell apart together"
                        }
                        Unfinished::Size => {
                            "the memory was not enough for all names that these rules tell apart together"
                        }
                    },
                    rules,
                );
            }
        }
    }

    /// Whether the rules that may match are the same on both sides.
    fn are_common(&self, old: &Outcome, new: &Outcome) -> bool {
        let partner = |rule: &usize| self.aligned.old.get(*rule).copied().flatten();
        old.maybe.len() == new.maybe.len()
            && old.maybe.iter().zip(&new.maybe).all(|(old, new)| partner(old) == Some(*new))
    }

    fn search(&mut self, (grammar, old, new, within): &Sought, mut early: impl FnMut(&Candidate, &mut Self)) -> Search {
        let mut met: HashMap<(Outcome, Outcome), usize> = HashMap::new();
        let mut candidates: Vec<Candidate> = Vec::new();
        let sets = std::mem::take(&mut self.sets);
        let still = self.still;
        let ended = outcomes(*grammar, within.as_deref(), &[old, new], &sets, still, &mut |text| {
            let Ok([old, new]) = <[Outcome; 2]>::try_from(text.outcomes) else { return ControlFlow::Continue(()) };
            let known = met.entry((old.clone(), new.clone())).or_default();
            let sure = old.maybe.is_empty() && new.maybe.is_empty();
            if *known >= if sure { 1 } else { TRIED } || !self.may_differ(&old, &new) {
                return ControlFlow::Continue(());
            }
            *known += 1;
            let candidate = Candidate { name: text.met.text(), old, new, sure };
            early(&candidate, self);
            candidates.push(candidate);
            ControlFlow::Continue(())
        });
        self.sets = sets;
        Search { candidates, ended }
    }

    /// Whether the two outcomes could grant anything differently.
    fn may_differ(&self, old: &Outcome, new: &Outcome) -> bool {
        if self.are_common(old, new) {
            return self.differs(old.first, new.first);
        }
        let all = |outcome: &Outcome| -> Vec<Option<usize>> {
            outcome.maybe.iter().copied().map(Some).chain([outcome.first]).collect()
        };
        let news = all(new);
        all(old).iter().any(|old| news.iter().any(|new| self.differs(*old, *new)))
    }

    fn differs(&self, old: Option<usize>, new: Option<usize>) -> bool {
        let unknown = |rule: Option<usize>, below: Below| rule.is_none() && below == Below::SomebodyElse;
        match (unknown(old, self.old.below), unknown(new, self.new.below)) {
            (true, true) => false,
            (true, false) | (false, true) => true,
            (false, false) => self.words.iter().any(|word| self.shift(old, new, word).is_some()),
        }
    }

    fn shift(&self, old: Option<usize>, new: Option<usize>, word: &Action) -> Option<Shift> {
        let before = grants(old.and_then(|old| self.old_rules.get(old)), word);
        let after = grants(new.and_then(|new| self.new_rules.get(new)), word);
        match (before, after) {
            (false, true) => Some(Shift::Granted),
            (true, false) => Some(Shift::Withheld),
            (true, true) | (false, false) => None,
        }
    }

    /// Asks both policies themselves, for each of these accounts; whether any difference is real.
    fn confirm(
        &mut self,
        candidate: &Candidate,
        people: &[&Asker],
        place: &Place,
        found: &mut dyn FnMut(&Difference),
    ) -> bool {
        let mut any = false;
        for asker in people {
            let decided = |world: &World<'_>, labels: &Option<Arc<LabelValues>>| match labels {
                Some(labels) if world.serves(&place.service) => {
                    world.decide(&asker.name, labels, place, &candidate.name).map(|rule| (rule, world.below))
                }
                Some(_) | None => Ok((None, Below::Nothing)),
            };
            let (Ok((old, old_below)), Ok((new, new_below))) =
                (decided(self.old, &asker.old), decided(self.new, &asker.new))
            else {
                continue;
            };
            let unknown = |rule: Option<usize>, below: Below| rule.is_none() && below == Below::SomebodyElse;
            if unknown(old, old_below) || unknown(new, new_below) {
                continue;
            }
            for word in self.words.clone() {
                let Some(shift) = self.shift(old, new, &word) else { continue };
                any = true;
                let row = self.rows.entry((old, new, word.clone(), shift, asker.listed)).or_insert_with(|| {
                    let labels = asker.new.clone().or_else(|| asker.old.clone());
                    let row = Difference {
                        shift,
                        action: word,
                        account: asker.name.clone(),
                        labels: labels.filter(|_| !asker.listed),
                        place: place.clone(),
                        name: candidate.name.clone(),
                        old,
                        new,
                        count: 0,
                        first: Vec::new(),
                    };
                    found(&row);
                    (row, HashSet::new())
                });
                if asker.listed {
                    row.1.insert(asker.name.clone());
                }
            }
        }
        any
    }

    /// What is left of the rules for an account; `None` where no rule that concerns it has changed.
    fn profile(&mut self, asker: &Asker, kind: &str, service: &str, old: &[usize], new: &[usize]) -> Option<Profile> {
        let same_labels = asker.old == asker.new;
        let lets =
            |world: &World<'_>, labels: &Option<Arc<LabelValues>>| labels.clone().filter(|_| world.serves(service));
        let (old_labels, new_labels) = (lets(self.old, &asker.old), lets(self.new, &asker.new));
        if old_labels.is_none() && new_labels.is_none() {
            return None;
        }
        let (old_rules, new_rules) = (&self.old_rules, &self.new_rules);
        let of = |rules: &[&Rule], number: usize, labels: &Option<Arc<LabelValues>>| -> Option<Left> {
            left(rules.get(number)?, &asker.name, labels.as_deref()?, kind, service)
        };
        let both_in = same_labels && old_labels.is_some() && new_labels.is_some();
        let is_changed = |partner: Option<&Option<usize>>| !matches!(partner, Some(Some(_)));
        if both_in {
            let olds = old.iter().filter(|number| is_changed(self.aligned.old.get(**number)));
            let news = new.iter().filter(|number| is_changed(self.aligned.new.get(**number)));
            let concerns = olds.clone().any(|number| of(old_rules, *number, &old_labels).is_some())
                || news.clone().any(|number| of(new_rules, *number, &new_labels).is_some());
            if !concerns {
                return None;
            }
        }
        let mut lefts: BTreeMap<(Side, usize), (Left, bool)> = BTreeMap::new();
        for number in old {
            let partner = self.aligned.old.get(*number).copied().flatten();
            let here = of(old_rules, *number, &old_labels);
            let there = match partner {
                Some(_) if both_in => here.clone(),
                Some(partner) => of(new_rules, partner, &new_labels),
                None => None,
            };
            let sure = same_labels || here.iter().chain(&there).all(|left| left.exact);
            let changed = partner.is_none() || here != there || !sure;
            lefts.extend(here.map(|left| ((Side::Old, *number), (left, changed))));
            if let (Some(partner), Some(there)) = (partner, there) {
                lefts.insert((Side::New, partner), (there, changed));
            }
        }
        for number in new {
            if is_changed(self.aligned.new.get(*number)) {
                lefts.extend(of(new_rules, *number, &new_labels).map(|left| ((Side::New, *number), (left, true))));
            }
        }
        let (mut in_old, mut in_new) = (Vec::new(), Vec::new());
        if both_in {
            // Only names that a changed rule matches are looked at.
            let changed = lefts.values().filter(|(_, changed)| *changed);
            let beginnings: BTreeSet<String> = changed.map(|(left, _)| left.beginning.clone()).collect();
            lefts.retain(|_, (left, _)| !beginnings.iter().all(|beginning| left.is_apart(beginning)));
        }
        for ((side, rule), (left, changed)) in lefts {
            let names = self.number(left.name);
            let tags = left.tag.map(|tag| self.number(tag));
            let numbered = Numbered { live: Live { rule, names, exact: left.exact }, tags, changed };
            match side {
                Side::Old => in_old.push(numbered),
                Side::New => in_new.push(numbered),
            }
        }
        let any = in_old.iter().chain(&in_new).any(|numbered| numbered.changed);
        let one_sided = old_labels.is_some() != new_labels.is_some();
        (any || one_sided).then(|| Profile {
            phase: asker.phase,
            kind: kind.to_owned(),
            service: service.to_owned(),
            old: old_labels.map(|_| in_old),
            new: new_labels.map(|_| in_new),
        })
    }

    fn types(&mut self, rules: &[&Rule], open: Vec<(Side, usize)>) -> Vec<String> {
        let patterns: Vec<&Pattern> = rules.iter().filter_map(|rule| rule.pattern(Field::Type)).collect();
        let given = ["repository", "registry"].map(str::to_owned);
        let found = kinds(Grammar::Type, &patterns, &given, 1, self.still);
        if !open.is_empty() || !found.complete {
            self.say("types that were not tried may be told apart by these rules", open);
        }
        // Its names are called otherwise, so it is looked at wherever a rule is about it.
        let is_ours = |rule: &&Rule| rule.pattern(Field::Type).is_some_and(|pattern| pattern.literal() == Some(OURS));
        let mut types: Vec<String> = found.texts.into_iter().filter(|kind| kind != OURS).collect();
        if rules.iter().any(is_ours) {
            types.push(OURS.to_owned());
        }
        types
    }

    fn services(&mut self, rules: &[&Rule], open: Vec<(Side, usize)>) -> Vec<String> {
        if let Some(service) = &self.narrow.service {
            return vec![service.clone()];
        }
        let mut known: Vec<String> = Vec::new();
        for service in self.old.services.iter().chain(&self.new.services) {
            if !known.contains(service) {
                known.push(service.clone());
            }
        }
        if !self.old.services.is_empty() && !self.new.services.is_empty() {
            return known;
        }
        let patterns: Vec<&Pattern> = rules.iter().filter_map(|rule| rule.pattern(Field::Service)).collect();
        let mut given = known.clone();
        given.push("registry".to_owned());
        let found = kinds(Grammar::Text, &patterns, &given, 1, self.still);
        if !open.is_empty() || !found.complete {
            self.say("token.services is open, and services that were not tried may be told apart by these rules", open);
        }
        known.extend(found.texts.into_iter().filter(|text| !given.contains(text) || text == "registry"));
        known
    }

    /// Each place that the rules of a group tell apart, the simplest first, with the sets of tags that the tag is in.
    fn places(&mut self, profile: &Profile) -> Vec<(Place, Vec<usize>)> {
        let old = profile.old.iter().flatten().filter_map(|numbered| self.old_rules.get(numbered.live.rule).copied());
        let new = profile.new.iter().flatten().filter_map(|numbered| self.new_rules.get(numbered.live.rule).copied());
        let rules: Vec<&Rule> = old.chain(new).collect();
        let addresses = match self.narrow.address {
            Some(address) => vec![Some(address)],
            None => addresses(rules.iter().copied()),
        };
        let Phase { from, until } = profile.phase;
        let mut moments = match self.narrow.at {
            Some(at) => vec![at],
            None => moments(rules.iter().copied(), from),
        };
        moments.retain(|moment| until.is_none_or(|until| *moment < until));
        let mut references: Vec<(Option<Reference>, Vec<usize>)> = vec![(None, Vec::new())];
        if rules.iter().any(|rule| rule.needs_reference()) {
            references.extend(self.tags(profile));
            references.push((Reference::parse(DIGEST), Vec::new()));
        }
        let mut places = Vec::new();
        for (reference, tags) in references {
            for now in &moments {
                for address in &addresses {
                    let place = Place {
                        kind: profile.kind.clone(),
                        service: profile.service.clone(),
                        address: *address,
                        reference: reference.clone(),
                        now: *now,
                    };
                    places.push((place, tags.clone()));
                }
            }
        }
        places
    }

    /// One tag of each kind that the rules of a group tell apart, with the sets that it is in.
    fn tags(&mut self, profile: &Profile) -> Vec<(Option<Reference>, Vec<usize>)> {
        let all = profile.old.iter().chain(&profile.new).flatten();
        let used: BTreeSet<usize> = all.filter_map(|numbered| numbered.tags).collect();
        let used: Vec<usize> = used.into_iter().collect();
        let sources: Vec<&str> = used.iter().filter_map(|set| self.sets.get(*set)).map(String::as_str).collect();
        let mut found: BTreeMap<Vec<usize>, String> = BTreeMap::new();
        let ended = crate::regular::walk(Grammar::Tag, None, &sources, self.still, &mut |met| {
            let sets: Vec<usize> = met.matched.iter().filter_map(|pattern| used.get(*pattern).copied()).collect();
            found.entry(sets).or_insert_with(|| met.text());
            ControlFlow::Continue(())
        });
        if ended.is_err() {
            let rules: Vec<(Side, usize)> = self.changed_numbers().collect();
            self.say("not all tags that rules tell apart could be tried", rules);
        }
        found.into_iter().map(|(sets, tag)| (Reference::parse(&tag), sets)).collect()
    }
}

fn pick<'a, 'p>(rules: &'a [&'p Rule], numbers: &'a [usize]) -> impl Iterator<Item = &'p Rule> + 'a {
    numbers.iter().filter_map(|number| rules.get(*number).copied())
}

fn is_in_force(rule: &Rule, place: &Place) -> bool {
    let (begins, ends) = rule.window();
    let in_time = begins.is_none_or(|start| place.now >= start) && ends.is_none_or(|end| place.now < end);
    let from_there = rule
        .network()
        .is_none_or(|network| place.address.is_some_and(|address| network.contains(&address.to_canonical())));
    in_time && from_there
}

/// Whether a rule matches the tag or the digest of a question, or the lack of one.
fn sees(rule: &Rule, place: &Place, tags: Option<usize>, inside: &[usize]) -> bool {
    let kind = match &place.reference {
        Some(Reference::Tag(_)) => Some(ReferenceKind::Tag),
        Some(Reference::Digest(_)) => Some(ReferenceKind::Digest),
        None => None,
    };
    let right_kind = rule.reference().is_none_or(|wanted| kind == Some(wanted));
    // Only a tag is in any set of tags.
    let right_tag = rule.tag().is_none() || tags.is_some_and(|tags| inside.contains(&tags));
    right_kind && right_tag
}
