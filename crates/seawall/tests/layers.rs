//! One folder is one layer, and no file uses what lies above its own: read off the sources, which are all that says it.

use std::path::{Path, PathBuf};

/// From the bottom to the top; what is in one row may use one another.
const LAYERS: [&[&str]; 9] = [
    &["bounds", "mutation", "shown", "to_come"],
    &["format"],
    &["error"],
    &["ports", "options"],
    &["chores"],
    &["read"],
    &["write"],
    &["database"],
    &["open"],
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// The layer of a module at the top of the crate.
fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn arrows_point_downward() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut arrows, mut wrong) = (0, Vec::new());
    for file in files.iter().filter(|file| !file.ends_with("lib.rs")) {
        let path = file.strip_prefix(&root).unwrap();
        let module = path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let own = layer_of(module).unwrap_or_else(|| panic!("{module} has no layer"));
        let text = std::fs::read_to_string(file).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for used in line.split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                arrows += 1;
                // What is no module is one of the names that lib.rs gives to the engine's users.
                if layer_of(used).is_none_or(|layer| layer > own) {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(arrows > 200, "only {arrows} uses were found");
    assert!(wrong.is_empty(), "these use what lies above them:\n{}", wrong.join("\n"));
}
