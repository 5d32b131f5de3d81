//! The page map: page number → where that page's newest content is.
//!
//! It is persistent: a clone is one reference, a change copies one path, so every snapshot has a map of its
//! own and they share almost all of it. A look-up is at most six steps, whatever the size. It takes 16 bytes for a
//! page that changed since the base, and nothing for one that did not (leaves hold 64 neighbours).

use crate::format::entry::{PageEntry, VACANT};
use crate::format::ids::{PageNo, Version};
use std::sync::Arc;

const BITS: u32 = 6;
const FANOUT: usize = 1 << BITS;

#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "there are 64 times as many leaves as inner nodes")]
enum Node {
    Inner([Option<Arc<Node>>; FANOUT]),
    Leaf([PageEntry; FANOUT]),
}

/// Page number → entry.
#[derive(Clone, Default)]
pub struct PageMap {
    root: Option<Arc<Node>>,
    /// How many levels of inner nodes are above the leaves.
    height: u32,
}

impl PageMap {
    /// The entry of `page`, if it changed since the base.
    pub fn get(&self, page: PageNo) -> Option<PageEntry> {
        if u64::from(page.0) >= self.room() {
            return None;
        }
        let mut node = self.root.as_deref()?;
        for level in (0..=self.height).rev() {
            let at = (page.0 >> (level * BITS)) as usize % FANOUT;
            match node {
                Node::Inner(children) => node = children[at].as_deref()?,
                Node::Leaf(entries) => return (entries[at] != VACANT).then_some(entries[at]),
            }
        }
        unreachable!("leaves are at level 0");
    }

    /// Sets the entry of `page`.
    pub fn insert(&mut self, page: PageNo, entry: PageEntry) {
        while self.root.is_none() || u64::from(page.0) >= self.room() {
            self.grow();
        }
        insert_below(self.root.as_mut().expect("it was grown"), self.height, page, entry);
    }

    /// Every entry, by page number.
    pub fn iter(&self) -> impl Iterator<Item = (PageNo, PageEntry)> {
        let mut stack: Vec<(&Node, u32, u32)> = self.root.iter().map(|root| (&**root, self.height, 0)).collect();
        let mut leaf: Option<(&[PageEntry; FANOUT], u32, usize)> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some((entries, first, at)) = &mut leaf {
                    while *at < FANOUT {
                        *at += 1;
                        if entries[*at - 1] != VACANT {
                            return Some((PageNo(*first + (*at - 1) as u32), entries[*at - 1]));
                        }
                    }
                }
                match stack.pop()? {
                    (Node::Leaf(entries), _, first) => leaf = Some((entries, first, 0)),
                    (Node::Inner(children), level, first) => {
                        let child = |(at, child): (usize, &'_ Option<Arc<Node>>)| {
                            child.as_ref().map(|_| (at, first + ((at as u32) << (level * BITS))))
                        };
                        for (at, first) in children.iter().enumerate().filter_map(child).rev() {
                            stack.push((children[at].as_deref().expect("it was filtered"), level - 1, first));
                        }
                    }
                }
            }
        })
    }

    /// Only the entries newer than `base`: all that a reader on that base needs.
    pub fn newer_than(&self, base: Version) -> PageMap {
        let mut map = PageMap::default();
        for (page, entry) in self.iter().filter(|(_, entry)| entry.version() > base) {
            map.insert(page, entry);
        }
        map
    }

    /// How many page numbers the tree has room for at its height.
    fn room(&self) -> u64 {
        1 << ((self.height + 1) * BITS)
    }

    fn grow(&mut self) {
        match self.root.take() {
            None => self.root = Some(empty(self.height)),
            Some(root) => {
                let mut children = [const { None }; FANOUT];
                children[0] = Some(root);
                self.root = Some(Arc::new(Node::Inner(children)));
                self.height += 1;
            }
        }
    }
}

fn insert_below(node: &mut Arc<Node>, level: u32, page: PageNo, entry: PageEntry) {
    let at = (page.0 >> (level * BITS)) as usize % FANOUT;
    match Arc::make_mut(node) {
        Node::Inner(children) => {
            insert_below(children[at].get_or_insert_with(|| empty(level - 1)), level - 1, page, entry);
        }
        Node::Leaf(entries) => entries[at] = entry,
    }
}

fn empty(level: u32) -> Arc<Node> {
    Arc::new(if level == 0 { Node::Leaf([VACANT; FANOUT]) } else { Node::Inner([const { None }; FANOUT]) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::entry::SegmentNo;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn entry(version: u64) -> PageEntry {
        PageEntry::new(Version(version), SegmentNo(1), version as u32, 3, 2)
    }

    proptest! {
        #[test]
        fn it_is_a_map(changes in prop::collection::vec((prop_oneof![1..200_u32, any::<u32>()], 1..=Version::MAX.0), 0..300)) {
            let mut map = PageMap::default();
            let mut model = BTreeMap::new();
            for (page, version) in changes {
                map.insert(PageNo(page), entry(version));
                model.insert(PageNo(page), entry(version));
            }
            prop_assert_eq!(map.iter().collect::<Vec<_>>(), model.clone().into_iter().collect::<Vec<_>>());
            for (page, entry) in &model {
                prop_assert_eq!(map.get(*page), Some(*entry));
                prop_assert_eq!(map.get(PageNo(page.0 ^ 1)), model.get(&PageNo(page.0 ^ 1)).copied());
            }
        }
    }

    #[test]
    fn a_clone_does_not_see_later_changes() {
        let mut map = PageMap::default();
        map.insert(PageNo(5), entry(1));
        let before = map.clone();
        map.insert(PageNo(5), entry(2));
        map.insert(PageNo(1 << 20), entry(2));
        assert_eq!(before.get(PageNo(5)), Some(entry(1)));
        assert_eq!(before.get(PageNo(1 << 20)), None);
        assert_eq!(map.newer_than(Version(1)).iter().count(), 2);
        assert_eq!(before.newer_than(Version(1)).iter().count(), 0);
    }
}
