//! Meshground's side of every measurement between two nodes: the one file that knows how a `Mesh` is used.

use std::net::SocketAddr;

use meshground::{
    CallOptions, Mesh, MeshBuilder, Message, MessageSender, Messages, ReceiveStream, Request, SendStream,
};

use crate::measure::Error;

/// What a datagram holds beside one message, rounded up.
const OVERHEAD: usize = 64;

/// What a node sends at most if nobody says otherwise.
const USUAL_DATAGRAM: usize = 1_452;

/// Two nodes with a session.
#[derive(Clone)]
pub(crate) struct Pair {
    a: Mesh,
    b: Mesh,
}

/// Sends messages to one peer.
pub(crate) struct Sender(MessageSender);

/// Receives messages.
pub(crate) struct Receiver {
    messages: Messages,
    /// Those of the last call.
    batch: Vec<Message>,
}

/// The most messages taken at a time.
const BATCH: usize = 4_096;

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
        let sender = Sender(self.a.sender(self.b.node_id()));
        (sender, Receiver { messages: self.b.messages(), batch: Vec::new() })
    }

    /// The two ends of a stream.
    pub(crate) async fn stream(&self) -> Result<(SendStream, ReceiveStream), Error> {
        let (mut send, _unused) = self.a.open_stream(self.b.node_id()).await?.split();
        send.write_all(b"!").await?;
        let (_unused, mut receive) = self.b.accept_stream().await.ok_or("the node is down")?.split();
        receive.read(&mut [0]).await?;
        Ok((send, receive))
    }

    /// Where the node that answers is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.b.local_addr()
    }

    /// Has one node send back what the other calls it with.
    pub(crate) fn serve_echo(&self) {
        self.b.serve("echo", async |request: Request| Ok(request.body));
    }

    /// Calls it once. Whether the answer is right.
    pub(crate) async fn call(&self, body: Vec<u8>) -> Result<bool, Error> {
        let answer = self.a.call(self.b.node_id(), "echo", body.clone(), CallOptions::default()).await?;
        Ok(answer == body)
    }
}

impl Sender {
    /// Sends one message, waiting for its turn.
    pub(crate) async fn send(&mut self, payload: &[u8]) -> Result<(), Error> {
        Ok(self.0.send(payload).await?)
    }
}

impl Receiver {
    /// Waits for messages, and says how many there are.
    pub(crate) async fn receive(&mut self) -> Result<usize, Error> {
        self.batch.clear();
        match self.messages.recv_many(&mut self.batch, BATCH).await {
            0 => Err("the node is down".into()),
            count => Ok(count),
        }
    }
}
