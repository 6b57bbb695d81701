//! How hard bodies are compressed.

/// How bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GzipLevel {
    /// By the encoder that knows the rows, with more effort where there is time for it.
    Auto,
    /// By zlib's method at this level, 0 to 9; 0 stores bodies as they are.
    Zlib(u32),
}

impl std::fmt::Display for GzipLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GzipLevel::Auto => f.write_str("auto"),
            GzipLevel::Zlib(level) => level.fmt(f),
        }
    }
}
