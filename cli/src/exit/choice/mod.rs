//! The choice of an exit code, and of advice, for every error of the libraries.

mod engine;
mod files;
mod measure;
mod text;
