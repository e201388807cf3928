//! People who signed in at a provider, in SQL.

use async_trait::async_trait;

use super::SqlRecords;
use crate::identity::Account;
use crate::records::persons::{Person, PersonId, Persons};
use crate::records::{Changed, Failure, Version};
use crate::sql::{Row, Step};

/// A page of all people, also for a backup.
pub(in crate::records) const PERSONS: &str =
    "SELECT id, account, version, document FROM dockwarden_persons WHERE id > $1 ORDER BY id LIMIT $2";
const IS_THERE: &str = "SELECT 1 FROM dockwarden_persons WHERE id = $1";

pub(in crate::records) fn person_row(row: &Row) -> Result<Person, Failure> {
    let odd = |_| Failure::Unusable { cause: "a person's account is not as this program writes it".to_owned() };
    Ok(Person {
        id: PersonId(row.text(0)?.to_owned()),
        account: Account::parse(row.text(1)?).map_err(odd)?,
        version: Version(row.integer(2)?),
        text: row.text(3)?.to_owned(),
    })
}

pub(in crate::records) fn insert_person(person: &Person) -> Step {
    let Person { id, account, text, version } = person;
    let args = vec![id.0.as_str().into(), account.as_str().into(), version.0.into(), text.as_str().into()];
    Step::one("INSERT INTO dockwarden_persons (id, account, version, document) VALUES ($1, $2, $3, $4)", args)
}

#[async_trait]
impl Persons for SqlRecords {
    async fn person(&self, id: &PersonId) -> Result<Option<Person>, Failure> {
        let sql = "SELECT id, account, version, document FROM dockwarden_persons WHERE id = $1";
        self.read(sql, &[id.0.as_str().into()]).await?.first().map(person_row).transpose()
    }

    async fn person_called(&self, account: &Account) -> Result<Option<Person>, Failure> {
        let sql = "SELECT id, account, version, document FROM dockwarden_persons WHERE account = $1";
        self.read(sql, &[account.as_str().into()]).await?.first().map(person_row).transpose()
    }

    async fn make_person(&self, person: &Person) -> Result<Changed, Failure> {
        self.make(insert_person(&Person { version: Version(1), ..person.clone() })).await
    }

    async fn replace_person(&self, person: &Person, seen: Version) -> Result<Changed, Failure> {
        let Person { id, account, text, version: _ } = person;
        let sql = "UPDATE dockwarden_persons SET account = $3, document = $4, version = version + 1 \
                   WHERE id = $1 AND version = $2";
        let args = vec![id.0.as_str().into(), seen.0.into(), account.as_str().into(), text.as_str().into()];
        self.change(&[Step::one(sql, args)], IS_THERE, id.0.as_str().into()).await
    }

    async fn remove_person(&self, id: &PersonId, seen: Version) -> Result<Changed, Failure> {
        let sql = "DELETE FROM dockwarden_persons WHERE id = $1 AND version = $2";
        self.change(&[Step::one(sql, vec![id.0.as_str().into(), seen.0.into()])], IS_THERE, id.0.as_str().into()).await
    }
}
