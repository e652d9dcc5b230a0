//! Whom a command concerns, and what a break-glass command would do.

use std::{collections::BTreeSet, fmt};

use meshground_shared::{
    AdminVerb, BlastRadius, DaemonId, GroupId, IceVerb, Maintenance, MigrationId, MigrationPhase, NodeId,
    Verb,
};

use super::{ClusterPicture, MigrationPicture};
use crate::identity::keyed_hash;

const RADIUS_LABEL: &[u8] = b"meshground blast radius 1";

/// A drain tries again so long after a daemon did not get away, in milliseconds. How long it was on its way is lost besides.
const TRIED_AGAIN_MS: u64 = 2_000;

/// The longest freeze, in milliseconds.
const MAX_FREEZE_MS: u64 = 3_600_000;

/// The nodes a command is put to: every live one, and the one it names even if that is not.
///
/// Everybody writes down every command, though few act on most: so the audit trails of all nodes agree, and each can say what
/// was done to any other. The price, a message or two to each node, is nothing at the rate at which people command.
pub fn named_nodes(verb: &Verb, picture: &ClusterPicture) -> BTreeSet<NodeId> {
    let known = |node: &NodeId| picture.nodes.contains_key(node);
    picture
        .live()
        .chain(indispensable(verb, picture).into_iter().filter(known))
        .chain([picture.this_node])
        .collect()
}

/// The nodes without which a command comes to nothing, so that it must be put to them even if they are unreachable. What is done
/// about a migration its source does alone: it can be called off though its target is gone for good.
fn indispensable(verb: &Verb, picture: &ClusterPicture) -> BTreeSet<NodeId> {
    match verb {
        Verb::Ice(IceVerb::ForceCutover { migration } | IceVerb::KillMigration { migration }) => {
            picture.migrations.get(migration).map(|moving| moving.source).into_iter().collect()
        }
        verb => concerned(verb, picture),
    }
}

/// The nodes that act on a command, as far as the picture tells: the one it names; those that hold what it names, and the
/// leader of the group that this belongs to; or all live ones.
pub fn concerned(verb: &Verb, picture: &ClusterPicture) -> BTreeSet<NodeId> {
    match verb {
        // Any may lead the group that an `InvalidatePlacement` names, or have a member of it, by the time this comes to pass.
        Verb::Admin(verb) => {
            verb.node().map_or_else(|| picture.live().collect(), |node| BTreeSet::from([node]))
        }
        Verb::Ice(verb) => match *verb {
            IceVerb::FreezeCluster { .. } | IceVerb::ThawCluster | IceVerb::FlushAvoidLists => {
                picture.live().collect()
            }
            IceVerb::ForceEvictReplica { group, index } => {
                member(picture, group, index).map(|daemon| holders(picture, daemon)).unwrap_or_default()
            }
            IceVerb::ForceRestartDaemon { daemon } => holders(picture, daemon),
            IceVerb::ForceCutover { migration } | IceVerb::KillMigration { migration } => {
                picture.migrations.get(&migration).map(|moving| ends(picture, moving)).unwrap_or_default()
            }
        },
    }
}

/// The member at a place of a group.
fn member(picture: &ClusterPicture, group: GroupId, index: u32) -> Option<DaemonId> {
    picture.groups.get(&group)?.members.get(usize::try_from(index).ok()?).copied()
}

fn holders(picture: &ClusterPicture, daemon: DaemonId) -> BTreeSet<NodeId> {
    let Some(held) = picture.daemons.get(&daemon) else { return BTreeSet::new() };
    [held.node].into_iter().chain(picture.leader_of(daemon)).collect()
}

fn ends(picture: &ClusterPicture, moving: &MigrationPicture) -> BTreeSet<NodeId> {
    [moving.source, moving.target].into_iter().chain(picture.leader_of(moving.daemon)).collect()
}

/// What a break-glass command would do now; nothing if it cannot be carried out, because what it names is not there or is
/// in no state for it, or because a freeze is to last for no time or more than an hour.
///
/// A pure function of the picture: nodes whose pictures agree simulate the same.
pub fn simulate(verb: &IceVerb, picture: &ClusterPicture) -> Option<BlastRadius> {
    let mut radius = BlastRadius {
        nodes: concerned(&Verb::Ice(verb.clone()), picture).into_iter().collect(),
        ..BlastRadius::default()
    };
    match *verb {
        IceVerb::FreezeCluster { ttl_ms } => freeze(picture, ttl_ms, &mut radius)?,
        IceVerb::ThawCluster => {
            if !picture.frozen {
                radius.warnings.push("The cluster is not frozen; there is nothing to end.".into());
            }
        }
        IceVerb::FlushAvoidLists => {
            radius.warnings.push("Daemons may be placed again where they failed before.".into());
        }
        IceVerb::ForceEvictReplica { group, index } => evict(picture, group, index, &mut radius)?,
        IceVerb::ForceRestartDaemon { daemon } => {
            picture.daemons.get(&daemon).filter(|daemon| daemon.restartable)?;
            touch(picture, daemon, &mut radius)?;
            radius
                .warnings
                .push("What the daemon has not saved is lost, and what it was doing is done in part.".into());
        }
        IceVerb::ForceCutover { migration } => {
            let moving = under_way(picture, migration)?;
            touch(picture, moving.daemon, &mut radius)?;
            // It ends no more than the wait until few events are left; the cutover carries all the others.
            radius.warnings.push(
                "As soon as the target has the daemon's state, the daemon takes nothing new until the target has all that \
                 waits for it."
                    .into(),
            );
            if !picture.live().any(|node| node == moving.target) {
                radius.warnings.push("The target is unreachable.".into());
            }
        }
        IceVerb::KillMigration { migration } => {
            let moving = picture.migrations.get(&migration)?;
            touch(picture, moving.daemon, &mut radius)?;
            let is_past = moving.phase >= MigrationPhase::Cutover;
            radius.warnings.push(
                if is_past {
                    "It is past its cutover: what the target has worked off is lost."
                } else {
                    // Between this and the command's effect the migration goes on.
                    "If its cutover comes before this does, what the target has worked off by then is lost."
                }
                .into(),
            );
            if is_draining(picture, moving.source) {
                radius.drain_delay_ms = TRIED_AGAIN_MS;
                radius.warnings.push("The source is draining, and this is in the way of that.".into());
            }
        }
    }
    if picture.frozen && !matches!(verb, IceVerb::FreezeCluster { .. } | IceVerb::ThawCluster) {
        radius
            .warnings
            .push("The cluster is frozen: nothing takes the place of what this ends before it thaws.".into());
    }
    Some(radius)
}

fn freeze(picture: &ClusterPicture, ttl_ms: u64, radius: &mut BlastRadius) -> Option<()> {
    if !(1..=MAX_FREEZE_MS).contains(&ttl_ms) {
        return None;
    }
    let members = picture.daemons.values().filter(|daemon| daemon.member.is_some()).count();
    // How many, but not which: what all must agree on for this to go through must not change with every daemon that starts.
    radius.warnings.push(format!(
        "Until it is over, nothing that crashes is started again or placed elsewhere: not one of {} daemons, {members} of \
         which are members of groups.",
        picture.daemons.len()
    ));
    if picture.nodes.keys().any(|node| is_draining(picture, *node)) {
        radius.drain_delay_ms = ttl_ms;
        radius
            .warnings
            .push("Drains are under way; they stand still meanwhile and may miss their deadlines.".into());
    }
    if !picture.migrations.is_empty() {
        let count = picture.migrations.len();
        radius.warnings.push(format!(
            "Migrations are under way ({count}). They go on to their end; kill those that are not to."
        ));
    }
    if picture.frozen {
        radius.warnings.push("The cluster is frozen already; this freeze takes that one's place.".into());
    }
    Some(())
}

fn evict(picture: &ClusterPicture, group: GroupId, index: u32, radius: &mut BlastRadius) -> Option<()> {
    let daemon = member(picture, group, index)?;
    let held = picture.daemons.get(&daemon)?;
    touch(picture, daemon, radius)?;
    if !picture.live().any(|node| node != held.node && serves(picture, node)) {
        radius.warnings.push("No other node serves; the member has nowhere to go.".into());
    }
    Some(())
}

/// Adds a daemon, which must be there.
fn touch(picture: &ClusterPicture, daemon: DaemonId, radius: &mut BlastRadius) -> Option<()> {
    let held = picture.daemons.get(&daemon)?;
    radius.daemons.push(daemon);
    let Some(member) = held.member else { return Some(()) };
    radius.replicas.push(daemon);
    let well = |daemon: &DaemonId| picture.daemons.get(daemon).is_some_and(|held| held.healthy);
    let others = picture.groups.get(&member.group).map(|group| &group.members);
    if well(&daemon) && !others.into_iter().flatten().any(|other| *other != daemon && well(other)) {
        radius.warnings.push("It is the last healthy member of its group.".into());
    }
    Some(())
}

/// A migration whose source still has the daemon: from cutover on nothing can be hurried.
fn under_way(picture: &ClusterPicture, migration: MigrationId) -> Option<&MigrationPicture> {
    picture.migrations.get(&migration).filter(|moving| moving.phase < MigrationPhase::Cutover)
}

fn is_draining(picture: &ClusterPicture, node: NodeId) -> bool {
    picture.nodes.get(&node).is_some_and(|node| node.maintenance == Maintenance::EnteringMaintenance)
}

/// Whether a node is out of service; not one that is on its way there, of which nobody else knows whether that is a mere drain.
fn is_out_of_service(picture: &ClusterPicture, node: NodeId) -> bool {
    picture
        .nodes
        .get(&node)
        .is_some_and(|node| matches!(node.maintenance, Maintenance::Maintenance | Maintenance::DrainFailed))
}

fn serves(picture: &ClusterPicture, node: NodeId) -> bool {
    picture
        .nodes
        .get(&node)
        .is_some_and(|node| matches!(node.maintenance, Maintenance::Active | Maintenance::Recovery))
}

/// What a node says to a command before it looks at the signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assessment {
    /// The command does not concern this node, whose picture may lag behind; it does not object.
    Bystander,
    /// It cannot be carried out: what it names is not there, or in no state for it.
    Impossible,
    /// It can be carried out; a break-glass command with this blast radius.
    Possible(Option<RadiusHash>),
    /// It can be carried out, with either blast radius: which of them is right others know better.
    Either([RadiusHash; 2]),
}

/// What the picture's node says to a command. Whoever `coordinates` it judges any command; others only those that concern
/// them, so that a cluster in disorder can be commanded as long as those who are to act see clearly.
pub fn assess(verb: &Verb, picture: &ClusterPicture, coordinates: bool) -> Assessment {
    if !coordinates && !concerned(verb, picture).contains(&picture.this_node) {
        return Assessment::Bystander;
    }
    let radius = match verb {
        Verb::Ice(verb) => {
            let radius = simulate(verb, picture);
            if let Some(delay) = uncertain_delay(verb, picture).filter(|_| !coordinates) {
                let with = |radius: &BlastRadius, drain_delay_ms| {
                    RadiusHash::of(&BlastRadius { drain_delay_ms, ..radius.clone() })
                };
                return radius.map_or(Assessment::Impossible, |radius| {
                    Assessment::Either([with(&radius, 0), with(&radius, delay)])
                });
            }
            radius.map(|radius| Some(RadiusHash::of(&radius)))
        }
        Verb::Admin(AdminVerb::InvalidatePlacement { group }) => {
            picture.groups.contains_key(group).then_some(None)
        }
        Verb::Admin(AdminVerb::Uncordon { node }) => {
            // Out of service is out of service. Others may have old news of the node; it knows for itself.
            let is_out = *node == picture.this_node && is_out_of_service(picture, *node);
            (!is_out && picture.nodes.contains_key(node)).then_some(None)
        }
        Verb::Admin(AdminVerb::ExitMaintenance { node }) => {
            // Others may have old news of the node; it knows for itself.
            let serves = *node == picture.this_node && serves(picture, *node);
            (!serves && picture.nodes.contains_key(node)).then_some(None)
        }
        Verb::Admin(_) => {
            concerned(verb, picture).iter().all(|node| picture.nodes.contains_key(node)).then_some(None)
        }
    };
    radius.map_or(Assessment::Impossible, Assessment::Possible)
}

/// By how much a command delays a drain, if there is one. That another node drains is news that takes its time: whoever showed
/// the blast radius may have it before this node, or after. None for the one that drains: it knows for certain, and insists.
fn uncertain_delay(verb: &IceVerb, picture: &ClusterPicture) -> Option<u64> {
    match verb {
        IceVerb::FreezeCluster { ttl_ms } => (!is_draining(picture, picture.this_node)).then_some(*ttl_ms),
        IceVerb::KillMigration { migration } => {
            let source = picture.migrations.get(migration).map(|moving| moving.source);
            (source != Some(picture.this_node)).then_some(TRIED_AGAIN_MS)
        }
        _ => None,
    }
}

/// What a blast radius comes down to: who is touched, and how long drains are delayed. Warnings are for people and do not
/// count, nor does the order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RadiusHash(pub [u8; 32]);

impl RadiusHash {
    /// The hash of a blast radius.
    pub fn of(radius: &BlastRadius) -> Self {
        let mut bytes = Vec::new();
        list(&mut bytes, radius.nodes.iter().map(|id| id.0));
        list(&mut bytes, radius.replicas.iter().map(|id| id.0));
        list(&mut bytes, radius.daemons.iter().map(|id| id.0));
        bytes.extend_from_slice(&radius.drain_delay_ms.to_le_bytes());
        Self(keyed_hash(RADIUS_LABEL, &bytes))
    }
}

/// How many ids, then the ids in order.
fn list(bytes: &mut Vec<u8>, ids: impl Iterator<Item = u64>) {
    let ids: BTreeSet<u64> = ids.collect();
    bytes.extend_from_slice(&(ids.len() as u64).to_le_bytes());
    for id in ids {
        bytes.extend_from_slice(&id.to_le_bytes());
    }
}

impl fmt::Debug for RadiusHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RadiusHash(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use meshground_shared::{Health, Member};

    use super::*;
    use crate::admin::{DaemonPicture, GroupPicture, NodePicture};

    const LONER: DaemonId = DaemonId(9);
    const MOVE: MigrationId = MigrationId(1);
    const GROUP: GroupId = GroupId(1);

    /// Nodes 1 to 4, of which 4 is unreachable; a group led by 1 with members 10 on 2 and 11 on 3, and one that is not
    /// placed; a daemon of its own on 2 that moves to 3.
    fn picture() -> ClusterPicture {
        let mut picture = ClusterPicture::new(NodeId(1));
        for id in 1..=4 {
            let health = if id == 4 { Health::Unreachable } else { Health::Healthy };
            picture.nodes.insert(NodeId(id), NodePicture { health, maintenance: Maintenance::Active });
        }
        for (index, node) in [(0, 2), (1, 3)] {
            let member = Some(Member { group: GROUP, index });
            let daemon = DaemonPicture { node: NodeId(node), member, healthy: true, restartable: true };
            picture.daemons.insert(DaemonId(10 + u64::from(index)), daemon);
        }
        picture
            .daemons
            .insert(LONER, DaemonPicture { node: NodeId(2), member: None, healthy: true, restartable: true });
        let members = vec![DaemonId(10), DaemonId(11), DaemonId(12)];
        picture.groups.insert(GROUP, GroupPicture { leader: NodeId(1), members });
        let (source, target) = (NodeId(2), NodeId(3));
        let moving = MigrationPicture { daemon: LONER, source, target, phase: MigrationPhase::Transfer };
        picture.migrations.insert(MOVE, moving);
        picture
    }

    fn ids(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn names(set: BTreeSet<NodeId>) -> Vec<NodeId> {
        set.into_iter().collect()
    }

    #[test]
    fn every_live_node_is_named_and_an_unreachable_one_only_by_its_name() {
        let picture = picture();
        for verb in crate::admin::envelope::tests::every_verb() {
            assert!(named_nodes(&verb, &picture).is_superset(&picture.live().collect()), "{verb:?}");
        }
        let drain = |node| Verb::Admin(AdminVerb::Drain { node: NodeId(node) });
        assert_eq!(names(named_nodes(&drain(2), &picture)), ids(&[1, 2, 3]));
        assert_eq!(names(named_nodes(&drain(4), &picture)), ids(&[1, 2, 3, 4]));
        assert_eq!(names(named_nodes(&drain(5), &picture)), ids(&[1, 2, 3]));
    }

    #[test]
    fn those_act_who_hold_what_is_named_and_who_lead_its_group() {
        let picture = picture();
        let concerned = |verb| names(concerned(&verb, &picture));
        assert_eq!(concerned(Verb::Admin(AdminVerb::Cordon { node: NodeId(3) })), ids(&[3]));
        assert_eq!(concerned(Verb::Admin(AdminVerb::InvalidatePlacement { group: GROUP })), ids(&[1, 2, 3]));
        assert_eq!(concerned(Verb::Ice(IceVerb::FlushAvoidLists)), ids(&[1, 2, 3]));
        assert_eq!(concerned(Verb::Ice(IceVerb::ForceEvictReplica { group: GROUP, index: 1 })), ids(&[1, 3]));
        assert_eq!(concerned(Verb::Ice(IceVerb::ForceRestartDaemon { daemon: LONER })), ids(&[2]));
        assert_eq!(concerned(Verb::Ice(IceVerb::ForceRestartDaemon { daemon: DaemonId(10) })), ids(&[1, 2]));
        assert_eq!(concerned(Verb::Ice(IceVerb::KillMigration { migration: MOVE })), ids(&[2, 3]));
    }

    #[test]
    fn an_eviction_touches_its_member_and_warns_when_it_is_the_last_one() {
        let mut picture = picture();
        let verb = IceVerb::ForceEvictReplica { group: GROUP, index: 1 };
        let radius = simulate(&verb, &picture).unwrap();
        assert_eq!((radius.nodes, radius.replicas), (ids(&[1, 3]), vec![DaemonId(11)]));
        assert_eq!((radius.daemons, radius.warnings.len()), (vec![DaemonId(11)], 0));
        picture.daemons.get_mut(&DaemonId(10)).unwrap().healthy = false;
        for node in [1, 2] {
            picture.nodes.get_mut(&NodeId(node)).unwrap().maintenance = Maintenance::Maintenance;
        }
        let warnings = simulate(&verb, &picture).unwrap().warnings.join(" ");
        assert!(warnings.contains("last healthy member") && warnings.contains("nowhere to go"), "{warnings}");
    }

    #[test]
    fn a_freeze_delays_drains_by_its_length_and_lasts_an_hour_at_most() {
        let mut picture = picture();
        let freeze = |ttl_ms, picture: &ClusterPicture| simulate(&IceVerb::FreezeCluster { ttl_ms }, picture);
        assert_eq!(freeze(5_000, &picture).unwrap().drain_delay_ms, 0);
        picture.nodes.get_mut(&NodeId(2)).unwrap().maintenance = Maintenance::EnteringMaintenance;
        let radius = freeze(5_000, &picture).unwrap();
        assert_eq!((radius.drain_delay_ms, radius.nodes), (5_000, ids(&[1, 2, 3])));
        assert!(freeze(0, &picture).is_none());
        assert!(freeze(3_600_000, &picture).is_some());
        assert!(freeze(3_600_001, &picture).is_none());
    }

    #[test]
    fn a_migration_can_be_hurried_until_its_cutover_and_killed_at_any_time_though_its_target_is_gone() {
        let mut picture = picture();
        let [hurry, kill] =
            [IceVerb::ForceCutover { migration: MOVE }, IceVerb::KillMigration { migration: MOVE }];
        for verb in [&hurry, &kill] {
            assert_eq!(simulate(verb, &picture).unwrap().daemons, [LONER]);
        }
        let warnings = simulate(&kill, &picture).unwrap().warnings;
        let forced = simulate(&hurry, &picture).unwrap().warnings.join(" ");
        assert!(forced.contains("takes nothing new") && !forced.contains("lost"), "{forced}");
        let killed = warnings.join(" ");
        assert!(killed.contains("worked off by then is lost"), "{killed}");
        picture.migrations.get_mut(&MOVE).unwrap().phase = MigrationPhase::Cutover;
        assert_eq!(simulate(&hurry, &picture), None);
        assert_ne!(simulate(&kill, &picture).unwrap().warnings, warnings, "it says what is lost");
        picture.nodes.get_mut(&NodeId(3)).unwrap().health = Health::Unreachable;
        assert_eq!(names(named_nodes(&Verb::Ice(kill), &picture)), ids(&[1, 2]), "the source does it alone");
    }

    #[test]
    fn a_migration_that_is_killed_delays_the_drain_of_its_source_which_alone_knows_for_certain() {
        let mut picture = picture();
        let kill = IceVerb::KillMigration { migration: MOVE };
        assert_eq!(simulate(&kill, &picture).unwrap().drain_delay_ms, 0);
        picture.nodes.get_mut(&NodeId(2)).unwrap().maintenance = Maintenance::EnteringMaintenance;
        let radius = simulate(&kill, &picture).unwrap();
        assert_eq!(radius.drain_delay_ms, TRIED_AGAIN_MS);
        let verb = Verb::Ice(kill);
        picture.this_node = NodeId(3);
        assert!(matches!(assess(&verb, &picture, false), Assessment::Either(_)));
        picture.this_node = NodeId(2);
        assert_eq!(assess(&verb, &picture, false), Assessment::Possible(Some(RadiusHash::of(&radius))));
    }

    #[test]
    fn a_freeze_says_whom_it_leaves_without_help_and_what_becomes_of_migrations() {
        let warnings =
            simulate(&IceVerb::FreezeCluster { ttl_ms: 5_000 }, &picture()).unwrap().warnings.join(" ");
        assert!(warnings.contains("3 daemons, 2 of which are members"), "{warnings}");
        assert!(warnings.contains("go on to their end"), "{warnings}");
    }

    #[test]
    fn what_is_not_there_is_impossible_for_whoever_judges() {
        let picture = picture();
        let impossible = [
            Verb::Admin(AdminVerb::Drain { node: NodeId(5) }),
            Verb::Admin(AdminVerb::InvalidatePlacement { group: GroupId(5) }),
            Verb::Admin(AdminVerb::ExitMaintenance { node: NodeId(1) }),
            Verb::Ice(IceVerb::ForceEvictReplica { group: GROUP, index: 2 }),
            Verb::Ice(IceVerb::ForceEvictReplica { group: GROUP, index: 3 }),
            Verb::Ice(IceVerb::ForceRestartDaemon { daemon: DaemonId(5) }),
            Verb::Ice(IceVerb::KillMigration { migration: MigrationId(5) }),
        ];
        for verb in impossible {
            assert_eq!(assess(&verb, &picture, true), Assessment::Impossible, "{verb:?}");
        }
        let mut picture = picture;
        for (maintenance, impossible) in
            [(Maintenance::Maintenance, true), (Maintenance::EnteringMaintenance, false)]
        {
            picture.nodes.get_mut(&NodeId(1)).unwrap().maintenance = maintenance;
            let uncordon = Verb::Admin(AdminVerb::Uncordon { node: NodeId(1) });
            assert_eq!(assess(&uncordon, &picture, false) == Assessment::Impossible, impossible);
        }
        picture.nodes.get_mut(&NodeId(1)).unwrap().maintenance = Maintenance::Active;
        let elsewhere = Verb::Admin(AdminVerb::ExitMaintenance { node: NodeId(2) });
        assert_eq!(assess(&elsewhere, &picture, true), Assessment::Possible(None));
    }

    #[test]
    fn a_bystander_does_not_judge() {
        let drain = Verb::Admin(AdminVerb::Drain { node: NodeId(5) });
        assert_eq!(assess(&drain, &picture(), false), Assessment::Bystander);
        let thaw = Verb::Ice(IceVerb::ThawCluster);
        assert!(matches!(assess(&thaw, &picture(), false), Assessment::Possible(Some(_))));
    }

    #[test]
    fn a_freeze_is_judged_by_drains_that_its_judge_knows_of_for_certain() {
        let mut picture = picture();
        let freeze = IceVerb::FreezeCluster { ttl_ms: 5_000 };
        let without = simulate(&freeze, &picture).map(|radius| RadiusHash::of(&radius)).unwrap();
        let verb = Verb::Ice(freeze.clone());
        let Assessment::Either(accepted) = assess(&verb, &picture, false) else { panic!("it cannot tell") };
        assert_eq!(assess(&verb, &picture, true), Assessment::Possible(Some(without)));
        picture.nodes.get_mut(&picture.this_node).unwrap().maintenance = Maintenance::EnteringMaintenance;
        let with = simulate(&freeze, &picture).map(|radius| RadiusHash::of(&radius)).unwrap();
        assert_eq!(accepted, [without, with]);
        assert_eq!(
            assess(&verb, &picture, false),
            Assessment::Possible(Some(with)),
            "it is the one that drains"
        );
        let too_long = Verb::Ice(IceVerb::FreezeCluster { ttl_ms: 3_600_001 });
        picture.nodes.get_mut(&picture.this_node).unwrap().maintenance = Maintenance::Active;
        assert_eq!(assess(&too_long, &picture, false), Assessment::Impossible);
    }

    #[test]
    fn the_hash_tells_who_is_touched_and_neither_order_nor_warnings() {
        let radius = BlastRadius { nodes: ids(&[1, 2]), daemons: vec![LONER], ..BlastRadius::default() };
        let same = BlastRadius { nodes: ids(&[2, 1]), warnings: vec!["w".into()], ..radius.clone() };
        assert_eq!(RadiusHash::of(&radius), RadiusHash::of(&same));
        let others = [
            BlastRadius { nodes: ids(&[1]), ..radius.clone() },
            BlastRadius { daemons: vec![], replicas: vec![LONER], ..radius.clone() },
            BlastRadius { replicas: vec![LONER], ..radius.clone() },
            BlastRadius { drain_delay_ms: 1, ..radius.clone() },
        ];
        for other in others {
            assert_ne!(RadiusHash::of(&radius), RadiusHash::of(&other), "{other:?}");
        }
    }
}
