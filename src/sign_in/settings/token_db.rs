//! Where docker_auth kept its docker passwords: `level_token_db`, `redis_token_db` and `gcs_token_db`.

use std::time::Duration;

use settings::files::read_named_text;
use settings::number::{duration, waiting_time, whole};
use settings::{At, Field, Refusal, Secrets, Section as Map};

use crate::passwords::password::MAX_COST;
use crate::pem::named::read_authorities;
use crate::secret::Secret;
use crate::sign_in::token_db::{CURRENT, Place, RedisSettings, Servers, Tls, TokenDb};

/// Where go-redis asks if the file does not say.
const USUAL_PLACE: (&str, u16) = ("localhost", 6379);
/// How long go-redis takes to connect, and waits for an answer.
const USUAL_DIAL: Duration = Duration::from_secs(5);
const USUAL_ANSWER: Duration = Duration::from_secs(3);
/// The longest of both.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How often go-redis lets a cluster send a question on, and at most.
const USUAL_REDIRECTS: usize = 8;
const MOST_REDIRECTS: usize = 32;
/// The most nodes that a file names.
const MOST_NODES: usize = 64;
/// go-redis's keys about connections and retries, which are seen to here.
const IGNORED: [&str; 9] = [
    "maxretries",
    "minretrybackoff",
    "maxretrybackoff",
    "writetimeout",
    "poolsize",
    "minidleconns",
    "maxconnage",
    "pooltimeout",
    "idletimeout",
];

/// Reads which of them a provider had. Of several, docker_auth uses the one that is shared.
pub(super) fn read(map: &mut Map<'_>) -> Option<TokenDb> {
    map.refuse(
        "gcs_token_db",
        "docker passwords are not read from Google's storage; leave this out: people are kept in the records, which replicas share by \
         PostgreSQL, and whoever had a password there signs in once more",
    );
    let level = map.field("level_token_db").map(|field| (field.clone(), read_level(&field)));
    let redis = map.field("redis_token_db").map(|field| read_redis(&field));
    match (level, redis) {
        (Some((field, _)), Some(redis)) => {
            map.warn(
                field.place(),
                "level_token_db",
                "docker_auth uses redis_token_db where both are there, and so it is here; leave this out",
            );
            redis
        }
        (Some((_, level)), None) => level,
        (None, redis) => redis.flatten(),
    }
}

fn read_level(field: &Field<'_>) -> Option<TokenDb> {
    let mut section = field.section()?;
    read_hash_cost(&mut section);
    let has_path = section.has("path");
    let path = section.path("path");
    if !has_path {
        section.missing(
            "path",
            "where are the passwords? write the folder that docker_auth's level_token_db names: path: /data/tokens.ldb",
        );
    }
    if let Some(at) = path.as_ref().filter(|_| section.secrets() == Secrets::Read) {
        let current = at.value.join(CURRENT);
        match current.try_exists() {
            Ok(false) => section.warn(
                &at.place,
                "path",
                "there is no database of docker_auth's, and nothing to import; leave level_token_db out if its passwords are imported already",
            ),
            Ok(true) | Err(_) => {
                if let Err(message) = read_named_text(&current) {
                    section.problem(&at.place, "path", message);
                }
            }
        }
    }
    section.finish();
    path.map(|at| TokenDb::Level(at.value))
}

/// docker_auth's cost of new hashes. None are made here.
fn read_hash_cost(section: &mut Map<'_>) {
    section.word("token_hash_cost", |text| match whole(text) {
        Some(cost) if cost <= i64::from(MAX_COST) => Ok(()),
        Some(_) | None => {
            Err(Refusal::is("not a cost of bcrypt; docker_auth's is 10, and none are hashed anew here: leave this out"))
        }
    });
}

fn read_redis(field: &Field<'_>) -> Option<TokenDb> {
    let mut section = field.section()?;
    read_hash_cost(&mut section);
    let one = section.field("redis_options").map(|field| (field.clone(), read_one(&field)));
    let cluster = section.field("redis_cluster_options").map(|field| read_cluster(&field));
    if one.is_none() && cluster.is_none() {
        section.missing(
            "redis_options",
            "which Redis has the passwords? write {addr: \"localhost:6379\"}, or redis_cluster_options: {addrs: […]}",
        );
    }
    let settings = match (one, cluster) {
        (Some((field, _)), Some(cluster)) => {
            let both = "docker_auth uses redis_cluster_options where both are there, and so it is here; leave this out";
            section.warn(field.place(), "redis_options", both);
            cluster
        }
        (Some((_, one)), None) => one,
        (None, cluster) => cluster.flatten(),
    };
    section.finish();
    settings.map(|settings| TokenDb::Redis(Box::new(settings)))
}

fn read_one(field: &Field<'_>) -> Option<RedisSettings> {
    let mut section = field.section()?;
    let network = section.word("network", |text| match text {
        "tcp" => Ok(Network::Tcp),
        "unix" => Ok(Network::Unix),
        _ => Err(Refusal::is("neither tcp nor unix")),
    });
    let has_addr = section.has("addr");
    let place = match network.map_or(Network::Tcp, |at| at.value) {
        Network::Tcp => section.parsed("addr", place).map(|at| at.value),
        Network::Unix => section.path("addr").map(|at| Place::Unix(at.value)),
    };
    let place = match (place, has_addr) {
        (Some(place), _) => Some(place),
        (None, false) => Some(Place::Tcp(USUAL_PLACE.0.to_owned(), USUAL_PLACE.1)),
        (None, true) => None,
    };
    let database = section.word("db", |text| match whole(text) {
        Some(number) if (0..=i64::from(u16::MAX)).contains(&number) => Ok(number),
        Some(_) | None => Err(Refusal::is("not the number of a database; Redis' first one is 0")),
    });
    let rest = read_rest(section);
    Some(rest?.of(Servers::One(place?, database.map_or(0, |at| at.value))))
}

fn read_cluster(field: &Field<'_>) -> Option<RedisSettings> {
    let mut section = field.section()?;
    let addrs = section.field("addrs").map(|field| (field.texts(), field));
    let mut places = Vec::new();
    match &addrs {
        None => section.missing(
            "addrs",
            "which nodes does the cluster have? write some of them: addrs: [\"redis-1:6379\", \"redis-2:6379\"]",
        ),
        Some((texts, field)) if texts.is_empty() || texts.len() > MOST_NODES => {
            field.problem(format!("write some nodes of the cluster, {MOST_NODES} at most"));
        }
        Some((texts, _)) => {
            for at in texts {
                match place(&at.value) {
                    Ok(place) => places.push(place),
                    Err(refusal) => section.refuse_word(at, "addrs", &refusal),
                }
            }
        }
    }
    let redirects =
        section.word("maxredirects", |text| match whole(text).and_then(|number| usize::try_from(number).ok()) {
            Some(0) => Ok(USUAL_REDIRECTS),
            Some(number) if number <= MOST_REDIRECTS => Ok(number),
            Some(_) | None => {
                Err(Refusal::is(format!("not how often a question is sent on; write a number up to {MOST_REDIRECTS}")))
            }
        });
    // Which replicas go-redis asks.
    for key in ["readonly", "routebylatency", "routerandomly"] {
        section.flag(key);
    }
    let is_whole = addrs.is_some_and(|(texts, _)| !texts.is_empty() && texts.len() == places.len());
    let rest = read_rest(section);
    let servers = Servers::Cluster(places, redirects.map_or(USUAL_REDIRECTS, |at| at.value));
    is_whole.then_some(rest?.of(servers))
}

/// How a server is dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    Tcp,
    Unix,
}

/// What both kinds have in common.
struct Rest {
    username: Option<String>,
    password: Option<Secret>,
    tls: Tls,
    dial_within: Duration,
    answer_within: Duration,
}

impl Rest {
    fn of(self, servers: Servers) -> RedisSettings {
        let Rest { username, password, tls, dial_within, answer_within } = self;
        RedisSettings { servers, username, password, tls, dial_within, answer_within }
    }
}

fn read_rest(mut section: Map<'_>) -> Option<Rest> {
    let username = section.filled("username");
    let password = section.secret("password", "password_file");
    if let (Some(at), Ok(None)) = (&username, &password) {
        section.problem(&at.place, "username", "Redis knows no user without a password; write password_file");
    }
    let mut wait = |key, usual: Duration, shown: &str| {
        let at = section.word(key, |text| match duration(text) {
            // Go's "as usual".
            Ok(Duration::ZERO) => Ok(usual),
            Ok(_) | Err(_) => waiting_time(text, LONGEST_WAIT, shown),
        });
        at.map_or(usual, |at: At<Duration>| at.value)
    };
    let (dial_within, answer_within) = (wait("dialtimeout", USUAL_DIAL, "5s"), wait("readtimeout", USUAL_ANSWER, "3s"));
    for key in IGNORED {
        section.text(key);
    }
    section.text("idlecheckfrequency");
    let tls = match section.field("tlsconfig") {
        None => Some(Tls::Off),
        Some(field) => read_tls(&field),
    };
    section.finish();
    let password = password.ok()?.map(|at| Secret::new(at.value));
    Some(Rest { username: username.map(|at| at.value), password, tls: tls?, dial_within, answer_within })
}

fn read_tls(field: &Field<'_>) -> Option<Tls> {
    let mut section = field.section()?;
    let name = section.filled("servername").map(|at| at.value);
    let authorities =
        section.path("ca_certificate").map(|at| read_authorities(&section, &at, "ca_certificate")).transpose();
    let unchecked = section.flag("insecureskipverify");
    if let Some(at) = unchecked.as_ref().filter(|at| at.value) {
        section.warn(
            &at.place,
            "insecureskipverify",
            "anybody on the way can pose as this Redis, and say who has which password; write ca_certificate",
        );
    }
    section.finish();
    match unchecked {
        Some(At { value: true, .. }) => authorities.ok().map(|_| Tls::Unchecked),
        Some(_) | None => Some(Tls::Checked(name, authorities.ok()?)),
    }
}

fn place(text: &str) -> Result<Place, Refusal> {
    Place::parse(text).ok_or_else(|| Refusal::is("not an address; write host:port, as localhost:6379"))
}
