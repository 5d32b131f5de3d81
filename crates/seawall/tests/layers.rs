//! Each module uses only its own layer and those below it, and every list of the layers is this one.

#[path = "common/layers.rs"]
mod layers;

use std::path::Path;

/// From the bottom to the top; the modules of one row may use one another.
const LAYERS: [&[&str]; 10] = [
    &["bounds", "mutation", "shown", "way_out"],
    &["format"],
    &["error"],
    &["ports", "options"],
    &["chores"],
    &["read"],
    &["write"],
    &["upkeep"],
    &["database"],
    &["open"],
];

#[test]
fn arrows_point_downward() {
    layers::check(env!("CARGO_MANIFEST_DIR"), &LAYERS, 200);
}

/// The modules that each item of a numbered list begins with, up to the colon: ``1. `a`, `b`: what they are``.
fn listed(text: &str) -> Vec<Vec<&str>> {
    let lines = text.lines().map(|line| line.trim_start_matches("//! "));
    let items = lines.filter_map(|line| {
        line.trim_start_matches(|c: char| c.is_ascii_digit())
            .strip_prefix(". ")
            .filter(|rest| rest.len() + 2 < line.len())
    });
    let modules = items.filter(|item| item.starts_with(['`', '[']));
    modules.map(|item| item.split(": ").next().unwrap().split('`').skip(1).step_by(2).collect()).collect()
}

#[test]
fn every_list_of_the_layers_is_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["src/lib.rs", "../../CONTRIBUTING.md", "../../docs/design.md"] {
        let text = std::fs::read_to_string(root.join(page)).unwrap();
        assert_eq!(listed(&text), LAYERS, "{page}");
    }
}
