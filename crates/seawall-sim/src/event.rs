//! What can happen in a run. A full campaign must meet every one of these events.

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident: $text:literal,)+) => {
        /// An event. A full campaign that did not meet it tested less than it claims.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Event {
            $(#[doc = $text] $name,)+
        }

        impl Event {
            /// All events, each with its description.
            pub const ALL: &[(Event, &str)] = &[$((Event::$name, $text),)+];
        }
    };
}

events! {
    Acknowledged: "a commit was acknowledged",
    AcknowledgedWithinTurn: "… under a lease that an earlier commit had kept",
    Spilled: "a transaction had more pages than its memory limit, and spilled to the local disk",
    Upgraded: "a transaction that had read went on to write",
    RolledBack: "a transaction was rolled back",
    Shrank: "a commit made the database smaller",
    Regrew: "a commit made it larger again",
    Repaginated: "a commit repaginated the database",
    Index: "a commit wrote an index frame",
    Rotated: "a process began another segment",
    KeptUnknown: "a write began under a lease that was kept from a transaction which had committed nothing",
    Busy: "a writer did not get the lease in time",
    Stale: "a transaction that had read could not write, because its snapshot was stale",
    Superseded: "a commit was refused, because another one came first",
    RefusedButTaken: "a refused swap had taken place after all",
    OutcomeUnknown: "a commit's outcome was unknown",
    UnknownCommitted: "… and was later found to be committed",
    UnknownRefused: "… and was later found to be refused",
    Unreachable: "a transaction failed because the coordinator could not be reached",
    DiskFull: "a transaction failed because the disk was full",
    InputOutput: "a transaction failed because a file could not be read or written",
    Takeover: "a lease was taken over from a process that was alive",
    TakeoverDuringAppend: "a takeover while an append was in flight",
    TakeoverDuringSwap: "a takeover while a swap was in flight",
    FrozenDuringAppend: "a process was frozen while an append was in flight",
    FrozenDuringSwap: "a process was frozen while a swap was in flight",
    FrozenPastLease: "a process was frozen for longer than its lease",
    FrozenPastRetention: "a process was frozen for longer than the retention",
    KilledDuringAppend: "a process was killed while an append was in flight",
    KilledDuringSwap: "a process was killed while a swap was in flight",
    LateWrite: "a write of a dead process arrived",
    SpaceGivenBack: "a failed append gave its space back",
    LateAppend: "an append that had been reported as failed arrived",
    MarkedRefused: "a recovery would have found a commit that was refused, and its mark",
    NeverLearned: "a recovery would have found one commit whose outcome its writer never learned",
    LateSwap: "a swap of a dead process arrived",
    LateSwapTookPlace: "… and took place",
    LateRefused: "a late request found another generation",
    Duplicate: "a request was carried out twice",
    LostRequest: "a request was lost",
    LostReply: "a reply was lost",
    Throttled: "a request was throttled",
    ServerError: "a server's error after the request was carried out",
    OwnSuccessExists: "the server answered a process's own, successful publication with EEXIST",
    StaleNegative: "a name was looked up in a cache that had it as missing",
    MissedWhileMade: "a name was looked up while it was being made, and its folder showed that already",
    Quiesced: "the folder of versions was quiesced",
    Torn: "a crash tore a write",
    NameLost: "a crash lost a name that was not synced",
    PowerLoss: "a machine lost its power",
    ServerForgot: "a file server forgot its clients",
    Cut: "a machine was cut off from its file server",
    ClockJump: "a machine's wall clock jumped",
    Collected: "numbers of old versions were garbage-collected",
    ListerSlept: "a process listed the versions, and was frozen before it looked at one",
    SleeperRecreated: "a late publication named a garbage-collected number again",
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
