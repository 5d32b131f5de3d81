//! Each mutation of the engine, until a check catches it.

use crate::Arguments;
use crate::campaign::Campaign;
use seawall::mutation::{self, Mutation, WAITING};
use std::process::ExitCode;

/// So many seeds a mutation may live through.
const SEEDS: u64 = 400;

/// Runs the mutations that were asked for, if any were.
pub(crate) fn asked(arguments: &Arguments) -> Option<ExitCode> {
    let wanted = |mutation: &Mutation| arguments.mutant.as_deref().is_none_or(|number| mutation.number() == number);
    if !arguments.mutants && arguments.mutant.is_none() {
        return None;
    }
    let mut escaped = Vec::new();
    for mutation in Mutation::ALL.iter().copied().filter(wanted) {
        mutation::set(Some(mutation));
        let first = arguments.first;
        let campaign = Campaign::run(first..first + SEEDS, arguments.steps, arguments.jobs, false);
        println!("{:>3}  {}", mutation.number(), mutation.about());
        match campaign.found.iter().min_by_key(|found| found.seed) {
            Some(found) => {
                let what = found.violation.as_deref().unwrap_or_default();
                println!("     caught after {} steps (seed {}, its step {}): {what}", campaign.steps, found.seed, found.steps);
            }
            None => {
                println!("     NOT CAUGHT in {} steps", campaign.steps);
                escaped.push(mutation.number());
            }
        }
    }
    mutation::set(None);
    println!("\nwaiting for their code:");
    WAITING.iter().for_each(|(number, what, waits_for)| println!("{number:>3}  {what}: {waits_for}"));
    if escaped.is_empty() {
        return Some(ExitCode::SUCCESS);
    }
    println!("\nFAILED: not caught: {}", escaped.join(", "));
    Some(ExitCode::FAILURE)
}
