//! Deliberate mistakes, for the simulator: each is one that an earlier draft, a review or another project made.
//!
//! A check that never fails proves nothing, so each of these must make one fail. Those that are not in a storage or a
//! coordinator of the simulator are one line, `mistake!(…)`, where they are made. `docs/mutations.md` lists them.

#[cfg(feature = "mutations")]
use std::sync::atomic::{AtomicU8, Ordering};

macro_rules! mutations {
    ($($name:ident $number:literal $about:literal)+) => {
        /// A deliberate mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutation {
            $(#[doc = $about] $name,)+
        }

        #[cfg(feature = "mutations")]
        impl Mutation {
            /// Every one.
            pub const ALL: &'static [Mutation] = &[$(Mutation::$name),+];

            /// Its number in `docs/mutations.md`.
            pub fn number(self) -> &'static str {
                match self { $(Mutation::$name => $number),+ }
            }

            /// What is wrong.
            pub fn about(self) -> &'static str {
                match self { $(Mutation::$name => $about),+ }
            }
        }
    };
}

mutations! {
    SwapUnconditional "1" "A swap names neither version nor predecessor nor generation (fs: EEXIST is success)."
    SwapByToken "2" "A swap is conditional on the lease's token, not on the generation (dynamodb)."
    SwapWithoutLease "3" "A swap names neither lease nor generation, only the predecessor (dynamodb)."
    TimeoutIsFailure "4" "A swap that got no answer is reported failed without a look at the head."
    RefusalIsFailure "5" "A swap that was refused is reported failed without a look at the head."
    OpenIsRefused "6" "A swap that may still take place is taken for refused."
    UnknownIsFailure "8" "An unknown outcome is reported failed, not settled, and the next commit goes on under the same lease."
    ReleaseUnconditional "9a" "A release ends any lease, no matter whose (dynamodb)."
    RenewTakesAny "9b" "A renewal takes the lease, even if it is free or another process's (dynamodb)."
    AcquireTakesAny "9c" "An acquire takes the lease, no matter which process has it (dynamodb)."
    NoEpoch "10" "No update names the epoch, so that an acquire makes an item where the head is lost (dynamodb)."
    AppendNotDurable "13" "What was appended is not durable when the swap is sent."
    PagesNotDurable "14" "A commit's pages are a write of their own before the frame's, and only the frame's is durable."
    SegmentGoesOn "15" "After a failed append the writer goes on in the same segment, at the same position."
    AgeFromAnswer "18" "A snapshot's age runs from the answer of its load, not from the sending."
    AbsentIsRefused "22" "A head that is not there is taken for a refusal."
    OpenerMakesHead "23" "An opener makes a head where none is."
    KnownIsLast "24a" "What is known of the head is what was learned last, not the maximum."
    JoinsSentLoad "24b" "A reader joins a load that was sent before it began."
    PublishUnchecked "25" "After publishing, the writer does not check whether its predecessor is still named (fs)."
    GapIsEnd "26a" "A reader stops at a missing number without a look whether its own is still there (fs)."
    HintUnchecked "26b" "A hint is believed, whatever became of its number (fs)."
    HintByNeighbour "54" "A hint is believed if its number and the one before it are named (fs)."
    KnownByNumber "26c" "A number that is named is taken for what was there before, though it was named again (fs)."
    MissingBelieved "26d" "What is missing in a folder that has changed since the newest name was made is missing (fs)."
    SameTickTrusted "26e" "A name is used though its time is that of the name before it, and its folder was not quiesced (fs)."
    ForkGoesOn "30" "A forked process goes on with its parent's writer and segment."
    CacheWithoutN "32a" "The page cache knows a segment by its writer alone, without its number."
    CacheByPage "32b" "The page cache knows a page by its number alone, without its place."
    DigestUnchecked "33" "A commit frame's digest is not compared with the head's."
    RegrownNotWritten "34" "Pages that were cut off come back when the database grows again."
    RepaginatedInPart "45" "A commit that repaginates the database has only the pages that were written in it."
    ReadersDoNotSettle "35" "A reader goes on past a commit whose outcome is unknown."
    TakenIsFailure "36" "A number that is named already is reported as a failure, without a look whether it is this commit's (fs)."
    GapsLoseRecent "37" "A reader that catches up over several versions takes in the last one's pages only."
    MineByVersion "38" "Any commit at my version is taken for mine."
    StaleUpgrades "39" "A transaction that has read an older version may write all the same."
    CreateLookIsCertain "40" "An error of the look after the first head was put is taken for certain (fs)."
    NoMarkAfterFailedAppend "41" "After a failed append no refused mark is written."
    OneListingIsEnough "42" "The newest version of one listing is believed, whatever became of its number since (fs)."
    KeptLeaseWithoutLook "43" "A kept lease under which nothing was committed yet is used without a look at the head (fs)."
    FailedWithoutLook "88" "After the mark of a commit that failed the head is not looked at."
    SettledNotDurable "89" "A fold stands on a head of another process that may not be durable yet (fs)."
    LookIsDurable "87" "What a look finds counts as committed, though it may not be durable yet (fs)."
    LockIsALoad "85" "A lock that was taken without a look counts as a load of the head (fs)."
    OlderBaseWins "12" "A checkpoint that was overtaken puts its older base in the place of the newer one."
    MilestonesAgeByBase "16" "Retention runs from the newest base, not from a milestone."
    CollectsWithoutSweep "17a" "Segments are deleted without a sweep."
    SegmentOutlivesSweep "17b" "A writer keeps its segment over a sweep."
    BelowBaseFromSegment "28" "A page at or below the base is still read from its segment."
    BaseShared "29" "A checkpoint takes another one's base of that name for its own."
    CollectsWithoutSecondLook "46" "Garbage collection deletes what was dead the first time, without a second look."
    BaseNotDurable "47" "A base gets its name before it is durable."
    RecoversLongestChain "19" "Recovery takes the longest chain."
    RecoversWithoutSeal "20a" "Recovery does not seal the head first."
    RecoversWithoutFrame "20b" "Recovery commits no frame of its own."
    RecoversWithSameEpoch "20c" "Recovery commits in the epoch that is there (fs: no swap names one)."
    EpochNotTaken "20e" "Recovery takes an epoch without a file that says so."
    GoesOnWithoutSeal "20d" "A recovery goes on though another one has sealed the head since."
    RecoversInPlace "55" "Recovery leaves `commits/` where it is, and only takes its names away (fs)."
    KnownByVersion "57" "The name of a version is taken for that of the head that is known, though a recovery gave it to another one (fs)."
    UpkeepOverRecovery "58" "A checkpoint or a garbage collection that a recovery overtook goes on in the new epoch."
    OneListingOfRecords "84" "A recovery reads the records that one listing shows (fs)."
    RefusedWithoutLook "21" "After the mark of a refused commit the head is not looked at again."
    ListsAnyFolder "56" "The newest name is believed in a folder that was taken away (fs)."
    JumpToSibling "48" "A commit frame jumps to a commit that has the right version and is not in its chain."
    PinsIgnored "49" "Garbage collection does not look at pins."
    AbandonedPublishes "50" "A checkpoint whose pin was taken away publishes its base all the same."
    NamesFromAbove "51" "Old names are taken out of the folder of versions from above (fs)."
    CollectorTrustsClock "52" "Garbage collection judges ages by its own machine's clock."
    MilestoneAtOnce "53" "A milestone counts at once, as if it were older than history."
    PageOneAsIs "71" "A delta of page 1 has the fields that differ from copy to copy."
    CutOffPageIsOld "72" "A page that was cut off is the old image of the one that grew in its place."
    FoldLeavesOut "73" "A fold leaves out a page that the entries before it have changed."
    FoldTakesOlder "74" "A fold carries pages as they were at the fold before it."
    HeadDropsEntry "75" "A head drops the entries before its own."
    FoldedUnread "76" "A commit is not looked for among the entries that a fold took over."
    ConfirmedNotCopied "77" "What rides in a head is not copied when the head is confirmed (fs)."
    ConfirmedApart "86" "What confirms a commit and what rides in its head are two frames of one append (fs)."
    TwoForms "78" "A commit that got no answer is sent again as another one."
    EntryNotAppended "79" "An entry is in the head before it is in a segment (dynamodb)."
    StreamNotDurable "80" "What a large transaction streamed is not durable when its commit frame is appended."
    StreamedTwice "81" "A page that a large transaction wrote again stays where it was streamed first as well."
    StreamLeftBehind "82" "A large transaction of which nothing comes leaves its segment behind."
    StreamGoesWhileUnknown "83" "The segment of a large transaction is removed while the outcome of its commit is unknown."
    MovesWithoutFence "59" "A move does not commit the state moved before it puts the head with the other coordinator."
    FenceNotDurable "60" "A move goes on over another one's fence, or head, before its name is durable (fs)."
    UndoKeepsDrafts "61" "A recovery that undoes a move leaves the drafts of id."
    HintEndsAtMoved "62" "A hint is believed that leads to the name with which the database left (fs)."
    NoMarkAfterFailedSwap "44" "A commit whose swap was refused, or was certainly not carried out, gets no refused mark."
}

/// Mistakes that wait for the code in which they can be made: number, what, and what it waits for.
#[cfg(feature = "mutations")]
pub const WAITING: &[(&str, &str, &str)] = &[
    ("7", "A fence does not name the predecessor.", "fence"),
    ("27", "A slot is written after COMMIT returned, or written over without being read.", "scheme N"),
    (
        "31",
        "A group's failure is reported to its first session only; or a group begins on one that is unknown.",
        "group commit",
    ),
];

/// The one that is made now, by its place in `ALL` plus 1; 0 for none.
#[cfg(feature = "mutations")]
static ACTIVE: AtomicU8 = AtomicU8::new(0);

/// From now on the whole process makes this mistake, and no other.
#[cfg(feature = "mutations")]
pub fn set(mutation: Option<Mutation>) {
    ACTIVE.store(mutation.map_or(0, |mutation| mutation as u8 + 1), Ordering::Relaxed);
}

/// The mistake that is made now.
#[cfg(feature = "mutations")]
pub fn active() -> Option<Mutation> {
    let place = ACTIVE.load(Ordering::Relaxed).checked_sub(1)?;
    Some(Mutation::ALL[usize::from(place)])
}

/// Whether this mistake is to be made.
#[cfg(feature = "mutations")]
pub fn is(mutation: Mutation) -> bool {
    ACTIVE.load(Ordering::Relaxed) == mutation as u8 + 1
}

/// When a load is said to have been sent: truly at `sent`, by mistake when it was answered.
#[cfg(feature = "mutations")]
pub(crate) fn age_from_answer<T>(sent: T, answered: impl Fn() -> T) -> T {
    if is(Mutation::AgeFromAnswer) { answered() } else { sent }
}

/// Does what is wrong, if this mistake is to be made. Without the feature `mutations` nothing of it is compiled: a
/// reader of the code may skip it.
macro_rules! mistake {
    ($name:ident, $what:expr) => {
        #[cfg(feature = "mutations")]
        if $crate::mutation::is($crate::mutation::Mutation::$name) {
            $what
        }
    };
}
pub(crate) use mistake;

#[cfg(all(test, feature = "mutations"))]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn none_is_made_unless_it_is_asked_for() {
        assert_eq!(active(), None);
        assert!(!Mutation::ALL.iter().any(|mutation| is(*mutation)));
    }

    #[test]
    fn every_one_has_a_number_of_its_own() {
        let numbers: BTreeSet<_> =
            Mutation::ALL.iter().map(|mutation| mutation.number()).chain(WAITING.iter().map(|(n, ..)| *n)).collect();
        assert_eq!(numbers.len(), Mutation::ALL.len() + WAITING.len());
    }
}
