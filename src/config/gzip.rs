//! How hard bodies are compressed.

/// How bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GzipLevel {
    /// By the encoder that knows the rows, with more effort where there is time for it.
    Auto,
    /// By zlib's method at this level, 1 to 9.
    Zlib(u32),
}

impl From<u32> for GzipLevel {
    fn from(level: u32) -> Self {
        GzipLevel::Zlib(level)
    }
}
