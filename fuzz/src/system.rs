//! The system above the transport, driven by bytes: commands, groups, daemons and time, and a member that asks and says
//! whatever it likes.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use meshground_node::{
    CallEvent, DaemonError, DaemonEvent, DaemonFactory, DaemonId, DaemonOrder, EntityKeypair, GroupRequest,
    Identity, Instant, MaintenanceConfig, MeshDaemon, MeshOs, MeshOsConfig, Node, NodeConfig, NodeEvent,
    NodeId, Now, Outputs, SpawnRequest, Topic, WallTime,
    admin::{
        AdminCommand, AdminVerifier, IceProposal, MAX_COMMAND, Nonce, OperatorKey, Operators, SignedCommand,
    },
    vectors,
};
use meshground_shared::{
    AdminVerb, BlastRadius, Decision, GroupId, GroupKind, IceVerb, MigrationId, Rejection,
};

use crate::input::Input;

const WALL_START_US: u64 = 1_700_000_000_000_000;

/// How many of them have a part of the system. One more has none, and says what it likes.
const HONEST: usize = 2;

/// So much may one operation cause before it counts as an endless loop.
const MAX_CONSEQUENCES: usize = 200_000;

/// So many commands are kept, to be said again.
const MAX_KEPT: usize = 32;

/// Keeps what it is sent, and crashes over nothing at all.
#[derive(Default)]
struct Pile(Vec<u8>);

impl MeshDaemon for Pile {
    fn name(&self) -> String {
        "pile".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        if let DaemonEvent::Message { payload, .. } = event {
            if payload.is_empty() {
                return Err(DaemonError::new("it was given nothing"));
            }
            self.0.extend_from_slice(&payload[..payload.len().min(64)]);
            outputs.reply(payload);
        }
        Ok(())
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        Some(self.0.clone())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DaemonError> {
        self.0 = state.to_vec();
        Ok(())
    }
}

fn factory() -> Arc<dyn DaemonFactory> {
    Arc::new(|_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> { Ok(Box::<Pile>::default()) })
}

struct Member {
    node: Node,
    os: Option<MeshOs>,
    address: SocketAddr,
    /// What it was asked and has not answered; only the one without a part of the system answers by itself.
    asked: Vec<meshground_node::CallId>,
}

struct World {
    members: Vec<Member>,
    micros: u64,
    lives: u64,
    under_way: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// Commands as they travel.
    commands: Vec<SignedCommand>,
    daemons: Vec<DaemonId>,
}

fn address(number: usize) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 1_000 + u16::try_from(number).unwrap_or(u16::MAX)).into()
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            members: Vec::new(),
            micros: 1,
            lives: 0,
            under_way: Vec::new(),
            commands: Vec::new(),
            daemons: Vec::new(),
        };
        for number in 0..=HONEST {
            let member = world.member(number);
            world.members.push(member);
        }
        world.dial_all();
        world
    }

    fn now(&self) -> Now {
        Now { instant: Instant::from_micros(self.micros), wall: WallTime(WALL_START_US + self.micros) }
    }

    fn member(&mut self, number: usize) -> Member {
        self.lives += 1;
        self.micros += 1;
        let now = self.now();
        let mut random = [0; 32];
        random[..8].copy_from_slice(&self.lives.to_le_bytes());
        let identity = Identity::from_seed([u8::try_from(number).unwrap_or(u8::MAX); 32]);
        let node =
            Node::new(NodeConfig::new([42; 32]), identity, random, now).expect("a sound configuration");
        let os = (number < HONEST).then(|| {
            let seconds = Duration::from_secs;
            let config = MeshOsConfig {
                verifier: AdminVerifier::allow_demo(Operators::demo()),
                // Those that the world begins with; any other takes its place among them.
                founds: number >= self.members.len(),
                maintenance: MaintenanceConfig { drain: seconds(8), ramp: seconds(2) },
                ..MeshOsConfig::default()
            };
            let mut os = MeshOs::new(config, &node, random, now);
            os.register_factory(now, "pile", factory());
            os
        });
        Member { node, os, address: address(number), asked: Vec::new() }
    }

    fn dial_all(&mut self) {
        for a in 0..self.members.len() {
            for b in 0..a {
                self.act(a, |member, now| _ = member.node.connect(now, address(b), None));
            }
        }
        self.settle();
    }

    fn id(&self, number: usize) -> NodeId {
        self.members[number].node.id()
    }

    fn act<T>(&mut self, number: usize, action: impl FnOnce(&mut Member, Now) -> T) -> T {
        let now = self.now();
        let outcome = action(&mut self.members[number], now);
        self.drain(number, now);
        outcome
    }

    fn act_os(&mut self, number: usize, action: impl FnOnce(&mut MeshOs, &mut Node, Now)) {
        self.act(number, |member, now| {
            if let Some(os) = &mut member.os {
                action(os, &mut member.node, now);
            }
        });
    }

    fn drain(&mut self, number: usize, now: Now) {
        let member = &mut self.members[number];
        for step in 0.. {
            assert!(step < MAX_CONSEQUENCES, "it never ends");
            if let Some(event) = member.node.poll_event() {
                let left = match &mut member.os {
                    Some(os) => os.handle_event(now, &mut member.node, event),
                    None => Some(event),
                };
                match left {
                    Some(NodeEvent::Call(CallEvent::Requested { call, .. })) if member.asked.len() < 64 => {
                        member.asked.push(call);
                    }
                    Some(NodeEvent::Call(CallEvent::Requested { call, .. })) => {
                        _ = member.node.end_reply(now, call, Ok(()));
                    }
                    Some(NodeEvent::Call(CallEvent::Item { call, body })) => {
                        member.node.release_items(now, call, 1, body.len());
                    }
                    _ => {}
                }
                continue;
            }
            if let Some(os) = &mut member.os {
                if let Some(job) = os.poll_job() {
                    os.handle_job(now, &mut member.node, job.run());
                    continue;
                }
                if os.poll_event().is_some() {
                    continue;
                }
            }
            let mut buffer = Vec::new();
            match member.node.poll_transmit(now, &mut buffer) {
                Some(transmit) => self.under_way.push((member.address, transmit.to, buffer)),
                None => break,
            }
        }
        member.node.gauges(&mut |gauge| assert!(gauge.held <= gauge.limit, "{gauge:?}"));
        if let Some(os) = &member.os {
            os.gauges(&mut |gauge| assert!(gauge.held <= gauge.limit, "{gauge:?}"));
        }
    }

    /// Everything arrives, in order, until nothing is under way.
    fn settle(&mut self) {
        for _ in 0..64 {
            let arriving = std::mem::take(&mut self.under_way);
            if arriving.is_empty() {
                return;
            }
            for (from, to, mut datagram) in arriving {
                if let Some(number) = self.members.iter().position(|member| member.address == to) {
                    self.act(number, |member, now| member.node.handle_datagram(now, from, &mut datagram));
                }
            }
        }
    }

    /// Time passes; each timeout comes when it is due, and what is sent arrives at once.
    fn pass(&mut self, micros: u64) {
        let end = self.micros.saturating_add(micros);
        for step in 0.. {
            assert!(step < MAX_CONSEQUENCES, "a timeout comes again and again");
            let due = |member: &Member| {
                let os = member.os.as_ref().and_then(MeshOs::poll_timeout);
                [os, member.node.poll_timeout()].into_iter().flatten().min()
            };
            let due = self.members.iter().filter_map(due).min();
            let Some(due) = due.map(Instant::as_micros).filter(|due| *due <= end) else { break };
            self.micros = self.micros.max(due);
            for number in 0..self.members.len() {
                self.act(number, |member, now| {
                    member.node.handle_timeout(now);
                    if let Some(os) = &mut member.os {
                        os.handle_timeout(now, &mut member.node);
                    }
                });
            }
            self.settle();
        }
        self.micros = end;
    }

    fn keep(&mut self, command: SignedCommand) {
        if self.commands.len() == MAX_KEPT {
            self.commands.remove(0);
        }
        self.commands.push(command);
    }

    fn any_command(&self, input: &mut Input<'_>) -> Option<SignedCommand> {
        let which = input.choice(MAX_KEPT);
        self.commands.get(which % self.commands.len().max(1)).cloned()
    }

    fn any_daemon(&self, input: &mut Input<'_>) -> DaemonId {
        let which = input.choice(256);
        self.daemons.get(which % self.daemons.len().max(1)).copied().unwrap_or(DaemonId(7))
    }

    /// A command, mostly signed by enough, and mostly of now.
    fn new_command(&mut self, at: usize, input: &mut Input<'_>) -> SignedCommand {
        let mut nonce = [input.byte(); 16];
        nonce[..8].copy_from_slice(&self.micros.to_le_bytes());
        let nonce = Nonce(nonce);
        let late = if input.byte() < 240 { 0 } else { input.number() };
        let wall = WallTime(self.now().wall.0.saturating_sub(late));
        let node = self.id(input.choice(self.members.len()));
        let key = |number: usize| OperatorKey::demo(u8::try_from(1 + number % 3).unwrap_or(1));
        let signers = input.choice(4);
        let group = || GroupId(1);
        let admin = match input.choice(16) {
            0 => AdminVerb::Drain { node },
            1 => AdminVerb::EnterMaintenance { node },
            2 => AdminVerb::ExitMaintenance { node },
            3 => AdminVerb::Cordon { node },
            4 => AdminVerb::Uncordon { node },
            5 => AdminVerb::DropReplicas { node },
            6 => AdminVerb::InvalidatePlacement { group: group() },
            7 => AdminVerb::RestartAllDaemons { node },
            8 => AdminVerb::ClearAvoidList { node },
            which => {
                let daemon = self.any_daemon(input);
                let verb = match which {
                    9 | 10 => IceVerb::FreezeCluster { ttl_ms: input.number() },
                    11 => IceVerb::ThawCluster,
                    12 => IceVerb::FlushAvoidLists,
                    13 => IceVerb::ForceEvictReplica { group: group(), index: u32::from(input.byte()) },
                    14 => IceVerb::ForceRestartDaemon { daemon },
                    _ => IceVerb::KillMigration { migration: MigrationId(input.number()) },
                };
                let mut radius = None;
                self.act_os(at, |os, node, _| radius = os.simulate(node, &verb));
                let radius = radius.unwrap_or_else(BlastRadius::default);
                let command = IceProposal::new(verb).simulated(radius).unsigned(wall, nonce);
                return (0..signers).filter_map(key).fold(command, |command, key| command.cosign(&key));
            }
        };
        let command = AdminCommand::new(admin, wall, nonce).unsigned();
        (0..signers).filter_map(key).fold(command, |command, key| command.cosign(&key))
    }

    /// One operation of an honest member's user.
    fn operate(&mut self, at: usize, input: &mut Input<'_>) {
        match input.choice(8) {
            0..=2 => {
                let command = self.new_command(at, input);
                self.keep(command.clone());
                self.act_os(at, |os, node, now| _ = os.submit(now, node, &command));
            }
            3 => {
                if let Some(command) = self.any_command(input) {
                    self.act_os(at, |os, node, now| _ = os.submit(now, node, &command));
                }
            }
            4 if self.daemons.len() < 16 => {
                let keypair = EntityKeypair::from_seed([input.byte(); 32]);
                self.daemons.push(keypair.origin_hash());
                let (kind, args) = ("pile".to_owned(), String::new());
                let request = SpawnRequest { keypair, kind, args, state: None, cause: None };
                self.act_os(at, |os, node, now| _ = os.spawn(now, node, request));
            }
            5 => {
                let kinds = [GroupKind::Replica, GroupKind::Fork, GroupKind::Standby];
                let request = GroupRequest {
                    kind: kinds[input.choice(3)],
                    daemon: "pile".to_owned(),
                    args: String::new(),
                    count: u32::from(input.byte() % 4),
                    name: "group".to_owned(),
                    seed: [input.byte(); 32],
                    parent: self.daemons.first().copied(),
                    cause: None,
                };
                self.act_os(at, |os, node, now| _ = os.spawn_group(now, node, request));
            }
            6 => {
                let (daemon, to) = (self.any_daemon(input), self.id(input.choice(HONEST + 1)));
                self.act_os(at, |os, node, now| _ = os.migrate(now, node, daemon, to, None));
            }
            _ => {
                let (daemon, len) = (self.any_daemon(input), usize::from(input.byte()));
                let payload = input.bytes(len).to_vec();
                self.act_os(at, |os, node, now| _ = os.deliver(now, node, daemon, payload, None));
            }
        }
    }

    /// What the one without a part of the system says or asks.
    fn meddle(&mut self, input: &mut Input<'_>) {
        let names: Vec<&str> = vectors::system::names().collect();
        if input.byte() < 96 {
            return self.bring(input);
        }
        let body = match input.choice(4) {
            0 => self.history(input),
            1 => self.any_command(input).map(|command| command.encode()).unwrap_or_default(),
            _ => {
                let len = usize::from(input.byte()) * 4;
                input.bytes(len).to_vec()
            }
        };
        let to = self.id(input.choice(HONEST));
        let which = input.choice(24);
        let name = names[input.choice(names.len())];
        self.act(HONEST, |member, now| match which {
            0 => _ = member.node.say(now, Topic::Inventory, body),
            1 => _ = member.node.say(now, Topic::Groups, body),
            2..=7 => {
                if let Some(call) = member.asked.pop() {
                    let _ = member.node.reply(now, call, &body);
                    let _ = member.node.end_reply(now, call, Ok(()));
                }
            }
            _ => {
                let name = name.trim_end_matches(" answer");
                _ = member.node.call(now, to, name, &body, Some(Duration::from_secs(2)));
            }
        });
    }

    /// It brings a daemon events, as many and under whatever numbers and lives it likes.
    fn bring(&mut self, input: &mut Input<'_>) {
        let (from, to) = (self.id(HONEST).to_string(), self.id(input.choice(HONEST)));
        let len = 1 + usize::from(input.byte());
        let message = serde_json::json!({ "Message": { "from": { "Node": from }, "payload": vec![7; len] } });
        let answer = serde_json::json!({ "Answer": { "token": 1, "outcome": { "Ok": vec![[7]; len] } } });
        let event = if input.byte() < 192 { message } else { answer };
        let count = if input.byte() < 128 { 1 + input.choice(64) } else { 60 + input.choice(32) };
        let first = if input.byte() < 128 { 1 } else { u64::from(input.byte()) };
        let says = serde_json::json!({
            "daemon": self.any_daemon(input).0,
            "life": input.byte() % 16,
            "first": first,
            "events": vec![event; count],
        });
        let body = vectors::system::written("os.deliver", says).and_then(Result::ok).unwrap_or_default();
        self.act(HONEST, |member, now| {
            _ = member.node.call(now, to, "os.deliver", &body, Some(Duration::from_secs(2)));
        });
    }

    /// A page of what it says was commanded.
    fn history(&self, input: &mut Input<'_>) -> Vec<u8> {
        let mut claims = BTreeMap::new();
        for _ in 0..=input.choice(8) {
            let Some(command) = self.any_command(input) else { break };
            let decision = match input.choice(3) {
                0 => Decision::Rejected(Rejection::NonceReplayed),
                1 => Decision::Rejected(Rejection::Unreachable),
                _ => Decision::Applied,
            };
            let decided = self.now().wall.0.wrapping_add(input.number());
            claims.insert((command.issued(), command.nonce()), (command.encode(), decision, decided));
        }
        let mut claims: Vec<_> = claims.into_values().collect();
        if input.byte() < 64 {
            claims.reverse();
        }
        vectors::history::page(claims, input.byte() < 128)
    }
}

/// Two members with all of the system, and one that says whatever it likes.
///
/// Nothing panics or goes on for ever, what is held is bounded, and no trail says of a command that it was applied which too
/// few operators signed.
pub fn system(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut world = World::new();
    let mut signed: BTreeMap<String, usize> = BTreeMap::new();
    while !input.is_empty() {
        let at = input.choice(HONEST);
        match input.choice(12) {
            0..=4 => world.operate(at, &mut input),
            5..=7 => world.meddle(&mut input),
            8 => world.pass(u64::from(input.byte()) * 20_000),
            9 => world.pass(u64::from(input.byte() % 16) * 1_000_000),
            10 if input.byte() < 48 => {
                let number = input.choice(HONEST + 1);
                let member = world.member(number);
                world.members[number] = member;
                world.dial_all();
            }
            _ => world.settle(),
        }
        for command in &world.commands {
            assert!(command.encode().len() <= MAX_COMMAND);
            // Two commands may have one nonce, as time does not always pass.
            let most = signed.entry(command.nonce().to_string()).or_default();
            *most = signers(command).max(*most);
        }
    }
    world.settle();
    world.pass(3_000_000);
    for os in world.members.iter().filter_map(|member| member.os.as_ref()) {
        for entry in os.audit().iter().filter(|entry| entry.decision == Decision::Applied) {
            let needed = if matches!(entry.verb, meshground_shared::Verb::Ice(_)) { 2 } else { 1 };
            let by = signed.get(&entry.nonce).copied().unwrap_or_default();
            assert!(by >= needed && entry.operators.len() >= needed, "{entry:?} was applied, signed by {by}");
        }
    }
}

/// By how many operators a command is signed, as whoever made it knows.
fn signers(command: &SignedCommand) -> usize {
    AdminVerifier::allow_demo(Operators::demo()).signers(command).len()
}
