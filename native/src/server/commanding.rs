//! Signed commands, from clients to the cluster.
//!
//! The playground has operators of its own, whose keys everybody knows: they sign what clients without keys ask for.

use std::collections::BTreeSet;

use meshground_node::{
    WallTime,
    admin::{
        AdminCommand, AuditFilter, IceProposal, MAX_SIGNATURES, Nonce, OperatorKey, RadiusHash, SignedCommand,
    },
};
use meshground_shared::{
    BlastRadius, CommandId, Decision, IceVerb, NodeId, NodeState, SimulationHash, Verb,
    rpc::{
        Audit, AuditParams, Decided, ExecuteParams, IceExecuteParams, NodeAudit, NodeDecision, RpcError,
        SimulateParams, Simulated, SubmitParams,
    },
};

use super::{
    errors,
    room::Room,
    workload::{failed, on, running},
};
use crate::{
    cluster::{ClusterHarness, ClusterNode, Subject},
    meshos::wall_time,
    random,
};

/// The most entries of one node's trail in an answer.
const MAX_ENTRIES: u32 = 1_024;

impl Room {
    /// Has an operator of the playground sign an admin command, and submits it.
    pub(crate) async fn execute(&self, params: ExecuteParams) -> Result<Decided, RpcError> {
        let ExecuteParams { verb, via, operator } = params;
        let key = operator_key(&operator)?;
        let harness = self.harness()?;
        let member = via_whom(&harness, via.or(verb.node()))?;
        let (command, nonce) = self.nonce();
        let signed = AdminCommand::new(verb, wall_time(), nonce).sign(&key);
        self.submit_to(&harness, &member, command, signed).await
    }

    /// Submits a command that was signed elsewhere.
    pub(crate) async fn submit(&self, params: SubmitParams) -> Result<Decided, RpcError> {
        let SubmitParams { envelope, via } = params;
        let signed = SignedCommand::parse(&envelope.0).map_err(errors::no_envelope)?;
        let harness = self.harness()?;
        let named = match signed.verb() {
            Verb::Admin(verb) => verb.node(),
            Verb::Ice(_) => None,
        };
        let member = via_whom(&harness, via.or(named))?;
        let command = signed.nonce().command();
        self.submit_to(&harness, &member, command, signed).await
    }

    /// The nodes' audit trails.
    pub(crate) async fn audit(&self, params: AuditParams) -> Result<Audit, RpcError> {
        let AuditParams { node, operator, verb, since_us, until_us, outcome, limit } = params;
        let harness = self.harness()?;
        let members = match node {
            Some(node) => vec![running(&harness, node)?],
            None => harness.nodes(),
        };
        let (from, before) = (since_us.map(WallTime), until_us.map(WallTime));
        let filter = AuditFilter { operator, from, before, kind: verb, outcome };
        let most = usize::try_from(limit.unwrap_or(MAX_ENTRIES).min(MAX_ENTRIES)).unwrap_or(0);
        let mut nodes = Vec::new();
        for member in members {
            let id = member.node_id();
            if harness.member_state(id) != Some(NodeState::Running) {
                continue;
            }
            let Ok(Ok(mut entries)) = on(&member, member.daemon_runtime().audit(filter.clone())).await else {
                continue;
            };
            let skipped = entries.len().saturating_sub(most);
            entries.drain(..skipped);
            nodes.push(NodeAudit { node: id, entries });
        }
        Ok(Audit { nodes })
    }

    /// What a break-glass command would do now.
    pub(crate) async fn simulate(&self, params: SimulateParams) -> Result<Simulated, RpcError> {
        let SimulateParams { verb, via } = params;
        let harness = self.harness()?;
        let member = via_whom(&harness, via)?;
        let radius = radius(&harness, &member, verb).await?;
        let simulation = SimulationHash(RadiusHash::of(&radius).0);
        Ok(Simulated { radius, simulation })
    }

    /// Has operators of the playground sign a break-glass command that was simulated, and submits it.
    pub(crate) async fn execute_ice(&self, params: IceExecuteParams) -> Result<Decided, RpcError> {
        let IceExecuteParams { verb, simulation, operators, via } = params;
        // Each name costs a signature, and more than this no node reads.
        if operators.as_ref().is_some_and(|names| names.len() > MAX_SIGNATURES) {
            return Err(errors::too_many_operators(MAX_SIGNATURES));
        }
        let keys = match operators {
            Some(names) => names.iter().map(|name| operator_key(name)).collect::<Result<Vec<_>, _>>()?,
            None => [1, 2].into_iter().filter_map(OperatorKey::demo).collect(),
        };
        let (first, others) = keys.split_first().ok_or_else(errors::no_operators)?;
        let harness = self.harness()?;
        let member = via_whom(&harness, via)?;
        let radius = radius(&harness, &member, verb.clone()).await?;
        // Whoever signs does so for what was looked at, and that may be another by now.
        if SimulationHash(RadiusHash::of(&radius).0) != simulation {
            return Err(errors::not_simulated());
        }
        let (command, nonce) = self.nonce();
        let signed = IceProposal::new(verb).simulated(radius).sign(wall_time(), nonce, first);
        let signed = others.iter().fold(signed, SignedCommand::cosign);
        self.submit_to(&harness, &member, command, signed).await
    }

    /// A command's id, and a nonce that says it to every node.
    fn nonce(&self) -> (CommandId, Nonce) {
        let command = self.issue();
        let mut nonce = [0; 16];
        let (id, chance) = nonce.split_at_mut(8);
        id.copy_from_slice(&command.0.to_be_bytes());
        chance.copy_from_slice(&random::bytes::<8>());
        (command, Nonce(nonce))
    }

    async fn submit_to(
        &self,
        harness: &ClusterHarness,
        member: &ClusterNode,
        command: CommandId,
        signed: SignedCommand,
    ) -> Result<Decided, RpcError> {
        let node = member.node_id();
        let nonce = signed.nonce().to_string();
        let commanded = on(member, member.daemon_runtime().command(signed)).await;
        let commanded = commanded.map_err(|state| errors::wrong_state(node, state).of(command))?;
        let commanded = commanded.map_err(|error| failed(&error, node, command))?;
        if let Decision::Rejected(reason) = commanded.decision {
            return Err(errors::rejected(reason).of(command));
        }
        // Before the log is looked at: whoever holds that must not ask the cluster, which writes to it.
        let members: BTreeSet<NodeId> = harness.nodes().iter().map(ClusterNode::node_id).collect();
        let nodes = self.log().with_snapshot(|snapshot| {
            let decided = |(&node, seen): (&NodeId, &meshground_shared::NodeSnapshot)| {
                let entry = seen.audit.iter().rev().find(|entry| entry.nonce == nonce)?;
                Some(NodeDecision { node, decision: entry.decision })
            };
            snapshot.nodes.iter().filter(|(id, _)| members.contains(id)).filter_map(decided).collect()
        });
        Ok(Decided { command, decision: commanded.decision, nonce, nodes })
    }
}

/// What a break-glass command would do now, as a node sees it.
async fn radius(
    harness: &ClusterHarness,
    member: &ClusterNode,
    verb: IceVerb,
) -> Result<BlastRadius, RpcError> {
    let node = member.node_id();
    if let Some(subject) = Subject::of(&verb) {
        let heard = on(member, harness.heard(member, subject)).await;
        heard.map_err(|state| errors::wrong_state(node, state))?;
    }
    let radius = on(member, member.daemon_runtime().simulate(verb)).await;
    let radius = radius.map_err(|state| errors::wrong_state(node, state))?;
    let radius = radius.map_err(|error| errors::daemon(&error, node))?;
    radius.ok_or_else(errors::not_applicable)
}

/// The member a command is handed to: this one, if it runs, or else the first that does.
fn via_whom(harness: &ClusterHarness, via: Option<NodeId>) -> Result<ClusterNode, RpcError> {
    match via {
        Some(via) => running(harness, via),
        None => harness.spokesman(None).ok_or_else(errors::not_running_any),
    }
}

/// The key of an operator of the playground.
fn operator_key(name: &str) -> Result<OperatorKey, RpcError> {
    let number = match name {
        "demo" => Some(1),
        name => name.strip_prefix("demo-").and_then(|number| number.parse().ok()),
    };
    number.and_then(OperatorKey::demo).ok_or_else(|| errors::no_operator(name))
}
