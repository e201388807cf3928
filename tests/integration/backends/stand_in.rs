//! An HTTP API that does what a test tells it, well-behaved or not: over HTTP/1.1, where every byte of the reply can be
//! chosen, and over HTTP/2. It can be stopped and started again at the same address, and counts what it is asked.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::port;

/// One question as it arrived.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Whether nobody's credentials are in it: a trial. Passwords that are not sent as Basic hold `_pw` in these tests.
    pub(super) fn is_trial(&self) -> bool {
        let holds = |text: &str| text.contains("_pw") || text.contains("\"pull\"");
        let header = self.header("authorization");
        let somebodys = (header.starts_with("Basic ") && header != "Basic Og==")
            || holds(&self.target)
            || holds(&self.body)
            || self.headers.values().any(|value| holds(value.to_str().unwrap()));
        !somebodys
    }
}

/// What the API does about a question.
#[derive(Clone)]
pub(super) enum Act {
    /// Answers with this status and this body.
    Say(u16, String),
    /// The same, with a header line more.
    SayWith(u16, (&'static str, String), String),
    /// Does it later.
    Late(Duration, Box<Act>),
    /// Does it once there is a permit, which is used up.
    Held(Arc<Semaphore>, Box<Act>),
    /// Never answers.
    Hang,
    /// Writes these bytes, and closes.
    Write(Vec<u8>),
    /// Writes these bytes, and then nothing more.
    WriteAndHang(Vec<u8>),
    /// Answers, and closes the connection when the next question comes.
    SayOnce(u16),
}

type Script = Arc<dyn Fn(&Asked) -> Act + Send + Sync>;

/// What it speaks.
#[derive(Clone)]
pub(super) enum Speaks {
    Plain,
    Tls(Arc<ServerConfig>),
}

#[derive(Default)]
struct Seen {
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    open: AtomicUsize,
    busy: AtomicUsize,
    busiest: AtomicUsize,
}

/// The API.
pub(super) struct StandIn {
    port: u16,
    speaks: Speaks,
    script: Arc<Mutex<Script>>,
    seen: Arc<Seen>,
    /// Threads of its own, so that what our own code logs can be told from what this does.
    running: Mutex<Option<Runtime>>,
}

impl StandIn {
    /// One that answers as `script` says.
    pub(super) fn start(script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> StandIn {
        StandIn::speaking(Speaks::Plain, script)
    }

    pub(super) fn speaking(speaks: Speaks, script: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> StandIn {
        let script: Script = Arc::new(script);
        let (script, seen) = (Arc::new(Mutex::new(script)), Arc::<Seen>::default());
        port::with_free(|[port]| {
            let (speaks, script, seen) = (speaks.clone(), Arc::clone(&script), Arc::clone(&seen));
            let stand_in = StandIn { port, speaks, script, seen, running: Mutex::new(None) };
            stand_in.restart().is_ok().then_some(stand_in)
        })
    }

    /// Does something else from now on.
    pub(super) fn now(&self, script: impl Fn(&Asked) -> Act + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// Ends it with all its connections.
    pub(super) fn stop(&self) {
        let runtime = self.running.lock().unwrap().take().unwrap();
        // On a thread that may wait: a test's own belongs to a runtime.
        std::thread::spawn(|| runtime.shutdown_timeout(Duration::from_secs(5))).join().unwrap();
    }

    /// Starts it again where it was.
    pub(super) fn restart(&self) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?;
        listener.set_nonblocking(true)?;
        let inside = runtime.enter();
        let listener = TcpListener::from_std(listener)?;
        drop(inside);
        let (speaks, script, seen) = (self.speaks.clone(), Arc::clone(&self.script), Arc::clone(&self.seen));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serve(stream, speaks.clone(), Arc::clone(&script), Arc::clone(&seen));
                tokio::spawn(serving);
            }
        });
        *self.running.lock().unwrap() = Some(runtime);
        Ok(())
    }

    pub(super) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `http://127.0.0.1:port` or `https://localhost:port`.
    pub(super) fn origin(&self) -> String {
        match self.speaks {
            Speaks::Plain => format!("http://127.0.0.1:{}", self.port),
            Speaks::Tls(_) => format!("https://localhost:{}", self.port),
        }
    }

    /// The questions that were about somebody, trials left out.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.all_asked().into_iter().filter(|asked| !asked.is_trial()).collect()
    }

    pub(super) fn all_asked(&self) -> Vec<Asked> {
        self.seen.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many connections were taken, and how many of them are open.
    pub(super) fn connections(&self) -> (usize, usize) {
        (self.seen.connections.load(Ordering::SeqCst), self.seen.open.load(Ordering::SeqCst))
    }

    /// The most questions that it worked on at once.
    pub(super) fn busiest(&self) -> usize {
        self.seen.busiest.load(Ordering::SeqCst)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Some(runtime) = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            runtime.shutdown_background();
        }
    }
}

/// Counts one more for as long as it lives.
struct Count<'a>(&'a AtomicUsize);

impl<'a> Count<'a> {
    fn one(counter: &'a AtomicUsize) -> (Count<'a>, usize) {
        (Count(counter), counter.fetch_add(1, Ordering::SeqCst) + 1)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn serve(stream: TcpStream, speaks: Speaks, script: Arc<Mutex<Script>>, seen: Arc<Seen>) {
    seen.connections.fetch_add(1, Ordering::SeqCst);
    let _open = Count::one(&seen.open);
    match speaks {
        Speaks::Plain => drop(http1(BufReader::new(stream), &script, &seen).await),
        Speaks::Tls(config) => {
            let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else { return };
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => http2(stream, script, Arc::clone(&seen)).await,
                _ => drop(http1(BufReader::new(stream), &script, &seen).await),
            }
        }
    }
}

/// The act for a question, taken down; `Late` and `Held` are waited for here.
async fn act(asked: Asked, script: &Mutex<Script>, seen: &Seen) -> Act {
    let (_busy, now) = Count::one(&seen.busy);
    seen.busiest.fetch_max(now, Ordering::SeqCst);
    let script = Arc::clone(&script.lock().unwrap());
    let mut act = script(&asked);
    seen.asked.lock().unwrap().push(asked);
    loop {
        act = match act {
            Act::Late(time, then) => {
                tokio::time::sleep(time).await;
                *then
            }
            Act::Held(gate, then) => {
                gate.acquire().await.unwrap().forget();
                *then
            }
            now => return now,
        };
    }
}

async fn http1<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: BufReader<S>,
    script: &Mutex<Script>,
    seen: &Seen,
) -> std::io::Result<()> {
    let mut last = false;
    while let Some(asked) = read_question(&mut stream).await? {
        if last {
            seen.asked.lock().unwrap().push(asked);
            return Ok(());
        }
        let (status, extra, body) = match act(asked, script, seen).await {
            Act::Say(status, body) => (status, String::new(), body),
            Act::SayWith(status, (name, value), body) => (status, format!("{name}: {value}\r\n"), body),
            Act::SayOnce(status) => {
                last = true;
                (status, String::new(), String::new())
            }
            Act::Write(bytes) => return stream.write_all(&bytes).await,
            Act::WriteAndHang(bytes) => {
                stream.write_all(&bytes).await?;
                stream.flush().await?;
                return until_closed(&mut stream).await;
            }
            Act::Hang | Act::Late(..) | Act::Held(..) => return until_closed(&mut stream).await,
        };
        let reply = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{extra}\r\n{body}", body.len());
        stream.write_all(reply.as_bytes()).await?;
        stream.flush().await?;
    }
    Ok(())
}

async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    tokio::io::copy(stream, &mut tokio::io::sink()).await.map(|_| ())
}

async fn read_question(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<Asked>> {
    let mut first = String::new();
    if stream.read_line(&mut first).await? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace().map(str::to_owned);
    let mut asked = Asked { method: words.next().unwrap(), target: words.next().unwrap(), ..Asked::default() };
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end_matches("\r\n").split_once(':') else { break };
        asked.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value.trim_start()).unwrap());
    }
    let length = asked.headers.get("content-length").map_or(0, |length| length.to_str().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    asked.body = String::from_utf8(body).unwrap();
    Ok(Some(asked))
}

async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    script: Arc<Mutex<Script>>,
    seen: Arc<Seen>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
            let asked = Asked {
                method: parts.method.to_string(),
                target: parts.uri.path_and_query().unwrap().to_string(),
                headers: parts.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            };
            let (status, body) = match act(asked, &script, &seen).await {
                Act::Say(status, body) => (status, body),
                _ => std::future::pending().await,
            };
            let reply = Response::builder().status(status).body(Full::new(Bytes::from(body))).unwrap();
            Ok::<_, Infallible>(reply)
        }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    drop(server.serve_connection(TokioIo::new(stream), service).await);
}
