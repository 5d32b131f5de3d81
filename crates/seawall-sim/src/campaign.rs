//! Many seeds, on as many cores as are given.

use crate::Event;
use crate::run::{Verdict, run};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many of a trace's lines are printed with a finding.
const TAIL: usize = 40;

/// The result of many seeds.
#[derive(Default)]
pub struct Campaign {
    /// How many seeds were run, …
    pub seeds: u64,
    /// … and how many steps in all.
    pub steps: u64,
    steps_each: u64,
    commits: u64,
    time: Duration,
    took: Duration,
    /// How often each of [`Event::ALL`] happened.
    pub events: Vec<u64>,
    /// The seeds that found a violation.
    pub found: Vec<Verdict>,
}

impl Campaign {
    /// Runs the seeds, each for `steps`, `jobs` at once. After a finding no further seed begins. With `tells` progress
    /// is shown, and a finding's seed runs once more with its trace.
    pub fn run(seeds: impl Iterator<Item = u64>, steps: u64, jobs: usize, tells: bool) -> Campaign {
        let began = Instant::now();
        let seeds: Vec<u64> = seeds.collect();
        let bar = if tells { ProgressBar::new(seeds.len() as u64) } else { ProgressBar::hidden() };
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {elapsed}, left {eta}");
        bar.set_style(style.expect("the template is right"));
        let (next, is_found) = (AtomicUsize::new(0), AtomicBool::new(false));
        let campaign =
            Mutex::new(Campaign { events: vec![0; Event::ALL.len()], steps_each: steps, ..Campaign::default() });
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while !is_found.load(Ordering::Relaxed) {
                        let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                        let verdict = run(*seed, steps, false);
                        is_found.fetch_or(verdict.violation.is_some(), Ordering::Relaxed);
                        campaign.lock().expect("no panic while locked").add(verdict);
                        bar.inc(1);
                    }
                });
            }
        });
        bar.finish_and_clear();
        let mut campaign = campaign.into_inner().expect("no panic while locked");
        campaign.took = began.elapsed();
        if tells {
            for found in &mut campaign.found {
                found.trace = run(found.seed, steps, true).trace;
            }
        }
        campaign
    }

    fn add(&mut self, verdict: Verdict) {
        self.seeds += 1;
        self.steps += verdict.steps;
        self.commits += verdict.commits;
        self.time += verdict.time;
        self.events.iter_mut().zip(&verdict.events).for_each(|(sum, count)| *sum += count);
        if verdict.violation.is_some() {
            self.found.push(verdict);
        }
    }

    /// The events that did not happen once.
    pub fn never_met(&self) -> Vec<&'static str> {
        let never = |((_, text), count): (&(Event, &'static str), &u64)| (*count == 0).then_some(*text);
        Event::ALL.iter().zip(&self.events).filter_map(never).collect()
    }
}

impl fmt::Display for Campaign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((_, text), count) in Event::ALL.iter().zip(&self.events) {
            writeln!(f, "{count:>9}  {text}")?;
        }
        for found in &self.found {
            let tail = found.trace.len().saturating_sub(TAIL);
            writeln!(f, "\nthe last of seed {}:", found.seed)?;
            found.trace[tail..].iter().try_for_each(|line| writeln!(f, "{line}"))?;
            writeln!(f, "{found}\nto repeat it: make sim SEED={} STEPS={}", found.seed, self.steps_each)?;
        }
        let rate = self.steps as f64 / self.took.as_secs_f64();
        write!(
            f,
            "\n{} seeds, {} steps, {} commits, {:.0} hours of their time, in {:.0?} ({rate:.0} steps/s): {} violations",
            self.seeds,
            self.steps,
            self.commits,
            self.time.as_secs_f64() / 3600.0,
            self.took,
            self.found.len()
        )
    }
}
