//! A short campaign; and the same seed makes the same run, to the letter.

use seawall_sim::Event;
use seawall_sim::campaign::Campaign;
use seawall_sim::plan::{Plan, Setting};
use seawall_sim::run::run;

const SEEDS: u64 = 60;
const STEPS: u64 = 20_000;

#[test]
fn a_short_campaign_finds_nothing() {
    // Seeds that `make sim` does not run.
    let campaign = Campaign::run(100_000..100_000 + SEEDS, STEPS, 2, false);
    assert!(campaign.found.is_empty(), "{campaign}");
    assert!(campaign.seeds == SEEDS && campaign.steps >= SEEDS * STEPS, "no seed ended early");
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
        Event::Entry,
        Event::Fold,
        Event::Moved,
        Event::AdoptionInterrupted,
        Event::StockWrote,
        Event::StockRefused,
        Event::GivenBack,
        Event::HeadUnseen,
        Event::LateAppend,
        Event::MarkedRefused,
        Event::ListerSlept,
        Event::Settled,
        Event::Repaginated,
        Event::CheckpointMade,
        Event::CheckpointOvertaken,
        Event::CheckpointKilled,
        Event::CollectedSegment,
        Event::CollectedBase,
        Event::Collected,
        Event::CollectionKilled,
        Event::CollectionsAtOnce,
        Event::FloorRaised,
        Event::SegmentLost,
        Event::PinKept,
    ] {
        assert!(
            campaign.events[event as usize] > 0,
            "{event:?} never happened, so the campaign tests less than it claims"
        );
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
