//! What a person can ask to be done with what runs on nodes, and what is answered.

use std::{collections::BTreeMap, rc::Rc};

use meshground_shared::{
    AdminVerb, DaemonId, GroupId, Hex, IceVerb, MigrationId, NodeId, SimulationHash, Verb,
    rpc::{
        AdminExecute, AdminSubmit, CallParams, Called, DaemonDeliver, DaemonSpawnParams, Decided,
        DeliverParams, Delivered, GroupSpawnParams, IceExecute, IceSimulate, KindInfo, Method, MigrateParams,
        RpcCall, ScaleParams, Simulated,
    },
};
use serde_json::Value;

use crate::{names::Names, text};

/// Daemons whose last answer is remembered.
const MAX_DELIVERED: usize = 32;

/// Something to be done with what runs on nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    /// Make a daemon on a node.
    SpawnDaemon(DaemonSpawnParams),
    /// Stop a daemon.
    StopDaemon(DaemonId),
    /// Give a daemon an event.
    Deliver(DeliverParams),
    /// Move a daemon to another node.
    Migrate(MigrateParams),
    /// Call a migration off.
    CancelMigration(MigrationId),
    /// Make a group.
    SpawnGroup(GroupSpawnParams),
    /// Give a group more members or fewer.
    ScaleGroup(ScaleParams),
    /// Stop a group.
    StopGroup(GroupId),
    /// Have a standby take over.
    Promote(GroupId),
    /// Have one node call another.
    Call(CallParams),
    /// Have this operator sign an admin command, and submit it.
    Admin(AdminVerb, &'static str),
    /// Ask what a break-glass command would do.
    Simulate(IceVerb),
    /// Have these operators sign a break-glass command, and submit it.
    Ice(IceVerb, SimulationHash, Vec<&'static str>),
    /// Submit a command that was signed elsewhere.
    Submit(Hex),
}

impl Work {
    /// One word for the log's cause chip.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::SpawnDaemon(_) => "spawn",
            Self::StopDaemon(_) | Self::StopGroup(_) => "stop",
            Self::Deliver(_) => "deliver",
            Self::Migrate(_) => "migrate",
            Self::CancelMigration(_) => "cancel",
            Self::SpawnGroup(_) => "group",
            Self::ScaleGroup(_) => "scale",
            Self::Promote(_) => "promote",
            Self::Call(_) => "call",
            Self::Admin(..) | Self::Submit(_) => "admin",
            Self::Simulate(_) | Self::Ice(..) => "ice",
        }
    }

    /// What could not be done, as the end of `Could not`.
    pub(crate) fn title(&self, names: &Names) -> String {
        match self {
            Self::SpawnDaemon(params) => format!("spawn a {} on {}", params.kind, names.name(params.node)),
            Self::StopDaemon(daemon) => format!("stop {}", names.daemon(*daemon)),
            Self::Deliver(params) => format!("deliver to {}", names.daemon(params.daemon)),
            Self::Migrate(params) => {
                format!("move {} to {}", names.daemon(params.daemon), names.name(params.to))
            }
            Self::CancelMigration(_) => "call the migration off".to_owned(),
            Self::SpawnGroup(params) => format!("spawn a group of {}", params.daemon),
            Self::ScaleGroup(params) => {
                format!("scale {} to {}", names.group(params.group), params.count)
            }
            Self::StopGroup(group) => format!("stop {}", names.group(*group)),
            Self::Promote(group) => format!("promote a standby of {}", names.group(*group)),
            Self::Call(params) => {
                let (from, to) = (names.name(params.from), names.name(params.to));
                format!("have {from} call {} on {to}", params.method)
            }
            Self::Admin(verb, _) => text::admin::verb(&Verb::Admin(verb.clone()), names),
            Self::Simulate(verb) => format!("simulate: {}", text::admin::ice_verb(verb, names)),
            Self::Ice(verb, ..) => text::admin::ice_verb(verb, names),
            Self::Submit(_) => "submit the envelope".to_owned(),
        }
    }

    /// Reads what of its answer the events do not say. None where they say all.
    ///
    /// # Errors
    /// When the answer is not what the contract says.
    pub(crate) fn read(&self, value: Value) -> Result<Option<Answer>, String> {
        Ok(Some(match self {
            Self::Deliver(params) => Answer::Delivered(params.daemon, answer::<DaemonDeliver>(value)?),
            Self::Call(params) => Answer::Called(params.clone(), answer::<RpcCall>(value)?),
            Self::Admin(verb, _) => {
                Answer::Decided(Some(Verb::Admin(verb.clone())), answer::<AdminExecute>(value)?)
            }
            Self::Simulate(verb) => Answer::Simulated(verb.clone(), answer::<IceSimulate>(value)?),
            Self::Ice(verb, ..) => {
                Answer::Decided(Some(Verb::Ice(verb.clone())), answer::<IceExecute>(value)?)
            }
            // Only the audit trails say what was in it.
            Self::Submit(_) => Answer::Decided(None, answer::<AdminSubmit>(value)?),
            Self::SpawnDaemon(_)
            | Self::StopDaemon(_)
            | Self::Migrate(_)
            | Self::CancelMigration(_)
            | Self::SpawnGroup(_)
            | Self::ScaleGroup(_)
            | Self::StopGroup(_)
            | Self::Promote(_) => return Ok(None),
        }))
    }
}

fn answer<M: Method>(value: Value) -> Result<M::Result, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Something the server answered that no event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The factories there are.
    Kinds(Vec<KindInfo>),
    /// What a daemon put out.
    Delivered(DaemonId, Delivered),
    /// What a called node said.
    Called(CallParams, Called),
    /// What became of a signed command, and which it was where this page signed it.
    Decided(Option<Verb>, Decided),
    /// What a break-glass command would do.
    Simulated(IceVerb, Simulated),
}

/// The last answers of each sort.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Answers {
    /// The factories there are.
    pub(crate) kinds: Vec<KindInfo>,
    /// What daemons put out last.
    pub(crate) delivered: BTreeMap<DaemonId, Rc<Delivered>>,
    /// The last call that was answered.
    pub(crate) called: Option<Rc<(CallParams, Called)>>,
    /// The last signed command that was decided.
    pub(crate) decided: Option<Rc<(Option<Verb>, Decided)>>,
    /// The last simulation.
    pub(crate) simulated: Option<Rc<(IceVerb, Simulated)>>,
}

impl Answers {
    /// Remembers an answer in place of the last one of its sort.
    pub(crate) fn learn(&mut self, answer: Answer) {
        match answer {
            Answer::Kinds(kinds) => self.kinds = kinds,
            Answer::Delivered(daemon, delivered) => {
                self.delivered.insert(daemon, Rc::new(delivered));
                if self.delivered.len() > MAX_DELIVERED {
                    let other = self.delivered.keys().find(|&&known| known != daemon).copied();
                    self.delivered.remove(&other.unwrap_or(daemon));
                }
            }
            Answer::Called(params, called) => self.called = Some(Rc::new((params, called))),
            Answer::Decided(verb, decided) => {
                // A simulation is good for one command.
                self.simulated = None;
                self.decided = Some(Rc::new((verb, decided)));
            }
            Answer::Simulated(verb, simulated) => self.simulated = Some(Rc::new((verb, simulated))),
        }
    }

    /// Forgets what was said of another cluster. The factories are the server's.
    pub(crate) fn forget(&mut self) {
        *self = Self { kinds: std::mem::take(&mut self.kinds), ..Self::default() };
    }
}

/// The playground's operators: the server has their keys, and so has everybody.
pub(crate) const OPERATORS: [&str; 3] = ["demo-1", "demo-2", "demo-3"];

/// What a verb is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Everything.
    Cluster,
    /// Everything, for so long.
    Lasting,
    /// A node.
    Node,
    /// A group.
    Group,
    /// A place in a group.
    Member,
    /// A daemon.
    Daemon,
    /// A migration under way.
    Migration,
}

/// A verb to choose: its name in the contract, what people call it, and what it is done to.
pub(crate) type Choice = (&'static str, &'static str, Target);

/// The verbs of one operator.
pub(crate) const ADMIN_VERBS: [Choice; 9] = [
    ("drain", "Drain", Target::Node),
    ("enter_maintenance", "Enter maintenance", Target::Node),
    ("exit_maintenance", "Exit maintenance", Target::Node),
    ("cordon", "Cordon", Target::Node),
    ("uncordon", "Uncordon", Target::Node),
    ("drop_replicas", "Drop replicas", Target::Node),
    ("invalidate_placement", "Place anew", Target::Group),
    ("restart_all_daemons", "Restart all daemons", Target::Node),
    ("clear_avoid_list", "Clear avoid list", Target::Node),
];

/// The verbs that several operators sign.
pub(crate) const ICE_VERBS: [Choice; 7] = [
    ("freeze_cluster", "Freeze cluster", Target::Lasting),
    ("thaw_cluster", "Thaw cluster", Target::Cluster),
    ("flush_avoid_lists", "Flush avoid lists", Target::Cluster),
    ("force_evict_replica", "Evict replica", Target::Member),
    ("force_restart_daemon", "Restart daemon", Target::Daemon),
    ("force_cutover", "Force cutover", Target::Migration),
    ("kill_migration", "Kill migration", Target::Migration),
];

/// What a form says a verb is to be done to; what the verb does not need may be absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Aim {
    /// A node.
    pub(crate) node: Option<NodeId>,
    /// A group.
    pub(crate) group: Option<GroupId>,
    /// A place in that group.
    pub(crate) index: Option<u32>,
    /// A daemon.
    pub(crate) daemon: Option<DaemonId>,
    /// A migration.
    pub(crate) migration: Option<MigrationId>,
    /// Milliseconds.
    pub(crate) ttl_ms: Option<u64>,
}

/// The admin verb of this name. None where what it needs is absent, or there is no such verb.
pub(crate) fn admin_verb(name: &str, aim: Aim) -> Option<AdminVerb> {
    let node = aim.node;
    Some(match name {
        "drain" => AdminVerb::Drain { node: node? },
        "enter_maintenance" => AdminVerb::EnterMaintenance { node: node? },
        "exit_maintenance" => AdminVerb::ExitMaintenance { node: node? },
        "cordon" => AdminVerb::Cordon { node: node? },
        "uncordon" => AdminVerb::Uncordon { node: node? },
        "drop_replicas" => AdminVerb::DropReplicas { node: node? },
        "invalidate_placement" => AdminVerb::InvalidatePlacement { group: aim.group? },
        "restart_all_daemons" => AdminVerb::RestartAllDaemons { node: node? },
        "clear_avoid_list" => AdminVerb::ClearAvoidList { node: node? },
        _ => return None,
    })
}

/// The break-glass verb of this name. None where what it needs is absent, or there is no such verb.
pub(crate) fn ice_verb(name: &str, aim: Aim) -> Option<IceVerb> {
    Some(match name {
        "freeze_cluster" => IceVerb::FreezeCluster { ttl_ms: aim.ttl_ms? },
        "thaw_cluster" => IceVerb::ThawCluster,
        "flush_avoid_lists" => IceVerb::FlushAvoidLists,
        "force_evict_replica" => IceVerb::ForceEvictReplica { group: aim.group?, index: aim.index? },
        "force_restart_daemon" => IceVerb::ForceRestartDaemon { daemon: aim.daemon? },
        "force_cutover" => IceVerb::ForceCutover { migration: aim.migration? },
        "kill_migration" => IceVerb::KillMigration { migration: aim.migration? },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const AIM: Aim = Aim {
        node: Some(NodeId(1)),
        group: Some(GroupId(5)),
        index: Some(2),
        daemon: Some(DaemonId(9)),
        migration: Some(MigrationId(6)),
        ttl_ms: Some(1_000),
    };

    #[test]
    fn every_choice_makes_the_verb_it_names_and_none_without_its_target() {
        for (name, _, target) in ADMIN_VERBS {
            assert_eq!(Verb::Admin(admin_verb(name, AIM).unwrap()).name(), name);
            let short = match target {
                Target::Node => Aim { node: None, ..AIM },
                _ => Aim { group: None, ..AIM },
            };
            assert_eq!(admin_verb(name, short), None, "{name}");
        }
        for (name, _, target) in ICE_VERBS {
            assert_eq!(Verb::Ice(ice_verb(name, AIM).unwrap()).name(), name);
            let short = match target {
                Target::Lasting => Aim { ttl_ms: None, ..AIM },
                Target::Member => Aim { index: None, ..AIM },
                Target::Daemon => Aim { daemon: None, ..AIM },
                Target::Migration => Aim { migration: None, ..AIM },
                _ => continue,
            };
            assert_eq!(ice_verb(name, short), None, "{name}");
        }
        assert_eq!(admin_verb("thaw_cluster", AIM), None);
        assert_eq!(ice_verb("drain", AIM), None);
    }

    #[test]
    fn an_answer_that_is_not_what_the_contract_says_is_refused() {
        let deliver = Work::Deliver(DeliverParams { daemon: DaemonId(9), payload: String::new(), via: None });
        assert!(deliver.read(json!({"command": "0000000000000007"})).is_err());
        let full = json!({"command": "0000000000000007", "processed": 3, "outputs": ["3"], "took_us": 1});
        let Ok(Some(Answer::Delivered(daemon, delivered))) = deliver.read(full) else { panic!("unread") };
        assert_eq!((daemon, delivered.processed), (DaemonId(9), 3));
        assert_eq!(Work::StopDaemon(daemon).read(json!({})), Ok(None), "the events say it");
    }

    #[test]
    fn a_simulation_is_good_for_one_command() {
        let mut answers = Answers::default();
        let simulated = Simulated { radius: <_>::default(), simulation: SimulationHash([1; 32]) };
        answers.learn(Answer::Simulated(IceVerb::ThawCluster, simulated));
        assert!(answers.simulated.is_some());
        let decided = json!({
            "command": "0000000000000007", "decision": "applied", "nonce": "0".repeat(32), "nodes": [],
        });
        let work = Work::Ice(IceVerb::ThawCluster, SimulationHash([1; 32]), OPERATORS.to_vec());
        answers.learn(work.read(decided).unwrap().unwrap());
        assert!(answers.simulated.is_none() && answers.decided.is_some());
        answers.learn(Answer::Kinds(vec![KindInfo { kind: "counter".into(), about: String::new() }]));
        answers.forget();
        assert!(answers.decided.is_none() && answers.kinds.len() == 1);
    }

    #[test]
    fn what_daemons_put_out_is_remembered_of_a_bounded_number() {
        let mut answers = Answers::default();
        for id in 0..2 * MAX_DELIVERED as u64 {
            let delivered = Delivered {
                command: meshground_shared::CommandId(1),
                processed: id,
                outputs: Vec::new(),
                took_us: 1,
            };
            answers.learn(Answer::Delivered(DaemonId(id), delivered));
            assert!(answers.delivered.contains_key(&DaemonId(id)));
        }
        assert_eq!(answers.delivered.len(), MAX_DELIVERED);
    }
}
