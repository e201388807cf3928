//! The `dockwarden` program: everything it does is in [`dockwarden::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    dockwarden::cli::run(std::env::args_os())
}
