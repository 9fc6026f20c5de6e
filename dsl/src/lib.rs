//! The description language: `.thin` text to a checked [`Model`].
pub mod model;
pub use model::Model;
