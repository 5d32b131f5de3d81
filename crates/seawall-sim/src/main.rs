//! `seawall-sim`: runs seeds, prints what happened, and the trace of a seed that found something.

use clap::Parser;
fn main() {
    let arguments = Arguments::parse();
    let verdict = seawall_sim::run::run(arguments.seed, arguments.steps, arguments.trace);
    for line in &verdict.trace { println!("{line}"); }
    println!("seed {} steps {} time {:?} commits {} {:?}", verdict.seed, verdict.steps, verdict.time, verdict.commits, verdict.violation);
}
#[derive(Parser)]
struct Arguments { #[arg(long, default_value_t = 0)] seed: u64, #[arg(long, default_value_t = 30000)] steps: u64, #[arg(long)] trace: bool }
