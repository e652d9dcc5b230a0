//! Configuring and starting a node.

use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use meshground_node::{
    Capabilities, DaemonFactory, HandshakeConfig, Identity, LivenessConfig, MeshOs, MeshOsConfig, Node,
    NodeConfig,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, watch},
};

use super::{
    COMMAND_QUEUE, Inner, Mesh, MeshError, call::Switchboard, inbox::Inboxes, lobby::Lobby,
    observed::Observed, outbox::Outboxes, stream::StreamDesk, view::View, wishes::Wishes,
};
use crate::{
    driver::{Driver, Leave, Observer, Orders, Parts, Socket, System, birth, now},
    faults::FaultTable,
    machine::MachineProbe,
    meshos::{Daemons, RuntimeState, factory},
    random, tokio_runtime,
};

/// Builds a [`Mesh`].
pub struct MeshBuilder {
    address: SocketAddr,
    config: NodeConfig,
    identity: Option<Identity>,
    rng_seed: Option<[u8; 32]>,
    fault_seed: Option<u64>,
    capabilities: Option<Capabilities>,
    observer: Option<Box<dyn Observer>>,
    meshos: Option<MeshOsConfig>,
    factories: Vec<(String, Arc<dyn DaemonFactory>)>,
}

impl MeshBuilder {
    /// A node that will listen on `address` (port 0 lets the system choose) and speak to those who hold `psk`.
    pub fn new(address: SocketAddr, psk: [u8; 32]) -> Self {
        Self {
            address,
            config: NodeConfig::new(psk),
            identity: None,
            rng_seed: None,
            fault_seed: None,
            capabilities: None,
            observer: None,
            meshos: None,
            factories: Vec::new(),
        }
    }

    /// Who the node is; a fresh random identity by default.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }

    /// Grows the node's randomness from `seed` instead of the system's. For tests only, and never twice the same
    /// within one mesh: whoever knows the seed can compute every session key.
    #[must_use]
    pub fn rng_seed(mut self, seed: [u8; 32]) -> Self {
        self.rng_seed = Some(seed);
        self
    }

    /// What chance decides about faults grows from `seed` instead of the system's randomness.
    pub(crate) fn fault_seed(mut self, seed: u64) -> Self {
        self.fault_seed = Some(seed);
        self
    }

    /// The largest datagram to send, in bytes, from 512 to 65,507.
    #[must_use]
    pub fn max_datagram(mut self, bytes: usize) -> Self {
        self.config.max_datagram = bytes;
        self
    }

    /// How handshakes are paced.
    #[must_use]
    pub fn handshake(mut self, handshake: HandshakeConfig) -> Self {
        self.config.handshake = handshake;
        self
    }

    /// How peers' lives are judged.
    #[must_use]
    pub fn liveness(mut self, liveness: LivenessConfig) -> Self {
        self.config.liveness = liveness;
        self
    }

    /// The whole configuration at once, the pre-shared key included.
    #[must_use]
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = config;
        self
    }

    /// What it announces from its start on, as by [`Mesh::announce_capabilities`]: every peer hears it with the session.
    /// Nothing by default.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = Some(capabilities);
        self
    }

    /// Lets the node run daemons: [`Mesh::os`] is then there. Without it, a node has nothing to do with them and pays
    /// nothing.
    #[must_use]
    pub fn meshos(mut self, config: MeshOsConfig) -> Self {
        self.meshos = Some(config);
        self
    }

    /// A factory that is registered from the start, on a node that runs daemons. The first of a kind counts.
    #[must_use]
    pub fn factory(mut self, kind: impl Into<String>, factory: Arc<dyn DaemonFactory>) -> Self {
        self.factories.push((kind.into(), factory));
        self
    }

    /// Who is told of everything that happens, in the node's task.
    pub(crate) fn observer(mut self, observer: Box<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Opens the socket and starts the node. It waits for nothing so far, so that nothing is left half done.
    ///
    /// # Errors
    /// When the configuration is out of range, the socket cannot be opened, or there is no runtime.
    #[allow(
        clippy::unused_async,
        reason = "it must run within a runtime, and may come to wait for something"
    )]
    pub async fn build(self) -> Result<Mesh, MeshError> {
        self.start()
    }

    pub(crate) fn start(self) -> Result<Mesh, MeshError> {
        let runtime = tokio_runtime::current().ok_or(MeshError::NoRuntime)?;
        let identity = self.identity.unwrap_or_else(|| Identity::from_seed(random::bytes()));
        let rng_seed = self.rng_seed.unwrap_or_else(random::bytes);
        if let Some(config) = &self.meshos {
            config.validate()?;
        }
        let mut node = Node::new(self.config, identity, rng_seed, birth())?;
        let (os, system) = if let Some(config) = self.meshos {
            let (os, system) = daemons(config, self.factories, self.capabilities, &mut node, runtime.clone());
            (Some(os), Some(system))
        } else {
            if let Some(capabilities) = self.capabilities {
                node.announce(now(), capabilities);
            }
            (None, None)
        };
        let (socket, local_addr) = open(self.address)?;

        let (commands, queue) = mpsc::channel(COMMAND_QUEUE);
        let view = Arc::<View>::default();
        // One for all of them: the task looks everywhere anyway, and waiting in one place is cheaper than in three.
        let work = Arc::new(Notify::new());
        let desk = Arc::new(StreamDesk::new(Arc::clone(&work)));
        let switchboard = Arc::new(Switchboard::new(Arc::clone(&work)));
        let observed = Arc::<Observed>::default();
        let outboxes = Arc::new(Outboxes::new(Arc::clone(&work)));
        let inboxes = Arc::<Inboxes>::default();
        let lobby = Arc::<Lobby>::default();
        let (closing, closed) = watch::channel(());
        let leave = Arc::new(Leave::default());
        let (pause, pause_orders) = watch::channel(false);
        let (pausing, paused) = watch::channel(false);
        let (faults, fault_orders) = watch::channel(FaultTable::new());
        let wishes = Arc::new(Wishes::new(Arc::clone(&work)));
        let orders = Orders {
            leave: Arc::clone(&leave),
            pause: pause_orders,
            faults: fault_orders,
            wishes: Arc::clone(&wishes),
            fault_seed: self.fault_seed.unwrap_or_else(|| u64::from_le_bytes(random::bytes())),
        };
        let (node_id, public_key, max_message) = (node.id(), node.public_key(), node.max_message());
        let driver = Driver::new(Parts {
            socket,
            node,
            system,
            work,
            outboxes: Arc::clone(&outboxes),
            inboxes: Arc::clone(&inboxes),
            lobby: Arc::clone(&lobby),
            desk: Arc::clone(&desk),
            switchboard: Arc::clone(&switchboard),
            observed: Arc::clone(&observed),
            commands: queue,
            orders,
            paused: pausing,
            view: Arc::clone(&view),
            observer: self.observer,
            closed: closing,
        });
        let task = runtime.spawn(driver.run()).abort_handle();
        let inner = Inner {
            node_id,
            public_key,
            local_addr,
            max_message,
            commands,
            view,
            outboxes,
            inboxes,
            lobby,
            desk,
            switchboard,
            observed,
            os,
            leave,
            pause,
            paused,
            faults,
            wishes,
            task,
            closed,
        };
        Ok(Mesh { inner: Arc::new(inner) })
    }
}

/// What runs daemons beside a node, and how it is seen from outside the node's task; with the time that daemons have to stop.
fn daemons(
    config: MeshOsConfig,
    factories: Vec<(String, Arc<dyn DaemonFactory>)>,
    capabilities: Option<Capabilities>,
    node: &mut Node,
    runtime: Handle,
) -> (Daemons, (System, Duration)) {
    let grace = config.grace;
    let mut os = MeshOs::new(config, node, random::bytes(), now());
    os.install_inventory_probe(Box::new(MachineProbe));
    for (kind, made) in factories {
        os.register_factory(now(), &kind, factory(made, runtime.clone()));
    }
    if let Some(capabilities) = capabilities {
        os.announce(now(), node, capabilities);
    }
    let state = Daemons {
        runtime: runtime.clone(),
        state: watch::Sender::new(RuntimeState::Registering),
        view: Arc::new(ArcSwap::new(os.snapshot())),
        viewed: watch::Sender::new(()),
    };
    let system = System::new(os, runtime, state.clone());
    (state, (system, grace))
}

fn open(address: SocketAddr) -> Result<(Socket, SocketAddr), MeshError> {
    let bind_error = |error: io::Error| MeshError::Bind { address, reason: error.to_string() };
    let socket = Socket::bind(address).map_err(bind_error)?.ok_or(MeshError::NoRuntime)?;
    let local_addr = socket.local_addr().map_err(bind_error)?;
    Ok((socket, local_addr))
}

impl fmt::Debug for MeshBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshBuilder")
            .field("address", &self.address)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
