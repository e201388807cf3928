//! Any text as a configuration file: it loads, or its problems are named; it never panics or runs away.
#![no_main]

use std::path::Path;

use dockwarden::config::{Config, Secrets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Files that a configuration names would be read: none may be named here.
    if text.contains("_file") {
        return;
    }
    match Config::read(Path::new("config.yml"), text, [], Secrets::Skip) {
        Ok(_) => {}
        Err(problems) => assert!(!problems.is_empty()),
    }
});
