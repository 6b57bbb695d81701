//! Bits into bytes, the first bit lowest (RFC 1951 section 3.1.1).

/// A buffer that is filled bit by bit.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    /// Whole bytes.
    out: Vec<u8>,
    /// Bits behind them, below [`BitWriter::open_bits`].
    bits: u64,
    /// How many; at most 7.
    open_bits: u32,
}

impl BitWriter {
    /// Goes on behind the bytes of `out`.
    pub(super) fn start(&mut self, out: Vec<u8>) {
        self.out = out;
        self.bits = 0;
        self.open_bits = 0;
    }

    /// Bits so far.
    pub(super) fn bits_len(&self) -> usize {
        self.out.len() * 8 + self.open_bits as usize
    }

    /// Appends the lowest `count` bits of `bits`, at most 56, whose others are zero.
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        debug_assert!(count <= 56 && bits >> count == 0);
        self.bits |= bits << self.open_bits;
        self.open_bits += count;
        while self.open_bits >= 8 {
            self.out.push(self.bits as u8);
            self.bits >>= 8;
            self.open_bits -= 8;
        }
    }

    /// Zeros up to the end of a byte.
    pub(super) fn align(&mut self) {
        self.put(0, (8 - self.open_bits) % 8);
    }

    /// Whole bytes; only at the end of a byte.
    pub(super) fn put_bytes(&mut self, bytes: &[u8]) {
        debug_assert!(self.open_bits == 0);
        self.out.extend_from_slice(bytes);
    }

    /// Room for so many bits and more behind those so far.
    pub(super) fn open(&mut self, bits_max: usize) -> BitSlice<'_> {
        let at = self.out.len();
        let bytes = bits_max.div_ceil(8) + BitSlice::ROOM_BYTES;
        self.out.resize(at + bytes, 0);
        BitSlice {
            room: &mut self.out,
            at,
            bits: self.bits,
            open_bits: self.open_bits,
        }
    }

    /// Ends what was opened: up to this byte, with these bits behind it.
    pub(super) fn close(&mut self, (at, bits, open_bits): (usize, u64, u32)) {
        self.out.truncate(at);
        (self.bits, self.open_bits) = (bits, open_bits);
    }

    /// All bytes, the last one filled up with zeros.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.align();
        std::mem::take(&mut self.out)
    }
}

/// Room for a known number of bits, for the inner loop.
pub(super) struct BitSlice<'o> {
    room: &'o mut [u8],
    at: usize,
    bits: u64,
    open_bits: u32,
}

impl BitSlice<'_> {
    /// What is written reaches as far behind the last bit.
    pub(super) const ROOM_BYTES: usize = 16;

    /// Appends the lowest `count` bits of `bits`, at most 56, whose others are zero.
    #[inline(always)]
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.bits |= bits << (self.open_bits & 63);
        let count = self.open_bits.wrapping_add(count);
        let end = self.at.wrapping_add(8);
        if let Some(room) = self.room.get_mut(self.at..end) {
            room.copy_from_slice(&self.bits.to_le_bytes());
        }
        self.at = self.at.wrapping_add((count >> 3) as usize);
        self.bits >>= count & 56;
        self.open_bits = count & 7;
    }

    /// Where it ended.
    pub(super) fn end(self) -> (usize, u64, u32) {
        (self.at, self.bits, self.open_bits)
    }
}
