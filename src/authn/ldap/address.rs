//! Where a directory server is, and how the connection to it is protected.

use std::fmt;
use std::net::IpAddr;

use settings::Refusal;

/// How a connection is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// Not at all.
    None,
    /// TLS, begun by a request on a connection in the clear (RFC 4511, section 4.14).
    StartTls,
    /// TLS from the first byte.
    Tls,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// A name or an address, without brackets.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
    /// How the connection is protected.
    pub(super) protection: Protection,
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protection {
            Protection::None | Protection::StartTls => "ldap",
            Protection::Tls => "ldaps",
        };
        match self.host.contains(':') {
            true => write!(out, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(out, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl Address {
    /// Reads `host`, `host:port`, `[::1]:port`, `ldap://…` or `ldaps://…`; `protection` is what the key `tls` says, if
    /// it says anything.
    ///
    /// # Errors
    /// The text is not an address, or contradicts `tls`.
    pub(super) fn parse(text: &str, protection: Option<Protection>) -> Result<Address, Refusal> {
        let usage =
            || Refusal::is("not a server; write ldap.example.com:636, [2001:db8::1]:389, or ldaps://ldap.example.com");
        let (scheme, rest) = match text.split_once("://") {
            None => (None, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ldap") => (Some(Protection::None), rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("ldaps") => (Some(Protection::Tls), rest),
            Some(_) => return Err(usage()),
        };
        let first = rest.split(|letter: char| letter.is_whitespace() || letter == ',').next().unwrap_or_default();
        let server = match scheme {
            None => first,
            Some(_) => first.strip_suffix('/').unwrap_or(first),
        };
        // Before the list, since the commas of `ldap://host/dc=example,dc=org?uid` are those of a name.
        if server.contains(['/', '?']) {
            return Err(Refusal::says(
                "this says more than a server; leave out what follows it: its base and filter have keys of their own",
            ));
        }
        if first.len() < rest.len() {
            return Err(Refusal::says(
                "several servers are written as a list: addr: [\"ldaps://one\", \"ldaps://two\"]",
            ));
        }
        let rest = server;
        let (host, port) = match rest.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) = bracketed.split_once(']').ok_or_else(usage)?;
                if !matches!(host.parse(), Ok(IpAddr::V6(_))) {
                    return Err(usage());
                }
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or_else(usage)?) };
                (host, port)
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(usage)).transpose()?;
        if host.is_empty() || rustls::pki_types::ServerName::try_from(host).is_err() {
            return Err(usage());
        }
        let protection = match (scheme, protection, port) {
            (Some(Protection::Tls), None | Some(Protection::Tls), _) | (None, None, Some(636)) => Protection::Tls,
            (Some(Protection::Tls), Some(Protection::None | Protection::StartTls), _) => {
                return Err(Refusal::says("ldaps:// is TLS from the first byte; write tls: always, or ldap://"));
            }
            (Some(_), Some(Protection::Tls), _) => {
                return Err(Refusal::says("ldap:// begins in the clear, and tls says always; write ldaps://"));
            }
            (Some(_) | None, Some(said), _) => said,
            (Some(_) | None, None, _) => Protection::None,
        };
        let usual = match protection {
            Protection::None | Protection::StartTls => 389,
            Protection::Tls => 636,
        };
        Ok(Address { host: host.to_owned(), port: port.unwrap_or(usual), protection })
    }

    /// Whether what is sent in the clear stays on this machine.
    pub(super) fn is_this_machine(&self) -> bool {
        self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use settings::Holds;

    #[test]
    fn addresses_are_read_as_docker_auth_reads_them_and_as_urls() {
        use Protection::{None as Clear, StartTls, Tls};
        for (text, tls, expected) in [
            ("ldap.example.com:636", None, ("ldap.example.com", 636, Tls, "ldaps://ldap.example.com:636")),
            ("ldap.example.com:636", Some(Clear), ("ldap.example.com", 636, Clear, "ldap://ldap.example.com:636")),
            ("ldap.example.com:389", None, ("ldap.example.com", 389, Clear, "ldap://ldap.example.com:389")),
            ("ldap.example.com:3269", Some(Tls), ("ldap.example.com", 3269, Tls, "ldaps://ldap.example.com:3269")),
            ("ldap", Some(Tls), ("ldap", 636, Tls, "ldaps://ldap:636")),
            ("ldap", Some(StartTls), ("ldap", 389, StartTls, "ldap://ldap:389")),
            ("10.0.0.1", None, ("10.0.0.1", 389, Clear, "ldap://10.0.0.1:389")),
            ("[2001:db8::1]:636", None, ("2001:db8::1", 636, Tls, "ldaps://[2001:db8::1]:636")),
            ("[::1]", None, ("::1", 389, Clear, "ldap://[::1]:389")),
            ("ldap://a", None, ("a", 389, Clear, "ldap://a:389")),
            ("ldap://a/", Some(StartTls), ("a", 389, StartTls, "ldap://a:389")),
            ("LDAPS://a", None, ("a", 636, Tls, "ldaps://a:636")),
            ("ldaps://[::1]:1636", Some(Tls), ("::1", 1636, Tls, "ldaps://[::1]:1636")),
            ("ldap://a:636", None, ("a", 636, Clear, "ldap://a:636")),
        ] {
            let Ok(read) = Address::parse(text, tls) else { unreachable!("{text}") };
            let shown = read.to_string();
            assert_eq!((read.host.as_str(), read.port, read.protection, shown.as_str()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_server_is_refused() {
        let refused = |text: &str, tls| {
            let refusal = Address::parse(text, tls).err();
            refusal.map(|refusal| refusal.about(text, Holds::Secrets)).unwrap_or_default()
        };
        for text in "::1 [::1 [a]:1 [::1]1 host:port host:0 :389 ldapi:///run/slapd user@host".split(' ') {
            let message = refused(text, None);
            assert!(message.contains("is not a server"), "{text}: {message}");
        }
        for (text, tls, expected) in [
            ("", None, "is not a server"),
            ("ldap://a ldap://b", None, "written as a list"),
            ("a,b", None, "written as a list"),
            ("ldap://a/dc=x", None, "base and filter have keys of their own"),
            ("ldap://a/dc=x,dc=y?uid", None, "this says more than a server"),
            ("ldaps://a:636/dc=x, dc=y??sub?(uid=*)", None, "this says more than a server"),
            ("ldap://a?uid", None, "this says more than a server"),
            ("ldaps://a/,ldaps://b/", None, "written as a list"),
            ("a:636 b:636", None, "written as a list"),
            ("ldap://a", Some(Protection::Tls), "write ldaps://"),
            ("ldaps://a", Some(Protection::None), "write tls: always, or ldap://"),
            ("ldaps://a", Some(Protection::StartTls), "write tls: always, or ldap://"),
        ] {
            let message = refused(text, tls);
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
