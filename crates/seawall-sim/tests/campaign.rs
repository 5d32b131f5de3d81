//! A short campaign, and the simulator itself: the same seed makes the same run, to the letter.

use seawall_sim::Event;
use seawall_sim::plan::{Plan, Setting};
use seawall_sim::run::{Verdict, run};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 60;
const STEPS: u64 = 20_000;

/// Runs the seeds on both of a small machine's cores.
fn campaign(seeds: std::ops::Range<u64>) -> Vec<Verdict> {
    let (next, verdicts) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let verdict = run(seed, STEPS, false);
                    verdicts.lock().unwrap().push(verdict);
                }
            });
        }
    });
    verdicts.into_inner().unwrap()
}

#[test]
fn a_short_campaign_finds_nothing() {
    // Others than those of `make sim`.
    let verdicts = campaign(100_000..100_000 + SEEDS);
    for verdict in &verdicts {
        assert!(verdict.violation.is_none(), "{verdict}; make sim SEED={} STEPS={STEPS} repeats it", verdict.seed);
        assert!(verdict.steps >= STEPS, "{verdict}: it ended early");
    }
    let happened = |event: Event| verdicts.iter().map(|verdict| verdict.events[event as usize]).sum::<u64>();
    for event in [
        Event::Acknowledged,
        Event::Superseded,
        Event::TakeoverDuringAppend,
        Event::KilledDuringSwap,
        Event::FrozenPastLease,
        Event::LateSwapTookPlace,
        Event::StaleNegative,
        Event::Torn,
        Event::UnknownRefused,
        Event::AdoptionInterrupted,
        Event::Settled,
    ] {
        assert!(happened(event) > 0, "{event:?} never happened: the campaign tests less than it says");
    }
}

#[test]
fn a_seed_repeats_its_run_to_the_letter() {
    let mut settings = Vec::new();
    for seed in 1..=12 {
        let (first, second) = (run(seed, 3_000, true), run(seed, 3_000, true));
        assert!(first.trace.len() > 1_000, "there is a trace");
        let differs = first.trace.iter().zip(&second.trace).find(|(first, second)| first != second);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!((first.trace.len(), first.steps, first.events), (second.trace.len(), second.steps, second.events));
        settings.push(Plan::of(seed).setting);
    }
    for setting in [Setting::Local, Setting::Network, Setting::Dynamo] {
        assert!(settings.contains(&setting), "{setting:?} is among them");
    }
}
