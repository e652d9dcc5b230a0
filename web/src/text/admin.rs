//! Signed commands in words.

use meshground_shared::{
    AdminVerb, AuditEntry, AvoidedNode, BlastRadius, Decision, IceVerb, Rejection, Verb, rpc::Decided,
};

use super::{Tone, capital, count, duration, lasting};
use crate::names::Names;

/// What a command is to do: `drain node 2`.
pub(crate) fn verb(verb: &Verb, names: &Names) -> String {
    match verb {
        Verb::Admin(verb) => match verb {
            AdminVerb::Drain { node } => format!("drain {}", names.name(*node)),
            AdminVerb::EnterMaintenance { node } => format!("put {} into maintenance", names.name(*node)),
            AdminVerb::ExitMaintenance { node } => format!("take {} out of maintenance", names.name(*node)),
            AdminVerb::Cordon { node } => format!("cordon {}", names.name(*node)),
            AdminVerb::Uncordon { node } => format!("uncordon {}", names.name(*node)),
            AdminVerb::DropReplicas { node } => format!("drop the replicas of {}", names.name(*node)),
            AdminVerb::InvalidatePlacement { group } => format!("place {} anew", names.group(*group)),
            AdminVerb::RestartAllDaemons { node } => format!("restart all daemons of {}", names.name(*node)),
            AdminVerb::ClearAvoidList { node } => format!("clear the avoid list of {}", names.name(*node)),
        },
        Verb::Ice(verb) => ice_verb(verb, names),
    }
}

/// What a break-glass command is to do: `freeze the cluster for at most 30 s`.
pub(crate) fn ice_verb(verb: &IceVerb, names: &Names) -> String {
    match verb {
        IceVerb::FreezeCluster { ttl_ms } => format!("freeze the cluster for at most {}", lasting(*ttl_ms)),
        IceVerb::ThawCluster => "thaw the cluster".to_owned(),
        IceVerb::FlushAvoidLists => "flush every avoid list".to_owned(),
        IceVerb::ForceEvictReplica { group, index } => {
            format!("evict member {index} of {}", names.group(*group))
        }
        IceVerb::ForceRestartDaemon { daemon } => format!("restart {} by force", names.daemon(*daemon)),
        IceVerb::ForceCutover { migration } => format!("force the cutover of migration {migration}"),
        IceVerb::KillMigration { migration } => format!("kill migration {migration}"),
    }
}

/// Whom a node avoids, and why.
pub(crate) fn avoids(who: &str, avoided: &[AvoidedNode], names: &Names) -> String {
    match avoided {
        [] => format!("{who} avoids nobody any more"),
        some => format!("{who} avoids {}", self::avoided(some, names)),
    }
}

/// `node 2: unreachable; node 3: its daemons crash`.
pub(crate) fn avoided(avoided: &[AvoidedNode], names: &Names) -> String {
    let each =
        |avoided: &AvoidedNode| format!("{}: {}", names.name(avoided.node), names.in_words(&avoided.reason));
    avoided.iter().map(each).collect::<Vec<_>>().join("; ")
}

/// Why a command was rejected, as people write it.
pub(crate) fn rejection(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::NotAuthorized => "not authorized",
        Rejection::SignatureInvalid => "signature invalid",
        Rejection::InsufficientSignatures => "too few signatures",
        Rejection::EnvelopeExpired => "expired",
        Rejection::EnvelopeFromFuture => "from the future",
        Rejection::SimulationRequired => "not simulated",
        Rejection::IceCooldownActive => "cooling down",
        Rejection::FreezeInEffect => "frozen",
        Rejection::NonceReplayed => "replayed",
        Rejection::NotApplicable => "not applicable",
        Rejection::Unreachable => "a node is unreachable",
        Rejection::Overloaded => "too many under way",
    }
}

/// What became of a command, as people write it.
pub(crate) fn decision(decision: Decision) -> String {
    match decision {
        Decision::Applied => "Applied".to_owned(),
        Decision::Rejected(why) => format!("Rejected: {}", rejection(why)),
    }
}

/// What became of a command, for colours and marks.
pub(crate) fn decision_tone(decision: Decision) -> Tone {
    match decision {
        Decision::Applied => Tone::Good,
        Decision::Rejected(_) => Tone::Warn,
    }
}

/// `Node 1 did as demo signed: drain node 2`.
pub(super) fn decided(who: &str, entry: &AuditEntry, names: &Names) -> String {
    let what = verb(&entry.verb, names);
    let by = operators(&entry.operators);
    match entry.decision {
        Decision::Applied => format!("{who} applied what {by} signed: {what}"),
        Decision::Rejected(why) => format!("{who} rejected what {by} signed, {}: {what}", rejection(why)),
    }
}

/// What became of a command that this page submitted: `Drain node 2: applied, by 1 of 1 node`.
pub(crate) fn answered(what: Option<&Verb>, decided: &Decided, names: &Names) -> String {
    let applied = decided.nodes.iter().filter(|node| node.decision == Decision::Applied).count();
    let asked = count(u32::try_from(decided.nodes.len()).unwrap_or(u32::MAX), "node");
    let what = what.map_or_else(|| "What was signed elsewhere".to_owned(), |what| verb_capital(what, names));
    match decided.decision {
        Decision::Applied => format!("{what}: applied, by {applied} of {asked}"),
        Decision::Rejected(why) => {
            format!("{what}: rejected, {}; applied by {applied} of {asked}", rejection(why))
        }
    }
}

/// `ada, bob and eve`, or that there is nobody.
pub(crate) fn operators(names: &[String]) -> String {
    match names {
        [] => "nobody".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// What a break-glass command would touch: `3 nodes, 1 replica, 4 daemons`.
pub(crate) fn radius(radius: &BlastRadius) -> String {
    let number = |many: usize| u32::try_from(many).unwrap_or(u32::MAX);
    let touched: Vec<String> =
        [(radius.nodes.len(), "node"), (radius.replicas.len(), "replica"), (radius.daemons.len(), "daemon")]
            .into_iter()
            .filter(|(many, _)| *many > 0)
            .map(|(many, noun)| count(number(many), noun))
            .collect();
    let mut said = if touched.is_empty() {
        "It touches nothing".to_owned()
    } else {
        format!("It touches {}", touched.join(", "))
    };
    if radius.drain_delay_ms > 0 {
        let delay = match radius.drain_delay_ms {
            ms @ ..10_000 => duration(ms * 1_000),
            ms => lasting(ms),
        };
        said = format!("{said}, and delays drains by {delay}");
    }
    said
}

/// The beginning of a sentence about a command.
pub(crate) fn verb_capital(what: &Verb, names: &Names) -> String {
    capital(&verb(what, names))
}

#[cfg(test)]
mod tests {
    use meshground_shared::{
        CommandId, DaemonId, Event, EventKind, GroupId, MigrationId, NodeId, rpc::NodeDecision,
    };

    use super::*;
    use crate::text::{sentence, tone};

    #[test]
    fn a_decision_says_who_signed_what_and_why_not() {
        let entry = |decision, operators: &[&str]| AuditEntry {
            seq: 1,
            wall_us: 1,
            nonce: "0".repeat(32),
            verb: Verb::Admin(AdminVerb::Drain { node: NodeId(0xab << 56) }),
            operators: operators.iter().map(|&name| name.to_owned()).collect(),
            decision,
        };
        let told = |entry| {
            let kind = EventKind::AdminDecided { entry };
            let marked = tone(&kind);
            let event =
                Event { seq: 1, at_us: 1, wall_us: 1, node: Some(NodeId(1 << 56)), cause: None, kind };
            (sentence(&event, &Names::default()), marked)
        };
        assert_eq!(
            told(entry(Decision::Applied, &["demo"])),
            ("Node 01000000 applied what demo signed: drain node ab000000".to_owned(), Tone::Good)
        );
        assert_eq!(
            told(entry(Decision::Rejected(Rejection::NonceReplayed), &["ada", "bob", "eve"])),
            (
                "Node 01000000 rejected what ada, bob and eve signed, replayed: drain node ab000000"
                    .to_owned(),
                Tone::Warn
            )
        );
        assert!(told(entry(Decision::Rejected(Rejection::NotAuthorized), &[])).0.contains("nobody signed"));
    }

    #[test]
    fn an_answer_says_how_many_of_those_asked_did_it() {
        let told = |decisions: &[Decision]| {
            let nodes =
                (1..).zip(decisions).map(|(id, &decision)| NodeDecision { node: NodeId(id), decision });
            let rejected = decisions.iter().find(|decision| **decision != Decision::Applied);
            let decided = Decided {
                command: CommandId(7),
                decision: rejected.copied().unwrap_or(Decision::Applied),
                nonce: String::new(),
                nodes: nodes.collect(),
            };
            answered(Some(&Verb::Ice(IceVerb::ThawCluster)), &decided, &Names::default())
        };
        assert_eq!(told(&[Decision::Applied; 3]), "Thaw the cluster: applied, by 3 of 3 nodes");
        assert_eq!(
            told(&[Decision::Applied, Decision::Rejected(Rejection::IceCooldownActive)]),
            "Thaw the cluster: rejected, cooling down; applied by 1 of 2 nodes"
        );
    }

    #[test]
    fn break_glass_commands_say_what_they_do() {
        let names = Names::default();
        for (given, said) in [
            (IceVerb::FreezeCluster { ttl_ms: 30_000 }, "Freeze the cluster for at most 30 s"),
            (
                IceVerb::ForceEvictReplica { group: GroupId(5 << 48), index: 2 },
                "Evict member 2 of group 0005",
            ),
            (IceVerb::ForceRestartDaemon { daemon: DaemonId(0x3f2a << 48) }, "Restart daemon 3f2a by force"),
            (IceVerb::KillMigration { migration: MigrationId(6) }, "Kill migration 0000000000000006"),
        ] {
            assert_eq!(verb_capital(&Verb::Ice(given), &names), said);
        }
    }

    #[test]
    fn a_blast_radius_names_what_it_touches_and_nothing_else() {
        assert_eq!(radius(&BlastRadius::default()), "It touches nothing");
        let touched = BlastRadius {
            nodes: vec![NodeId(1), NodeId(2)],
            daemons: vec![DaemonId(9)],
            drain_delay_ms: 2_500,
            ..BlastRadius::default()
        };
        assert_eq!(radius(&touched), "It touches 2 nodes, 1 daemon, and delays drains by 2.50 s");
        let longer = BlastRadius { drain_delay_ms: 30_000, ..BlastRadius::default() };
        assert_eq!(radius(&longer), "It touches nothing, and delays drains by 30 s");
    }
}
