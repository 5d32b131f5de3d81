//! One seed's plan: where the database lies, which processes there are, and how often faults happen.

use std::time::Duration;

/// Two of the blows of [`Plan::blow_kinds`], as the director counts them: a process is killed, and a late write arrives.
pub(crate) const KILL: u32 = 3;
pub(crate) const WAKE_SLEEPER: u32 = 12;

/// The database's file system and coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// One machine's local disk, several processes, the `fs` coordinator.
    Local,
    /// A network file system, several machines, the `fs` coordinator.
    Network,
    /// A network file system, several machines, DynamoDB.
    Dynamo,
}

/// A disaster: what happens to the head, or to its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disaster {
    /// The head is lost.
    Lost,
    /// The head is set back to an older state.
    SetBack,
    /// The files are set back: a backup of them was restored, and the head is newer.
    FilesSetBack,
    /// The head's commit frame is replaced by another whole frame that claims to be that commit.
    Forged,
}

/// A run, as drawn from its seed. Each run has some kinds of faults and lacks others, because an event that is rare
/// among all faults is frequent among few.
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
    /// The adopted file's pages; 0: the database begins empty.
    pub adopted: u32,
    /// How long an actor rests between two transactions, at most.
    pub rest: Duration,
    /// How long a lease is.
    pub lease: Duration,
    /// The page cache's size: none, or enough for everything, so that evictions are not random.
    pub page_cache: usize,
    /// How long a call usually takes …
    pub call: Duration,
    /// … and, with this probability, up to [`Plan::slowest`].
    pub slow: f64,
    /// How long a slow call takes at most.
    pub slowest: Duration,
    /// A file operation fails with this probability.
    pub file_faults: f64,
    /// A request to the table meets a fault with this probability.
    pub request_faults: f64,
    /// Which faults there are: a bit for each of a request's fates.
    pub fates: u32,
    /// How much later a late call or request arrives at most.
    pub latest: Duration,
    /// The longest time until the next blow; `None`: no blows.
    pub blows: Option<Duration>,
    /// Which blows there are: a bit for each.
    pub blow_kinds: u32,
    /// Whether machines' clocks have different rates and times.
    pub clocks_differ: bool,
    /// A transaction that has written rolls back with this probability.
    pub rollbacks: f64,
    /// How long the database's history is. It is shorter than Seawall's history will ever be, because no late
    /// publication may do harm, however short history is.
    pub retention: Duration,
    /// The resolution of the file system's clock.
    pub tick: Duration,
    /// A file server shows a folder as changed some time before it finds the new name there, with this probability.
    pub shows_early: f64,
    /// The disaster at the end, if any.
    pub disaster: Option<Disaster>,
    /// How many programs have NAME open and write it by stock SQLite's rules, without knowing of Seawall.
    pub stock: usize,
    /// While a process opens the database, a file operation fails with this probability, if it is the higher one. A run
    /// has only one adoption that succeeds. This makes others fail before it.
    pub opening_faults: f64,
    /// A process that has listed the folder of versions, has given a base its name, or has failed to append, sleeps
    /// before it goes on, with this probability.
    pub lister_sleeps: f64,
    /// An actor makes a checkpoint, collects garbage or pins a version instead of a transaction, with this probability.
    pub upkeep: f64,
    /// How many episodes there are: the head or files are lost, and the database is recovered.
    pub episodes: u32,
    /// Whether the database is detached at the end.
    pub detaches: bool,
    /// Whether the folder of versions takes only short records, though its `id` says that it takes long ones.
    pub short_records: bool,
    /// A listing of a folder misses a file, with this probability.
    pub listing_misses: f64,
    /// How many moves to the other coordinator, or back, begin.
    pub moves: u32,
    /// A swap that got no answer is the first of many requests of its process that get none, with this probability: its
    /// looks at the head fail as well, so that it cannot conclude.
    pub bursts: f64,
    /// After a file operation of a process failed, each of its next four fails with this probability as well.
    pub faults_follow: f64,
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
            upkeep: 0.0,
            listing_misses: 0.0,
            episodes: 0,
            detaches: false,
            short_records: false,
            moves: 0,
            bursts: 0.0,
            faults_follow: 0.0,
        };
        // Drawn last, so that seeds keep the rest of their earlier plans.
        let mut one_of = |choices: &[f64]| choices[chance.usize(..choices.len())];
        plan.stock = one_of(&[0.0, 1.0, 2.0]) as usize;
        plan.opening_faults = one_of(&[0.0, 0.02, 0.05, 0.1]);
        plan.lister_sleeps = one_of(&[0.0, 0.0, 0.1, 0.5]);
        plan.upkeep = one_of(&[0.0, 0.02, 0.1, 0.3]);
        plan.listing_misses = one_of(&[0.0, 0.05, 0.5]);
        plan.episodes = one_of(&[0.0, 0.0, 1.0, 2.0, 4.0]) as u32;
        plan.detaches = one_of(&[0.0, 0.0, 1.0]) == 1.0;
        // Only a local disk loses the new `id` of a move, and few plans have one.
        let more = if setting == Setting::Local { 3 } else { 1 };
        let moves = more * one_of(&[0.0, 1.0, 3.0, 10.0]) as u32;
        plan.short_records = one_of(&[0.0, 0.0, 0.0, 1.0]) == 1.0;
        if plan.disaster.is_some() {
            plan.episodes = 0;
        }
        // A request of a recovery that was cut short may come late, and a database that was detached cannot be recovered.
        plan.detaches &= plan.disaster.is_none() && plan.episodes == 0;
        plan.moves = if plan.disaster.is_some() { 0 } else { moves };
        plan.bursts = [0.0, 0.3, 1.0][chance.usize(..3)];
        plan.faults_follow = [0.0, 0.0, 0.5][chance.usize(..3)];
        plan
    }

    /// Whether the head is in a table at some time in this run.
    pub fn uses_table(&self) -> bool {
        self.setting == Setting::Dynamo || self.moves > 0
    }

    /// Whether processes are often killed, so that others open the database, while late writes put old notes into `high`.
    pub fn opens_by_old_notes(&self) -> bool {
        let has = |blow: u32| self.blow_kinds >> blow & 1 == 1;
        self.blows.is_some_and(|longest| longest <= Duration::from_millis(500)) && has(KILL) && has(WAKE_SLEEPER)
    }

    /// Whether a loss of power takes what was not synced.
    pub fn loses_power(&self) -> bool {
        self.setting == Setting::Local && self.blows.is_some()
    }

    /// Whether file operations fail at some time in this run.
    pub fn has_file_faults(&self) -> bool {
        self.file_faults > 0.0 || self.opening_faults > 0.0
    }
}
