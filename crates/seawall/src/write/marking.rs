//! What became of commits, noted in this process's segment: marks of those that were refused, and the heads of those
//! that took place.

use super::commit::{Form, Pending};
use super::committer::Committer;
use crate::error::Result;
use crate::format::head::Head;
use crate::format::mark::Mark;
use crate::mutation::mistake;
use crate::ports::sync::{try_lock, unpoisoned};
use std::sync::atomic::Ordering;

impl Committer {
    /// Marks the commit of `pending` as refused, before that is reported (invariant 6). Without its mark the commit is
    /// refused all the same, because the head decides. The mark helps only if the head is lost.
    /// What was only sent, and each attempt of which was refused, has left nothing behind.
    pub(super) fn mark_refused(&self, pending: &Pending) {
        if matches!(pending.form, Form::Entry { is_appended: false }) && !pending.is_ambiguous.load(Ordering::Relaxed) {
            return;
        }
        let sweep = pending.lease.sweep;
        mistake!(NoMarkAfterFailedSwap, return self.mark_owed(sweep));
        mistake!(NoMarkAfterFailedAppend, {
            if pending.failure.is_some() {
                return self.mark_owed(sweep);
            }
        });
        if pending.is_marked.load(Ordering::Relaxed) {
            return;
        }
        unpoisoned(self.segment.lock()).owe(Mark::of(&pending.next));
        self.mark_owed(sweep);
        pending.is_marked.store(!unpoisoned(self.segment.lock()).owes(), Ordering::Relaxed);
    }

    /// Writes the marks that are owed. A mark that cannot be written now is written before anything else.
    pub(super) fn mark_owed(&self, sweep: u64) {
        let marked = self.try_mark_owed(sweep);
        self.chores.report(marked.map_err(|error| {
            format!(
                "a commit that failed is not marked as refused yet ({error}): the mark is written before this process's next commit"
            )
        }));
    }

    /// Writes the marks that are owed, before a commit that has a segment of its own. An error says that one is owed still.
    pub(super) fn try_mark_owed(&self, sweep: u64) -> Result<()> {
        let mut segment = unpoisoned(self.segment.lock());
        let mut append = || segment.append_owed(&*self.tip.storage, sweep);
        // After a failure the next append makes a new segment.
        append().or_else(|_| append()).map_err(|failed| failed.error)
    }

    /// Notes that `head` was in place, with all that rides in it, also what other processes committed: its entries are in
    /// no file if its record is none. That can wait: `false` if another thread is appending right now.
    pub(crate) fn note_confirmed(&self, head: &Head) -> Result<bool> {
        let Some(mut segment) = try_lock(&self.segment) else { return Ok(false) };
        mistake!(ConfirmedNotCopied, {
            let named = Head { fold: head.commit(), window: Default::default(), ..head.clone() };
            let appended = segment.append_confirmed(&*self.tip.storage, &named);
            return appended.map(|()| true).map_err(|failed| failed.error);
        });
        let appended = segment.append_confirmed(&*self.tip.storage, head);
        drop(segment);
        match appended {
            Ok(()) => Ok(true),
            Err(failed) => {
                self.chores.report(failed.not_given_back.map_or(Ok(()), Err));
                Err(failed.error)
            }
        }
    }
}
