//! The standard error of a program: its first lines, for the log.

use anyhow::Context as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::secret::Secret;

/// The part of standard error that is kept, in bytes; the rest is read and dropped.
const MAX_COMPLAINT: usize = 4 * 1024;

/// The standard error of a program.
#[derive(Default)]
pub(super) struct Complaint {
    /// The beginning of it.
    kept: Vec<u8>,
    extent: Extent,
}

/// How much of it is kept.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Extent {
    /// The beginning: the last line may be incomplete.
    #[default]
    Partly,
    /// All of it.
    Whole,
}

impl Complaint {
    /// Reads to the end, so that a full pipe does not stop a program that writes much, and keeps the beginning.
    pub(super) async fn read(&mut self, mut stderr: impl AsyncRead + Unpin) -> anyhow::Result<()> {
        let mut rest = &mut stderr;
        let room = MAX_COMPLAINT as u64;
        let kept = (&mut rest).take(room).read_to_end(&mut self.kept).await.context("standard error")?;
        let forgotten = tokio::io::copy(&mut rest, &mut tokio::io::sink()).await.context("standard error")?;
        if kept < MAX_COMPLAINT || forgotten == 0 {
            self.extent = Extent::Whole;
        }
        Ok(())
    }

    /// The lines that may be logged: complete ones that do not hold the secret. A line that does is left out as a whole: if
    /// only the secret were cut out, the rest would reveal a short one.
    pub(super) fn without(&self, secret: Option<&Secret>) -> Option<String> {
        let secret = secret.map(|secret| secret.reveal().trim().as_bytes());
        let whole = match self.extent {
            Extent::Whole => self.kept.as_slice(),
            // Half a line could hold half of the secret.
            Extent::Partly => self.kept.rsplitn(2, |byte| *byte == b'\n').nth(1).unwrap_or_default(),
        };
        let lines: Vec<String> = whole
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
            .map(|line| match secret {
                Some(secret) if holds(line, secret) => "[a line with the password in it]".to_owned(),
                Some(_) | None => String::from_utf8_lossy(line).trim().to_owned(),
            })
            .collect();
        (!lines.is_empty()).then(|| lines.join(" | "))
    }
}

/// Whether the line holds the secret. A secret of white space alone counts as part of every line.
fn holds(line: &[u8], secret: &[u8]) -> bool {
    secret.is_empty() || line.windows(secret.len()).any(|part| part == secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_whole_lines_without_the_password_are_logged() {
        let long = "x".repeat(MAX_COMPLAINT - 20);
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("", "hunter2", None),
            ("\n \n", "hunter2", None),
            ("no such host\r\ngiving up", "hunter2", Some("no such host | giving up")),
            ("got alice hunter2\nbad", "hunter2", Some("[a line with the password in it] | bad")),
            // The rest of "a bad day" would reveal a password of one letter.
            ("a bad day", "a", Some("[a line with the password in it]")),
            // `read` in a shell drops white space around it.
            ("got [hunter2]", " hunter2 ", Some("[a line with the password in it]")),
            ("got [ ]", " ", Some("[a line with the password in it]")),
        ];
        for (said, password, expected) in cases {
            let mut complaint = Complaint::default();
            complaint.read(said.as_bytes()).await.ok();
            assert_eq!(complaint.without(Some(&Secret::new(*password))).as_deref(), *expected, "{said:?}");
        }
        // The kept part ends in the middle of the password.
        let mut complaint = Complaint::default();
        complaint.read(format!("first\n{long} hunter2hunter2hunter2").as_bytes()).await.ok();
        assert_eq!(complaint.without(Some(&Secret::new("hunter2hunter2hunter2"))).as_deref(), Some("first"));
        // It was killed in the middle of a line.
        let half = Complaint { kept: b"whole\nhunt".to_vec(), extent: Extent::Partly };
        assert_eq!(half.without(Some(&Secret::new("hunter2"))).as_deref(), Some("whole"));
        let half = Complaint { kept: b"hunt".to_vec(), extent: Extent::Partly };
        assert_eq!(half.without(Some(&Secret::new("hunter2"))), None);
    }
}
