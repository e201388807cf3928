//! Connections from us to an HTTP server by its name, for APIs and for the gateway's upstreams: each of the name's addresses is
//! tried until one talks.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::Scheme;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioIo;
use lru::LruCache;
use rustls::ClientConfig;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Service, ServiceExt as _};

use crate::clock;
use crate::lookups::Lookups;

mod attempt;
pub(crate) mod networks;
mod noting;
mod progress;

pub(crate) use attempt::Heard;
use attempt::{Attempt, Made, too_long};
pub(crate) use networks::Places;
use networks::{Networks, NotAllowed};
pub(crate) use noting::Noting;
pub(crate) use progress::Progress;

/// How long one address has before the next one is tried besides (RFC 8305, section 5, has a quarter of a second). The first
/// whose connection is ready, TLS included, is used.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(300);
/// How long an address that was silent is asked after the others.
const QUIET_FOR: Duration = Duration::from_secs(30);
/// How many such addresses are remembered, for one server.
const QUIET_ONES: NonZeroUsize = match NonZeroUsize::new(64) {
    Some(number) => number,
    None => NonZeroUsize::MIN,
};
/// How long a connection is looked at that is made only to see whether somebody takes it: a proxy whose server is away
/// takes it and closes it again.
const LOOKED_AT: Duration = Duration::from_millis(50);

/// How long may be waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// How long the other end may say nothing.
    pub(crate) silence: Duration,
    /// How long connecting may take in all, the name's lookup included.
    pub(crate) whole: Duration,
}

/// Makes connections to one server. Clones share what they know of its addresses.
#[derive(Clone)]
pub(crate) struct Dialer<R = GaiResolver> {
    lookups: Lookups<R>,
    tls: Arc<ClientConfig>,
    patience: Patience,
    quiet: Arc<Quiet>,
    /// Where the server may be, if not anywhere.
    only_in: Option<Arc<Networks>>,
}

/// A connection, over TLS or not.
pub(crate) type Stream = MaybeHttpsStream<TokioIo<Heard>>;
type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Dialer {
    /// Makes no connection yet. The protocols of HTTP are among what `tls` says.
    pub(crate) fn new(tls: Arc<ClientConfig>, patience: Patience) -> Dialer {
        Dialer::with_resolver(GaiResolver::new(), tls, patience)
    }
}

impl<R> Dialer<R>
where
    R: Service<Name, Error = io::Error> + Clone + Send + Sync + 'static,
    R::Future: Send,
    R::Response: Iterator<Item = SocketAddr> + Send + 'static,
{
    fn with_resolver(resolver: R, tls: Arc<ClientConfig>, patience: Patience) -> Dialer<R> {
        Dialer { lookups: Lookups::new(resolver), tls, patience, quiet: Arc::default(), only_in: None }
    }

    /// The same, for a server that somebody else than the operator named.
    pub(crate) fn only_in(self, networks: Networks) -> Dialer<R> {
        Dialer { only_in: Some(Arc::new(networks)), ..self }
    }

    /// Connects, looks whether the connection stays, and closes it. Nothing is asked, so that it counts as no login.
    ///
    /// # Errors
    /// Nobody takes the connection.
    pub(crate) async fn knock(&self, place: &Uri) -> Result<(), Failed> {
        let mut stream = self.clone().connect(place.clone(), Arc::default()).await?;
        let mut byte = [0];
        let read = async {
            match &mut stream {
                MaybeHttpsStream::Http(plain) => plain.inner_mut().read(&mut byte).await,
                MaybeHttpsStream::Https(tls) => tls.inner_mut().read(&mut byte).await,
            }
        };
        match timeout(LOOKED_AT, read).await {
            Ok(Ok(0)) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    async fn connect(self, place: Uri, question: Arc<Progress>) -> Result<Stream, Failed> {
        let Patience { whole, .. } = self.patience;
        match timeout(whole, self.first_that_talks(place, &question)).await {
            Ok(connected) => connected,
            Err(_) => Err(too_long(format!("no connection within {} ms{question}", whole.as_millis()))),
        }
    }

    /// Tries one address after the other, the next one besides the first if that takes its time.
    async fn first_that_talks(mut self, place: Uri, question: &Arc<Progress>) -> Result<Stream, Failed> {
        let began = clock::now();
        let mut addresses = self.addresses(&place).await?.into_iter().peekable();
        question.took("lookup", began.elapsed());
        let mut attempts = JoinSet::new();
        let mut begun = Vec::new();
        let mut failure = None;
        loop {
            match addresses.next() {
                Some(address) => {
                    begun.push(address);
                    let attempt = Attempt {
                        address,
                        quiet: Arc::clone(&self.quiet),
                        silence: self.patience.silence,
                        question: Arc::clone(question),
                    };
                    attempts.spawn(attempt.make(place.clone(), Arc::clone(&self.tls)));
                }
                None if attempts.is_empty() => {
                    return Err(failure.unwrap_or_else(|| io::Error::other("the name has no address").into()));
                }
                None => {}
            }
            tokio::select! {
                Some(ended) = attempts.join_next() => match ended {
                    Ok(Ok(Made { address, stream, steps })) => {
                        // Those before it had their time, and the next question need not wait for them again.
                        begun.iter().take_while(|other| **other != address).for_each(|other| self.quiet.note(*other));
                        steps.into_iter().for_each(|(step, time)| question.took(step, time));
                        return Ok(stream);
                    }
                    Ok(Err(error)) => {
                        failure.get_or_insert(error);
                    }
                    Err(died) => {
                        failure.get_or_insert(died.into());
                    }
                },
                () = sleep(NEXT_ADDRESS_AFTER), if addresses.peek().is_some() => {}
            }
        }
    }

    /// The addresses of a place, those that were silent lately last.
    async fn addresses(&mut self, place: &Uri) -> Result<Vec<SocketAddr>, Failed> {
        let host = place.host().unwrap_or_default().trim_matches(['[', ']']);
        let usual = if place.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
        let port = place.port_u16().unwrap_or(usual);
        let mut addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => {
                let name: Name = host.parse().map_err(|_| io::Error::other("this is not a host name"))?;
                let found = match self.lookups.ready().await?.call(name).await {
                    Ok(found) => found,
                    // Nobody learns which names there are inside.
                    Err(_) if self.only_in.is_some() => return Err(NotAllowed.into()),
                    Err(failed) => return Err(failed.into()),
                };
                found.map(|address| SocketAddr::new(address.ip(), port)).collect()
            }
        };
        if let Some(networks) = &self.only_in {
            addresses.retain(|address| networks.allow(address.ip()));
            if addresses.is_empty() {
                return Err(NotAllowed.into());
            }
        }
        addresses.sort_by_key(|address| self.quiet.is_quiet(address));
        Ok(addresses)
    }
}

impl<R> Service<Uri> for Dialer<R>
where
    R: Service<Name, Error = io::Error> + Clone + Send + Sync + 'static,
    R::Future: Send,
    R::Response: Iterator<Item = SocketAddr> + Send + 'static,
{
    type Response = Stream;
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Failed>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, place: Uri) -> Self::Future {
        let question = Progress::of_this_task();
        Box::pin(self.clone().connect(place, question))
    }
}

/// The addresses that said nothing lately.
struct Quiet(Mutex<LruCache<SocketAddr, Instant>>);

impl Default for Quiet {
    fn default() -> Quiet {
        Quiet(Mutex::new(LruCache::new(QUIET_ONES)))
    }
}

impl Quiet {
    fn held(&self) -> MutexGuard<'_, LruCache<SocketAddr, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, address: SocketAddr) {
        self.held().put(address, clock::now());
    }

    fn is_quiet(&self, address: &SocketAddr) -> bool {
        self.held().peek(address).is_some_and(|since| since.elapsed() < QUIET_FOR)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{RootCertStore, ServerConfig};
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    const SILENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
    const TALKS: Ipv4Addr = Ipv4Addr::LOCALHOST;

    /// A name with these addresses.
    #[derive(Clone)]
    struct Several(&'static [Ipv4Addr]);

    impl Service<Name> for Several {
        type Response = std::vec::IntoIter<SocketAddr>;
        type Error = io::Error;
        type Future = std::future::Ready<io::Result<Self::Response>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            let addresses: Vec<SocketAddr> = self.0.iter().map(|address| (*address, 0).into()).collect();
            std::future::ready(Ok(addresses.into_iter()))
        }
    }

    /// One server that talks TLS, and one at the same port of another address that takes connections and says nothing.
    struct Two {
        port: u16,
        /// How many the silent one has taken.
        taken: Arc<AtomicUsize>,
        tls: Arc<ClientConfig>,
    }

    impl Two {
        async fn start() -> Two {
            let key = KeyPair::generate().unwrap();
            let certificate =
                CertificateParams::new(vec!["two.test".to_owned()]).unwrap().self_signed(&key).unwrap().der().clone();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).unwrap();
            let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            let server = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate], key)
                .unwrap();
            let (talks, silent, port) = loop {
                let talks = TcpListener::bind((TALKS, 0)).await.unwrap();
                let port = talks.local_addr().unwrap().port();
                if let Ok(silent) = TcpListener::bind((SILENT, port)).await {
                    break (talks, silent, port);
                }
            };
            let taken = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&taken);
            tokio::spawn(async move {
                let mut held = Vec::new();
                while let Ok(stream) = silent.accept().await {
                    counted.fetch_add(1, Ordering::SeqCst);
                    held.push(stream);
                }
            });
            let acceptor = TlsAcceptor::from(Arc::new(server));
            tokio::spawn(async move {
                let mut held = Vec::new();
                while let Ok((stream, _)) = talks.accept().await {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        held.push(stream);
                    }
                }
            });
            Two { port, taken, tls: Arc::new(tls) }
        }

        fn dialer(&self, addresses: &'static [Ipv4Addr], silence: u64) -> Dialer<Several> {
            let patience = Patience { silence: Duration::from_millis(silence), whole: Duration::from_secs(60) };
            Dialer::with_resolver(Several(addresses), Arc::clone(&self.tls), patience)
        }

        fn place(&self, scheme: &str) -> Uri {
            format!("{scheme}://two.test:{}/", self.port).parse().unwrap()
        }
    }

    #[tokio::test]
    async fn over_tls_an_address_that_says_nothing_is_passed_over_and_then_comes_last() {
        let two = Two::start().await;
        let dialer = two.dialer(&[SILENT, TALKS], 20_000);
        let steps = Arc::<Progress>::default();
        let connect = async || steps.of(dialer.clone().oneshot(two.place("https"))).await;
        let began = clock::now();
        assert!(matches!(connect().await, Ok(MaybeHttpsStream::Https(_))));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        for step in [", after lookup ", ", connecting ", ", TLS "] {
            assert!(steps.to_string().contains(step), "{steps}");
        }
        for _ in 0..5 {
            assert!(connect().await.is_ok());
        }
        assert_eq!(two.taken.load(Ordering::SeqCst), 1, "the silent one was asked once");
        assert!(dialer.knock(&two.place("https")).await.is_ok());
    }

    /// Without TLS, silence shows only when something was asked.
    #[tokio::test]
    async fn an_address_that_never_answers_comes_last() {
        let two = Two::start().await;
        let dialer = two.dialer(&[SILENT, TALKS], 20_000);
        let connect = async || match dialer.clone().oneshot(two.place("http")).await {
            Ok(MaybeHttpsStream::Http(plain)) => plain.into_inner(),
            Ok(MaybeHttpsStream::Https(_)) | Err(_) => unreachable!("a connection without TLS is made"),
        };
        let mut first = connect().await;
        assert_eq!(first.address.ip(), IpAddr::from(SILENT));
        first.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        drop(first);
        let mut second = connect().await;
        assert_eq!(second.address.ip(), IpAddr::from(SILENT), "it had no time");
        second.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        second.asked = second.asked.map(|asked| asked - attempt::QUIET_AFTER);
        drop(second);
        assert_eq!(connect().await.address.ip(), IpAddr::from(TALKS));
    }

    /// A name that means this machine, now or from one moment to the next, leads nowhere: the address is looked at that is connected to.
    #[tokio::test]
    async fn a_server_that_somebody_else_named_is_reached_at_allowed_addresses_alone() {
        let two = Two::start().await;
        let networks = |text: &str| Networks::from_allowed(vec![text.parse().unwrap()]);
        let dialer = two.dialer(&[SILENT, TALKS], 20_000);
        let refused = dialer.clone().only_in(Networks::default()).oneshot(two.place("http")).await.map(|_| ());
        assert!(refused.unwrap_err().is::<NotAllowed>());
        assert_eq!(two.taken.load(Ordering::SeqCst), 0, "nobody was connected to");
        let literal: Uri = format!("http://127.0.0.1:{}/", two.port).parse().unwrap();
        assert!(dialer.clone().only_in(Networks::default()).oneshot(literal.clone()).await.is_err());
        assert!(dialer.clone().only_in(networks("127.0.0.0/8")).oneshot(literal).await.is_ok());
        match dialer.only_in(networks("127.0.0.1/32")).oneshot(two.place("http")).await {
            Ok(MaybeHttpsStream::Http(plain)) => assert_eq!(plain.into_inner().address.ip(), IpAddr::from(TALKS)),
            Ok(MaybeHttpsStream::Https(_)) | Err(_) => unreachable!("the one that is allowed takes connections"),
        }
        assert_eq!(two.taken.load(Ordering::SeqCst), 0, "the other was not asked");
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_with_the_step_that_it_happened_in() {
        let two = Two::start().await;
        let dialer = two.dialer(&[SILENT], 100);
        let steps = Arc::<Progress>::default();
        let error = steps.of(dialer.oneshot(two.place("https"))).await.map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("takes a connection (") && error.contains("says nothing in the TLS handshake"),
            "{error}"
        );
        let nobody = two.dialer(&[], 100).oneshot(two.place("https")).await.map(|_| ()).unwrap_err();
        assert_eq!(nobody.to_string(), "the name has no address");
        let whole = Patience { silence: Duration::from_secs(60), whole: Duration::from_millis(50) };
        let dialer = Dialer::with_resolver(Several(&[SILENT]), Arc::clone(&two.tls), whole);
        let error = dialer.oneshot(two.place("https")).await.map(|_| ()).unwrap_err();
        assert_eq!(error.downcast_ref::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::TimedOut));
    }
}
