//! The beginning of TLS on a connection, and whose turn it is to have its signature made.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use rustls::server::ClientHello;
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::turns::Busy;

/// Shakes hands with a client. What costs a signature, the answer to the client's greeting, is made while a `turn` is held: a
/// greeting costs a stranger nothing, not even computing, since one can be sent again and again. Nobody holds a turn while a
/// client is waited for. `tls` chooses by the greeting with what it is answered.
///
/// # Errors
/// The client does not speak TLS as we do, has gone, or had no turn in time.
pub(super) async fn shake_hands<S, C, F, T>(
    tls: impl FnOnce(ClientHello<'_>) -> C,
    stream: S,
    turn: impl Fn() -> F,
) -> std::io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Future<Output = Arc<ServerConfig>>,
    F: Future<Output = Result<T, Busy>>,
{
    let greeted = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let tls = tls(greeted.client_hello()).await;
    let held = turn().await.map_err(std::io::Error::other)?;
    let mut kind = None;
    let mut rest = greeted.into_stream_with(tls, |connection| kind = connection.handshake_kind());
    let mut answered = once(&mut rest).await;
    drop(held);
    // It was asked for another greeting (RFC 8446, section 4.1.4), and the signature comes with the answer to that, which may
    // come in pieces.
    while answered.is_pending() && kind == Some(HandshakeKind::FullWithHelloRetryRequest) {
        woken().await;
        let _held = turn().await.map_err(std::io::Error::other)?;
        answered = once(&mut rest).await;
    }
    match answered {
        Poll::Ready(done) => done,
        Poll::Pending => rest.await,
    }
}

/// Whether a handshake failed because what came is not TLS, but HTTP as likely as not.
pub(super) fn is_no_tls(cause: &std::io::Error) -> bool {
    let inside = cause.get_ref().and_then(|inside| inside.downcast_ref::<rustls::Error>());
    matches!(inside, Some(rustls::Error::InvalidMessage(_)))
}

/// Goes on with something as far as that is possible now.
async fn once<F: Future + Unpin>(work: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *work).poll(context))).await
}

/// Waits until this task is woken, by what it went on with before.
async fn woken() {
    let mut looked = false;
    poll_fn(|_| match std::mem::replace(&mut looked, true) {
        false => Poll::Pending,
        true => Poll::Ready(()),
    })
    .await;
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
    use rustls::crypto::{CryptoProvider, SupportedKxGroup};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::ResolvesServerCert;
    use rustls::sign::{CertifiedKey, Signer, SigningKey};
    use rustls::{
        ALL_VERSIONS, ClientConfig, ClientConnection, RootCertStore, SignatureAlgorithm, SignatureScheme,
        SupportedProtocolVersion, version,
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;
    use tokio_rustls::TlsConnector;

    use super::*;

    /// What has happened, and the turns that there are.
    #[derive(Debug)]
    struct Seen {
        turns: Semaphore,
        asked: AtomicUsize,
        held: AtomicUsize,
        /// How many turns were held at each signature.
        signed: Mutex<Vec<usize>>,
    }

    struct Held(Arc<Seen>);

    impl Drop for Held {
        fn drop(&mut self) {
            self.0.held.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A key that sees when it is used.
    #[derive(Debug)]
    struct Watched<K>(K, Arc<Seen>);

    impl SigningKey for Watched<Arc<dyn SigningKey>> {
        fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
            Some(Box::new(Watched(self.0.choose_scheme(offered)?, Arc::clone(&self.1))))
        }

        fn algorithm(&self) -> SignatureAlgorithm {
            self.0.algorithm()
        }
    }

    impl Signer for Watched<Box<dyn Signer>> {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
            self.1.signed.lock().unwrap().push(self.1.held.load(Ordering::Relaxed));
            self.0.sign(message)
        }

        fn scheme(&self) -> SignatureScheme {
            self.0.scheme()
        }
    }

    #[derive(Debug)]
    struct One(Arc<CertifiedKey>);

    impl ResolvesServerCert for One {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    fn with_groups(groups: &[&'static dyn SupportedKxGroup]) -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider { kx_groups: groups.to_vec(), ..default_provider() })
    }

    struct Server {
        seen: Arc<Seen>,
        tls: Arc<ServerConfig>,
        roots: Arc<RootCertStore>,
    }

    impl Server {
        fn with_turns(turns: usize) -> Server {
            let seen = Seen {
                turns: Semaphore::new(turns),
                asked: AtomicUsize::new(0),
                held: AtomicUsize::new(0),
                signed: Mutex::default(),
            };
            let seen = Arc::new(seen);
            let made = rcgen::generate_simple_self_signed(["registry.example".to_owned()]).unwrap();
            let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
            let key = default_provider().key_provider.load_private_key(key).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(made.cert.der().clone()).unwrap();
            let certified = CertifiedKey::new(vec![made.cert.der().clone()], Arc::new(Watched(key, Arc::clone(&seen))));
            let tls = ServerConfig::builder_with_provider(with_groups(&[kx_group::X25519]))
                .with_protocol_versions(ALL_VERSIONS)
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(One(Arc::new(certified))));
            Server { seen, tls: Arc::new(tls), roots: Arc::new(roots) }
        }

        fn client(
            &self,
            groups: &[&'static dyn SupportedKxGroup],
            version: &'static SupportedProtocolVersion,
        ) -> Arc<ClientConfig> {
            let config = ClientConfig::builder_with_provider(with_groups(groups))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(Arc::clone(&self.roots))
                .with_no_client_auth();
            Arc::new(config)
        }

        /// The client's end of a connection, and what becomes of the server's.
        fn connect(&self) -> (DuplexStream, JoinHandle<std::io::Result<TlsStream<DuplexStream>>>) {
            let (ours, theirs) = duplex(64 * 1024);
            let (tls, seen) = (Arc::clone(&self.tls), Arc::clone(&self.seen));
            let shaken = tokio::spawn(async move {
                let turn = || async {
                    seen.asked.fetch_add(1, Ordering::Relaxed);
                    seen.turns.acquire().await.map_err(|_| Busy::Late)?.forget();
                    seen.held.fetch_add(1, Ordering::Relaxed);
                    Ok(Held(Arc::clone(&seen)))
                };
                shake_hands(|_| std::future::ready(tls), ours, turn).await
            });
            (theirs, shaken)
        }

        fn counts(&self) -> (usize, usize, Vec<usize>) {
            let Seen { asked, held, signed, .. } = &*self.seen;
            (asked.load(Ordering::Relaxed), held.load(Ordering::Relaxed), signed.lock().unwrap().clone())
        }
    }

    const NAME: &str = "registry.example";

    fn greeting(config: Arc<ClientConfig>) -> Vec<u8> {
        let mut bytes = Vec::new();
        ClientConnection::new(config, NAME.try_into().unwrap()).unwrap().write_tls(&mut bytes).unwrap();
        bytes
    }

    /// Each way to begin TLS, and how many turns it takes: whoever is asked for another greeting has one for all that comes then.
    #[tokio::test]
    async fn every_signature_is_made_in_a_turn() {
        for (what, groups, version, turns) in [
            ("at once", vec![kx_group::X25519], &version::TLS13, 1),
            ("after another greeting", vec![kx_group::SECP384R1, kx_group::X25519], &version::TLS13, 3),
            ("TLS 1.2", vec![kx_group::X25519], &version::TLS12, 1),
        ] {
            let server = Server::with_turns(turns);
            let (theirs, shaken) = server.connect();
            let connector = TlsConnector::from(server.client(&groups, version));
            let _client = connector.connect(NAME.try_into().unwrap(), theirs).await.unwrap();
            shaken.await.unwrap().unwrap();
            assert_eq!(server.counts(), (turns, 0, vec![1]), "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_turn_there_is_no_answer_and_a_silent_client_holds_none() {
        let server = Server::with_turns(0);
        let hello = greeting(server.client(&[kx_group::X25519], &version::TLS13));
        let (mut client, _shaken) = server.connect();
        client.write_all(&hello).await.unwrap();
        let mut first = [0];
        let silence = std::time::Duration::from_secs(5);
        assert!(tokio::time::timeout(silence, client.read(&mut first)).await.is_err(), "it waits for its turn");
        assert_eq!(server.counts(), (1, 0, vec![]));
        server.seen.turns.add_permits(1);
        client.read_exact(&mut first).await.unwrap();
        assert_eq!(server.counts(), (1, 0, vec![1]), "the turn has ended, although the client says nothing more");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_for_another_greeting_holds_no_turn_meanwhile() {
        let server = Server::with_turns(2);
        let hello = greeting(server.client(&[kx_group::SECP384R1, kx_group::X25519], &version::TLS13));
        let (mut client, _shaken) = server.connect();
        client.write_all(&hello).await.unwrap();
        let mut first = [0];
        client.read_exact(&mut first).await.unwrap();
        assert_eq!(server.counts(), (1, 0, vec![]), "nothing has been signed yet");
    }

    /// Otherwise whoever sends it in two would have a signature at once.
    #[tokio::test(start_paused = true)]
    async fn another_greeting_that_comes_in_pieces_is_answered_in_a_turn_too() {
        let server = Server::with_turns(1000);
        let config = server.client(&[kx_group::SECP384R1, kx_group::X25519], &version::TLS13);
        let mut client = ClientConnection::new(config, NAME.try_into().unwrap()).unwrap();
        let (mut stream, shaken) = server.connect();
        let mut received = vec![0; 64 * 1024];
        while client.is_handshaking() {
            let mut said = Vec::new();
            client.write_tls(&mut said).unwrap();
            for piece in said.chunks(20) {
                stream.write_all(piece).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            let length = stream.read(&mut received).await.unwrap();
            client.read_tls(&mut received.get(..length).unwrap()).unwrap();
            client.process_new_packets().unwrap();
        }
        let mut said = Vec::new();
        client.write_tls(&mut said).unwrap();
        stream.write_all(&said).await.unwrap();
        shaken.await.unwrap().unwrap();
        let (_, held, signed) = server.counts();
        assert_eq!((held, signed), (0, vec![1]));
    }

    #[tokio::test]
    async fn whose_turn_does_not_come_is_let_go_unsigned() {
        let server = Server::with_turns(0);
        server.seen.turns.close();
        let (mut client, shaken) = server.connect();
        client.write_all(&greeting(server.client(&[kx_group::X25519], &version::TLS13))).await.unwrap();
        let refused = shaken.await.unwrap().unwrap_err();
        assert_eq!(refused.to_string(), Busy::Late.to_string());
        assert_eq!(server.counts(), (1, 0, vec![]));
    }
}
