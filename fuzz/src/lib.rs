//! What fuzzing does with bytes: for every parser, and for whole nodes.
//!
//! A target takes any bytes and panics if something does not hold that must. Under libFuzzer they come from
//! coverage-guided search; in `tests/tests/fuzz.rs`, from a seeded generator, so that every test run tries some.

#![forbid(unsafe_code)]

mod input;
pub mod nodes;
pub mod parsers;
pub mod requests;
pub mod system;

/// Takes any bytes.
pub type Target = fn(&[u8]);

/// All targets, by name.
pub const TARGETS: [(&str, Target); 11] = [
    ("header", parsers::header),
    ("frames", parsers::frames),
    ("ack_ranges", parsers::ack_ranges),
    ("request", parsers::request),
    ("response", parsers::response),
    ("records", parsers::records),
    ("bodies", parsers::bodies),
    ("client", requests::client),
    ("two_nodes", nodes::two_nodes),
    ("insider", nodes::insider),
    ("system", system::system),
];
