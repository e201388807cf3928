//! The connections to one database: a few of them, each lent for one piece of work and given up after any error.
//!
//! The library's own pool goes on trying for as long as it may where nothing listens, and waits for a server that is gone
//! before it lets go of a connection; here an outage has to be known at once, and to cost nothing afterwards.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Error};
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use super::driver::{self, Driver};
use super::failure::{Trouble, is_deadlock, is_duplicate, is_locked, is_lost};
use super::settings::{Dialect, Server, Settings};
use super::{Expects, Row, Step, Value, Written};

/// The connections to one server. A question takes a millisecond: more would only wait for each other there.
const MAX_CONNECTIONS: usize = 16;
/// Those that read a file of SQLite.
const MAX_READERS: usize = 4;
/// A connection that was not used for so long is closed.
const IDLE: Duration = Duration::from_secs(120);
/// How long saying good-bye may take.
const CLOSING: Duration = Duration::from_secs(1);
/// When a file that was locked while it was opened is opened again.
const UNLOCKED: Duration = Duration::from_millis(5);
/// How often a transaction is tried that others were in the way of.
const TRIES: usize = 5;

/// The connections to one database, of any kind.
#[derive(Debug)]
pub(super) enum Connections {
    /// SQLite lets one write at a time: a second one would only wait.
    Sqlite {
        readers: Box<Pool<SqliteConnection>>,
        writer: Box<Pool<SqliteConnection>>,
    },
    Postgres(Pool<PgConnection>),
    MySql(Pool<MySqlConnection>),
}

/// What is to be done with a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work<'work> {
    Read { sql: &'static str, args: &'work [Value] },
    Write(&'work [Step]),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    Read(Vec<Row>),
    Written(Written),
}

impl Done {
    pub(super) fn into_rows(self) -> Vec<Row> {
        match self {
            Done::Read(rows) => rows,
            Done::Written(_) => Vec::new(),
        }
    }

    pub(super) fn into_written(self) -> Written {
        match self {
            Done::Written(written) => written,
            Done::Read(_) => Written::Applied(Vec::new()),
        }
    }
}

impl Connections {
    pub(super) fn new(settings: &Settings) -> Connections {
        match &settings.server {
            Server::Sqlite(_) => Connections::Sqlite {
                readers: Box::new(Pool::new(settings, MAX_READERS)),
                writer: Box::new(Pool::new(settings, 1)),
            },
            Server::Postgres(_) => Connections::Postgres(Pool::new(settings, MAX_CONNECTIONS)),
            Server::MySql(_) => Connections::MySql(Pool::new(settings, MAX_CONNECTIONS)),
        }
    }

    /// Does the work with a connection, within `limit`.
    pub(super) async fn perform(&self, limit: Duration, work: Work<'_>) -> Result<Done, Trouble> {
        match (self, work) {
            (Connections::Sqlite { readers, .. }, Work::Read { .. }) => readers.perform(limit, work).await,
            (Connections::Sqlite { writer, .. }, Work::Write(_)) => writer.perform(limit, work).await,
            (Connections::Postgres(pool), _) => pool.perform(limit, work).await,
            (Connections::MySql(pool), _) => pool.perform(limit, work).await,
        }
    }

    /// Does the work with a new connection, however many there are, and keeps that for others.
    pub(super) async fn perform_anew(&self, limit: Duration, work: Work<'_>) -> Result<Done, Trouble> {
        match self {
            Connections::Sqlite { readers, .. } => readers.perform_anew(limit, work).await,
            Connections::Postgres(pool) => pool.perform_anew(limit, work).await,
            Connections::MySql(pool) => pool.perform_anew(limit, work).await,
        }
    }
}

/// Connections of one kind.
pub(super) struct Pool<C: Driver> {
    settings: Settings,
    /// Made at the first question: the system's certificates may be needed for it.
    options: OnceCell<C::Options>,
    permits: Semaphore,
    most: usize,
    idle: Mutex<Vec<(C, Instant)>>,
}

impl<C: Driver> std::fmt::Debug for Pool<C> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pool").field("most", &self.most).finish_non_exhaustive()
    }
}

/// Where an error came up.
enum Stopped {
    /// Before anything was asked that must not be asked twice.
    Early(Error),
    /// Later.
    Late(Error),
}

impl<C: Driver> Pool<C> {
    fn new(settings: &Settings, most: usize) -> Pool<C> {
        Pool {
            settings: settings.clone(),
            options: OnceCell::new(),
            permits: Semaphore::new(most),
            most,
            idle: Mutex::default(),
        }
    }

    async fn perform(&self, limit: Duration, work: Work<'_>) -> Result<Done, Trouble> {
        let end = crate::clock::now() + limit;
        let Ok(Ok(_permit)) = timeout_at(end, self.permits.acquire()).await else { return Err(Trouble::Busy) };
        for _ in 1..TRIES {
            let (mut connection, is_used) = match self.idle_one() {
                Some(connection) => (connection, true),
                None => (self.connect(end).await?, false),
            };
            match timeout_at(end, do_work(&mut connection, work)).await {
                Err(_) => {
                    // The others are as old, and what keeps one from answering keeps them, too.
                    self.close_idle();
                    return Err(Trouble::Silent);
                }
                Ok(Ok(done)) => {
                    self.keep(connection);
                    return Ok(done);
                }
                // The server ended connections that nobody used; a new one tells whether it is there.
                Ok(Err(Stopped::Early(error))) if is_used && is_lost(C::DIALECT, &error) => self.close_idle(),
                Ok(Err(Stopped::Early(error) | Stopped::Late(error))) if is_deadlock(&error) => {}
                Ok(Err(Stopped::Early(error) | Stopped::Late(error))) => return Err(Trouble::Working(error)),
            }
        }
        Err(Trouble::Busy)
    }

    async fn perform_anew(&self, limit: Duration, work: Work<'_>) -> Result<Done, Trouble> {
        let end = crate::clock::now() + limit;
        let mut connection = self.connect(end).await?;
        match timeout_at(end, do_work(&mut connection, work)).await {
            Err(_) => Err(Trouble::Silent),
            Ok(Ok(done)) => {
                self.keep(connection);
                Ok(done)
            }
            Ok(Err(Stopped::Early(error) | Stopped::Late(error))) => Err(Trouble::Working(error)),
        }
    }

    async fn connect(&self, end: Instant) -> Result<C, Trouble> {
        let connecting = async {
            let options = self.options.get_or_try_init(|| driver::options::<C>(&self.settings)).await?;
            driver::make_file(&self.settings).await.map_err(Trouble::File)?;
            loop {
                match C::connect_with(options).await {
                    // SQLite waits for no lock while somebody gives a new file its write-ahead log.
                    Err(error) if is_locked(C::DIALECT, &error) && crate::clock::now() + UNLOCKED < end => {
                        tokio::time::sleep(UNLOCKED).await;
                    }
                    connected => return connected.map_err(Trouble::Connecting),
                }
            }
        };
        timeout_at(end, connecting).await.unwrap_or(Err(Trouble::SilentConnecting))
    }

    /// The connection that was used last.
    fn idle_one(&self) -> Option<C> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let old = idle.iter().take_while(|(_, since)| since.elapsed() >= IDLE).count();
        let old: Vec<_> = idle.drain(..old).collect();
        let found = idle.pop();
        drop(idle);
        old.into_iter().for_each(|(connection, _)| say_good_bye(connection));
        found.map(|(connection, _)| connection)
    }

    fn keep(&self, connection: C) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        match idle.len() < self.most {
            true => idle.push((connection, crate::clock::now())),
            false => {
                drop(idle);
                say_good_bye(connection);
            }
        }
    }

    fn close_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Ends a connection as the server wants it: some complain of each that just ends.
fn say_good_bye<C: Driver>(connection: C) {
    tokio::spawn(async move { drop(timeout(CLOSING, connection.close()).await) });
}

async fn do_work<C: Driver>(connection: &mut C, work: Work<'_>) -> Result<Done, Stopped> {
    let steps = match work {
        Work::Read { sql, args } => {
            let (sql, args) = statement(C::DIALECT, sql, args);
            return connection.rows(sql, args).await.map(Done::Read).map_err(Stopped::Early);
        }
        Work::Write(steps) => steps,
    };
    connection.control(C::BEGIN).await.map_err(Stopped::Early)?;
    let mut changed = Vec::with_capacity(steps.len());
    for (step, Step { sql, args, expects }) in steps.iter().enumerate() {
        let (sql, args) = statement(C::DIALECT, sql, args);
        let came = match expects {
            Expects::Any => connection.change(sql, args).await.map(Some),
            Expects::One => connection.change(sql, args).await.map(|rows| Some(rows).filter(|rows| *rows == 1)),
            Expects::Rows(expected) => connection.rows(sql, args).await.map(|mut found| {
                found.sort();
                (found == *expected).then_some(0)
            }),
        };
        let unmet = match came {
            Ok(Some(rows)) => {
                changed.push(rows);
                continue;
            }
            Ok(None) => Written::Unmet { step },
            Err(error) if is_duplicate(&error) => Written::Duplicate { step },
            Err(error) => return Err(Stopped::Late(error)),
        };
        connection.control("ROLLBACK").await.map_err(Stopped::Late)?;
        return Ok(Done::Written(unmet));
    }
    connection.control("COMMIT").await.map_err(Stopped::Late)?;
    Ok(Done::Written(Written::Applied(changed)))
}

/// A statement as the database takes it: MySQL knows `?` alone, so an argument stands there as often as it is named.
fn statement(dialect: Dialect, sql: &'static str, args: &[Value]) -> (AssertSqlSafe<Arc<str>>, Vec<Value>) {
    match dialect {
        Dialect::Sqlite | Dialect::Postgres => (AssertSqlSafe(sql.into()), args.to_vec()),
        Dialect::MySql => {
            let mut parts = sql.split('$');
            let mut text = parts.next().unwrap_or_default().to_owned();
            let mut named = Vec::new();
            for part in parts {
                let digits = part.len() - part.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
                let (number, rest) = part.split_at(digits);
                let index = number.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
                match index.and_then(|index| args.get(index)) {
                    Some(value) => {
                        named.push(value.clone());
                        text.push('?');
                        text.push_str(rest);
                    }
                    None => {
                        text.push('$');
                        text.push_str(part);
                    }
                }
            }
            (AssertSqlSafe(text.into()), named)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mysql_gets_each_argument_where_it_is_named() {
        let args = [Value::Integer(1), Value::from("two")];
        for (sql, text, values) in [
            ("SELECT 1", "SELECT 1", vec![]),
            ("a = $2 AND b = $1 OR c = $2", "a = ? AND b = ? OR c = ?", vec![&args[1], &args[0], &args[1]]),
            ("a = '$' AND b = $1", "a = '$' AND b = ?", vec![&args[0]]),
        ] {
            let (AssertSqlSafe(found), named) = statement(Dialect::MySql, sql, &args);
            assert_eq!((&*found, named.iter().collect::<Vec<_>>()), (text, values));
            let (AssertSqlSafe(found), named) = statement(Dialect::Postgres, sql, &args);
            assert_eq!((&*found, named.as_slice()), (sql, &args[..]));
        }
    }
}
