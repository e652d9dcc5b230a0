//! Everything at once, in random order: groups, lone daemons, events, migrations and signed commands, while nodes crash,
//! come back and lose each other. Then calm.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use meshground_node::{
    DaemonId, EntityKeypair, GroupId, GroupRequest, Instant, MaintenanceConfig, MeshOs, MeshOsConfig, Node,
    NodeId, OsEvent, Settlement, SpawnRequest, Ticket,
    admin::{
        AdminCommand, AdminVerifier, IceProposal, Nonce, OperatorKey, Operators, SignedCommand, named_nodes,
    },
};
use meshground_shared::{
    AdminVerb, Decision, GroupHealth, GroupKind, GroupView, IceVerb, Lifecycle, Maintenance, MigrationId,
};
use meshground_tests::{
    daemons::Diary,
    sim::{Faults, Network, each_seed},
};

use super::{BAD, LIMIT, all_acquainted, config};

const MEMBERS: usize = 5;

/// Drains that end while somebody watches.
const MAINTENANCE: MaintenanceConfig =
    MaintenanceConfig { drain: Duration::from_secs(8), ramp: Duration::from_secs(4) };

/// A freeze is this long at most.
const FREEZE_MS: u64 = 8_000;

/// What befalls the system, one after the other.
#[derive(Debug, Clone)]
enum Blow {
    Spawn { at: usize },
    Stop { at: usize, daemon: DaemonId },
    Group { at: usize, count: u32, parent: Option<DaemonId> },
    Scale { at: usize, group: GroupId, count: u32 },
    StopGroup { at: usize, group: GroupId },
    Send { from: usize, to: DaemonId, count: u64 },
    Upset { from: usize, daemon: DaemonId },
    Migrate { at: usize, daemon: DaemonId, to: usize },
    Cancel { at: usize },
    Admin { at: usize, verb: AdminVerb },
    Ice { at: usize, verb: IceVerb },
    Crash(usize),
    Restart(usize),
    StandStill(usize, Duration),
    CutOff { from: usize, to: usize },
    Divide(Vec<usize>),
    Mend,
    Weather(Faults),
}

/// Told if it ends badly.
#[derive(Debug, Default)]
struct Story(Vec<(Instant, Blow)>);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.0.iter().map(|(at, blow)| format!("{at:?}: {blow:?}\n"));
            eprint!("{}", lines.collect::<String>());
        }
    }
}

/// Something that was asked of a member and has to be settled.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: usize,
    ticket: Ticket,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// The start of a lone daemon.
    Start(DaemonId),
    /// Its end.
    End(DaemonId),
    /// An event with this number, from this life of the member.
    Event { to: DaemonId, life: u64, number: u64 },
    /// A new group.
    Group,
    /// The end of one.
    GroupEnd(GroupId),
    /// Something else.
    Else,
}

struct Upheaval {
    net: Network,
    story: Story,
    /// Nothing happens that may cost a lone daemon its state.
    gentle: bool,
    asked: Vec<Asked>,
    /// For each member, how many events it had told when its present life began.
    born: [usize; MEMBERS],
    /// How often each member has crashed.
    lives: [u64; MEMBERS],
    solos: BTreeSet<DaemonId>,
    groups: BTreeSet<GroupId>,
    /// What was asked to stop.
    stopped: BTreeSet<DaemonId>,
    /// The commands that were submitted by members that have never crashed, and the nodes they were put to.
    commands: BTreeMap<String, (usize, BTreeSet<NodeId>)>,
    count: u64,
}

impl Upheaval {
    fn new(seed: u64) -> Self {
        let mut net = Network::new(seed, Faults { loss: 0.05, corruption: 0.0, ..BAD });
        for number in 0..MEMBERS {
            net.add(config());
            let verifier = AdminVerifier::allow_demo(Operators::demo());
            let os = MeshOsConfig { verifier, maintenance: MAINTENANCE, ..MeshOsConfig::default() };
            net.equip(number, os, Diary::prepare);
        }
        net.dial_all();
        net.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
        net.run_until(LIMIT, all_acquainted).expect("everybody hears what runs where");
        Self {
            net,
            story: Story::default(),
            gentle: seed.is_multiple_of(3),
            asked: Vec::new(),
            born: [0; MEMBERS],
            lives: [0; MEMBERS],
            solos: BTreeSet::new(),
            groups: BTreeSet::new(),
            stopped: BTreeSet::new(),
            commands: BTreeMap::new(),
            count: 0,
        }
    }

    fn run(seed: u64) {
        let mut upheaval = Self::new(seed);
        let blows = 30 + upheaval.net.below(60);
        for _ in 0..blows {
            let Some(blow) = upheaval.random_blow() else { continue };
            upheaval.story.0.push((upheaval.net.now_at(0).instant, blow.clone()));
            upheaval.strike(blow);
            let pause = match upheaval.net.below(4) {
                0 => 0,
                1 => upheaval.net.below(20_000),
                2 => upheaval.net.below(400_000),
                _ => upheaval.net.below(3_000_000),
            };
            upheaval.net.run_for(Duration::from_micros(pause));
        }
        upheaval.calm_down();
        upheaval.all_is_well();
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.net.below(bound as u64)).expect("below a usize")
    }

    fn os(&self, number: usize) -> Option<&MeshOs> {
        self.net.members[number].os.os.as_ref()
    }

    fn is_running(&self, number: usize) -> bool {
        self.net.members[number].node.is_some()
    }

    fn running(&self) -> Vec<usize> {
        (0..MEMBERS).filter(|number| self.is_running(*number)).collect()
    }

    fn any_of<T: Copy>(&mut self, things: &[T]) -> Option<T> {
        let at = self.below(things.len().max(1));
        things.get(at).copied()
    }

    fn random_daemon(&mut self, at: usize) -> Option<DaemonId> {
        let members = self.os(at)?.groups().flat_map(|group| group.members);
        let daemons: Vec<DaemonId> =
            members.map(|member| member.daemon).chain(self.solos.iter().copied()).collect();
        self.any_of(&daemons)
    }

    fn random_group(&mut self, at: usize) -> Option<GroupId> {
        let groups: Vec<GroupId> = self.os(at)?.groups().map(|group| group.id).collect();
        self.any_of(&groups)
    }

    fn random_blow(&mut self) -> Option<Blow> {
        let running = self.running();
        let at = self.any_of(&running)?;
        let other = self.below(MEMBERS);
        let count = u32::try_from(1 + self.below(4)).expect("small");
        let what = if self.gentle { self.net.below(50) } else { self.net.below(70) };
        Some(match what {
            0..=3 => Blow::Spawn { at },
            4 => {
                let its: Vec<DaemonId> = self.os(at)?.daemons().map(|view| view.id).collect();
                let its: Vec<DaemonId> = its.into_iter().filter(|id| self.solos.contains(id)).collect();
                Blow::Stop { at, daemon: self.any_of(&its)? }
            }
            5..=7 if self.groups.len() < 4 => {
                let solos: Vec<DaemonId> = self.solos.iter().copied().collect();
                let parent = self.any_of(&solos).filter(|_| self.net.below(3) == 0);
                Blow::Group { at, count, parent }
            }
            8..=10 => Blow::Scale { at, group: self.random_group(at)?, count },
            11 => Blow::StopGroup { at, group: self.random_group(at)? },
            12..=25 => Blow::Send { from: at, to: self.random_daemon(at)?, count: 1 + self.net.below(20) },
            26..=35 => Blow::Migrate { at, daemon: self.random_daemon(at)?, to: other },
            36 => Blow::Cancel { at },
            37..=44 => Blow::Admin { at, verb: self.random_verb(at, other)? },
            45..=46 => Blow::Ice { at, verb: self.random_ice(at)? },
            47 | 65..=66 => Blow::Mend,
            48 => {
                let percent = f64::from(u32::try_from(self.net.below(25)).expect("small")) / 100.0;
                Blow::Weather(Faults { loss: percent, duplication: percent / 2.0, ..BAD })
            }
            5..=7 | 49 | 68.. => Blow::CutOff { from: at, to: other },
            50..=53 => Blow::Crash(at),
            54..=60 => Blow::Restart(other),
            61..=63 => {
                let some = (0..MEMBERS).filter(|_| self.net.below(2) == 0).collect();
                Blow::Divide(some)
            }
            64 => Blow::StandStill(at, Duration::from_millis(self.net.below(3_000))),
            67 => Blow::Upset { from: at, daemon: self.random_daemon(at)? },
        })
    }

    fn random_verb(&mut self, at: usize, other: usize) -> Option<AdminVerb> {
        let node = self.net.id(other);
        let kinds = if self.gentle { 9 } else { 10 };
        Some(match self.net.below(kinds) {
            0 => AdminVerb::Drain { node },
            1 => AdminVerb::EnterMaintenance { node },
            2 | 3 => AdminVerb::ExitMaintenance { node },
            4 => AdminVerb::Cordon { node },
            5 | 6 => AdminVerb::Uncordon { node },
            7 => AdminVerb::DropReplicas { node },
            8 => AdminVerb::InvalidatePlacement { group: self.random_group(at)? },
            _ => AdminVerb::RestartAllDaemons { node },
        })
    }

    fn random_ice(&mut self, at: usize) -> Option<IceVerb> {
        let now = self.net.now_at(at).instant;
        let moving: Vec<MigrationId> =
            self.os(at).into_iter().flat_map(|os| os.migrations(now)).map(|view| view.id).collect();
        if !self.gentle
            && let Some(migration) = self.any_of(&moving)
        {
            return Some(match self.net.below(2) {
                0 => IceVerb::ForceCutover { migration },
                _ => IceVerb::KillMigration { migration },
            });
        }
        Some(match self.net.below(if self.gentle { 4 } else { 5 }) {
            4 => IceVerb::ForceRestartDaemon { daemon: self.random_daemon(at)? },
            0 => IceVerb::FreezeCluster { ttl_ms: 1 + self.net.below(FREEZE_MS) },
            1 => IceVerb::ThawCluster,
            _ => {
                let group = self.random_group(at)?;
                IceVerb::ForceEvictReplica { group, index: u32::try_from(self.below(3)).expect("small") }
            }
        })
    }

    fn ask(&mut self, at: usize, what: What, ticket: Ticket) {
        self.asked.push(Asked { at, ticket, what });
    }

    #[allow(clippy::too_many_lines, reason = "one arm for each blow")]
    fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Spawn { at } => {
                self.count += 1;
                let mut seed = [0; 32];
                seed[..8].copy_from_slice(&self.count.to_le_bytes());
                let keypair = EntityKeypair::from_seed(seed);
                let id = keypair.origin_hash();
                let (kind, args) = ("diary".to_owned(), String::new());
                let request = SpawnRequest { keypair, kind, args, state: None, cause: None };
                if let Ok(ticket) = self.net.act_os(at, |os, node, now| os.spawn(now, node, request)) {
                    self.solos.insert(id);
                    self.ask(at, What::Start(id), ticket);
                }
            }
            Blow::Stop { at, daemon } => {
                self.stopped.insert(daemon);
                if let Some(ticket) =
                    self.net.act_os(at, |os, node, now| os.stop(now, node, daemon, None, None))
                {
                    self.ask(at, What::End(daemon), ticket);
                }
            }
            Blow::Group { at, count, parent } => {
                self.count += 1;
                let mut seed = [1; 32];
                seed[..8].copy_from_slice(&self.count.to_le_bytes());
                let request = GroupRequest {
                    kind: if parent.is_some() { GroupKind::Fork } else { GroupKind::Replica },
                    daemon: "diary".to_owned(),
                    args: String::new(),
                    count,
                    name: format!("group {}", self.count),
                    seed,
                    parent,
                    cause: None,
                };
                if let Ok(ticket) = self.net.act_os(at, |os, node, now| os.spawn_group(now, node, request)) {
                    let ids: Vec<GroupId> =
                        self.os(at).into_iter().flat_map(MeshOs::groups).map(|group| group.id).collect();
                    self.groups.extend(ids);
                    self.ask(at, What::Group, ticket);
                }
            }
            Blow::Scale { at, group, count } => {
                if let Ok(ticket) =
                    self.net.act_os(at, |os, node, now| os.scale_group(now, node, group, count, None))
                {
                    self.ask(at, What::Else, ticket);
                }
            }
            Blow::StopGroup { at, group } => {
                if let Ok(ticket) = self.net.act_os(at, |os, node, now| os.stop_group(now, node, group, None))
                {
                    self.ask(at, What::GroupEnd(group), ticket);
                }
            }
            Blow::Send { from, to, count } => {
                for _ in 0..count {
                    self.count += 1;
                    self.send(from, to, self.count);
                }
            }
            Blow::Upset { from, daemon } => {
                let upset = |os: &mut MeshOs, node: &mut Node, now| {
                    os.deliver(now, node, daemon, b"crash".to_vec(), None)
                };
                if let Ok(ticket) = self.net.act_os(from, upset) {
                    self.ask(from, What::Else, ticket);
                }
            }
            Blow::Migrate { at, daemon, to } => {
                let to = self.net.id(to);
                if let Ok(ticket) =
                    self.net.act_os(at, |os, node, now| os.migrate(now, node, daemon, to, None))
                {
                    self.ask(at, What::Else, ticket);
                }
            }
            Blow::Cancel { at } => {
                let now = self.net.now_at(at).instant;
                let ids: Vec<MigrationId> =
                    self.os(at).into_iter().flat_map(|os| os.migrations(now)).map(|view| view.id).collect();
                if let Some(id) = self.any_of(&ids) {
                    _ = self.net.act_os(at, |os, node, now| os.cancel_migration(now, node, id));
                }
            }
            Blow::Admin { at, verb } => {
                let nonce = self.nonce();
                let command = AdminCommand::new(verb, self.net.now_at(at).wall, nonce).sign(&demo(1));
                self.submit(at, nonce, &command);
            }
            Blow::Ice { at, verb } => {
                let (nonce, wall) = (self.nonce(), self.net.now_at(at).wall);
                let picture = self.net.act_os(at, |os, node, _| os.picture(node));
                if let Some(simulated) = IceProposal::new(verb).simulate(&picture) {
                    self.submit(at, nonce, &simulated.sign(wall, nonce, &demo(1)).cosign(&demo(2)));
                }
            }
            Blow::Crash(number) => {
                self.net.crash(number);
                self.lives[number] += 1;
                self.born[number] = self.net.members[number].os.events.len();
                self.asked.retain(|asked| asked.at != number);
                self.commands.retain(|_, (at, _)| *at != number);
            }
            Blow::Restart(number) if !self.is_running(number) => {
                self.net.restart_in_place(number);
                for other in self.running() {
                    if other != number {
                        self.net.dial(number, other);
                    }
                }
            }
            Blow::Restart(_) => {}
            Blow::StandStill(number, time) => {
                self.net.freeze(number);
                self.net.run_for(time);
                self.net.thaw(number);
            }
            Blow::CutOff { from, to } => self.cut(from, to),
            Blow::Divide(some) => {
                for a in 0..MEMBERS {
                    for b in 0..MEMBERS {
                        if some.contains(&a) != some.contains(&b) {
                            self.cut(a, b);
                        }
                    }
                }
            }
            Blow::Mend => self.net.cuts.clear(),
            Blow::Weather(faults) => self.net.faults = Faults { corruption: 0.0, ..faults },
        }
    }

    fn cut(&mut self, from: usize, to: usize) {
        let cut = (self.net.members[from].address, self.net.members[to].address);
        self.net.cuts.push(cut);
    }

    fn send(&mut self, from: usize, to: DaemonId, number: u64) {
        let life = self.lives[from];
        let payload = format!("{from} {life} {number}").into_bytes();
        let ticket = self.net.act_os(from, |os, node, now| os.deliver(now, node, to, payload, None));
        if let Ok(ticket) = ticket {
            self.ask(from, What::Event { to, life, number }, ticket);
        }
    }

    fn nonce(&mut self) -> Nonce {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.net.below(u64::MAX).to_le_bytes());
        Nonce(bytes)
    }

    fn submit(&mut self, at: usize, nonce: Nonce, command: &SignedCommand) {
        let named = self.net.act_os(at, |os, node, _| named_nodes(command.verb(), &os.picture(node)));
        let ticket = self.net.act_os(at, |os, node, now| os.submit(now, node, command));
        if self.lives[at] == 0 {
            self.commands.insert(nonce.to_string(), (at, named));
        }
        self.ask(at, What::Else, ticket);
    }

    fn settlement(&self, asked: &Asked) -> Option<&Settlement> {
        self.net.members[asked.at].os.events[self.born[asked.at]..].iter().find_map(
            |(_, event)| match event {
                OsEvent::Settled { ticket, outcome } if *ticket == asked.ticket => Some(outcome),
                _ => None,
            },
        )
    }

    /// Ends all misfortune.
    fn calm_down(&mut self) {
        self.net.faults = Faults { loss: 0.02, duplication: 0.02, corruption: 0.0, ..BAD };
        self.net.cuts.clear();
        for number in 0..MEMBERS {
            self.strike(Blow::Restart(number));
        }
        self.net.dial_all();
        self.net.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
        // Freezes, drains, deadlines and patience are over by then.
        self.net.run_for(Duration::from_secs(30));
    }

    fn all_is_well(&mut self) {
        let mut waited = Duration::ZERO;
        while let Some(wrong) = self.wrong() {
            assert!(waited < LIMIT, "a minute and a half later still: {wrong}");
            self.net.run_for(Duration::from_secs(1));
            waited += Duration::from_secs(1);
        }
        let open: Vec<&Asked> = self.asked.iter().filter(|it| self.settlement(it).is_none()).collect();
        assert!(open.is_empty(), "never settled: {open:?}");
        self.commands_are_decided_alike();
        self.groups_that_ended_are_gone();
        let steps = self.net.steps;
        self.net.run_for(Duration::from_secs(1));
        let steps = self.net.steps - steps;
        assert!(steps < 20_000, "{steps} things happened in a second in which nothing was to be done");
        self.diaries_are_in_order();
    }

    /// What is not as it should be yet.
    fn wrong(&self) -> Option<String> {
        let mut hosts: BTreeMap<DaemonId, Vec<(usize, Lifecycle)>> = BTreeMap::new();
        for number in 0..MEMBERS {
            for view in self.os(number).into_iter().flat_map(MeshOs::daemons) {
                hosts.entry(view.id).or_default().push((number, view.lifecycle));
            }
            let now = self.net.now_at(number).instant;
            let moving: Vec<_> = self.os(number)?.migrations(now).collect();
            if !moving.is_empty() {
                return Some(format!("on {number} there move {moving:?}"));
            }
        }
        if let Some(twice) = hosts.iter().find(|(_, at)| at.len() > 1) {
            return Some(format!("one runs twice: {twice:?}"));
        }
        let groups = |number: usize| -> BTreeMap<GroupId, GroupView> {
            self.os(number).into_iter().flat_map(MeshOs::groups).map(|view| (view.id, view)).collect()
        };
        let first = groups(0);
        for number in 1..MEMBERS {
            let here = groups(number);
            let placed = |view: &GroupView| -> (NodeId, u32, Vec<Option<NodeId>>) {
                (view.leader, view.desired, view.members.iter().map(|member| member.node).collect())
            };
            let alike = here.iter().map(|(id, view)| (*id, placed(view)));
            if !alike.eq(first.iter().map(|(id, view)| (*id, placed(view)))) {
                return Some(format!("they see groups differently: {first:?}, {number}: {here:?}"));
            }
        }
        for (id, view) in &first {
            let leader = (0..MEMBERS).find(|number| self.net.id(*number) == view.leader)?;
            if let Some(wrong) = self.wrong_with_group(&groups(leader)[id], &hosts) {
                return Some(format!("{wrong}: {:?}", groups(leader)[id]));
            }
        }
        let members: BTreeSet<DaemonId> =
            first.values().flat_map(|view| &view.members).map(|member| member.daemon).collect();
        let stray = hosts.keys().find(|id| !members.contains(*id) && !self.solos.contains(*id));
        if let Some(stray) = stray {
            return Some(format!("a member of no group runs: {stray} on {:?}", hosts[stray]));
        }
        if self.gentle {
            let lost = self.solos.difference(&self.stopped).find(|id| !hosts.contains_key(*id));
            if let Some(lost) = lost {
                return Some(format!("{lost} is lost though nothing crashed"));
            }
        }
        if let Some(wrong) = self.trails_apart() {
            return Some(wrong);
        }
        (0..MEMBERS).find_map(|number| {
            let snapshot = self.os(number)?.snapshot();
            let waits = matches!(
                snapshot.maintenance,
                Maintenance::EnteringMaintenance | Maintenance::ExitingMaintenance | Maintenance::Recovery
            );
            let waits = waits || snapshot.freeze_remaining.is_some() || snapshot.drain_remaining.is_some();
            waits.then(|| format!("{number} is in between: {:?}", snapshot.maintenance))
        })
    }

    fn wrong_with_group(
        &self,
        view: &GroupView,
        hosts: &BTreeMap<DaemonId, Vec<(usize, Lifecycle)>>,
    ) -> Option<String> {
        if view.health != GroupHealth::Healthy {
            let why = view.lacking.as_deref().unwrap_or_default();
            // Only whoever looks after it, and has looked everywhere, says that.
            let explained = why.contains("there is no other node for it");
            return (!explained).then(|| "not what it is to be, and nobody says why".to_owned());
        }
        let mut nodes = BTreeSet::new();
        for member in &view.members {
            match hosts.get(&member.daemon).map(Vec::as_slice) {
                Some(&[(number, Lifecycle::Running)]) if Some(self.net.id(number)) == member.node => {
                    nodes.insert(number);
                }
                other => return Some(format!("{member:?} really runs on {other:?}")),
            }
        }
        // After they were apart, nodes may have given a node two members, and nobody else may take one now.
        let explained =
            view.lacking.as_deref().is_some_and(|why| why.contains("there is no other node for it"));
        (nodes.len() != view.desired as usize && !explained).then(|| {
            let open = |number: &usize| {
                let snapshot = self.os(*number).expect("running").snapshot();
                (
                    *number,
                    self.net.id(*number),
                    snapshot.maintenance,
                    snapshot.cordoned,
                    snapshot.avoided.clone(),
                )
            };
            format!("two share a node: {:?}", (0..MEMBERS).map(|number| open(&number)).collect::<Vec<_>>())
        })
    }

    /// What each node wrote down about each command, by nonce.
    fn trails(&self) -> Vec<BTreeMap<String, Decision>> {
        let trail = |number: usize| {
            let os = self.os(number).expect("running");
            os.audit().iter().map(|entry| (entry.nonce.clone(), entry.decision)).collect()
        };
        (0..MEMBERS).map(trail).collect()
    }

    /// Whose trail is not as the others' are yet. All are to be alike, those who started anew included.
    fn trails_apart(&self) -> Option<String> {
        let trails = self.trails();
        (1..MEMBERS).find(|number| trails[*number] != trails[0]).map(|number| {
            let only = |a: &BTreeMap<String, Decision>, b: &BTreeMap<String, Decision>| {
                a.iter()
                    .filter(|it| b.get(it.0) != Some(it.1))
                    .map(|it| format!("{it:?}"))
                    .collect::<Vec<_>>()
            };
            let (a, b) = (&trails[0], &trails[number]);
            format!(
                "trails differ: {:?} are in that of 0 and {:?} in that of {number}",
                only(a, b),
                only(b, a)
            )
        })
    }

    /// Nobody decided on a command otherwise than others, and all know what was put to anybody.
    fn commands_are_decided_alike(&self) {
        let trails = self.trails();
        for (nonce, (at, _)) in &self.commands {
            let its: Vec<_> = trails.iter().map(|trail| trail.get(nonce)).collect();
            assert!(its[0].is_some(), "command {nonce}, handed to {at}, was never decided");
            assert!(its.iter().all(|decision| *decision == its[0]), "command {nonce}: {its:?}");
        }
    }

    /// A group that was said to be stopped, or not to have come about, is not there.
    fn groups_that_ended_are_gone(&self) {
        for asked in &self.asked {
            if let (What::GroupEnd(group), Some(Settlement::Group(Ok(_)))) =
                (asked.what, self.settlement(asked))
            {
                for number in 0..MEMBERS {
                    let there = self.os(number).and_then(|os| os.group(group));
                    assert!(there.is_none(), "{group} was stopped, and {number} has it: {there:?}");
                }
            }
            if let (What::End(daemon), Some(Settlement::Stopped(meshground_shared::DaemonEnd::Stopped))) =
                (asked.what, self.settlement(asked))
            {
                for number in 0..MEMBERS {
                    let there = self.os(number).into_iter().flat_map(MeshOs::daemons);
                    assert!(there.into_iter().all(|view| view.id != daemon), "{daemon} was stopped");
                }
            }
        }
    }

    /// Nothing was written twice or out of order, and where no state can have been lost, nothing is missing that was
    /// acknowledged.
    fn diaries_are_in_order(&mut self) {
        for number in 0..MEMBERS {
            let its: Vec<DaemonId> = self.os(number).expect("running").daemons().map(|it| it.id).collect();
            for daemon in its {
                let Ok(ticket) = self.net.act_os(number, |os, node, now| os.state_of(now, node, daemon))
                else {
                    continue;
                };
                let asked = Asked { at: number, ticket, what: What::Else };
                self.net.run_for(Duration::from_millis(50));
                let Some(Settlement::State(Ok(state))) = self.settlement(&asked) else {
                    panic!("no state of {daemon} on {number}: {:?}", self.settlement(&asked));
                };
                let mut found: BTreeMap<(usize, u64), Vec<u64>> = BTreeMap::new();
                for entry in Diary::read(&state.bytes) {
                    let text = String::from_utf8(entry).expect("it was text");
                    let mut parts = text.split(' ').map(|part| part.parse::<u64>().expect("numbers"));
                    let mut part = || parts.next().expect("three of them");
                    let sender = (usize::try_from(part()).expect("small"), part());
                    found.entry(sender).or_default().push(part());
                }
                for (sender, numbers) in &found {
                    assert!(numbers.is_sorted_by(|a, b| a < b), "{daemon} got from {sender:?}: {numbers:?}");
                }
                if !self.gentle || !self.solos.contains(&daemon) {
                    continue;
                }
                for asked in &self.asked {
                    let What::Event { to, life, number } = asked.what else { continue };
                    if to == daemon && matches!(self.settlement(asked), Some(Settlement::Delivered(Ok(_)))) {
                        let its = found.get(&(asked.at, life));
                        let there = its.is_some_and(|numbers| numbers.binary_search(&number).is_ok());
                        assert!(there, "{daemon} lost {number} of {}, which it acknowledged", asked.at);
                    }
                }
            }
        }
    }
}

fn demo(number: u8) -> OperatorKey {
    OperatorKey::demo(number).expect("there are some")
}

#[test]
fn whatever_befalls_the_system_it_is_as_it_should_be_once_it_is_left_in_peace() {
    each_seed(100, Upheaval::run);
}
