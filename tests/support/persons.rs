//! What every store of records has to do with people who signed in at a provider. It is asked of a store that knows nobody.

use dockwarden::identity::Account;
use dockwarden::records::persons::{Person, PersonId};
use dockwarden::records::{Changed, Records, Version};

fn person(subject: &str, account: &str) -> Person {
    let id = PersonId::of(&["oidc_auth", "", "https://issuer", subject]);
    Person {
        id,
        account: Account::parse(account).unwrap(),
        text: format!("{{\"of\":\"{subject} 'ä'\"}}"),
        version: Version(1),
    }
}

/// Asks everything, one after the other.
pub(crate) async fn conforms(records: &dyn Records) {
    let (ada, eve) = (person("1", "ada"), person("2", "Ada"));
    assert_eq!(records.person(&ada.id).await.unwrap(), None);
    assert_eq!(records.person_called(&ada.account).await.unwrap(), None);
    for one in [&ada, &eve] {
        assert_eq!(records.make_person(one).await.unwrap(), Changed::Done, "{one:?}");
        assert_eq!(records.person(&one.id).await.unwrap().as_ref(), Some(one));
        assert_eq!(records.person_called(&one.account).await.unwrap().as_ref(), Some(one), "by this very name");
    }
    // One person is there once, and so is one account.
    assert_eq!(records.make_person(&person("1", "other")).await.unwrap(), Changed::Conflict);
    assert_eq!(records.make_person(&person("3", "ada")).await.unwrap(), Changed::Conflict);
    let takes_another = Person { account: ada.account.clone(), ..eve.clone() };
    assert_eq!(records.replace_person(&takes_another, Version(1)).await.unwrap(), Changed::Conflict);
    assert_eq!(records.person(&eve.id).await.unwrap(), Some(eve));
    // Nobody overwrites what they have not seen.
    let renamed = Person { account: Account::parse("ada.l").unwrap(), text: "{}".to_owned(), ..ada.clone() };
    assert_eq!(records.replace_person(&renamed, Version(1)).await.unwrap(), Changed::Done);
    assert_eq!(records.person(&ada.id).await.unwrap(), Some(Person { version: Version(2), ..renamed.clone() }));
    assert_eq!(records.replace_person(&ada, Version(1)).await.unwrap(), Changed::Conflict);
    assert_eq!(records.person_called(&ada.account).await.unwrap(), None, "the old name is free");
    assert_eq!(records.replace_person(&person("3", "new"), Version(1)).await.unwrap(), Changed::Missing);
}
