//! From what a person asks for to the method that does it.

use std::rc::Rc;

use meshground_shared::{
    LinkFault,
    rpc::{
        AdminExecute, AdminSubmit, BootParams, CancelParams, ClearLink, ClearParams, ClusterBoot,
        ClusterShutdown, ClusterTopology, DEFAULT_GRACE_MS, DaemonDeliver, DaemonSpawn, DaemonStop,
        DaemonStopParams, ExecuteParams, FaultClear, FaultParams, FaultSet, GroupParams, GroupPromote,
        GroupScale, GroupSpawn, GroupStop, IceExecute, IceExecuteParams, IceSimulate, MigrationCancel,
        MigrationStart, NoParams, NodeCrash, NodeParams, NodePause, NodeRestart, NodeResume, NodeShutdown,
        NodeSpawn, RestartParams, RpcCall, SimulateParams, SubmitParams, TopologyParams,
    },
};

use super::connection::{Call, Link};
use crate::{state::Command, work::Work};

impl Link {
    /// Asks the server for what a person asked for.
    pub(super) fn carry_out(self: &Rc<Self>, command: Command, call: Call) {
        match command {
            Command::Work(work) => self.give_work(work, call),
            Command::Boot { nodes, replace, topology } => {
                let params = BootParams { nodes, replace, topology: Some(topology) };
                self.call::<ClusterBoot>(&params, call);
            }
            Command::Relink(topology) => self.call::<ClusterTopology>(&TopologyParams { topology }, call),
            Command::Stop => self.call::<ClusterShutdown>(&NoParams {}, call),
            Command::Spawn => self.call::<NodeSpawn>(&NoParams {}, call),
            Command::Shutdown(node) => self.call::<NodeShutdown>(&NodeParams { node }, call),
            Command::Crash(node) => self.call::<NodeCrash>(&NodeParams { node }, call),
            Command::Restart(node) => {
                self.call::<NodeRestart>(&RestartParams { node, fresh_identity: false }, call);
            }
            Command::Replace(node) => {
                self.call::<NodeRestart>(&RestartParams { node, fresh_identity: true }, call);
            }
            Command::Pause(node) => self.call::<NodePause>(&NodeParams { node }, call),
            Command::Resume(node) => self.call::<NodeResume>(&NodeParams { node }, call),
            Command::Cut(from, to) => {
                let params = FaultParams { from, to, both_ways: true, fault: LinkFault::CUT };
                self.call::<FaultSet>(&params, call);
            }
            Command::Heal(from, to) => {
                let link_meant = ClearLink { from, to, both_ways: true };
                self.call::<FaultClear>(&ClearParams { link: Some(link_meant) }, call);
            }
            Command::HealAll => self.call::<FaultClear>(&ClearParams::default(), call),
        }
    }

    fn give_work(self: &Rc<Self>, work: Work, call: Call) {
        match work {
            Work::SpawnDaemon(params) => self.call::<DaemonSpawn>(&params, call),
            Work::StopDaemon(daemon) => {
                self.call::<DaemonStop>(&DaemonStopParams { daemon, grace_ms: DEFAULT_GRACE_MS }, call);
            }
            Work::Deliver(params) => self.call::<DaemonDeliver>(&params, call),
            Work::Migrate(params) => self.call::<MigrationStart>(&params, call),
            Work::CancelMigration(migration) => {
                self.call::<MigrationCancel>(&CancelParams { migration }, call);
            }
            Work::SpawnGroup(params) => self.call::<GroupSpawn>(&params, call),
            Work::ScaleGroup(params) => self.call::<GroupScale>(&params, call),
            Work::StopGroup(group) => self.call::<GroupStop>(&GroupParams { group }, call),
            Work::Promote(group) => self.call::<GroupPromote>(&GroupParams { group }, call),
            Work::Call(params) => self.call::<RpcCall>(&params, call),
            Work::Admin(verb, operator) => {
                let params = ExecuteParams { verb, via: None, operator: operator.to_owned() };
                self.call::<AdminExecute>(&params, call);
            }
            Work::Simulate(verb) => self.call::<IceSimulate>(&SimulateParams { verb, via: None }, call),
            Work::Ice(verb, simulation, operators) => {
                let operators = Some(operators.into_iter().map(str::to_owned).collect());
                let params = IceExecuteParams { verb, simulation, operators, via: None };
                self.call::<IceExecute>(&params, call);
            }
            Work::Submit(envelope) => {
                self.call::<AdminSubmit>(&SubmitParams { envelope, via: None }, call);
            }
        }
    }
}
