//! The methods: name, parameters and result of each.

mod admin;
mod call;
mod cluster;
mod daemon;
mod fault;
mod group;
mod migration;
mod session;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use admin::{
    Audit, AuditParams, Decided, ExecuteParams, IceExecuteParams, NodeAudit, NodeDecision, SimulateParams,
    Simulated, SubmitParams,
};
pub use call::{CallParams, Called, DEFAULT_DEADLINE_MS, MAX_BODY_BYTES, MAX_DEADLINE_MS};
pub use cluster::{BootParams, Booted, NodeParams, RestartParams, Spawned, TopologyParams};
pub use daemon::{
    DEFAULT_GRACE_MS, DaemonSpawnParams, DaemonSpawned, DaemonStopParams, DeliverParams, Delivered, KindInfo,
    Kinds, MAX_ARGS_BYTES, MAX_GRACE_MS, MAX_PAYLOAD_BYTES,
};
pub use fault::{ClearLink, ClearParams, FaultParams, Faults, PartitionParams};
pub use group::{GroupParams, GroupSpawnParams, GroupSpawned, MAX_GROUP_NAME_BYTES, ScaleParams};
pub use migration::{CancelParams, MigrateParams, MigrationStarted};
pub use session::{Hello, Limits, Resume, ServerInfo, SubscribeParams, Subscribed, Topic};

use crate::{id::CommandId, snapshot::Snapshot, view::NodeView};

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
    ($(#[$about:meta])* $table:ident { $($(#[$doc:meta])* $marker:ident = $name:literal, $params:ty => $result:ty;)* }) => {
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

        $(#[$about])*
        pub const $table: &[&str] = &[$($name),*];

        /// A method and what a client gave for it: the two fields of a request that say what to do.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "method", content = "params")]
        pub enum MethodCall {
            $(
                $(#[$doc])*
                #[serde(rename = $name)]
                $marker($params),
            )*
        }
    };
}

methods! {
    /// The name of every method that a server answers.
    METHODS {
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
        /// The system through one node's eyes: what it knows of the others, what it did and found. Of one
        /// that is paused or crashed, the last it had.
        NodeLook = "node.view", NodeParams => NodeView;
        /// From here on, this happens to the datagrams that one member sends another.
        FaultSet = "fault.set", FaultParams => Done;
        /// Cuts every link between two groups of members, both ways.
        FaultPartition = "fault.partition", PartitionParams => Done;
        /// Ends the faults of one link, or all of them.
        FaultClear = "fault.clear", ClearParams => Done;
        /// The faults there are.
        FaultList = "fault.list", NoParams => Faults;
        /// The factories that daemons can be made by.
        DaemonKinds = "daemon.kinds", NoParams => Kinds;
        /// Makes a daemon on a node; answers when it runs there.
        DaemonSpawn = "daemon.spawn", DaemonSpawnParams => DaemonSpawned;
        /// Tells a daemon to stop; answers when it is down.
        DaemonStop = "daemon.stop", DaemonStopParams => Done;
        /// Gives a daemon an event to work off, wherever it runs; answers with what it put out.
        DaemonDeliver = "daemon.deliver", DeliverParams => Delivered;
        /// Makes a group and places its members; answers when all of them run.
        GroupSpawn = "group.spawn", GroupSpawnParams => GroupSpawned;
        /// Gives a group more members or fewer; answers when it has them.
        GroupScale = "group.scale", ScaleParams => Done;
        /// Has the best-synced standby of a group take over from the member that works; answers
        /// when it has.
        GroupPromote = "group.promote", GroupParams => Done;
        /// Stops a group and all its members; answers when they are down.
        GroupStop = "group.stop", GroupParams => Done;
        /// Has one node call a method that another serves over the mesh; answers with the answer.
        RpcCall = "rpc.call", CallParams => Called;
        /// Begins to move a daemon to another node, and answers at once: the events
        /// `migration_changed` tell how it goes on.
        MigrationStart = "migration.start", MigrateParams => MigrationStarted;
        /// Calls a migration off; answers when its source runs the daemon as before.
        MigrationCancel = "migration.cancel", CancelParams => Done;
        /// Signs an admin command as an operator of the playground and submits it; answers when
        /// every node it names has decided.
        AdminExecute = "admin.execute", ExecuteParams => Decided;
        /// Submits a command of either kind that was signed elsewhere.
        AdminSubmit = "admin.submit", SubmitParams => Decided;
        /// The nodes' audit trails.
        AdminAudit = "admin.audit", AuditParams => Audit;
        /// What a break-glass command would do now; changes nothing.
        IceSimulate = "ice.simulate", SimulateParams => Simulated;
        /// Signs a break-glass command that was simulated as operators of the playground, and
        /// submits it.
        IceExecute = "ice.execute", IceExecuteParams => Decided;
    }
}

/// No parameters: `{}` or nothing at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Result of a command that has nothing to tell but that it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// Microseconds it took.
    pub took_us: u64,
}
