//! Each mutation of the engine, until a check catches it.

use crate::Arguments;
use seawall::mutation::{self, Mutation, WAITING};
use seawall_sim::campaign::Campaign;
use seawall_sim::plan::{Disaster, Plan, Setting};
use std::process::ExitCode;
use std::time::Duration;

/// How many seeds a mutation may survive.
const SEEDS: usize = 1000;
/// These change the coordinator in DynamoDB …
const ON_TABLE: [&str; 8] = ["2", "3", "9a", "9b", "9c", "10", "22", "79"];
/// … and these that in the file system.
const ON_FILES: [&str; 20] = [
    "25", "26a", "26b", "26c", "26d", "26e", "36", "40", "42", "43", "48", "51", "55", "56", "57", "77", "84", "86",
    "87", "89",
];
/// These change checkpoints and garbage collection.
const OF_UPKEEP: [&str; 14] = ["12", "16", "17a", "17b", "28", "29", "46", "47", "48", "49", "50", "51", "52", "53"];

/// These change recoveries, or what others do during one.
const OF_RECOVERY: [&str; 12] = ["19", "20a", "20b", "20c", "20d", "20e", "21", "55", "56", "57", "58", "84"];

/// These change moves, or what others see of one.
const OF_MOVES: [&str; 4] = ["59", "60", "61", "62"];

/// Whether a run of this plan executes the code that the mutation changes, and often has the circumstances that expose
/// it.
fn concerns(number: &str, plan: &Plan) -> bool {
    let is_concerned = match plan.setting {
        Setting::Dynamo => !ON_FILES.contains(&number),
        Setting::Local | Setting::Network => !ON_TABLE.contains(&number),
    };
    is_concerned
        && (!OF_UPKEEP.contains(&number) || keeps_up(plan))
        && (!OF_RECOVERY.contains(&number) || plan.episodes >= 4)
        && (!OF_MOVES.contains(&number) || plan.moves >= 3)
        && match number {
            "2" => overtakes(plan),
            "8" | "35" => leaves_unknown(plan),
            "22" | "23" => plan.disaster == Some(Disaster::Lost),
            "25" => oversleeps(plan),
            "26d" | "26e" => shows_early(plan),
            "33" => plan.disaster == Some(Disaster::Forged),
            "40" => plan.adopted > 0 && plan.stock > 0 && plan.opening_faults > 0.0,
            "42" => oversleeps(plan) && plan.lister_sleeps >= 0.5,
            "43" => comes_back(plan),
            "48" => oversleeps(plan),
            "50" => plan.lister_sleeps >= 0.1,
            "51" => plan.lister_sleeps >= 0.1 && plan.retention <= Duration::from_secs(1),
            "82" => !plan.has_file_faults(),
            "83" => plan.bursts >= 0.3,
            "21" => plan.setting == Setting::Dynamo && marks_late(plan),
            "57" => plan.setting == Setting::Network && plan.processes >= 3,
            "58" => plan.upkeep >= 0.1,
            "60" => plan.loses_power(),
            "86" => plan.loses_power() && plan.file_faults >= 0.01,
            "88" => plan.episodes >= 4 && plan.file_faults >= 0.01 && plan.lister_sleeps >= 0.5,
            "89" => plan.loses_power() && plan.lister_sleeps >= 0.1,
            "87" => plan.loses_power() && plan.file_faults >= 0.01 && plan.faults_follow > 0.0,
            "61" => !plan.detaches,
            "62" => plan.moves >= 10 && plan.opens_by_old_notes(),
            "84" => plan.listing_misses >= 0.5,
            "52" => plan.clocks_differ && plan.blows.is_some(),
            _ => true,
        }
}

/// Whether processes often make checkpoints and collect garbage, and history is short.
fn keeps_up(plan: &Plan) -> bool {
    plan.upkeep >= 0.1 && plan.retention <= Duration::from_secs(20)
}

/// Whether an acquire often arrives twice and the swap after it late, with time for another process's whole turn in
/// between.
fn overtakes(plan: &Plan) -> bool {
    let (second, ten) = (Duration::from_secs(1), Duration::from_secs(10));
    plan.request_faults >= 0.3 && plan.fates == u32::MAX && plan.latest <= ten && plan.rest >= second
}

/// Whether outcomes are often unknown.
fn leaves_unknown(plan: &Plan) -> bool {
    plan.setting == Setting::Dynamo && plan.request_faults >= 0.6 && plan.fates == u32::MAX
}

/// Whether processes are often frozen while they write, until their numbers are garbage-collected.
fn oversleeps(plan: &Plan) -> bool {
    let second = Duration::from_secs(1);
    plan.retention <= second && plan.rest <= second / 10 && plan.blows.is_some_and(|longest| longest <= 5 * second)
}

/// Whether processes often begin to write again while they still hold their last lease.
fn comes_back(plan: &Plan) -> bool {
    plan.threads > 1 && plan.rest <= Duration::from_millis(10) && plan.blows.is_some()
}

/// Whether leases are often taken over, and marks often come long after the refusal.
fn marks_late(plan: &Plan) -> bool {
    let lease = Duration::from_secs(1);
    plan.slow >= 0.1 && plan.slowest >= Duration::from_secs(20) && plan.lease <= lease && plan.rest <= lease
}

/// Whether names are often looked up while they are made, and the server's clock often gives many the same time.
fn shows_early(plan: &Plan) -> bool {
    plan.shows_early >= 0.5 && plan.tick >= Duration::from_millis(100)
}

/// Runs the mutations that the arguments ask for, if any.
pub(crate) fn asked(arguments: &Arguments) -> Option<ExitCode> {
    let wanted = |mutation: &Mutation| arguments.mutant.as_deref().is_none_or(|number| mutation.number() == number);
    if !arguments.mutants && arguments.mutant.is_none() {
        return None;
    }
    // One run with its trace, and with the mistake.
    if arguments.seed.is_some() {
        mutation::set(Mutation::ALL.iter().copied().find(wanted));
        return None;
    }
    let mut escaped = Vec::new();
    for mutation in Mutation::ALL.iter().copied().filter(wanted) {
        mutation::set(Some(mutation));
        let seeds = (arguments.first..).filter(|seed| concerns(mutation.number(), &Plan::of(*seed))).take(SEEDS);
        let campaign = Campaign::run(seeds, arguments.steps, arguments.jobs, false);
        println!("{:>3}  {}", mutation.number(), mutation.about());
        match campaign.found.iter().min_by_key(|found| found.seed) {
            Some(found) => {
                let what = found.violation.as_deref().unwrap_or_default();
                println!(
                    "     caught after {} steps (seed {}, its step {}): {what}",
                    campaign.steps, found.seed, found.steps
                );
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
