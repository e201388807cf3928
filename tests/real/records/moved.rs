//! What a backup carries of the catalogue and the directory: what people wrote, whom they gave stars, who pulled what, and every entry
//! with what only we know of it.

use dockwarden::records::Records;
use dockwarden::records::catalogue::{Change, Description, Lease, Leased, Mark, Pull, Pulled, Stamp, Star, What, Work};
use dockwarden::records::directory::{Entry, EntryAt, EntryKind};
use dockwarden::records::{Changed, Version};

use super::{account, at};

const REG: &str = "reg";
/// A registry with the digest of a secret of its events.
const REGISTRY: &str = "{\"url\":\"https://late.example.org/\",\"restricted\":true,\"creator\":\"cat\",\"events\":[{\"id\":\"0a\",\
                        \"digest\":\"0000000000000000000000000000000000000000000000000000000000000007\",\"made\":1900000000}]}";

fn description(number: usize) -> Description {
    Description { text: format!("about {number}, ü and \"quotes\""), official: Mark::Set, automated: Mark::Unset }
}

fn entries() -> Vec<Entry> {
    let entry = |kind, name: &str, claim: Option<&str>, text: &str| Entry {
        at: EntryAt { kind, name: name.to_owned() },
        claim: claim.map(str::to_owned),
        text: text.to_owned(),
        version: Version(1),
    };
    let mut all = vec![
        entry(EntryKind::Registry, "late", Some("https://late.example.org/"), REGISTRY),
        entry(EntryKind::User, "cat", Some("3"), "{\"id\":3,\"groups\":[\"g0001\"],\"privileges\":[\"manager\"]}"),
        entry(EntryKind::App, "web", Some("100"), "{\"id\":100,\"publications\":[\"g0001\"]}"),
        entry(EntryKind::Service, "web@n1", None, "{\"app\":\"web\",\"made\":\"m\"}"),
    ];
    // More than are read at once.
    all.extend((1..=1100).map(|number| {
        entry(EntryKind::Group, &format!("g{number:04}"), Some(&number.to_string()), &format!("{{\"id\":{number}}}"))
    }));
    all
}

fn pull() -> Pull {
    Pull {
        service: REG.to_owned(),
        repository: "lib/x1".to_owned(),
        digest: format!("sha256:{}", "a".repeat(64)),
        account: "web@n1".to_owned(),
        address: "192.0.2.7".to_owned(),
        tag: Some("v1".to_owned()),
        first: Stamp(1_900_000_000_000_000),
        last: Stamp(1_900_000_005_000_000),
        heard: at(5),
    }
}

/// What makes a repository known, of which people can write something then.
fn push(number: usize) -> Change {
    let what = What::Pushed {
        tag: Some("v1".to_owned()),
        digest: format!("sha256:{}", "a".repeat(64)),
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        size: 7,
    };
    Change { repository: format!("lib/x{number}"), at: Stamp(1_900_000_000_000_000), what }
}

/// Writes all of it into an empty store.
pub(super) async fn write(records: &dyn Records) {
    let lease = Lease { name: "events".to_owned(), holder: "one".to_owned() };
    assert_eq!(records.lease(&lease, at(10), at(1)).await.unwrap(), Leased::Held);
    let changes = (1..=3).map(|number| (REG.to_owned(), push(number))).collect();
    let work = Work { changes, pulls: vec![pull()], ..Work::default() };
    assert_eq!(records.work_off(&work, &lease, at(2)).await.unwrap(), Leased::Held);
    records.give_back(&lease).await.unwrap();
    for number in 1..=3 {
        let name = format!("lib/x{number}");
        assert_eq!(records.describe(REG, &name, &description(number)).await.unwrap(), Changed::Done);
        for account in ["ann", "bob", "cat"].iter().take(number) {
            assert_eq!(records.star(REG, &name, account, Star::Given).await.unwrap(), Changed::Done);
        }
    }
    records.note_logins(&[(account("cat"), at(5))].into()).await.unwrap();
    for entry in entries() {
        assert_eq!(records.make_entry(&entry).await.unwrap(), Changed::Done, "{entry:?}");
    }
}

/// That all of it is there.
pub(super) async fn is_there(records: &dyn Records) {
    for number in 1..=3_usize {
        let found = records.repository(REG, &format!("lib/x{number}")).await.unwrap().unwrap();
        assert_eq!(found.description, description(number));
        assert_eq!(found.stars, i64::try_from(number).unwrap());
    }
    // Who gave a star is known, and gives no second one.
    records.star(REG, "lib/x3", "bob", Star::Given).await.unwrap();
    assert_eq!(records.repository(REG, "lib/x3").await.unwrap().unwrap().stars, 3);
    let pulls = records.pulls(REG, &Pulled::Repository("lib/x1".to_owned()), 0, 10).await.unwrap();
    assert_eq!(pulls, [pull()]);
    assert_eq!(records.last_logins(&["cat"]).await.unwrap(), [(account("cat"), at(5))].into());
    for entry in entries() {
        let found = records.entry(&entry.at).await.unwrap().unwrap();
        assert_eq!((&found.text, &found.claim), (&entry.text, &entry.claim), "{}", entry.at);
    }
    // An id that is somebody's stays theirs.
    let taken = Entry { at: EntryAt { kind: EntryKind::Group, name: "other".to_owned() }, ..entries().remove(5) };
    assert_eq!(records.make_entry(&taken).await.unwrap(), Changed::Conflict);
}
