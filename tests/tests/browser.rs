//! The real-browser tests.
