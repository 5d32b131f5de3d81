//! An adoption: version 0 is what stock SQLite had committed to NAME, which it can no longer write.

use super::{Link, Oracle, Sum};
use crate::content::{sum_of, sums_of};
use crate::disk::Disk;
use crate::locked_name::is_marked;
use crate::paths::path_of;
use seawall::Version;
use seawall::format::head::Head;
use seawall::format::sqlite_header::HEADER;
use seawall::ports::storage::File;
use std::time::Duration;

impl Oracle {
    /// Stock SQLite committed to NAME, which has these pages now. After the adoption, no version would contain that
    /// commit.
    pub(crate) fn name_written(&mut self, pages: Vec<Sum>) -> Result<(), String> {
        self.name = pages;
        if self.chain.is_empty() {
            Ok(())
        } else {
            Err("stock SQLite wrote NAME, and a head names what was there before".into())
        }
    }

    /// Version 0 has everything that stock SQLite committed to NAME, and stock SQLite can no longer write NAME.
    fn check_adopted(&self, head: &Head, disk: &Disk) -> Result<(), String> {
        let base = head
            .base
            .map(|base| disk.content(&path_of(File::Base(base.name))).ok_or("the first head's base is not there"));
        let base = base.transpose()?.map(sums_of).unwrap_or_default();
        if let Some(page) = (0..base.len().max(self.name.len())).find(|page| base.get(*page) != self.name.get(*page)) {
            return Err(format!("page {} of version 0 is not what stock SQLite had committed", page + 1));
        }
        let name = disk.find(&path_of(File::Name)).ok_or("a head is there, and NAME is not")?;
        if !is_marked(disk, name) || !disk.are_bytes_durable(name, 0, HEADER) {
            return Err("a head is there, and NAME has no durable mark".into());
        }
        Ok(())
    }

    pub(super) fn begin(&mut self, head: Head, disk: &Disk, now: Duration) -> Result<(), String> {
        if head.version != Version(0) {
            return Err(format!("the first head is version {}", head.version.0));
        }
        self.check_adopted(&head, disk)?;
        let page_count = head.base.map_or(0, |base| base.page_count);
        if let Some(base) = head.base {
            let bytes = disk.content(&path_of(File::Base(base.name))).ok_or("the first head's base is not there")?;
            for (page, image) in bytes.chunks(base.page_size.bytes()).enumerate() {
                self.pages.entry(page as u32 + 1).or_default().push((0, sum_of(page as u32 + 1, image)));
                self.images.entry(page as u32 + 1).or_default().push((0, image.into()));
            }
        }
        let page_size = head.base.map(|base| base.page_size);
        self.chain.push(Link {
            head,
            page_count,
            page_size,
            transaction: None,
            since: now,
            runs: Vec::new(),
            names: Vec::new(),
        });
        Ok(())
    }
}
