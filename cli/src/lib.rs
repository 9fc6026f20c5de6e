//! deepthin.
