//! Fuzzes `checks::mcp_result`.
#![no_main]
#![allow(dead_code, missing_docs)]

#[path = "../../crates/outcrop-wire/tests/hostile/checks.rs"]
mod checks;

libfuzzer_sys::fuzz_target!(|data: &[u8]| checks::mcp_result(data));
