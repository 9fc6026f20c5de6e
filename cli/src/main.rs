//! deepthin.
fn main() {}
