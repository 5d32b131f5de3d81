//! `seawall-sim`: runs many seeds and prints the events that they met, or runs one seed and prints its trace.

#[cfg(feature = "mutations")]
mod mutants;

use clap::Parser;
use seawall_sim::campaign::Campaign;
use seawall_sim::run::run;
use std::process::ExitCode;

/// Runs Seawall's engine on simulated machines, with every kind of fault. The same seed gives the same order of events.
#[derive(Parser)]
struct Arguments {
    /// Run this seed alone, and print its trace.
    #[arg(long)]
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 330)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How many steps with faults a seed has before it ends.
    #[arg(long, default_value_t = 30_000)]
    steps: u64,
    /// How many seeds run at once.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Fail if the campaign did not meet every event.
    #[arg(long)]
    complete: bool,
    /// Run each mutation of the engine until a check catches it.
    #[cfg(feature = "mutations")]
    #[arg(long)]
    mutants: bool,
    /// Run only the mutation with this number.
    #[cfg(feature = "mutations")]
    #[arg(long)]
    mutant: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    #[cfg(feature = "mutations")]
    if let Some(code) = mutants::asked(&arguments) {
        return code;
    }
    if let Some(seed) = arguments.seed {
        let verdict = run(seed, arguments.steps, true);
        verdict.trace.iter().for_each(|line| println!("{line}"));
        println!("{verdict}");
        return if verdict.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let seeds = arguments.first..arguments.first + arguments.seeds;
    let campaign = Campaign::run(seeds, arguments.steps, arguments.jobs, true);
    println!("{campaign}");
    let is_complete = !arguments.complete || campaign.never_met().is_empty();
    if !is_complete {
        println!(
            "FAILED: a full campaign must meet every event, and this one never met: {}",
            campaign.never_met().join("; ")
        );
    }
    if campaign.found.is_empty() && is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
