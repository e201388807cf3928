//! Users and rules that are kept among the records, in SQL.

use async_trait::async_trait;

use super::super::{Changed, Document, Failure, Rules, Users, Version};
use super::SqlRecords;
use super::rows::named_document;
use crate::identity::Account;
use crate::sql::Step;

#[async_trait]
impl Users for SqlRecords {
    async fn user(&self, name: &Account) -> Result<Option<Document>, Failure> {
        let sql = "SELECT name, version, document FROM dockwarden_users WHERE name = $1";
        let rows = self.read(sql, &[name.as_str().into()]).await?;
        rows.first().map(|row| Ok(named_document(row)?.1)).transpose()
    }

    async fn users(&self, after: Option<&Account>, count: u32) -> Result<Vec<(String, Document)>, Failure> {
        let sql = "SELECT name, version, document FROM dockwarden_users WHERE name > $1 ORDER BY name LIMIT $2";
        let after = after.map_or("", Account::as_str);
        let rows = self.read(sql, &[after.into(), i64::from(count).into()]).await?;
        rows.iter().map(named_document).collect()
    }

    async fn make_user(&self, name: &Account, text: &str) -> Result<Changed, Failure> {
        let sql = "INSERT INTO dockwarden_users (name, version, document) VALUES ($1, 1, $2)";
        self.make(Step::one(sql, vec![name.as_str().into(), text.into()])).await
    }

    async fn replace_user(&self, name: &Account, text: &str, seen: Version) -> Result<Changed, Failure> {
        let sql = "UPDATE dockwarden_users SET document = $3, version = version + 1 WHERE name = $1 AND version = $2";
        let step = Step::one(sql, vec![name.as_str().into(), seen.0.into(), text.into()]);
        self.change(&[step], "SELECT 1 FROM dockwarden_users WHERE name = $1", name.as_str().into()).await
    }

    async fn remove_user(&self, name: &Account, seen: Version) -> Result<Changed, Failure> {
        let sql = "DELETE FROM dockwarden_users WHERE name = $1 AND version = $2";
        let step = Step::one(sql, vec![name.as_str().into(), seen.0.into()]);
        self.change(&[step], "SELECT 1 FROM dockwarden_users WHERE name = $1", name.as_str().into()).await
    }
}

#[async_trait]
impl Rules for SqlRecords {
    async fn rules(&self) -> Result<Document, Failure> {
        let rows =
            self.read("SELECT name, version, document FROM dockwarden_records WHERE name = 'rules'", &[]).await?;
        rows.first().map_or_else(|| Ok(Document::no_rules()), |row| Ok(named_document(row)?.1))
    }

    async fn rules_version(&self) -> Result<Version, Failure> {
        let rows = self.read("SELECT version FROM dockwarden_records WHERE name = 'rules'", &[]).await?;
        rows.first().map_or(Ok(Version(0)), |row| Ok(Version(row.integer(0)?)))
    }

    async fn replace_rules(&self, text: &str, seen: Version) -> Result<Changed, Failure> {
        let step = match seen {
            Version(0) => {
                let sql = "INSERT INTO dockwarden_records (name, version, document) VALUES ('rules', 1, $1)";
                Step::one(sql, vec![text.into()])
            }
            Version(seen) => {
                let sql = "UPDATE dockwarden_records SET document = $2, version = version + 1 \
                           WHERE name = 'rules' AND version = $1";
                Step::one(sql, vec![seen.into(), text.into()])
            }
        };
        self.change(&[step], "SELECT 1 FROM dockwarden_records WHERE name = $1", "rules".into()).await
    }
}
