//! Writing one version as the plain SQLite file that it is.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::ids::{Epoch, PageNo, Version};
use crate::format::sqlite_header::HEADER;
use crate::read::snapshot::Snapshot;
use crate::upkeep::copy::{For, header_for};
use std::io::Write;

impl Database {
    /// Writes `snapshot` to `out` as a plain SQLite file that any tool can read and write. Nothing is written for an
    /// empty database: to SQLite, an empty file is one.
    pub fn export(&self, snapshot: &Snapshot, out: &mut dyn Write) -> Result<()> {
        for page in (1..=snapshot.page_count()).map(PageNo) {
            let image = self.read_page(snapshot, page)?;
            let written =
                if page.0 == 1 { out.write_all(&plain(snapshot.head.order(), &image)?) } else { out.write_all(&image) };
            written.map_err(|error| Error::io("writing the copy", error))?;
        }
        Ok(())
    }
}

/// Page 1 of a plain copy.
fn plain(version: (Epoch, Version), image: &[u8]) -> Result<Vec<u8>> {
    Ok([&header_for(For::Writing, version, image)?, &image[HEADER..]].concat())
}
