//! A login at a directory: the account's entry is found, its password checked by a bind as that entry, and its labels
//! are made of attributes.

use std::sync::Arc;
use std::time::Duration;

use policy::pattern::{LabelValue, LabelValues};
use tracing::{debug, warn};

use super::DirectoryUsers;
use super::closed;
use super::course::Course;
use super::directory::{Bind, DirectoryAnswer, Errand, Question};
use super::filter::Filling;
use super::labels::LabelSource;
use super::mark;
use super::pace;
use super::protocol::{Depth, Entry, Search};
use super::settings::{AccountName, Login};
use super::step::Step;
use super::verdict::{Extent, Failure, Verdict};
use crate::authn::{Account, AccountState, Identity, LookUp, Outcome, Secret, Standing};
use crate::turns::Client;

/// More groups of one account are not read. Some of them only would be worse than none: a rule may refuse by a group.
const MAX_GROUPS: u32 = 1000;
/// What the runtime's clock counts in.
const TICK: Duration = Duration::from_millis(1);

/// What a directory holds for an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nobody,
    /// An entry that the directory calls the same, and that is spelled otherwise than by the case of letters.
    SpelledOtherwise(Person),
    /// More than one entry: their distinguished names, as far as they were looked at.
    Several(Vec<String>),
    /// Nothing was looked for, as the password is not right for the name that the account binds as; the directory's words.
    Refused(String),
    /// Nothing was looked for, as the account may not be used, whatever its password; why.
    Closed(String),
    /// An entry.
    One(Person),
}

/// Somebody in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The account, as the directory spells it.
    pub account: Account,
    entry: Entry,
}

impl Person {
    /// The distinguished name.
    pub fn name(&self) -> &str {
        &self.entry.name
    }
}

impl DirectoryUsers {
    /// Finds out who this is. An outcome is reached within the deadline of the settings.
    ///
    /// # Errors
    /// The directory does not say.
    pub(super) async fn log_in(&self, account: &Account, password: &Secret, client: Client) -> anyhow::Result<Outcome> {
        // Most directories let anybody in who binds with a name and no password (RFC 4513, section 5.1.2), and some read
        // a text up to its first NUL: neither gets there.
        if password.reveal().is_empty() || password.reveal().contains('\0') {
            return Ok(Outcome::NotMine);
        }
        let course = self.course();
        let errand = Errand { client, course: &course };
        let person = match self.find(account, Some(password), errand).await? {
            Found::Nobody => return Ok(Outcome::NotMine),
            // Spaces, or another form of letters. Nobody has the name that was typed; it may be somebody's elsewhere.
            Found::SpelledOtherwise(person) => {
                debug!(entry = person.name(), "the directory finds an entry for an account that is spelled otherwise");
                return Ok(Outcome::NotMine);
            }
            // Which of them it is, nobody can know. It is a "no" and not an error: the directory has answered, asking
            // again brings nothing else, and no other backend may let this name in.
            Found::Several(names) => {
                warn!(reason = "several_entries", backend = super::KIND.key, user.account = account.as_str(), entries = ?names,
                    "an account is refused, since the filter finds more than one entry for it");
                self.bind_as_nobody(password, errand).await?;
                return Ok(Outcome::Rejected);
            }
            Found::Refused(words) => {
                debug!(account = account.as_str(), cause = words, "the directory refuses a bind");
                blur(errand).await;
                return Ok(Outcome::Rejected);
            }
            Found::Closed(words) => return refuse_closed(words, errand).await,
            Found::One(person) => person,
        };
        match self.check(&person, password, errand).await? {
            Verdict::Right => {}
            Verdict::No(words) => {
                debug!(
                    account = account.as_str(),
                    entry = person.name(),
                    cause = words,
                    "the directory refuses a bind"
                );
                blur(errand).await;
                return Ok(Outcome::Rejected);
            }
            Verdict::Closed(words) => return refuse_closed(words, errand).await,
        }
        Ok(Outcome::Accepted(self.identity(person, Some(password), errand).await?))
    }

    /// Who an account is, without its password. Where users search in their own names, only a login tells.
    ///
    /// # Errors
    /// The directory does not say.
    pub(super) async fn known(&self, account: &Account, client: Client) -> anyhow::Result<LookUp> {
        match &self.directory.settings().login {
            Login::User(_) => return Ok(LookUp::OnlyByLogin),
            Login::Anonymous | Login::Ourselves { .. } => {}
        }
        let course = self.course();
        let errand = Errand { client, course: &course };
        Ok(match self.find(account, None, errand).await? {
            Found::Nobody | Found::SpelledOtherwise(_) => LookUp::Unknown,
            // The name is somebody's here, and no login under it succeeds: as if it were switched off.
            Found::Several(_) => LookUp::Known(Identity {
                account: Some(account.clone()),
                standing: Standing { state: AccountState::Disabled, ..Standing::default() },
                ..Identity::default()
            }),
            // Only a bind in the account's own name says either, and none was made.
            Found::Refused(words) | Found::Closed(words) => {
                anyhow::bail!("the directory refuses our own search: {words}")
            }
            Found::One(person) => {
                let (mark, standing) = (mark::of(&person.entry), closed::standing(&person.entry)?);
                let identity = self.identity(person, None, errand).await?;
                LookUp::Known(Identity { mark, standing, ..identity })
            }
        })
    }

    async fn identity(
        &self,
        person: Person,
        password: Option<&Secret>,
        errand: Errand<'_>,
    ) -> anyhow::Result<Identity> {
        let labels = self.labels(&person, password, errand).await?;
        let labels = labels.into_iter().map(|(label, values)| Ok((label, self.meant(values)?)));
        Ok(Identity {
            account: Some(person.account),
            labels: Arc::new(labels.collect::<anyhow::Result<LabelValues>>()?),
            ..Identity::default()
        })
    }

    /// A login that begins now, and when it has to be over.
    pub(super) fn course(&self) -> Course {
        Course::of(self.directory.settings().deadline)
    }

    /// What the directory holds for an account. The password is needed where users search in their own name.
    ///
    /// # Errors
    /// The directory does not say.
    pub(super) async fn find(
        &self,
        account: &Account,
        password: Option<&Secret>,
        errand: Errand<'_>,
    ) -> Result<Found, Failure> {
        // Directories overlook white space around a value, and nothing else would be left.
        if account.trim().is_empty() {
            return Ok(Found::Nobody);
        }
        let settings = self.directory.settings();
        let mut attributes = self.attributes(LabelSource::Entry);
        if password.is_none() {
            attributes.extend(closed::SHOWN.map(str::to_owned));
            attributes.extend(mark::MARKS.map(str::to_owned));
        }
        let search = Search {
            base: settings.base.clone(),
            depth: Depth::Subtree,
            filter: settings.filter.encode(Filling { account, name: "" }),
            attributes,
            // One more than there may be, so that two are noticed.
            most: 2,
            seconds: self.directory.seconds(),
            step: Step::Account,
        };
        let own_name = match &settings.login {
            Login::User(template) => template.of(account),
            Login::Anonymous | Login::Ourselves { .. } => String::new(),
        };
        let reply = self.search(&search, &own_name, password, errand).await?;
        match reply.verdict {
            Verdict::Right => {}
            Verdict::No(words) => return Ok(Found::Refused(words)),
            Verdict::Closed(words) => return Ok(Found::Closed(words)),
        }
        let mut entries = reply.entries;
        let Some(entry) = entries.pop() else {
            return match reply.extent {
                Extent::Whole => Ok(Found::Nobody),
                Extent::Cut => {
                    Err(Failure::Unknown("the directory says that it found entries, and shows none".to_owned()))
                }
            };
        };
        if !entries.is_empty() || reply.extent == Extent::Cut {
            let names = std::iter::once(entry).chain(entries).map(|entry| entry.name);
            return Ok(Found::Several(names.take(2).collect()));
        }
        if entry.name.trim().is_empty() {
            // To bind without a name is to be nobody in particular, and succeeds with any password.
            return Err(Failure::Unknown("the directory found an entry without a name".to_owned()));
        }
        Ok(match self.spelling(&entry, account)? {
            Some(account) => Found::One(Person { account, entry }),
            None => Found::SpelledOtherwise(Person { account: account.clone(), entry }),
        })
    }

    /// What the account is called in rules and tokens. A rule about `mallory` would be dodged by logging in as `Mallory`
    /// if it were what was typed.
    fn spelling(&self, entry: &Entry, account: &Account) -> Result<Option<Account>, Failure> {
        match &self.directory.settings().account {
            AccountName::AsTyped(attributes) => Ok(attributes.iter().find_map(|(attribute, around)| {
                let spelled = entry.values(attribute).filter_map(|value| around.spelling(value, account));
                spelled.into_iter().find_map(|value| Account::parse(&value).ok())
            })),
            AccountName::Attribute(attribute) => {
                let values: Vec<Account> =
                    entry.values(attribute).filter_map(|value| Account::parse(value).ok()).collect();
                let typed = values.iter().find(|value| value.to_lowercase() == account.to_lowercase());
                match (typed, values.as_slice()) {
                    (Some(value), _) => Ok(Some(value.clone())),
                    (None, [value]) => Ok(Some(value.clone())),
                    (None, []) => Err(Failure::Unknown(format!(
                        "the entry \"{}\" has no {attribute} (account_attribute) that could be an account",
                        entry.name
                    ))),
                    (None, _) => Err(Failure::Unknown(format!(
                        "the entry \"{}\" has several values of {attribute} (account_attribute), and none of them was typed",
                        entry.name
                    ))),
                }
            }
        }
    }

    /// Whether the password is this person's.
    ///
    /// # Errors
    /// The directory does not say.
    pub(super) async fn check(
        &self,
        person: &Person,
        password: &Secret,
        errand: Errand<'_>,
    ) -> Result<Verdict, Failure> {
        let bind = Bind { name: person.name(), password };
        let began = crate::clock::now();
        let reply = self.directory.ask(Question::Check(bind), errand).await?;
        self.pace.saw(began.elapsed());
        Ok(reply.verdict)
    }

    /// The person's labels, as texts.
    ///
    /// # Errors
    /// The directory does not say, or there are more groups than can be looked at.
    pub(super) async fn labels(
        &self,
        person: &Person,
        password: Option<&Secret>,
        errand: Errand<'_>,
    ) -> Result<Vec<(String, Vec<String>)>, Failure> {
        let settings = self.directory.settings();
        let groups = match &settings.groups {
            None => Vec::new(),
            Some(groups) => {
                let search = Search {
                    base: groups.base.clone(),
                    depth: Depth::Subtree,
                    filter: groups.filter.encode(Filling { account: &person.account, name: person.name() }),
                    attributes: self.attributes(LabelSource::Groups),
                    most: MAX_GROUPS,
                    seconds: self.directory.seconds(),
                    step: Step::Groups,
                };
                let reply = self.search(&search, person.name(), password, errand).await?;
                match (reply.verdict, reply.extent) {
                    (Verdict::Right, Extent::Whole) => reply.entries,
                    (Verdict::Right, Extent::Cut) => {
                        return Err(Failure::Unknown(format!(
                            "\"{}\" is in more groups than are read at once; narrow group_filter",
                            person.name()
                        )));
                    }
                    (Verdict::No(words) | Verdict::Closed(words), _) => return Err(not_any_more(&words)),
                }
            }
        };
        let own = std::slice::from_ref(&person.entry);
        let values = settings.labels.iter().map(|rule| {
            let entries = match rule.from {
                LabelSource::Entry => own,
                LabelSource::Groups => groups.as_slice(),
            };
            match rule.lacks_values(entries) {
                false => Ok((rule.label.clone(), rule.values(entries))),
                true => Err(Failure::Unknown(format!(
                    "\"{}\" has values for the label {} that are not all to be had: more than the directory gives at once, more than \
                     are kept, or no text; take it from groups",
                    person.name(),
                    rule.label
                ))),
            }
        });
        values.collect()
    }

    /// Searches in the name that the settings say: our own, nobody's, or that of the user.
    pub(super) async fn search(
        &self,
        search: &Search,
        name: &str,
        password: Option<&Secret>,
        errand: Errand<'_>,
    ) -> Result<DirectoryAnswer, Failure> {
        let question = match (&self.directory.settings().login, password) {
            (Login::Anonymous | Login::Ourselves { .. }, _) => Question::Search(search),
            (Login::User(_), Some(password)) => Question::SearchAs(Bind { name, password }, search),
            (Login::User(_), None) => {
                return Err(Failure::Unknown(
                    "with initial_bind_as_user nothing is found without the password".to_owned(),
                ));
            }
        };
        self.directory.ask(question, errand).await
    }

    /// The attributes that a search has to bring.
    fn attributes(&self, from: LabelSource) -> Vec<String> {
        let settings = self.directory.settings();
        let mut wanted: Vec<&str> = match (from, &settings.account) {
            (LabelSource::Groups, _) => Vec::new(),
            (LabelSource::Entry, AccountName::Attribute(attribute)) => vec![attribute],
            (LabelSource::Entry, AccountName::AsTyped(attributes)) => {
                attributes.iter().map(|(name, _)| name.as_str()).collect()
            }
        };
        for attribute in settings.labels.iter().filter(|rule| rule.from == from).filter_map(|rule| rule.wanted()) {
            if !wanted.iter().any(|known| known.eq_ignore_ascii_case(attribute)) {
                wanted.push(attribute);
            }
        }
        // An empty list would mean all of them.
        match wanted.is_empty() {
            true => vec!["1.1".to_owned()],
            false => wanted.into_iter().map(str::to_owned).collect(),
        }
    }

    fn meant(&self, values: Vec<String>) -> anyhow::Result<Vec<LabelValue>> {
        let syntax = self.directory.settings().label_values;
        syntax.values(values).map_err(|error| anyhow::anyhow!("a label's value is not a glob: {error}"))
    }

    /// Binds as somebody who is not there, which takes as long as a wrong password as far as that is in our hands. Never as
    /// somebody who is: that would be an attempt, and attempts lock accounts.
    ///
    /// # Errors
    /// As for a wrong password.
    pub(super) async fn bind_as_nobody(&self, password: &Secret, errand: Errand<'_>) -> Result<(), Failure> {
        if password.reveal().is_empty() || password.reveal().contains('\0') {
            return Ok(());
        }
        let bind = Bind { name: &self.nobodys_name, password };
        let end = self.pace.drawn().map(|took| errand.course.deadline().min(crate::clock::now() + took));
        // Whatever is said, nobody is let in by it.
        self.directory.ask(Question::Check(bind), errand).await?;
        // Sleeping takes up to a tick longer than was asked for; what is shorter than that is left as it is.
        if let Some(end) = end.and_then(|end| end.checked_sub(TICK)).filter(|end| *end > crate::clock::now()) {
            tokio::time::sleep_until(end).await;
        }
        blur(errand).await;
        Ok(())
    }
}

/// A refusal waits for up to four milliseconds more, at random: what a directory computes for a password can be so little that
/// no clock here could wait for it, and whoever measures from beside us could.
async fn blur(errand: Errand<'_>) {
    tokio::time::sleep_until(errand.course.deadline().min(crate::clock::now() + pace::blur())).await;
}

/// Refuses somebody whose account may not be used, as late as a wrong password is. The directory's words are in the line of the
/// refusal.
async fn refuse_closed(words: String, errand: Errand<'_>) -> anyhow::Result<Outcome> {
    blur(errand).await;
    Ok(Outcome::Closed(words))
}

pub(super) fn not_any_more(words: &str) -> Failure {
    Failure::Unknown(format!("the password was right a moment ago, and is not now: {words}"))
}
