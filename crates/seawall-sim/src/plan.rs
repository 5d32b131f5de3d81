//! What one seed's run is: where the database lies, who is at work, and how much goes wrong.

use std::time::Duration;

/// What the database lies on, and what orders it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// One machine's local disk, several processes, the `fs` coordinator.
    Local,
    /// A network file system, several machines, the `fs` coordinator.
    Network,
    /// A network file system, several machines, DynamoDB.
    Dynamo,
}

/// What can become of the head, or of what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disaster {
    /// The head is lost.
    Lost,
    /// The head is set back to an older state.
    SetBack,
    /// The files are set back: a backup was brought back, and the head is not in them.
    FilesSetBack,
    /// Where the head's commit was, another whole frame lies that says it is that commit.
    Forged,
}

/// A run, as drawn from its seed. Each run has some kinds of trouble and lacks others: what is rare beside everything else
/// comes often where it is nearly alone.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the database lies.
    pub setting: Setting,
    /// How many machines there are …
    pub machines: usize,
    /// … how many processes on all of them …
    pub processes: usize,
    /// … and how many threads in each transact.
    pub threads: usize,
    /// How many pages the database has, about.
    pub pages: u32,
    /// The adopted file's pages; none: it begins empty.
    pub adopted: u32,
    /// How long an actor rests between two transactions, at most.
    pub rest: Duration,
    /// How long a lease is.
    pub lease: Duration,
    /// The page cache's size: none, or enough for everything, so that what is evicted is no matter of chance.
    pub page_cache: usize,
    /// A call takes so long, most often …
    pub call: Duration,
    /// … and, with this probability, up to so long.
    pub slow: f64,
    /// See above.
    pub slowest: Duration,
    /// A file operation fails with this probability.
    pub file_faults: f64,
    /// A request to the table meets trouble with this probability.
    pub request_faults: f64,
    /// Which troubles there are: a bit for each of a request's fates.
    pub fates: u32,
    /// What arrives late does so up to so much later.
    pub latest: Duration,
    /// How long until the next blow, at most; none: no blows.
    pub blows: Option<Duration>,
    /// Which blows there are: a bit for each.
    pub blow_kinds: u32,
    /// Whether machines' clocks go at other rates, and tell other times.
    pub clocks_differ: bool,
    /// A transaction that has written rolls back with this probability.
    pub rollbacks: f64,
    /// A version's number is collected so long after it was superseded: shorter than Seawall ever will, for no sleeper may be harmed
    /// however short it is.
    pub retention: Duration,
    /// The file system's clock goes on by so much at once.
    pub tick: Duration,
    /// A file server shows a folder as changed some time before it finds the new name there, with this probability.
    pub shows_early: f64,
    /// What befalls the database in the end, if anything.
    pub disaster: Option<Disaster>,
    /// How many programs have NAME open and write it by stock SQLite's rules, without knowing of Seawall.
    pub stock: usize,
    /// While a process opens the database, a file operation fails with this probability, if it is the higher one: a run has one adoption
    /// that succeeds, and with this many that fail before it.
    pub opening_faults: f64,
    /// A process that has listed the folder of versions sleeps before it goes on, with this probability.
    pub lister_sleeps: f64,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Plan {
        let mut chance = fastrand::Rng::with_seed(seed ^ 0x5ea_3a11);
        let mut one_of = |choices: &[f64]| choices[chance.usize(..choices.len())];
        let setting = [Setting::Local, Setting::Network, Setting::Dynamo][one_of(&[0.0, 1.0, 1.0, 2.0, 2.0]) as usize];
        let seconds = Duration::from_secs_f64;
        let disaster = match one_of(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 4.0]) as u32 {
            1 if setting == Setting::Dynamo => Some(Disaster::Lost),
            2 if setting == Setting::Dynamo => Some(Disaster::SetBack),
            3 if setting == Setting::Dynamo => Some(Disaster::FilesSetBack),
            4 => Some(Disaster::Forged),
            _ => None,
        };
        let machines = if setting == Setting::Local { 1 } else { one_of(&[2.0, 2.0, 3.0, 4.0]) as usize };
        let mut plan = Plan {
            setting,
            machines,
            processes: machines.max(one_of(&[2.0, 2.0, 3.0, 4.0]) as usize),
            threads: one_of(&[1.0, 1.0, 2.0, 3.0]) as usize,
            pages: one_of(&[4.0, 12.0, 40.0, 150.0]) as u32,
            adopted: one_of(&[0.0, 0.0, 3.0, 20.0]) as u32,
            rest: seconds(one_of(&[0.0005, 0.01, 0.1, 1.0, 20.0])),
            lease: seconds(one_of(&[0.3, 1.0, 3.0])),
            page_cache: one_of(&[0.0, 16e6, 16e6]) as usize,
            call: seconds(one_of(&[0.000_05, 0.001, 0.005])),
            slow: one_of(&[0.0, 0.01, 0.1]),
            slowest: seconds(one_of(&[0.05, 1.0, 20.0])),
            file_faults: one_of(&[0.0, 0.0, 0.001, 0.01, 0.05]),
            request_faults: one_of(&[0.0, 0.01, 0.1, 0.3, 0.6]),
            rollbacks: one_of(&[0.1, 0.1, 0.5]),
            retention: seconds(one_of(&[1.0, 20.0, 900.0])),
            latest: seconds(one_of(&[1.0, 10.0, 600.0])),
            blows: Some(seconds(one_of(&[0.0, 0.05, 0.5, 5.0, 30.0]))).filter(|longest| !longest.is_zero()),
            tick: seconds(one_of(&[0.000_001, 0.004, 0.1])),
            shows_early: one_of(&[0.0, 0.05, 0.5]),
            blow_kinds: chance.u32(..) | chance.u32(..),
            clocks_differ: chance.bool(),
            fates: chance.u32(..) | if chance.bool() { u32::MAX } else { 0 },
            disaster,
            stock: 0,
            opening_faults: 0.0,
            lister_sleeps: 0.0,
        };
        // Drawn last: the seeds from before there was this keep the rest of their plans.
        let mut one_of = |choices: &[f64]| choices[chance.usize(..choices.len())];
        plan.stock = one_of(&[0.0, 1.0, 2.0]) as usize;
        plan.opening_faults = one_of(&[0.0, 0.02, 0.05, 0.1]);
        plan.lister_sleeps = one_of(&[0.0, 0.0, 0.1, 0.5]);
        plan
    }

    /// Whether file operations fail at some time in this run.
    pub fn has_file_faults(&self) -> bool {
        self.file_faults > 0.0 || self.opening_faults > 0.0
    }
}
