//! What a transaction writes, and what its commit answers.

use super::{Actor, LARGER_PAGES, page_size};
use crate::content::{PAGE, image, sum_of};
use crate::event::Event;
use crate::oracle::{Number, Sum};
use seawall::{Error, ErrorKind, PageNo, PageSize, Snapshot, Transaction};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

impl Actor<'_> {
    /// Reads and writes in a transaction, and commits it or not. Returns whether a commit was acknowledged.
    pub(super) fn fill(&mut self, mut transaction: Transaction) -> bool {
        let (world, number) = (self.world, self.world.next_transaction());
        let size = page_size(&transaction);
        let snapshot = transaction.snapshot().clone();
        if !self.read_pages(&snapshot, world.by_chance(0.05)) {
            return false;
        }
        let most = u64::from(world.plan().pages);
        let count = match world.pick(0..=15) {
            0 => most,
            1..=4 => 1 + most / 8,
            _ => 1 + world.pick(0..=2),
        };
        let mut written: BTreeMap<u32, Sum> = BTreeMap::new();
        let others: Vec<u32> = (1..count).map(|_| world.pick(1..=most) as u32).collect();
        for page in [1].into_iter().chain(others) {
            let image = image(world, number, page, size, size);
            if let Err(error) = transaction.write_page(size, PageNo(page), &image) {
                self.failed(&error, "writing a page");
                return false;
            }
            written.insert(page, sum_of(page, &image));
        }
        if transaction.streams() {
            world.met(Event::Streamed);
            // A page that was streamed is read from its segment.
            let page = *written.keys().nth(world.pick(0..=written.len() as u64 - 1) as usize).expect("it is one");
            match transaction.read_page(PageNo(page)) {
                Ok(image) if sum_of(page, &image) == written[&page] => {}
                Ok(_) => world.violation(|| format!("transaction {number} does not read what it wrote to page {page}")),
                Err(error) => {
                    self.failed(&error, "reading a page of its own");
                    return false;
                }
            }
        }
        if world.by_chance(0.05) {
            // Sometimes for longer than its lease.
            world.sleep(world.between(Duration::from_millis(1), world.plan().lease * 3));
        }
        if world.by_chance(world.plan().rollbacks) {
            world.met(Event::RolledBack);
            return false;
        }
        if world.by_chance(0.05) {
            return self.commit_repaginated(transaction, number, &snapshot);
        }
        let page_count = match world.pick(0..=9) {
            0 if transaction.page_count() > 1 => world.pick(1..=transaction.page_count().into()) as u32,
            _ => transaction.page_count(),
        };
        written.retain(|page, _| *page <= page_count);
        let was_kept = transaction.unconfirmed().is_some();
        let failed_before = self.failed_appends();
        let committed = transaction.commit(page_count);
        if was_kept && committed.is_ok() {
            world.met(Event::AcknowledgedWithinTurn);
        }
        drop(transaction);
        self.conclude(number, &snapshot, committed, &written, failed_before)
    }

    /// Commits in another page size, so that the commit repaginates the database: the same bytes, in larger or smaller
    /// pages.
    fn commit_repaginated(&mut self, mut transaction: Transaction, number: Number, before: &Snapshot) -> bool {
        let (world, old) = (self.world, page_size(&transaction));
        let sizes = [PAGE as u32].into_iter().chain(LARGER_PAGES).filter_map(PageSize::new);
        let others: Vec<PageSize> = sizes.filter(|size| *size != old).collect();
        let new = others[world.pick(0..=others.len() as u64 - 1) as usize];
        // Page 1 names the page size.
        let first = image(world, number, 1, old, new);
        let mut read = || {
            transaction.write_page(old, PageNo(1), &first)?;
            (1..=transaction.page_count()).try_fold(Vec::new(), |mut bytes, page| {
                bytes.extend_from_slice(&transaction.read_page(PageNo(page))?);
                Ok(bytes)
            })
        };
        let mut bytes: Vec<u8> = match read() {
            Ok(bytes) => bytes,
            Err(error) => {
                self.failed(&error, "reading a page of its own");
                return false;
            }
        };
        bytes.resize(bytes.len().next_multiple_of(new.bytes()), 0);
        let written: BTreeMap<u32, Sum> =
            (1..).zip(bytes.chunks(new.bytes())).map(|(page, image)| (page, sum_of(page, image))).collect();
        let failed_before = self.failed_appends();
        let committed = transaction.commit_as(new, written.len() as u32);
        drop(transaction);
        self.conclude(number, before, committed, &written, failed_before)
    }

    fn conclude(
        &mut self,
        number: Number,
        before: &Snapshot,
        committed: Result<Arc<Snapshot>, Error>,
        written: &BTreeMap<u32, Sum>,
        failed_before: u32,
    ) -> bool {
        let (world, now) = (self.world, self.world.now());
        match committed {
            Ok(snapshot) => {
                let version = snapshot.version();
                world.tell(|| format!("transaction {number} is acknowledged as version {}", version.0));
                world.met(Event::Acknowledged);
                if version != before.version().next() {
                    world
                        .violation(|| format!("a commit over version {} is version {}", before.version().0, version.0));
                }
                if world.oracle().is_dropped(&snapshot.head().commit()) {
                    return false;
                }
                let pages: Vec<(u32, Sum)> = written.iter().map(|(page, sum)| (*page, *sum)).collect();
                let checked = world.oracle().acknowledged(number, version, &pages, now);
                world.check(checked);
                world.with_process(self.process, |process| process.seen = process.seen.max(version.0));
                true
            }
            Err(error) => {
                world.tell(|| format!("transaction {number} failed: {error}"));
                match error.kind() {
                    ErrorKind::OutcomeUnknown => {
                        world.met(Event::OutcomeUnknown);
                        world.oracle().unknown(self.process, number, now, failed_before);
                    }
                    _ => {
                        let checked = world.oracle().failed(number, self.failed_appends() - failed_before);
                        world.check(checked);
                    }
                }
                world.check_recovery();
                self.failed(&error, "a commit");
                false
            }
        }
    }
}
