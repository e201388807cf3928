//! The link of the test bed: what it does in each of its states is what the tests of outages rest on.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::link::{Link, State};
use crate::support::process::until;

/// For what must not come: long enough to be noticed if it did, on a machine that is not busy.
const MOMENT: Duration = Duration::from_millis(100);

/// A server that says everything back.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || std::io::copy(&mut client.try_clone().unwrap(), &mut client).ok());
        }
    });
    address
}

fn connect(link: &Link) -> TcpStream {
    let stream = TcpStream::connect(link.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Sends a line and reads it back; gives the time it took.
fn ask(stream: &mut TcpStream) -> std::io::Result<Duration> {
    let began = Instant::now();
    stream.write_all(b"hello")?;
    let mut said = [0; 5];
    stream.read_exact(&mut said)?;
    assert_eq!(&said, b"hello");
    Ok(began.elapsed())
}

#[test]
fn each_state_is_in_force_when_the_command_returns() {
    let link = Link::to(echo());
    let mut stream = connect(&link);
    ask(&mut stream).unwrap();
    assert_eq!((link.open(), link.taken()), (1, 1));

    link.set(State::Slowed(MOMENT));
    // Both directions wait.
    assert!(ask(&mut stream).unwrap() >= 2 * MOMENT);
    assert!(ask(&mut connect(&link)).unwrap() >= 2 * MOMENT);
    until("the end of that one", || (link.open() == 1).then_some(()));

    link.set(State::Stalled);
    let gone = connect(&link);
    until("the count of one more", || (link.open() == 2).then_some(()));
    drop(gone);
    until("the end of a client that gave up", || (link.open() == 1).then_some(()));
    let mut taken_while_stalled = connect(&link);
    for stream in [&mut stream, &mut taken_while_stalled] {
        stream.write_all(b"wait").unwrap();
        stream.set_read_timeout(Some(MOMENT)).unwrap();
        let error = stream.read(&mut [0; 4]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    }
    link.set(State::Passing);
    for stream in [&mut stream, &mut taken_while_stalled] {
        let mut said = [0; 4];
        stream.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"wait", "what was held back comes");
        ask(stream).unwrap();
    }

    // What is lost stays lost, and is counted for as long as its client waits.
    link.set(State::Lost);
    let mut lost = [connect(&link), connect(&link)];
    until("all to be counted", || (link.open() == 4).then_some(()));
    link.set(State::Passing);
    // The first two were open before.
    for stream in [&mut stream, &mut taken_while_stalled].into_iter().chain(&mut lost) {
        stream.write_all(b"lost").unwrap();
        stream.set_read_timeout(Some(MOMENT)).unwrap();
        let error = stream.read(&mut [0; 4]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    }
    (stream, taken_while_stalled) = (connect(&link), connect(&link));
    ask(&mut stream).unwrap();
    ask(&mut taken_while_stalled).unwrap();
    drop(lost);
    until("the end of those that gave up", || (link.open() == 2).then_some(()));

    // One with an answer under way, so that a reset is not an ordinary end.
    link.set(State::Slowed(Duration::from_secs(60)));
    stream.write_all(b"hello").unwrap();
    link.set(State::Reset);
    assert_eq!(link.open(), 0);
    for stream in [&mut stream, &mut taken_while_stalled] {
        assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
    let before = link.taken();
    let error = TcpStream::connect(link.address()).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.read(&mut [0; 1])
    });
    assert_eq!(error.unwrap_err().kind(), ErrorKind::ConnectionReset, "new ones too");
    until("the count of what was reset", || (link.taken() == before + 1).then_some(()));

    link.set(State::Passing);
    let mut stream = connect(&link);
    ask(&mut stream).unwrap();

    for _ in 0..3 {
        link.set(State::Cut);
        assert_eq!(link.open(), 0);
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "an ordinary end");
        assert_eq!(TcpStream::connect(link.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        link.set(State::Passing);
        stream = connect(&link);
        ask(&mut stream).unwrap();
    }
    drop(stream);
    until("no connection to be counted", || (link.open() == 0).then_some(()));
}

#[test]
fn a_server_that_is_gone_is_seen_through_the_link() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = Link::to(listener.local_addr().unwrap().to_string());
    let mut stream = connect(&link);
    drop(listener.accept().unwrap());
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    drop(listener);
    let error = connect(&link).read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    until("no connection to be counted", || (link.open() == 0).then_some(()));
}
