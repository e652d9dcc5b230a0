//! What must hold once all is left in peace.

use meshground_shared::{DaemonView, GroupHealth, GroupKind, Lifecycle, Maintenance, NodeSnapshot};

use super::*;

/// So long it may take until all is as it should be. Whom somebody avoids may not be tried again for a while.
const SETTLES: Duration = Duration::from_mins(2);

/// What a group says that would be whole if it could.
const EXCUSE: &str = "there is no other node for it";

/// What really runs where.
pub(super) type Hosts = BTreeMap<DaemonId, Vec<usize>>;

impl Upheaval {
    pub(super) async fn all_is_well(&self) {
        let begun = Instant::now();
        while let Some(wrong) = self.wrong().await {
            assert!(begun.elapsed() < SETTLES, "in peace for {SETTLES:?} and still: {wrong}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("as it should be after {:?}", begun.elapsed());
        let trails = self.trails().await;
        self.commands_are_decided_alike(&trails);
        self.commands_took_effect(&trails).await;
        self.letters_are_in_order().await;
        self.forks_prove_their_lineage().await;
    }

    /// Each has as many members as it is to have, on as many nodes.
    pub(super) fn groups_are_whole(&self) {
        for group in self.groups() {
            let view = view(group);
            let nodes: BTreeSet<_> = view.members.iter().filter_map(|member| member.node).collect();
            assert_eq!((view.health, nodes.len()), (GroupHealth::Healthy, COUNT as usize), "{view:?}");
        }
    }

    async fn forks_prove_their_lineage(&self) {
        let forks = &self.cast.forks;
        for member in view(forks).members.iter().enumerate() {
            let (index, member) = (u32::try_from(member.0).expect("small"), member.1);
            let lineage = within("a proof", forks.lineage(index)).await.unwrap().expect("it is a fork");
            assert_eq!(lineage.verify(), Ok(()));
            let expected = (self.cast.precious[0], member.daemon, ANCESTRY as u64);
            assert_eq!((lineage.parent, lineage.child(), lineage.processed), expected);
        }
    }

    pub(super) async fn hosts(&self) -> Hosts {
        let mut hosts = Hosts::new();
        for node in self.cluster.nodes() {
            let daemons = within("a look", node.daemon_runtime().daemons()).await.expect("it runs");
            for DaemonView { id, .. } in daemons {
                hosts.entry(id).or_default().push(node.index());
            }
        }
        hosts
    }

    /// What is not yet as it should be.
    async fn wrong(&self) -> Option<String> {
        let hosts = self.hosts().await;
        let snapshot = self.cluster.snapshot();
        if let Some(twice) = hosts.iter().find(|(_, at)| at.len() > 1) {
            return Some(format!("one runs twice: {twice:?}"));
        }
        let mut logged = Hosts::new();
        for node in snapshot.nodes.values() {
            // Those that stand by are told of as well, and run only when their time comes.
            for view in node.daemons.values().filter(|view| view.lifecycle != Lifecycle::Standby) {
                logged.entry(view.id).or_default().push(node.index as usize);
            }
        }
        if logged != hosts {
            return Some(format!("the log has it that these run: {logged:?}; really, these do: {hosts:?}"));
        }
        let moving = snapshot.migrations.values().find(|migration| !migration.view.phase.is_over());
        if let Some(moving) = moving {
            return Some(format!("one is on its way: {moving:?}"));
        }
        let between = snapshot.nodes.values().find(|node| {
            let settled = matches!(
                node.maintenance,
                Maintenance::Active | Maintenance::Maintenance | Maintenance::DrainFailed
            );
            !settled || node.frozen_until_us.is_some()
        });
        if let Some(node) = between {
            return Some(format!("{} is in between: {:?}", node.index, node.maintenance));
        }
        if let Some(draining) =
            self.cluster.nodes().iter().find(|node| node.daemon_runtime().system().drain_remaining.is_some())
        {
            return Some(format!("{} is draining", draining.index()));
        }
        let groups = self.groups().into_iter().find_map(|group| wrong_with_group(group, &snapshot, &hosts));
        let groups = groups.or_else(|| self.wrong_with_daemons(&hosts)).or_else(|| self.wrong_with_views());
        match groups {
            None => self.trails_apart(&self.trails().await),
            wrong => wrong,
        }
    }

    /// What should run runs, and nothing else.
    fn wrong_with_daemons(&self, hosts: &Hosts) -> Option<String> {
        let members = self.groups().into_iter().flat_map(|group| view(group).members);
        let known: BTreeSet<DaemonId> = members.map(|member| member.daemon).collect();
        let lasting: BTreeSet<DaemonId> =
            self.cast.precious.iter().chain(&self.cast.witnesses).copied().collect();
        if let Some(lost) = lasting.iter().find(|id| !hosts.contains_key(*id)) {
            return Some(format!("{lost} is lost though its nodes never crashed"));
        }
        if let Some(away) =
            self.cast.precious.iter().find(|id| hosts[*id].iter().any(|at| !CALM.contains(at)))
        {
            return Some(format!("{away} is where it may not be: {:?}", hosts[away]));
        }
        let strays = self.strays.lock().unwrap();
        let stray =
            hosts.keys().find(|id| !known.contains(*id) && !lasting.contains(*id) && !strays.contains(*id));
        stray.map(|stray| format!("a member of no group runs: {stray} on {:?}", hosts[stray]))
    }

    /// All nodes see groups alike.
    fn wrong_with_views(&self) -> Option<String> {
        let placed = |node: &ClusterNode| -> Vec<_> {
            let groups = &node.daemon_runtime().system().groups;
            let members = groups.iter().map(|view| {
                let nodes: Vec<Option<NodeId>> = view.members.iter().map(|member| member.node).collect();
                (view.id, view.leader, view.desired, nodes)
            });
            members.collect()
        };
        let first = placed(&self.node(0));
        if first.len() != self.groups().len() {
            return Some(format!("there are three groups: {first:?}"));
        }
        let other = (1..NODES).find(|index| placed(&self.node(*index)) != first);
        other.map(|index| format!("0 sees {first:?}, and {index} sees {:?}", placed(&self.node(index))))
    }
}

fn wrong_with_group(group: &Group, snapshot: &Snapshot, hosts: &Hosts) -> Option<String> {
    let view = view(group);
    let nodes: BTreeSet<NodeId> = view.members.iter().filter_map(|member| member.node).collect();
    let could_take = |it: &NodeSnapshot| {
        it.maintenance == Maintenance::Active
            && !it.cordoned
            && (view.kind != GroupKind::Standby || is_sound(it.index as usize))
    };
    if view.health != GroupHealth::Healthy || nodes.len() != COUNT as usize {
        let excused = view.lacking.as_deref().is_some_and(|why| why.contains(EXCUSE));
        let able = snapshot.nodes.values().filter(|it| could_take(it)).count();
        if !excused || able >= COUNT as usize {
            return Some(format!("{able} nodes could take its members, and it is not well: {view:?}"));
        }
    }
    for (index, member) in view.members.iter().enumerate() {
        let Some(node) = member.node else { continue };
        let at = snapshot.nodes.get(&node).map(|it| it.index as usize);
        let really = hosts.get(&member.daemon).and_then(|at| at.first().copied());
        let holds_only = view.kind == GroupKind::Standby && index > 0;
        if member.running && really != if holds_only { None } else { at } {
            return Some(format!("{member:?} is said to be on {at:?}, and is on {really:?}: {view:?}"));
        }
    }
    None
}
