#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| shardns_fuzz::targets::respond::run(input));
