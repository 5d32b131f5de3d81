//! Seawall's command line. The program `seawall` and the Python package both run it.
//!
//! - [`finding`]: a check and its result, as data.
//! - The checks: `file_system` (with `mounts`) examines the folder, `measure` times its calls, `name` what lies at NAME, and [`coordinators`], the
//!   list of coordinators, examines one of them.
//! - The commands: `doctor` runs the checks, `init` makes a table; `commands` is the list of those on a database that
//!   exists, a file for each.
//! - What commands share: `target` (which database), `plain_file` (NAME, held without SQLite), `answer` (rows for people, JSON for machines), [`exit`] (the exit
//!   codes), `units`, `progress`, and `upkeep`, which judges whether a database is kept as it should be.
#![forbid(unsafe_code)]

mod answer;
mod commands;
pub mod coordinators;
mod doctor;
pub mod exit;
mod file_system;
pub mod finding;
mod init;
mod measure;
mod mounts;
mod name;
mod plain_file;
mod progress;
mod tables;
mod target;
mod units;
mod upkeep;

use crate::answer::Failure;
use crate::commands::OnDatabase;
pub use crate::commands::verify::{Found, verify};
use crate::exit::Exit;
use clap::{CommandFactory, Parser, Subcommand};
use seawall::Shown;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "seawall",
    version,
    about = "One SQLite database on a shared file system, safe and fast for many machines"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say what is wrong with a database's place and its coordinator, and what to do about it. Changes nothing.
    Doctor {
        /// The database's path; it need not exist yet.
        name: PathBuf,
        /// fs: or dynamodb://TABLE?region=REGION. The default is the coordinator that the database is bound to, or the
        /// environment's.
        #[arg(long, value_name = "URL")]
        coordinator: Option<String>,
        /// Also measure how long each kind of call takes there, and how long a symlink may be.
        #[arg(long)]
        measure: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the policy that a DynamoDB coordinator needs; make its table.
    Init {
        /// dynamodb://TABLE?region=REGION
        #[arg(long, value_name = "URL")]
        coordinator: String,
        /// Make the table if it does not exist: on demand, with point-in-time recovery.
        #[arg(long)]
        create_table: bool,
        /// The AWS account, for the policy.
        #[arg(long, default_value = "*")]
        account: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    #[command(flatten)]
    OnDatabase(OnDatabase),
}

/// Runs a command; `args` begin with the program's name. Returns the exit code ([`exit::Exit`]).
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let line: Vec<OsString> = args.into_iter().collect();
    let command = match CommandLine::try_parse_from(&line) {
        Ok(line) => line.command,
        Err(error) => {
            if error.use_stderr() && line.iter().take_while(|word| *word != "--").any(|word| word == "--json") {
                usage_as_json(&line, &error);
            }
            // Help that the user asked for is not an error. If printing fails, nothing more can be reported.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Good }.code();
        }
    };
    let exit = match command {
        Command::Doctor { name, coordinator, measure, json } => exit_of(doctor::run(&name, coordinator, measure, json)),
        Command::Init { coordinator, create_table, account, json } => {
            exit_of(init::run(&coordinator, create_table, &account, json))
        }
        Command::OnDatabase(command) => command.run(&line),
    };
    exit.code()
}

/// Wrong arguments, for a script.
fn usage_as_json(line: &[OsString], error: &clap::Error) {
    let commands = CommandLine::command();
    let word = line.get(1).and_then(|word| word.to_str()).filter(|word| commands.find_subcommand(word).is_some());
    let text = error.to_string();
    let first: Vec<&str> = text.split("\n\n").next().unwrap_or_default().lines().map(str::trim).collect();
    let first = first.join(" ");
    Failure::usage(first.strip_prefix("error: ").unwrap_or(&first)).print_usage_as_json(word);
}

fn exit_of(is_good: bool) -> Exit {
    if is_good { Exit::Good } else { Exit::Problem }
}

/// Prints a line. A reader that closed the pipe does not get it, but the exit code says the same.
fn print(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a line that is not a result.
fn remark(line: impl Display) {
    let _ = writeln!(io::stderr(), "{}", Shown::message(line));
}
