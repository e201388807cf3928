//! A server that says exactly the bytes that a test tells it to say: an upstream that lies, stalls, dies or counts.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request's head as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The first line.
    pub(crate) line: String,
    /// Header lines in order.
    pub(crate) headers: Vec<String>,
}

impl Head {
    /// The value of the first header line of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|line| {
            let (own, value) = line.split_once(':')?;
            own.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// The server. It ends with the run.
#[derive(Clone, Debug)]
pub(crate) struct Standin {
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    heads: Arc<Mutex<Vec<Head>>>,
    open: Arc<AtomicUsize>,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// With the next request.
    GoOn,
    /// Not at all.
    Close,
}

impl Standin {
    /// Serves each request with `serve`, which reads the body, if it wants to, and writes the whole reply.
    pub(crate) fn start<S>(serve: S) -> Self
    where
        S: Fn(&Head, &mut BufReader<TcpStream>) -> Then + Send + Sync + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (heads, open) = (Arc::<Mutex<Vec<Head>>>::default(), Arc::new(AtomicUsize::new(0)));
        let (kept, counted, serve) = (Arc::clone(&heads), Arc::clone(&open), Arc::new(serve));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (kept, counted, serve) = (Arc::clone(&kept), Arc::clone(&counted), Arc::clone(&serve));
                counted.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream);
                    while let Some(head) = read(&mut stream) {
                        kept.lock().unwrap().push(head.clone());
                        if serve(&head, &mut stream) == Then::Close {
                            break;
                        }
                    }
                    drop(stream);
                    counted.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, heads, open }
    }

    /// How many connections are open, as far as this side knows.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// What has arrived since the last call.
    pub(crate) fn take(&self) -> Vec<Head> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Head> {
    let mut lines = Vec::new();
    loop {
        let mut bytes = Vec::new();
        if stream.read_until(b'\n', &mut bytes).ok()? == 0 {
            return None;
        }
        match String::from_utf8_lossy(&bytes).trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let line = (!lines.is_empty()).then(|| lines.remove(0))?;
    Some(Head { line, headers: lines })
}
