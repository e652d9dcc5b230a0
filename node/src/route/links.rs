//! What a link record says: with whom its origin holds direct sessions.

use std::{ops::Range, sync::Arc};

use meshground_shared::NodeId;

use crate::record::{MAX_BODY, RecordError};

const ID_LEN: usize = 8;

/// The nodes one node is linked with: at most 2,048. It reads them where they stand in the record that says so: everybody
/// keeps everybody's, so a second copy would be what most of a big mesh's memory holds.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    bytes: Arc<[u8]>,
    /// The ids' place in it, in whole ids that rise.
    place: Range<usize>,
}

impl Links {
    /// The most links a node announces.
    pub(crate) const MAX: usize = MAX_BODY / ID_LEN;

    /// Whether `node` is one of them.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.ids().binary_search_by_key(&node.0, |id| u64::from_le_bytes(*id)).is_ok()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ids().len()
    }

    /// By id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = NodeId> {
        self.ids().iter().map(|id| NodeId(u64::from_le_bytes(*id)))
    }

    fn ids(&self) -> &[[u8; ID_LEN]] {
        self.bytes[self.place.clone()].as_chunks().0
    }

    /// The content of the record that announces them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.ids().iter().take(Self::MAX).flatten().copied().collect()
    }

    /// Reads what [`encode`](Self::encode) wrote, at a place in these bytes; the same, or nothing.
    pub(crate) fn decode(bytes: &Arc<[u8]>, place: Range<usize>) -> Result<Self, RecordError> {
        let (ids, rest) = bytes.get(place.clone()).ok_or(RecordError::Malformed)?.as_chunks::<ID_LEN>();
        let rising = ids.is_sorted_by(|a, b| u64::from_le_bytes(*a) < u64::from_le_bytes(*b));
        if !rest.is_empty() || !rising || ids.len() > Self::MAX {
            return Err(RecordError::Malformed);
        }
        Ok(Self { bytes: Arc::clone(bytes), place })
    }
}

impl PartialEq for Links {
    fn eq(&self, other: &Self) -> bool {
        self.ids() == other.ids()
    }
}

impl Eq for Links {}

impl FromIterator<NodeId> for Links {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        let mut ids: Vec<u64> = nodes.into_iter().map(|node| node.0).collect();
        ids.sort_unstable();
        ids.dedup();
        let bytes: Arc<[u8]> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        Self { place: 0..bytes.len(), bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads bytes that stand between others.
    fn read(bytes: &[u8]) -> Result<Links, RecordError> {
        let record = [&[9], bytes, &[9, 9]].concat().into();
        Links::decode(&record, 1..1 + bytes.len())
    }

    #[test]
    fn one_is_found_among_them_and_another_is_not() {
        let links: Links = [3, 1, 256, 3].map(NodeId).into_iter().collect();
        assert_eq!(links.iter().collect::<Vec<_>>(), [1, 3, 256].map(NodeId));
        assert_eq!(links.len(), 3);
        assert!([1, 3, 256].into_iter().all(|id| links.contains(NodeId(id))));
        assert!([0, 2, 255, 257].into_iter().all(|id| !links.contains(NodeId(id))));
    }

    #[test]
    fn what_is_written_is_read() {
        for ids in [&[][..], &[7], &[1, 256, u64::MAX]] {
            let links: Links = ids.iter().copied().map(NodeId).collect();
            assert_eq!(read(&links.encode()), Ok(links));
        }
    }

    #[test]
    fn a_cut_unordered_or_repeated_list_is_refused() {
        let bytes = Links::from_iter([1, 2].map(NodeId)).encode();
        assert!(read(&bytes[..15]).is_err());
        let (first, second) = bytes.split_at(8);
        assert!(read(&[second, first].concat()).is_err());
        assert!(read(&[first, first].concat()).is_err());
    }
}
