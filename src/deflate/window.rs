//! The bytes of the open block, and those behind it that matches may reach.

/// RFC 1951: no match reaches further back.
pub(super) const WINDOW_BYTES: usize = 32 * 1024;
/// Fed at once at most; longer input is fed in pieces. A row of this length has no other in reach.
pub(super) const FED_BYTES_MAX: usize = WINDOW_BYTES;
/// A block ends when it holds so much: a body of 1 MiB is one block. Matches and literals of a block
/// are kept until it ends, so this bounds memory too: for each byte one of input, at most one of
/// literals, and two of tokens.
pub(super) const BLOCK_BYTES: usize = 1024 * 1024 + 2 * FED_BYTES_MAX;
/// A block that ended because the next bytes had no room holds more than this.
pub(super) const BLOCK_BYTES_LEAST: usize = BLOCK_BYTES - FED_BYTES_MAX;
/// Loads may reach as far behind the last byte.
const PADDING_BYTES: usize = 256;

/// Place of the first byte: place 0, which tables hold that know nothing, is out of its reach.
const FIRST_PLACE: u32 = WINDOW_BYTES as u32 + 1;

/// Input, with a place for every byte: positions are offsets in [`Window::bytes`].
#[derive(Debug)]
pub(super) struct Window {
    bytes: Box<[u8]>,
    /// End of the input.
    end: usize,
    /// Where the open block begins; at most `end`.
    block: usize,
    /// What is added to a position so that it means the same byte after the window has moved on.
    base: u32,
}

impl Window {
    pub(super) fn new() -> Self {
        let bytes = WINDOW_BYTES + BLOCK_BYTES + PADDING_BYTES;
        Window {
            bytes: vec![0; bytes].into_boxed_slice(),
            end: 0,
            block: 0,
            base: FIRST_PLACE,
        }
    }

    /// Forgets all input.
    pub(super) fn clear(&mut self) {
        self.base = FIRST_PLACE;
        self.end = 0;
        self.block = 0;
    }

    /// All bytes, those behind the end included, which mean nothing.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    #[inline(always)]
    pub(super) fn end(&self) -> usize {
        self.end
    }

    /// The byte at this position, named so that the name stays right when the window moves on.
    #[inline(always)]
    pub(super) fn place(&self, at: usize) -> u32 {
        self.base.wrapping_add(at as u32)
    }

    /// Input from this position on.
    pub(super) fn from(&self, at: usize) -> &[u8] {
        self.bytes.get(at..self.end).unwrap_or_default()
    }

    /// Input of the open block.
    pub(super) fn open(&self) -> &[u8] {
        self.from(self.block)
    }

    pub(super) fn open_bytes(&self) -> usize {
        self.end - self.block
    }

    /// Whether the open block can take so many more bytes, of at most [`FED_BYTES_MAX`].
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.open_bytes() + bytes <= BLOCK_BYTES
    }

    /// Appends bytes for which there is room.
    pub(super) fn append(&mut self, raw: &[u8]) {
        let end = self.end + raw.len();
        self.bytes[self.end..end].copy_from_slice(raw);
        self.end = end;
    }

    /// Begins the next block, with only what matches can reach behind it.
    pub(super) fn end_block(&mut self) {
        let moved = self.end.saturating_sub(WINDOW_BYTES);
        self.bytes.copy_within(moved..self.end, 0);
        self.base = self.place(moved);
        self.end -= moved;
        self.block = self.end;
    }
}
