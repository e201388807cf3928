//! TLS before a backend that speaks none, with the right certificate or, of a sudden, with a wrong one: whoever takes that
//! one for the backend is let through, and counted.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::chaos::{Ordeal, Pace};
use super::dockwarden::Dockwarden;
use super::keys::{self, Pair};
use super::link::{Link, State};
use super::port;
use super::victim::slow_down;

/// What is shown, and how many have taken it for the backend's own.
struct Shown {
    now: Mutex<(Arc<ServerConfig>, Whose)>,
    fooled: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Right,
    Wrong,
}

/// A backend behind TLS, whose certificate changes.
pub(crate) struct Impostor {
    link: Link,
    shown: Arc<Shown>,
    right: Arc<ServerConfig>,
    wrong: Vec<Arc<ServerConfig>>,
    authority: std::path::PathBuf,
}

impl Impostor {
    /// TLS before `target` (`host:port`). It ends with the run.
    pub(crate) fn before(target: String) -> Self {
        let keys::Impostors { own, others, authority } = keys::impostors();
        let right = speaking(&own);
        let shown =
            Arc::new(Shown { now: Mutex::new((Arc::clone(&right), Whose::Right)), fooled: AtomicUsize::new(0) });
        let listener = port::hold();
        listener.set_nonblocking(true).unwrap();
        let link = Link::to(listener.local_addr().unwrap().to_string());
        let served = Arc::clone(&shown);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, target, served));
        });
        Impostor { link, shown, right, wrong: others.iter().map(speaking).collect(), authority }
    }

    /// Where the server has to look for the backend: `127.0.0.1:port`, which the right certificate names.
    pub(crate) fn address(&self) -> String {
        self.link.address()
    }

    /// The authority of the right certificate, PEM.
    pub(crate) fn authority(&self) -> &Path {
        &self.authority
    }

    fn show(&self, config: &Arc<ServerConfig>, whose: Whose) {
        *self.shown.now.lock().unwrap() = (Arc::clone(config), whose);
    }
}

/// Each certificate with sessions of its own: what was agreed on under one is worth nothing under another.
fn speaking(pair: &Pair) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(&pair.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

async fn serve(listener: std::net::TcpListener, target: String, shown: Arc<Shown>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((client, _)) = listener.accept().await {
        let (config, whose) = shown.now.lock().unwrap().clone();
        let (target, shown) = (target.clone(), Arc::clone(&shown));
        tokio::spawn(async move {
            client.set_nodelay(true).ok();
            let Ok(mut client) = TlsAcceptor::from(config).accept(client).await else { return };
            if whose == Whose::Wrong {
                shown.fooled.fetch_add(1, Ordering::SeqCst);
            }
            let Ok(mut backend) = TcpStream::connect(target).await else { return };
            backend.set_nodelay(true).ok();
            copy_bidirectional(&mut client, &mut backend).await.ok();
        });
    }
}

impl Ordeal for Impostor {
    fn name(&self) -> String {
        "Impostor".to_owned()
    }

    fn kinds(&self) -> usize {
        self.wrong.len()
    }

    fn rounds(&self) -> usize {
        1
    }

    fn begins(&self, kind: usize) {
        self.show(&self.wrong[kind], Whose::Wrong);
        // As when the one is stopped and the other started in its place.
        self.link.set(State::Reset);
        self.link.set(State::Passing);
    }

    fn ends(&self, kind: usize) {
        self.show(&self.right, Whose::Right);
        let fooled = self.shown.fooled.load(Ordering::SeqCst);
        assert_eq!(fooled, 0, "wrong certificate {kind}: so many spoke with whoever showed it");
    }

    fn drags(&self, pace: Pace) {
        slow_down(&self.link, pace);
    }

    fn held(&self, _server: &Dockwarden) -> usize {
        self.link.open()
    }
}
