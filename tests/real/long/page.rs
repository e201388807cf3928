//! The page where rules are tried, in a browser.

use std::fs;
use std::path::Path;

use crate::support::{part, scratch};

/// What somebody does who opens the page: sends the form as it stands, or with other rules.
const ASK: &str = r#"
const rules = new URLSearchParams(location.search).get("rules");
if (rules) document.getElementById("rules").value = rules;
document.getElementById("form").requestSubmit();
"#;

#[test]
fn rules_are_tried_in_a_browser_without_a_server() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut make = std::process::Command::new("make");
    part::run(make.current_dir(repository).args(["--no-print-directory", "try"])).well();
    let made = repository.join("target/try");
    let page = scratch::directory("page");
    for file in fs::read_dir(&made).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), page.join(file.file_name())).unwrap();
    }
    let program = repository.join("target/wasm32-wasip1/release/dockwarden-try.wasm");
    let megabytes = fs::metadata(program).unwrap().len() as f64 / 1e6;
    let html = fs::read_to_string(page.join("index.html")).unwrap();
    let said = html.split("a program of ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok()).unwrap();
    assert!((megabytes - said).abs() < 0.15, "the page says {said} MB, and the program has {megabytes}");
    // The page is as it is given away, but for somebody who presses the button.
    scratch::write(&page, "ask.js", ASK);
    let asked = html.replace("</body>", "<script src=\"ask.js\"></script></body>");
    scratch::write(&page, "index.html", &asked);
    let shown = |query: &str| {
        let mut chromium = part::client("chromium");
        chromium.env("HOME", &page).args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=30000",
            "--dump-dom",
        ]);
        chromium.arg(format!("file://{}/index.html{query}", page.display()));
        part::run(&mut chromium).well().stdout
    };
    let dom = shown("");
    for line in [
        "<p class=\"\">acl[0] # administrators: account: \"admin\" does not match \"alice\"</p>",
        "<p class=\"\">acl[1] # teams: matches, and decides</p>",
        "<p class=\"said\">granted: pull, push</p><p class=\"said\">withheld: delete</p>",
    ] {
        assert!(dom.contains(line), "{line} is not in\n{dom}");
    }
    // What is typed is shown as text, whatever it is.
    let dom =
        shown("?rules=[{match:%20{name:%20%22<i>x</i>%22},%20actions:%20[pull],%20comment:%20%22<b>bold</b>%22}]");
    assert!(dom.contains("acl[0] # &lt;b&gt;bold&lt;/b&gt;: name: \"&lt;i&gt;x&lt;/i&gt;\" does not match"), "{dom}");
    let dom = shown("?rules=[{match:%20{},%20actions:%20[Pull]}]");
    assert!(dom.contains("<p class=\"\">line 1: acl[0].actions: "), "{dom}");
    // Without its program it says what is missing.
    fs::remove_file(page.join("program.js")).unwrap();
    assert!(shown("").contains("Error: program.js is missing: make try"));
}
