//! The gateway before a registry, beside nginx's own `proxy_pass` before the same registry: large blobs and small requests.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use base64::Engine as _;

use crate::bed;
use crate::figures::Outcome;
use crate::load::{self, Load, Measured, Pace, Turns};
use crate::process::{Program, Running, Usage, free_address};
use crate::reply;
use crate::scenario::Setup;

use super::Run;

/// How often each of the two is measured, in turn: what else the machine does meets both.
const ROUNDS: u32 = 3;
/// What is asked for again and again.
const MANIFEST: &str =
    "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}";
const KIND: &str = "application/vnd.oci.image.index.v1+json";

/// A proxy, and what came of it.
struct Side {
    address: SocketAddr,
    pids: Vec<u32>,
    /// The lines of a request that say who asks.
    login: String,
    pulled: Pulled,
    small: Vec<Measured>,
}

/// Blobs that were pulled.
#[derive(Default)]
struct Pulled {
    bytes: u64,
    seconds: f64,
    cpu: Duration,
}

/// Measures both before one registry, which the tests build.
pub fn measure(
    run: &Run,
    program: &Program,
    setup: &Setup,
    mebibytes: u64,
    clients: usize,
    rate: f64,
) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    // Among what only root has in its path, which ours may not be.
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&paths).chain([PathBuf::from("/usr/sbin")]);
    let nginx = places.find_map(|place| Some(place.join("nginx")).filter(|file| bed::is_program(file)));
    let (Some(nginx), Some(registry)) = (nginx, run.tool("registry")) else {
        let missing = "not measured: the registry or nginx is not there; tests/support/install.sh brings both";
        outcome.notes.push(missing.to_owned());
        return Ok(outcome);
    };
    let (_registry, upstream) = start_registry(run, &registry)?;
    let name = format!("{}/app", bed::account(0));
    let blob = fill(run, upstream, &name, mebibytes)?;
    let (nginx, behind_nginx) = start_nginx(run, &nginx, upstream)?;
    let served = run.serve_with(program, setup, &bed::rules(setup.rules), &upstream.to_string())?;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", bed::account(0), bed::PASSWORD));
    let side = |address, pids, login| Side { address, pids, login, pulled: Pulled::default(), small: Vec::new() };
    let mut sides = [
        side(behind_nginx, children(nginx.pid())?, String::new()),
        side(served.server.address, vec![served.server.process.pid()], format!("Authorization: Basic {basic}\r\n")),
    ];
    let lasts = run.lasts / ROUNDS;
    for _ in 0..ROUNDS {
        for side in &mut sides {
            let target = format!("/v2/{name}/blobs/{blob}");
            side.pull(&target, clients, lasts)?;
            side.ask(&format!("/v2/{name}/manifests/v1"), rate, lasts)?;
        }
    }
    let [nginx, ours] = &sides;
    for (who, side) in [("nginx", nginx), ("gateway", ours)] {
        outcome.add(format!("{who}_mib_per_s"), side.pulled.rate());
        outcome.add(format!("{who}_cpu_ms_per_mib"), side.pulled.cpu_per_mebibyte());
        // Of the rounds, the middle one by its median.
        let mut rounds: Vec<&Measured> = side.small.iter().collect();
        rounds.sort_by_key(|round| round.percentile(50.0));
        if let Some(middle) = rounds.get(rounds.len() / 2) {
            outcome.add_latency(&format!("{who}_small"), middle);
        }
    }
    outcome.add("throughput_ratio", ours.pulled.rate() / nginx.pulled.rate());
    if let (Some(ours), Some(nginx)) = (outcome.get("gateway_small_p50_ms"), outcome.get("nginx_small_p50_ms")) {
        outcome.add("small_p50_ratio", ours / nginx);
    }
    Ok(outcome)
}

impl Pulled {
    fn mebibytes(&self) -> f64 {
        self.bytes as f64 / f64::from(1024 * 1024)
    }

    fn rate(&self) -> f64 {
        self.mebibytes() / self.seconds
    }

    fn cpu_per_mebibyte(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e3 / self.mebibytes()
    }
}

impl Side {
    fn cpu(&self) -> anyhow::Result<Duration> {
        self.pids.iter().map(|pid| Ok(Usage::of(*pid)?.cpu)).sum()
    }

    /// Pulls the blob over and over, each client on a connection of its own.
    fn pull(&mut self, target: &str, clients: usize, lasts: Duration) -> anyhow::Result<()> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{}\r\n", self.address, self.login);
        let (before, began) = (self.cpu()?, Instant::now());
        let end = began + lasts;
        let address = self.address;
        let bytes: u64 = std::thread::scope(|scope| {
            let pulls: Vec<_> = (0..clients).map(|_| scope.spawn(|| pull_until(address, &request, end))).collect();
            pulls
                .into_iter()
                .map(|pull| pull.join().unwrap_or_else(|_| bail!("a client died")))
                .sum::<anyhow::Result<u64>>()
        })?;
        self.pulled.bytes += bytes;
        self.pulled.seconds += began.elapsed().as_secs_f64();
        self.pulled.cpu += self.cpu()?.saturating_sub(before);
        Ok(())
    }

    /// Asks for something small, at this rate.
    fn ask(&mut self, target: &str, rate: f64, lasts: Duration) -> anyhow::Result<()> {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: {}\r\nAccept: {KIND}\r\n{}\r\n", self.address, self.login);
        let measured = load::run(Load {
            address: self.address,
            requests: Arc::from([request.into_bytes()]),
            pace: Pace::Open { rate },
            connections: 8,
            most: 64,
            turns: Turns::Last,
            sources: load::HERE,
            warm: Duration::from_millis(200),
            lasts,
            grace: load::GRACE,
            watched: None,
        })?;
        self.small.push(measured);
        Ok(())
    }
}

/// The bytes of all blobs that were whole, and of the last one what came in time.
fn pull_until(address: SocketAddr, request: &str, end: Instant) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    while Instant::now() < end {
        stream.write_all(request.as_bytes())?;
        let mut read = stream.read(&mut buffer)?;
        let first = buffer.get(..read).unwrap_or_default();
        let head = first.windows(4).position(|window| window == b"\r\n\r\n").context("no header in the first piece")?;
        let text = String::from_utf8_lossy(first.get(..head).unwrap_or_default()).to_ascii_lowercase();
        if !text.starts_with("http/1.1 200") {
            bail!("no blob: {text}");
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<u64>().ok());
        let length = length.context("no length")?;
        let mut come = (read - head - 4) as u64;
        total += come;
        while come < length {
            read = stream.read(&mut buffer)?;
            if read == 0 {
                bail!("a blob broke off after {come} of {length} bytes");
            }
            come += read as u64;
            total += read as u64;
            if Instant::now() >= end {
                return Ok(total);
            }
        }
    }
    Ok(total)
}

/// The processes that a process has started.
fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let file = format!("/proc/{pid}/task/{pid}/children");
    let text = fs::read_to_string(&file).with_context(|| file.clone())?;
    let pids: Vec<u32> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    if pids.is_empty() { bail!("nginx has no workers") } else { Ok(pids) }
}

/// A registry that lets everybody in: whom it would ask for is the same for both.
fn start_registry(run: &Run, program: &Path) -> anyhow::Result<(Running, SocketAddr)> {
    let address = free_address()?;
    let config = run.bed.path("registry.yml");
    let data = run.bed.path("registry-data");
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n",
        data.display()
    );
    fs::write(&config, text)?;
    let mut command = Command::new(program);
    command.arg("serve").arg(&config).env("OTEL_TRACES_EXPORTER", "none");
    let mut registry = Running::start(command, run.bed.path("registry.log"))?;
    registry.until_it_listens(address, "the registry")?;
    Ok((registry, address))
}

/// nginx as `deploy/nginx/registry.conf` has it before a registry, with the larger buffers that help it with blobs: at its
/// usual 4 KiB it is slower by a third.
fn start_nginx(run: &Run, program: &Path, upstream: SocketAddr) -> anyhow::Result<(Running, SocketAddr)> {
    let address = free_address()?;
    let directory = run.bed.path("nginx");
    fs::create_dir_all(&directory)?;
    let text = format!(
        "daemon off; worker_processes auto; pid nginx.pid; error_log stderr error;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  access_log access.log; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n  \
         uwsgi_temp_path uwsgi; scgi_temp_path scgi; client_max_body_size 0;\n  \
         upstream registry {{ server {upstream}; keepalive 64; }}\n  \
         server {{\n    listen {address};\n    location / {{\n      proxy_pass http://registry; proxy_http_version 1.1;\n      \
         proxy_set_header Connection \"\"; proxy_set_header Host $http_host;\n      \
         proxy_request_buffering off; proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k;\n    }}\n  }}\n}}\n"
    );
    let config = directory.join("nginx.conf");
    fs::write(&config, text)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&directory).arg("-c").arg(&config).args(["-e", "stderr"]);
    let mut nginx = Running::start(command, run.bed.path("nginx.log"))?;
    nginx.until_it_listens(address, "nginx")?;
    Ok((nginx, address))
}

/// Puts a blob of random bytes into the registry, and a manifest; the blob's digest.
fn fill(run: &Run, registry: SocketAddr, name: &str, mebibytes: u64) -> anyhow::Result<String> {
    let file = run.bed.path("blob");
    std::io::copy(&mut File::open("/dev/urandom")?.take(mebibytes * 1024 * 1024), &mut File::create(&file)?)?;
    let said = Command::new("openssl").args(["dgst", "-sha256", "-r"]).arg(&file).output().context("openssl dgst")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let digest = format!("sha256:{}", said.split_whitespace().next().context("no digest")?);
    let begin = format!("POST /v2/{name}/blobs/uploads/ HTTP/1.1\r\nHost: {registry}\r\nContent-Length: 0\r\n\r\n");
    let mut stream = TcpStream::connect(registry)?;
    let head = head_of(&mut stream, begin.as_bytes())?;
    let location = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().starts_with("location:").then(|| line.get(9..).map(str::trim))?)
        .map(|location: &str| location.replace(&format!("http://{registry}"), ""))
        .with_context(|| format!("no upload: {head}"))?;
    let size = mebibytes * 1024 * 1024;
    let put = format!(
        "PUT {location}&digest={digest} HTTP/1.1\r\nHost: {registry}\r\nContent-Type: application/octet-stream\r\n\
         Content-Length: {size}\r\n\r\n"
    );
    stream.write_all(put.as_bytes())?;
    std::io::copy(&mut File::open(&file)?, &mut stream)?;
    let head = head_of(&mut stream, b"")?;
    if !head.starts_with("HTTP/1.1 201") {
        bail!("the blob was not taken: {head}");
    }
    let manifest = format!(
        "PUT /v2/{name}/manifests/v1 HTTP/1.1\r\nHost: {registry}\r\nContent-Type: {KIND}\r\nContent-Length: {}\r\n\r\n\
         {MANIFEST}",
        MANIFEST.len()
    );
    match reply::ask(registry, manifest.as_bytes())?.status {
        201 => Ok(digest),
        status => bail!("the manifest was not taken: {status}"),
    }
}

/// The header of a reply without a body that matters.
fn head_of(stream: &mut TcpStream, request: &[u8]) -> anyhow::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while !bytes.ends_with(b"\r\n\r\n") {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            bail!("the registry closed the connection");
        }
        bytes.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
