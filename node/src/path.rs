//! Ways between two nodes.

use std::{fmt, net::SocketAddr};

use meshground_shared::NodeId;

/// How datagrams between this node and another one travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// Straight to this address.
    Direct(SocketAddr),
    /// Over other nodes, hop by hop, to this one. Those in between see who talks to whom and how much, but not what.
    Relayed(NodeId),
}

impl Path {
    /// Where the other end is, if datagrams go straight to it.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Direct(address) => Some(address),
            Self::Relayed(_) => None,
        }
    }

    /// Whether datagrams go straight to the other end.
    pub fn is_direct(self) -> bool {
        matches!(self, Self::Direct(_))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(address) => address.fmt(f),
            Self::Relayed(node) => write!(f, "relayed to {node}"),
        }
    }
}
