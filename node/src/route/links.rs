//! What a link record says: with whom its origin holds direct sessions.

use std::collections::BTreeSet;

use meshground_shared::NodeId;

use crate::record::{MAX_BODY, RecordError};

const ID_LEN: usize = 8;

/// The nodes one node is linked with: at most 2,048.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Links(BTreeSet<NodeId>);

impl Links {
    /// The most links a node announces.
    pub(crate) const MAX: usize = MAX_BODY / ID_LEN;

    /// Whether `node` is one of them.
    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.0.contains(&node)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// By id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = NodeId> {
        self.0.iter().copied()
    }

    /// The content of the record that announces them.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.0.iter().take(Self::MAX).flat_map(|id| id.0.to_le_bytes()).collect()
    }

    /// Reads what [`encode`](Self::encode) wrote; the same bytes, or none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let (ids, rest) = bytes.as_chunks::<ID_LEN>();
        let rising = ids.is_sorted_by(|a, b| u64::from_le_bytes(*a) < u64::from_le_bytes(*b));
        if !rest.is_empty() || !rising || ids.len() > Self::MAX {
            return Err(RecordError::Malformed);
        }
        Ok(ids.iter().map(|id| NodeId(u64::from_le_bytes(*id))).collect())
    }
}

impl FromIterator<NodeId> for Links {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        Self(nodes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for ids in [&[][..], &[7], &[1, 256, u64::MAX]] {
            let links: Links = ids.iter().copied().map(NodeId).collect();
            assert_eq!(Links::decode(&links.encode()), Ok(links));
        }
    }

    #[test]
    fn a_cut_unordered_or_repeated_list_is_refused() {
        let bytes = Links::from_iter([1, 2].map(NodeId)).encode();
        assert!(Links::decode(&bytes[..15]).is_err());
        let (first, second) = bytes.split_at(8);
        assert!(Links::decode(&[second, first].concat()).is_err());
        assert!(Links::decode(&[first, first].concat()).is_err());
    }
}
