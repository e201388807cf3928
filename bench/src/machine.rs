//! The machine of a run: its processor, and what it signs and hashes by itself, which all figures are compared with.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::bed::{self, PASSWORD};
use crate::process::thread_cpu;

/// What the machine can do at most.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor, as it calls itself.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Signatures a second of one core, by `openssl speed rsa2048`.
    pub rsa2048: f64,
    /// The same by `openssl speed ecdsap256`.
    pub p256: f64,
    /// Signatures a second of all cores at once, by `openssl speed -multi`, with RSA-2048 and with P-256: less than so many
    /// times one core's where cores slow each other down, or where something else uses them.
    pub at_once: (f64, f64),
    /// The version of that program.
    pub openssl: String,
    /// CPU time of one bcrypt comparison of cost 10, in seconds.
    pub bcrypt10: f64,
}

impl Machine {
    /// Asks the machine; `openssl speed` runs for so long each time.
    pub fn look(seconds: u64) -> anyhow::Result<Machine> {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            cpuinfo.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            })
        };
        let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let processor = match (field("cpu family"), field("model"), field("stepping")) {
            (Some(family), Some(number), Some(stepping)) => {
                format!("{model}, family {family} model {number} stepping {stepping}")
            }
            _ => model,
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let (rsa2048, p256) = openssl_speed(seconds, 1)?;
        let at_once = openssl_speed(seconds, cores)?;
        let version = Command::new("openssl").arg("version").output().context("openssl")?;
        let openssl = String::from_utf8_lossy(&version.stdout).split(" (").next().unwrap_or_default().trim().to_owned();
        Ok(Machine {
            processor,
            cores,
            rsa2048,
            p256,
            at_once,
            openssl,
            bcrypt10: bcrypt_seconds(Duration::from_secs(seconds))?,
        })
    }

    /// Signatures a second of one core with a pair of this name.
    pub fn signs(&self, key: &str) -> f64 {
        if key == "p256" { self.p256 } else { self.rsa2048 }
    }

    /// The same of all cores at once.
    pub fn signs_at_once(&self, key: &str) -> f64 {
        if key == "p256" { self.at_once.1 } else { self.at_once.0 }
    }
}

/// Signatures a second with RSA-2048 and with P-256 by so many processes at once; of one, a second is CPU time and not the
/// clock's.
fn openssl_speed(seconds: u64, processes: usize) -> anyhow::Result<(f64, f64)> {
    let (seconds, processes_text) = (seconds.to_string(), processes.to_string());
    let mut command = Command::new("openssl");
    command.args(["speed", "-mr", "-seconds", &seconds]);
    if processes > 1 {
        command.args(["-multi", &processes_text]);
    }
    let said = command
        .args(["rsa2048", "ecdsap256"])
        .output()
        .context("openssl is needed: it says what a signature costs on this machine")?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    // "+F2:number:bits:signatures a second:verifications a second" for RSA, +F4 for ECDSA.
    let rate = |prefix: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.starts_with(prefix))?;
        line.split(':').nth(3)?.parse().ok().filter(|rate: &f64| *rate > 1.0)
    };
    match (rate("+F2:"), rate("+F4:")) {
        (Some(rsa), Some(p256)) => Ok((rsa, p256)),
        _ => bail!("openssl speed said something else than signatures a second:\n{text}"),
    }
}

/// CPU seconds of one comparison of cost 10, by the library that the server uses.
fn bcrypt_seconds(lasts: Duration) -> anyhow::Result<f64> {
    let hash = bed::hash(10)?;
    let (began, from) = (Instant::now(), thread_cpu());
    let mut times = 0_u32;
    while began.elapsed() < lasts || times < 3 {
        bcrypt::verify(PASSWORD, &hash)?;
        times += 1;
    }
    Ok((thread_cpu() - from).as_secs_f64() / f64::from(times))
}
