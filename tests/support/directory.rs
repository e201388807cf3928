//! What every store of records has to do with the entries of a directory. It is asked of a store whose directory is empty.

use std::collections::BTreeSet;

use dockwarden::authn::Account;
use dockwarden::directory::changing::NotChanged;
use dockwarden::directory::entry::{App, Group, Service, User};
use dockwarden::directory::{self, Directory, NewEntry, Origin};
use dockwarden::records::directory::{Entry, EntryAt, EntryKind};
use dockwarden::records::{Changed, Records, Settings, Version};
use time::OffsetDateTime;

fn at(kind: EntryKind, name: &str) -> EntryAt {
    EntryAt { kind, name: name.to_owned() }
}

fn entry(kind: EntryKind, name: &str, claim: Option<&str>) -> Entry {
    let text = format!("{{\"of\":\"{name} 'ä'\"}}");
    Entry { at: at(kind, name), claim: claim.map(str::to_owned), text, version: Version(1) }
}

/// Asks everything, one after the other.
pub(crate) async fn conforms(records: &dyn Records) {
    records.prepare().await.unwrap();
    assert_eq!(records.directory_version().await.unwrap(), Version(0));
    entries_are_kept_as_written(records).await;
    claims_are_one_entrys(records).await;
    nobody_overwrites_what_they_have_not_seen(records).await;
    lists_come_in_pages(records).await;
}

async fn entries_are_kept_as_written(records: &dyn Records) {
    for entry in [
        entry(EntryKind::Group, "dev", Some("10")),
        entry(EntryKind::User, "Älice @ home/ä.b$", Some("10")),
        entry(EntryKind::Service, "ns/svc/web@n1", None),
        entry(EntryKind::Service, "web@n2", None),
        entry(EntryKind::Registry, "reg:5000", Some("http://127.0.0.1:5000/#x")),
    ] {
        let before = records.directory_version().await.unwrap();
        assert_eq!(records.entry(&entry.at).await.unwrap(), None);
        assert_eq!(records.make_entry(&entry).await.unwrap(), Changed::Done, "{entry:?}");
        assert_eq!(records.entry(&entry.at).await.unwrap().as_ref(), Some(&entry));
        assert_eq!(records.directory_version().await.unwrap(), Version(before.0 + 1), "each change counts");
    }
}

async fn claims_are_one_entrys(records: &dyn Records) {
    let before = records.directory_version().await.unwrap();
    for taken in [entry(EntryKind::Group, "dev", Some("11")), entry(EntryKind::Group, "ops", Some("10"))] {
        assert_eq!(records.make_entry(&taken).await.unwrap(), Changed::Conflict, "{taken:?}");
    }
    assert_eq!(records.directory_version().await.unwrap(), before, "nothing was changed");
    assert_eq!(records.entry(&at(EntryKind::Group, "ops")).await.unwrap(), None);
    let ops = entry(EntryKind::Group, "ops", Some("20"));
    assert_eq!(records.make_entry(&ops).await.unwrap(), Changed::Done);
    let claims_another = Entry { claim: Some("10".to_owned()), ..ops.clone() };
    assert_eq!(records.replace_entry(&claims_another, Version(1)).await.unwrap(), Changed::Conflict);
    assert_eq!(records.entry(&ops.at).await.unwrap(), Some(ops));
}

async fn nobody_overwrites_what_they_have_not_seen(records: &dyn Records) {
    let dev = Entry { text: "{}".to_owned(), ..entry(EntryKind::Group, "dev", Some("12")) };
    assert_eq!(records.replace_entry(&dev, Version(1)).await.unwrap(), Changed::Done);
    let found = records.entry(&dev.at).await.unwrap();
    assert_eq!(found, Some(Entry { version: Version(2), ..dev.clone() }));
    assert_eq!(records.replace_entry(&dev, Version(1)).await.unwrap(), Changed::Conflict);
    assert_eq!(records.remove_entry(&dev.at, Version(1)).await.unwrap(), Changed::Conflict);
    // What it had is free.
    let fin = entry(EntryKind::Group, "fin", Some("10"));
    assert_eq!(records.make_entry(&fin).await.unwrap(), Changed::Done);
    let before = records.directory_version().await.unwrap();
    assert_eq!(records.remove_entry(&fin.at, Version(1)).await.unwrap(), Changed::Done);
    assert!(records.directory_version().await.unwrap().0 > before.0);
    for gone in [
        records.remove_entry(&fin.at, Version(1)).await.unwrap(),
        records.replace_entry(&fin, Version(1)).await.unwrap(),
    ] {
        assert_eq!(gone, Changed::Missing);
    }
}

async fn lists_come_in_pages(records: &dyn Records) {
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = records.entries(after.as_ref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.at.clone());
        seen.extend(page.into_iter().map(|entry| entry.at.to_string()));
    }
    let expected = [
        "group/dev",
        "group/ops",
        "registry/reg:5000",
        "service/ns/svc/web@n1",
        "service/web@n2",
        "user/Älice @ home/ä.b$",
    ];
    assert_eq!(seen, expected);
    assert!(records.entries(None, 0).await.unwrap().is_empty());
}

/// So often a group and an app are removed while somebody comes to name them.
const ROUNDS: u64 = 25;
/// Ids that nothing else has.
const FIRST: u64 = 1001;

/// Of two at once, in two replicas, of which one removes what the other names, at most one is let, and nothing names what is not there.
/// It is asked of a store that is prepared, and leaves nothing there.
pub(crate) async fn what_is_named_stays(store: &Settings) {
    let replica = || {
        let settings = directory::Settings { store: Some(store.clone()), ..directory::Settings::default() };
        Directory::open(settings).unwrap()
    };
    let (one, two, now) = (replica(), replica(), OffsetDateTime::now_utc());
    let (mut removed, mut named) = (0, 0);
    for round in FIRST..FIRST + ROUNDS {
        let (group, app) = (format!("g{round}"), format!("a{round}"));
        one.make(NewEntry::Group(Group { name: group.clone(), id: round, privileges: BTreeSet::new() })).await.unwrap();
        let own = App { name: app.clone(), id: round, responsibles: Vec::new(), publications: Vec::new() };
        one.make(NewEntry::App(own)).await.unwrap();
        two.read_again().await.unwrap();
        let user = NewEntry::User(User {
            name: Account::parse(&format!("u{round}")).unwrap(),
            id: round,
            groups: vec![group.clone()],
            privileges: BTreeSet::new(),
            primary_group: None,
            quota: None,
        });
        let name = Account::parse(&format!("s{round}@n")).unwrap();
        let service = NewEntry::Service(Service { name, app: app.clone(), secrets: Vec::new(), made: String::new() });
        for (what, namer) in [(at(EntryKind::Group, &group), user), (at(EntryKind::App, &app), service)] {
            let who = namer.at();
            // The one that is slower begins first, in some of the rounds.
            let remove = async {
                for _ in 0..100 * (round % 3) {
                    tokio::task::yield_now().await;
                }
                one.remove(&what, Version(1), now).await
            };
            let make = async {
                for _ in 0..100 * (round / 3 % 4) {
                    tokio::task::yield_now().await;
                }
                two.make(namer).await
            };
            let (gone, made) = tokio::join!(remove, make);
            assert!(gone.is_err() || made.is_err(), "{what} is gone, and {who} names it");
            one.read_again().await.unwrap();
            let (view, is_made) = (one.view().unwrap(), made.is_ok());
            let is_there = [view.user(&who.name).is_some(), view.service(&who.name).is_some()].contains(&true);
            assert_eq!(is_there, is_made, "{who}: {made:?}");
            let stays = view.group(&what.name).is_some() || view.app(&what.name).is_some();
            assert_eq!(stays, gone.is_err(), "{what}: {gone:?}");
            match gone {
                Ok(()) => removed += 1,
                Err(NotChanged::Named(by)) => assert_eq!(by, std::slice::from_ref(&who)),
                Err(other) => panic!("{what}: {other:?}"),
            }
            if is_made {
                named += 1;
                let Err(NotChanged::Named(by)) = one.remove(&what, version(&one, &what), now).await else {
                    panic!("{what} is removed while {who} names it")
                };
                assert_eq!(by, std::slice::from_ref(&who));
                one.remove(&who, Version(1), now).await.unwrap();
            }
            if stays {
                // Whatever came of it, what nobody names any more can be removed, and named until then.
                one.remove(&what, version(&one, &what), now).await.unwrap();
            }
        }
    }
    eprintln!("{removed} were removed and {named} were named, of {}", 2 * ROUNDS);
    assert!(removed + named > 0);
}

fn version(directory: &Directory, what: &EntryAt) -> Version {
    let view = directory.view().unwrap();
    let group = view.group(&what.name).filter(|_| what.kind == EntryKind::Group).map(|own| own.origin.clone());
    match group.or_else(|| view.app(&what.name).map(|own| own.origin.clone())) {
        Some(Origin::Records { version, .. }) => version,
        other => panic!("{what}: {other:?}"),
    }
}
