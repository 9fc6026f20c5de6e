//! The storage format of every tensor of a model: what [`build`](super::build()) needs to know
//! beside the model's shapes.

use deepthin_dsl::model as dsl;
use deepthin_dsl::model::{Model, TensorStorage};
use thiserror::Error;

use super::Role;
use crate::format::{Activations, Bits, Codes, Format, Group};

/// Formats by tensor: one for the table, one for the head, seven for each stored block.
/// Norm gains are always f32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats {
    table: Format,
    head: Format,
    blocks: Vec<BlockFormats>,
}

/// The formats of a block's matrices, in the order of [`Role::BLOCK_MATRICES`]. Blocks with equal
/// formats are run by one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockFormats([Format; Role::BLOCK_MATRICES.len()]);

/// Why formats cannot be told or set.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatsError {
    /// The model asks for a group that no kernel reads.
    #[error("`storage.{class}` is {storage}: there are groups of 32, 64, 96, 192 and row")]
    Group {
        /// `blocks` or `embeddings`.
        class: &'static str,
        /// What the description says.
        storage: TensorStorage,
    },
    /// A tensor that the model does not have.
    #[error("there is no tensor `{}`: the model has stored blocks 0 to {}", tensor_name(*.block, *.role), .depth.saturating_sub(1))]
    NoSuchTensor {
        /// The stored block named, if any.
        block: Option<u32>,
        /// The role named.
        role: Role,
        /// Stored blocks of the model.
        depth: usize,
    },
    /// A norm gain in another format than f32.
    #[error("the norm gain `{}` is {found}: gains are f32, convert it when it is loaded", tensor_name(*.block, *.role))]
    Gain {
        /// The stored block, if any.
        block: Option<u32>,
        /// The role.
        role: Role,
        /// The format asked for.
        found: Format,
    },
}

/// A tensor's name in messages: `block 3 ffn_up` or `output_norm`.
pub fn tensor_name(block: Option<u32>, role: Role) -> String {
    match block {
        Some(block) => format!("block {block} {role}"),
        None => role.to_string(),
    }
}

impl Group {
    /// The group that a description says, where there are kernels for it.
    pub fn said(group: dsl::Group) -> Option<Self> {
        match group {
            dsl::Group::Of(elements) => Group::of(elements),
            dsl::Group::Row => Some(Group::Row),
        }
    }
}

impl Activations {
    /// What a matrix of `format` and `columns` is multiplied with, where a description says `said`:
    /// codes where the weights are codes, unless it says f32; in groups of 64 where these divide
    /// the columns and nothing else is said, or else of 32. `None` for a group that does not divide
    /// them.
    pub fn of(said: Option<dsl::Activations>, format: Format, columns: usize) -> Option<Self> {
        if format.codes().is_none() {
            return Some(Activations::F32);
        }
        let group =
            match said {
                Some(dsl::Activations::F32) => return Some(Activations::F32),
                Some(dsl::Activations::Q8 { group: Some(group) }) => Group::said(group)?,
                Some(dsl::Activations::Q8 { group: None }) | None => {
                    if Group::Of64.divides(columns) { Group::Of64 } else { Group::Of32 }
                }
            };
        group.divides(columns).then_some(Activations::Q8(group))
    }
}

impl BlockFormats {
    /// The format of one matrix, or `None` where the role is not one of a block's matrices.
    pub fn get(&self, role: Role) -> Option<Format> {
        let index = Role::BLOCK_MATRICES.into_iter().position(|r| r == role)?;
        self.0.get(index).copied()
    }
}

impl Formats {
    /// The same format for all block matrices, and one for table and head.
    pub fn uniform(depth: u32, blocks: Format, embeddings: Format) -> Self {
        let block = BlockFormats([blocks; Role::BLOCK_MATRICES.len()]);
        Formats { table: embeddings, head: embeddings, blocks: vec![block; depth as usize] }
    }

    /// The formats that a description's `storage` means.
    ///
    /// # Errors
    /// [`FormatsError::Group`] for a group that no kernel reads.
    pub fn from_storage(model: &Model) -> Result<Self, FormatsError> {
        let format = |class, storage| match storage {
            TensorStorage::F32 => Ok(Format::F32),
            TensorStorage::F16 => Ok(Format::F16),
            TensorStorage::Bf16 => Ok(Format::Bf16),
            TensorStorage::Codes { bits, group, minimum } => Bits::ALL
                .into_iter()
                .find(|known| known.count() == bits)
                .zip(Group::said(group))
                .map(|(bits, group)| Format::Codes(Codes::own(bits, group, minimum)))
                .ok_or(FormatsError::Group { class, storage }),
        };
        let blocks = format("blocks", model.storage.blocks)?;
        let embeddings = format("embeddings", model.storage.embeddings)?;
        Ok(Formats::uniform(model.depth, blocks, embeddings))
    }

    /// Sets the format of one tensor, as a loader does that has read it from a file. `block` is
    /// the stored block of a block tensor, `None` for the others.
    ///
    /// # Errors
    /// A tensor that the model does not have, and a norm gain that is not f32.
    pub fn set(
        &mut self,
        block: Option<u32>,
        role: Role,
        format: Format,
    ) -> Result<(), FormatsError> {
        let missing = FormatsError::NoSuchTensor { block, role, depth: self.blocks.len() };
        if role.is_gain() {
            return match self.get(block, role) {
                None => Err(missing),
                Some(Format::F32) if format == Format::F32 => Ok(()),
                Some(_) => Err(FormatsError::Gain { block, role, found: format }),
            };
        }
        let entry = match (block, role) {
            (None, Role::TokenEmbedding) => Some(&mut self.table),
            (None, Role::Output) => Some(&mut self.head),
            (None, _) => None,
            (Some(block), _) => Role::BLOCK_MATRICES
                .into_iter()
                .position(|r| r == role)
                .and_then(|at| self.blocks.get_mut(block as usize)?.0.get_mut(at)),
        };
        *entry.ok_or(missing)? = format;
        Ok(())
    }

    /// The format of one tensor, or `None` where the model has no such tensor.
    pub fn get(&self, block: Option<u32>, role: Role) -> Option<Format> {
        match block {
            None if role.in_block() => None,
            None if role.is_gain() => Some(Format::F32),
            None if role == Role::TokenEmbedding => Some(self.table),
            None => Some(self.head),
            Some(block) => {
                let formats = self.block(block)?;
                if role.in_block() && role.is_gain() {
                    Some(Format::F32)
                } else {
                    formats.get(role)
                }
            }
        }
    }

    /// Whether any tensor is stored as integer codes.
    pub fn has_codes(&self) -> bool {
        let blocks = self.blocks.iter().flat_map(|block| block.0);
        blocks.chain([self.table, self.head]).any(|format| format.codes().is_some())
    }

    /// The formats of one stored block's matrices.
    pub fn block(&self, block: u32) -> Option<&BlockFormats> {
        self.blocks.get(block as usize)
    }

    /// Stored blocks.
    pub fn depth(&self) -> usize {
        self.blocks.len()
    }
}
