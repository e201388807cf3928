//! What the time of a refusal tells about an account: for each backend, a wrong password of a known account beside an
//! account that nobody knows. The table in `docs/OPERATIONS.md` is what this prints:
//! `cargo test --test real timing -- --nocapture`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use mongodb::bson::doc;

use crate::mongo::{figure, guide_file, pair, status};
use crate::support::dockwarden::{Dockwarden, config, hash_of_cost};
use crate::support::mongo::Database;
use crate::support::scratch;

/// Refusals of each kind.
const ROUNDS: usize = 20;
/// bcrypt's cost, as `hash-password` makes it.
const COST: u32 = 10;

struct Times {
    fastest: Duration,
    median: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        Times { fastest: times[0], median: times[times.len() / 2] }
    }
}

/// Measures both kinds of refusal in turn, so that what else the machine does meets both.
fn measure(backend: &str, file: PathBuf, known: &str) {
    let server = Dockwarden::start_file(&file);
    let refused = |account: &str| {
        let began = Instant::now();
        assert_eq!(status(&server, account, "wrong"), 401, "{backend}: {account}");
        began.elapsed()
    };
    let (mut of_known, mut of_unknown) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (one, other) = (refused(known), refused("nobody"));
        // The first of each connects, and learns what hashes cost.
        if round > 0 {
            of_known.push(one);
            of_unknown.push(other);
        }
    }
    let (known, unknown) = (Times::of(of_known), Times::of(of_unknown));
    let shown = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
    println!(
        "| {backend} | {} ({}) | {} ({}) |",
        shown(known.median),
        shown(known.fastest),
        shown(unknown.median),
        shown(unknown.fastest)
    );
    // What the clock says depends on what else the machine does. What is owed is one hash for each refusal, no matter of
    // whom.
    let hashed = figure(&server, "dockwarden_password_hash_seconds_count").unwrap();
    assert_eq!(hashed, (2 * (ROUNDS + 1)).to_string(), "{backend}");
}

#[test]
fn a_refusal_does_not_tell_whether_an_account_exists() {
    println!("| Backend | wrong password, ms: median (fastest) | unknown account, ms: median (fastest) |");
    let hash = hash_of_cost("right", COST);
    let user = format!("users: {{alice: {{password: \"{hash}\"}}}}\n");
    let file = |policy: &str| {
        scratch::write(
            &scratch::directory("timing"),
            "auth_config.yml",
            &config(pair(), "", &format!("{policy}acl: []\n")),
        )
    };
    measure("`users`", file(&user), "alice");

    let htpasswd = scratch::write(&scratch::directory("timing"), "htpasswd", &format!("bob:{hash}\n"));
    let section = format!("htpasswd_auth: {{path: \"{}\"}}\n", htpasswd.display());
    measure("`htpasswd_auth`", file(&section), "bob");

    let database = Database::start();
    database.unique("users", "username");
    database.insert("users", &[doc! { "username": "carol", "password": &hash }]);
    measure("`mongo_auth`", guide_file(pair(), &database.address(), ""), "carol");
    let both = guide_file(pair(), &database.address(), &user);
    measure("`users`, with `mongo_auth` after it", both, "alice");
}
