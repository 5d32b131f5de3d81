//! Checks that the modules of a crate use only modules of their own layer and of the layers below it. It reads the
//! sources.

use std::path::{Path, PathBuf};

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

/// The modules that `line` names: `crate::a`, and each of `crate::{a, b}`.
fn used(line: &str) -> Vec<&str> {
    let name = |text: &str| text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let uses = line.split("crate::").skip(1);
    uses.flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => group.split('}').next().unwrap().split(',').map(|it| &it.trim()[..name(it.trim())]).collect(),
        None => vec![&rest[..name(rest)]],
    })
    .collect()
}

/// Checks the crate at `root`. `layers` has its modules from the bottom to the top; modules of one layer may use one
/// another. At least `least` uses must be found, so that a mistake in this check does not go unnoticed.
pub(crate) fn check(root: &str, layers: &[&[&str]], least: usize) {
    let layer_of = |module: &str| layers.iter().position(|layer| layer.contains(&module));
    let root = Path::new(root).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut arrows, mut wrong) = (0, Vec::new());
    for file in files.iter().filter(|file| !file.ends_with("lib.rs")) {
        let path = file.strip_prefix(&root).unwrap();
        let module = path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let own = layer_of(module).unwrap_or_else(|| panic!("{module} has no layer"));
        let text = std::fs::read_to_string(file).unwrap();
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for module in used(line) {
                arrows += 1;
                // What is no module is one of the names that lib.rs exports to other crates.
                if layer_of(module).is_none_or(|layer| layer > own) {
                    wrong.push(format!("{}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(arrows >= least, "only {arrows} uses were found");
    assert!(wrong.is_empty(), "these use modules above their own layer:\n{}", wrong.join("\n"));
}
