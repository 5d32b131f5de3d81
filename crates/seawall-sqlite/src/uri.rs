//! The URI of a database, made from its path.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Encodes everything but unreserved characters in a value. In a path the slash is not encoded either.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &VALUE.remove(b'/');

/// The URI that opens the database at `name` through Seawall, with `parameters`, each a name and a value. Seawall
/// creates a database that does not exist yet only if a URI with `vfs=seawall` opens it.
///
/// ```
/// use std::path::Path;
///
/// let uri = seawall_sqlite::uri(Path::new("/mnt/efs/what is it?.sqlite3"), &[("timeout", "5")]);
/// assert_eq!(uri, "file:/mnt/efs/what%20is%20it%3F.sqlite3?vfs=seawall&timeout=5");
/// ```
///
/// | parameter | value | default |
/// | --- | --- | --- |
/// | `coordinator` | `fs:`, or `dynamodb://TABLE?region=REGION` | `fs:` |
/// | `timeout` | seconds to wait for another writer | SQLite's busy handler decides |
/// | `freshness` | `transaction`, `request`, or seconds: when a connection asks for newer commits | `transaction` |
/// | `request_age` | seconds after which a long request asks again | 1 |
/// | `lease` | seconds that a writer's lease lasts without a renewal | 3 |
/// | `page_cache` | bytes for cached pages, one cache for all connections to the database | 64 MiB |
/// | `lease_ahead` | 0: a commit does not make later requests of its route ask for the lease when they begin | 1 |
/// | `upkeep` | 0: this process makes no checkpoints and collects no garbage in the background | 1 |
/// | `mode` | `ro`: read-only; no file is created | |
pub fn uri(name: &Path, parameters: &[(&str, &str)]) -> String {
    let path = percent_encode(name.as_os_str().as_bytes(), PATH).to_string();
    // Two slashes would begin the name of a host.
    let path = if path.starts_with("//") { format!("/{}", path.trim_start_matches('/')) } else { path };
    let parameters = [("vfs", "seawall")].iter().chain(parameters);
    let query: Vec<_> = parameters.map(|(key, value)| format!("{}={}", encoded(key), encoded(value))).collect();
    format!("file:{path}?{}", query.join("&"))
}

fn encoded(text: &str) -> impl std::fmt::Display {
    percent_encode(text.as_bytes(), VALUE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn each_byte_of_a_path_comes_back() {
        let name = Path::new(OsStr::from_bytes(b"//a/b?c#d%e \xff.db"));
        assert_eq!(uri(name, &[]), "file:/a/b%3Fc%23d%25e%20%FF.db?vfs=seawall");
        assert_eq!(uri(Path::new("a/b.db"), &[]), "file:a/b.db?vfs=seawall");
    }

    #[test]
    fn a_value_stays_one_value() {
        let coordinator = "dynamodb://locks?region=eu-west-1&endpoint=http://127.0.0.1:8000";
        let uri = uri(Path::new("db"), &[("coordinator", coordinator), ("timeout", "0.5")]);
        let (_, query) = uri.split_once('?').expect("a query");
        assert_eq!(
            query,
            "vfs=seawall&coordinator=dynamodb%3A%2F%2Flocks%3Fregion%3Deu-west-1%26endpoint%3Dhttp%3A%2F%2F127.0.0.1%3A8000&timeout=0.5"
        );
    }
}
