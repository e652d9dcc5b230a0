//! A daemon's luggage as it travels: how long its head is (4 bytes), the head, the daemon's own state; then, in an item
//! of its own, a hash of all of it.
//!
//! The state is not written as part of the head, since it may be 64 MiB: it is copied in one piece.

use blake2::{Blake2s256, Digest};

use crate::{
    compute::Luggage,
    daemon::MAX_STATE,
    wire::{self, PIECE, WireError},
};

/// The most a luggage has in all: what is known of senders goes along with the state.
pub(crate) const MAX_BYTES: usize = MAX_STATE + (32 << 20);

/// Luggage on its way out.
#[derive(Debug)]
pub(crate) struct Packed {
    bytes: Vec<u8>,
    hash: Blake2s256,
    /// So many are in the hash.
    hashed: usize,
}

/// Which part of it comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pieces {
    at: usize,
    ended: bool,
}

impl Packed {
    /// Packs it; or says of how many bytes it is, if these are more than [may travel](MAX_BYTES).
    pub(crate) fn new(mut luggage: Luggage) -> Result<Self, usize> {
        let state = std::mem::take(&mut luggage.state);
        let head = wire::encode(&luggage);
        let len = 4 + head.len() + state.len();
        let Some(head_len) = u32::try_from(head.len()).ok().filter(|_| len <= MAX_BYTES) else {
            return Err(len);
        };
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&head_len.to_le_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&state);
        Ok(Self { bytes, hash: Blake2s256::new(), hashed: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// From this byte on; `None` if there are not so many.
    pub(crate) fn pieces(&self, from: u64) -> Option<Pieces> {
        let at = usize::try_from(from).ok().filter(|at| *at <= self.bytes.len())?;
        Some(Pieces { at, ended: false })
    }

    /// Hands the next item to `take`, which says whether it takes it. Whether there may be more.
    pub(crate) fn next<E>(
        &mut self,
        pieces: &mut Pieces,
        take: impl FnOnce(&[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        if pieces.ended {
            return Ok(false);
        }
        if pieces.at == self.bytes.len() {
            // Hashed by and by as it goes out, so that a large state does not keep the node.
            self.hash_up_to(self.bytes.len());
            take(&self.hash.clone().finalize())?;
            pieces.ended = true;
            return Ok(false);
        }
        let end = self.bytes.len().min(pieces.at + PIECE);
        take(&self.bytes[pieces.at..end])?;
        pieces.at = end;
        self.hash_up_to(end);
        Ok(true)
    }

    fn hash_up_to(&mut self, end: usize) {
        if end > self.hashed {
            self.hash.update(&self.bytes[self.hashed..end]);
            self.hashed = end;
        }
    }
}

/// Luggage on its way in.
#[derive(Debug)]
pub(crate) struct Unpacking {
    bytes: Vec<u8>,
    total: usize,
    hash: Blake2s256,
    complete: bool,
}

impl Unpacking {
    /// Of so many bytes; `None` if they are more than may travel.
    pub(crate) fn new(total: u64) -> Option<Self> {
        let total = usize::try_from(total).ok().filter(|total| (4..=MAX_BYTES).contains(total))?;
        Some(Self { bytes: Vec::new(), total, hash: Blake2s256::new(), complete: false })
    }

    /// How many there are by now.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Takes the next item. Whether it was the last.
    pub(crate) fn take(&mut self, item: &[u8]) -> Result<bool, WireError> {
        if self.complete {
            return Err(WireError);
        }
        if self.bytes.len() == self.total {
            self.complete = self.hash.clone().finalize().as_slice() == item;
            return if self.complete { Ok(true) } else { Err(WireError) };
        }
        if item.is_empty() || item.len() > PIECE || self.bytes.len() + item.len() > self.total {
            return Err(WireError);
        }
        self.hash.update(item);
        self.bytes.extend_from_slice(item);
        Ok(false)
    }

    /// The luggage, now that all of it is here.
    pub(crate) fn unpack(self) -> Result<Luggage, WireError> {
        let Self { mut bytes, complete, .. } = self;
        let head = bytes.first_chunk::<4>().map(|len| u32::from_le_bytes(*len) as usize).ok_or(WireError)?;
        let end = head.checked_add(4).filter(|end| *end <= bytes.len()).ok_or(WireError)?;
        if !complete || head > MAX_BYTES - MAX_STATE || bytes.len() - end > MAX_STATE {
            return Err(WireError);
        }
        let luggage: Luggage = wire::decode(&bytes[4..end])?;
        let mut luggage = luggage.arrived().filter(|luggage| luggage.state.is_empty()).ok_or(WireError)?;
        luggage.state = bytes.split_off(end);
        Ok(luggage)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn luggage(len: usize) -> Luggage {
        let state = (0..len).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
        Luggage { state, processed: 7, ..Luggage::default() }
    }

    fn items(packed: &mut Packed, from: u64) -> Vec<Vec<u8>> {
        let (mut items, mut pieces) = (Vec::new(), packed.pieces(from).expect("so many"));
        while packed
            .next(&mut pieces, |item| {
                items.push(item.to_vec());
                Ok::<(), Infallible>(())
            })
            .expect("all is taken")
        {}
        items
    }

    #[test]
    fn luggage_of_any_size_arrives_as_it_was_packed() {
        for len in [0, 1, PIECE - 1, PIECE, 3 * PIECE + 5] {
            let mut packed = Packed::new(luggage(len)).unwrap();
            let mut unpacking = Unpacking::new(packed.len() as u64).unwrap();
            let items = items(&mut packed, 0);
            for (number, item) in items.iter().enumerate() {
                assert_eq!(unpacking.take(item), Ok(number + 1 == items.len()));
            }
            assert_eq!(unpacking.unpack(), Ok(luggage(len)));
        }
    }

    #[test]
    fn a_broken_transfer_goes_on_where_it_broke() {
        let mut packed = Packed::new(luggage(3 * PIECE)).unwrap();
        let mut unpacking = Unpacking::new(packed.len() as u64).unwrap();
        for item in &items(&mut packed, 0)[..2] {
            unpacking.take(item).unwrap();
        }
        for item in items(&mut packed, unpacking.len()) {
            unpacking.take(&item).unwrap();
        }
        assert_eq!(unpacking.unpack(), Ok(luggage(3 * PIECE)));
    }

    #[test]
    fn luggage_that_was_altered_is_not_unpacked() {
        let mut packed = Packed::new(luggage(1_000)).unwrap();
        let mut unpacking = Unpacking::new(packed.len() as u64).unwrap();
        let mut items = items(&mut packed, 0);
        items[0][500] ^= 1;
        unpacking.take(&items[0]).unwrap();
        assert_eq!(unpacking.take(&items[1]), Err(WireError));
        assert_eq!(unpacking.unpack(), Err(WireError));
    }

    #[test]
    fn more_than_was_announced_and_more_than_may_be_is_refused() {
        assert!(Unpacking::new(MAX_BYTES as u64 + 1).is_none());
        assert!(Packed::new(Luggage { state: vec![0; MAX_BYTES], ..Luggage::default() }).is_err());
        let mut unpacking = Unpacking::new(10).unwrap();
        assert_eq!(unpacking.take(&[0; 11]), Err(WireError));
        assert_eq!(unpacking.take(&[]), Err(WireError));
    }
}
