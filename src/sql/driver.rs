//! The three drivers: how each connects, takes arguments and gives values.

use std::future::Future;
use std::io;
use std::sync::Arc;

use sqlx::encode::IsNull;
use sqlx::mysql::{MySql, MySqlConnectOptions, MySqlConnection, MySqlRow, MySqlSslMode};
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgConnectOptions, PgConnection, PgRow, PgSslMode, PgTypeInfo, Postgres};
use sqlx::sqlite::{Sqlite, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Encode, Error, Row as _, Type, TypeInfo as _, ValueRef as _};

use super::failure::Trouble;
use super::settings::{Access, Address, Dialect, File, Remote, Server, Settings, Tls, Trust};
use super::{Row, Value};
use crate::owner;
use crate::pem::tls::Authorities;

/// A connection of one kind.
pub(super) trait Driver: Connection + Sized + 'static {
    const DIALECT: Dialect;
    /// Begins a transaction that will write.
    const BEGIN: &'static str;

    /// What the driver is told. `None` for settings of another kind.
    fn options(settings: &Settings, known: &Authorities) -> Option<Self::Options>;

    /// The rows that a question finds.
    fn rows(
        &mut self,
        sql: AssertSqlSafe<Arc<str>>,
        args: Vec<Value>,
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;

    /// The number of rows that a statement changes.
    fn change(
        &mut self,
        sql: AssertSqlSafe<Arc<str>>,
        args: Vec<Value>,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Begins or ends a transaction.
    fn control(&mut self, sql: &'static str) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What the driver is told, with the system's certificates where they are needed.
pub(super) async fn options<C: Driver>(settings: &Settings) -> Result<C::Options, Trouble> {
    let settings = settings.clone();
    // Files are read.
    let made = tokio::task::spawn_blocking(move || C::options(&settings, &known(&settings)));
    let options = made.await.map_err(|died| Trouble::File(io::Error::other(died)))?;
    let options = options.ok_or_else(|| Trouble::File(io::Error::other("these are settings of another database")))?;
    Ok(options.disable_statement_logging())
}

/// The system's authorities, which are known beside the public ones, where the server's certificate may be from any.
fn known(settings: &Settings) -> Authorities {
    match &settings.server {
        Server::Postgres(Remote { tls: Tls::Checked(Trust::Known), .. })
        | Server::MySql(Remote { tls: Tls::Checked(Trust::Known), .. }) => {
            Authorities::usable(rustls_native_certs::load_native_certs().certs)
        }
        Server::Postgres(_) | Server::MySql(_) | Server::Sqlite(_) => Authorities::unread(),
    }
}

/// Makes a file of SQLite that is ours, or that a command prepares, where it is missing: SQLite itself would let everybody read it. Its
/// other files get the same mode from it, and the same owner.
pub(super) async fn make_file(settings: &Settings) -> io::Result<()> {
    let Server::Sqlite(File { path, access: Access::Own | Access::Prepare }) = &settings.server else { return Ok(()) };
    let path = path.clone();
    let made = tokio::task::spawn_blocking(move || owner::make(&path));
    made.await.map_err(io::Error::other)?.map(drop)
}

macro_rules! driver {
    ($connection:ty, $database:ty, $begin:literal, $dialect:expr, $null:expr, $value:path, $options:path) => {
        impl Driver for $connection {
            const DIALECT: Dialect = $dialect;
            const BEGIN: &'static str = $begin;

            fn options(settings: &Settings, known: &Authorities) -> Option<Self::Options> {
                $options(settings, known)
            }

            async fn rows(&mut self, sql: AssertSqlSafe<Arc<str>>, args: Vec<Value>) -> Result<Vec<Row>, Error> {
                let mut query = sqlx::query::<$database>(sql);
                for value in args {
                    query = match value {
                        Value::Null => query.bind($null),
                        Value::Integer(number) => query.bind(number),
                        Value::Text(text) => query.bind(text),
                        Value::Bytes(bytes) => query.bind(bytes),
                    };
                }
                let found = query.fetch_all(self).await?;
                let read = |row| {
                    let columns = 0..sqlx::Row::len(row);
                    columns.map(|column| $value(row, column)).collect::<Result<_, Error>>().map(Row)
                };
                found.iter().map(read).collect()
            }

            async fn change(&mut self, sql: AssertSqlSafe<Arc<str>>, args: Vec<Value>) -> Result<u64, Error> {
                let mut query = sqlx::query::<$database>(sql);
                for value in args {
                    query = match value {
                        Value::Null => query.bind($null),
                        Value::Integer(number) => query.bind(number),
                        Value::Text(text) => query.bind(text),
                        Value::Bytes(bytes) => query.bind(bytes),
                    };
                }
                Ok(query.execute(self).await?.rows_affected())
            }

            async fn control(&mut self, sql: &'static str) -> Result<(), Error> {
                sqlx::raw_sql(sql).execute(self).await.map(|_| ())
            }
        }
    };
}

const NO_TEXT: Option<String> = None;

// A transaction that reads first and writes then could not be let in any more.
driver!(SqliteConnection, Sqlite, "BEGIN IMMEDIATE", Dialect::Sqlite, NO_TEXT, of_sqlite, sqlite_options);
driver!(PgConnection, Postgres, "BEGIN", Dialect::Postgres, Untyped, of_postgres, postgres_options);
driver!(MySqlConnection, MySql, "START TRANSACTION", Dialect::MySql, NO_TEXT, of_mysql, mysql_options);

/// `NULL` of the type that the statement has there. PostgreSQL takes one of another type for an error.
struct Untyped;

impl Type<Postgres> for Untyped {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Untyped {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, sqlx::error::BoxDynError> {
        Ok(IsNull::Yes)
    }
}

fn of_sqlite(row: &SqliteRow, column: usize) -> Result<Value, Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    match value.type_info().name() {
        "INTEGER" => row.try_get_unchecked(column).map(Value::Integer),
        "TEXT" => row.try_get_unchecked(column).map(Value::Text),
        "BLOB" => row.try_get_unchecked(column).map(Value::Bytes),
        other => Err(unknown(column, other)),
    }
}

fn of_postgres(row: &PgRow, column: usize) -> Result<Value, Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    match value.type_info().name() {
        "INT8" => row.try_get(column).map(Value::Integer),
        "INT4" => row.try_get::<i32, _>(column).map(|number| Value::Integer(number.into())),
        "INT2" => row.try_get::<i16, _>(column).map(|number| Value::Integer(number.into())),
        "BOOL" => row.try_get::<bool, _>(column).map(|is_true| Value::Integer(is_true.into())),
        // JSON is sent as its text.
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "JSON" => row.try_get_unchecked(column).map(Value::Text),
        "BYTEA" => row.try_get(column).map(Value::Bytes),
        other => Err(unknown(column, other)),
    }
}

fn of_mysql(row: &MySqlRow, column: usize) -> Result<Value, Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(Value::Null);
    }
    match value.type_info().name() {
        "BIGINT" | "INT" | "MEDIUMINT" | "SMALLINT" | "TINYINT" | "BOOLEAN" => {
            row.try_get_unchecked(column).map(Value::Integer)
        }
        // Refused where it is too large.
        "BIGINT UNSIGNED" | "INT UNSIGNED" | "MEDIUMINT UNSIGNED" | "SMALLINT UNSIGNED" | "TINYINT UNSIGNED" => {
            let number: u64 = row.try_get_unchecked(column)?;
            i64::try_from(number).map(Value::Integer).map_err(|_| unknown(column, "BIGINT UNSIGNED"))
        }
        "VARCHAR" | "CHAR" | "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT" | "JSON" | "ENUM" => {
            row.try_get_unchecked(column).map(Value::Text)
        }
        "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" | "BINARY" | "VARBINARY" => {
            row.try_get_unchecked(column).map(Value::Bytes)
        }
        other => Err(unknown(column, other)),
    }
}

fn unknown(column: usize, found: &str) -> Error {
    Error::ColumnDecode { index: column.to_string(), source: found.to_owned().into() }
}

fn sqlite_options(settings: &Settings, _known: &Authorities) -> Option<SqliteConnectOptions> {
    let Server::Sqlite(File { path, access }) = &settings.server else { return None };
    // A name that begins with `file:` would be a URI to SQLite.
    let path = match path.is_absolute() {
        true => path.clone(),
        false => std::path::Path::new(".").join(path),
    };
    // A lock is waited for, and not for as long as a question may take: that somebody holds it is then known.
    let patience = settings.answer_within.mul_f64(0.75);
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(patience).foreign_keys(true);
    Some(match access {
        Access::ReadOnly => options.read_only(true),
        Access::Change | Access::Prepare => options,
        Access::Own => {
            options.create_if_missing(true).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
        }
    })
}

fn postgres_options(settings: &Settings, known: &Authorities) -> Option<PgConnectOptions> {
    let Server::Postgres(remote) = &settings.server else { return None };
    let options = PgConnectOptions::new_without_pgpass();
    let mut options = match &remote.address {
        Address::Tcp { host, port } => options.host(host).port(*port),
        Address::Socket { path, port } => options.socket(path).port(*port),
    };
    options = options.database(&remote.database).username(&remote.username).application_name("dockwarden");
    if let Some(password) = &remote.password {
        options = options.password(password.reveal());
    }
    if let Some(schemas) = &remote.search_path {
        options = options.options([("search_path", schemas)]);
    }
    if let Some(client) = &remote.client {
        let both = client.to_pem().into_bytes();
        options = options.ssl_client_cert_from_pem(&both).ssl_client_key_from_pem(&both);
    }
    Some(match &remote.tls {
        Tls::Off => options.ssl_mode(PgSslMode::Disable),
        Tls::Preferred => options.ssl_mode(PgSslMode::Prefer),
        Tls::Unchecked => options.ssl_mode(PgSslMode::Require),
        Tls::Checked(trust) => options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert_from_pem(pem(trust, known)),
    })
}

fn mysql_options(settings: &Settings, known: &Authorities) -> Option<MySqlConnectOptions> {
    let Server::MySql(remote) = &settings.server else { return None };
    let options = MySqlConnectOptions::new();
    let mut options = match &remote.address {
        Address::Tcp { host, port } => options.host(host).port(*port),
        Address::Socket { path, .. } => options.socket(path),
    };
    options = options.database(&remote.database).username(&remote.username);
    // Nothing here is about time, and a server that knows no time zones refuses one.
    options = options.timezone(None).charset("utf8mb4");
    if let Some(password) = &remote.password {
        options = options.password(password.reveal());
    }
    if let Some(client) = &remote.client {
        let both = client.to_pem().into_bytes();
        options = options.ssl_client_cert_from_pem(&both).ssl_client_key_from_pem(&both);
    }
    Some(match &remote.tls {
        Tls::Off => options.ssl_mode(MySqlSslMode::Disabled),
        Tls::Preferred => options.ssl_mode(MySqlSslMode::Preferred),
        Tls::Unchecked => options.ssl_mode(MySqlSslMode::Required),
        Tls::Checked(trust) => options.ssl_mode(MySqlSslMode::VerifyIdentity).ssl_ca_from_pem(pem(trust, known)),
    })
}

fn pem(trust: &Trust, known: &Authorities) -> Vec<u8> {
    match trust {
        Trust::Known => known.to_pem().into_bytes(),
        Trust::File(authorities) => {
            Authorities::usable(authorities.certificates().iter().cloned()).to_pem().into_bytes()
        }
    }
}
