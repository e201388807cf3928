//! Many rules brought in at once, behind a guard.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};

use super::set::{RuleSet, right, shown};
use super::{Change, RuleBook, TRIES};
use crate::authz::mongo::documents::read_text;
use crate::authz::mongo::guard;
use crate::authz::mongo::import::{Unnumbered, number_after, number_all};
use crate::authz::mongo::text::{KEYS, Numbered};
use crate::mongo::document::unchanged;
use crate::mongo::{NotChanged, Run, WRITING, Write, not_changed};
use crate::shelf::Shelf;
use crate::shown::counted;

/// How often an import's guard shows that its import is still at work.
const BEAT: Duration = Duration::from_millis(500);
/// A guard that has not shown it for so long belongs to an import that was cut off: longer than the longest write of one
/// that is at work.
const SILENCE: Duration = Duration::from_secs(WRITING.as_secs() + 3);
/// How often a guard is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(250);

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

impl RuleBook {
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
    ) -> Result<(), NotChanged> {
        let how = (mode, run, by);
        self.at_once(&mut tell, async |book, tell| book.import_guarded(rules, how, tell).await).await
    }

    async fn import_guarded(
        &self,
        rules: &[Unnumbered],
        (mode, run, by): (Mode, Run, &str),
        tell: &mut dyn FnMut(Change),
    ) -> Result<(), NotChanged> {
        match (self.guard().await?, mode, run) {
            (Some(guard), Mode::IntoEmpty | Mode::Append, _) => {
                // Half of an import is nothing to add to.
                return not_changed(format!("{} --replace", guard::told(&guard)));
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
        let mut held = self.take_guard(by, tell).await?;
        // Only now does no other command of ours change anything: what was planned before may not be true any more.
        let planned = match self.read().await.and_then(|set| target(&set, rules, mode)) {
            Ok(planned) => planned,
            Err(refused) => {
                held.leave(&self.shelf).await?;
                return Err(refused);
            }
        };
        match self.converge(&planned, &mut held, tell).await {
            Ok(()) => held.leave(&self.shelf).await,
            Err(refused) => not_changed(format!(
                "{refused}\nThe import is not complete. Servers that run keep the rules from before; one that starts now \
                 answers with 503. Import once more."
            )),
        }
    }

    async fn converge(
        &self,
        target: &[Numbered],
        held: &mut Held,
        tell: &mut dyn FnMut(Change),
    ) -> Result<(), NotChanged> {
        for _ in 0..TRIES {
            let steps = steps_to(&self.read().await?.documents, target);
            if steps.is_empty() {
                return Ok(());
            }
            for step in steps {
                held.beat(&self.shelf).await?;
                let wrote = match &step {
                    Step::Remove(document) => self.shelf.delete(&unchanged(document, KEYS)).await,
                    Step::Replace(document, rule) => {
                        self.shelf.replace(&unchanged(document, KEYS), &rule.to_document()).await
                    }
                    Step::Insert(rule) => self.shelf.insert(&rule.to_document()).await,
                };
                match wrote? {
                    Write::Applied => tell(step.told()),
                    // Somebody with a shell was there first; the next round looks at what is there then.
                    Write::Conflict => {}
                }
            }
        }
        self.too_busy()
    }

    /// Puts the guard up, or takes over that of an import which was cut off.
    async fn take_guard(&self, by: &str, tell: &mut dyn FnMut(Change)) -> Result<Held, NotChanged> {
        let owner = ObjectId::new().to_hex();
        let mut seen: Option<(Document, Instant)> = None;
        let mut missed: usize = 0;
        loop {
            if self.shelf.insert(&guard::new(&owner, by)).await? == Write::Applied {
                return Ok(Held { owner, beaten: crate::clock::now() });
            }
            let Some(guard) = self.guard().await? else {
                missed = missed.saturating_add(1);
                if missed > TRIES {
                    return not_changed(format!("no import can begin: there is a rule with the seq {}", guard::SEQ));
                }
                continue;
            };
            let (old, since) = seen.get_or_insert_with(|| {
                tell(Change::Note(format!("{} … looking whether it is still at work", guard::told(&guard))));
                (guard.clone(), crate::clock::now())
            });
            if *old != guard {
                return not_changed("another import is at work; wait until it has ended");
            }
            if since.elapsed() >= SILENCE {
                let mut mine = guard::new(&owner, by);
                mine.remove("_id");
                let same = unchanged(&guard, &["owner", "beat"]);
                if self.shelf.replace(&same, &mine).await? == Write::Applied {
                    tell(Change::Note("it was cut off; this import takes its place".to_owned()));
                    return Ok(Held { owner, beaten: crate::clock::now() });
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn guard(&self) -> Result<Option<Document>, NotChanged> {
        let found = self.shelf.find(doc! { "_id": guard::ID }, doc! {}).await;
        Ok(found.map_err(NotChanged::Unread)?.pop())
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
    async fn beat(&mut self, shelf: &Shelf) -> Result<(), NotChanged> {
        if self.beaten.elapsed() < BEAT {
            return Ok(());
        }
        match shelf.update(&self.filter(), &doc! { "$inc": { "beat": 1_i64 } }).await? {
            Write::Applied => {
                self.beaten = crate::clock::now();
                Ok(())
            }
            Write::Conflict => not_changed("another import took this one for dead and took its place"),
        }
    }

    async fn leave(&self, shelf: &Shelf) -> Result<(), NotChanged> {
        match shelf.delete(&self.filter()).await? {
            Write::Applied => Ok(()),
            Write::Conflict => not_changed("another import took this one for dead and took its place"),
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

fn target(set: &RuleSet, rules: &[Unnumbered], mode: Mode) -> Result<Vec<Numbered>, NotChanged> {
    let target = match mode {
        Mode::IntoEmpty if !set.documents.is_empty() => {
            let number = set.documents.len();
            let are = if number == 1 { "is" } else { "are" };
            return not_changed(format!(
                "there {are} {} already; write --replace to put these in their place, or --append to add them after those",
                counted(number, "rule")
            ));
        }
        Mode::IntoEmpty | Mode::Replace => number_all(rules.to_vec()).map_err(NotChanged::Refused)?,
        Mode::Append => {
            let mut all = set.rules().map_err(|problems| NotChanged::Refused(problems.join("\n")))?;
            let last = all.last().map(|rule| rule.seq);
            all.extend(number_after(last, rules.to_vec()).map_err(|error| NotChanged::Refused(error.to_string()))?);
            all
        }
    };
    let documents: Vec<Document> = target.iter().map(Numbered::to_document).collect();
    right(&documents, &[])?;
    Ok(target)
}
