//! `dockwarden login` and `logout`: a docker password for this machine, approved in a browser (RFC 8628) and stored where docker looks
//! for it.

mod docker;
pub(super) mod kept;
mod server;

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::{Instant, sleep};
use url::{Host, Url};

use self::docker::{DockerConfig, Login, Stored};
use self::kept::day;
use self::server::{Begun, Granted, Polled, Server, Wish};
use super::{DONE, complain, host_name, say};
use crate::secret::Secret;
use crate::secrets::{DEVICE_DAYS, MOST_DEVICE_DAYS};
use crate::shown::printable;

/// How long between two questions where the server does not say (RFC 8628, section 3.2), at least and at most.
const USUAL_PAUSE: Duration = Duration::from_secs(5);
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// By how much longer once the server was asked too soon (section 3.5).
const SLOWER_BY: Duration = Duration::from_secs(5);
/// The longest that somebody's answer is waited for, whatever the server says.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

#[derive(clap::Args)]
#[command(after_help = "\
The password is never printed, unless --print asks for it. docker's own settings say where it is stored: credHelpers or credsStore of \
config.json, or else that file itself.")]
pub(super) struct Arguments {
    /// Dockwarden's address, which is sign_in.url of its configuration
    url: String,
    /// The registry to log in to, with its port if it has one; usually the server says which
    #[arg(long, value_name = "HOST")]
    registry: Option<String>,
    /// What this machine is called on the page; its host name if left out
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// How many days the password is good
    #[arg(long, value_name = "DAYS", default_value_t = DEVICE_DAYS, value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_DEVICE_DAYS)))]
    days: u32,
    /// A password that pulls, and does nothing else
    #[arg(long)]
    pull_only: bool,
    /// Print the password alone on standard output, and store it nowhere
    #[arg(long)]
    print: bool,
    /// Speak plain HTTP with a server elsewhere: everybody on the way can read the password
    #[arg(long)]
    plain_http: bool,
}

#[derive(clap::Args)]
pub(super) struct LogoutArguments {
    /// The registry, with its port if it has one
    registry: String,
}

/// What becomes of the password.
enum Wanted {
    Printed,
    Stored,
}

/// Whether plain HTTP is spoken with a server elsewhere.
#[derive(Clone, Copy)]
enum PlainHttp {
    Refused,
    Allowed,
}

/// Runs the command.
pub(super) fn login(arguments: Arguments) -> u8 {
    match try_login(arguments) {
        Ok(status) => status,
        Err(message) => complain(&format!("dockwarden: {message}")),
    }
}

fn try_login(arguments: Arguments) -> Result<u8, String> {
    let plain_http = if arguments.plain_http { PlainHttp::Allowed } else { PlainHttp::Refused };
    let url = address(&arguments.url, plain_http)?;
    let named = arguments.registry.as_deref().map(docker::registry).transpose()?;
    let wanted = if arguments.print { Wanted::Printed } else { Wanted::Stored };
    let config = DockerConfig::from_environment()?;
    // What cannot be stored is not made: it would be good, and nobody would have it.
    let place_of = |registry: &str| match wanted {
        Wanted::Printed => Ok(None),
        Wanted::Stored => config.place(registry).map(Some),
    };
    if let Some(registry) = &named {
        place_of(registry)?;
    }
    let machine = arguments.machine.unwrap_or_else(host_name);
    let wish = Wish { machine: &machine, days: arguments.days, pull_only: arguments.pull_only };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let server = Server::at(url)?;
    let asked = runtime.block_on(async {
        let begun = server.begin(&wish).await?;
        let registry = match (&named, &begun.registry) {
            (Some(registry), _) => registry.clone(),
            (None, Some(registry)) => docker::registry(registry)?,
            (None, None) => {
                return Err("the server does not say which registry this is for: name it with --registry".to_owned());
            }
        };
        let place = place_of(&registry)?;
        tell(&begun, plain_http)?;
        let granted = wait(&begun, async || server.poll(&begun.device_code).await).await?;
        Ok((registry, place, granted))
    });
    // A name server that does not answer must not keep the command.
    runtime.shutdown_background();
    let (registry, place, Granted { username, access_token, expires_in }) = asked?;
    let login = Login { registry, username, password: Secret::new(access_token), ends: expires_in.and_then(end) };
    let Some(place) = place else {
        note(&format!("For {} as {}{}.", login.registry, printable(&login.username), until(login.ends)));
        return Ok(say(&format!("{}\n", login.password.reveal()), DONE));
    };
    let stored = config.store(&login, &place).map_err(|message| {
        format!("{message}\nThe password was made all the same: revoke it at {}", server.page("account"))
    })?;
    match stored {
        Stored::Safely => {}
        Stored::Unencrypted(file) => note(&format!(
            "WARNING! The password is stored unencrypted in {}. A credential helper keeps it better:\n\
             https://docs.docker.com/go/credential-store/",
            file.display()
        )),
    }
    let (registry, username) = (&login.registry, printable(&login.username));
    Ok(say(&format!("Login succeeded: {username} at {registry}{}.\n", until(login.ends)), DONE))
}

/// Runs the command.
pub(super) fn logout(arguments: &LogoutArguments) -> u8 {
    let erased = docker::registry(&arguments.registry).and_then(|registry| {
        let config = DockerConfig::from_environment()?;
        let place = config.place(&registry)?;
        config.erase(&registry, &place)?;
        Ok(registry)
    });
    match erased {
        Ok(registry) => say(
            &format!(
                "This machine has no login of {registry} now. A password that it had is good until it ends or is revoked, on the page where \
                 it was approved (/account).\n"
            ),
            DONE,
        ),
        Err(message) => complain(&format!("dockwarden: {message}")),
    }
}

/// The server's address as somebody typed it. Not repeated where it is wrong: there could be a password in it.
fn address(text: &str, plain_http: PlainHttp) -> Result<Url, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
    let url = Url::parse(&whole).ok().filter(|url| {
        let is_plain =
            url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
        is_plain && url.has_host() && matches!(url.scheme(), "https" | "http")
    });
    let url = url.ok_or("the address is not one of a server; write https://auth.example.org, as sign_in.url has it")?;
    if is_safe(&url, plain_http) {
        return Ok(url);
    }
    Err("over plain HTTP, everybody on the way can read the password; write https://, or --plain-http if that is meant"
        .to_owned())
}

/// Whether nobody on the way reads or changes what is said there, or that is meant.
fn is_safe(url: &Url, plain_http: PlainHttp) -> bool {
    let is_here = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    match (url.scheme(), plain_http) {
        ("https", _) | ("http", PlainHttp::Allowed) => true,
        (_, PlainHttp::Allowed) => false,
        (scheme, PlainHttp::Refused) => scheme == "http" && is_here,
    }
}

/// Says where to approve it. Whoever hears the text hears each letter of the code.
fn tell(begun: &Begun, plain_http: PlainHttp) -> Result<(), String> {
    let is_page = |text: &str| Url::parse(text).is_ok_and(|url| is_safe(&url, plain_http));
    let complete = begun.verification_uri_complete.as_deref().unwrap_or(&begun.verification_uri);
    // Somebody is about to sign in there.
    if !is_page(&begun.verification_uri) || !is_page(complete) {
        return Err(
            "the page that the server names is not one over TLS: its sign_in.url should begin with https://".to_owned()
        );
    }
    let code = printable(&begun.user_code);
    let letters: Vec<String> = code.chars().filter(char::is_ascii_alphanumeric).map(String::from).collect();
    note(&format!(
        "Open this page, sign in, and approve the login if the page shows the code {code}:\n\n    {}\n\n\
         Or open {} and type the code. Letter by letter, it is {}.\nWaiting for your answer ...",
        printable(complete),
        printable(&begun.verification_uri),
        letters.join(", ")
    ));
    Ok(())
}

/// Asks until somebody answered, or it is too late.
async fn wait(begun: &Begun, mut ask: impl AsyncFnMut() -> Polled) -> Result<Granted, String> {
    let end: Instant = crate::clock::now() + Duration::from_secs(begun.expires_in).min(LONGEST_WAIT);
    let mut pause = begun.interval.map_or(USUAL_PAUSE, Duration::from_secs).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
    loop {
        sleep(pause).await;
        match ask().await {
            Polled::Granted(granted) => return Ok(*granted),
            Polled::Failed(message) => return Err(message),
            Polled::Pending => {}
            Polled::TooSoon => pause = (pause + SLOWER_BY).min(LONGEST_PAUSE),
            // Section 3.5: it is asked less and less while it cannot answer.
            Polled::Away => pause = (pause * 2).min(LONGEST_PAUSE),
        }
        if crate::clock::now() >= end {
            return Err("nobody answered in time; begin once more".to_owned());
        }
    }
}

/// When a password ends that is good for so many seconds from now.
fn end(seconds: u64) -> Option<OffsetDateTime> {
    #[expect(clippy::disallowed_methods, reason = "the moment of this command")]
    let now = OffsetDateTime::now_utc();
    now.checked_add(time::Duration::seconds(seconds.try_into().ok()?))
}

fn until(ends: Option<OffsetDateTime>) -> String {
    ends.map(|ends| format!(", until {}", day(ends))).unwrap_or_default()
}

/// Says something to whoever sits there, beside the answer.
fn note(message: &str) {
    let _: u8 = complain(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_asked_over_tls_or_on_this_machine() {
        for (text, plain_http, expected) in [
            ("https://auth.example.org", PlainHttp::Refused, Some("https://auth.example.org/")),
            ("auth.example.org/r", PlainHttp::Refused, Some("https://auth.example.org/r")),
            ("http://127.0.0.1:5001", PlainHttp::Refused, Some("http://127.0.0.1:5001/")),
            ("http://[::1]:5001", PlainHttp::Refused, Some("http://[::1]:5001/")),
            ("http://localhost", PlainHttp::Refused, Some("http://localhost/")),
            ("http://localhost.example.org", PlainHttp::Refused, None),
            ("http://auth.example.org", PlainHttp::Refused, None),
            ("http://auth.example.org", PlainHttp::Allowed, Some("http://auth.example.org/")),
            ("ftp://auth.example.org", PlainHttp::Allowed, None),
            ("https://canary:canary@auth.example.org", PlainHttp::Allowed, None),
            ("https://auth.example.org/?canary", PlainHttp::Allowed, None),
            ("", PlainHttp::Allowed, None),
        ] {
            let read = address(text, plain_http);
            assert_eq!(read.as_ref().ok().map(Url::as_str), expected, "{text}");
            assert!(read.err().is_none_or(|message| !message.contains("canary")), "{text}");
        }
    }

    /// Of check 44, what the terminal makes of it.
    #[tokio::test(start_paused = true)]
    async fn the_server_is_asked_as_seldom_as_it_says_and_until_the_end() {
        let begun = |interval: Option<u64>| Begun {
            device_code: "d".to_owned(),
            user_code: "BCDF-GHJK".to_owned(),
            verification_uri: "https://auth.example.org/device".to_owned(),
            verification_uri_complete: None,
            expires_in: 100,
            interval,
            registry: None,
        };
        let granted = || {
            let (access_token, username) = ("dwp_".to_owned(), "alice".to_owned());
            Polled::Granted(Box::new(Granted { access_token, username, expires_in: None }))
        };
        // Where the list ends, nobody has answered yet.
        for (interval, answers, expected, seconds) in [
            (Some(2), vec![Polled::Pending, granted()], Ok("alice"), 4),
            (None, vec![granted()], Ok("alice"), 5),
            (Some(0), vec![granted()], Ok("alice"), 1),
            (Some(2), vec![Polled::TooSoon, Polled::TooSoon, granted()], Ok("alice"), 2 + 7 + 12),
            (Some(2), vec![Polled::Away, Polled::Away, Polled::Pending, granted()], Ok("alice"), 2 + 4 + 8 + 8),
            (Some(2), vec![Polled::Pending, Polled::Failed("refused".to_owned())], Err("refused"), 4),
            (Some(9), Vec::new(), Err("nobody answered in time; begin once more"), 108),
            (Some(3_000_000), Vec::new(), Err("nobody answered in time; begin once more"), 120),
        ] {
            let (began, mut answers) = (crate::clock::now(), answers.into_iter());
            let waited = wait(&begun(interval), async || answers.next().unwrap_or(Polled::Pending)).await;
            let waited = waited.map(|granted| granted.username);
            assert_eq!(waited.as_ref().map(String::as_str).map_err(String::as_str), expected, "{interval:?}");
            assert_eq!((crate::clock::now() - began).as_secs(), seconds, "{interval:?}");
        }
    }
}
