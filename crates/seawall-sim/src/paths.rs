//! Where the database's files and folders lie on the simulated disk.

use seawall::format::ids::Version;
use seawall::ports::storage::File;

/// The folder of segments.
pub(crate) const SEGMENTS: &str = "NAME-seawall/segments";
/// The folder of bases.
pub(crate) const BASES: &str = "NAME-seawall/bases";
/// The folder of versions, which the `fs` coordinator names.
pub(crate) const COMMITS: &str = "NAME-seawall/commits";
/// The database's folder.
pub(crate) const FOLDER: &str = "NAME-seawall";

/// The database's folder, and the folders inside it.
pub(crate) const FOLDERS: [&str; 4] = [FOLDER, BASES, SEGMENTS, COMMITS];

/// The path of a file of the database.
pub(crate) fn path_of(file: File) -> String {
    file.to_string()
}

/// The path of a version's record.
pub(crate) fn record_path(version: Version) -> String {
    format!("{COMMITS}/{}", version.0)
}

/// The folder that `path` lies in.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
