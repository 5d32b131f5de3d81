//! A table of its own for each test binary, on the DynamoDB Local that `tests/dynamodb/local.py` started.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, reason = "shared by several test binaries")]

#[path = "../../../seawall/tests/common/mod.rs"]
pub mod engine;

use seawall_dynamodb::address::Address;
use seawall_dynamodb::{admin, sdk};
use std::io::Write;
use std::sync::OnceLock;

/// The URL of a table, which is made when it is first needed. `None`, after a message on the terminal, if there is no
/// DynamoDB Local.
pub fn url() -> Option<&'static str> {
    static URL: OnceLock<Option<String>> = OnceLock::new();
    URL.get_or_init(|| {
        let Ok(endpoint) = std::env::var("SEAWALL_DYNAMODB_ENDPOINT") else {
            // Past the test harness, which keeps what a passing test prints.
            let why = "\nSKIPPED: no DynamoDB Local; run: python tests/dynamodb/local.py -- cargo test\n";
            std::io::stderr().write_all(why.as_bytes()).unwrap();
            return None;
        };
        let mut name = [0_u8; 8];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut name))
            .unwrap();
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let url = format!("dynamodb://seawall-{name}?region=us-east-1&endpoint={endpoint}");
        admin::create(&sdk::table(&Address::parse(&url).unwrap()).unwrap()).unwrap();
        seawall_dynamodb::register();
        Some(url)
    })
    .as_deref()
}
