//! Where the database's files and folders lie on the simulated disk.

use seawall::format::ids::Version;
use seawall::ports::storage::File;

/// The folder of segments.
pub(crate) const SEGMENTS: &str = "NAME-seawall/segments";
/// The folder of bases.
pub(crate) const BASES: &str = "NAME-seawall/bases";
/// The folder of versions, which the `fs` coordinator names. What lies in it is reached through its open descriptor,
/// wherever the folder is: see [`inside`].
pub(crate) const COMMITS: &str = "NAME-seawall/commits";
/// The database's folder.
pub(crate) const FOLDER: &str = "NAME-seawall";

/// The database's folder, and the folders inside it.
pub(crate) const FOLDERS: [&str; 4] = [FOLDER, BASES, SEGMENTS, COMMITS];

/// The path of a file of the database.
pub(crate) fn path_of(file: File) -> String {
    file.to_string()
}

/// In front of the names that `commits/` has when it was taken away, or is not there yet.
pub(crate) const RETIRED: &str = "NAME-seawall/commits.";

/// The path of a folder by its inode, whatever its name is: as its open descriptor leads there.
pub(crate) fn inside(folder: usize) -> String {
    format!("@{folder}")
}

/// The path of a version's record, in a folder of versions.
pub(crate) fn record_path(folder: usize, version: Version) -> String {
    format!("@{folder}/{}", version.0)
}

/// The folder of versions that a path leads through, if it does.
pub(crate) fn folder_in(path: &str) -> Option<usize> {
    path.strip_prefix('@')?.split('/').next()?.parse().ok()
}

/// The folder that `path` lies in.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
