//! The program `seawall`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(seawall_cli::run(std::env::args_os()))
}
