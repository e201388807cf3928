//! Why an address cannot be listened on, and what to do about it.

use std::io::{Error, ErrorKind};

use settings::files::process_user;

use crate::config::ListenAddress;

/// Ports below this are for who is privileged, where the system does not say otherwise.
const FIRST_FREE_PORT: u16 = 1024;

/// The message for an address that the system refused.
pub(super) fn cannot_listen(address: &ListenAddress, error: &Error) -> String {
    let at = match address {
        ListenAddress::Tcp { host, port } if host.is_empty() => format!("port {port}"),
        ListenAddress::Tcp { .. } | ListenAddress::Unix(_) => address.to_string(),
    };
    let who = process_user().map_or_else(|| "this user".to_owned(), |user| format!("user {user}"));
    let hint = match (address, error.kind()) {
        (ListenAddress::Tcp { .. }, ErrorKind::AddrInUse) => {
            "another process listens there already; stop it, or choose another port".to_owned()
        }
        (ListenAddress::Tcp { .. }, ErrorKind::AddrNotAvailable) => {
            "this machine has no such address; leave the host out for every address (addr: \":5001\")".to_owned()
        }
        (ListenAddress::Tcp { port, .. }, ErrorKind::PermissionDenied) if *port < FIRST_FREE_PORT => format!(
            "{who} may not listen on ports below {FIRST_FREE_PORT}; listen on a higher one and publish it as {port} (docker run \
             -p {port}:5001, or a Service's targetPort), or give the process CAP_NET_BIND_SERVICE"
        ),
        (ListenAddress::Unix(_), ErrorKind::AddrInUse) => {
            "another process listens there already, or the file is not a socket; stop the process, or remove the file"
                .to_owned()
        }
        (ListenAddress::Unix(_), ErrorKind::PermissionDenied) => {
            format!("{who} may not make files in that directory; give it to that user, or choose another one")
        }
        (ListenAddress::Unix(_), ErrorKind::NotFound) => "there is no such directory; make it first".to_owned(),
        (ListenAddress::Tcp { .. } | ListenAddress::Unix(_), _) => return format!("cannot listen on {at}"),
    };
    format!("cannot listen on {at}: {hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_explained() {
        let tcp = |host: &str, port| ListenAddress::Tcp { host: host.to_owned(), port };
        let denied = ErrorKind::PermissionDenied;
        let unix = || ListenAddress::Unix("/run/auth/socket".into());
        for (address, kind, pieces) in [
            (tcp("", 443), denied, ["port 443: user ", "ports below 1024; ", "docker run -p 443:5001"]),
            (tcp("::1", 80), denied, ["on [::1]:80: user ", "publish it as 80", "CAP_NET_BIND_SERVICE"]),
            (tcp("10.0.0.1", 5001), ErrorKind::AddrInUse, ["10.0.0.1:5001", "another process", "choose another port"]),
            (tcp("10.0.0.1", 5001), ErrorKind::AddrNotAvailable, ["10.0.0.1:5001", "no such address", "\":5001\""]),
            (unix(), ErrorKind::AddrInUse, ["unix:/run/auth/socket", "another process", "remove the file"]),
            (unix(), denied, ["unix:/run/auth/socket", ": user ", "may not make files"]),
            (unix(), ErrorKind::NotFound, ["unix:/run/auth/socket", "no such directory", "make it"]),
        ] {
            let message = cannot_listen(&address, &Error::from(kind));
            for piece in pieces {
                assert!(message.contains(piece), "{piece}: {message}");
            }
        }
        for (address, kind) in [(tcp("", 5001), denied), (unix(), ErrorKind::InvalidInput)] {
            let message = cannot_listen(&address, &Error::from(kind));
            assert!(!message.contains(": "), "nothing is known of it: {message}");
        }
    }
}
