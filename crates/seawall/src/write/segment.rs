//! This process's own segment, and appending to it durably.

use super::encode::{Frames, Piece};
use crate::bounds::bound;
use crate::error::{Error, Result};
use crate::format::frame::Kind;
use crate::format::head::Head;
use crate::format::ids::{SegmentName, WriterId};
use crate::format::mark::Mark;
use crate::mutation::mistake;
use crate::ports::storage::{Append, File, Storage};

/// After a segment is longer than this, the next append makes a new one.
const ROTATE_AFTER: u64 = bound(64 << 20, 64 << 10) as u64;

/// Where this process appends. No other process does, and nothing that was appended changes. (Invariant 3.) Only one
/// thread at a time appends: the writer whose turn it is, or the background between turns.
#[derive(Default)]
pub(crate) struct SegmentWriter {
    writer: Option<WriterId>,
    made: u32,
    /// Taken out while something is appended. If the append ends early, by a panic too, that segment is never used
    /// again.
    open: Option<Open>,
    /// Marks that must be durable before anything else. They are appended in front of it, in the same append.
    owed: Vec<Mark>,
}

/// An append that failed.
pub(crate) struct AppendFailed<T> {
    /// Why.
    pub(crate) error: Error,
    /// Its space could not be given back, for this reason.
    pub(crate) not_given_back: Option<String>,
    /// It may arrive whole, and a recovery may take that: what was encoded, and what it may have left.
    pub(crate) may_arrive: Option<Box<(T, Left)>>,
}

impl<T> From<Error> for AppendFailed<T> {
    fn from(error: Error) -> AppendFailed<T> {
        AppendFailed { error, not_given_back: None, may_arrive: None }
    }
}

impl<T> AppendFailed<T> {
    /// Gives back what it may have left, because nothing stands on that.
    fn cut(mut self, storage: &dyn Storage) -> AppendFailed<T> {
        if let Some(arriving) = self.may_arrive.take() {
            self.not_given_back = arriving.1.give_back(storage).err();
        }
        self
    }
}

/// What a commit has left in a segment that nothing is appended to any more.
pub(crate) enum Left {
    /// A segment of its own.
    Segment(Open),
    /// The end of a segment, from there on.
    End(Open, u64),
}

impl Left {
    /// Gives back the space that it takes. No head will ever name anything in it.
    pub(crate) fn give_back(self, storage: &dyn Storage) -> Result<(), String> {
        match self {
            Left::Segment(open) => open.discard(storage),
            Left::End(mut open, begin) => open
                .file
                .truncate(begin)
                .map_err(|why| format!("giving back what a failed append took of {}: {why}", File::Segment(open.name))),
        }
    }
}

/// A segment that this process appends to.
pub(crate) struct Open {
    pub(crate) name: SegmentName,
    file: Box<dyn Append>,
    position: u64,
    /// The sweep that it was made under. Garbage collection may remove it once another sweep began.
    sweep: u64,
    /// What the next append is put together in, …
    memory: Vec<u8>,
    /// … if many follow at once.
    keeps_memory: bool,
}

impl Open {
    /// Keeps the memory of one append for the next one: `bytes` of it.
    pub(crate) fn keep_memory(&mut self, bytes: usize) {
        self.memory = Vec::with_capacity(bytes);
        self.keeps_memory = true;
    }

    /// Appends what `encode` adds, piece by piece, behind the marks that are owed. As far as a reader of its last frame
    /// is concerned the append begins at `begin`, or behind the marks. After an error with what was encoded, all of it
    /// may arrive.
    pub(crate) fn append<T>(
        &mut self,
        begin: u64,
        owed: &mut Vec<Mark>,
        mut encode: impl FnMut(&mut Frames) -> Result<Piece<T>>,
    ) -> Result<T, (Error, Option<T>)> {
        let mut frames = Frames::at(self.name, self.position, begin, std::mem::take(&mut self.memory));
        frames.put_marks(owed).map_err(|error| (error, None))?;
        loop {
            let encoded = match encode(&mut frames).map_err(|error| (error, None))? {
                Piece::More => None,
                Piece::Last { encoded, if_lost } => {
                    // From here on its bytes are on their way, and a failure does not stop them all.
                    owed.extend(if_lost);
                    Some(encoded)
                }
            };
            if !frames.bytes().is_empty() {
                if let Err(error) = self.file.append(frames.bytes()) {
                    let error = Error::io(format!("appending to {}", File::Segment(self.name)), error);
                    // If there is no space, its last bytes were not taken.
                    let is_cut_short = matches!(error, Error::Full(_));
                    return Err((error, encoded.filter(|_| !is_cut_short)));
                }
                self.position += frames.bytes().len() as u64;
                frames.next_piece();
            }
            if let Some(encoded) = encoded {
                self.memory = if self.keeps_memory { frames.into_memory() } else { Vec::new() };
                return Ok(encoded);
            }
        }
    }

    /// Gives back all the space that the segment takes, and removes it. Nothing in it will ever be committed.
    pub(crate) fn discard(mut self, storage: &dyn Storage) -> Result<(), String> {
        let file = File::Segment(self.name);
        // A process that has it open for reading would keep its space from others.
        let cut = self.file.truncate(0).map_err(|why| format!("giving back the space of {file}: {why}"));
        let removed = storage.remove(file).map_err(|why| format!("removing {file}: {why}"));
        removed.and(cut)
    }
}

impl SegmentWriter {
    /// Appends what `encode` adds, piece by piece, behind the marks that are owed. When it returns, all of it is
    /// durable ([`Append::append`] is the first fsync of a commit). After an error no part of it counts, and the next
    /// append begins another segment. If the last piece was encoded by then, its bytes may still arrive, so its mark is
    /// owed.
    pub(crate) fn append<T>(
        &mut self,
        storage: &dyn Storage,
        sweep: u64,
        encode: impl FnMut(&mut Frames) -> Result<Piece<T>>,
    ) -> Result<T, AppendFailed<T>> {
        let mut open = self.open_under(storage, sweep)?;
        let begin = open.position;
        match open.append(begin, &mut self.owed, encode) {
            Ok(encoded) => {
                self.open = Some(open);
                self.owed.clear();
                Ok(encoded)
            }
            // The segment's end is unknown now, and a failed sync must never be tried again on the same file. Therefore
            // this segment is not used any more. The space that the append took is given back, because other files may
            // need it; but not while a recovery may have taken what has arrived.
            Err((error, encoded)) => {
                mistake!(SegmentGoesOn, {
                    self.open = Some(open);
                    return Err(error.into());
                });
                let left = Left::End(open, begin);
                let (may_arrive, not_given_back) = match encoded {
                    Some(encoded) => (Some(Box::new((encoded, left))), None),
                    None => (None, left.give_back(storage).err()),
                };
                Err(AppendFailed { error, not_given_back, may_arrive })
            }
        }
    }

    /// Whether marks are owed.
    pub(crate) fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// From now on this mark is owed: it is written before anything else is.
    pub(crate) fn owe(&mut self, mark: Mark) {
        if !self.owed.contains(&mark) {
            self.owed.push(mark);
        }
    }

    /// Appends the marks that are owed, if there are any; when it returns, they are durable. `sweep` is that of the
    /// newest head.
    pub(crate) fn append_owed(&mut self, storage: &dyn Storage, sweep: u64) -> Result<(), AppendFailed<()>> {
        if !self.owes() {
            return Ok(());
        }
        let appended =
            self.append(storage, self.newest_sweep(sweep), |_| Ok(Piece::Last { encoded: (), if_lost: None }));
        appended.map_err(|failed| failed.cut(storage))
    }

    /// Appends a head that was in place; when it returns, it is durable, as are the marks that were owed. It is one
    /// frame: what confirms an entry and the entry arrive together, or neither does.
    pub(crate) fn append_confirmed(&mut self, storage: &dyn Storage, head: &Head) -> Result<(), AppendFailed<()>> {
        let appended = self.append(storage, self.newest_sweep(head.sweep), |frames| {
            mistake!(ConfirmedApart, {
                frames.put(Kind::Head, head.to_string().as_bytes())?;
                let named = Head { fold: head.commit(), window: Default::default(), ..head.clone() };
                frames.put(Kind::Confirmed, named.to_string().as_bytes())?;
                return Ok(Piece::Last { encoded: (), if_lost: None });
            });
            frames.put(Kind::Confirmed, head.to_string().as_bytes())?;
            Ok(Piece::Last { encoded: (), if_lost: None })
        });
        appended.map_err(|failed| failed.cut(storage))
    }

    /// A head that is confirmed, or a mark, can be older than the segment is.
    fn newest_sweep(&self, sweep: u64) -> u64 {
        self.open.as_ref().map_or(sweep, |open| open.sweep.max(sweep))
    }

    /// The open segment, taken out; a new one if there is none under this sweep.
    fn open_under(&mut self, storage: &dyn Storage, sweep: u64) -> Result<Open> {
        mistake!(SegmentOutlivesSweep, {
            if let Some(open) = self.open.take() {
                return Ok(open);
            }
        });
        if let Some(open) = self.open.take().filter(|open| open.sweep == sweep && open.position <= ROTATE_AFTER) {
            return Ok(open);
        }
        self.make(storage, sweep)
    }

    /// Makes a segment of this writer.
    pub(crate) fn make(&mut self, storage: &dyn Storage, sweep: u64) -> Result<Open> {
        let name = SegmentName { writer: self.writer(storage)?, n: self.made };
        self.made += 1;
        let failed = |error| Error::io(format!("making {}", File::Segment(name)), error);
        let file = storage.create(File::Segment(name)).map_err(failed)?;
        Ok(Open { name, file, position: 0, sweep, memory: Vec::new(), keeps_memory: false })
    }

    /// This process's writer, made at its first append: a copy of its memory that was taken before is another writer.
    fn writer(&mut self, storage: &dyn Storage) -> Result<WriterId> {
        if self.writer.is_none() {
            let mut id = [0; 8];
            storage.random(&mut id).map_err(|error| Error::io("asking for randomness", error))?;
            self.writer = Some(WriterId(id));
        }
        Ok(self.writer.expect("it was just made"))
    }
}
