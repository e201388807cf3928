//! What every store of records has to do with the entries of a directory. It is asked of a store whose directory is empty.

use dockwarden::records::directory::{Entry, EntryAt, EntryKind};
use dockwarden::records::{Changed, Records, Version};

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
