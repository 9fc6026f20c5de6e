//! Any bytes as a GGUF file.
#![no_main]

use deepthin_fuzz as _;
use deepthin_tests::oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::gguf(data));
