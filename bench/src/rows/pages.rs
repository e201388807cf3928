//! Every page for somebody who manages everything: the time to its first byte, and its size with all that it loads.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bed;
use crate::figures::{Outcome, milliseconds};
use crate::load;
use crate::process::{Program, free_address};
use crate::reply::{self, Found};
use crate::scenario::Setup;

use super::{Run, search};

/// How many docker passwords whoever asks has made.
const PASSWORDS: usize = 20;
/// Whoever asks manages everything.
const MANAGES: &str = "  - {match: {account: user0, type: dockwarden}, actions: [list, show, create, change, delete, sweep, renew, revoke, \
                       explain, who-can]}\n";
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pages. `$ID` is a decision's.
const PAGES: [(&str, &str); 24] = [
    ("account", "/account"),
    ("device", "/device"),
    ("repositories", "/repositories"),
    ("search", "/repositories?search=app-4"),
    ("repository", "/repositories/one?registry=bench&name=groups/1/app-0"),
    ("callers", "/repositories/callers?registry=bench&name=groups/1/app-0&action=pull"),
    ("registries", "/registries"),
    ("registry", "/registries/one?name=bench"),
    ("new_registry", "/registries/new"),
    ("groups", "/groups"),
    ("group", "/groups/one?name=g0"),
    ("new_group", "/groups/new"),
    ("apps", "/apps"),
    ("services", "/services"),
    ("users", "/users"),
    ("user", "/users/one?name=user0"),
    ("secrets", "/secrets"),
    ("robot", "/secrets?robot=ci"),
    ("new_secret", "/secrets/new"),
    ("why", "/why"),
    ("explained", "/why?scope=repository:groups/1/app-0:pull,push&account=user1&service=bench"),
    ("who", "/why/who?action=push&resource=repository:groups/1/app-0"),
    ("overview", "/overview"),
    ("decision", "/decisions?id=$ID"),
];

/// Measures them, with so many repositories, each so often.
pub fn measure(
    run: &Run,
    program: &Program,
    setup: &Setup,
    repositories: usize,
    times: usize,
) -> anyhow::Result<Outcome> {
    let file = run.bed.path("pages.db");
    std::fs::remove_file(&file).ok();
    let file = file.display().to_string();
    let rules = format!("{MANAGES}{}{}", search::RULES, search::directory());
    let config = run.bed.path("pages.yml");
    std::fs::write(&config, run.text(setup, free_address()?, &rules, &file)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(search::fill(&config, repositories))?;
    let served = run.serve_with(program, setup, &rules, &file)?;
    let address = served.server.address;
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;

    let form = format!("account={}&password={}", bed::account(0), bed::PASSWORD.replace(' ', "+"));
    let signed_in = ask(&mut stream, &request(address, "POST", "/sign-in", "Sec-Fetch-Site: same-origin\r\n", &form))?;
    if signed_in.status != 303 {
        bail!("nobody was signed in: {}", signed_in.text);
    }
    let cookie = signed_in.header("set-cookie").and_then(|line| line.split(';').next()).context("no session")?;
    let cookie = format!("Cookie: {cookie}\r\n");
    let get = |target: &str| request(address, "GET", target, &cookie, "");
    let lines = format!("{cookie}Sec-Fetch-Site: same-origin\r\n");
    for number in 0..PASSWORDS {
        let form = format!("name=machine-{number}&days=90");
        let made = ask(&mut stream, &request(address, "POST", "/account/passwords", &lines, &form))?;
        if made.status != 303 {
            bail!("no password was made: {}", made.text);
        }
    }
    let first = ask(&mut stream, &get("/account"))?;
    let id = first.header("x-decision-id").context("no decision's id")?.to_owned();
    let (_, style) = first.text.split_once("rel=\"stylesheet\" href=\"").context("no stylesheet")?;
    let style = ask(&mut stream, &get(style.split('"').next().unwrap_or_default()))?.body().len();

    let mut outcome = Outcome::default();
    let (mut slowest, mut largest, mut wrong) = (0.0_f64, 0, 0);
    for (name, target) in PAGES {
        let request = get(&target.replace("$ID", &id));
        let mut latency = load::histogram()?;
        for turn in 0..=times {
            let answer = ask(&mut stream, &request)?;
            // What a first question has to read is not what people wait for afterwards; it is told beside it.
            if turn == 0 {
                outcome.add(format!("{name}_first_ms"), milliseconds(answer.first_byte));
            } else {
                latency.saturating_record(u64::try_from(answer.first_byte.as_nanos()).unwrap_or(u64::MAX));
            }
            wrong += usize::from(answer.status != 200);
            largest = largest.max(answer.body().len() + style);
        }
        let p99 = milliseconds(Duration::from_nanos(latency.value_at_quantile(0.99)));
        slowest = slowest.max(p99);
        outcome.add(format!("{name}_first_byte_p99_ms"), p99);
    }
    outcome.add("slowest_first_byte_p99_ms", slowest);
    outcome.add("largest_kb", largest as f64 / 1000.0);
    outcome.add("wrong_status", wrong as f64);
    Ok(outcome)
}

fn request(address: SocketAddr, method: &str, target: &str, lines: &str, form: &str) -> Vec<u8> {
    let length = form.len();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\n{lines}Content-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {length}\r\n\r\n{form}"
    )
    .into_bytes()
}

struct Answer {
    status: u16,
    /// From the request to the first byte that came.
    first_byte: Duration,
    text: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n")?;
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

fn ask(stream: &mut TcpStream, request: &[u8]) -> anyhow::Result<Answer> {
    let began = Instant::now();
    stream.write_all(request)?;
    let (mut bytes, mut chunk, mut first_byte) = (Vec::new(), [0; 16 * 1024], None);
    loop {
        let read = stream.read(&mut chunk)?;
        first_byte.get_or_insert_with(|| began.elapsed());
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        match reply::find(&bytes) {
            Found::Whole { status, .. } => {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                return Ok(Answer { status, first_byte: first_byte.unwrap_or_default(), text });
            }
            Found::Part if read == 0 => bail!("the connection ended before the page"),
            Found::Part => {}
        }
    }
}
