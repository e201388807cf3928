//! The way to one server whose name may have several addresses: which of them are left to try, and what came of the others.

use std::net::SocketAddr;

use super::server::Server;
use super::verdict::Failure;

/// The addresses of one server in the course of one question.
#[derive(Default)]
pub(super) struct Route {
    left: Option<Vec<SocketAddr>>,
    tried: Vec<(SocketAddr, Failure)>,
}

impl Route {
    /// Whether it is known where it leads.
    pub(super) fn is_known(&self) -> bool {
        self.left.is_some()
    }

    /// It leads to these, but for those that were tried before that was known.
    pub(super) fn leads_to(&mut self, server: &Server, addresses: Vec<SocketAddr>) {
        let mut left = server.in_order(addresses);
        left.retain(|address| !self.tried.iter().any(|(tried, _)| tried == address));
        self.left = Some(left);
    }

    /// The addresses that are left to try.
    ///
    /// # Errors
    /// None is: what came of those that were tried.
    pub(super) fn left(&self) -> Result<&[SocketAddr], Failure> {
        match self.left.as_deref() {
            Some([]) | None => Err(self.failure(None)),
            Some(left) => Ok(left),
        }
    }

    /// This address failed. If that says nothing about the others, they are still to be tried.
    ///
    /// # Errors
    /// It does say something: the same failure.
    pub(super) fn failed(&mut self, server: &Server, address: SocketAddr, failure: Failure) -> Result<(), Failure> {
        match failure {
            Failure::Down(_) => {}
            // Whatever does not take our own credentials here would not take them there; each trial could lock the account.
            Failure::Stranger(_) | Failure::Unknown(_) | Failure::Late(_) | Failure::NoTurn(_) => return Err(failure),
        }
        server.pass_over(address);
        if let Some(left) = &mut self.left {
            left.retain(|other| *other != address);
        }
        self.tried.push((address, failure));
        Ok(())
    }

    /// What to say where none of those that were left could be connected to.
    pub(super) fn ended_by(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Down(_) => self.failure(Some(failure)),
            Failure::Stranger(_) | Failure::Unknown(_) | Failure::Late(_) | Failure::NoTurn(_) => failure,
        }
    }

    fn failure(&self, last: Option<Failure>) -> Failure {
        match (self.tried.as_slice(), last) {
            ([(_, only)], None) => only.clone(),
            ([], Some(last)) => last,
            (tried, last) => {
                let tried = tried.iter().map(|(address, failure)| format!("{address}: {failure}"));
                let told: Vec<String> = tried.chain(last.map(|last| format!("the others: {last}"))).collect();
                Failure::Down(told.join("; "))
            }
        }
    }
}
