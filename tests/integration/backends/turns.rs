//! Crowds before a backend that is asked: who waits for it, who is sent away, and that nobody else's turn depends on them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use dockwarden::program::ProgramSettings;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::http_auth::outage::until;
use super::ldap::{self, SEARCH, liar};
use super::program::{AMPLE, Gate, script};
use super::stand_in::{Act, StandIn};
use crate::bed::{ALICE, Ask, Bed, Folder};
use crate::logs::{Form, Log};

/// How many are asked at once, in these tests.
const AT_ONCE: usize = 2;
/// How many of one network wait, and how many in all.
const WAIT: (usize, usize) = (128, 1024);
/// How many of the crowd may have been asked when somebody of another network is: some may be before anybody sees that they
/// wait. In the order of arrival it would be all of them.
const FEW: usize = 20;

/// A backend that lets in and allows everybody, at once where Alice or Carol asks. All others are held up.
struct Slow {
    backend: &'static str,
    bed: Bed,
    /// How many questions have come.
    asked: Box<dyn Fn() -> usize>,
    /// Lets one of those go on who are held up.
    let_one_go: Box<dyn Fn()>,
}

impl Slow {
    fn programs() -> [Slow; 2] {
        ["ext_auth", "ext_authz"].map(|backend| {
            let (folder, gate) = (Folder::new(), Gate::new());
            let text = format!(
                "echo >> $DIR/asked\ncase $(cat) in *carol*|*alice*) ;; *) read go < {} ;; esac\n",
                gate.path()
            );
            let ProgramSettings { command, args, .. } = script(&folder, "slow.sh", &text, AMPLE);
            let asked = folder.path("asked");
            let section = format!("{{command: {command:?}, args: {args:?}, timeout: 60s, concurrency: {AT_ONCE}}}");
            Slow {
                backend,
                bed: Bed::in_folder(folder, &around(backend, &section)),
                asked: Box::new(move || std::fs::read(&asked).map_or(0, |lines| lines.len())),
                let_one_go: Box::new(move || gate.let_one_go()),
            }
        })
    }

    fn apis() -> [Slow; 2] {
        ["http_auth", "http_authz"].map(|backend| {
            let gate = Arc::new(Semaphore::new(0));
            let held = Arc::clone(&gate);
            let api = StandIn::start(move |asked| {
                let status = if asked.is_trial() { 401 } else { 200 };
                let yes = Act::Say(status, json!({"actions": ["*"]}).to_string());
                let about = format!("{}{}", asked.header("x-account"), asked.body);
                match asked.is_trial() || about.contains("carol") || about.contains("alice") {
                    true => yes,
                    false => Act::Held(Arc::clone(&held), Box::new(yes)),
                }
            });
            let headers = match backend {
                "http_auth" => "headers: {X-Account: \"${account}\", Authorization: \"Basic ${basic}\"}, ",
                _ => "",
            };
            let origin = api.origin();
            let section = format!("{{url: \"{origin}/ask\", {headers}timeout: 30s, concurrency: {AT_ONCE}}}");
            Slow {
                backend,
                bed: Bed::with(&around(backend, &section)),
                asked: Box::new(move || api.asked().len()),
                let_one_go: Box::new(move || gate.add_permits(1)),
            }
        })
    }

    fn directory() -> Slow {
        let asked = Arc::new(AtomicUsize::new(0));
        let (let_go, gate) = mpsc::channel();
        let (counted, gate) = (Arc::clone(&asked), Mutex::new(gate));
        let address = liar(move |id, tag, request| {
            if tag == SEARCH {
                counted.fetch_add(1, Ordering::SeqCst);
                if !request.windows(5).any(|window| window == b"carol") {
                    // Nobody lets it go any more when the test is over.
                    gate.lock().unwrap().recv().ok();
                }
            }
            ldap::honest(id, tag, request)
        });
        let section = ldap::section(&address, &format!("  timeout: 30s\n  pool_size: {AT_ONCE}\n"));
        Slow {
            backend: "ldap_auth",
            bed: Bed::with(&section.replace("deadline: 5s", "deadline: 30s")),
            asked: Box::new(move || asked.load(Ordering::SeqCst)),
            let_one_go: Box::new(move || let_go.send(()).unwrap()),
        }
    }

    /// Somebody of the crowd: another account each, or another repository where nobody logs in.
    fn one_of_many(&self, number: usize) -> Ask {
        match self.backend.ends_with("_authz") {
            true => self.bed.get(&format!("/auth?service=registry&scope=repository:crowd/{number}:pull")),
            false => self.bed.get("/auth?service=registry").basic(&format!("account-{number}"), "guess"),
        }
    }

    /// Somebody with a right password.
    fn honest(&self) -> Ask {
        match self.backend.ends_with("_authz") {
            true => self.bed.get("/auth?service=registry&scope=repository:honest:pull").by(ALICE),
            false => self.bed.get("/auth?service=registry").basic("carol", "carol-pw"),
        }
    }

    /// Sends a crowd of which so many get a place; the others are told so at once, and are not told that anything is wrong
    /// with them. Those who wait are given up with the set.
    async fn crowd(&self, places: usize, crowd: impl Iterator<Item = Ask>) -> JoinSet<u16> {
        let before = (self.asked)();
        let mut waiting = JoinSet::new();
        for ask in crowd {
            let backend = self.backend;
            waiting.spawn(async move {
                let reply = ask.send().await;
                if reply.status == 503 {
                    assert_eq!((reply.header("retry-after"), reply.header("www-authenticate")), ("5", ""), "{backend}");
                    assert_eq!(reply.json()["errors"][0]["message"], "too many requests at once; try again");
                }
                reply.status
            });
        }
        while waiting.len() > AT_ONCE + places {
            assert_eq!(waiting.join_next().await.unwrap().unwrap(), 503, "{}", self.backend);
        }
        until("those who are asked about first", async || (self.asked)() == before + AT_ONCE).await;
        waiting
    }

    /// Lets the crowd go on one by one until this is answered: how many questions came meanwhile.
    async fn answered(&self, honest: Ask) -> usize {
        let before = (self.asked)();
        let going_on = async {
            for more in 1.. {
                (self.let_one_go)();
                until("the next question", async || (self.asked)() >= before + more).await;
            }
        };
        let reply = tokio::select! {
            biased;
            reply = honest.send() => reply,
            () = going_on => unreachable!("it never ends"),
        };
        assert_eq!(reply.status, 200, "{}: {}", self.backend, reply.text());
        (self.asked)() - before
    }

    /// That the backend was not asked is no fault of its own.
    async fn is_not_blamed(&self) {
        let (text, backend) = (self.bed.get("/metrics").send().await.ok().text(), self.backend);
        let none = format!("dockwarden_backend_answers_total{{backend=\"{backend}\",outcome=\"error\"}} 0");
        for none in [none.as_str(), "dockwarden_token_requests_total{outcome=\"unavailable\"} 0"] {
            assert!(text.lines().any(|line| line == none), "{none} is not in {text}");
        }
        let down = format!("dockwarden_backend_down{{backend=\"{backend}\"}} 1");
        assert!(!text.contains(&down), "{down} is in {text}");
    }
}

/// The file: nobody is decided about by rules, so that each question gets to the backend.
fn around(backend: &str, section: &str) -> String {
    match backend.ends_with("_authz") {
        true => format!("acl: []\n{backend}: {section}\n"),
        false => format!("{backend}: {section}\n"),
    }
}

fn slow_backends() -> impl Iterator<Item = Slow> {
    Slow::programs().into_iter().chain(Slow::apis()).chain([Slow::directory()])
}

#[tokio::test]
async fn a_crowd_from_one_network_does_not_keep_another_one_out() {
    for slow in slow_backends() {
        let log = Log::start(Form::Json);
        let (most, _) = WAIT;
        let _crowd = slow.crowd(most, (0..400).map(|number| slow.one_of_many(number).from("203.0.113.1"))).await;
        let asked = slow.answered(slow.honest().from("203.0.113.2")).await;
        assert!(asked < FEW, "{}: {asked} questions before", slow.backend);
        slow.is_not_blamed().await;
        // Whose turns these are, and which limit it was.
        let text = log.text();
        let refused = text.lines().find(|line| line.contains("\"reason\":\"busy\"")).unwrap();
        for part in
            [&format!("\"cause\":\"{} was not asked: ", slow.backend), "too many requests from the same network"]
        {
            assert!(refused.contains(part), "{part} is not in {refused}");
        }
    }
}

/// One question from each of more addresses than there are places.
#[tokio::test]
async fn a_crowd_of_addresses_does_not_keep_out_a_network_that_logged_in_before() {
    for slow in slow_backends() {
        let known = || slow.honest().from("203.0.113.2");
        assert_eq!(known().send().await.status, 200);
        let address = |number: usize| format!("198.51.{}.{}", number / 256, number % 256);
        let (_, most) = WAIT;
        let _crowd = slow.crowd(most, (0..1100).map(|number| slow.one_of_many(number).from(&address(number)))).await;
        let asked = slow.answered(known()).await;
        assert!(asked < FEW, "{}: {asked} questions before", slow.backend);
        slow.is_not_blamed().await;
    }
}
