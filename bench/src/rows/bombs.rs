//! Requests that are too much of something, and floods of HTTP/2 frames: what each costs the server, and how it ends.

use std::net::SocketAddr;
use std::time::Instant;

use crate::bed::{self, SERVICE};
use crate::figures::{Outcome, milliseconds};
use crate::http2::{Ended, Flood};
use crate::process::{Program, Usage};
use crate::reply;
use crate::scenario::{Bomb, Sends, Setup};

use super::Run;

/// A bomb that is ready to be sent over a connection of its own.
enum Ready {
    /// One request.
    Request(Vec<u8>),
    /// Frames without end.
    Flood(Flood),
}

/// What came of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    Status(u16),
    Closed,
    /// Neither, or the server was not there.
    Nothing,
}

/// Sends one bomb after the other, each again and again. CPU time is counted in hundredths of a second, which many take together.
pub fn measure(run: &Run, program: &Program, setup: &Setup, bombs: &[Bomb]) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    let served = run.serve(program, setup)?;
    let (address, pid) = (served.server.address, served.server.process.pid());
    let (mut largest, mut mismatches) = (0.0_f64, 0_u32);
    for bomb in bombs {
        let ready = Ready::of(bomb, address);
        let expected = bomb.status.map_or(Came::Closed, Came::Status);
        let (before, began) = (Usage::of(pid)?, Instant::now());
        let (mut sent, mut other) = (0_u32, None);
        while began.elapsed() < run.lasts_each() / 4 {
            let came = ready.send(address);
            sent += 1;
            if came != expected {
                mismatches += 1;
                other = Some(came);
            }
        }
        let each = milliseconds(Usage::of(pid)?.since(&before).cpu) / f64::from(sent);
        outcome.add(format!("{}_cpu_ms", bomb.name), each);
        largest = largest.max(each);
        if let Some(other) = other {
            outcome.notes.push(format!("{}: {other:?}, where {expected:?} was expected", bomb.name));
        }
    }
    outcome.add("largest_cpu_ms", largest);
    outcome.add("mismatches", f64::from(mismatches));
    let token = bed::request(address, &bed::account(0), &[]);
    let lives = reply::ask(address, &token).is_ok_and(|reply| reply.status == 200);
    outcome.add("died", if lives { 0.0 } else { 1.0 });
    Ok(outcome)
}

impl Ready {
    fn of(bomb: &Bomb, address: SocketAddr) -> Ready {
        let account = bed::account(0);
        let ask = |scopes: &[String]| bed::alone(&bed::request(address, &account, scopes));
        // A usual request, with more of something after this.
        let with = |after: &str, more: &str| {
            let usual = String::from_utf8_lossy(&ask(&[])).into_owned();
            usual.replacen(after, &format!("{after}{more}"), 1).into_bytes()
        };
        let query = format!("service={SERVICE}");
        let kibibytes = bomb.size * 1024;
        match bomb.sends {
            Sends::Header => {
                Ready::Request(with(" HTTP/1.1\r\n", &format!("X: {}\r\n", "x".repeat(1019)).repeat(bomb.size)))
            }
            Sends::Address => Ready::Request(with(&query, &format!("&x={}", "x".repeat(kibibytes)))),
            Sends::Body => {
                let form = format!("{query}&x={}", "x".repeat(kibibytes));
                let head = format!(
                    "POST /auth HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n",
                    form.len()
                );
                Ready::Request([head, form].concat().into_bytes())
            }
            Sends::Scopes => {
                let scopes: Vec<_> =
                    (0..bomb.size).map(|number| format!("repository:{account}/app-{number}:pull,push")).collect();
                Ready::Request(ask(&scopes))
            }
            Sends::Accounts => Ready::Request(with(&query, &format!("&account={account}").repeat(bomb.size))),
            Sends::RapidReset => Ready::Flood(Flood::RapidReset),
            Sends::Continuation => Ready::Flood(Flood::Continuation),
            Sends::EmptyData => Ready::Flood(Flood::EmptyData),
        }
    }

    fn send(&self, address: SocketAddr) -> Came {
        match self {
            Ready::Request(request) => {
                reply::ask(address, request).map_or(Came::Nothing, |reply| Came::Status(reply.status))
            }
            Ready::Flood(flood) => match flood.send(address) {
                Ok(Ended::Closed) => Came::Closed,
                Ok(Ended::Never) | Err(_) => Came::Nothing,
            },
        }
    }
}
