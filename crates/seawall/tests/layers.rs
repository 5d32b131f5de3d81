//! One folder is one layer, and no file uses a layer above its own.

#[path = "common/layers.rs"]
mod layers;

/// From the bottom to the top; the modules of one row may use one another.
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

#[test]
fn arrows_point_downward() {
    layers::check(env!("CARGO_MANIFEST_DIR"), &LAYERS, 200);
}
