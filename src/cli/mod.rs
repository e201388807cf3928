//! The command line.

mod account;
mod acl;
mod analysis;
mod check;
mod credential;
mod directory;
mod environment;
mod events_secret;
mod explain;
mod given;
mod glog;
mod health;
mod keys;
mod ldap;
mod login;
mod logs;
mod man;
mod members;
mod migrate;
mod mongo;
mod password;
mod records;
mod registry;
mod repository;
mod settings;
mod shown;
mod test;
mod token;
mod user;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;
use tracing_appender::non_blocking::ErrorCounter;

use crate::app::{
    App, Source, look_after_catalogue, look_after_certificate, look_after_secrets, take_over_passwords, tell_collector,
    write_uses,
};
use crate::config::{Config, ENVIRONMENT_PREFIX, Secrets};
use crate::management::MemberKind;
use crate::mongo::Run;
use crate::secret::lasting::LastingSecret;
use crate::{server, watch};

/// Nothing is wrong.
const DONE: u8 = 0;
/// Something is wrong with what was given, and the text says what.
const FAILED: u8 = 1;
/// The command line is wrong, and the text says how.
const MISUSED: u8 = 2;
/// Where the configuration is in the image.
const IMAGES_CONFIG: &str = "/config/auth_config.yml";
/// How long threads that block may keep the process after everything else has ended.
const LAST_PATIENCE: Duration = Duration::from_millis(500);
/// `explain`: understood, and not everything that was asked is granted. `test`: a test does not hold, or too little is tested.
const NOT_ALL_GRANTED: u8 = 3;
/// Questions about a whole policy: something was found.
const FOUND: u8 = 3;
/// Questions about a whole policy: nothing was found, and something could not be told.
const UNDECIDED: u8 = 4;

/// The authorization server for private Docker and OCI registries.
#[derive(Parser)]
#[command(
    name = "dockwarden",
    version,
    about,
    max_term_width = 100,
    after_help = "\
`dockwarden CONFIG` is short for `dockwarden serve CONFIG`. The flags of docker_auth (--v=2, --alsologtostderr, …) are accepted."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

// The work factor of a new hash.
#[derive(clap::Args)]
struct Cost {
    /// The work factor: each step doubles the time
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..=i64::from(crate::authn::password::MAX_COST)))]
    cost: u32,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// The arguments of commands are put together for the one that is given (`defer`): a server that starts needs none of the others.
/// What is said of the others' arguments as a whole is no doc comment, which would take the place of what is said of the command.
#[derive(Subcommand)]
#[command(defer = true)]
enum Command {
    /// Serve tokens
    Serve {
        /// The configuration file
        config: PathBuf,
        /// First print what a registry needs: the address, the certificate, and the five settings
        #[arg(long)]
        settings: bool,
    },
    /// Check a configuration file, as serve would, and point out what is probably not meant
    Check {
        /// The configuration file
        config: PathBuf,
        /// Also try each backend that the file names: servers are asked, programs are looked for
        #[arg(long)]
        connect: bool,
    },
    /// Ask the server that runs with this file whether it is ready: for health checks
    Health {
        /// The configuration file; only where the server listens is read from it, no secret and no key
        #[arg(default_value = IMAGES_CONFIG)]
        config: PathBuf,
    },
    /// Explain what an account may do, rule by rule
    Explain(explain::Arguments),
    /// Run the tests of the policy, those of the file and of others
    Test(test::Arguments),
    /// Find what two policies decide differently, for whom, and by which rules
    Diff(analysis::DiffArguments),
    /// Print the rules of a file without those that decide nothing, or nothing that others do not
    Minimise(analysis::MinimiseArguments),
    /// List everybody who may do something, and on which conditions
    WhoCan(analysis::WhoArguments),
    /// List everything that an account may do, and on which conditions
    WhatCan(analysis::WhatArguments),
    /// Make the bcrypt hash of a password, read from standard input or asked for
    HashPassword {
        #[command(flatten)]
        cost: Cost,
        /// Generate a random password, and show it once on standard error
        #[arg(long)]
        generate: bool,
    },
    /// Prepare databases: MongoDB and SQL for users and rules, PostgreSQL and MongoDB for records
    Migrate {
        /// The configuration file
        config: PathBuf,
        /// Print what would be made, and make nothing
        #[arg(long)]
        dry_run: bool,
    },
    #[command(subcommand)]
    User(user::Command),
    #[command(subcommand)]
    Acl(acl::Command),
    #[command(subcommand)]
    Token(token::Command),
    #[command(subcommand)]
    Records(records::Command),
    #[command(subcommand)]
    Directory(directory::Command),
    #[command(subcommand)]
    Registry(registry::Command),
    #[command(subcommand)]
    Repository(repository::Command),
    #[command(subcommand)]
    Tag(registry::TagCommand),
    /// List and change the groups of the directory
    #[command(subcommand)]
    Group(members::Command),
    /// List and change the apps of the directory
    #[command(subcommand)]
    App(members::Command),
    #[command(subcommand)]
    Service(members::ServiceCommand),
    #[command(subcommand)]
    Ldap(ldap::Command),
    #[command(subcommand)]
    Keys(keys::Command),
    /// Answer the kubelet's question for an image's credentials with the pod's own token: a credential provider plugin
    CredentialProvider(credential::Arguments),
    /// Log docker in: approve this machine in a browser, and its docker password is stored where docker looks for it
    Login(login::Arguments),
    /// Remove the docker password of a registry from where docker looks for it
    Logout(login::LogoutArguments),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual: a page for each command
    Man {
        /// The directory for the pages; it is made where it is not there
        directory: PathBuf,
    },
}

/// Runs the program with these arguments, the program's own name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if credential::is_helper(&arguments) {
        return ExitCode::from(credential::help(&arguments));
    }
    let glog::Taken { arguments, verbosity } = glog::take(arguments);
    let has_hash = arguments.iter().any(|one| holds_hash(&one.to_string_lossy()));
    let is_about_passwords = arguments.iter().skip(1).take(1).any(|one| one == "hash-password" || one == "user");
    let has_secret = arguments.iter().any(|one| holds_lasting_secret(&one.to_string_lossy()));
    let arguments = match Arguments::try_parse_from(with_default_command(arguments)) {
        Ok(arguments) => arguments,
        // The usual message would show it once more.
        Err(_) if has_hash => {
            complain(
                "dockwarden: a hash is given on standard input, never on the command line: others can read it there (ps)",
            );
            return ExitCode::from(2);
        }
        Err(_) if has_secret => {
            complain("dockwarden: a secret is never given on the command line: others can read it there (ps)");
            return ExitCode::from(2);
        }
        Err(error) if is_about_passwords && error.kind() == clap::error::ErrorKind::UnknownArgument => {
            complain(
                "dockwarden: there is an argument too many; passwords are asked for, or given on standard input, never on the \
                 command line: others can read them there (ps)",
            );
            return ExitCode::from(2);
        }
        Err(error) => {
            let is_answer =
                matches!(error.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion);
            // Nothing can be said about a message that could not be printed.
            drop(error.print());
            return ExitCode::from(if is_answer { DONE } else { 2 });
        }
    };
    ExitCode::from(match arguments.command {
        Command::Serve { config, settings } => serve(source(config), verbosity, settings),
        Command::Check { config, connect } => check::run(&source(config), connect),
        Command::Health { config } => health::run(&source(config)),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Test(arguments) => test::run_command(arguments),
        Command::Diff(arguments) => analysis::diff(&arguments),
        Command::Minimise(arguments) => analysis::minimise(&arguments),
        Command::WhoCan(arguments) => analysis::who_can(&arguments),
        Command::WhatCan(arguments) => analysis::what_can(&arguments),
        Command::HashPassword { cost, generate } => {
            password::run(cost.cost, if generate { password::Source::Generated } else { password::Source::Given })
        }
        Command::Migrate { config, dry_run } => migrate::run(config, if dry_run { Run::Dry } else { Run::Real }),
        Command::User(command) => user::run(command),
        Command::Acl(command) => acl::run(command),
        Command::Token(command) => token::run(command),
        Command::Records(command) => records::run(command),
        Command::Directory(command) => directory::run(command),
        Command::Registry(command) => registry::run(command),
        Command::Repository(command) => repository::run(command),
        Command::Tag(command) => registry::run_tag(command),
        Command::Group(command) => members::run(MemberKind::Group, command),
        Command::App(command) => members::run(MemberKind::App, command),
        Command::Service(command) => members::run_service(command),
        Command::Ldap(command) => ldap::run(command),
        Command::Keys(command) => keys::run(command),
        Command::CredentialProvider(arguments) => credential::provide(&arguments),
        Command::Login(arguments) => login::login(arguments),
        Command::Logout(arguments) => login::logout(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "dockwarden", &mut script);
            say(&String::from_utf8_lossy(&script), DONE)
        }
        Command::Man { directory } => man::run(Arguments::command(), &directory),
    })
}

/// Whether an argument is a secret of ours.
fn holds_lasting_secret(argument: &str) -> bool {
    let value = argument.rsplit('=').next().unwrap_or(argument);
    LastingSecret::read(value).is_ours()
}

/// Whether an argument is, or ends with, the hash of a password.
fn holds_hash(argument: &str) -> bool {
    ["$2a$", "$2b$", "$2y$", "$2x$", "$argon2", "$apr1$"].iter().any(|kind| argument.contains(kind))
}

/// `dockwarden CONFIG` as docker_auth has it: a first word that is neither a command nor a flag is a file to serve.
fn with_default_command(arguments: Vec<OsString>) -> Vec<OsString> {
    let command = Arguments::command();
    let is_file = arguments.get(1).is_some_and(|first| {
        let first = first.to_string_lossy();
        let known = command.get_subcommands().any(|known| known.get_name() == first) || first == "help";
        !first.starts_with('-') && !known
    });
    let mut arguments = arguments;
    if arguments.get(1).is_some_and(|first| first == "--") {
        // Go's end of the flags; what follows is the file.
        arguments.splice(1..2, [OsString::from("serve"), OsString::from("--")]);
    }
    if is_file {
        arguments.insert(1, OsString::from("serve"));
    }
    arguments
}

fn source(file: PathBuf) -> Source {
    let ours = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    let variables = std::env::vars_os().filter_map(ours).filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX));
    Source { file, variables: variables.collect() }
}

fn serve(source: Source, verbosity: glog::Verbosity, print_settings: bool) -> u8 {
    let log = logs::start(verbosity);
    for doubt in environment::doubts(std::env::vars_os()) {
        tracing::warn!(reason = "lint", "{}", doubt.in_file(&source.file));
    }
    // Read once more after the first look at the files: a change between the two would never be noticed otherwise.
    let loaded = source.load_and_make_key().and_then(|first| {
        let seen = watch::state_of(first.files);
        Ok((source.load(Secrets::Read)?, seen))
    });
    let (config, seen) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            logs::startup_failed(&error);
            return FAILED;
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            logs::startup_failed(&error.into());
            return FAILED;
        }
    };
    let served = runtime.block_on(serve_until_stopped(source, config, seen, print_settings, log.dropped.clone()));
    // A thread that is still hashing, or reads a file that does not answer, must not keep the process.
    runtime.shutdown_timeout(LAST_PATIENCE);
    match served {
        Ok(()) => DONE,
        Err(error) => {
            logs::startup_failed(&error);
            FAILED
        }
    }
}

async fn serve_until_stopped(
    source: Source,
    config: Config,
    seen: watch::FileStates,
    print_settings: bool,
    log_lines_dropped: ErrorCounter,
) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let hangup = signal(SignalKind::hangup())?;
    let listeners =
        server::Listeners::bind(&config.server, config.gateway.as_ref().and_then(|gateway| gateway.listen.as_ref()))
            .await?;
    if print_settings {
        settings::print(&config);
    }
    let mut app = App::open(source, config)?;
    app.prepare().await?;
    app.metrics.count_dropped_lines(move || log_lines_dropped.dropped_lines());
    let app = Arc::new(app);
    let watching = tokio::spawn(watch::run(Arc::clone(&app), seen, hangup));
    tokio::spawn(async move {
        if let Err(cause) = watching.await {
            tracing::error!(reason = "watcher_died", cause = %cause, "changes of the files are not seen any more: restart the server");
        }
    });
    let (stop, stopped) = channel::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.send_replace(true);
    });
    let upkeep = tokio::spawn(look_after_secrets(Arc::clone(&app)));
    let taking_over = tokio::spawn(take_over_passwords(Arc::clone(&app)));
    let catalogue = tokio::spawn(look_after_catalogue(Arc::clone(&app)));
    let telling = tokio::spawn(tell_collector(Arc::clone(&app)));
    let certificate = tokio::spawn(look_after_certificate(Arc::clone(&app)));
    server::serve(Arc::clone(&app), listeners, stopped).await;
    certificate.abort();
    telling.abort();
    catalogue.abort();
    taking_over.abort();
    upkeep.abort();
    write_uses(&app).await;
    Ok(())
}

/// Prints an answer to standard output and returns `status`; what could not be printed is a failure, unless nobody
/// reads on (`check | head`).
fn say(text: &str, status: u8) -> u8 {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => status,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => status,
        Err(error) => complain(&format!("dockwarden: the answer cannot be written: {error}")),
    }
}

/// What this machine calls itself; nothing where that cannot be told.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// Says that a command that changes something was not told what, and returns its status.
fn nothing_said() -> u8 {
    complain("dockwarden: it is not said what to change; see --help");
    MISUSED
}

/// Prints a message to standard error, and returns the status of a failure. Where even that cannot be written, the
/// status says it.
fn complain(message: &str) -> u8 {
    use std::io::Write as _;
    drop(writeln!(std::io::stderr(), "{message}"));
    FAILED
}
