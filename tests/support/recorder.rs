//! A server that answers every request with 200 and keeps what it was sent: what really arrives behind a proxy.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// The first line.
    pub(crate) line: String,
    /// Header lines in order, names as sent.
    pub(crate) headers: Vec<(String, String)>,
}

impl Arrival {
    /// All values of header lines whose name is this one, to whoever takes `_` and `.` for a dash.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '.'], "-");
        self.headers.iter().filter(|(own, _)| plain(own) == plain(name)).map(|(_, value)| value.as_str()).collect()
    }
}

/// The server. It ends with the run.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    /// `127.0.0.1:port`.
    pub(crate) address: String,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Recorder {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let arrivals = Arc::default();
        let kept = Arc::clone(&arrivals);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                thread::spawn(move || serve(stream, &kept));
            }
        });
        Self { address, arrivals }
    }

    /// What has arrived since the last call.
    pub(crate) fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals.lock().unwrap())
    }
}

fn serve(stream: TcpStream, arrivals: &Mutex<Vec<Arrival>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut bytes = Vec::new();
            if stream.read_until(b'\n', &mut bytes).ok()? == 0 {
                return None;
            }
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut lines = lines.into_iter();
        let line = lines.next()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
            .collect();
        let arrival = Arrival { line, headers };
        if let Some(length) = arrival.all("content-length").first().and_then(|length| length.parse().ok()) {
            std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).ok()?;
        }
        // Kept before it is answered: whoever has the answer finds it here.
        arrivals.lock().unwrap().push(arrival);
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}
