//! What can happen in a run. A full campaign must meet every one of these events.

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident: $text:literal,)+) => {
        /// Something that must have happened somewhere in a full run: else it tested less than it says.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $(#[doc = $text] $name,)+
        }

        impl Event {
            /// All of them, each with what it means.
            pub const ALL: &[(Event, &str)] = &[$((Event::$name, $text),)+];
        }
    };
}

events! {
    Acknowledged: "a commit was acknowledged",
    AcknowledgedWithinTurn: "… under a lease that an earlier commit had kept",
    Spilled: "a transaction had more pages than memory was to hold: it spilled to the local disk",
    Upgraded: "a transaction that had read went on to write",
    RolledBack: "a transaction was rolled back",
    Shrank: "a commit made the database smaller",
    Regrew: "a commit made it larger again",
    CutAnew: "a commit changed the page size",
    Index: "a commit wrote an index frame",
    Rotated: "a process began another segment",
    KeptUntold: "a write began under a lease that was kept from a transaction which had committed nothing",
    Busy: "a writer did not get the lease in time",
    Stale: "a transaction that had read could not write any more",
    Superseded: "a commit was refused: another had gone first",
    RefusedButTaken: "a refused swap had taken place after all",
    OutcomeUnknown: "a commit's outcome was unknown",
    UnknownCommitted: "… and it was settled: committed",
    UnknownRefused: "… and it was settled: refused",
    Unreachable: "a transaction failed for the coordinator could not be reached",
    DiskFull: "a transaction failed for the disk was full",
    InputOutput: "a transaction failed for a file could not be read or written",
    Takeover: "a lease was taken over from a process that was alive",
    TakeoverDuringAppend: "a takeover while an append was on its way",
    TakeoverDuringSwap: "a takeover while a swap was on its way",
    FrozenDuringAppend: "a process was frozen while an append was on its way",
    FrozenDuringSwap: "a process was frozen while a swap was on its way",
    FrozenPastLease: "a process was frozen for longer than its lease",
    FrozenPastRetention: "a process was frozen for longer than the retention",
    KilledDuringAppend: "a process was killed while an append was on its way",
    KilledDuringSwap: "a process was killed while a swap was on its way",
    LateWrite: "a write of a dead process arrived",
    SpaceGivenBack: "a failed append gave its space back",
    LateAppend: "an append arrived that had failed",
    MarkedRefused: "a recovery would have found a commit that was refused, and its mark",
    NeverLearned: "a recovery would have found one commit whose outcome nobody had been told",
    LateSwap: "a swap of a dead process arrived",
    LateSwapTookPlace: "… and took place",
    LateRefused: "a late request found another generation",
    Duplicate: "a request was carried out twice",
    LostRequest: "a request was lost",
    LostReply: "a reply was lost",
    Throttled: "a request was throttled",
    ServerError: "a server's error after the request was carried out",
    OwnSuccessExists: "one's own publication was answered with EEXIST",
    StaleNegative: "a name was looked up in a cache that held it for missing",
    MissedWhileMade: "a name was looked up while it was being made, and its folder showed that already",
    Quiesced: "the folder of versions was quiesced",
    Torn: "a crash tore a write",
    NameLost: "a crash lost a name that was not synced",
    PowerLoss: "a machine lost its power",
    ServerForgot: "a file server forgot its clients",
    Cut: "a machine was cut off from its file server",
    ClockJump: "a machine's wall clock jumped",
    Collected: "numbers of old versions were collected",
    ListerSlept: "a process listed the versions, and was frozen before it looked at one",
    SleeperRecreated: "a sleeper named a collected number anew",
    Forked: "a process forked",
    Copied: "a process's memory was copied",
    StockWrote: "a program with stock SQLite wrote NAME before it was adopted",
    StockRefused: "a program with stock SQLite found NAME marked, and did not write it",
    GivenBack: "an adoption failed, and gave NAME back",
    HeadUnseen: "an adoption put its head, and could not see it",
    AdoptedAtOnce: "two processes adopted at once",
    AdoptionInterrupted: "a process died while it adopted",
    ReadPastWriter: "a reader read while a writer was at work",
    LongRead: "a reader held its snapshot while others committed",
    HeadLost: "the head was lost",
    HeadSetBack: "the head was set back",
    FilesSetBack: "the files were set back",
    Forged: "the newest commit was forged",
    Settled: "after the faults all settled, and every process wrote",
}
