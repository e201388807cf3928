//! When users last logged in, in SQL.

use async_trait::async_trait;

use super::SqlRecords;
use crate::records::Failure;
use crate::records::logins::{LastLogins, Logins, kept};
use crate::records::row::milliseconds;
use crate::sql::{Row, Step, Value};

/// So many accounts are asked for at once.
const LOT: usize = 16;
/// When accounts last logged in. As many as [`LOT`]; the last of fewer is repeated.
const OF: &str = "SELECT account, last FROM dockwarden_logins WHERE account IN \
                  ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";
/// A page of all logins, for a backup.
pub(in crate::records) const LOGINS: &str =
    "SELECT account, last FROM dockwarden_logins WHERE account > $1 ORDER BY account LIMIT $2";

/// Notes a login, unless a later one is known.
pub(in crate::records) fn note_login(account: &str, at: i64) -> Step {
    let sql = "INSERT INTO dockwarden_logins (account, last) VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET \
               last = excluded.last WHERE dockwarden_logins.last < excluded.last";
    Step::any(sql, vec![account.into(), at.into()])
}

#[async_trait]
impl LastLogins for SqlRecords {
    async fn note_logins(&self, logins: &Logins) -> Result<(), Failure> {
        let steps: Vec<Step> = logins.iter().map(|(account, at)| note_login(account, milliseconds(*at))).collect();
        if !steps.is_empty() {
            self.write(&steps).await?;
        }
        Ok(())
    }

    async fn last_logins(&self, accounts: &[&str]) -> Result<Logins, Failure> {
        let mut all = Logins::new();
        for lot in accounts.chunks(LOT) {
            let Some(last) = lot.last() else { continue };
            let args: Vec<Value> =
                lot.iter().chain(std::iter::repeat(last)).take(LOT).map(|own| (*own).into()).collect();
            let read = |row: &Row| kept(row.text(0)?, row.integer(1)?);
            for row in &self.read(OF, &args).await? {
                all.extend([read(row)?]);
            }
        }
        Ok(all)
    }

    async fn forget_login(&self, account: &str) -> Result<(), Failure> {
        let sql = "DELETE FROM dockwarden_logins WHERE account = $1";
        self.write(&[Step::any(sql, vec![account.into()])]).await.map(|_| ())
    }
}
