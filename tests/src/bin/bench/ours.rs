//! Meshground's side of every measurement between two nodes: the one file that knows how a `Mesh` is used.

use meshground::mesh::{Mesh, MeshBuilder, Messages};
use meshground_shared::NodeId;

use crate::measure::Error;

/// What a datagram holds beside one message, rounded up.
const OVERHEAD: usize = 64;

/// What a node sends at most if nobody says otherwise.
const USUAL_DATAGRAM: usize = 1_452;

/// Two nodes with a session.
pub(crate) struct Pair {
    a: Mesh,
    b: Mesh,
}

/// Sends messages to one peer.
pub(crate) struct Sender {
    mesh: Mesh,
    peer: NodeId,
}

/// Receives messages.
pub(crate) struct Receiver {
    messages: Messages,
}

impl Pair {
    /// Two nodes whose datagrams hold messages of `size` bytes.
    pub(crate) async fn new(size: usize) -> Result<Self, Error> {
        let node = || {
            MeshBuilder::new(([127, 0, 0, 1], 0).into(), [0x42; 32])
                .max_datagram((size + OVERHEAD).max(USUAL_DATAGRAM))
                .build()
        };
        let (a, b) = (node().await?, node().await?);
        a.connect(b.local_addr()).await?;
        Ok(Self { a, b })
    }

    /// The two ends of a flow of messages.
    pub(crate) fn messages(&self) -> (Sender, Receiver) {
        let sender = Sender { mesh: self.a.clone(), peer: self.b.node_id() };
        (sender, Receiver { messages: self.b.messages() })
    }
}

impl Sender {
    /// Sends one message, waiting for its turn.
    pub(crate) async fn send(&mut self, payload: &[u8]) -> Result<(), Error> {
        Ok(self.mesh.send(self.peer, payload).await?)
    }
}

impl Receiver {
    /// Waits for messages, and says how many there are.
    pub(crate) async fn receive(&mut self) -> Result<usize, Error> {
        self.messages.recv().await.map(|_| 1).ok_or_else(|| "the node is down".into())
    }
}
