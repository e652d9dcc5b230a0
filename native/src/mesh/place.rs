//! Who can do what, and who is reached how.

use meshground_node::{Capabilities, Filter, MeshOs, Node, NodeId, Placement, PlacementStrategy, Route};
use tokio::sync::oneshot;

use super::{Mesh, MeshError};
use crate::driver::{Act, Command, now};

impl Mesh {
    /// Announces to everyone what this node can do, in place of what it announced before. The announcement is signed,
    /// reaches late joiners too, and is renewed until the node leaves. Dropped before it returns, it may happen all
    /// the same.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub async fn announce_capabilities(&self, capabilities: Capabilities) -> Result<(), MeshError> {
        if let Some(os) = self.os() {
            let act = move |os: &mut MeshOs, node: &mut Node| os.announce(now(), node, capabilities);
            return os.daemon_runtime().act(act).await.map_err(|_| MeshError::Closed);
        }
        self.act(move |node| node.announce(now(), capabilities)).await
    }

    /// What `node` announces, as far as this node knows. Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub async fn capabilities_of(&self, node: NodeId) -> Result<Option<Capabilities>, MeshError> {
        self.act(move |this| this.capabilities().get(node).cloned()).await
    }

    /// The nodes that announce what `filter` asks for, this one included, by id. Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub async fn find(&self, filter: Filter) -> Result<Vec<NodeId>, MeshError> {
        self.act(move |node| node.capabilities().query(&filter)).await
    }

    /// Chooses a node that can be reached and announces what `filter` asks for: of equally near ones the least busy, by what
    /// they say of their daemons and machines. Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`MeshError::Place`] when there is none; [`MeshError::Closed`].
    pub async fn place(&self, filter: Filter, strategy: PlacementStrategy) -> Result<Placement, MeshError> {
        self.place_with_spread(filter, strategy, Vec::new()).await
    }

    /// As [`place`](Self::place), but never one of `used`. Cancel-safe: it only asks.
    ///
    /// # Errors
    /// [`MeshError::Place`], naming what was left out, when none is left; [`MeshError::Closed`].
    pub async fn place_with_spread(
        &self,
        filter: Filter,
        strategy: PlacementStrategy,
        used: Vec<NodeId>,
    ) -> Result<Placement, MeshError> {
        let used = used.into_iter().collect();
        let placement = match self.os() {
            Some(os) => {
                let place = move |os: &mut MeshOs, node: &mut Node| {
                    node.placer(|id| os.load_of(id)).place_with_spread(&filter, strategy, &used)
                };
                os.daemon_runtime().act(place).await.map_err(|_| MeshError::Closed)?
            }
            // Nobody says how busy it is.
            None => {
                self.act(move |node| node.placer(|_| 0).place_with_spread(&filter, strategy, &used)).await?
            }
        };
        Ok(placement?)
    }

    /// The shortest ways to every node that can be reached, direct peers included, by target. Cancel-safe: it only
    /// asks.
    ///
    /// # Errors
    /// [`MeshError::Closed`].
    pub async fn routes(&self) -> Result<Vec<Route>, MeshError> {
        self.act(|node| node.routes().collect()).await
    }

    /// Comes to a session with `target` over other nodes, sealed end to end; for one there is a
    /// [route](Self::routes) to, and no session with. Everything a session carries goes over it. It ends when it has
    /// carried nothing for a minute. Whoever sends, calls or opens a stream need not ask for it: that comes to one by itself.
    /// Dropping the future does not call the handshake off.
    ///
    /// # Errors
    /// [`MeshError::Relay`] when none comes about within the handshake budget; [`MeshError::Closed`].
    pub async fn connect_relayed(&self, target: NodeId) -> Result<(), MeshError> {
        let outcome = self.ask(|reply| Command::ConnectRelayed { target, reply }).await?;
        outcome.map(drop).map_err(|error| MeshError::Relay { target, error })
    }

    /// Has the node's task do something quick with the node.
    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Node) -> T + Send + 'static,
    ) -> Result<T, MeshError> {
        self.ask(|reply: oneshot::Sender<T>| {
            Command::Act(Act(Box::new(move |node| {
                // An answer nobody waits for any more is no error.
                let _ = reply.send(act(node));
            })))
        })
        .await
    }
}
