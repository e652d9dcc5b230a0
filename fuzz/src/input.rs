//! Bytes as a source of choices.

/// What is left of the bytes. Once there is nothing left, everything is zero.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// At most so many bytes.
    pub(crate) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// One of `count` choices, of at most 256.
    pub(crate) fn choice(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count.max(1)
    }

    /// Mostly a small number or one at a limit.
    pub(crate) fn number(&mut self) -> u64 {
        const LIMITS: [u64; 16] = [
            0x3f,
            0x40,
            0x3fff,
            0x4000,
            65_535,
            65_536,
            1 << 20,
            4 << 20,
            (4 << 20) + 1,
            0x3fff_ffff,
            0x4000_0000,
            1 << 32,
            1 << 61,
            (1 << 62) - 2,
            (1 << 62) - 1,
            u64::MAX,
        ];
        match self.byte() {
            small @ 0..200 => small.into(),
            limit @ 200..232 => LIMITS[usize::from(limit) % LIMITS.len()],
            _ => {
                let mut wide = [0; 8];
                let bytes = self.bytes(8);
                wide[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(wide)
            }
        }
    }
}
