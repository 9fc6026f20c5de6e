//! A case: a kernel, the bytes of its buffers, its scalars; the interpreter says what must come out.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use deepthin_compiler::id::Id;
use deepthin_compiler::interp::vir::{Memory, RunError, run};
use deepthin_compiler::vir::{BufferId, Verified};

/// A call of a kernel.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// The kernel.
    pub kernel: Arc<Verified>,
    /// Contents of each buffer before the call, exactly of the declared size. Those that are only
    /// read may be borrowed, such as a model's packed weights.
    pub buffers: Vec<Cow<'a, [u8]>>,
    /// Scalars within the declared bounds, a range as two.
    pub scalars: Vec<i64>,
}

impl Case<'_> {
    /// What the buffers hold after the call, by the interpreter's definition. Buffers without a
    /// store are borrowed from the case.
    ///
    /// # Errors
    /// Scalars or buffers that are not as the kernel declares.
    pub fn expected(&self) -> Result<Vec<Cow<'_, [u8]>>, RunError> {
        let buffers = self.buffers.iter().map(|bytes| Cow::Borrowed(bytes.as_ref())).collect();
        let mut memory = Overlay(buffers);
        run(&self.kernel, &mut memory, &self.scalars)?;
        Ok(memory.0)
    }

    /// The same call with bytes of its own.
    pub fn owned(&self) -> Case<'static> {
        let buffers = self.buffers.iter().map(|bytes| Cow::Owned(bytes.to_vec())).collect();
        Case { kernel: Arc::clone(&self.kernel), buffers, scalars: self.scalars.clone() }
    }

    /// A number that tells cases apart: of the kernel's text (`kernel`), contents and scalars.
    pub fn fingerprint(&self, kernel: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (kernel, &self.buffers, &self.scalars).hash(&mut hasher);
        hasher.finish()
    }
}

/// The number of a kernel's text for [`Case::fingerprint`].
pub fn text_fingerprint(kernel: &Verified) -> u64 {
    let mut hasher = DefaultHasher::new();
    kernel.to_string().hash(&mut hasher);
    hasher.finish()
}

/// Buffers that are copied when they are first written.
struct Overlay<'a>(Vec<Cow<'a, [u8]>>);

impl Memory for Overlay<'_> {
    fn size(&self, buffer: BufferId) -> Option<usize> {
        self.0.get(buffer.index()).map(|bytes| bytes.len())
    }

    fn read(&self, buffer: BufferId, offset: usize, into: &mut [u8]) -> bool {
        let bytes = self.0.get(buffer.index()).and_then(|bytes| bytes.get(offset..));
        let Some(bytes) = bytes.and_then(|bytes| bytes.get(..into.len())) else { return false };
        into.copy_from_slice(bytes);
        true
    }

    fn write(&mut self, buffer: BufferId, offset: usize, from: &[u8]) -> bool {
        let bytes = self.0.get_mut(buffer.index()).map(Cow::to_mut);
        let Some(bytes) = bytes.and_then(|bytes| bytes.get_mut(offset..)) else { return false };
        let Some(bytes) = bytes.get_mut(..from.len()) else { return false };
        bytes.copy_from_slice(from);
        true
    }
}
