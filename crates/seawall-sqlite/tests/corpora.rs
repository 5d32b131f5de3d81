//! Runs the fuzz targets' own functions on every input that fuzzing has kept, and on every input that showed a fault
//! (`docs/fuzzing.md`).

#[path = "../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is the fuzz crate's own library")]
mod targets;

use std::fs;
use std::path::Path;

/// Checks every file that is kept for `target`. There must be some.
fn replay(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut checked = 0;
    for folder in ["corpus", "regressions"] {
        let Ok(files) = fs::read_dir(fuzz.join(folder).join(target)) else { continue };
        for file in files {
            let file = file.expect("it is listed").path();
            // If the check fails, this shows which input it was.
            println!("{}", file.display());
            check(&fs::read(file).expect("it is listed"));
            checked += 1;
        }
    }
    assert!(checked > 0, "nothing is kept for {target}");
}

#[test]
fn payloads() {
    replay("payloads", targets::payloads::check);
}

#[test]
fn reading() {
    replay("reading", targets::reading::check);
}

#[test]
fn segments() {
    replay("segment", targets::segment::check);
}

#[test]
fn sql() {
    replay("sql", targets::sql::check);
}

#[test]
fn texts() {
    replay("texts", targets::texts::check);
}
