//! Gateways that are each other's upstreams, or their own: one request ends, instead of all places being taken by it.

use crate::support::dockwarden::{Dockwarden, events, password, program};
use crate::support::gateway::{self, Challenge};
use crate::support::http::{self, Reply};
use crate::support::visit::basic;
use crate::support::{part, scratch};

/// Where nobody listens, until something is put in its place.
const NOWHERE: &str = "127.0.0.1:9";

fn upstream(address: &str) -> String {
    let boss = format!("{{username: boss, password: \"{}\"}}", password("boss"));
    format!("url: \"http://{address}\", auth: {{basic: {boss}}}")
}

/// The config of a gateway whose upstream is not known yet, and the address that it will listen on.
fn unfinished() -> (String, String) {
    let config = gateway::config(Challenge::Basic, &[upstream(NOWHERE)]);
    let (_, after) = config.split_once("addr: \"").unwrap();
    let address = after.split('"').next().unwrap().to_owned();
    (config, address)
}

fn ask(address: &str, method: &str, target: &str) -> Reply {
    let authorization = basic("boss", &password("boss"));
    http::exchange(address, &http::request(method, target, "x", &[("Authorization", authorization.as_str())], b""))
}

/// Waits until the log tells of so many requests that came back.
fn refused(gateway: &Dockwarden, wanted: usize) {
    gateway.process.until("the lines of requests that came back", |process| {
        let lines = events(&process.log(), "could not be decided");
        (lines.iter().filter(|line| line["reason"] == "gateway_loop").count() == wanted).then_some(())
    });
}

#[test]
fn a_gateway_that_is_its_own_upstream_ends_each_request_at_once() {
    let (config, address) = unfinished();
    let config = config.replace(NOWHERE, &address);
    let file = scratch::write(&scratch::directory("config"), "auth_config.yml", &config);
    let said = part::run(part::command_at(program()).arg("check").arg(&file)).well();
    assert!(said.text.contains(&format!("{address} is where this gateway listens")), "{}", said.text);

    let gateway = Dockwarden::start_file(&file);
    for (number, method, target, expected) in [
        (1, "GET", "/v2/team/app/tags/list", 508),
        (2, "PUT", "/v2/team/app/manifests/v1", 508),
        (3, "GET", "/v2/_catalog", 502),
    ] {
        let reply = ask(&gateway.address, method, target);
        assert_eq!(reply.status, expected, "{method} {target}");
        refused(&gateway, number);
        assert_eq!(reply.json()["errors"][0]["code"], "UNAVAILABLE", "{}", reply.text());
    }
}

#[test]
fn two_gateways_do_not_send_a_request_round() {
    let (config, address) = unfinished();
    let second = gateway::start(Challenge::Basic, &[upstream(&address)]);
    let first = Dockwarden::start(&config.replace(NOWHERE, &second.address));
    assert_eq!(first.address, address);
    for (asked, of_first, of_second) in [(&first, 1, 0), (&second, 1, 1)] {
        assert_eq!(ask(&asked.address, "GET", "/v2/team/app/tags/list").status, 508);
        refused(&first, of_first);
        refused(&second, of_second);
    }
}
