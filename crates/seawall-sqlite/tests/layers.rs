//! The modules of this crate are in layers, and no file uses a layer above its own.

#[path = "../../seawall/tests/common/layers.rs"]
mod layers;

/// From the bottom to the top, as lib.rs lists them. Each module is a layer of its own, except for those that use no
/// other.
const LAYERS: [&[&str]; 19] = [
    &["abi", "header", "request", "sync", "uri"],
    &["api", "failure"],
    &["host"],
    &["parameters"],
    &["writing"],
    &["journal"],
    &["unshared"],
    &["connection"],
    &["fork"],
    &["plain_file"],
    &["stock_sqlite"],
    &["main_file"],
    &["opening"],
    &["pragma"],
    &["io_methods"],
    &["vfs"],
    &["entry"],
    &["register"],
    &["tools"],
];

#[test]
fn arrows_point_downward() {
    layers::check(env!("CARGO_MANIFEST_DIR"), &LAYERS, 100);
}
