//! What a registry is told about this server: its address, its certificate, and the five settings to paste.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::Path;

use crate::config::{Config, ListenAddress, Server};

/// The audience where the file names none: any will do, and this is the one that most guides use.
const ANY_SERVICE: &str = "Docker registry";
/// Stands for what only the operator knows.
const UNKNOWN_HOST: &str = "YOUR.HOST.NAME";
/// Stands for a port that the system chooses.
const UNKNOWN_PORT: &str = "PORT";

/// Prints the settings to standard output. The server starts even if nobody reads them.
pub(super) fn print(config: &Config) {
    drop(std::io::stdout().write_all(text(config).as_bytes()));
}

fn text(config: &Config) -> String {
    let realm = Realm::from_server(&config.server);
    let service = config.token.services.first().map_or(ANY_SERVICE, String::as_str);
    let certificate = absolute(config.token.bundle());
    let admin = match &config.server.admin {
        Some(address) => format!("Health and metrics: {address}\n"),
        None => String::new(),
    };
    let gateway = config.gateway.as_ref().map_or_else(String::new, |gateway| {
        let listen = gateway.listen.as_ref().unwrap_or(&config.server.listen);
        let upstreams: Vec<&str> = gateway.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        format!(
            "The gateway to {upstreams} listens on {listen}: clients use that address as the registry's. The settings below \
             are for registries without a gateway, and not for these.\n\n",
            upstreams = upstreams.join(", "),
        )
    });
    format!(
        "\n{gateway}Tokens are served at {url} (listening on {listen})\n\
         {admin}\
         The certificate is   {certificate}\n\
         \n\
         The registry's settings, one a line as `docker run --env-file` reads them (no quotes):\n\
         \n\
         REGISTRY_AUTH=token\n\
         REGISTRY_AUTH_TOKEN_REALM={url}\n\
         REGISTRY_AUTH_TOKEN_SERVICE={service}\n\
         REGISTRY_AUTH_TOKEN_ISSUER={issuer}\n\
         REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE={certificate}\n\
         \n\
         REALM is opened by docker and the other clients, not by the registry: {reach}\n\
         ROOTCERTBUNDLE is read by the registry: if it runs in a container, mount the certificate there at this path.\n\
         \n",
        url = realm.url,
        listen = config.server.listen,
        issuer = config.token.issuer,
        reach = realm.reach,
    )
}

/// Where clients ask for tokens.
struct Realm {
    url: String,
    /// From where that address works.
    reach: &'static str,
}

impl Realm {
    fn from_server(server: &Server) -> Realm {
        let (host, reach) = match &server.listen {
            ListenAddress::Tcp { host, port } => {
                let (name, reach) = match &server.acme {
                    Some(acme) => (acme.host().to_owned(), "they must be able to reach this name."),
                    None => reachable(host),
                };
                let port = if *port == 0 { UNKNOWN_PORT.to_owned() } else { port.to_string() };
                (format!("{name}:{port}"), reach)
            }
            ListenAddress::Unix(_) => {
                (UNKNOWN_HOST.to_owned(), "put the name of the proxy in front of the socket in its place.")
            }
        };
        let scheme = match (server.speaks_tls(), &server.listen) {
            (false, ListenAddress::Tcp { .. }) => "http",
            (true, _) | (false, ListenAddress::Unix(_)) => "https",
        };
        Realm { url: format!("{scheme}://{host}{}/auth", server.path_prefix), reach }
    }
}

/// A name for a listening address that can be connected to, and from where. Loopback addresses become `localhost`,
/// because some clients refuse a realm that is a loopback address, and for that name none asks for TLS.
fn reachable(host: &str) -> (String, &'static str) {
    const THIS_MACHINE: &str =
        "this one works on this machine only, where alone this server can be reached (server.addr).";
    match host.parse::<IpAddr>() {
        Ok(address) if address.is_loopback() => ("localhost".to_owned(), THIS_MACHINE),
        Ok(address) if !address.is_unspecified() => {
            let name = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
            (name, "they must be able to reach this address.")
        }
        Err(_) if host.eq_ignore_ascii_case("localhost") => ("localhost".to_owned(), THIS_MACHINE),
        Err(_) if !host.is_empty() => (host.to_owned(), "they must be able to reach this name."),
        Ok(_) | Err(_) => {
            ("localhost".to_owned(), "for those on other machines put this one's name in the place of localhost.")
        }
    }
}

fn absolute(file: &Path) -> String {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

    use super::*;
    use crate::config::Secrets;

    fn lines_of(server: &str, token: &str) -> Vec<String> {
        let file = format!(
            "server:\n{server}token:\n  issuer: Acme auth server\n  certificate: certs/token.crt\n  \
             key: certs/token.key\n{token}users: {{}}\nacl: []\n"
        );
        let config = Config::read(Path::new("config.yml"), &file, [], Secrets::Skip).unwrap();
        text(&config).lines().filter(|line| line.starts_with("REGISTRY_")).map(str::to_owned).collect()
    }

    #[test]
    fn the_five_settings_are_what_the_file_says() {
        let here = std::env::current_dir().unwrap();
        let certificate = format!("REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE={}", here.join("certs/token.crt").display());
        let expected = [
            "REGISTRY_AUTH=token",
            "REGISTRY_AUTH_TOKEN_REALM=http://localhost:5001/auth",
            "REGISTRY_AUTH_TOKEN_SERVICE=first one",
            "REGISTRY_AUTH_TOKEN_ISSUER=Acme auth server",
            &certificate,
        ];
        assert_eq!(lines_of("  addr: 127.0.0.1:5001\n", "  services: [first one, second]\n"), expected);
    }

    #[test]
    fn a_gateways_registries_are_told_nothing() {
        let file = "server: {addr: \":5001\"}\ntoken: {issuer: x, certificate: a.crt, key: a.key}\nacl: []\n\
                    gateway: {addr: \":443\", service: s, upstreams: [{url: \"http://localhost:5000\"}]}\nusers: {}\n";
        let config = Config::read(Path::new("config.yml"), file, [], Secrets::Skip).unwrap();
        let text = text(&config);
        assert!(text.contains("The gateway to localhost:5000 listens on :443: "), "{text}");
        assert!(text.contains("are for registries without a gateway"), "{text}");
    }

    #[test]
    fn the_service_is_the_usual_one_where_any_will_do() {
        assert!(lines_of("  addr: :5001\n", "").contains(&"REGISTRY_AUTH_TOKEN_SERVICE=Docker registry".to_owned()));
    }

    #[test]
    fn the_realm_is_an_address_that_can_be_opened() {
        let tls = "  certificate: a.crt\n  key: a.key\n";
        let cases = [
            ("  addr: :5001\n", "http://localhost:5001/auth"),
            ("  addr: \"[::]:5001\"\n", "http://localhost:5001/auth"),
            ("  addr: \"[::1]:5001\"\n", "http://localhost:5001/auth"),
            ("  addr: 0.0.0.0:5001\n", "http://localhost:5001/auth"),
            ("  addr: 10.1.2.3:5001\n", "http://10.1.2.3:5001/auth"),
            ("  addr: \"[fd00::1]:5001\"\n", "http://[fd00::1]:5001/auth"),
            ("  addr: auth.example.com:5001\n", "http://auth.example.com:5001/auth"),
            ("  addr: 127.0.0.1:0\n", "http://localhost:PORT/auth"),
            ("  addr: :5001\n  path_prefix: /registry\n", "http://localhost:5001/registry/auth"),
            ("  addr: /run/dockwarden.sock\n  net: unix\n", "https://YOUR.HOST.NAME/auth"),
            (&format!("  addr: auth.example.com:443\n{tls}"), "https://auth.example.com:443/auth"),
        ];
        let ordered = "  addr: :443\n  letsencrypt: {host: auth.example.com, email: a@example.com, cache_dir: c}\n";
        let cases = cases.into_iter().chain([(ordered, "https://auth.example.com:443/auth")]);
        for (server, realm) in cases {
            let line = format!("REGISTRY_AUTH_TOKEN_REALM={realm}");
            assert!(lines_of(server, "").contains(&line), "{server}{:?}", lines_of(server, ""));
        }
    }
}
