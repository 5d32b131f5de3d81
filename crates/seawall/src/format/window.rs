//! The window: the newest commits, as entries in the head. An entry has no frame in a segment of its own: it says what
//! its pages became as the difference from what they were.

use crate::format::codec::{self, Malformed, Reader, put_varint};
use crate::format::head::CommitRef;
use crate::format::ids::{CommitId, Digest, PageNo};
use std::sync::Arc;

/// An entry has at most so many pages.
pub const MOST_PAGES: usize = 32;
/// The entries of a window have at most so many different pages.
pub const MOST_WINDOW_PAGES: usize = 64;
/// A window has at most so many entries. It is full long before.
pub const MOST_ENTRIES: usize = 256;

/// A page of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryPage {
    /// Its number.
    pub page: PageNo,
    /// The checksum of its new image.
    pub checksum: [u8; 8],
    /// Whether its old image is part of the dictionary.
    pub has_old: bool,
}

/// A commit that rides in the head. Its page size is that of the fold before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The commit's own random id.
    pub commit: CommitId,
    /// Milliseconds since 1970; never less than the predecessor's.
    pub time: u64,
    /// The database's size in pages after this commit.
    pub page_count: u32,
    /// The pages that it changes, rising. Page 1 is [`as_delta`](crate::format::sqlite_header::as_delta) sees it.
    pub pages: Vec<EntryPage>,
    /// The new images, one after the other, as the difference from the old ones.
    pub delta: Vec<u8>,
}

impl Entry {
    /// Its bytes, as they are in a head and in a segment.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48 + self.pages.len() * 12 + self.delta.len());
        out.extend_from_slice(&self.commit.0);
        put_varint(&mut out, self.time);
        put_varint(&mut out, u64::from(self.page_count));
        put_varint(&mut out, self.pages.len() as u64);
        let mut before = 0;
        for EntryPage { page, checksum, has_old } in &self.pages {
            put_varint(&mut out, u64::from(page.0 - before) << 1 | u64::from(*has_old));
            before = page.0;
            out.extend_from_slice(checksum);
        }
        put_varint(&mut out, self.delta.len() as u64);
        out.extend_from_slice(&self.delta);
        out
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Entry, Malformed> {
        let commit = CommitId(reader.array()?);
        let (time, page_count) = (codec::time(reader.varint()?)?, reader.small()?);
        let count = reader.count(9)?;
        if count > MOST_PAGES {
            return Err(Malformed("an entry has too many pages"));
        }
        let mut pages = Vec::with_capacity(count);
        let mut before = 0_u32;
        for _ in 0..count {
            let step = reader.varint()?;
            let page = u32::try_from(step >> 1).ok().filter(|step| *step > 0).and_then(|step| before.checked_add(step));
            before = page.ok_or(Malformed("a page number is impossible"))?;
            pages.push(EntryPage { page: PageNo(before), checksum: reader.array()?, has_old: step & 1 == 1 });
        }
        if before > page_count {
            return Err(Malformed("an entry has a page beyond the end of its database"));
        }
        let length = reader.count(1)?;
        let delta = reader.bytes(length)?.to_vec();
        Ok(Entry { commit, time, page_count, pages, delta })
    }

    /// What the entry says of `page`, and which of its pages that is.
    pub fn find(&self, page: PageNo) -> Option<(usize, &EntryPage)> {
        let at = self.pages.binary_search_by_key(&page, |entry| entry.page).ok()?;
        Some((at, &self.pages[at]))
    }
}

/// An entry's digest: it chains the history, as that of a commit frame does.
pub fn digest_of(previous: &Digest, entry: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"seawall entry").update(&previous.0).update(entry);
    Digest(*hasher.finalize().as_bytes())
}

/// The newest commits, oldest first, after a fold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    entries: Arc<[(Entry, Digest)]>,
    bytes: Arc<[u8]>,
}

impl Window {
    /// The window with one entry more. `fold` is the digest of the fold that the window begins after.
    pub fn with(&self, entry: Entry, fold: &Digest) -> Window {
        let encoded = entry.encode();
        let digest = digest_of(&self.newest().map_or(*fold, |(_, digest)| digest), &encoded);
        let entries = self.entries.iter().cloned().chain([(entry, digest)]).collect();
        Window { entries, bytes: [&self.bytes[..], &encoded].concat().into() }
    }

    /// The window that `bytes` are.
    pub fn decode(bytes: &[u8], fold: &Digest) -> Result<Window, Malformed> {
        let mut entries: Vec<(Entry, Digest)> = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if entries.len() == MOST_ENTRIES {
                return Err(Malformed("a window has too many entries"));
            }
            let mut reader = Reader::new(rest);
            let entry = Entry::decode(&mut reader)?;
            let after = reader.rest();
            let (before, own) = (entries.last(), &rest[..rest.len() - after.len()]);
            if before.is_some_and(|(before, _)| before.time > entry.time) {
                return Err(Malformed("an entry is older than the one before it"));
            }
            let digest = digest_of(before.map_or(fold, |(_, digest)| digest), own);
            entries.push((entry, digest));
            rest = after;
        }
        let window = Window { entries: entries.into(), bytes: bytes.into() };
        if window.page_count() > MOST_WINDOW_PAGES {
            return Err(Malformed("a window has too many pages"));
        }
        Ok(window)
    }

    /// Its bytes: those of its entries, one after the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The entries with their digests, oldest first.
    pub fn entries(&self) -> &[(Entry, Digest)] {
        &self.entries
    }

    /// The newest entry, and its digest.
    pub fn newest(&self) -> Option<(&Entry, Digest)> {
        self.entries.last().map(|(entry, digest)| (entry, *digest))
    }

    /// The window as it was when it had `count` entries. `fold` is the digest of the fold that it begins after.
    pub fn first(&self, count: usize, fold: &Digest) -> Window {
        let first = self.entries[..count].iter();
        first.fold(Window::default(), |window, (entry, _)| window.with(entry.clone(), fold))
    }

    /// The commit of the entry `at`.
    pub fn commit(&self, at: usize) -> Option<CommitRef> {
        let (entry, digest) = self.entries.get(at)?;
        Some(CommitRef { id: entry.commit, digest: *digest, place: None })
    }

    /// The commit of the newest entry.
    pub fn newest_commit(&self) -> Option<CommitRef> {
        self.commit(self.entries.len().checked_sub(1)?)
    }

    /// The commit of the entry before the newest one.
    pub fn newest_commit_but_one(&self) -> Option<CommitRef> {
        self.commit(self.entries.len().checked_sub(2)?)
    }

    /// The pages that its entries change, rising.
    pub fn pages(&self) -> Vec<PageNo> {
        let mut pages = self.changes();
        pages.dedup();
        pages
    }

    /// How many pages more than one of its entries changes.
    pub fn pages_changed_again(&self) -> usize {
        self.changes().chunk_by(|one, next| one == next).filter(|changes| changes.len() > 1).count()
    }

    /// The pages of all entries, rising; each as often as an entry has it.
    fn changes(&self) -> Vec<PageNo> {
        let mut pages: Vec<PageNo> = self.entries.iter().flat_map(|(entry, _)| &entry.pages).map(|p| p.page).collect();
        pages.sort_unstable();
        pages
    }

    /// How many different pages its entries have.
    pub fn page_count(&self) -> usize {
        self.pages().len()
    }

    /// Whether an entry changes `page`.
    pub fn has(&self, page: PageNo) -> bool {
        self.entries.iter().any(|(entry, _)| entry.find(page).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FOLD: Digest = Digest([9; 32]);

    fn entry(n: u8) -> Entry {
        let page = |page, has_old| EntryPage { page: PageNo(page), checksum: [n; 8], has_old };
        Entry {
            commit: CommitId([n; 16]),
            time: 1_000 + u64::from(n),
            page_count: 400,
            pages: vec![page(1, true), page(7, true), page(u32::from(n) + 300, false)],
            delta: vec![n; 20],
        }
    }

    fn window(count: u8) -> Window {
        (0..count).fold(Window::default(), |window, n| window.with(entry(n), &FOLD))
    }

    #[test]
    fn windows_come_back_and_their_digests_chain() {
        let window = window(3);
        assert_eq!(Window::decode(window.bytes(), &FOLD), Ok(window.clone()));
        assert_eq!(Window::decode(&[], &FOLD), Ok(Window::default()));
        assert_eq!(window.page_count(), 5);
        assert_ne!(Window::decode(window.bytes(), &Digest([8; 32])).unwrap().newest(), window.newest());
        assert_eq!(entry(4).find(PageNo(7)).map(|(at, page)| (at, page.has_old)), Some((1, true)));
        assert_eq!(entry(4).find(PageNo(8)), None);
    }

    #[test]
    fn what_no_writer_makes_is_refused() {
        let refused = |change: fn(&mut Entry)| {
            let mut wrong = entry(2);
            change(&mut wrong);
            let bytes = window(1).with(wrong, &FOLD).bytes().to_vec();
            Window::decode(&bytes, &FOLD).unwrap_err().0
        };
        assert_eq!(refused(|entry| entry.time = 0), "an entry is older than the one before it");
        assert_eq!(refused(|entry| entry.time = codec::LAST_TIME + 1), "a time is after the year 9999");
        assert_eq!(refused(|entry| entry.time = u64::MAX), "a time is after the year 9999");
        assert_eq!(refused(|entry| entry.page_count = 301), "an entry has a page beyond the end of its database");
        assert_eq!(refused(|entry| entry.pages.extend([entry.pages[2]; 1])), "a page number is impossible");
        let many = |n: u8| {
            let mut entry = entry(0);
            let page = |page| EntryPage { page: PageNo(page), checksum: [0; 8], has_old: false };
            entry.pages = (1..=32).map(|page| page + u32::from(n) * 32).map(page).collect();
            entry
        };
        let full = Window::default().with(many(0), &FOLD).with(many(1), &FOLD);
        assert_eq!(full.page_count(), MOST_WINDOW_PAGES);
        assert_eq!(Window::decode(full.bytes(), &FOLD), Ok(full.clone()));
        let too_many = full.with(many(2), &FOLD);
        assert_eq!(Window::decode(too_many.bytes(), &FOLD).unwrap_err().0, "a window has too many pages");
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(window) = Window::decode(&bytes, &FOLD) {
                prop_assert_eq!(window.bytes(), &bytes[..]);
            }
        }

        #[test]
        fn a_damaged_window_is_refused_or_another(at: prop::sample::Index, bit in 0..8_u32) {
            let window = window(4);
            let mut bytes = window.bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(other) = Window::decode(&bytes, &FOLD) {
                prop_assert_ne!(other.newest(), window.newest());
            }
        }
    }
}
