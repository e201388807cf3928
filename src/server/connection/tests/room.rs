//! Who makes room when all places are taken: whoever rests, and nobody who asks.

use tokio::sync::Semaphore;

use super::*;
use crate::client_network::ClientNetwork;
use crate::connections::{Connections, LARGEST_SHARE};

/// Long enough for what is ready to happen, and too short for a connection to begin to rest.
const MOMENT: Duration = Duration::from_millis(10);

/// Some places, and whom they are counted for.
struct House {
    places: Arc<Semaphore>,
    connections: Arc<Connections>,
}

impl House {
    fn of(places: usize) -> House {
        House { places: Arc::new(Semaphore::new(places)), connections: Arc::new(Connections::sharing(LARGEST_SHARE)) }
    }

    /// A connection from the network with that number, for which there is still a place.
    fn connect(&self, network: u8) -> Client {
        let place = Arc::clone(&self.places).try_acquire_owned().unwrap();
        let counted = self.connections.count(ClientNetwork::of(Some([192, 0, 2, network].into())), LARGEST_SHARE);
        connect_with(1 << 16, Some((place, counted.unwrap())))
    }

    /// The same from a proxy whose connections may rest for so long.
    fn connect_proxy(&self, rest: Duration) -> Client {
        let place = Arc::clone(&self.places).try_acquire_owned().unwrap();
        connect_with(1 << 16, Some((place, self.connections.count_proxy(rest))))
    }

    /// Waits for a place as a listener does, for a moment; whether there was one.
    async fn makes_room(&self) -> bool {
        timeout(MOMENT, self.connections.place(&self.places)).await.is_ok()
    }
}

/// Which of these were closed.
fn closed(clients: &[&Client]) -> Vec<usize> {
    clients.iter().enumerate().filter(|(_, client)| client.served.is_finished()).map(|(number, _)| number).collect()
}

#[tokio::test(start_paused = true)]
async fn one_that_rests_makes_room_and_nothing_that_was_asked_is_cut_off() {
    let house = House::of(6);
    let [mut alone, mut first, mut second, mut asking, mut begun] = [1, 2, 2, 2, 2].map(|of| house.connect(of));
    for client in [&mut alone, &mut first, &mut second, &mut asking, &mut begun] {
        client.ask("/").await;
        // Whoever began to rest first is known then.
        sleep(MOMENT).await;
    }
    // There is room: whoever rests is let be.
    sleep(REST_AFTER * 2).await;
    assert!(house.makes_room().await);
    let silent = house.connect(2);
    asking.send("GET /slow HTTP/1.1\r\nhost: here\r\n\r\n").await;
    begun.send("GET /begun HTTP/1.1\r\n").await;
    sleep(MOMENT).await;
    for expected in [&[1][..], &[1, 2], &[0, 1, 2]] {
        assert!(house.makes_room().await, "{expected:?}");
        assert_eq!(closed(&[&alone, &first, &second, &asking, &begun, &silent]), expected);
        // Whoever comes takes the place.
        Arc::clone(&house.places).try_acquire_owned().unwrap().forget();
    }
    assert_eq!(first.closed_after().await, Duration::ZERO);
    // Now nobody rests, until one has been answered and is silent.
    assert!(!house.makes_room().await);
    begun.send("host: here\r\n\r\n").await;
    begun.reply().await;
    assert!(!house.makes_room().await);
    let began = clock::now();
    house.connections.place(&house.places).await.unwrap().forget();
    assert!(began.elapsed() <= REST_AFTER, "{:?}", began.elapsed());
    assert_eq!(begun.closed_after().await, Duration::ZERO);
    assert_eq!(asking.reply().await, "slow");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_there_when_its_place_is_needed_is_answered_and_another_one_leaves() {
    let house = House::of(2);
    let [mut first, mut second] = [1, 1].map(|of| house.connect(of));
    for client in [&mut first, &mut second] {
        client.ask("/").await;
        sleep(MOMENT).await;
    }
    sleep(REST_AFTER * 2).await;
    // It is sent, and the server has not looked yet when it chooses.
    first.send("GET /again HTTP/1.1\r\nhost: here\r\n\r\n").await;
    assert!(house.makes_room().await);
    first.reply().await;
    assert_eq!(first.seen(), ["/", "/again"]);
    assert_eq!(second.closed_after().await, Duration::ZERO);
    assert!(!first.served.is_finished());
}

/// An HTTP/2 client.
struct Http2 {
    asking: hyper::client::conn::http2::SendRequest<String>,
    served: JoinHandle<()>,
    _leave: watch::Sender<()>,
}

impl Http2 {
    /// One that takes little of a reply before it has read what came.
    async fn over(client: Client) -> Http2 {
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(1000);
        let (asking, connection) = builder.handshake(TokioIo::new(client.stream)).await.unwrap();
        tokio::spawn(connection);
        Http2 { asking, served: client.served, _leave: client.leave }
    }

    async fn ask(&mut self, path: &str) -> Incoming {
        let request = Request::get(format!("http://here{path}")).body(String::new()).unwrap();
        self.asking.send_request(request).await.unwrap().into_body()
    }
}

async fn length(body: Incoming) -> usize {
    http_body_util::BodyExt::collect(body).await.unwrap().to_bytes().len()
}

/// A request each minute keeps such a connection open, and hyper with it.
#[tokio::test(start_paused = true)]
async fn http2_makes_room_too_once_all_is_sent() {
    let house = House::of(3);
    let mut busy = Http2::over(house.connect(1)).await;
    let mut silent = Http2::over(house.connect(1)).await;
    let mut slow = Http2::over(house.connect(1)).await;
    for client in [&mut busy, &mut silent] {
        assert_eq!(length(client.ask("/large").await).await, REPLY);
        sleep(MOMENT).await;
    }
    let unread = slow.ask("/large").await;
    sleep(SILENCE).await;
    let ended = |clients: [&Http2; 3]| clients.map(|client| client.served.is_finished());
    // It rested longest, and does not any more.
    length(busy.ask("/").await).await;
    house.connections.place(&house.places).await.unwrap().forget();
    assert_eq!(ended([&busy, &silent, &slow]), [false, true, false]);
    assert!(silent.asking.ready().await.is_err());
    // The other is silent for longer, and not done.
    let began = clock::now();
    house.connections.place(&house.places).await.unwrap().forget();
    assert!(began.elapsed() <= REST_AFTER + MOMENT, "{:?}", began.elapsed());
    assert_eq!(ended([&busy, &silent, &slow]), [true, true, false]);
    sleep(SILENCE).await;
    assert!(!house.makes_room().await);
    assert_eq!(length(unread).await, REPLY);
    house.connections.place(&house.places).await.unwrap().forget();
    assert_eq!(ended([&busy, &silent, &slow]), [true; 3]);
}

/// For how long the server still keeps this connection.
async fn kept_for(served: JoinHandle<()>) -> Duration {
    let began = clock::now();
    timeout(10 * LONG, served).await.unwrap().unwrap();
    began.elapsed()
}

/// As long as proxies keep connections themselves; whoever has begun to ask is held to what everybody is.
#[tokio::test(start_paused = true)]
async fn a_proxys_connection_rests_for_as_long_as_it_may() {
    for rest in [75, 620].map(Duration::from_secs) {
        let house = House::of(8);
        let mut used = house.connect_proxy(rest);
        used.ask("/").await;
        sleep(rest - MOMENT).await;
        used.ask("/again").await;
        assert_eq!(used.seen(), ["/", "/again"]);
        assert_eq!(kept_for(used.served).await, rest);
        // One that was made before there was a request for it.
        let mut early = house.connect_proxy(rest);
        sleep(rest - MOMENT).await;
        early.ask("/").await;
        assert_eq!(early.seen(), ["/"]);
        assert_eq!(kept_for(house.connect_proxy(rest).served).await, rest);
        // The beginning of a request is none: first on its connection, and after another one.
        let mut half = house.connect_proxy(rest);
        half.send("GET / HTTP/1.1\r\nhost:").await;
        assert_eq!(kept_for(half.served).await, HEADER_PATIENCE);
        let mut begun = house.connect_proxy(rest);
        begun.ask("/").await;
        sleep(SILENCE).await;
        begun.send("GET / HTTP/1.1\r\nhost:").await;
        assert_eq!(kept_for(begun.served).await, HEADER_PATIENCE);
        // Nor is one that does not read its reply at rest.
        let place = Arc::clone(&house.places).try_acquire_owned().unwrap();
        let mut unread = connect_with(64, Some((place, house.connections.count_proxy(rest))));
        unread.send("GET /large HTTP/1.1\r\nhost: here\r\n\r\n").await;
        let kept = kept_for(unread.served).await;
        assert!(kept <= IDLE_PATIENCE + REST_AFTER, "{kept:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxys_http2_rests_for_as_long_as_it_may() {
    for rest in [75, 620].map(Duration::from_secs) {
        let house = House::of(2);
        let (mut used, unused) =
            (Http2::over(house.connect_proxy(rest)).await, Http2::over(house.connect_proxy(rest)).await);
        length(used.ask("/").await).await;
        sleep(rest - SILENCE).await;
        length(used.ask("/").await).await;
        let kept = kept_for(used.served).await;
        assert!((rest..=rest + REST_AFTER).contains(&kept), "{kept:?}");
        assert!(unused.served.is_finished());
    }
    let house = House::of(1);
    let mut stranger = Http2::over(house.connect(1)).await;
    length(stranger.ask("/").await).await;
    let kept = kept_for(stranger.served).await;
    assert!((IDLE_PATIENCE..=IDLE_PATIENCE + REST_AFTER).contains(&kept), "{kept:?}");
}

/// Strangers who rest make room first. A proxy's connection does once it has rested for longer than a stranger's may: others
/// would otherwise wait for places that nobody uses.
#[tokio::test(start_paused = true)]
async fn a_full_house_closes_what_a_proxy_lets_rest_for_long_and_strangers_first() {
    let house = House::of(3);
    let [mut first, mut second] = [(); 2].map(|()| house.connect_proxy(LONG));
    for client in [&mut first, &mut second] {
        client.ask("/").await;
        sleep(MOMENT).await;
    }
    sleep(HEADER_PATIENCE + MOMENT).await;
    let mut stranger = house.connect(1);
    stranger.ask("/").await;
    sleep(REST_AFTER * 2).await;
    for expected in [&[2][..], &[0, 2], &[0, 1, 2]] {
        assert!(house.makes_room().await, "{expected:?}");
        assert_eq!(closed(&[&first, &second, &stranger]), expected);
        Arc::clone(&house.places).try_acquire_owned().unwrap().forget();
    }

    // Until then it keeps its place, also where nobody else rests; over HTTP/2 for as long as a stranger's.
    let house = House::of(2);
    let mut proxy = house.connect_proxy(LONG);
    proxy.ask("/").await;
    let mut http2 = Http2::over(house.connect_proxy(LONG)).await;
    length(http2.ask("/").await).await;
    let began = clock::now();
    for (client, patience) in [(&proxy.served, HEADER_PATIENCE), (&http2.served, IDLE_PATIENCE)] {
        house.connections.place(&house.places).await.unwrap().forget();
        assert!(client.is_finished());
        assert!((patience..=patience + REST_AFTER).contains(&began.elapsed()), "{:?}", began.elapsed());
    }
}

/// A proxy that opens connections and says nothing on them, or only which HTTP it speaks, would otherwise hold every place for
/// as long as it may rest.
#[tokio::test(start_paused = true)]
async fn a_proxys_connection_makes_room_that_has_asked_for_nothing() {
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = "\0\0\0\x04\0\0\0\0\0";
    // A header is announced, and does not come.
    let half_a_header = "\0\0\x20\x01\x04\0\0\0\x01";
    for (sent, reads) in [
        (String::new(), 1 << 16),
        ("PRI * HTT".to_owned(), 1 << 16),
        (format!("{preface}{settings}"), 1 << 16),
        (format!("{preface}{settings}{half_a_header}"), 1 << 16),
        // Not even our settings are read.
        (format!("{preface}{settings}"), 40),
    ] {
        let house = House::of(1);
        let place = Arc::clone(&house.places).try_acquire_owned().unwrap();
        let mut early = connect_with(reads, Some((place, house.connections.count_proxy(LONG))));
        early.send(&sent).await;
        let began = clock::now();
        house.connections.place(&house.places).await.unwrap().forget();
        let waited = began.elapsed();
        assert!(
            (FIRST_REQUEST_PATIENCE..=FIRST_REQUEST_PATIENCE + REST_AFTER).contains(&waited),
            "{sent:?}: {waited:?}"
        );
        assert!(early.served.is_finished(), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxys_connection_that_asks_late_is_answered_whoever_needs_its_place() {
    let house = House::of(2);
    let mut http1 = house.connect_proxy(LONG);
    let mut http2 = Http2::over(house.connect_proxy(LONG)).await;
    // Both rest.
    sleep(2 * FIRST_REQUEST_PATIENCE).await;
    http1.send("GET /slow HTTP/1.1\r\nhost: here\r\n\r\n").await;
    let (reply, ()) = tokio::join!(http2.ask("/slow"), async {
        sleep(MOMENT).await;
        assert!(!house.makes_room().await);
    });
    assert_eq!(length(reply).await, "slow".len());
    assert_eq!(http1.reply().await, "slow");
    assert!(!http1.served.is_finished() && !http2.served.is_finished());
}
