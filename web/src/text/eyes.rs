//! What one node sees otherwise than it is, in words.

use meshground_shared::{Health, Maintenance, NodeState, NodeView};

use super::{count, health, workload};
use crate::{
    eyes::{Difference, Seen},
    names::Names,
};

/// How far a node sees what is so: `Sees 2 things otherwise than they are`.
pub(crate) fn verdict(differences: usize) -> String {
    match differences {
        0 => "Sees what is so".to_owned(),
        1 => "Sees 1 thing otherwise than it is".to_owned(),
        many => format!("Sees {many} things otherwise than they are"),
    }
}

/// One thing that it sees otherwise, as a sentence about `it` without its full stop.
pub(crate) fn difference(difference: &Difference, names: &Names) -> String {
    match *difference {
        Difference::Doubts { peer, verdict, cut } => {
            let peer = names.name(peer);
            let why = if cut { format!(": the link from {peer} is cut") } else { String::new() };
            format!("It finds {peer} {}, which runs{why}", health(verdict))
        }
        Difference::Trusts { peer, verdict, state } => {
            let does = match state {
                NodeState::Crashed => "has crashed",
                NodeState::Paused => "is paused",
                NodeState::Leaving => "is leaving",
                NodeState::Running => "runs",
            };
            format!("It still finds {} {}, which {does}", names.name(peer), health(verdict))
        }
        Difference::Unrequited { peer, verdict, cut } => {
            let peer = names.name(peer);
            let why = if cut { format!(": the link to {peer} is cut") } else { String::new() };
            format!("It finds {peer} {}, which finds it {}{why}", health(Health::Healthy), health(verdict))
        }
        Difference::Verdictless { peer } => {
            format!("It has no verdict on {}, with which it has a session", names.name(peer))
        }
        Difference::Unaware { peer } => format!("It does not know {}", names.name(peer)),
        Difference::Departed { peer } => format!("It still knows {}, which has left", names.name(peer)),
        Difference::Service { node, seen, is } => {
            format!("It knows {} as {}; in truth: {}", names.name(node), service(seen), service(is))
        }
        Difference::DaemonUnknown { daemon, is } => {
            format!("It does not know that {} is on {}", names.daemon(daemon), names.name(is))
        }
        Difference::DaemonGone { daemon, seen } => {
            format!("It takes {} to be on {}, where it is not", names.daemon(daemon), names.name(seen))
        }
        Difference::DaemonElsewhere { daemon, seen, is } => {
            let (daemon, seen, is) = (names.daemon(daemon), names.name(seen), names.name(is));
            format!("It takes {daemon} to be on {seen}; it is on {is}")
        }
        Difference::DaemonDoes { daemon, node, seen, is } => {
            let (daemon, node) = (names.daemon(daemon), names.name(node));
            let (seen, is) = (workload::lifecycle(seen), workload::lifecycle(is));
            format!("It knows {daemon} on {node} as {seen}; in truth: {is}")
        }
        Difference::GroupUnknown { group } => format!("It does not know {}", names.group(group)),
        Difference::GroupGone { group } => format!("It still knows {}, which is no more", names.group(group)),
        Difference::GroupHealth { group, seen, is } => {
            let (seen, is) = (workload::group_health(seen), workload::group_health(is));
            format!("It knows {} as {seen}; in truth: {is}", names.group(group))
        }
        Difference::GroupLeader { group, seen, is } => {
            let (group, seen, is) = (names.group(group), names.name(seen), names.name(is));
            format!("It takes {seen} to look after {group}; it is {is}")
        }
        Difference::GroupPlaces { group } => {
            format!("It takes members of {} to be in other places than they are", names.group(group))
        }
        Difference::MigrationUnknown { daemon, target } => {
            format!("It does not know that {} is moving to {}", names.daemon(daemon), names.name(target))
        }
        Difference::MigrationOver { daemon, target } => {
            let (daemon, target) = (names.daemon(daemon), names.name(target));
            format!("It takes {daemon} to be moving to {target}, which is over")
        }
    }
}

fn service((state, cordoned): (Maintenance, bool)) -> String {
    let state = match state {
        Maintenance::Active => "In service",
        other => workload::maintenance(other),
    };
    if cordoned { format!("{state}, cordoned") } else { state.to_owned() }
}

/// Why what is shown does not go on.
pub(crate) fn standstill(state: NodeState) -> Option<&'static str> {
    match state {
        NodeState::Running | NodeState::Leaving => None,
        NodeState::Paused => Some("It is paused and silent: this is what it saw when it stood still."),
        NodeState::Crashed => Some("It has crashed: this is the last it saw."),
    }
}

/// `5 daemons (2 here) and 1 standby copy, 1 group, no migration`.
pub(crate) fn knows(seen: &Seen) -> String {
    let here = seen.view.daemons.len();
    let daemons = if here == 0 || seen.daemons == here {
        many(seen.daemons, "daemon")
    } else {
        format!("{} ({here} here)", many(seen.daemons, "daemon"))
    };
    let (groups, migrations) = (many(seen.view.groups.len(), "group"), many(seen.migrations, "migration"));
    let standbys = match u32::try_from(seen.standbys).unwrap_or(u32::MAX) {
        0 => String::new(),
        1 => " and 1 standby copy".to_owned(),
        some => format!(" and {some} standby copies"),
    };
    format!("{daemons}{standbys}, {groups}, {migrations}")
}

fn many(how_many: usize, noun: &str) -> String {
    match u32::try_from(how_many).unwrap_or(u32::MAX) {
        0 => format!("no {noun}"),
        some => count(some, noun),
    }
}

/// `Processor 12 %, memory 40 %, load 31 %`: how busy, how full, and how busy with its daemons besides.
pub(crate) fn machine(view: &NodeView) -> String {
    let percent = |thousandths: u32| thousandths / 10;
    let (cpu, memory) = (percent(view.resources.cpu.into()), percent(view.resources.memory.into()));
    format!("Processor {cpu} %, memory {memory} %, load {} %", percent(view.load))
}

#[cfg(test)]
mod tests {
    use meshground_shared::{DaemonId, Epoch, GroupHealth, GroupId, Lifecycle, NodeId, OwnDaemon, Snapshot};

    use super::*;
    use crate::fixtures;

    const COUNTER: DaemonId = DaemonId(0x3f2a << 48);

    fn said(difference_is: Difference) -> String {
        let mut snapshot = Snapshot::new(Epoch(1));
        for index in 0..3 {
            snapshot.nodes.insert(NodeId(index.into()), fixtures::member(index));
        }
        let daemon = fixtures::daemon(COUNTER.0, "counter");
        snapshot.nodes.get_mut(&NodeId(0)).unwrap().daemons.insert(COUNTER, daemon);
        let mut names = Names::default();
        names.learn_all(&snapshot);
        difference(&difference_is, &names)
    }

    #[test]
    fn differences_read_as_sentences_about_the_node() {
        let (peer, unreachable) = (NodeId(2), Health::Unreachable);
        for (difference, sentence) in [
            (
                Difference::Doubts { peer, verdict: unreachable, cut: true },
                "It finds node 2 Unreachable, which runs: the link from node 2 is cut",
            ),
            (
                Difference::Doubts { peer, verdict: Health::Suspect, cut: false },
                "It finds node 2 Suspect, which runs",
            ),
            (
                Difference::Trusts { peer, verdict: Health::Healthy, state: NodeState::Crashed },
                "It still finds node 2 Healthy, which has crashed",
            ),
            (
                Difference::Unrequited { peer, verdict: unreachable, cut: true },
                "It finds node 2 Healthy, which finds it Unreachable: the link to node 2 is cut",
            ),
            (Difference::Departed { peer }, "It still knows node 2, which has left"),
            (
                Difference::Service {
                    node: peer,
                    seen: (Maintenance::Active, false),
                    is: (Maintenance::Maintenance, true),
                },
                "It knows node 2 as In service; in truth: Maintenance, cordoned",
            ),
            (
                Difference::DaemonElsewhere { daemon: COUNTER, seen: NodeId(1), is: peer },
                "It takes counter 3f2a to be on node 1; it is on node 2",
            ),
            (
                Difference::DaemonDoes {
                    daemon: COUNTER,
                    node: peer,
                    seen: Lifecycle::Running,
                    is: Lifecycle::BackingOff,
                },
                "It knows counter 3f2a on node 2 as Running; in truth: Backing off",
            ),
            (
                Difference::GroupHealth {
                    group: GroupId(0xabcd << 48),
                    seen: GroupHealth::Healthy,
                    is: GroupHealth::of(2, 3),
                },
                "It knows group abcd as Healthy; in truth: Degraded, 2 of 3",
            ),
        ] {
            assert_eq!(said(difference), sentence);
        }
    }

    #[test]
    fn the_verdict_counts_things() {
        assert_eq!(verdict(0), "Sees what is so");
        assert_eq!(verdict(1), "Sees 1 thing otherwise than it is");
        assert_eq!(verdict(2), "Sees 2 things otherwise than they are");
    }

    #[test]
    fn what_it_knows_of_is_counted_and_what_there_is_none_of_is_said() {
        let mut seen = Seen::new(fixtures::view(NodeId(1)), &Snapshot::new(Epoch(1)));
        assert_eq!(knows(&seen), "no daemon, no group, no migration");
        let own = OwnDaemon { daemon: fixtures::daemon(1, "counter"), age_ms: 1, restarts_in_ms: None };
        seen.view.daemons.insert(DaemonId(1), own);
        (seen.daemons, seen.migrations) = (5, 1);
        assert_eq!(knows(&seen), "5 daemons (1 here), no group, 1 migration");
        seen.standbys = 1;
        assert_eq!(knows(&seen), "5 daemons (1 here) and 1 standby copy, no group, 1 migration");
        (seen.daemons, seen.standbys) = (1, 2);
        assert_eq!(knows(&seen), "1 daemon and 2 standby copies, no group, 1 migration");
    }
}
