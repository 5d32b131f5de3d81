//! What a commit contains, from the durable bytes: a frame and its pages in a segment, or an entry in the head, which says
//! what its pages became as the difference from what the oracle's model has.

use super::{Content, Oracle, Written};
use crate::content::{number_in, sum_of};
use crate::disk::Disk;
use crate::paths::path_of;
use seawall::format::commit_frame::CommitFrame;
use seawall::format::delta;
use seawall::format::frame::{self, Kind, UNIT};
use seawall::format::group;
use seawall::format::head::Head;
use seawall::format::ids::{Digest, PageNo};
use seawall::format::new_pages::{NewGroup, page_checksum};
use seawall::format::place::Place;
use seawall::format::sqlite_header::as_delta;
use seawall::ports::storage::File;
use std::collections::BTreeSet;

impl Oracle {
    /// The content of the newest commit that `head` names. (Invariants 1, 2.)
    pub(super) fn read(&self, head: &Head, disk: &Disk) -> Result<Content, String> {
        if head.window.entries().is_empty() { self.read_fold(head, disk) } else { self.read_entry(head) }
    }

    fn read_fold(&self, head: &Head, disk: &Disk) -> Result<Content, String> {
        let version = head.version.0;
        let place = head.fold.place.ok_or_else(|| format!("version {version} names no frame"))?;
        let segment = path_of(File::Segment(place.segment));
        let inode = disk.find(&segment).ok_or_else(|| format!("{segment} of version {version} is not there"))?;
        let begin = u64::from(place.at) * UNIT - u64::from(place.lead);
        if !disk.is_name_durable(&segment)
            || !disk.are_bytes_durable(inode, begin as usize, (place.lead + place.length) as usize)
        {
            return Err(format!("version {version} is in the order before it is durable in {segment}"));
        }
        let bytes = &disk.inode(inode).bytes;
        let payload = frame_at(bytes, &place, head.fold.digest)
            .ok_or_else(|| format!("the frame of version {version} is damaged"))?;
        let frame = CommitFrame::decode(payload, &self.segments).map_err(|why| format!("version {version}: {why}"))?;
        if (frame.version, frame.commit, frame.database) != (head.version, head.fold.id, head.database) {
            return Err(format!("the frame of version {version} is of another commit"));
        }
        // What a large transaction streamed is in appends before that of the frame.
        let is_durable = |group: &NewGroup| {
            let (at, length) = (u64::from(group.at) * UNIT, u64::from(group.units) * UNIT);
            disk.are_bytes_durable(inode, at as usize, length as usize)
        };
        if !frame.pages.iter().all(is_durable) {
            return Err(format!("pages of version {version} are in the order before they are durable in {segment}"));
        }
        let all = pages_of(head, &frame.pages, bytes)?;
        let are_carried: BTreeSet<PageNo> = frame.carried_pages().map(|new| new.page).collect();
        let (carried, pages): (Vec<Written>, Vec<Written>) =
            all.into_iter().partition(|(page, ..)| are_carried.contains(page));
        // A fold loses nothing of the window, but what is not in the database any more, or is written again.
        let there: BTreeSet<PageNo> = pages.iter().chain(&carried).map(|(page, ..)| *page).collect();
        let is_repaginated = pages.len() as u64 == u64::from(frame.page_count);
        let mut wanted = frame.window.pages().into_iter().filter(|page| page.0 <= frame.page_count);
        if let Some(lost) = wanted.find(|page| !is_repaginated && !there.contains(page)) {
            return Err(format!("version {version} is a fold without page {} of its window", lost.0));
        }
        let previous = frame.previous();
        let named = frame.named().map(|named| named.version.0);
        let names = named.chain(frame.folded.0..head.version.0).collect();
        let CommitFrame { jumps, page_size, page_count, runs, .. } = frame;
        Ok(Content { previous, names, jumps, page_size, page_count, runs, pages, carried })
    }

    fn read_entry(&self, head: &Head) -> Result<Content, String> {
        let version = head.version.0;
        let (entry, _) = head.window.newest().expect("it has entries");
        let before = self.chain.get(version as usize - 1).ok_or("an entry stands on no version")?;
        let page_size = before.page_size.ok_or("an entry stands on a database without pages")?;
        let old_image = |page: PageNo| {
            let of_page = self.images.get(&page.0).filter(|_| page.0 <= before.page_count)?;
            let after = of_page.partition_point(|(since, _)| *since < version);
            after.checked_sub(1).map(|at| &of_page[at].1)
        };
        let mut old = Vec::new();
        for changed in entry.pages.iter().filter(|changed| changed.has_old) {
            let page = changed.page;
            let image = old_image(page)
                .ok_or_else(|| format!("version {version} changes page {}, which was not there", page.0))?;
            old.extend_from_slice(&as_entry_sees(page, image));
        }
        let length = entry.pages.len() * page_size.bytes();
        let new = delta::apply(&old, &entry.delta, length).map_err(|why| format!("version {version}: {why}"))?;
        let mut pages = Vec::new();
        for (changed, image) in entry.pages.iter().zip(new.chunks(page_size.bytes())) {
            let page = changed.page;
            if page_checksum(image) != changed.checksum {
                return Err(format!("page {} of version {version} is not what its entry says", page.0));
            }
            pages.push(written(page, image));
        }
        let previous = head.window.newest_commit_but_one().unwrap_or(head.fold);
        let (page_count, jumps, runs, carried) = (entry.page_count, Vec::new(), Vec::new(), Vec::new());
        let names = (head.folded().0..version).collect();
        Ok(Content { previous, names, jumps, page_size, page_count, runs, pages, carried })
    }

    /// The head's newest entry follows what was there, and is durable in the folder.
    pub(super) fn check_entry(&self, head: &Head, disk: &Disk) -> Result<(), String> {
        let (last, version) = (&self.chain.last().expect("version 0 is there").head, head.version.0);
        let before = &head.window.entries()[..head.window.entries().len() - 1];
        if !head.fold.is(&last.fold) || before != last.window.entries() {
            return Err(format!("the head of version {version} has lost, or changed, what was in the head before it"));
        }
        let upkeep = |head: &Head| (head.base, head.home, head.sweep, head.floor, head.state.clone());
        if upkeep(head) != upkeep(last) {
            return Err(format!("version {version} is an entry, and changes more of the head"));
        }
        let digest = &head.commit().digest;
        let is_missing = !self.recovery.has_durable_entry(digest, disk) && !self.was_entry_lost(digest);
        if self.is_on_table() && is_missing {
            return Err(format!("version {version} is in the order before it is durable in a segment"));
        }
        Ok(())
    }

    /// Forgets what `version` and later ones have written.
    pub(super) fn forget_since(&mut self, version: u64) {
        self.pages.values_mut().for_each(|sums| sums.retain(|(since, _)| *since < version));
        self.images.values_mut().for_each(|images| images.retain(|(since, _)| *since < version));
        self.places.values_mut().for_each(|places| places.retain(|(since, _)| *since < version));
    }
}

fn as_entry_sees(page: PageNo, image: &[u8]) -> Vec<u8> {
    let mut image = image.to_vec();
    if page == PageNo(1) {
        as_delta(&mut image);
    }
    image
}

fn written(page: PageNo, image: &[u8]) -> Written {
    (page, number_in(image), sum_of(page.0, image), image.into())
}

fn pages_of(head: &Head, groups: &[NewGroup], bytes: &[u8]) -> Result<Vec<Written>, String> {
    let version = head.version.0;
    let mut pages = Vec::new();
    for new in groups {
        let at = (u64::from(new.at) * UNIT) as usize;
        let whole = frame::parse(bytes.get(at..).unwrap_or_default());
        let parsed = whole.map_err(|why| format!("pages of version {version}: {why}"))?;
        let group = group::decode(parsed.payload).map_err(|why| format!("pages of version {version}: {why}"))?;
        let images: Vec<&[u8]> = group.images.chunks(group.page_size.bytes()).collect();
        for (slot, page) in new.new_pages() {
            let slot = usize::from(slot);
            let image = *images.get(slot).ok_or_else(|| format!("a group of version {version} lacks a page"))?;
            if parsed.kind != Kind::Pages
                || page_checksum(image) != page.checksum
                || group.pages[slot] != page.page
                || group.owner.version != head.version
            {
                return Err(format!("page {} of version {version} is not what its frame says", page.page.0));
            }
            pages.push(written(page.page, image));
        }
    }
    Ok(pages)
}

pub(super) fn frame_at<'a>(bytes: &'a [u8], place: &Place, digest: Digest) -> Option<&'a [u8]> {
    let at = (u64::from(place.at) * UNIT) as usize;
    let frame = frame::parse(bytes.get(at..at + place.length as usize)?).ok()?;
    (frame.kind == Kind::Commit && frame.digest == digest).then_some(frame.payload)
}
