//! What every store has to do with what is in registries. It is asked of an empty store, after the other questions.

use dockwarden::records::catalogue::{
    Change, Complete, Description, Lease, Leased, Listing, Mark, Pull, Pulled, Seq, Stamp, Star, StoredEvent, Sweep,
    SweepNumber, What, Work,
};
use dockwarden::records::{Changed, Records};
use time::OffsetDateTime;

const REG: &str = "reg";

/// Asks everything, one after the other.
pub(crate) async fn conforms(records: &dyn Records) {
    events_are_kept_once_and_worked_on_by_the_holder(records).await;
    disorder_comes_to_the_same(records).await;
    listings_take_what_no_event_touched(records).await;
    what_two_sweeps_lack_is_unseen(records).await;
    people_write_about_repositories(records).await;
    pulls_are_kept_by_whom(records).await;
    changes_are_followed(records).await;
}

/// A moment of these tests, in seconds.
fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_900_000_000 + seconds).unwrap()
}

fn lease(holder: &str) -> Lease {
    Lease { name: "events".to_owned(), holder: holder.to_owned() }
}

fn event(id: &str) -> StoredEvent {
    StoredEvent { service: REG.to_owned(), id: id.to_owned(), document: format!("{{\"of\": \"{id}\"}}") }
}

fn push(repository: &str, tag: Option<&str>, digest: &str, at: i64) -> Change {
    let what = What::Pushed {
        tag: tag.map(str::to_owned),
        digest: digest.to_owned(),
        media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
        size: 7,
    };
    Change { repository: repository.to_owned(), at: Stamp(at), what }
}

fn change(repository: &str, at: i64, what: What) -> Change {
    Change { repository: repository.to_owned(), at: Stamp(at), what }
}

async fn work(records: &dyn Records, changes: Vec<Change>, now: i64) {
    let changes = changes.into_iter().map(|change| (REG.to_owned(), change)).collect();
    let work = Work { changes, ..Work::default() };
    assert_eq!(records.lease(&lease("one"), at(now + 10), at(now)).await.unwrap(), Leased::Held);
    assert_eq!(records.work_off(&work, &lease("one"), at(now)).await.unwrap(), Leased::Held);
}

async fn tags(records: &dyn Records, repository: &str) -> Vec<String> {
    let tags = records.tags(REG, repository, None, 100).await.unwrap();
    let names: Vec<String> = tags.into_iter().map(|tag| tag.name).collect();
    let counted = records.repository(REG, repository).await.unwrap().map_or(0, |found| found.tags);
    assert_eq!(counted, i64::try_from(names.len()).unwrap(), "{repository}: {names:?}");
    names
}

async fn events_are_kept_once_and_worked_on_by_the_holder(records: &dyn Records) {
    records.keep_events(&[event("1"), event("2")], at(1)).await.unwrap();
    records.keep_events(&[event("2"), event("3")], at(2)).await.unwrap();
    let mut waiting = records.waiting_events(10).await.unwrap();
    waiting.sort_by(|one, other| one.id.cmp(&other.id));
    assert_eq!(waiting, [event("1"), event("2"), event("3")], "one id is one record");
    assert_eq!((records.count_waiting(2).await.unwrap(), records.count_waiting(10).await.unwrap()), (2, 3));
    assert_eq!(records.lease(&lease("one"), at(10), at(1)).await.unwrap(), Leased::Held);
    assert_eq!(records.lease(&lease("two"), at(20), at(9)).await.unwrap(), Leased::Elsewhere);
    let done =
        Work { done: vec![(REG.to_owned(), "1".to_owned()), (REG.to_owned(), "2".to_owned())], ..Work::default() };
    let other = Work { changes: vec![(REG.to_owned(), push("not/mine", Some("v1"), "sha256:a", 1))], ..done.clone() };
    assert_eq!(records.work_off(&other, &lease("two"), at(3)).await.unwrap(), Leased::Elsewhere);
    assert_eq!(records.repository(REG, "not/mine").await.unwrap(), None, "nothing of it was done");
    assert_eq!(records.last_event(REG).await.unwrap(), None, "none was worked on");
    assert_eq!(records.work_off(&done, &lease("one"), at(3)).await.unwrap(), Leased::Held);
    assert_eq!(records.last_event(REG).await.unwrap(), Some(at(3)));
    let empty = Work::default();
    assert_eq!(records.work_off(&empty, &lease("one"), at(4)).await.unwrap(), Leased::Held);
    // The same event once more, after it was worked on.
    records.keep_events(&[event("1")], at(4)).await.unwrap();
    assert_eq!(records.waiting_events(10).await.unwrap(), [event("3")]);
    assert_eq!(records.forget_events(at(2)).await.unwrap(), 2);
    assert_eq!(records.waiting_events(10).await.unwrap(), [event("3")], "what waits is never forgotten");
    records.forget_events(at(1000)).await.unwrap();
    assert_eq!(records.last_event(REG).await.unwrap(), Some(at(3)), "nor when the last one was");
    assert_eq!(records.last_event("other").await.unwrap(), None);
    assert_eq!(records.lease(&lease("two"), at(20), at(10)).await.unwrap(), Leased::Held, "it has ended");
    assert_eq!(records.lease(&lease("one"), at(20), at(11)).await.unwrap(), Leased::Elsewhere);
    records.give_back(&lease("one")).await.unwrap();
    assert_eq!(records.lease(&lease("one"), at(20), at(11)).await.unwrap(), Leased::Elsewhere, "it was not theirs");
    records.give_back(&lease("two")).await.unwrap();
    assert_eq!(records.lease(&lease("one"), at(20), at(11)).await.unwrap(), Leased::Held);
}

/// Check 46, and disorder: whatever the order in which events come, the newest counts.
async fn disorder_comes_to_the_same(records: &dyn Records) {
    let v1 = || push("order/a", Some("v1"), "sha256:1", 100);
    let gone = |at| change("order/a", at, What::TagGone("v1".to_owned()));
    work(records, vec![v1()], 30).await;
    assert_eq!(tags(records, "order/a").await, ["v1"]);
    work(records, vec![gone(90)], 31).await;
    assert_eq!(tags(records, "order/a").await, ["v1"], "the deletion is older than the last push");
    work(records, vec![gone(110)], 32).await;
    assert_eq!(tags(records, "order/a").await, [""; 0]);
    work(records, vec![v1()], 33).await;
    assert_eq!(tags(records, "order/a").await, [""; 0], "the push is older than the deletion");
    assert!(records.doubtful(REG, 10).await.unwrap().contains(&"order/a".to_owned()), "the registry is asked");
    work(records, vec![push("order/a", Some("v1"), "sha256:2", 120), v1()], 34).await;
    let found = records.tags(REG, "order/a", None, 10).await.unwrap().remove(0).pushed.unwrap();
    assert_eq!((found.digest.as_str(), found.at, found.size), ("sha256:2", Stamp(120), 7));
    // By digest alone: no tag; and all tags that named it fall, but for one that was pushed again since.
    work(records, vec![push("order/b", None, "sha256:1", 100)], 35).await;
    assert_eq!(tags(records, "order/b").await, [""; 0]);
    let both = vec![
        push("order/b", Some("v1"), "sha256:1", 101),
        push("order/b", Some("v2"), "sha256:1", 102),
        push("order/b", Some("v3"), "sha256:3", 103),
        push("order/b", Some("v4"), "sha256:1", 105),
    ];
    work(records, both, 36).await;
    work(records, vec![change("order/b", 104, What::DigestGone("sha256:1".to_owned()))], 37).await;
    assert_eq!(tags(records, "order/b").await, ["v3", "v4"]);
    work(records, vec![change("order/b", 105, What::RepositoryGone)], 38).await;
    assert_eq!(tags(records, "order/b").await, ["v4"]);
    work(records, vec![change("order/b", 106, What::RepositoryGone), push("order/b", Some("v9"), "sha256:9", 104)], 39)
        .await;
    assert_eq!(tags(records, "order/b").await, [""; 0], "that push was before the repository was deleted");
    // What is long gone is forgotten, and with it the repository of which nobody wrote anything; what is in doubt is not.
    let gone = Listing { repository: "order/b".to_owned(), tags: vec![], asked: at(40) };
    records.listed(REG, &[gone], at(41)).await.unwrap();
    assert!(records.forget_gone(at(42)).await.unwrap() > 1);
    assert_eq!(records.repository(REG, "order/b").await.unwrap(), None);
    assert_eq!(tags(records, "order/a").await, ["v1"]);
    // Of what nobody knows.
    work(records, vec![change("order/none", 1, What::TagGone("x".to_owned()))], 40).await;
    assert_eq!(records.repository(REG, "order/none").await.unwrap(), None);
}

async fn listings_take_what_no_event_touched(records: &dyn Records) {
    let listing = |tags: &[&str], asked| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        [Listing { repository: "list/a".to_owned(), tags, asked: at(asked) }]
    };
    let names = ["list/a".to_owned(), "list/b".to_owned(), "list/a".to_owned()];
    let asked = records.found(REG, SweepNumber(1), &names, at(0)).await.unwrap();
    assert_eq!(asked, ["list/a", "list/b"], "new ones");
    records.listed(REG, &listing(&["v1", "v2"], 50), at(51)).await.unwrap();
    assert_eq!(tags(records, "list/a").await, ["v1", "v2"]);
    assert_eq!(records.found(REG, SweepNumber(1), &names, at(0)).await.unwrap(), ["list/b"]);
    assert_eq!(records.found(REG, SweepNumber(1), &names, at(52)).await.unwrap(), ["list/a", "list/b"], "too long ago");
    let listed = records.repository(REG, "list/a").await.unwrap().unwrap().listed;
    assert_eq!(listed, Some(at(51)));
    // The registry was asked before the event came.
    work(records, vec![push("list/a", Some("v3"), "sha256:3", 1)], 60).await;
    records.listed(REG, &listing(&["v1"], 59), at(61)).await.unwrap();
    assert_eq!(tags(records, "list/a").await, ["v1", "v2", "v3"]);
    records.listed(REG, &listing(&["v2", "v3"], 62), at(63)).await.unwrap();
    assert_eq!(tags(records, "list/a").await, ["v2", "v3"]);
    let kept = records.tags(REG, "list/a", Some("v2"), 10).await.unwrap();
    assert_eq!(kept[0].pushed.as_ref().unwrap().digest, "sha256:3", "what an event told is not forgotten");
    records.doubt(REG, "list/a").await.unwrap();
    assert!(records.doubtful(REG, 100).await.unwrap().contains(&"list/a".to_owned()));
    // A tag that an event said is gone, and that the registry has.
    work(records, vec![change("list/a", 9, What::TagGone("v3".to_owned()))], 64).await;
    assert_eq!(tags(records, "list/a").await, ["v2"]);
    records.listed(REG, &listing(&["v2", "v3"], 65), at(66)).await.unwrap();
    assert_eq!(tags(records, "list/a").await, ["v2", "v3"]);
    assert_eq!(records.found(REG, SweepNumber(2), &names, at(0)).await.unwrap(), ["list/b"]);
    records.listed(REG, &listing(&[], 67), at(68)).await.unwrap();
    assert_eq!(tags(records, "list/a").await, [""; 0]);
    let again = records.found(REG, SweepNumber(2), &names, at(0)).await.unwrap();
    assert_eq!(again, ["list/a", "list/b"], "it may have some again");
}

async fn what_two_sweeps_lack_is_unseen(records: &dyn Records) {
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let service = "swept";
    let all = named(&["a", "b", "c"]);
    records.found(service, SweepNumber(3), &all, at(0)).await.unwrap();
    let listing = |name: &String| Listing { repository: name.clone(), tags: vec!["v1".to_owned()], asked: at(70) };
    records.listed(service, &all.iter().map(listing).collect::<Vec<_>>(), at(71)).await.unwrap();
    records.found(service, SweepNumber(4), &named(&["a"]), at(0)).await.unwrap();
    let touched = Work { changes: vec![(service.to_owned(), push("c", Some("v2"), "sha256:2", 5))], ..Work::default() };
    assert_eq!(records.lease(&lease("one"), at(99), at(80)).await.unwrap(), Leased::Held);
    records.work_off(&touched, &lease("one"), at(80)).await.unwrap();
    let since = |number, began| Complete { number: SweepNumber(number), began: at(began), ended: at(began + 1) };
    assert_eq!(records.unseen(service, &since(4, 75), None, 10).await.unwrap(), ["b"]);
    assert_eq!(records.unseen(service, &since(4, 90), None, 10).await.unwrap(), ["b", "c"]);
    assert_eq!(records.unseen(service, &since(4, 90), Some("b"), 10).await.unwrap(), ["c"]);
    assert_eq!(records.unseen(service, &since(3, 90), None, 10).await.unwrap(), [""; 0]);
    assert_eq!(records.sweep(service).await.unwrap(), Sweep::default());
    let sweep = Sweep {
        number: SweepNumber(5),
        began: Some(at(91)),
        cursor: Some("b".to_owned()),
        ended: None,
        found: 2,
        before: Some(since(4, 75)),
        error: Some(("it answers 500".to_owned(), at(92))),
    };
    records.save_sweep(service, &sweep).await.unwrap();
    assert_eq!(records.sweep(service).await.unwrap(), sweep);
    let ended = Sweep { cursor: None, ended: Some(at(93)), error: None, ..sweep };
    records.save_sweep(service, &ended).await.unwrap();
    assert_eq!(records.sweep(service).await.unwrap(), ended);
}

/// Check 50: what people wrote outlives the last tag.
async fn people_write_about_repositories(records: &dyn Records) {
    let described = Description { text: "Ä \"web\" server".to_owned(), official: Mark::Set, automated: Mark::Unset };
    assert_eq!(records.describe(REG, "people/a", &described).await.unwrap(), Changed::Missing);
    assert_eq!(records.star(REG, "people/a", "ann", Star::Given).await.unwrap(), Changed::Missing);
    work(records, vec![push("people/a", Some("v1"), "sha256:1", 1)], 100).await;
    assert_eq!(records.describe(REG, "people/a", &described).await.unwrap(), Changed::Done);
    for (account, star, changed) in [
        ("ann", Star::Given, Changed::Done),
        ("ann", Star::Given, Changed::Conflict),
        ("bob", Star::TakenBack, Changed::Conflict),
        ("bob", Star::Given, Changed::Done),
        ("ann", Star::TakenBack, Changed::Done),
        ("cat", Star::Given, Changed::Done),
    ] {
        assert_eq!(records.star(REG, "people/a", account, star).await.unwrap(), changed, "{account}");
    }
    work(records, vec![change("people/a", 2, What::TagGone("v1".to_owned()))], 101).await;
    let found = records.repository(REG, "people/a").await.unwrap().unwrap();
    assert_eq!((found.tags, found.stars, &found.description), (0, 2, &described));
    work(records, vec![push("people/a", Some("v1"), "sha256:1", 3)], 102).await;
    let found = records.repository(REG, "people/a").await.unwrap().unwrap();
    assert_eq!((found.tags, found.stars, found.description, found.pushed), (1, 2, described, Some(Stamp(3))));
}

fn pull(repository: &str, digest: &str, account: &str, first: i64, last: i64, heard: i64) -> Pull {
    Pull {
        service: REG.to_owned(),
        repository: repository.to_owned(),
        digest: digest.to_owned(),
        account: account.to_owned(),
        address: "192.0.2.1".to_owned(),
        tag: (last % 2 == 0).then(|| format!("v{last}")),
        first: Stamp(first),
        last: Stamp(last),
        heard: at(heard),
    }
}

async fn pulls_are_kept_by_whom(records: &dyn Records) {
    let noted = async |pulls: Vec<Pull>| {
        let work = Work { pulls, ..Work::default() };
        assert_eq!(records.work_off(&work, &lease("one"), at(103)).await.unwrap(), Leased::Held);
    };
    noted(vec![pull("p/a", "sha256:1", "ann", 10, 10, 1), pull("p/a", "sha256:2", "", 11, 11, 1)]).await;
    noted(vec![pull("p/a", "sha256:1", "ann", 12, 14, 2), pull("p/b", "sha256:1", "web@n1", 13, 13, 2)]).await;
    noted(vec![pull("p/a", "sha256:1", "ann", 9, 9, 2)]).await;
    let ann = Pull { first: Stamp(9), ..pull("p/a", "sha256:1", "ann", 0, 14, 2) };
    let (nobody, web) = (pull("p/a", "sha256:2", "", 11, 11, 1), pull("p/b", "sha256:1", "web@n1", 13, 13, 2));
    let digest = "sha256:1".to_owned();
    for (what, expected) in [
        (Pulled::Repository("p/a".to_owned()), vec![nobody.clone(), ann.clone()]),
        (Pulled::Manifest { repository: "p/a".to_owned(), digest: digest.clone() }, vec![ann.clone()]),
        (Pulled::Digest(digest), vec![ann.clone(), web.clone()]),
        (Pulled::Repository("p/c".to_owned()), vec![]),
    ] {
        assert_eq!(records.pulls(REG, &what, 0, 10).await.unwrap(), expected);
        assert_eq!(records.pulls(REG, &what, 1, 10).await.unwrap(), expected.get(1..).unwrap_or_default());
        assert_eq!(records.pulls("vault", &what, 0, 10).await.unwrap(), []);
    }
    assert_eq!(records.forget_pulls(at(2)).await.unwrap(), 1);
    assert_eq!(records.pulls(REG, &Pulled::Repository("p/a".to_owned()), 0, 10).await.unwrap(), [ann]);
}

async fn changes_are_followed(records: &dyn Records) {
    let all = records.changed_repositories(Seq(0), 1000).await.unwrap();
    assert!(all.windows(2).all(|pair| pair[0].seq <= pair[1].seq) && all.iter().all(|one| one.seq > Seq(0)));
    let last = all.last().unwrap().seq;
    work(records, vec![push("new/one", Some("v1"), "sha256:1", 1)], 104).await;
    let changed = records.changed_repositories(last, 1000).await.unwrap();
    assert_eq!(changed.last().unwrap().name, "new/one");
    assert!(changed.last().unwrap().seq > last);
    assert_eq!(records.changed_repositories(Seq(0), 2).await.unwrap(), all[..2]);
}
