//! The rules of a collection, of the records or of an SQL table as an administrator changes them: one by one, or all at once by an import.
//!
//! Two things must not happen: that a server decides by rules in an order that nobody wrote, and that two people overwrite
//! each other unseen. Single rules change in single steps, each of which leaves a right set ([`super::order`]); an import
//! stands behind a guard. Every write names what the document was, and does nothing if it is something
//! else by now.

mod bulk;
mod set;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};
use policy::rule::RuleText;

pub use bulk::Mode;
pub use set::{RuleSet, Stored, Which};

use super::documents::read_text;
use super::order::{MAX_SEQ, Room, Shift, Spot, make_room};
use super::text::{KEYS, Numbered, number};
use super::{AclMongoSettings, fetch};
use crate::mongo::document::{name_of, unchanged, update_to};
use crate::mongo::{NotChanged, Write, not_changed};
use crate::records::Settings;
use crate::shelf::{Shelf, What};
use crate::sql;
use set::{right, shown};

/// How often a change is planned anew because others changed the rules at the same time.
const TRIES: usize = 8;

/// The rules of a collection, of the records or of an SQL table.
pub struct RuleBook {
    shelf: Shelf,
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

impl RuleBook {
    /// The rules that the section names; nothing is connected yet.
    pub fn open(settings: &AclMongoSettings) -> RuleBook {
        RuleBook { shelf: Shelf::collection(&settings.collection) }
    }

    /// The rules of the records.
    pub fn in_records(store: &Settings) -> RuleBook {
        RuleBook { shelf: Shelf::records(store, What::Rules) }
    }

    /// The rules of docker_auth's SQL table. Each change is one transaction there.
    pub fn in_table(database: &sql::Settings) -> RuleBook {
        RuleBook { shelf: Shelf::table(database, What::Rules) }
    }

    /// Where they are, for messages.
    pub fn namespace(&self) -> String {
        self.shelf.namespace()
    }

    /// What it means to servers that the rules are not right as a whole.
    pub fn consequence(&self) -> &'static str {
        match &self.shelf {
            Shelf::Rules(_) | Shelf::Draft(_) => {
                "servers keep those from before, unless all that is missing is a seq, which the database sorts as it likes"
            }
            Shelf::Collection(_) | Shelf::Records(_) | Shelf::Users(_) => "servers keep those from before",
        }
    }

    /// Reads all rules, as they were at one moment.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn read(&self) -> Result<RuleSet, NotChanged> {
        let mut before = None;
        for _ in 0..TRIES {
            let documents = match &self.shelf {
                Shelf::Collection(collection) => fetch(collection).await,
                Shelf::Records(_) | Shelf::Users(_) | Shelf::Rules(_) | Shelf::Draft(_) => {
                    self.shelf.find(doc! {}, doc! {}).await
                }
            };
            let documents = documents.map_err(NotChanged::Unread)?;
            // One that is moved under the reading can be missed: only what two readings agree on was there at once.
            if before.as_ref() == Some(&documents) {
                return Ok(RuleSet::new(documents));
            }
            before = Some(documents);
        }
        let told = before.and_then(|documents| RuleSet::new(documents).under_import()).unwrap_or_default();
        not_changed(format!("{}: the rules change while they are read; try again. {told}", self.namespace()).trim_end())
    }

    /// Does a change step by step, or, where the database can, on a draft that is written at once if nobody changed anything
    /// meanwhile; then nothing is told before it is so.
    async fn at_once(
        &self,
        tell: &mut dyn FnMut(Change),
        change: impl AsyncFn(&RuleBook, &mut dyn FnMut(Change)) -> Result<(), NotChanged>,
    ) -> Result<(), NotChanged> {
        for _ in 0..TRIES {
            let Some(draft) = self.shelf.draft().await? else { return change(self, tell).await };
            let (book, mut told) = (RuleBook { shelf: draft }, Vec::new());
            change(&book, &mut |change| told.push(change)).await?;
            match book.shelf.commit().await? {
                Write::Applied => {
                    told.into_iter().for_each(tell);
                    return Ok(());
                }
                Write::Conflict => {}
            }
        }
        self.too_busy()
    }

    /// The rule that is meant now, by a name that stays its own if others change the rules before this is done.
    async fn pinned(&self, which: &Which) -> Result<Which, NotChanged> {
        match &self.shelf {
            Shelf::Rules(_) => {
                let document = self.read().await?.find(which)?.document;
                Ok(document.get_str("_id").map_or_else(|_| which.clone(), |id| Which::Id(id.to_owned())))
            }
            // Each of their changes keeps to the documents that it found at first.
            Shelf::Collection(_) | Shelf::Records(_) | Shelf::Users(_) | Shelf::Draft(_) => Ok(which.clone()),
        }
    }

    async fn pinned_position(&self, position: &Position) -> Result<Position, NotChanged> {
        Ok(match position {
            Position::Before(which) => Position::Before(self.pinned(which).await?),
            Position::After(which) => Position::After(self.pinned(which).await?),
            Position::At(_) | Position::End => position.clone(),
        })
    }

    async fn read_to_change(&self) -> Result<RuleSet, NotChanged> {
        let set = self.read().await?;
        match set.under_import() {
            Some(told) => not_changed(told),
            None => Ok(set),
        }
    }

    /// Adds a rule. `tell` hears of each change when it is made.
    ///
    /// # Errors
    /// Why it was not added; others may have made room for it.
    pub async fn add(
        &self,
        text: &RuleText,
        position: &Position,
        mut tell: impl FnMut(Change),
    ) -> Result<(), NotChanged> {
        let position = &self.pinned_position(position).await?;
        self.at_once(&mut tell, async |book, tell| book.add_step_by_step(text, position, tell).await).await
    }

    async fn add_step_by_step(
        &self,
        text: &RuleText,
        position: &Position,
        tell: &mut dyn FnMut(Change),
    ) -> Result<(), NotChanged> {
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
            if self.shift(&set, &shifts, tell).await? == Write::Conflict {
                continue;
            }
            match self.shelf.insert(&document).await? {
                Write::Applied => {
                    tell(Change::Added(rule));
                    return self.look_again(tell).await;
                }
                Write::Conflict => {}
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
    ) -> Result<(), NotChanged> {
        let (which, position) = (&self.pinned(which).await?, &self.pinned_position(position).await?);
        self.at_once(&mut tell, async |book, tell| book.move_step_by_step(which, position, tell).await).await
    }

    async fn move_step_by_step(
        &self,
        which: &Which,
        position: &Position,
        tell: &mut dyn FnMut(Change),
    ) -> Result<(), NotChanged> {
        let (mut moving, mut anchor) = (None, None);
        for _ in 0..TRIES {
            let set = self.read_to_change().await?;
            let seqs = set.seqs()?;
            let from = self.anchor(&set, which, &mut moving)?;
            let spot = match position {
                Position::Before(other) => Spot::Before(self.anchor(&set, other, &mut anchor)?),
                Position::After(other) => Spot::After(self.anchor(&set, other, &mut anchor)?),
                Position::End => Spot::End,
                Position::At(_) => return not_changed("a rule is moved before or after another one"),
            };
            if spot == Spot::Before(from) || spot == Spot::After(from) {
                return not_changed("a rule cannot be moved before or after itself");
            }
            let (shifts, seq) = match room(&seqs, spot, Some(from))? {
                Room::AlreadyThere => {
                    tell(Change::Note("the rule is there already".to_owned()));
                    return Ok(());
                }
                Room::Made { shifts, seq } => (shifts, seq),
            };
            if self.shift(&set, &shifts, tell).await? == Write::Conflict {
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
            match self.shelf.update(&unchanged(&now, KEYS), &change).await? {
                Write::Applied => {
                    let (_, text, _) = read_text(document);
                    tell(Change::Became { before: shown(&now), after: Numbered { seq, text } });
                    return self.look_again(tell).await;
                }
                Write::Conflict => {}
            }
        }
        self.too_busy()
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// Why it was not removed.
    pub async fn remove(&self, which: &Which, mut tell: impl FnMut(Change)) -> Result<(), NotChanged> {
        let which = &self.pinned(which).await?;
        self.at_once(&mut tell, async |book, tell| book.remove_now(which, tell).await).await
    }

    async fn remove_now(&self, which: &Which, tell: &mut dyn FnMut(Change)) -> Result<(), NotChanged> {
        let document = self.read_to_change().await?.find(which)?.document;
        match self.shelf.delete(&unchanged(&document, KEYS)).await? {
            Write::Applied => {
                tell(Change::Removed(shown(&document)));
                self.look_again(tell).await
            }
            Write::Conflict => not_changed("somebody else changed this rule at the same time; nothing was removed"),
        }
    }

    /// Puts a rule in place of the one in `document`, as it was read. Keys of other programs stay.
    ///
    /// # Errors
    /// Why it was not changed.
    pub async fn edit(
        &self,
        document: &Document,
        rule: &Numbered,
        mut tell: impl FnMut(Change),
    ) -> Result<(), NotChanged> {
        self.at_once(&mut tell, async |book, tell| book.edit_now(document, rule, tell).await).await
    }

    async fn edit_now(
        &self,
        document: &Document,
        rule: &Numbered,
        tell: &mut dyn FnMut(Change),
    ) -> Result<(), NotChanged> {
        let set = self.read_to_change().await?;
        let new = rule.to_document();
        right([&new], &[])?;
        if !set.documents.iter().any(|other| other.get("_id") == document.get("_id")) {
            return not_changed("somebody else changed this rule at the same time; nothing was changed");
        }
        if let Some(other) = set
            .documents
            .iter()
            .find(|other| other.get("_id") != document.get("_id") && read_text(other).0 == Some(rule.seq))
        {
            return not_changed(format!("the seq {} is taken, by {}", rule.seq, name_of(other)));
        }
        let change = update_to(document, &new, KEYS);
        match self.shelf.update(&unchanged(document, KEYS), &change).await? {
            Write::Applied => {
                tell(Change::Became { before: shown(document), after: rule.clone() });
                self.look_again(tell).await
            }
            Write::Conflict => not_changed("somebody else changed this rule at the same time; nothing was changed"),
        }
    }

    async fn shift(&self, set: &RuleSet, shifts: &[Shift], tell: &mut dyn FnMut(Change)) -> Result<Write, NotChanged> {
        for shift in shifts {
            let Some(document) = set.documents.get(shift.index) else { return Ok(Write::Conflict) };
            let change = doc! { "$set": { "seq": number(shift.to) } };
            match self.shelf.update(&unchanged(document, KEYS), &change).await? {
                Write::Applied => tell(Change::Renumbered { from: shift.from, to: shift.to }),
                Write::Conflict => return Ok(Write::Conflict),
            }
        }
        Ok(Write::Applied)
    }

    /// Says what is wrong after a change, whoever's fault it is.
    async fn look_again(&self, tell: &mut dyn FnMut(Change)) -> Result<(), NotChanged> {
        if let Err(problems) = self.read().await?.compile() {
            tell(Change::Note(format!(
                "the rules are not right as a whole, so servers keep those from before:\n  {}",
                problems.join("\n  ")
            )));
        }
        Ok(())
    }

    /// The position of a rule that was named when this began, wherever others have moved it since.
    fn anchor(&self, set: &RuleSet, which: &Which, known: &mut Option<Bson>) -> Result<usize, NotChanged> {
        if known.is_none() {
            *known = set.find(which)?.document.get("_id").cloned();
        }
        set.position_of(known.as_ref())
    }

    fn too_busy<T>(&self) -> Result<T, NotChanged> {
        not_changed(format!(
            "{}: others change the rules again and again at the same time; try again",
            self.namespace()
        ))
    }
}

fn at(seq: i64, set: &RuleSet) -> Result<Room, NotChanged> {
    if !(-MAX_SEQ..=MAX_SEQ).contains(&seq) {
        return not_changed(format!("the seq {seq} is too large"));
    }
    match set.find(&Which::Seq(seq)) {
        Ok(other) => not_changed(format!(
            "the seq {seq} is taken: {}\nwrite --before {seq} or --after {seq} to put the rule beside it",
            shown(&other.document).trim_start()
        )),
        Err(_) => Ok(Room::Made { shifts: Vec::new(), seq }),
    }
}

fn room(seqs: &[i64], spot: Spot, moving: Option<usize>) -> Result<Room, NotChanged> {
    make_room(seqs, spot, moving).map_err(|error| NotChanged::Refused(error.to_string()))
}
