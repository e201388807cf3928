//! A real browser, Chromium, driven by Playwright; with it come axe, which finds what keeps people out of a page, and the pressing of keys.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::{part, scratch};

/// What a window is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// `light` or `dark`.
    pub(crate) scheme: &'static str,
    /// In pixels.
    pub(crate) width: u32,
    /// Whether pages may run script.
    pub(crate) script: bool,
}

/// What came for an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened {
    pub(crate) status: u64,
    /// Of the page and all that it loads.
    pub(crate) bytes: u64,
}

/// A running browser at one address under test. What is on a page is named as Playwright does: `role=button[name='Revoke']`, or CSS.
#[derive(Debug)]
pub(crate) struct Browser {
    driver: Child,
    /// Closed, it ends the driver, and the driver ends the browser: also when the run is killed.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Where the scripts of the tests are.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/browser")
}

/// Where what they need is.
pub(crate) fn modules() -> PathBuf {
    let installed = part::path("long/browser/installed.json");
    installed.parent().unwrap().to_owned()
}

impl Browser {
    /// Starts a browser for `http://localhost:port`, to which browsers send cookies as to one with TLS.
    pub(crate) fn start(address: &str, window: Window) -> Self {
        let home = scratch::directory("browser");
        let mut drive = part::command("node");
        drive.arg(scripts().join("drive.mjs")).arg(modules()).arg(part::path("chromium")).arg(address);
        drive.env("HOME", &home).env("TMPDIR", &home).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut driver = drive.spawn().unwrap();
        let (orders, answers) = (driver.stdin.take(), BufReader::new(driver.stdout.take().unwrap()));
        let mut browser = Self { driver, orders, answers };
        browser.window(window);
        browser
    }

    #[track_caller]
    fn order(&mut self, order: &str, mut details: Value) -> Value {
        details["order"] = json!(order);
        writeln!(self.orders.as_mut().unwrap(), "{details}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut answer: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the driver ended at {details}"));
        assert!(answer["error"].is_null(), "{details}: {}", answer["error"].as_str().unwrap_or_default());
        answer["value"].take()
    }

    /// Another window of this browser.
    #[track_caller]
    pub(crate) fn window(&mut self, window: Window) {
        self.order("window", json!({"scheme": window.scheme, "width": window.width, "script": window.script}));
    }

    #[track_caller]
    pub(crate) fn open(&mut self, target: &str) -> Opened {
        let opened = self.order("open", json!({"url": target}));
        Opened { status: opened["status"].as_u64().unwrap(), bytes: opened["bytes"].as_u64().unwrap() }
    }

    /// Writes into a field.
    #[track_caller]
    pub(crate) fn fill(&mut self, at: &str, text: &str) {
        self.order("fill", json!({"at": at, "text": text}));
    }

    /// Presses a button, or follows a link.
    #[track_caller]
    pub(crate) fn press(&mut self, at: &str) {
        self.order("press", json!({"at": at}));
    }

    /// Waits until the browser is at this path of ours.
    #[track_caller]
    pub(crate) fn arrive(&mut self, path: &str) {
        self.order("arrive", json!({"url": path}));
    }

    /// The text of something that is there once.
    #[track_caller]
    pub(crate) fn text(&mut self, at: &str) -> String {
        self.order("text", json!({"at": at})).as_str().unwrap().to_owned()
    }

    /// How often it is there.
    #[track_caller]
    pub(crate) fn count(&mut self, at: &str) -> u64 {
        self.order("count", json!({"at": at})).as_u64().unwrap()
    }

    /// Presses Tab until this has the focus, and then writes there.
    #[track_caller]
    pub(crate) fn type_at(&mut self, at: &str, text: &str) {
        self.order("reach", json!({"at": at}));
        self.order("type", json!({"text": text}));
    }

    /// Presses Tab until this has the focus, and then Enter.
    #[track_caller]
    pub(crate) fn enter_at(&mut self, at: &str) {
        self.order("reach", json!({"at": at}));
        self.order("key", json!({"key": "Enter"}));
    }

    #[track_caller]
    fn list(&mut self, order: &str) -> Vec<String> {
        let list = self.order(order, json!({}));
        list.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect()
    }

    /// What axe has against the page. It needs a window with script.
    #[track_caller]
    pub(crate) fn axe(&mut self) -> Vec<String> {
        self.list("axe")
    }

    /// What is wrong when one goes over the page with Tab: another order than that of the page, no ring around where one is, or a place
    /// out of sight.
    #[track_caller]
    pub(crate) fn tab(&mut self) -> Vec<String> {
        self.list("tab")
    }

    /// What the browser has complained of since the last time, about pages of ours: breaches of their policy are among it.
    #[track_caller]
    pub(crate) fn said(&mut self) -> Vec<String> {
        self.list("said")
    }

    /// How much wider the page is than its window, in pixels.
    #[track_caller]
    pub(crate) fn overhang(&mut self) -> i64 {
        self.order("overhang", json!({})).as_i64().unwrap()
    }

    /// Does to the page all that the four before this look for.
    #[track_caller]
    pub(crate) fn spoil(&mut self) {
        self.order("spoil", json!({}));
    }

    /// Makes a picture of the page, so wide and at most so high, in pixels. What differs with each run is replaced on it.
    #[track_caller]
    pub(crate) fn picture(&mut self, file: &Path, (width, highest): (u32, u32)) {
        self.order("shot", json!({"file": file, "width": width, "highest": highest}));
    }

    /// Goes to another place, which has the same cookies if it has the same host: they know no ports.
    #[track_caller]
    pub(crate) fn at(&mut self, address: &str) {
        self.order("at", json!({"url": address}));
    }

    /// The cookies that the browser has for this place, as a request sends them.
    #[track_caller]
    pub(crate) fn cookies(&mut self) -> String {
        self.order("cookies", json!({})).as_str().unwrap().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.driver.wait().ok();
    }
}
