//! Reading HTTP/1.1 replies: just enough to know where one ends.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// What a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Not yet a whole reply.
    Part,
    /// A whole reply.
    Whole {
        /// Its status.
        status: u16,
        /// Whether the connection may be used again.
        keep: bool,
    },
}

/// Looks whether `bytes` is a whole reply.
pub fn find(bytes: &[u8]) -> Found {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Found::Part };
    let Some((head, body)) = bytes.split_at_checked(head + 4) else { return Found::Part };
    let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok()).unwrap_or(0);
    let mut length = None;
    let mut keep = true;
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse::<usize>().ok());
        } else if name.eq_ignore_ascii_case(b"connection") {
            keep = !value.eq_ignore_ascii_case(b"close");
        }
    }
    let whole = match length {
        Some(length) => body.len() >= length,
        // Without a length the body comes in chunks, and ends with an empty one.
        None => body.ends_with(b"0\r\n\r\n"),
    };
    if whole { Found::Whole { status, keep } } else { Found::Part }
}

/// A reply whose body was read.
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body; chunks are left as they are.
    pub body: String,
}

/// Sends one request over a connection of its own.
pub fn ask(address: SocketAddr, request: &[u8]) -> anyhow::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_nodelay(true)?;
    ask_over(&mut stream, request)
}

/// Sends one request over a connection that is there.
pub fn ask_over(stream: &mut TcpStream, request: &[u8]) -> anyhow::Result<Reply> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // A server that has seen enough may answer before it has read everything, and close.
    let sent = stream.write_all(request);
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let read = match (stream.read(&mut chunk), &sent) {
            (Ok(read), _) => read,
            (Err(_), Err(cause)) => bail!("not sent: {cause}"),
            (Err(cause), Ok(())) => return Err(cause.into()),
        };
        bytes.extend_from_slice(chunk.get(..read).unwrap_or_default());
        match find(&bytes) {
            Found::Whole { status, .. } => {
                let text = String::from_utf8_lossy(&bytes);
                let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
                return Ok(Reply { status, body });
            }
            Found::Part if read == 0 => return Err(anyhow::anyhow!("the connection ended before the reply")),
            Found::Part => {}
        }
    }
}

/// The scopes that the token of a reply allows, as `type:name:actions`.
pub fn granted(body: &str) -> anyhow::Result<Vec<String>> {
    use base64::Engine as _;
    let start = body.find('{').context("no JSON in the reply")?;
    let end = body.rfind('}').context("no JSON in the reply")?;
    // The peer sends chunks, whose lengths would stand in the way; its tokens are short enough for one.
    let json: serde_json::Value = serde_json::from_str(body.get(start..=end).unwrap_or_default())?;
    let token = json.get("token").and_then(serde_json::Value::as_str).context("no token in the reply")?;
    let claims = token.split('.').nth(1).context("the token has no claims")?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims)?;
    let claims: serde_json::Value = serde_json::from_slice(&claims)?;
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let access = claims.get("access").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    Ok(access
        .iter()
        .map(|entry| {
            let member = |name: &str| entry.get(name).cloned().unwrap_or_default();
            let actions = member("actions");
            let actions: Vec<String> = actions.as_array().into_iter().flatten().map(text).collect();
            format!("{}:{}:{}", text(&member("type")), text(&member("name")), actions.join(","))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_reply_is_found() {
        let whole = |status, keep| Found::Whole { status, keep };
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", Found::Part),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{", Found::Part),
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", whole(200, true)),
            ("HTTP/1.1 429 Too Many\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", whole(429, false)),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", Found::Part),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", whole(200, true)),
        ] {
            assert_eq!(find(text.as_bytes()), expected, "{text}");
        }
    }
}
