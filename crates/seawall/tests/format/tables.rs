//! The tables of the worked example: bytes, taken apart field by field. This knows only what docs/format.md says of the
//! format, and nothing of the engine's decoders.

use std::fmt::Write as _;

/// Takes fields from the front of bytes, and keeps a row for each.
pub(crate) struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    table: String,
}

impl<'a> Walk<'a> {
    /// Begins at byte `at`.
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Walk<'a> {
        let table = "| at | bytes | field | which says |\n| --- | --- | --- | --- |\n".to_owned();
        Walk { bytes, at, table }
    }

    /// The rows so far, and where the next one would begin.
    pub(crate) fn end(self) -> (String, usize) {
        (self.table, self.at)
    }

    fn row(&mut self, length: usize, field: &str, says: &str) -> &'a [u8] {
        let bytes = &self.bytes[self.at..][..length];
        let (at, hex) = (self.at, hex::encode(bytes));
        writeln!(self.table, "| {at:#05x} | `{hex}` | {field} | {says} |").unwrap();
        self.at += length;
        bytes
    }

    fn number(&mut self, length: usize, field: &str, says: impl Fn(u64) -> String) -> u64 {
        let bytes = &self.bytes[self.at..][..length];
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        self.row(length, field, &says(value));
        value
    }

    fn varint(&mut self, field: &str, says: impl Fn(u64) -> String) -> u64 {
        let length = self.bytes[self.at..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
        let bytes = self.bytes[self.at..][..length].iter();
        let value = bytes.rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
        self.row(length, field, &says(value));
        value
    }

    /// The header of a frame, and with `inside` its payload, up to the next frame.
    pub(crate) fn frame(&mut self, kind: &str, inside: impl FnOnce(&mut Self, usize)) {
        self.row(4, "magic", "`sea1`");
        self.row(1, "kind", kind);
        self.row(3, "zero", "");
        let length = self.number(4, "payload length", |n| format!("{n} bytes")) as usize;
        self.row(4, "zero", "");
        self.row(16, "checksum", "the first half of the digest");
        let end = self.at + length;
        inside(self, end);
        assert_eq!(self.at, end, "the fields of the frame {kind} end with its payload");
        let padding = end.next_multiple_of(16) - end;
        if padding > 0 {
            self.row(padding, "padding", "");
        }
    }

    fn place(&mut self, what: &str) {
        self.row(8, &format!("{what}: segment, writer"), "");
        self.varint(&format!("{what}: segment, n"), plain);
        self.varint(&format!("{what}: at"), unit);
        self.varint(&format!("{what}: length"), in_bytes);
        self.varint(&format!("{what}: lead"), in_bytes);
    }

    /// An entry of a window.
    pub(crate) fn entry(&mut self, what: &str) {
        self.row(16, &format!("{what}commit id"), "");
        self.varint(&format!("{what}time"), time);
        self.varint(&format!("{what}page count"), plain);
        let pages = self.varint(&format!("{what}pages"), plain);
        let mut page = 0;
        for _ in 0..pages {
            let before = page;
            let says = |value: u64| {
                let old = if value & 1 == 1 { "with" } else { "without" };
                format!("page {}, {old} its old image", before + (value >> 1))
            };
            page = before + (self.varint(&format!("{what}page"), says) >> 1);
            self.row(8, &format!("{what}its checksum"), "");
        }
        let length = self.varint(&format!("{what}length of the delta"), in_bytes) as usize;
        self.row(length, &format!("{what}delta"), "zstd, without its magic");
    }

    pub(crate) fn head(&mut self, end: usize) {
        self.row(end - self.at, "head", "its text, as above");
    }

    pub(crate) fn pages(&mut self, end: usize) {
        self.row(16, "database", "");
        self.number(8, "version", plain);
        self.row(16, "commit id", "");
        let size = self.number(4, "page size", plain);
        let count = self.varint("pages", plain);
        for _ in 0..count {
            self.varint("page", plain);
        }
        self.row(1, "compression", if self.bytes[self.at] == 1 { "zstd" } else { "none" });
        self.row(end - self.at, "images", &format!("{} bytes, compressed", size * count));
    }

    pub(crate) fn commit(&mut self, _end: usize) {
        self.row(16, "database", "");
        self.number(8, "epoch", plain);
        self.number(8, "version", plain);
        self.row(16, "commit id", "");
        self.number(4, "page size", plain);
        self.number(4, "page count", plain);
        let ordinal = self.varint("ordinal", |n| format!("fold {n} of the database"));
        self.row(16, "fold: commit id", "");
        self.row(32, "fold: digest", "");
        if ordinal > 1 {
            self.place("fold");
        }
        self.varint("folded", |n| format!("that fold is version {n}"));
        self.varint("fold: time", time);
        let length = self.varint("window: length", in_bytes) as usize;
        let end = self.at + length;
        while self.at < end {
            self.entry("window: ");
        }
        let jumps = self.varint("jumps", plain);
        for _ in 0..jumps {
            self.varint("jump: version", plain);
            self.row(32, "jump: digest", "");
            self.place("jump");
            self.varint("jump: time", time);
        }
        self.varint("settled: version", plain);
        self.row(32, "settled: digest", "that of the predecessor");
        self.varint("group: first", plain);
        self.varint("group: last", plain);
        self.varint("time", time);
        if self.number(1, "has a base", |n| ["no", "yes"][n as usize].to_owned()) == 1 {
            self.number(8, "base: epoch", plain);
            self.varint("base: version", plain);
            self.row(4, "base: id", "");
            self.number(4, "base: page size", plain);
            self.number(4, "base: page count", plain);
            self.varint("base: log", in_bytes);
        }
        self.number(8, "home", plain);
        self.varint("sweep", plain);
        self.varint("log", |n| format!("{n} bytes before this commit"));
        let groups = self.varint("groups", plain);
        for n in 1..=groups {
            self.varint(&format!("group {n}: at"), unit);
            self.varint(&format!("group {n}: units"), plain);
            let pages = self.varint(&format!("group {n}: pages"), plain);
            for _ in 0..pages {
                let slot = |slot| match slot {
                    0 => "an empty slot".to_owned(),
                    slot => format!("page {}, {}", slot >> 1, ["its own", "carried"][slot as usize & 1]),
                };
                if self.varint(&format!("group {n}: page"), slot) > 0 {
                    self.row(8, &format!("group {n}: its checksum"), "");
                }
            }
        }
        self.varint("runs begin", |n| format!("after version {n}"));
        let runs = self.varint("runs", plain);
        for _ in 0..runs {
            self.varint("run: up to", plain);
            self.varint("run: entries", plain);
            self.place("run");
        }
        self.map();
    }

    /// Places of the page map.
    fn map(&mut self) {
        let segments = self.varint("recent: segments", plain);
        for n in 0..segments {
            self.row(8, &format!("recent: segment {n}, writer"), "");
            self.varint(&format!("recent: segment {n}, n"), plain);
        }
        let newest = self.varint("recent: newest version", plain);
        let places = self.varint("recent: pages", plain);
        let mut page = 0;
        for _ in 0..places {
            let before = page;
            page += self.varint("recent: page", |more| format!("page {}", before + more));
            self.varint("recent: segment", |n| format!("the one listed as {n}"));
            self.varint("recent: at", unit);
            self.varint("recent: units", plain);
            self.number(1, "recent: slot", plain);
            self.varint("recent: version", |less| format!("newest − {less}: version {}", newest - less));
        }
    }
}

fn plain(value: u64) -> String {
    value.to_string()
}

fn unit(value: u64) -> String {
    format!("unit {value}, byte {:#x}", value * 16)
}

fn in_bytes(value: u64) -> String {
    format!("{value} bytes")
}

fn time(value: u64) -> String {
    format!("{value} ms since 1970")
}
