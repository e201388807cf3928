//! A registry of the tests' own: it listens on loopback, keeps what arrives, and answers as each test says.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    /// Path and query as sent.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Arrival {
    /// A header that stands there once; empty where there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        let mut lines = self.headers.get_all(name).iter();
        let first = lines.next();
        assert!(lines.next().is_none(), "{name} stands there twice");
        first.map_or("", |line| line.to_str().unwrap())
    }
}

/// A server that answers by a function.
pub(super) struct Upstream {
    /// `127.0.0.1:port`.
    pub(super) address: String,
    arrivals: Arc<Mutex<Vec<Arrival>>>,
}

impl Upstream {
    pub(super) async fn answering<A>(answer: A) -> Upstream
    where
        A: Fn(&Arrival) -> Response<Body> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let arrivals: Arc<Mutex<Vec<Arrival>>> = Arc::default();
        let (kept, answer) = (Arc::clone(&arrivals), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let target = parts.uri.to_string();
                        let arrival = Arrival { target, headers: parts.headers, body };
                        kept.lock().unwrap().push(arrival.clone());
                        Ok::<_, Infallible>(answer(&arrival))
                    }
                });
                tokio::spawn(async move {
                    Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Upstream { address, arrivals }
    }

    /// Answers everything with 200 and these header lines.
    pub(super) async fn with_headers(headers: &'static [(&'static str, &'static str)]) -> Upstream {
        Upstream::answering(move |_| {
            let mut reply = Response::builder();
            for (name, value) in headers {
                reply = reply.header(*name, *value);
            }
            reply.body(text("from upstream")).unwrap()
        })
        .await
    }

    /// What has arrived since the last call.
    pub(super) fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut self.arrivals.lock().unwrap())
    }

    /// The only request that has arrived since the last call.
    pub(super) fn only(&self) -> Arrival {
        let mut arrivals = self.take();
        assert_eq!(arrivals.len(), 1, "{arrivals:?}");
        arrivals.remove(0)
    }
}

pub(super) fn text(text: &str) -> Body {
    Body::new(Full::new(Bytes::from(text.to_owned())))
}

pub(super) fn status(status: u16) -> Response<Body> {
    Response::builder().status(status).body(text("")).unwrap()
}
