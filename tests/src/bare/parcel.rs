//! Frames that do not fit a packet, in pieces (section 7).

use std::collections::BTreeMap;

use super::{Frame, Refused, read_frames};

/// The most bytes of a parcel.
pub const MAX_PARCEL: u64 = 1 << 20;

/// `parcel`, in pieces of so many bytes. It need not be sound.
pub fn cut(parcel: u64, whole: &[u8], piece: usize) -> Vec<Frame> {
    let size = whole.len() as u64;
    let pieces = whole.chunks(piece).zip((0..).step_by(piece));
    pieces.map(|(data, offset)| Frame::Fragment { parcel, size, offset, data: data.to_vec() }).collect()
}

/// What has come in of one.
#[derive(Debug)]
pub(super) struct Parcel {
    size: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Parcel {
    pub(super) fn new(size: u64) -> Self {
        Self { size, pieces: BTreeMap::new() }
    }

    /// A piece came in, in whatever order. The frame, when it is the last.
    pub(super) fn take(&mut self, size: u64, offset: u64, data: &[u8]) -> Result<Option<Frame>, Refused> {
        if size != self.size || size > MAX_PARCEL {
            return Err(Refused);
        }
        self.pieces.insert(offset, data.to_vec());
        if self.pieces.values().map(|piece| piece.len() as u64).sum::<u64>() < size {
            return Ok(None);
        }
        let mut whole = Vec::new();
        for (offset, data) in &self.pieces {
            // Pieces may overlap.
            let Some(known) = (whole.len() as u64).checked_sub(*offset) else { return Ok(None) };
            whole.extend(data.iter().skip(usize::try_from(known).unwrap_or(usize::MAX)));
        }
        if whole.len() as u64 != size {
            return Ok(None);
        }
        match <[Frame; 1]>::try_from(read_frames(&whole)?) {
            Ok([frame @ (Frame::Message(_) | Frame::Record(_) | Frame::Summary(_))]) => Ok(Some(frame)),
            _ => Err(Refused),
        }
    }
}
