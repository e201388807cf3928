//! The rules of a collection as an administrator changes them: one by one, or all at once by an import.
//!
//! Two things must not happen: that a server decides by rules in an order that nobody wrote, and that two people overwrite
//! each other unseen. Single rules change in single steps, each of which leaves a right set ([`super::order`]); an import
//! stands behind a [guard](super::guard). Every write names what the document was, and does nothing if it is something
//! else by now.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{Duration, Instant};

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};

use super::documents::{compile, name_with_seq, read_text};
use super::import::{Unnumbered, number_after, number_all};
use super::order::{MAX_SEQ, Room, Shift, Spot, make_room};
use super::text::{KEYS, Numbered, number};
use super::{Settings, fetch, guard};
use crate::authz::acl::{Acl, RuleText};
use crate::mongo::document::{name_of, unchanged};
use crate::mongo::{Collection, Failure, Run, WRITING, Wrote};

/// How often a change is planned anew because others changed the rules at the same time.
const TRIES: usize = 8;
/// How often an import's guard shows that its import is still at work.
const BEAT: Duration = Duration::from_millis(500);
/// A guard that has not shown it for so long belongs to an import that was cut off: longer than the longest write of one
/// that is at work.
const SILENCE: Duration = Duration::from_secs(WRITING.as_secs() + 3);
/// How often a guard is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(250);

/// The rules of a collection.
pub struct RuleBook {
    collection: Collection,
}

/// All documents of a collection at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSet {
    /// In the order of `seq`, without the guard of an import.
    documents: Vec<Document>,
    guard: Option<Document>,
}

/// One document of the set.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// How messages name it.
    pub name: String,
    /// The rule, or what is wrong with it.
    pub rule: Result<Numbered, Vec<String>>,
    /// The document as it was read.
    pub document: Document,
}

/// Names a rule: by its `seq`, or by the `_id` of its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The number.
    Seq(i64),
    /// An ObjectId in hexadecimal, or a text.
    Id(String),
}

impl FromStr for Which {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Which, Self::Err> {
        Ok(text.parse().map_or_else(|_| Which::Id(text.to_owned()), Which::Seq))
    }
}

/// Where a rule is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Position {
    /// Directly before this rule.
    Before(Which),
    /// Directly after this rule.
    After(Which),
    /// At this very number.
    At(i64),
    /// After all others.
    End,
}

/// What an import does with the rules that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// There must be none.
    IntoEmpty,
    /// Only the imported ones are left.
    Replace,
    /// The imported ones come after them.
    Append,
}

/// One change, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A rule is new.
    Added(Numbered),
    /// A rule, as it was, is gone.
    Removed(String),
    /// A rule says something else, or is somewhere else.
    Became {
        /// As it was.
        before: String,
        /// As it is.
        after: Numbered,
    },
    /// A rule made room for another one.
    Renumbered {
        /// The number that it had.
        from: i64,
        /// The number that it has.
        to: i64,
    },
    /// What else the administrator should know.
    Note(String),
}

/// Why nothing, or nothing more, was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The rules could not be read.
    #[error(transparent)]
    Unread(Failure),
    /// A write got no answer.
    #[error("{0}; whether the change was made is not known: look before you try again")]
    Unknown(Failure),
    /// It must not, or cannot, be done.
    #[error("{0}")]
    Said(String),
}

fn said<T>(message: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Said(message.into()))
}

impl RuleSet {
    fn new(documents: Vec<Document>) -> RuleSet {
        let (mut guards, mut documents): (Vec<_>, Vec<_>) = documents.into_iter().partition(guard::is_guard);
        documents.sort_by_key(|document| read_text(document).0);
        RuleSet { documents, guard: guards.pop() }
    }

    /// The set as a server would use it.
    ///
    /// # Errors
    /// What keeps a server from using it.
    pub fn compile(&self) -> Result<(Acl, Vec<i64>), Vec<String>> {
        let all: Vec<Document> = self.guard.iter().chain(&self.documents).cloned().collect();
        compile_all(&all)
    }

    /// The documents, in the order of `seq`.
    pub fn stored(&self) -> impl Iterator<Item = Stored> {
        self.documents.iter().map(|document| Stored {
            name: name_with_seq(document),
            rule: read_whole(document),
            document: document.clone(),
        })
    }

    /// The rules, in their order.
    ///
    /// # Errors
    /// What is wrong with documents that are none.
    pub fn rules(&self) -> Result<Vec<Numbered>, Vec<String>> {
        let mut rules = Vec::new();
        let mut wrong = Vec::new();
        for stored in self.stored() {
            match stored.rule {
                Ok(rule) => rules.push(rule),
                Err(problems) => wrong.extend(problems),
            }
        }
        rules.sort_by_key(|rule| rule.seq);
        if wrong.is_empty() { Ok(rules) } else { Err(wrong) }
    }

    /// What an import that has not ended means, if there is one.
    pub fn under_import(&self) -> Option<String> {
        self.guard.as_ref().map(guard::told)
    }

    /// The one document that is meant.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find(&self, which: &Which) -> Result<Stored, Refused> {
        let meant = |stored: &Stored| match which {
            Which::Seq(seq) => read_text(&stored.document).0 == Some(*seq),
            Which::Id(id) => match stored.document.get("_id") {
                Some(Bson::ObjectId(own)) => own.to_hex() == *id,
                Some(Bson::String(own)) => own == id,
                Some(_) | None => false,
            },
        };
        let mut found = self.stored().filter(meant);
        match (found.next(), found.next(), which) {
            (Some(one), None, _) => Ok(one),
            (None, _, Which::Seq(seq)) => said(format!("there is no rule with the seq {seq}")),
            (None, _, Which::Id(id)) => said(format!("there is no rule with the seq or the _id {id}")),
            (Some(one), Some(other), _) => said(format!(
                "there are several rules with this seq: {} and {}; name one by its _id",
                one.name, other.name
            )),
        }
    }

    fn position_of(&self, id: Option<&Bson>) -> Result<usize, Refused> {
        match self.documents.iter().position(|document| document.get("_id") == id) {
            Some(position) => Ok(position),
            None => said("the rule was removed by somebody else at the same time"),
        }
    }

    /// The numbers, if the set is right as a whole: only then has it an order in which a place can be found.
    fn seqs(&self) -> Result<Vec<i64>, Refused> {
        match self.compile() {
            Ok((_, seqs)) => Ok(seqs),
            Err(problems) => said(format!(
                "the rules are not right as they are, so a place among them cannot be found; mend them first, by acl \
                 edit or acl remove:\n  {}",
                problems.join("\n  ")
            )),
        }
    }
}

impl RuleBook {
    /// The rules that the section names; nothing is connected yet.
    pub fn open(settings: &Settings) -> RuleBook {
        RuleBook { collection: Collection::new(settings.collection.clone()) }
    }

    /// The collection's full name.
    pub fn namespace(&self) -> String {
        self.collection.settings().namespace()
    }

    /// Reads all rules, as they were at one moment.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn read(&self) -> Result<RuleSet, Refused> {
        let mut before = None;
        for _ in 0..TRIES {
            let documents = fetch(&self.collection).await.map_err(Refused::Unread)?;
            // One that is moved under the reading can be missed: only what two readings agree on was there at once.
            if before.as_ref() == Some(&documents) {
                return Ok(RuleSet::new(documents));
            }
            before = Some(documents);
        }
        let told = before.and_then(|documents| RuleSet::new(documents).under_import()).unwrap_or_default();
        said(format!("{}: the rules change while they are read; try again. {told}", self.namespace()).trim_end())
    }

    async fn read_to_change(&self) -> Result<RuleSet, Refused> {
        let set = self.read().await?;
        match set.under_import() {
            Some(told) => said(told),
            None => Ok(set),
        }
    }

    /// Adds a rule. `tell` hears of each change when it is made.
    ///
    /// # Errors
    /// Why it was not added; others may have made room for it.
    pub async fn add(&self, text: &RuleText, position: &Position, mut tell: impl FnMut(Change)) -> Result<(), Refused> {
        let mut anchor = None;
        for _ in 0..TRIES {
            let set = self.read_to_change().await?;
            let seqs = set.seqs()?;
            let room = match position {
                Position::At(seq) => at(*seq, &set)?,
                Position::End => room(&seqs, Spot::End, None)?,
                Position::Before(which) => room(&seqs, Spot::Before(self.anchor(&set, which, &mut anchor)?), None)?,
                Position::After(which) => room(&seqs, Spot::After(self.anchor(&set, which, &mut anchor)?), None)?,
            };
            let Room::Made { shifts, seq } = room else { continue };
            let rule = Numbered { seq, text: text.clone() };
            let mut document = doc! { "_id": ObjectId::new() };
            document.extend(rule.to_document());
            right(set.documents.iter().chain([&document]), &shifts)?;
            if self.shift(&set, &shifts, &mut tell).await? == Wrote::Nothing {
                continue;
            }
            match self.collection.insert(&document).await.map_err(Refused::Unknown)? {
                Wrote::It => {
                    tell(Change::Added(rule));
                    return self.look_again(&mut tell).await;
                }
                Wrote::Nothing => {}
            }
        }
        self.too_busy()
    }

    /// Moves a rule to another place.
    ///
    /// # Errors
    /// Why it was not moved; others may have made room for it.
    pub async fn move_to(
        &self,
        which: &Which,
        position: &Position,
        mut tell: impl FnMut(Change),
    ) -> Result<(), Refused> {
        let (mut moving, mut anchor) = (None, None);
        for _ in 0..TRIES {
            let set = self.read_to_change().await?;
            let seqs = set.seqs()?;
            let from = self.anchor(&set, which, &mut moving)?;
            let spot = match position {
                Position::Before(other) => Spot::Before(self.anchor(&set, other, &mut anchor)?),
                Position::After(other) => Spot::After(self.anchor(&set, other, &mut anchor)?),
                Position::End => Spot::End,
                Position::At(_) => return said("a rule is moved before or after another one"),
            };
            if spot == Spot::Before(from) || spot == Spot::After(from) {
                return said("a rule cannot be moved before or after itself");
            }
            let (shifts, seq) = match room(&seqs, spot, Some(from))? {
                Room::AlreadyThere => {
                    tell(Change::Note("the rule is there already".to_owned()));
                    return Ok(());
                }
                Room::Made { shifts, seq } => (shifts, seq),
            };
            if self.shift(&set, &shifts, &mut tell).await? == Wrote::Nothing {
                continue;
            }
            let Some(document) = set.documents.get(from) else { continue };
            // If it made room itself, it has another number by now.
            let shifted = shifts.iter().find(|shift| shift.index == from);
            let mut now = document.clone();
            if let Some(shift) = shifted {
                now.insert("seq", number(shift.to));
            }
            let change = doc! { "$set": { "seq": number(seq) } };
            match self.collection.update(&unchanged(&now, KEYS), &change).await.map_err(Refused::Unknown)? {
                Wrote::It => {
                    let (_, text, _) = read_text(document);
                    tell(Change::Became { before: shown(&now), after: Numbered { seq, text } });
                    return self.look_again(&mut tell).await;
                }
                Wrote::Nothing => {}
            }
        }
        self.too_busy()
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// Why it was not removed.
    pub async fn remove(&self, which: &Which, mut tell: impl FnMut(Change)) -> Result<(), Refused> {
        let document = self.read_to_change().await?.find(which)?.document;
        match self.collection.delete(&unchanged(&document, KEYS)).await.map_err(Refused::Unknown)? {
            Wrote::It => {
                tell(Change::Removed(shown(&document)));
                self.look_again(&mut tell).await
            }
            Wrote::Nothing => said("somebody else changed this rule at the same time; nothing was removed"),
        }
    }

    /// Puts a rule in the place of the one in `document`, as it was read. Keys of other programs stay.
    ///
    /// # Errors
    /// Why it was not changed.
    pub async fn edit(
        &self,
        document: &Document,
        rule: &Numbered,
        mut tell: impl FnMut(Change),
    ) -> Result<(), Refused> {
        let set = self.read_to_change().await?;
        let new = rule.to_document();
        right([&new], &[])?;
        if let Some(other) = set
            .documents
            .iter()
            .find(|other| other.get("_id") != document.get("_id") && read_text(other).0 == Some(rule.seq))
        {
            return said(format!("the seq {} is taken, by {}", rule.seq, name_of(other)));
        }
        let gone: Document = KEYS
            .iter()
            .filter(|key| document.contains_key(key) && !new.contains_key(key))
            .map(|key| ((*key).to_owned(), Bson::String(String::new())))
            .collect();
        let mut change = doc! { "$set": new };
        if !gone.is_empty() {
            change.insert("$unset", gone);
        }
        match self.collection.update(&unchanged(document, KEYS), &change).await.map_err(Refused::Unknown)? {
            Wrote::It => {
                tell(Change::Became { before: shown(document), after: rule.clone() });
                self.look_again(&mut tell).await
            }
            Wrote::Nothing => said("somebody else changed this rule at the same time; nothing was changed"),
        }
    }

    /// Brings rules in. `by` says to people who is at it.
    ///
    /// # Errors
    /// Why nothing was changed, or why only a part was: then the guard stays, and servers keep the rules from before.
    pub async fn import(
        &self,
        rules: &[Unnumbered],
        mode: Mode,
        run: Run,
        by: &str,
        mut tell: impl FnMut(Change),
    ) -> Result<(), Refused> {
        match (self.guard().await?, mode, run) {
            (Some(guard), Mode::IntoEmpty | Mode::Append, _) => {
                // Half of an import is nothing to add to.
                return said(format!("{} --replace", guard::told(&guard)));
            }
            // What is there is half of an import, and changes if that is at work: first find out.
            (Some(_), Mode::Replace, Run::Real) => {}
            (None, _, _) | (Some(_), Mode::Replace, Run::Dry) => {
                let set = self.read().await?;
                let steps = steps_to(&set.documents, &target(&set, rules, mode)?);
                if run == Run::Dry || steps.is_empty() {
                    steps.into_iter().for_each(|step| tell(step.told()));
                    return Ok(());
                }
            }
        }
        let mut held = self.take_guard(by, &mut tell).await?;
        // Only now does no other command of ours change anything: what was planned before may not be true any more.
        let planned = match self.read().await.and_then(|set| target(&set, rules, mode)) {
            Ok(planned) => planned,
            Err(refused) => {
                held.leave(&self.collection).await?;
                return Err(refused);
            }
        };
        match self.converge(&planned, &mut held, &mut tell).await {
            Ok(()) => held.leave(&self.collection).await,
            Err(refused) => said(format!(
                "{refused}\nThe import is not complete. Servers that run keep the rules from before; one that starts now \
                 answers with 503. Import once more."
            )),
        }
    }

    async fn converge(
        &self,
        target: &[Numbered],
        held: &mut Held,
        tell: &mut impl FnMut(Change),
    ) -> Result<(), Refused> {
        for _ in 0..TRIES {
            let steps = steps_to(&self.read().await?.documents, target);
            if steps.is_empty() {
                return Ok(());
            }
            for step in steps {
                held.beat(&self.collection).await?;
                let wrote = match &step {
                    Step::Remove(document) => self.collection.delete(&unchanged(document, KEYS)).await,
                    Step::Replace(document, rule) => {
                        self.collection.replace(&unchanged(document, KEYS), &rule.to_document()).await
                    }
                    Step::Insert(rule) => self.collection.insert(&rule.to_document()).await,
                };
                match wrote.map_err(Refused::Unknown)? {
                    Wrote::It => tell(step.told()),
                    // Somebody with a shell was there first; the next round looks at what is there then.
                    Wrote::Nothing => {}
                }
            }
        }
        self.too_busy()
    }

    /// Puts the guard up, or takes over that of an import which was cut off.
    async fn take_guard(&self, by: &str, tell: &mut impl FnMut(Change)) -> Result<Held, Refused> {
        let owner = ObjectId::new().to_hex();
        let mut seen: Option<(Document, Instant)> = None;
        let mut missed: usize = 0;
        loop {
            if self.collection.insert(&guard::new(&owner, by)).await.map_err(Refused::Unknown)? == Wrote::It {
                return Ok(Held { owner, beaten: Instant::now() });
            }
            let Some(guard) = self.guard().await? else {
                missed = missed.saturating_add(1);
                if missed > TRIES {
                    return said(format!("no import can begin: there is a rule with the seq {}", guard::SEQ));
                }
                continue;
            };
            let (old, since) = seen.get_or_insert_with(|| {
                tell(Change::Note(format!("{} … looking whether it is still at work", guard::told(&guard))));
                (guard.clone(), Instant::now())
            });
            if *old != guard {
                return said("another import is at work; wait until it has ended");
            }
            if since.elapsed() >= SILENCE {
                let mut mine = guard::new(&owner, by);
                mine.remove("_id");
                let same = unchanged(&guard, &["owner", "beat"]);
                if self.collection.replace(&same, &mine).await.map_err(Refused::Unknown)? == Wrote::It {
                    tell(Change::Note("it was cut off; this import takes its place".to_owned()));
                    return Ok(Held { owner, beaten: Instant::now() });
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn guard(&self) -> Result<Option<Document>, Refused> {
        let found = self
            .collection
            .ask_within(WRITING, |collection| async move { collection.find_one(doc! { "_id": guard::ID }).await });
        found.await.map_err(Refused::Unread)
    }

    async fn shift(&self, set: &RuleSet, shifts: &[Shift], tell: &mut impl FnMut(Change)) -> Result<Wrote, Refused> {
        for shift in shifts {
            let Some(document) = set.documents.get(shift.index) else { return Ok(Wrote::Nothing) };
            let change = doc! { "$set": { "seq": number(shift.to) } };
            match self.collection.update(&unchanged(document, KEYS), &change).await.map_err(Refused::Unknown)? {
                Wrote::It => tell(Change::Renumbered { from: shift.from, to: shift.to }),
                Wrote::Nothing => return Ok(Wrote::Nothing),
            }
        }
        Ok(Wrote::It)
    }

    /// Says what is wrong after a change, whoever's fault it is.
    async fn look_again(&self, tell: &mut impl FnMut(Change)) -> Result<(), Refused> {
        if let Err(problems) = self.read().await?.compile() {
            tell(Change::Note(format!(
                "the rules are not right as a whole, so servers keep those from before:\n  {}",
                problems.join("\n  ")
            )));
        }
        Ok(())
    }

    /// The position of a rule that was named when this began, wherever others have moved it since.
    fn anchor(&self, set: &RuleSet, which: &Which, known: &mut Option<Bson>) -> Result<usize, Refused> {
        if known.is_none() {
            *known = set.find(which)?.document.get("_id").cloned();
        }
        set.position_of(known.as_ref())
    }

    fn too_busy<T>(&self) -> Result<T, Refused> {
        said(format!("{}: others change the rules again and again at the same time; try again", self.namespace()))
    }
}

/// A guard of ours.
struct Held {
    owner: String,
    beaten: Instant,
}

impl Held {
    fn filter(&self) -> Document {
        doc! { "_id": guard::ID, "owner": &self.owner }
    }

    /// Shows that we are at work, and finds out whether the guard is still ours: who was paused for long must not go on
    /// writing into what another import has made since.
    async fn beat(&mut self, collection: &Collection) -> Result<(), Refused> {
        if self.beaten.elapsed() < BEAT {
            return Ok(());
        }
        match collection.update(&self.filter(), &doc! { "$inc": { "beat": 1_i64 } }).await.map_err(Refused::Unknown)? {
            Wrote::It => {
                self.beaten = Instant::now();
                Ok(())
            }
            Wrote::Nothing => said("another import took this one for dead and took its place"),
        }
    }

    async fn leave(&self, collection: &Collection) -> Result<(), Refused> {
        match collection.delete(&self.filter()).await.map_err(Refused::Unknown)? {
            Wrote::It => Ok(()),
            Wrote::Nothing => said("another import took this one for dead and took its place"),
        }
    }
}

/// One write of an import.
enum Step {
    Remove(Document),
    Replace(Document, Numbered),
    Insert(Numbered),
}

impl Step {
    fn told(&self) -> Change {
        match self {
            Step::Remove(document) => Change::Removed(shown(document)),
            Step::Replace(document, rule) => Change::Became { before: shown(document), after: rule.clone() },
            Step::Insert(rule) => Change::Added(rule.clone()),
        }
    }
}

/// What makes the documents those of the target. Rules are told apart by their number: one that is the same in both is
/// not touched, so that the second run has nothing to do.
fn steps_to(documents: &[Document], target: &[Numbered]) -> Vec<Step> {
    let mut wanted: BTreeMap<i64, &Numbered> = target.iter().map(|rule| (rule.seq, rule)).collect();
    let (mut removed, mut replaced) = (Vec::new(), Vec::new());
    for document in documents {
        let (seq, text, problems) = read_text(document);
        match seq.and_then(|seq| wanted.remove(&seq)) {
            Some(rule) if problems.is_empty() && rule.text == text => {}
            Some(rule) => replaced.push(Step::Replace(document.clone(), rule.clone())),
            None => removed.push(Step::Remove(document.clone())),
        }
    }
    let inserted = wanted.into_values().map(|rule| Step::Insert(rule.clone()));
    removed.into_iter().chain(replaced).chain(inserted).collect()
}

fn target(set: &RuleSet, rules: &[Unnumbered], mode: Mode) -> Result<Vec<Numbered>, Refused> {
    let target = match mode {
        Mode::IntoEmpty if !set.documents.is_empty() => {
            return said(format!(
                "there are {} rules already; write --replace to put these in their place, or --append to add them after \
                 those",
                set.documents.len()
            ));
        }
        Mode::IntoEmpty | Mode::Replace => number_all(rules.to_vec()).map_err(Refused::Said)?,
        Mode::Append => {
            let mut all = set.rules().map_err(|problems| Refused::Said(problems.join("\n")))?;
            let last = all.last().map(|rule| rule.seq);
            all.extend(number_after(last, rules.to_vec()).map_err(|error| Refused::Said(error.to_string()))?);
            all
        }
    };
    let documents: Vec<Document> = target.iter().map(Numbered::to_document).collect();
    right(&documents, &[])?;
    Ok(target)
}

fn at(seq: i64, set: &RuleSet) -> Result<Room, Refused> {
    if !(-MAX_SEQ..=MAX_SEQ).contains(&seq) {
        return said(format!("the seq {seq} is too large"));
    }
    match set.find(&Which::Seq(seq)) {
        Ok(other) => said(format!(
            "the seq {seq} is taken: {}\nwrite --before {seq} or --after {seq} to put the rule beside it",
            shown(&other.document).trim_start()
        )),
        Err(_) => Ok(Room::Made { shifts: Vec::new(), seq }),
    }
}

fn room(seqs: &[i64], spot: Spot, moving: Option<usize>) -> Result<Room, Refused> {
    make_room(seqs, spot, moving).map_err(|error| Refused::Said(error.to_string()))
}

/// Compiles what would be there after a change, as a server does.
fn right<'d>(documents: impl IntoIterator<Item = &'d Document>, shifts: &[Shift]) -> Result<(), Refused> {
    let after: Vec<Document> = documents
        .into_iter()
        .enumerate()
        .map(|(index, document)| {
            let mut document = document.clone();
            if let Some(shift) = shifts.iter().find(|shift| shift.index == index) {
                document.insert("seq", number(shift.to));
            }
            document
        })
        .collect();
    match compile_all(&after) {
        Ok(_) => Ok(()),
        Err(problems) => {
            said(format!("the rules could not be used then; nothing was changed:\n  {}", problems.join("\n  ")))
        }
    }
}

fn compile_all(documents: &[Document]) -> Result<(Acl, Vec<i64>), Vec<String>> {
    compile(documents).map_err(|wrong| wrong.iter().map(ToString::to_string).collect())
}

/// One document as a rule, without its neighbours.
fn read_whole(document: &Document) -> Result<Numbered, Vec<String>> {
    compile_all(std::slice::from_ref(document))?;
    let (seq, text, _) = read_text(document);
    seq.map(|seq| Numbered { seq, text }).ok_or_else(|| vec![name_of(document)])
}

/// A document on one line, whether it is a rule or not.
fn shown(document: &Document) -> String {
    match read_whole(document) {
        Ok(rule) => rule.to_string(),
        Err(_) => name_with_seq(document),
    }
}

/// The document's own text of a rule that cannot be read, for an editor: what can be read of it.
pub fn draft_of(stored: &Stored) -> Numbered {
    let (seq, text, _) = read_text(&stored.document);
    Numbered { seq: seq.unwrap_or_default(), text }
}
