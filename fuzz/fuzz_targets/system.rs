//! See `meshground_fuzz::TARGETS`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| meshground_fuzz::system::system(bytes));
