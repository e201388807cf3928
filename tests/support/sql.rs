//! SQL databases with the tables that docker_auth makes, and a user who may only read them: PostgreSQL and MariaDB as
//! servers on free loopback ports, SQLite as a file.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock};

use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::dockwarden::password;
use super::keys::{self, Chain};
use super::process::{Process, Signal, until};
use super::{part, port, scratch};

/// Who may read, and nothing else.
pub(crate) const READER: &str = "reader";
/// The administrator of the servers, and that password.
pub(crate) const ADMIN: (&str, &str) = ("admin", "admin");
/// Nobody in particular: PostgreSQL does not run as root.
const UNPRIVILEGED: u32 = 65534;

/// What parts a connection string, and what parts a URL.
pub(crate) fn reader_password() -> String {
    format!("@/:(?#\\'{}", password(READER))
}

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Postgres,
    MariaDb,
    Sqlite,
}

impl Product {
    pub(crate) const ALL: [Product; 3] = [Product::Postgres, Product::MariaDb, Product::Sqlite];
    /// Those that are servers.
    pub(crate) const SERVERS: [Product; 2] = [Product::Postgres, Product::MariaDb];

    /// docker_auth's `database_type`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Product::Postgres => "postgres",
            Product::MariaDb => "mysql",
            Product::Sqlite => "sqlite3",
        }
    }

    /// The tables as docker_auth makes them there.
    fn tables(self) -> [&'static str; 2] {
        match self {
            Product::Postgres => [
                r#"CREATE TABLE IF NOT EXISTS "xorm_user" ("id" BIGSERIAL PRIMARY KEY NOT NULL, "username" VARCHAR(128) NOT NULL, "password_hash" VARCHAR(128) NOT NULL, "labels" JSON NULL)"#,
                r#"CREATE TABLE IF NOT EXISTS "xorm_acl_entry" ("acl_entry" JSON NULL, "seq" BIGINT NULL)"#,
            ],
            Product::MariaDb => [
                "CREATE TABLE IF NOT EXISTS `xorm_user` (`id` BIGINT(20) PRIMARY KEY AUTO_INCREMENT NOT NULL, `username` VARCHAR(128) NOT NULL, `password_hash` VARCHAR(128) NOT NULL, `labels` TEXT NULL)",
                "CREATE TABLE IF NOT EXISTS `xorm_acl_entry` (`acl_entry` TEXT NULL, `seq` BIGINT(20) NULL)",
            ],
            Product::Sqlite => [
                "CREATE TABLE IF NOT EXISTS `xorm_user` (`id` INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, `username` TEXT NOT NULL, `password_hash` TEXT NOT NULL, `labels` TEXT NULL)",
                "CREATE TABLE IF NOT EXISTS `xorm_acl_entry` (`acl_entry` TEXT NULL, `seq` INTEGER NULL)",
            ],
        }
    }

    /// A text in SQL.
    pub(crate) fn quoted(self, text: &str) -> String {
        let text = text.replace('\'', "''");
        match self {
            Product::MariaDb => format!("'{}'", text.replace('\\', "\\\\")),
            Product::Postgres | Product::Sqlite => format!("'{text}'"),
        }
    }
}

/// A program of PostgreSQL's: Debian keeps them where no path leads.
fn of_postgres(program: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(program)).find(|path| path.is_file());
    found.unwrap_or_else(|| part::path(program))
}

/// A command as somebody who is not root. It dies with the run.
fn unprivileged(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return part::command_at(program);
    }
    let id = UNPRIVILEGED;
    let mut command = part::command("setpriv");
    command.args(["--pdeathsig", "KILL", &format!("--reuid={id}"), &format!("--regid={id}"), "--clear-groups", "--"]);
    command.arg(program);
    command
}

/// Gives a file or folder to who runs the servers.
fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
    }
}

/// A running server. What is stored outlives its process, as long as this lives.
#[derive(Debug)]
pub(crate) struct Server {
    product: Product,
    directory: PathBuf,
    chain: Chain,
    process: Mutex<Process>,
    port: u16,
}

impl Server {
    /// Starts a server, whose certificate is for `localhost`.
    pub(crate) fn start(product: Product) -> Server {
        let directory = scratch::directory(product.key());
        give_away(&directory);
        let chain = keys::for_localhost();
        for (from, to) in [(&chain.leaf.certificate, "server.crt"), (&chain.leaf.key, "server.key")] {
            let copy = directory.join(to);
            fs::copy(from, &copy).unwrap();
            fs::set_permissions(&copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            give_away(&copy);
        }
        make(product, &directory);
        let (process, port) = port::with_free(|[port]| {
            let process = launch(product, &directory, port);
            process.up_or_ended("its first connection", |_| is_up(product, &directory, port)).map(|()| (process, port))
        });
        Server { product, directory, chain, process: Mutex::new(process), port }
    }

    /// The one that all tests share which do it no harm.
    pub(crate) fn shared(product: Product) -> &'static Server {
        static POSTGRES: OnceLock<Server> = OnceLock::new();
        static MARIADB: OnceLock<Server> = OnceLock::new();
        let cell = if product == Product::Postgres { &POSTGRES } else { &MARIADB };
        cell.get_or_init(|| Server::start(product))
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The certificate of its authority.
    pub(crate) fn authority(&self) -> &Path {
        &self.chain.authority
    }

    /// The socket's path, or what PostgreSQL takes for it.
    pub(crate) fn socket(&self) -> PathBuf {
        match self.product {
            Product::Postgres => self.directory.clone(),
            Product::MariaDb | Product::Sqlite => self.directory.join("s"),
        }
    }

    /// Its port, which is a part of the name of PostgreSQL's socket.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends a signal to the server and all that work for it: those of PostgreSQL's are processes of their own.
    pub(crate) fn signal(&self, signal: Signal) {
        let process = self.process();
        process.signal(signal);
        let name = match signal {
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
            Signal::Hangup | Signal::Terminate | Signal::Kill => return,
        };
        for child in children(process.pid()) {
            // One that has ended by itself needs none.
            part::run(part::command("sh").args(["-c", &format!("kill {name} {child}")]));
        }
    }

    /// Kills the server, and waits until it is gone.
    pub(crate) fn kill(&self) {
        let process = self.process();
        process.signal(Signal::Kill);
        process.end();
    }

    /// Starts the server again after its end, at the same address and with what it stored.
    pub(crate) fn restart(&self) {
        let mut process = self.process();
        // Who worked for the one before may still be on the way out.
        *process = until("the server to be up again", || {
            let process = launch(self.product, &self.directory, self.port);
            process
                .up_or_ended("its first connection", |_| is_up(self.product, &self.directory, self.port))
                .map(|()| process)
        });
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap()
    }
}

/// The processes that this one has started.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let is_child = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything.
        let rest = stat.rsplit_once(')').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        rest.split_whitespace().nth(1) == Some(&parent.to_string())
    };
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

/// Makes the server's files.
fn make(product: Product, directory: &Path) {
    let data = directory.join("d");
    let mut command = match product {
        Product::Postgres => {
            let secret = scratch::write(directory, "pw", ADMIN.1);
            let mut command = unprivileged(&of_postgres("initdb"));
            command.arg("-D").arg(&data).args(["-U", ADMIN.0, "-A", "scram-sha-256", "--no-sync", "-E", "UTF8"]);
            command.args(["--locale=C.UTF-8", &format!("--pwfile={}", secret.display())]);
            command
        }
        Product::MariaDb => {
            let mut command = unprivileged(&part::path("mariadb-install-db"));
            command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
            command.arg(format!("--datadir={}", data.display()));
            // In the machine's own, the files of two that are made at the same time get in each other's way.
            command.arg(format!("--tmpdir={}", directory.display()));
            command
        }
        Product::Sqlite => unreachable!("a file has no server"),
    };
    part::run(command.current_dir(directory)).well();
}

fn launch(product: Product, directory: &Path, port: u16) -> Process {
    let file = |name: &str| directory.join(name).display().to_string();
    let mut command = match product {
        Product::Postgres => {
            let mut command = unprivileged(&of_postgres("postgres"));
            command.args(["-D", &file("d")]);
            for option in [
                "listen_addresses=127.0.0.1".to_owned(),
                format!("port={port}"),
                format!("unix_socket_directories={}", directory.display()),
                "fsync=off".to_owned(),
                "ssl=on".to_owned(),
                format!("ssl_cert_file={}", file("server.crt")),
                format!("ssl_key_file={}", file("server.key")),
                "max_connections=200".to_owned(),
                "shared_buffers=16MB".to_owned(),
            ] {
                command.args(["-c", &option]);
            }
            command
        }
        Product::MariaDb => {
            let mut command = unprivileged(&part::path("mariadbd"));
            command.args([
                "--no-defaults".to_owned(),
                format!("--datadir={}", file("d")),
                format!("--socket={}", file("s")),
                format!("--tmpdir={}", file("d")),
                format!("--pid-file={}", file("pid")),
                "--bind-address=127.0.0.1".to_owned(),
                format!("--port={port}"),
                format!("--ssl-cert={}", file("server.crt")),
                format!("--ssl-key={}", file("server.key")),
                "--skip-name-resolve".to_owned(),
                "--innodb-buffer-pool-size=16M".to_owned(),
                // Not waiting for the disk, but with what was written before it is killed.
                "--innodb-flush-log-at-trx-commit=2".to_owned(),
                "--debug-no-sync".to_owned(),
                "--max-connections=200".to_owned(),
            ]);
            command
        }
        Product::Sqlite => unreachable!("a file has no server"),
    };
    command.current_dir(directory);
    Process::start(product.key(), &command)
}

fn is_up(product: Product, directory: &Path, port: u16) -> Option<()> {
    // Of another server on this port there is no socket here.
    let place = match product {
        Product::Postgres => Place::Postgres { socket: directory.to_owned(), port, database: "postgres".to_owned() },
        Product::MariaDb | Product::Sqlite => {
            Place::MariaDb { socket: directory.join("s"), database: "mysql".to_owned() }
        }
    };
    place.run("SELECT 1").ok()
}

/// Where an administrator finds a database.
#[derive(Clone, Debug)]
enum Place {
    Postgres { socket: PathBuf, port: u16, database: String },
    MariaDb { socket: PathBuf, database: String },
    Sqlite(PathBuf),
}

impl Place {
    /// Runs statements as the administrator.
    fn run(&self, sql: &str) -> Result<(), sqlx::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let statements = sqlx::raw_sql(AssertSqlSafe(sql));
        runtime.block_on(async {
            match self {
                Place::Postgres { socket, port, database } => {
                    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass().socket(socket).port(*port);
                    let options = options.username(ADMIN.0).password(ADMIN.1).database(database);
                    let mut connection = options.connect().await?;
                    statements.execute(&mut connection).await?;
                    connection.close().await
                }
                Place::MariaDb { socket, database } => {
                    let options = sqlx::mysql::MySqlConnectOptions::new().socket(socket).username("root");
                    let options = options.database(database).ssl_mode(sqlx::mysql::MySqlSslMode::Disabled);
                    let mut connection = options.connect().await?;
                    statements.execute(&mut connection).await?;
                    connection.close().await
                }
                Place::Sqlite(path) => {
                    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
                    let mut connection = options.connect().await?;
                    statements.execute(&mut connection).await?;
                    connection.close().await
                }
            }
        })
    }
}

impl Place {
    fn texts(&self, sql: &str) -> Result<Vec<Option<String>>, sqlx::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            match self {
                Place::Postgres { socket, port, database } => {
                    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass().socket(socket).port(*port);
                    let options = options.username(ADMIN.0).password(ADMIN.1).database(database);
                    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut options.connect().await?).await
                }
                Place::MariaDb { socket, database } => {
                    let options = sqlx::mysql::MySqlConnectOptions::new().socket(socket).username("root");
                    let options = options.database(database).ssl_mode(sqlx::mysql::MySqlSslMode::Disabled);
                    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut options.connect().await?).await
                }
                Place::Sqlite(path) => {
                    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&mut options.connect().await?).await
                }
            }
        })
    }
}

/// docker_auth's tables in a database of their own.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    pub(crate) product: Product,
    place: Place,
    /// As docker_auth's file would have it.
    pub(crate) conn_string: String,
}

impl Tables {
    /// In the server that all tests share, or in a file.
    pub(crate) fn new(product: Product) -> Tables {
        match product {
            Product::Postgres | Product::MariaDb => Tables::in_server(Server::shared(product)),
            Product::Sqlite => {
                let path = scratch::directory("sqlite").join("auth.db");
                let tables = Tables { product, conn_string: path.display().to_string(), place: Place::Sqlite(path) };
                tables.product.tables().iter().for_each(|table| tables.run(table));
                tables
            }
        }
    }

    /// In this server.
    pub(crate) fn in_server(server: &Server) -> Tables {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let (product, socket) = (server.product, server.socket());
        let name = format!("auth{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let secret = product.quoted(&reader_password());
        let place = |database: &str| match product {
            Product::Postgres => {
                Place::Postgres { socket: socket.clone(), port: server.port, database: database.to_owned() }
            }
            Product::MariaDb | Product::Sqlite => {
                Place::MariaDb { socket: socket.clone(), database: database.to_owned() }
            }
        };
        let mut tables = Tables { product, place: place(&name), conn_string: String::new() };
        match product {
            Product::Postgres => {
                let admin = place("postgres");
                // A second database finds the user made.
                admin.run(&format!("CREATE ROLE {READER} LOGIN PASSWORD {secret}")).ok();
                admin.run(&format!("CREATE DATABASE {name}")).unwrap();
            }
            Product::MariaDb | Product::Sqlite => {
                let admin = place("mysql");
                admin.run(&format!("CREATE DATABASE {name} CHARACTER SET utf8mb4")).unwrap();
                admin.run(&format!("CREATE USER IF NOT EXISTS {READER}@'%' IDENTIFIED BY {secret}")).unwrap();
            }
        }
        tables.product.tables().iter().for_each(|table| tables.run(table));
        let tables_of = ["xorm_user", "xorm_acl_entry"];
        for table in tables_of {
            tables.run(&match product {
                Product::Postgres => format!("GRANT SELECT ON {table} TO {READER}"),
                Product::MariaDb | Product::Sqlite => format!("GRANT SELECT ON {name}.{table} TO {READER}@'%'"),
            });
        }
        tables.conn_string = tables.conn_string_at(&server.address());
        tables
    }

    /// The connection string with another address, for links. Nothing on the way is encrypted.
    pub(crate) fn conn_string_at(&self, address: &str) -> String {
        match &self.place {
            Place::Postgres { database, .. } => {
                format!("{}?sslmode=disable", self.url_at(address, database))
            }
            Place::MariaDb { database, .. } => {
                format!("{READER}:{}@tcp({address})/{database}", reader_password())
            }
            Place::Sqlite(path) => path.display().to_string(),
        }
    }

    fn url_at(&self, address: &str, database: &str) -> String {
        let secret = reader_password();
        let escaped = secret.bytes().fold(String::new(), |mut out, byte| {
            write!(out, "%{byte:02X}").unwrap();
            out
        });
        format!("{}://{READER}:{escaped}@{address}/{database}", self.product.key())
    }

    /// The name of the database.
    pub(crate) fn database(&self) -> &str {
        match &self.place {
            Place::Postgres { database, .. } | Place::MariaDb { database, .. } => database,
            Place::Sqlite(_) => "",
        }
    }

    /// Runs statements as the administrator.
    ///
    /// # Panics
    /// If the database refuses them.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str) {
        self.place.run(sql).unwrap_or_else(|error| panic!("{:?}: {sql}: {error}", self.product));
    }

    /// Adds a user, with this hash and these labels in JSON.
    pub(crate) fn user(&self, account: &str, hash: &str, labels: Option<&str>) {
        let [account, hash] = [account, hash].map(|text| self.product.quoted(text));
        let labels = labels.map_or_else(|| "NULL".to_owned(), |labels| self.product.quoted(labels));
        self.run(&format!(
            "INSERT INTO xorm_user (username, password_hash, labels) VALUES ({account}, {hash}, {labels})"
        ));
    }

    /// Adds a rule in JSON.
    pub(crate) fn rule(&self, seq: Option<i64>, entry: Option<&str>) {
        let seq = seq.map_or_else(|| "NULL".to_owned(), |seq| seq.to_string());
        let entry = entry.map_or_else(|| "NULL".to_owned(), |entry| self.product.quoted(entry));
        self.run(&format!("INSERT INTO xorm_acl_entry (seq, acl_entry) VALUES ({seq}, {entry})"));
    }

    /// The connection string of who may do everything.
    pub(crate) fn admin_conn_string(&self) -> String {
        let (user, secret) = ADMIN;
        match &self.place {
            Place::Postgres { socket, port, database } => format!(
                "host='{}' port={port} user={user} password={secret} dbname={database} sslmode=disable",
                socket.display()
            ),
            Place::MariaDb { socket, database } => format!("root@unix({})/{database}", socket.display()),
            Place::Sqlite(path) => path.display().to_string(),
        }
    }

    /// The first column of what a question finds, which has to be a text, as the administrator.
    #[track_caller]
    pub(crate) fn texts(&self, sql: &str) -> Vec<Option<String>> {
        let found = self.place.texts(sql);
        found.unwrap_or_else(|error| panic!("{:?}: {sql}: {error}", self.product))
    }

    /// Both sections of the file; `more` is YAML of the rules' section.
    pub(crate) fn sections(&self, conn_string: &str, more: &str) -> String {
        let (kind, text) = (self.product.key(), serde_json::to_string(conn_string).unwrap());
        format!(
            "xorm_auth: {{database_type: {kind}, conn_string: {text}}}\n\
             acl_xorm: {{database_type: {kind}, conn_string: {text}{more}}}\n"
        )
    }
}

impl Tables {
    /// The file's section that keeps records in this database of PostgreSQL, asked as who may make tables.
    pub(crate) fn records(&self) -> String {
        let Place::Postgres { socket, port, .. } = &self.place else { unreachable!("records are in PostgreSQL") };
        self.records_on(&format!("host: \"{}\", port: {port}", socket.display()))
    }

    /// The same with this address, for links. Nothing on the way is encrypted.
    pub(crate) fn records_at(&self, address: &str) -> String {
        let (host, port) = address.split_once(':').unwrap();
        self.records_on(&format!("host: {host}, port: {port}, tls: off"))
    }

    fn records_on(&self, server: &str) -> String {
        let (user, secret) = ADMIN;
        let database = self.database();
        format!("records: {{postgres: {{{server}, database: {database}, username: {user}, password: {secret}}}}}\n")
    }
}
