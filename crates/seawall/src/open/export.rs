//! Writing one version as the plain SQLite file that it is.

use crate::database::Database;
use crate::error::{Error, Result};
use crate::format::ids::PageNo;
use crate::format::sqlite_header;
use crate::read::snapshot::Snapshot;
use std::io::Write;

impl Database {
    /// Writes `snapshot` to `out` as a plain SQLite file that any tool can read and write. Nothing is written for an
    /// empty database: to SQLite, an empty file is one.
    pub fn export(&self, snapshot: &Snapshot, out: &mut dyn Write) -> Result<()> {
        for page in (1..=snapshot.page_count()).map(PageNo) {
            let image = self.read_page(snapshot, page)?;
            let written = if page.0 == 1 { out.write_all(&unprotected(&image)?) } else { out.write_all(&image) };
            written.map_err(|error| Error::io("writing the copy", error))?;
        }
        Ok(())
    }
}

/// Page 1 without Seawall's mark.
fn unprotected(image: &[u8]) -> Result<Vec<u8>> {
    let (header, rest) = image.split_first_chunk::<{ sqlite_header::HEADER }>().expect("a page has at least 512 bytes");
    match sqlite_header::state_of(header) {
        sqlite_header::NameState::Protected => Ok([&sqlite_header::with_write_version(header, 1), rest].concat()),
        sqlite_header::NameState::Plain => Ok(image.to_vec()),
        _ => Err(Error::corrupt("page 1", "it does not begin as a SQLite database does")),
    }
}
