//! Signed commands.

use serde::{Deserialize, Serialize};

use crate::{
    admin::{AdminVerb, AuditEntry, AuditOutcome, BlastRadius, Decision, IceVerb},
    id::{CommandId, Hex, NodeId, SimulationHash},
};

/// Parameters of `admin.execute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecuteParams {
    /// What is to be done.
    pub verb: AdminVerb,
    /// The node it is handed to, which passes it on; by default one that it names, or the one of
    /// the lowest index that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<NodeId>,
    /// Which of the playground's operators signs it.
    #[serde(default = "default_operator")]
    pub operator: String,
}

/// Parameters of `admin.submit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubmitParams {
    /// The command with its signatures, as nodes take it.
    pub envelope: Hex,
    /// The node it is handed to, as in `admin.execute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<NodeId>,
}

/// Result of a signed command. One that every node rejected is the error `rejected` instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// The id its events carry as `cause`.
    pub command: CommandId,
    /// Applied if it took effect on every node it names, otherwise the first rejection among
    /// `nodes`.
    pub decision: Decision,
    /// The command's nonce, by which it is known in every audit trail; 32 hexadecimal digits.
    pub nonce: String,
    /// What became of it on each node it names, by the nodes' ids.
    pub nodes: Vec<NodeDecision>,
}

/// What became of a command on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDecision {
    /// Which.
    pub node: NodeId,
    /// What.
    pub decision: Decision,
}

/// Parameters of `admin.audit`. What is absent does not filter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditParams {
    /// Only this node's trail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Only what this operator signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// Only commands of this verb, by name, such as `drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// Only what was decided then or later, in Unix microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_us: Option<u64>,
    /// Only what was decided before then, in Unix microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_us: Option<u64>,
    /// Only what came to this: `"applied"`, `"rejected"`, or `{"rejected_for": "nonce_replayed"}` or another reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AuditOutcome>,
    /// The latest so many of each node, of those that all else lets through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Result of `admin.audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The trails, by the nodes' ids. A node that cannot be asked is missing.
    pub nodes: Vec<NodeAudit>,
}

/// One node's audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAudit {
    /// Whose.
    pub node: NodeId,
    /// The entries asked for, the oldest first.
    pub entries: Vec<AuditEntry>,
}

/// Parameters of `ice.simulate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulateParams {
    /// What would be done.
    pub verb: IceVerb,
    /// The node that is asked; by default the one of the lowest index that runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<NodeId>,
}

/// Result of `ice.simulate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Simulated {
    /// What the command would do.
    pub radius: BlastRadius,
    /// What stands for that radius in `ice.execute`.
    pub simulation: SimulationHash,
}

/// Parameters of `ice.execute`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceExecuteParams {
    /// What is to be done.
    pub verb: IceVerb,
    /// That its blast radius was looked at: `simulation` of `ice.simulate`.
    pub simulation: SimulationHash,
    /// Which of the playground's operators sign it; by default as many as it needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operators: Option<Vec<String>>,
    /// The node it is handed to, as in `admin.execute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<NodeId>,
}

fn default_operator() -> String {
    "demo".to_owned()
}
