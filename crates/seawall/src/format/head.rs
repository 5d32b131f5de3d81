//! The head: the small record that names the newest commit. `text.rs` has its text.

mod text;

use crate::format::codec::Malformed;
use crate::format::ids::{BaseName, CommitId, DatabaseId, Digest, Epoch, PageSize, Token, Version};
use crate::format::place::Place;
use crate::format::window::{Entry, Window};
use crate::mutation::mistake;
pub(crate) use text::{checksum, number, parts};

/// EFS allows a symlink 4,080 bytes. A head without entries needs about 400, and is never longer than
/// [`SHORT_TEXT`].
pub const MAX_TEXT: usize = 4080;
/// Every file system allows a symlink so many bytes (XFS: 1,023).
pub const SHORT_TEXT: usize = 1000;

/// Which commit: its identity, and where its frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitRef {
    /// The commit's own random id.
    pub id: CommitId,
    /// The digest of its frame.
    pub digest: Digest,
    /// Where its frame lies; version 0 has none.
    pub place: Option<Place>,
}

impl CommitRef {
    /// Whether both name the same commit. *Mine* is decided by id and digest together.
    pub fn is(&self, other: &CommitRef) -> bool {
        self.id == other.id && self.digest == other.digest
    }
}

/// Which base, and what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BaseRef {
    /// Its name, and with it its version.
    pub name: BaseName,
    /// The bytes of a page.
    pub page_size: PageSize,
    /// How many pages it has.
    pub page_count: u32,
    /// The bytes of the log up to its version, that version's append included: what came since is the log that a
    /// checkpoint is due by.
    pub log: u64,
}

/// The oldest version that is still promised. What only older versions need may be garbage-collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Floor {
    /// The version. It only ever rises.
    pub version: Version,
    /// That version's own time, in milliseconds since 1970; 0 for version 0.
    pub time: u64,
}

/// Whether the database can be used, and if not, why not.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum State {
    /// It can be read and written.
    #[default]
    Open,
    /// A recovery, which this token names, decides which version is the newest.
    Recovering(Token),
    /// Its newest version was written to NAME as a plain SQLite file, and it is no database of Seawall's any more.
    Detached,
    /// Its head is with another coordinator now, which this URL names.
    Moved(String),
}

/// The head of a database: the small record that names its newest commit. A coordinator keeps it, and replaces it by
/// compare-and-swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which database this is the head of.
    pub database: DatabaseId,
    /// Raised by each recovery, and by each move to another coordinator.
    pub epoch: Epoch,
    /// The newest version.
    pub version: Version,
    /// The newest commit that is a frame in a segment, or version 0: the *fold* that the window begins after.
    pub fold: CommitRef,
    /// The commits since that one. They ride in the head.
    pub window: Window,
    /// The newest base; none while the database began empty and was never checkpointed.
    pub base: Option<BaseRef>,
    /// The home: made of the inode numbers of `id` and of its folder. A copied folder has another.
    pub home: u64,
    /// Raised by every acquire, swap, release and seal that succeeds (on `fs` only by a swap, because it is the version
    /// there). The coordinator refuses a request that names an older one.
    pub generation: u64,
    /// Raised by garbage collection before it deletes segments.
    pub sweep: u64,
    /// Which lock stands for the lease. A waiter that takes over from a holder who does not answer moves on to
    /// the next, so that no waiter waits for the old one again.
    pub lease_slot: u32,
    /// The oldest version that is still promised.
    pub floor: Floor,
    /// Whether the database can be used. A writer that was asleep reads here why it is refused.
    pub state: State,
}

/// What a commit changes of the head beside the version. A commit that changes any of it has no pages.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Upkeep {
    /// Nothing: a transaction's.
    #[default]
    None,
    /// A checkpoint: the new base.
    Base(BaseRef),
    /// A garbage collection: the new floor. It raises the sweep as well.
    Floor(Floor),
    /// The end of the database here: it was detached, or moved.
    State(State),
}

impl Upkeep {
    /// Whether it changes nothing: the commit is a transaction's.
    pub fn is_none(&self) -> bool {
        matches!(self, Upkeep::None)
    }
}

/// The last version and the last generation that a head may have. No database ever comes near them; a forged head must
/// not bring a process to where numbers end.
const LAST_VERSION: Version = Version(Version::MAX.0 - 2);
const LAST_GENERATION: u64 = u64::MAX >> 1;

impl Head {
    /// The first head of a database: version 0, which is `base`, or empty.
    pub fn first(database: DatabaseId, id: CommitId, base: Option<BaseRef>, home: u64) -> Head {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"seawall version 0").update(&database.0).update(&id.0);
        if let Some(base) = base {
            hasher.update(base.name.to_string().as_bytes());
        }
        let commit = CommitRef { id, digest: Digest(*hasher.finalize().as_bytes()), place: None };
        let (epoch, version) = (Epoch(0), Version(0));
        Head {
            database,
            epoch,
            version,
            fold: commit,
            window: Window::default(),
            base,
            home,
            generation: 0,
            sweep: 0,
            lease_slot: 0,
            floor: Floor::default(),
            state: State::Open,
        }
    }

    /// The newest commit: that of the last entry, or the fold.
    pub fn commit(&self) -> CommitRef {
        self.window.newest_commit().unwrap_or(self.fold)
    }

    /// The version of the fold.
    pub fn folded(&self) -> Version {
        Version(self.version.0 - self.window.entries().len() as u64)
    }

    /// The head as it was at its fold, as far as it is known here.
    pub fn at_fold(&self) -> Head {
        Head { version: self.folded(), window: Window::default(), ..self.clone() }
    }

    /// The head that the fold `commit` makes when it follows this one, under the lease of `generation` and `lease_slot`.
    pub fn followed_by(&self, commit: CommitRef, generation: u64, lease_slot: u32) -> Head {
        let (version, window) = (self.version.next(), Window::default());
        Head { version, fold: commit, window, generation: generation + 1, lease_slot, ..self.clone() }
    }

    /// The head that a commit makes which rides in it as `entry`.
    pub fn with_entry(&self, entry: Entry, generation: u64, lease_slot: u32) -> Head {
        mistake!(HeadDropsEntry, {
            let (version, window) = (self.version.next(), Window::default().with(entry, &self.fold.digest));
            return Head { version, window, generation: generation + 1, lease_slot, ..self.clone() };
        });
        let (version, window) = (self.version.next(), self.window.with(entry, &self.fold.digest));
        Head { version, window, generation: generation + 1, lease_slot, ..self.clone() }
    }

    /// What this head, of the next commit, says with `upkeep`. Base and floor only ever rise. (Invariant 11.)
    pub fn with(self, upkeep: &Upkeep) -> Head {
        match upkeep {
            Upkeep::None => self,
            Upkeep::Base(base) => {
                let rises = self.base.is_none_or(|old| old.name.order() < base.name.order());
                assert!(rises, "a base only rises (invariant 11)");
                Head { base: Some(*base), ..self }
            }
            Upkeep::Floor(floor) => {
                assert!(self.floor <= *floor, "the floor only rises (invariant 11)");
                Head { floor: *floor, sweep: self.sweep + 1, ..self }
            }
            Upkeep::State(state) => Head { state: state.clone(), ..self },
        }
    }

    /// The head that the payload of a frame is.
    pub fn of_frame(payload: &[u8]) -> Result<Head, Malformed> {
        std::str::from_utf8(payload).map_err(|_| Malformed("a head is no text"))?.parse()
    }

    /// Whether its numbers are possible: a head that no commit can follow is none. It is asked before a head is written
    /// and after one was read.
    pub fn check(&self) -> Result<(), Malformed> {
        if self.version > LAST_VERSION
            || self.window.entries().len() as u64 > self.version.0
            || self.fold.place.is_none() && !self.window.entries().is_empty()
            || self.base.is_some_and(|base| base.name.version > self.folded())
            || self.floor.version > self.version
        {
            return Err(Malformed("a head's versions are impossible"));
        }
        if self.generation > LAST_GENERATION || self.sweep > LAST_GENERATION {
            return Err(Malformed("a head's generation is impossible"));
        }
        Ok(())
    }

    /// Whether a recovery has still to decide which commits are in the history.
    pub fn is_undecided(&self) -> bool {
        matches!(self.state, State::Recovering(_))
    }

    /// What only ever rises.
    pub fn order(&self) -> (Epoch, Version) {
        (self.epoch, self.version)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format::codec;
    use crate::format::ids::{SegmentName, WriterId};
    use proptest::prelude::*;

    pub(crate) fn a_head() -> Head {
        let segment = SegmentName { writer: WriterId([9; 8]), n: u32::MAX };
        let place = Place { segment, at: u32::MAX, length: u32::MAX, lead: u32::MAX };
        let name = BaseName { epoch: Epoch(u64::MAX), version: Version(12), id: [1, 2, 3, 4] };
        Head {
            database: DatabaseId([1; 16]),
            epoch: Epoch(u64::MAX),
            version: LAST_VERSION,
            fold: CommitRef { id: CommitId([2; 16]), digest: Digest([3; 32]), place: Some(place) },
            window: Window::default(),
            base: Some(BaseRef {
                name,
                page_size: PageSize::new(65_536).unwrap(),
                page_count: u32::MAX,
                log: u64::MAX,
            }),
            home: u64::MAX,
            generation: LAST_GENERATION,
            sweep: LAST_GENERATION,
            lease_slot: u32::MAX,
            floor: Floor { version: LAST_VERSION, time: codec::LAST_TIME },
            state: State::Moved(format!("dynamodb://{}?region={}", "t".repeat(255), "r".repeat(63))),
        }
    }

    #[test]
    fn heads_come_back_and_are_short() {
        let head = a_head();
        let text = head.to_string();
        assert!(text.len() < SHORT_TEXT, "{} bytes", text.len());
        assert_eq!(text.parse(), Ok(head.clone()));
        for state in [State::Open, State::Recovering(Token([7; 8])), State::Detached] {
            let head = Head { state, ..head.clone() };
            assert!(head.to_string().len() < SHORT_TEXT * 6 / 10, "{} bytes", head.to_string().len());
            assert_eq!(head.to_string().parse(), Ok(head));
        }
        let first = Head::first(head.database, head.commit().id, None, 5);
        assert_eq!(first.to_string().parse(), Ok(first));
    }

    #[test]
    fn a_head_that_no_commit_can_follow_is_refused() {
        for version in [Version::MAX, LAST_VERSION.next()] {
            let last = Head { version, ..a_head() };
            assert_eq!(last.to_string().parse::<Head>(), Err(Malformed("a head's versions are impossible")));
        }
        for generation in [u64::MAX, LAST_GENERATION + 1] {
            let last = Head { generation, ..a_head() };
            assert_eq!(last.to_string().parse::<Head>(), Err(Malformed("a head's generation is impossible")));
        }
    }

    #[test]
    fn a_time_after_the_year_9999_is_refused() {
        for time in [codec::LAST_TIME + 1, u64::MAX] {
            let head = Head { floor: Floor { version: LAST_VERSION, time }, ..a_head() };
            assert_eq!(head.to_string().parse::<Head>(), Err(Malformed("a time is after the year 9999")));
        }
    }

    #[test]
    fn an_unknown_format_version_says_so() {
        let text = a_head().to_string().replace("seawall1", "seawall2");
        let newer = Err(Malformed("a head of an unknown format version: use a newer Seawall"));
        for text in [&*text, "seawall2 of the future", "seawall17"] {
            assert_eq!(text.parse::<Head>(), newer, "{text}");
        }
        for text in ["seawall0 x", "seawall1 x", "seawall x", "sea sum=1"] {
            assert_ne!(text.parse::<Head>(), newer, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_changed_byte_passes(at: prop::sample::Index, to: u8) {
            let mut bytes = a_head().to_string().into_bytes();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert!(text.parse::<Head>().is_err());
            }
        }
    }
}
