//! Any bytes as a vocabulary and a text.
#![no_main]

use deepthin_fuzz as _;
use deepthin_tests::oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::tokenizer(data));
