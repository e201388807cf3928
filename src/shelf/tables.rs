//! Documents of users and rules in docker_auth's SQL tables, changed under a lock and only as long as what is there is what was
//! read: each change is one transaction, which ends by looking whether the database kept what was written.

mod rules;
mod users;

use std::sync::Arc;
use std::time::Duration;

use super::READING;
use crate::mongo::{self, NotChanged, Write, not_changed};
use crate::sql::xorm::Table;
use crate::sql::{Database, Dialect, Failure, Row, Settings, Step, Value, Written};

pub(super) use rules::{Draft, Rules};
pub(super) use users::Users;

/// How long one change may take: an import writes each rule by itself.
const CHANGING: Duration = Duration::from_secs(60);
/// What is wrong with a row beyond its document: a list of texts under this key of it.
pub(crate) const WRONG: &str = "_dockwarden_wrong";

/// One table of a database.
#[derive(Clone)]
struct Store {
    database: Arc<Database>,
    table: Table,
}

impl Store {
    fn new(settings: &Settings, table: Table) -> Store {
        Store { database: Arc::new(Database::without_breaker(settings.to_change())), table }
    }

    fn dialect(&self) -> Dialect {
        self.database.settings().dialect()
    }

    fn place(&self) -> String {
        self.database.settings().place()
    }

    async fn read(&self, sql: &'static str, args: &[Value]) -> Result<Vec<Row>, mongo::Failure> {
        self.database.read_within(READING, sql, args).await.map_err(|failure| self.unread(failure))
    }

    fn unread(&self, failure: Failure) -> mongo::Failure {
        let advice = advice(&failure);
        let (Failure::Down { place, cause, .. }
        | Failure::Stranger { place, cause }
        | Failure::Slow { place, cause }
        | Failure::Refused { place, cause, .. }
        | Failure::Forbidden { place, cause }) = failure
        else {
            return mongo::Failure::Down { place: self.place(), cause: "it failed a moment ago".to_owned(), advice };
        };
        mongo::Failure::Down { place, cause, advice }
    }

    /// Makes `changes` if `before` still holds, and if `after` does then.
    async fn change(&self, before: Step, changes: Vec<Step>, after: Step) -> Result<Write, NotChanged> {
        let steps: Vec<Step> =
            self.table.lock(self.dialect()).into_iter().chain([before]).chain(changes).chain([after]).collect();
        match self.database.write_within(CHANGING, &steps).await {
            Ok(Written::Applied(_)) => Ok(Write::Applied),
            Ok(Written::Unmet { step }) if step + 1 == steps.len() => not_changed(format!(
                "{} would keep something else than what was to be written; nothing was changed: does the character set of \
                 {} hold all of it, and are its columns those that docker_auth makes?",
                self.place(),
                self.table.name()
            )),
            Ok(Written::Unmet { .. } | Written::Duplicate { .. }) => Ok(Write::Conflict),
            Err(failure) => Err(self.not_written(failure)),
        }
    }

    fn not_written(&self, failure: Failure) -> NotChanged {
        let table = self.table.name();
        match &failure {
            Failure::Down { .. } => NotChanged::Unknown(self.unread(failure)),
            Failure::Forbidden { .. } => NotChanged::Refused(format!(
                "{failure}; nothing was changed: our user may not change {table}. Reading it is enough for the server; for \
                 commands, grant SELECT, INSERT, UPDATE and DELETE on it, or name another user in conn_string"
            )),
            Failure::Stranger { .. } | Failure::Slow { .. } | Failure::Refused { .. } | Failure::Open { .. } => {
                NotChanged::Refused(format!("{failure}; nothing was changed: {}", advice(&failure)))
            }
        }
    }
}

fn advice(failure: &Failure) -> &'static str {
    match failure {
        Failure::Refused { .. } => "is the table there? dockwarden migrate makes it",
        Failure::Forbidden { .. } => "our user may not read this table: grant it SELECT",
        Failure::Down { .. } | Failure::Stranger { .. } | Failure::Slow { .. } | Failure::Open { .. } => {
            failure.advice()
        }
    }
}
