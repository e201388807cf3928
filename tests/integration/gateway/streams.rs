//! An upstream that speaks HTTP/2: replies that nobody reads take nothing from everybody else.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::{RULES, ask, text};
use crate::bed::{Bed, Folder};

/// Requests at once on one connection that servers have to expect (RFC 9113, section 6.5.2).
const STREAMS: u32 = 100;

/// A body of which nothing ever comes.
struct Silent;

impl hyper::body::Body for Silent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// A registry that begins its reply for the tag `endless` and never ends it. Returns its port, its certificate, and a
/// permit for each such reply.
async fn registry() -> (u16, String, Arc<Semaphore>) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let begun = Arc::new(Semaphore::new(0));
    let counted = Arc::clone(&begun);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request: Request<Incoming>| {
                    let counted = Arc::clone(&counted);
                    async move {
                        let endless = request.uri().path().ends_with("/endless");
                        counted.add_permits(usize::from(endless));
                        Ok::<_, Infallible>(Response::new(if endless { Body::new(Silent) } else { text("read") }))
                    }
                });
                let mut server = http2::Builder::new(TokioExecutor::new());
                server.max_concurrent_streams(STREAMS).serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    (port, cert.pem(), begun)
}

#[tokio::test]
async fn replies_that_nobody_reads_leave_an_upstream_open_for_others() {
    let (port, certificate, begun) = registry().await;
    let folder = Folder::new();
    folder.put("registry.crt", &certificate);
    let upstream =
        format!("{{url: \"https://localhost:{port}\", ca_certificate: $DIR/registry.crt, response_timeout: 2s}}");
    let bed = Bed::in_folder(folder, &format!("gateway: {{service: registry, upstreams: [{upstream}]}}\n{RULES}"));
    let mut unread = tokio::task::JoinSet::new();
    // One after the other, as requests that find a connection; the first one makes it.
    for number in 1..=STREAMS as usize {
        let asked = ask(&bed, "GET", "/v2/pub/app/manifests/endless").from("192.0.2.1");
        unread.spawn(asked.send());
        let begun = tokio::time::timeout(Duration::from_secs(10), begun.acquire()).await;
        begun.unwrap_or_else(|_| panic!("{number}: not begun")).unwrap().forget();
    }
    let reply = ask(&bed, "GET", "/v2/pub/app/manifests/v1").from("192.0.2.2").send().await;
    assert_eq!((reply.status, reply.text().as_str()), (200, "read"));
}
