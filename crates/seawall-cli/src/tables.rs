//! Whose pages these are: the tables and indexes of a SQLite database, found in its own pages. Bytes can be anything: what does not fit is
//! passed over.

use seawall::{Database, Page, PageNo, Snapshot};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// A table may not have more levels than this; SQLite's own bound.
const LEVELS: usize = 20;

/// The names of the tables and indexes that `pages` belong to, where that can be told: a page of the schema, and a free one, belongs to
/// none.
pub(crate) fn names_of(database: &Database, snapshot: &Snapshot, pages: &BTreeSet<u32>) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    let reader = Reader { database, snapshot };
    let mut roots = vec![("sqlite_schema".to_owned(), 1)];
    roots.extend(reader.schema());
    // First without a look into leaves: most pages are leaves, and their parents name them. Then in them, for pages that hold what did
    // not fit into a leaf.
    for into_leaves in [false, true] {
        for (name, root) in &roots {
            if found.len() < pages.len() {
                reader.pages_of(*root, into_leaves, &mut |page| {
                    if pages.contains(&page) {
                        found.entry(page).or_insert_with(|| name.clone());
                    }
                });
            }
        }
    }
    found
}

struct Reader<'a> {
    database: &'a Database,
    snapshot: &'a Snapshot,
}

/// A page of a b-tree.
struct Node {
    page: Page,
    header: usize,
    kind: u8,
    usable: usize,
}

impl Reader<'_> {
    fn node(&self, number: u32) -> Option<Node> {
        let page = self.page(number)?;
        let header = if number == 1 { 100 } else { 0 };
        let kind = *page.get(header)?;
        // Byte 20 of the first page: how many bytes at the end of each page are not SQLite's.
        let reserved = usize::from(*self.page(1)?.get(20)?);
        let usable = page.len().checked_sub(reserved)?;
        matches!(kind, 2 | 5 | 10 | 13).then_some(Node { page, header, kind, usable })
    }

    fn page(&self, number: u32) -> Option<Page> {
        let is_there = (1..=self.snapshot.page_count()).contains(&number);
        if is_there { self.database.read_page(self.snapshot, PageNo(number)).ok() } else { None }
    }

    /// Shows every page of the tree that begins at `root`, as far as it can be read.
    fn pages_of(&self, root: u32, into_leaves: bool, visit: &mut dyn FnMut(u32)) {
        let (mut level, mut seen) = (vec![root], HashSet::from([root]));
        visit(root);
        let mut depth = 0;
        while !level.is_empty() && depth < LEVELS {
            depth += 1;
            // All leaves are on one level: if one page of it is a leaf, the others are.
            let is_of_leaves = level.iter().find_map(|page| self.node(*page)).is_none_or(|node| node.is_leaf());
            if is_of_leaves && !into_leaves {
                return;
            }
            let mut below = Vec::new();
            for node in level.iter().filter_map(|page| self.node(*page)) {
                for child in node.children().into_iter().filter(|child| seen.insert(*child)) {
                    visit(child);
                    below.push(child);
                }
                if into_leaves {
                    let mut next = node.overflows();
                    while let Some(page) = next.pop().filter(|page| *page != 0 && seen.insert(*page)) {
                        visit(page);
                        next.extend(self.page(page).and_then(|page| number(&page, 0)));
                    }
                }
            }
            level = below;
        }
    }

    /// Each table and index, and where its tree begins.
    fn schema(&self) -> Vec<(String, u32)> {
        let mut leaves = Vec::new();
        let mut numbers = Vec::new();
        self.pages_of(1, true, &mut |page| numbers.push(page));
        leaves.extend(numbers.into_iter().filter_map(|page| self.node(page)).filter(|node| node.kind == 13));
        leaves.iter().flat_map(|leaf| leaf.cells().into_iter().filter_map(|at| self.row(leaf, at))).collect()
    }

    /// A row of the schema: the name, and the root page.
    fn row(&self, leaf: &Node, at: usize) -> Option<(String, u32)> {
        let (length, at) = varint(&leaf.page, at)?;
        let (_, at) = varint(&leaf.page, at)?;
        let record = self.payload(leaf, at, length as usize)?;
        let (header, mut at) = varint(&record, 0)?;
        let mut place = header as usize;
        let mut columns = Vec::new();
        while at < header as usize && columns.len() < 4 {
            let (kind, next) = varint(&record, at)?;
            at = next;
            let length = match kind {
                0..=4 => kind as usize,
                5 => 6,
                6 | 7 => 8,
                8 | 9 => 0,
                kind => (kind as usize).checked_sub(12)? / 2,
            };
            columns.push((kind, record.get(place..place.checked_add(length)?)?));
            place += length;
        }
        let [_, (_, name), _, (kind, root)] = columns[..] else { return None };
        let root = match kind {
            9 => 1,
            1..=6 => root.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)),
            _ => return None,
        };
        let root = u32::try_from(root).ok().filter(|root| *root > 0)?;
        Some((String::from_utf8_lossy(name).into_owned(), root))
    }

    /// The bytes of a cell's payload, those on other pages included.
    fn payload(&self, leaf: &Node, at: usize, length: usize) -> Option<Vec<u8>> {
        let local = leaf.local(length);
        let mut bytes = leaf.page.get(at..at.checked_add(local)?)?.to_vec();
        let mut next = if local < length { number(&leaf.page, at + local)? } else { 0 };
        let mut seen = HashSet::new();
        while bytes.len() < length && seen.insert(next) {
            let page = self.page(next)?;
            next = number(&page, 0)?;
            bytes.extend_from_slice(page.get(4..leaf.usable)?);
        }
        Some(bytes)
    }
}

impl Node {
    fn is_leaf(&self) -> bool {
        self.kind >= 10
    }

    /// Where each cell begins.
    fn cells(&self) -> Vec<usize> {
        let begin = self.header + if self.is_leaf() { 8 } else { 12 };
        let count = short(&self.page, self.header + 3).unwrap_or(0);
        (0..count).filter_map(|n| short(&self.page, begin + 2 * n)).collect()
    }

    fn children(&self) -> Vec<u32> {
        if self.is_leaf() {
            return Vec::new();
        }
        let right = number(&self.page, self.header + 8);
        self.cells().into_iter().filter_map(|at| number(&self.page, at)).chain(right).collect()
    }

    /// How many bytes of a payload of this length are in the cell itself.
    fn local(&self, length: usize) -> usize {
        let usable = self.usable;
        let most = if self.kind == 13 { usable.saturating_sub(35) } else { usable.saturating_sub(12) * 64 / 255 - 23 };
        let least = (usable.saturating_sub(12) * 32 / 255).saturating_sub(23);
        if length <= most {
            return length;
        }
        let rest = least + (length - least) % (usable - 4);
        if rest <= most { rest } else { least }
    }

    /// The first pages of what did not fit into cells.
    fn overflows(&self) -> Vec<u32> {
        let first_of = |at: usize| {
            let at = if self.is_leaf() { at } else { at + 4 };
            let (length, mut at) = varint(&self.page, at)?;
            if self.kind == 13 {
                at = varint(&self.page, at)?.1;
            }
            let (length, local) = (length as usize, self.local(length as usize));
            if local < length { number(&self.page, at.checked_add(local)?) } else { None }
        };
        // The keys of a table's inner pages have no payload.
        if self.kind == 5 { Vec::new() } else { self.cells().into_iter().filter_map(first_of).collect() }
    }
}

fn short(bytes: &[u8], at: usize) -> Option<usize> {
    bytes.get(at..at + 2).map(|two| usize::from(two[0]) << 8 | usize::from(two[1]))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().expect("four bytes")))
}

/// SQLite's own: the most significant bits first, eight of them in a ninth byte.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for n in 0..9 {
        let byte = *bytes.get(at.checked_add(n)?)?;
        if n == 8 {
            return Some((value << 8 | u64::from(byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + n + 1));
        }
    }
    None
}
