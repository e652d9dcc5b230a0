//! The methods: name, parameters and result of each.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    fault::{FaultyLink, LinkFault},
    id::{CommandId, Epoch, NodeId},
    snapshot::Snapshot,
    topology::Topology,
};

/// A method's contract. Implemented by marker types, one per method.
pub trait Method {
    /// The name that travels.
    const NAME: &'static str;
    /// What the client gives, by name. Unknown names are refused.
    type Params: Serialize + DeserializeOwned;
    /// What the client gets when it succeeds.
    type Result: Serialize + DeserializeOwned;
}

macro_rules! methods {
    ($($(#[$doc:meta])* $marker:ident = $name:literal, $params:ty => $result:ty;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub enum $marker {}

            impl Method for $marker {
                const NAME: &'static str = $name;
                type Params = $params;
                type Result = $result;
            }
        )*

        /// The name of every method.
        pub const METHODS: &[&str] = &[$($name),*];
    };
}

methods! {
    /// Who is there and what may be asked of it. Optional; changes nothing.
    SessionHello = "session.hello", NoParams => Hello;
    /// Starts (or replaces) this connection's subscription.
    EventsSubscribe = "events.subscribe", SubscribeParams => Subscribed;
    /// The cluster as it stands.
    ClusterSnapshot = "cluster.snapshot", NoParams => Snapshot;
    /// Boots a cluster; answers when it has converged.
    ClusterBoot = "cluster.boot", BootParams => Booted;
    /// Shuts the cluster down; answers when sockets are closed. Without one it does nothing.
    ClusterShutdown = "cluster.shutdown", NoParams => Done;
    /// Links the members in another way; answers when every new link stands and every old one is
    /// gone. On failure all is as it was.
    ClusterTopology = "cluster.topology", TopologyParams => Done;
    /// Adds a node with a fresh identity; answers when the mesh has converged with it.
    NodeSpawn = "node.spawn", NoParams => Spawned;
    /// A graceful leave: peers are told, the node is no member any more.
    NodeShutdown = "node.shutdown", NodeParams => Done;
    /// The node vanishes without a word; peers find out by silence.
    NodeCrash = "node.crash", NodeParams => Done;
    /// Starts a crashed node (or stops and starts another one) on a new port, under the same identity
    /// or under a fresh one in the same place.
    NodeRestart = "node.restart", RestartParams => Spawned;
    /// The node stands still, as under SIGSTOP, its socket open; peers find out by silence.
    NodePause = "node.pause", NodeParams => Done;
    /// A paused node goes on where it stood still.
    NodeResume = "node.resume", NodeParams => Done;
    /// From here on, this happens to the datagrams that one member sends another.
    FaultSet = "fault.set", FaultParams => Done;
    /// Cuts every link between two groups of members, both ways.
    FaultPartition = "fault.partition", PartitionParams => Done;
    /// Ends the faults of one link, or all of them.
    FaultClear = "fault.clear", ClearParams => Done;
    /// The faults there are.
    FaultList = "fault.list", NoParams => Faults;
}

/// No parameters: `{}` or nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Result of `session.hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The server's name and version.
    pub server: ServerInfo,
    /// The subprotocol spoken, [`SUBPROTOCOL`](super::SUBPROTOCOL).
    pub protocol: String,
    /// The current life of the event log.
    pub epoch: Epoch,
    /// What the server refuses to exceed.
    pub limits: Limits,
    /// The methods it knows.
    pub methods: Vec<String>,
    /// Milliseconds within which a crashed node is Unreachable for its peers.
    pub detection_ms: u32,
}

/// A server's name and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// `meshground`.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What a server refuses to exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Members of a cluster, crashed ones included.
    pub max_nodes: u32,
    /// Bytes of one message; a larger one gets an error.
    pub max_message_bytes: u32,
    /// Bytes of one message; beyond this the connection is closed with 1009.
    pub hard_message_bytes: u32,
    /// WebSocket clients at a time.
    pub max_clients: u32,
    /// Events kept for `resume`.
    pub resume_events: u32,
}

/// What a subscription carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// The cluster's events.
    Cluster,
    /// Gauges at up to 10 Hz.
    Telemetry,
}

/// Parameters of `events.subscribe`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubscribeParams {
    /// What to send; by default only `cluster`.
    #[serde(default = "default_topics")]
    pub topics: Vec<Topic>,
    /// Where an earlier subscription stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

fn default_topics() -> Vec<Topic> {
    vec![Topic::Cluster]
}

impl Default for SubscribeParams {
    fn default() -> Self {
        Self { topics: default_topics(), resume: None }
    }
}

/// The last event a client has folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The log's life it belongs to.
    pub epoch: Epoch,
    /// Its place there.
    pub seq: u64,
}

/// Result of `events.subscribe`. Events after `seq` follow as notifications.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subscribed {
    /// The current life of the log.
    pub epoch: Epoch,
    /// The `seq` from which the stream goes on: that of the snapshot or of the resumption.
    pub seq: u64,
    /// The log's clock as the answer was written, in its monotonic microseconds: with it, a
    /// client can tell how long ago a `since_us` or `started_us` was. 0 from a server that
    /// does not say.
    #[serde(default)]
    pub now_us: u64,
    /// Where things stand at `seq`; `null` when resumed, as the client has that already.
    pub snapshot: Option<Snapshot>,
}

/// Parameters of `cluster.boot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootParams {
    /// How many nodes, from 1 to the server's `max_nodes`.
    pub nodes: u32,
    /// Shut a running cluster down first instead of refusing.
    #[serde(default)]
    pub replace: bool,
    /// Who is linked with whom; by default what the server was told, a full mesh unless it was told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topology: Option<Topology>,
}

/// Parameters of `cluster.topology`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyParams {
    /// Who is to be linked with whom.
    pub topology: Topology,
}

/// Result of `cluster.boot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booted {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// The members, by index.
    pub nodes: Vec<NodeId>,
    /// Microseconds from the command to convergence.
    pub took_us: u64,
}

/// Parameters of what is done to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeParams {
    /// Which.
    pub node: NodeId,
}

/// Parameters of `node.restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartParams {
    /// Which.
    pub node: NodeId,
    /// Whether it comes back as somebody else: the old id is no member any more, its place is kept.
    #[serde(default)]
    pub fresh_identity: bool,
}

/// Parameters of `fault.set`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultParams {
    /// The member whose datagrams suffer.
    pub from: NodeId,
    /// The member they are sent to.
    pub to: NodeId,
    /// Whether the other direction suffers the same.
    #[serde(default)]
    pub both_ways: bool,
    /// What happens to them, in place of what happened before.
    pub fault: LinkFault,
}

/// Parameters of `fault.partition`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionParams {
    /// The members on the one side.
    pub one: Vec<NodeId>,
    /// The members on the other.
    pub other: Vec<NodeId>,
}

/// Parameters of `fault.clear`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearParams {
    /// Whose; absent for every fault there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<ClearLink>,
}

/// A link whose faults are to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearLink {
    /// The member whose datagrams suffer.
    pub from: NodeId,
    /// The member they are sent to.
    pub to: NodeId,
    /// Whether the other direction is meant as well.
    #[serde(default)]
    pub both_ways: bool,
}

/// Result of `fault.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    /// All of them, in order of their ends' ids.
    pub faults: Vec<FaultyLink>,
}

/// Result of `node.spawn` and `node.restart`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// The node.
    pub node: NodeId,
    /// Its place in the cluster.
    pub index: u32,
    /// The address it listens on.
    pub address: SocketAddr,
    /// Microseconds from the command to convergence.
    pub took_us: u64,
}

/// Result of a command that has nothing to tell but that it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// Microseconds it took.
    pub took_us: u64,
}
