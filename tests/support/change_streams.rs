//! A stand-in for what MongoDB has and the test bed's server lacks. It stands between a driver and that server, answers the
//! commands of change streams itself, and lets one write through at a time: MongoDB compares a document and changes it in
//! one step, the server behind in two, between which another write may come. Everything else passes.
//!
//! What it shows is our half of the protocol. A test says when a write is to be told: nothing here looks at writes.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mongodb::bson::{Bson, Document, doc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use super::port;

/// MongoDB's message type for everything but the oldest greeting.
const OP_MSG: i32 = 2013;
/// Length, request number, number of the request that is answered, and type: 4 bytes each.
const HEADER: usize = 16;
/// Header, flags, and the kind of the first section.
const BEFORE_BODY: usize = HEADER + 5;

/// The commands that change documents.
const WRITES: [&str; 4] = ["insert", "update", "delete", "findAndModify"];

/// How change streams are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Streams {
    /// They are opened.
    #[default]
    Open,
    /// As by a standalone server of MongoDB.
    Refused,
}

/// What the test says, and what was asked.
#[derive(Debug, Default)]
struct State {
    streams: Mutex<Streams>,
    /// Writes that were told so far.
    writes: watch::Sender<i64>,
    /// Times that all streams were broken.
    breaks: watch::Sender<i64>,
    /// For each open stream, the writes it has told.
    cursors: Mutex<HashMap<i64, i64>>,
    asked: AtomicUsize,
    finds: AtomicUsize,
    /// Held from a write to its answer.
    writing: tokio::sync::Mutex<()>,
}

/// The stand-in. Dropping it closes everything.
#[derive(Debug)]
pub(crate) struct ChangeStreams {
    address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ChangeStreams {
    /// Stands before the server at `target`.
    pub(crate) fn before(target: impl Into<String>) -> ChangeStreams {
        let target = target.into();
        let listener = port::hold();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let own = Arc::clone(&state);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("change streams".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let taking = async {
                    loop {
                        let (client, _) = listener.accept().await.unwrap();
                        // The end of a connection, whatever its cause, is none of the test's business.
                        tokio::spawn({
                            let (target, state) = (target.clone(), Arc::clone(&own));
                            async move { serve(client, &target, &state).await.ok() }
                        });
                    }
                };
                tokio::select! {
                    _ = stopped => {}
                    () = taking => {}
                }
            });
        });
        ChangeStreams { address, state, stop: Some(stop), thread: Some(thread.unwrap()) }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Tells a write to every stream.
    pub(crate) fn tell_a_write(&self) {
        self.state.writes.send_modify(|writes| *writes += 1);
    }

    /// Breaks every open stream, with an error that says not to resume it; from now on they are answered as `streams`
    /// says.
    pub(crate) fn break_all(&self, streams: Streams) {
        *self.state.streams.lock().unwrap() = streams;
        self.state.cursors.lock().unwrap().clear();
        self.state.breaks.send_modify(|breaks| *breaks += 1);
    }

    /// How often a stream was asked for.
    pub(crate) fn asked(&self) -> usize {
        self.state.asked.load(Ordering::SeqCst)
    }

    /// The streams that are open: not broken, and not closed by their client.
    pub(crate) fn open(&self) -> usize {
        self.state.cursors.lock().unwrap().len()
    }

    /// How often a collection was read.
    pub(crate) fn finds(&self) -> usize {
        self.state.finds.load(Ordering::SeqCst)
    }
}

impl Drop for ChangeStreams {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// One connection of a driver, which asks its next question only after the answer to the last.
async fn serve(mut client: TcpStream, target: &str, state: &State) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let mut byte = [0];
    loop {
        let question = tokio::select! {
            question = read_message(&mut client) => question?,
            // Nobody asked: it is its end.
            _ = server.peek(&mut byte) => return Ok(()),
        };
        let command = body_of(&question);
        let writes =
            command.as_ref().and_then(|command| command.keys().next()).is_some_and(|name| WRITES.contains(&&**name));
        match command.map(|command| answer(command, state)) {
            Some(Some(answer)) => {
                let answer = tokio::select! {
                    answer = answer => answer,
                    // The driver gives up.
                    _ = client.peek(&mut byte) => return Ok(()),
                };
                client.write_all(&message(&question, &answer)).await?;
            }
            Some(None) | None => {
                let _alone = if writes { Some(state.writing.lock().await) } else { None };
                server.write_all(&question).await?;
                let answer = read_message(&mut server).await?;
                client.write_all(&answer).await?;
            }
        }
    }
}

async fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; HEADER];
    stream.read_exact(&mut message).await?;
    let length = usize::try_from(i32::from_le_bytes(message[..4].try_into().unwrap())).unwrap();
    message.resize(length, 0);
    stream.read_exact(&mut message[HEADER..]).await?;
    Ok(message)
}

/// The command in a message; none in one of another type.
fn body_of(message: &[u8]) -> Option<Document> {
    let kind = i32::from_le_bytes(message[12..HEADER].try_into().unwrap());
    (kind == OP_MSG).then(|| Document::from_reader(&message[BEFORE_BODY..]).unwrap())
}

/// The answer to a question as a message.
fn message(question: &[u8], answer: &Document) -> Vec<u8> {
    let body = answer.to_vec().unwrap();
    let length = i32::try_from(BEFORE_BODY + body.len()).unwrap();
    let mut message = length.to_le_bytes().to_vec();
    message.extend(0_i32.to_le_bytes());
    message.extend(&question[4..8]);
    message.extend(OP_MSG.to_le_bytes());
    message.extend([0; 5]);
    message.extend(body);
    message
}

/// The answer to a command of change streams; none to all others.
fn answer(command: Document, state: &State) -> Option<impl Future<Output = Document>> {
    let name = command.keys().next().cloned().unwrap_or_default();
    let asked = match name.as_str() {
        "find" => {
            state.finds.fetch_add(1, Ordering::SeqCst);
            return None;
        }
        "aggregate" => {
            let stages = command.get_array("pipeline").ok()?;
            stages.first().and_then(Bson::as_document)?.get("$changeStream")?;
            Asked::Open
        }
        // Cursors of the server behind are numbered by itself; ours are below zero.
        "getMore" => Asked::More(command.get_i64("getMore").ok().filter(|cursor| *cursor < 0)?),
        "killCursors" => {
            let cursors = command.get_array("cursors").ok()?;
            Asked::Close(cursors.first().and_then(Bson::as_i64).filter(|cursor| *cursor < 0)?)
        }
        _ => return None,
    };
    Some(async move {
        match asked {
            Asked::Open => open(&command, state),
            Asked::More(cursor) => more(cursor, &command, state).await,
            Asked::Close(cursor) => {
                state.cursors.lock().unwrap().remove(&cursor);
                doc! { "cursorsKilled": [cursor], "ok": 1.0 }
            }
        }
    })
}

enum Asked {
    Open,
    More(i64),
    Close(i64),
}

fn refusal(code: i32, name: &str, message: &str) -> Document {
    doc! { "ok": 0.0, "errmsg": message, "code": code, "codeName": name }
}

fn batch(cursor: i64, name: &str, events: Vec<Document>, namespace: String) -> Document {
    let token = doc! { "_data": "00" };
    doc! { "cursor": { "id": cursor, "ns": namespace, name: events, "postBatchResumeToken": token }, "ok": 1.0 }
}

fn open(command: &Document, state: &State) -> Document {
    let number = i64::try_from(state.asked.fetch_add(1, Ordering::SeqCst)).unwrap() + 1;
    match *state.streams.lock().unwrap() {
        Streams::Open => {}
        Streams::Refused => {
            let message = "The $changeStream stage is only supported on replica sets";
            return refusal(40573, "Location40573", message);
        }
    }
    let told = *state.writes.borrow();
    state.cursors.lock().unwrap().insert(-number, told);
    let namespace = format!("{}.{}", command.get_str("$db").unwrap(), command.get_str("aggregate").unwrap());
    batch(-number, "firstBatch", Vec::new(), namespace)
}

/// Waits for a write, as long as the driver says.
async fn more(cursor: i64, command: &Document, state: &State) -> Document {
    let gone = || refusal(280, "ChangeStreamFatalError", "the stand-in broke the stream");
    let Some(told) = state.cursors.lock().unwrap().get(&cursor).copied() else { return gone() };
    let (mut writes, mut breaks) = (state.writes.subscribe(), state.breaks.subscribe());
    let patience = command.get("maxTimeMS").and_then(|limit| limit.as_i64().or(limit.as_i32().map(i64::from)));
    let patience = Duration::from_millis(u64::try_from(patience.unwrap_or(1000)).unwrap());
    let namespace = format!("{}.{}", command.get_str("$db").unwrap(), command.get_str("collection").unwrap());
    tokio::select! {
        biased;
        _ = breaks.changed() => gone(),
        now = writes.wait_for(|writes| *writes > told) => {
            let now = *now.unwrap();
            if let Some(told) = state.cursors.lock().unwrap().get_mut(&cursor) {
                *told = now;
            }
            let event = |number: i64| doc! { "_id": { "_data": format!("{number:02x}") }, "operationType": "update" };
            batch(cursor, "nextBatch", (told..now).map(event).collect(), namespace)
        }
        () = tokio::time::sleep(patience) => batch(cursor, "nextBatch", Vec::new(), namespace),
    }
}
