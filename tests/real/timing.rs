//! What the time of a refusal tells about an account: for each backend, a wrong password of a known account beside an
//! account that nobody knows. The table in `docs/explain/timing.md` is what this prints, with as many refusals of each kind as
//! `DOCKWARDEN_TIMING_ROUNDS` says, and hashes of the cost that `DOCKWARDEN_TIMING_COST` says:
//! `DOCKWARDEN_TIMING_ROUNDS=10000 cargo test --test real -- refusal as_long_as --nocapture`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mongodb::bson::doc;

use crate::mongo::{guide_file, metric, pair};
use crate::support::dockwarden::{Dockwarden, SERVICE, config, hash_of_cost};
use crate::support::http::{self, Connection, Reply};
use crate::support::mongo::Database;
use crate::support::{number, scratch, visit};

/// Refusals of each kind. With so many, chance alone moves the area below by 0.013 (one standard deviation).
const ROUNDS: usize = 1000;
/// How often it is measured until one time nothing is learned: a machine that has other work for a moment may tell kinds apart
/// that are alike, and what does tell is seen every time.
const TRIES: usize = 3;
/// Refusals of each kind that are not counted: the first of them connect, and learn what hashes cost.
const WARMING_UP: usize = 20;
/// bcrypt's least cost: the hash takes about a millisecond, and hides least of what else differs.
const COST: u32 = 4;

/// Where the hash of a refusal is computed.
#[derive(Clone, Copy)]
pub(crate) enum Hashed {
    /// In the product, once for each refusal, no matter of whom.
    Here,
    /// In the product, twice for each: a service has two secrets.
    HereTwice,
    /// By the backend, as often as it likes.
    There,
}

/// Whether who measures may learn something.
#[derive(Clone, Copy)]
pub(crate) enum Tells {
    Nothing,
    /// What is left of a document's being found and read, some hundredths of a millisecond, for which an unknown account is made to wait as
    /// long as that took lately.
    Little,
    /// The documents say what, and why it is left so.
    AsDocumented,
}

/// Refusals of each kind, where so many are usual.
pub(crate) fn rounds(usual: usize) -> usize {
    number("DOCKWARDEN_TIMING_ROUNDS", usual)
}

struct Times {
    /// Ascending.
    sorted: Vec<Duration>,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        Times { sorted: times }
    }

    fn median(&self) -> Duration {
        self.sorted[self.sorted.len() / 2]
    }

    fn shown(&self) -> String {
        let milliseconds = |time: Duration| format!("{:.3}", time.as_secs_f64() * 1000.0);
        format!("{} ({})", milliseconds(self.median()), milliseconds(self.sorted[0]))
    }

    /// How often one of these took longer than one of the others, of all pairs; equal ones count half. It is the area under
    /// the curve of whoever tells them apart by time: 0.5 is guessing, 1 and 0 are knowing.
    fn area(&self, others: &Times) -> f64 {
        let mut longer = 0.0;
        for time in &self.sorted {
            let below = others.sorted.partition_point(|other| other < time);
            let not_above = others.sorted.partition_point(|other| other <= time);
            #[expect(clippy::cast_precision_loss, reason = "some thousands fit a double exactly")]
            {
                longer += (below + not_above) as f64 / 2.0;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "some thousands fit a double exactly")]
        let pairs = (self.sorted.len() * others.sorted.len()) as f64;
        longer / pairs
    }
}

/// What a client sees of a refusal, but for what differs each time.
fn seen(reply: &Reply) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let headers = reply.headers.iter().filter(|(name, _)| !matches!(name.as_str(), "x-decision-id" | "date"));
    (reply.status, headers.cloned().collect(), reply.body.clone())
}

fn measure(backend: &str, file: PathBuf, known: &str, tells: Tells) {
    measure_of(&Dockwarden::start_file(&file), rounds(ROUNDS), Hashed::Here, backend, known, tells);
}

/// Measures both kinds of refusal in turn, so that what else the machine does meets both. That many of each are counted,
/// and [`WARMING_UP`] are not. Gives the medians, the known account's first, and how many of each kind were asked in all.
pub(crate) fn measure_of(
    server: &Dockwarden,
    rounds: usize,
    hashed: Hashed,
    backend: &str,
    known: &str,
    tells: Tells,
) -> ([Duration; 2], usize) {
    let target = format!("/auth?service={}&scope=repository:test:pull", http::form_encode(SERVICE));
    let wire = |account: &str| {
        http::request("GET", &target, "localhost", &[("Authorization", &visit::basic(account, "wrong"))], b"")
    };
    // Names of one length, which nothing but the account can make a difference of.
    let nobody = "nobody-at-all".chars().cycle().take(known.len()).collect::<String>();
    let wires = [wire(known), wire(&nobody)];
    let most = match tells {
        Tells::Nothing => 0.05,
        Tells::Little => 0.15,
        Tells::AsDocumented => 0.5,
    };
    let mut connection = Connection::open(&server.address).unwrap();
    let mut first = None;
    let mut measure = || {
        let mut times = [Vec::new(), Vec::new()];
        for round in 0..rounds + WARMING_UP {
            // Each comes first as often as the other.
            for which in [round % 2, 1 - round % 2] {
                let began = Instant::now();
                let reply = connection.send(&wires[which]).unwrap();
                let took = began.elapsed();
                assert_eq!(reply.status, 401, "{backend}: {}", reply.text());
                let told = seen(&reply);
                assert_eq!(
                    *first.get_or_insert_with(|| told.clone()),
                    told,
                    "{backend}: not one byte tells them apart"
                );
                if round >= WARMING_UP {
                    times[which].push(took);
                }
            }
        }
        times.map(Times::of)
    };
    let mut tried = 0;
    let (medians, area) = loop {
        let [of_known, of_unknown] = measure();
        tried += 1;
        let area = of_known.area(&of_unknown);
        println!("| {backend} | {} | {} | {area:.3} |", of_known.shown(), of_unknown.shown());
        if (area - 0.5).abs() <= most || tried == TRIES {
            break ([of_known.median(), of_unknown.median()], area);
        }
    };
    assert!((area - 0.5).abs() <= most, "{backend}: who measures the time of refusals learns who exists: {area}");
    let asked = tried * (rounds + WARMING_UP);
    let expected = match hashed {
        Hashed::Here => 2 * asked,
        Hashed::HereTwice => 4 * asked,
        Hashed::There => 0,
    };
    let counted = metric(server, "dockwarden_password_hash_seconds_count").unwrap();
    assert_eq!(counted, expected.to_string(), "{backend}");
    (medians, asked)
}

#[test]
fn a_refusal_does_not_tell_whether_an_account_exists() {
    println!("| Backend | wrong password, ms: median (fastest) | unknown account, ms: median (fastest) | area |");
    let cost = u32::try_from(number("DOCKWARDEN_TIMING_COST", COST as usize)).unwrap();
    let hash = hash_of_cost("right", cost);
    let user = format!("users: {{alice: {{password: \"{hash}\"}}}}\n");
    let file = |policy: &str| {
        scratch::write(
            &scratch::directory("timing"),
            "auth_config.yml",
            &config(pair(), "", &format!("{policy}acl: []\n")),
        )
    };
    measure("`users`", file(&user), "alice", Tells::Nothing);

    // Services with two secrets and with one, beside users of the file.
    let other = hash_of_cost("other", cost);
    let services = format!(
        "{user}directory: {{groups: {{dev: {{id: 1}}}}, apps: {{web: {{id: 1, responsibles: [dev]}}}}, services: \
         {{\"web@n1\": {{app: web, secrets: [\"{hash}\", \"{other}\"]}}, \"web@n2\": {{app: web, secrets: [\"{hash}\"]}}}}}}\n"
    );
    for (row, known) in [("two secrets", "web@n1"), ("one secret", "web@n2")] {
        let row = format!("`directory`, a service with {row}");
        let server = Dockwarden::start_file(&file(&services));
        measure_of(&server, rounds(ROUNDS), Hashed::HereTwice, &row, known, Tells::Nothing);
    }

    let htpasswd = scratch::write(&scratch::directory("timing"), "htpasswd", &format!("bob:{hash}\n"));
    let section = format!("htpasswd_auth: {{path: \"{}\"}}\n", htpasswd.display());
    measure("`htpasswd_auth`", file(&section), "bob", Tells::Nothing);

    let database = Database::start();
    database.unique("users", "username");
    database.insert("users", &[doc! { "username": "carol", "password": &hash }]);
    measure("`mongo_auth`", guide_file(pair(), &database.address(), ""), "carol", Tells::Little);
    // The users of the file are refused without a question to the server.
    let both = guide_file(pair(), &database.address(), &user);
    measure("`users`, with `mongo_auth` after it", both, "alice", Tells::AsDocumented);
}
