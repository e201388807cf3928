//! TLS and HTTP/2 on both sides of the gateway, and a listener of its own.

use std::fs;
use std::path::Path;

use crate::support::dockwarden::{self, Dockwarden, password};
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, form_encode};
use crate::support::keys;
use crate::support::part::{self, Said};
use crate::support::registry::{Edition, Registry};
use crate::support::scratch;
use crate::support::visit::{basic, digest};

fn curl(authority: &Path, arguments: &[&str]) -> Said {
    let mut curl = part::client("curl");
    curl.args(["--silent", "--show-error", "--user"]).arg(format!("alice:{}", password("alice")));
    curl.arg("--cacert").arg(authority);
    part::run(curl.args(arguments))
}

#[test]
fn blobs_go_through_http_2_and_tls_on_both_sides() {
    let chain = keys::for_localhost();
    for edition in Edition::ALL {
        let registry = Registry::start_with_tls(edition, &gateway::inside(), &chain.leaf);
        let upstream = |name: &str, more: &str| {
            format!("url: \"https://{}\", name: {name}, prefix: {name}, {}{more}", registry.host(), gateway::login())
        };
        let trusting = format!(", ca_certificate: \"{}\"", chain.authority.display());
        // The second one is not trusted: a public authority would have had to sign for localhost.
        let config = gateway::config(Challenge::Basic, &[upstream("team", &trusting), upstream("public", "")]);
        let directory = scratch::directory("tls");
        let file = scratch::write(&directory, "config.yml", &dockwarden::with_tls(&config, &chain.leaf));
        let (process, address) = dockwarden::listening(&file);
        let base = format!("https://{}", address.replace("127.0.0.1", "localhost"));

        let blob: Vec<u8> = (0..8_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let (sent, received) = (directory.join("sent"), directory.join("received"));
        fs::write(&sent, &blob).unwrap();
        for (number, versions) in
            [&["--http2"][..], &["--http1.1", "--header", "Expect: 100-continue"]].iter().enumerate()
        {
            let repository = format!("team/app{number}");
            let call = |arguments: &[&str]| curl(&chain.authority, &[versions, arguments].concat()).well().stdout;
            let uploads = format!("{base}/v2/{repository}/blobs/uploads/");
            let begun = call(&["--request", "POST", "--include", &uploads]);
            let protocol = if number == 0 { "HTTP/2 202" } else { "HTTP/1.1 202" };
            assert!(begun.contains(protocol), "{begun}");
            let location =
                begun.lines().find_map(|line| line.to_lowercase().starts_with("location:").then(|| line[9..].trim()));
            let target = format!("{base}{}&digest={}", location.unwrap(), form_encode(&digest(&blob)));
            let put = ["--request", "PUT", "--write-out", "%{http_code}", "--data-binary"];
            let kind = ["--header", "Content-Type: application/octet-stream"];
            let done = call(&[&put[..], &[&format!("@{}", sent.display())], &kind, &[&target]].concat());
            assert!(done.ends_with("201"), "{done}");
            let from = format!("{base}/v2/{repository}/blobs/{}", digest(&blob));
            call(&["--output", received.to_str().unwrap(), &from]);
            assert!(fs::read(&received).unwrap() == blob, "the blob came back changed");
        }
        let log = registry.process.until("the lines of both uploads", |process| {
            Some(process.log()).filter(|log| log.matches("\" 201 ").count() >= 2)
        });
        assert!(log.contains("HTTP/2.0\" 201") && !log.contains("HTTP/1.1\" 201"), "{}", registry.process.tail());
        let said = curl(&chain.authority, &["--write-out", "%{http_code}", &format!("{base}/v2/public/app/tags/list")]);
        assert!(said.well().stdout.ends_with("502"));
        process.until("the cause in the log", |process| process.log().contains("upstream_unreachable").then_some(()));
    }
}

#[test]
fn a_listener_of_its_own_serves_the_gateway_and_nothing_else() {
    let upstream = vec!["url: \"http://127.0.0.1:1\"".to_owned()];
    let config =
        gateway::config(Challenge::Basic, &upstream).replace("gateway:\n", "gateway:\n  addr: \"127.0.0.1:0\"\n");
    let server = Dockwarden::start(&config);
    let own = dockwarden::address(&server.process, "listening for the gateway");
    let authorization = basic("alice", &password("alice"));
    let status = |address: &str, target: &str| {
        http::exchange(address, &http::request("GET", target, "x", &[("Authorization", &authorization)], b"")).status
    };
    let service = form_encode(dockwarden::SERVICE);
    for (target, here, there) in [
        ("/v2/", 200, 404),
        ("/v2/team/app/tags/list", 502, 404),
        (&*format!("/auth?service={service}"), 404, 200),
        ("/readyz", 404, 200),
        ("/forward_auth", 404, 404),
    ] {
        assert_eq!((status(&own, target), status(&server.address, target)), (here, there), "{target}");
    }
}
