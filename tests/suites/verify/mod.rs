//! The proof that `verify` gives: it finds what is wrong, makes it small, and its generators reach
//! everything.

mod cases;
mod coverage;
mod reports;
