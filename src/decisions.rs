//! The last decisions and refusals of this process, and how many there were in each minute of a day: for people who look, and for
//! nothing that decides. All of it is bounded, and gone when the process ends; the log has the rest.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::client_network::ClientNetwork;
use crate::clock;

/// So many decisions are remembered, and as many refusals.
const MOST: usize = 500;
/// The longest text of one that is kept, in bytes.
const LONGEST: usize = 512;
/// So many minutes are counted.
pub const MINUTES: usize = 24 * 60;

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something was granted, or a login was right.
    Granted,
    /// Nothing was.
    Nothing,
    /// Nobody was let in.
    Refused,
    /// It could not be found out.
    Failed,
}

impl Kind {
    /// All of them, in the order of [`Minute`].
    pub const ALL: [Kind; 4] = [Kind::Granted, Kind::Nothing, Kind::Refused, Kind::Failed];

    /// What people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Granted => "Granted",
            Kind::Nothing => "Nothing granted",
            Kind::Refused => "Refused",
            Kind::Failed => "Could not be decided",
        }
    }
}

/// A decision or a refusal, as its line in the log tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// The id that ties it to a reply and to the log.
    pub id: String,
    /// `granted`, `refused` and so on, as in the log.
    pub outcome: &'static str,
    /// The door.
    pub door: &'static str,
    /// The method and target, where the door has such.
    pub request: Option<String>,
    /// The account; of a refusal, the claimed one.
    pub account: String,
    /// The backend that knew it.
    pub backend: Option<&'static str>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// The audience.
    pub service: String,
    /// What was asked for.
    pub scope: String,
    /// What was granted.
    pub granted: String,
    /// What was not.
    pub withheld: String,
    /// The rule that decided.
    pub rule: Option<String>,
    /// The reason of a refusal.
    pub reason: Option<&'static str>,
    /// Its cause.
    pub cause: Option<String>,
    /// Which configuration decided.
    pub snapshot: Option<u64>,
}

impl Noted {
    fn cut(mut self) -> Noted {
        let Noted { id, request, account, service, scope, granted, withheld, rule, cause, .. } = &mut self;
        let all = [id, account, service, scope, granted, withheld].into_iter();
        for text in all.chain(request).chain(rule).chain(cause) {
            if text.len() > LONGEST {
                text.truncate(text.floor_char_boundary(LONGEST));
                text.push('…');
            }
        }
        self
    }
}

/// How many there were of each [`Kind`] in a minute.
pub type Minute = [u64; 4];

/// Those that are refused for one reason, by account and network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The account that was claimed.
    pub account: String,
    /// The network they come from.
    pub network: String,
    /// Why.
    pub reason: &'static str,
    /// How many of those that are remembered.
    pub count: usize,
    /// When the last one was.
    pub last: OffsetDateTime,
}

/// One that is remembered: when it was by the monotonic clock, which orders them, and by the wall clock, as its line in the log says.
type Remembered = (Instant, OffsetDateTime, Noted);

struct Kept {
    decided: VecDeque<Remembered>,
    refused: VecDeque<Remembered>,
    /// By the number of the minute, the last one at the back.
    minutes: VecDeque<(u64, Minute)>,
}

/// All of that.
pub struct Decisions {
    began: Instant,
    kept: Mutex<Kept>,
}

impl Default for Decisions {
    fn default() -> Decisions {
        let kept = Kept { decided: VecDeque::new(), refused: VecDeque::new(), minutes: VecDeque::new() };
        Decisions { began: clock::now(), kept: Mutex::new(kept) }
    }
}

impl Decisions {
    /// Takes note of one.
    pub fn note(&self, kind: Kind, noted: Noted) {
        #[expect(clippy::disallowed_methods, reason = "when people are told that it was")]
        let (at, wall, noted) = (clock::now(), OffsetDateTime::now_utc(), noted.cut());
        let minute = self.minute(at);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let list = match kind {
            Kind::Granted | Kind::Nothing => &mut kept.decided,
            Kind::Refused | Kind::Failed => &mut kept.refused,
        };
        if list.len() == MOST {
            list.pop_front();
        }
        list.push_back((at, wall, noted));
        match kept.minutes.back_mut() {
            // Another thread may have looked at the clock later, and come here first.
            Some((last, counts)) if *last >= minute => count(counts, kind),
            Some(_) | None => {
                let mut counts = Minute::default();
                count(&mut counts, kind);
                if kept.minutes.len() == MINUTES {
                    kept.minutes.pop_front();
                }
                kept.minutes.push_back((minute, counts));
            }
        }
    }

    /// The last ones, the newest first.
    pub fn recent(&self, most: usize) -> Vec<(OffsetDateTime, Noted)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let last = |list: &VecDeque<Remembered>| list.iter().rev().take(most).cloned().collect::<Vec<_>>();
        let mut all = last(&kept.decided);
        all.extend(last(&kept.refused));
        drop(kept);
        all.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
        all.truncate(most);
        all.into_iter().map(|(_, wall, noted)| (wall, noted)).collect()
    }

    /// Those of an id, in the order in which they were decided; none where they are not remembered.
    pub fn find(&self, id: &str) -> Vec<(OffsetDateTime, Noted)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let all = kept.decided.iter().chain(&kept.refused);
        all.filter(|(.., noted)| noted.id == id).map(|(_, wall, noted)| (*wall, noted.clone())).collect()
    }

    /// The refusals that are remembered, by account, network and reason: those with the most first.
    pub fn failing(&self, most: usize) -> Vec<Failing> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut groups: BTreeMap<(&str, String, &'static str), (usize, OffsetDateTime)> = BTreeMap::new();
        for (_, wall, noted) in &kept.refused {
            let network = ClientNetwork::of(noted.address).to_string();
            let key = (noted.account.as_str(), network, noted.reason.unwrap_or_default());
            let (count, last) = groups.entry(key).or_insert((0, *wall));
            (*count, *last) = (count.saturating_add(1), *wall);
        }
        let failing = |((account, network, reason), (count, last)): ((&str, _, _), _)| Failing {
            account: account.to_owned(),
            network,
            reason,
            count,
            last,
        };
        let mut all: Vec<Failing> = groups.into_iter().map(failing).collect();
        drop(kept);
        all.sort_by_key(|group| std::cmp::Reverse((group.count, group.last)));
        all.truncate(most);
        all
    }

    /// How many there were, minute by minute up to this one, which is the last.
    pub fn minutes(&self) -> Vec<Minute> {
        let now = self.minute(clock::now());
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = vec![Minute::default(); MINUTES];
        for (minute, counts) in &kept.minutes {
            let ago = usize::try_from(now.saturating_sub(*minute)).unwrap_or(usize::MAX);
            if let Some(place) = MINUTES.checked_sub(ago.saturating_add(1)).and_then(|at| all.get_mut(at)) {
                *place = *counts;
            }
        }
        all
    }

    fn minute(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.began).as_secs() / 60
    }
}

fn count(counts: &mut Minute, kind: Kind) {
    let [granted, nothing, refused, failed] = counts;
    let count = match kind {
        Kind::Granted => granted,
        Kind::Nothing => nothing,
        Kind::Refused => refused,
        Kind::Failed => failed,
    };
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use std::time::Duration;

    use super::*;

    fn noted(id: usize, account: &str, reason: Option<&'static str>) -> Noted {
        let address = Some([192, 0, 2, 1].into());
        Noted { id: id.to_string(), account: account.to_owned(), reason, address, ..Noted::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_ones_are_remembered_and_no_more_than_are_said() {
        let decisions = Decisions::default();
        for id in 0..=MOST {
            decisions.note(Kind::Granted, noted(id, "alice", None));
        }
        // What is granted to others takes no refusal's place.
        decisions.note(Kind::Refused, noted(7000, &"é".repeat(LONGEST), Some("wrong_credentials")));
        tokio::time::advance(Duration::from_secs(1)).await;
        for (id, account) in [(7001, "bob"), (7002, "bob")] {
            decisions.note(Kind::Refused, noted(id, account, Some("wrong_credentials")));
        }
        assert!(decisions.find("0").is_empty(), "there are newer ones in its place");
        assert_eq!(decisions.find("1").len(), 1);
        let (_, long) = decisions.find("7000").remove(0);
        assert!(long.account.len() <= LONGEST + 3 && long.account.ends_with("é…"), "{}", long.account);
        let first: Vec<String> = decisions.recent(2).into_iter().map(|(_, noted)| noted.account).collect();
        assert_eq!(first, ["bob", "bob"]);
        assert_eq!(decisions.recent(usize::MAX).len(), MOST + 3);
        let failing = decisions.failing(1);
        let told: Vec<_> = failing.iter().map(|one| (&*one.account, &*one.network, one.reason, one.count)).collect();
        assert_eq!(told, [("bob", "192.0.2.1", "wrong_credentials", 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn minutes_are_counted_for_a_day() {
        let decisions = Decisions::default();
        let last = |decisions: &Decisions, ago: usize| decisions.minutes()[MINUTES - 1 - ago];
        decisions.note(Kind::Granted, noted(1, "alice", None));
        decisions.note(Kind::Failed, noted(2, "alice", None));
        assert_eq!(last(&decisions, 0), [1, 0, 0, 1]);
        tokio::time::advance(Duration::from_secs(125)).await;
        decisions.note(Kind::Nothing, noted(3, "alice", None));
        assert_eq!(
            [last(&decisions, 0), last(&decisions, 1), last(&decisions, 2)],
            [[0, 1, 0, 0], [0; 4], [1, 0, 0, 1]]
        );
        tokio::time::advance(Duration::from_secs(60 * u64::try_from(MINUTES).unwrap_or(0))).await;
        assert_eq!(decisions.minutes(), vec![Minute::default(); MINUTES]);
    }
}
