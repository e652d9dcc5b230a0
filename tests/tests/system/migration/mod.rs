//! Daemons that move between simulated nodes, whatever befalls these meanwhile.

mod again;
mod by_force;
mod farewells;
mod figures;
mod hearing;
mod strikes;

use std::{sync::Arc, time::Duration};

use meshground_node::{
    Commanded, DaemonError, DaemonEvent, DaemonId, DaemonOrder, DaemonState, EntityKeypair, Lifecycle,
    MAX_STATE, MeshDaemon, MeshOs, MeshOsConfig, MigrateError, MigrationId, Node, OsEvent, Outputs,
    Settlement, SpawnRequest, Ticket,
    admin::{IceProposal, Nonce},
};
use meshground_shared::{CommandId, DaemonEnd, Decision, EventKind, IceVerb, MigrationPhase, MigrationView};
use meshground_tests::{
    daemons::{Diary, Idle},
    sim::{Faults, Network, each_seed},
};

use super::{BAD, LIMIT, config, entries, mesh, send, settled, spawn};

/// All that a migration goes through, in order.
const PHASES: [MigrationPhase; 6] = [
    MigrationPhase::Snapshot,
    MigrationPhase::Transfer,
    MigrationPhase::Restore,
    MigrationPhase::Replay,
    MigrationPhase::Cutover,
    MigrationPhase::Complete,
];

/// A network that loses some of what is sent.
const LOSSY: Faults = Faults { loss: 0.05, corruption: 0.0, ..BAD };

/// Starts a diary whose first entry makes its state this long.
fn spawn_with_state(network: &mut Network, number: usize, len: usize) -> DaemonId {
    let keypair = EntityKeypair::from_seed([9; 32]);
    let id = keypair.origin_hash();
    let mut bytes = vec![b'x'; len];
    if let Some(entry) = len.checked_sub(4) {
        bytes[..4].copy_from_slice(&u32::try_from(entry).expect("small").to_le_bytes());
    }
    let state = (len > 0).then_some(DaemonState { origin: id, bytes });
    let request = SpawnRequest { keypair, kind: "diary".to_owned(), args: String::new(), state, cause: None };
    let ticket = network.act_os(number, |os, node, now| os.spawn(now, node, request)).expect("it is tried");
    assert_eq!(settled(network, number, ticket), Settlement::Spawned(Ok(id)));
    id
}

fn try_migrate(
    network: &mut Network,
    asked: usize,
    daemon: DaemonId,
    to: usize,
) -> Result<Ticket, MigrateError> {
    let target = network.id(to);
    let cause = Some(CommandId(77));
    network.act_os(asked, |os, node, now| os.migrate(now, node, daemon, target, cause))
}

/// Begins to move a daemon from 0 to 1 and, when that has just gone live and nobody has heard of it, cuts it off from 0 and 2.
fn begin_and_cut_off_once_live(network: &mut Network, daemon: DaemonId) -> Ticket {
    let ticket = try_migrate(network, 0, daemon, 1).expect("it is tried");
    let is_live = |network: &Network| hosts(network, daemon).iter().any(|(number, _)| *number == 1);
    network.run_until(LIMIT, is_live).expect("the target runs it");
    network.intercept();
    let [source, other, target] = [0, 2, 1].map(|number| network.members[number].address);
    network.cuts = vec![(target, source), (source, target), (target, other), (other, target)];
    ticket
}

/// Moves a daemon, and waits until it has moved.
fn migrate(network: &mut Network, asked: usize, daemon: DaemonId, to: usize) -> MigrationId {
    let ticket = try_migrate(network, asked, daemon, to).expect("it is tried");
    match settled(network, asked, ticket) {
        Settlement::Migrated(Ok(id)) => id,
        other => panic!("it did not move: {other:?}"),
    }
}

/// Which members have a daemon, and what it is doing there.
fn hosts(network: &Network, daemon: DaemonId) -> Vec<(usize, Lifecycle)> {
    let members = network.members.iter().enumerate();
    members
        .filter_map(|(number, member)| {
            let mut daemons = member.os.os.as_ref()?.daemons();
            daemons.find(|view| view.id == daemon).map(|view| (number, view.lifecycle))
        })
        .collect()
}

/// The migrations under way from a member.
fn under_way(network: &Network, number: usize) -> Vec<MigrationView> {
    let now = network.now_at(number).instant;
    network.members[number].os.os.iter().flat_map(|os| os.migrations(now)).collect()
}

/// What a member told of its migrations, in order.
fn told(network: &Network, number: usize) -> Vec<MigrationView> {
    let events = network.members[number].os.events.iter();
    events
        .filter_map(|(_, event)| match event {
            OsEvent::Happened { kind: EventKind::MigrationChanged { migration }, cause } => {
                assert_eq!(*cause, Some(CommandId(77)));
                Some(migration.clone())
            }
            _ => None,
        })
        .collect()
}

/// Numbered events that a member keeps sending.
struct Stream {
    from: usize,
    tickets: Vec<Ticket>,
}

impl Stream {
    fn new(from: usize) -> Self {
        Self { from, tickets: Vec::new() }
    }

    fn send(&mut self, network: &mut Network, daemon: DaemonId) {
        if network.members[self.from].os.os.is_some() {
            let text = format!("{} {}", self.from, self.tickets.len());
            let send = |os: &mut MeshOs, node: &mut Node, now| {
                os.deliver(now, node, daemon, text.into_bytes(), Some(LIMIT))
            };
            self.tickets.push(network.act_os(self.from, send).expect("small"));
        }
    }

    /// The numbers of its events in a diary.
    fn found(&self, entries: &[Vec<u8>]) -> Vec<usize> {
        let prefix = format!("{} ", self.from);
        let entries = entries.iter().filter_map(|entry| str::from_utf8(entry).ok());
        entries.filter_map(|entry| entry.strip_prefix(&*prefix)?.parse().ok()).collect()
    }

    /// The numbers of those that were said to be worked off.
    fn acknowledged(&self, network: &Network) -> Vec<usize> {
        let is_done = |ticket: &Ticket| {
            matches!(network.members[self.from].os.settlement(*ticket), Some(Settlement::Delivered(Ok(_))))
        };
        self.tickets.iter().enumerate().filter(|(_, ticket)| is_done(ticket)).map(|(at, _)| at).collect()
    }

    fn is_settled(&self, network: &Network) -> bool {
        self.tickets.iter().all(|ticket| network.members[self.from].os.settlement(*ticket).is_some())
    }

    /// Each of its events is in a diary at most once and in order, and every acknowledged one is, if `all`.
    fn check(&self, network: &Network, entries: &[Vec<u8>], all: bool) {
        let found = self.found(entries);
        assert!(found.is_sorted_by(|a, b| a < b), "in order and none twice: {found:?}");
        if all {
            let lost: Vec<usize> =
                self.acknowledged(network).into_iter().filter(|at| !found.contains(at)).collect();
            assert!(lost.is_empty(), "acknowledged by {} and lost: {lost:?}", self.from);
        }
    }
}

#[test]
fn a_daemon_of_any_size_moves_in_either_direction_and_back_while_events_keep_coming() {
    each_seed(8, |seed| {
        for len in [0, 1 << 10, 1 << 20] {
            let mut network = mesh(seed, LOSSY, 3);
            let daemon = spawn_with_state(&mut network, 0, len);
            network.run_for(Duration::from_secs(1));
            let mut streams = [Stream::new(0), Stream::new(1), Stream::new(2)];
            for (asked, from, to) in [(0, 0, 1), (2, 1, 0), (0, 0, 2)] {
                let ticket = try_migrate(&mut network, asked, daemon, to).expect("it is tried");
                while network.members[asked].os.settlement(ticket).is_none() {
                    for stream in &mut streams {
                        stream.send(&mut network, daemon);
                    }
                    network.run_for(Duration::from_millis(5));
                }
                let outcome = settled(&mut network, asked, ticket);
                assert!(matches!(outcome, Settlement::Migrated(Ok(_))), "{from} to {to}: {outcome:?}");
                network.run_for(Duration::from_secs(1));
                assert_eq!(hosts(&network, daemon), [(to, Lifecycle::Running)]);
            }
            let is_settled = |network: &Network| streams.iter().all(|stream| stream.is_settled(network));
            network.run_until(LIMIT, is_settled).expect("every event is settled");
            let entries = entries(&mut network, 2, daemon);
            if len > 0 {
                assert_eq!(entries.first().map(Vec::len), Some(len - 4));
            }
            for stream in &streams {
                assert_eq!(stream.acknowledged(&network).len(), stream.tickets.len(), "of {}", stream.from);
                stream.check(&network, &entries, true);
            }
        }
    });
}

#[test]
fn sixty_four_mebibytes_move_and_a_byte_more_does_not() {
    let mut network = mesh(1, Faults { delay: Duration::from_millis(10), ..Faults::NONE }, 2);
    let daemon = spawn_with_state(&mut network, 0, 64 << 20);
    network.run_for(Duration::from_secs(1));
    let id = migrate(&mut network, 0, daemon, 1);
    network.run_for(Duration::from_secs(1));
    assert_eq!(hosts(&network, daemon), [(1, Lifecycle::Running)]);
    let told: Vec<MigrationView> = told(&network, 0).into_iter().filter(|view| view.id == id).collect();
    assert!(
        told.last().is_some_and(|view| view.bytes_done >= 64 << 20 && view.bytes_done == view.bytes_total)
    );
    let parts = told.iter().filter(|view| view.phase == MigrationPhase::Transfer).count();
    assert!(parts >= 5, "progress is told: {parts} times");
    let more = send(&mut network, 0, daemon, "x");
    settled(&mut network, 0, more);
    let ticket = try_migrate(&mut network, 1, daemon, 0).expect("it is tried");
    let bound = MAX_STATE as u64;
    let error = MigrateError::StateTooLarge { daemon, bytes: bound + 5, bound };
    assert_eq!(settled(&mut network, 1, ticket), Settlement::Migrated(Err(error.clone())));
    assert_eq!(hosts(&network, daemon), [(1, Lifecycle::Running)]);
}

#[test]
fn every_phase_is_told_in_order_and_the_daemon_knows_that_it_was_restored() {
    let mut network = mesh(1, LOSSY, 3);
    let daemon = spawn(&mut network, 0, 7);
    network.run_for(Duration::from_secs(1));
    let id = migrate(&mut network, 2, daemon, 1);
    let phases: Vec<MigrationPhase> = told(&network, 0).iter().map(|view| view.phase).collect();
    let mut each = phases.clone();
    each.dedup();
    assert_eq!(each, PHASES);
    assert!(told(&network, 0).iter().all(|view| view.id == id && view.daemon == daemon));
    let gone = EventKind::DaemonGone { daemon, reason: DaemonEnd::Migrated };
    let is_gone = |event: &OsEvent| matches!(event, OsEvent::Happened { kind, .. } if *kind == gone);
    assert!(network.members[0].os.events.iter().any(|(_, event)| is_gone(event)));
    let os = network.members[1].os.os.as_ref().expect("running");
    assert_eq!(os.daemons().next().map(|view| view.generation), Some(2));
}

#[test]
fn called_off_in_any_phase_before_the_cutover_it_stays_and_afterwards_it_is_too_late() {
    let mut outcomes = [0, 0];
    for delay in 0..60 {
        let mut network = mesh(delay, LOSSY, 3);
        let daemon = spawn_with_state(&mut network, 0, 50_000);
        network.run_for(Duration::from_secs(1));
        let mut stream = Stream::new(2);
        let ticket = try_migrate(&mut network, 0, daemon, 1).expect("it is tried");
        let id = under_way(&network, 0)[0].id;
        for _ in 0..delay {
            stream.send(&mut network, daemon);
            network.run_for(Duration::from_millis(6));
        }
        let cancelled = network.act_os(0, |os, node, now| os.cancel_migration(now, node, id, None));
        let outcome = settled(&mut network, 0, ticket);
        let host = match cancelled {
            Ok(()) => {
                assert_eq!(outcome, Settlement::Migrated(Err(MigrateError::Cancelled)));
                outcomes[0] += 1;
                0
            }
            Err(error) => {
                assert!(matches!(error, MigrateError::TooLate | MigrateError::NotMigrating(_)), "{error}");
                assert_eq!(outcome, Settlement::Migrated(Ok(id)));
                outcomes[1] += 1;
                1
            }
        };
        network.run_for(Duration::from_secs(2));
        assert_eq!(hosts(&network, daemon), [(host, Lifecycle::Running)]);
        network.run_until(LIMIT, |network| stream.is_settled(network)).expect("every event is settled");
        let entries = entries(&mut network, host, daemon);
        assert_eq!(stream.acknowledged(&network).len(), stream.tickets.len());
        stream.check(&network, &entries, true);
        // It can move after that.
        migrate(&mut network, 2, daemon, 1 - host);
    }
    assert!(outcomes.iter().all(|count| *count > 0), "both were seen: {outcomes:?}");
}

#[test]
fn only_so_many_daemons_are_on_their_way_from_a_node_and_to_one_and_the_others_stay() {
    let mut network = mesh(1, Faults::NONE, 4);
    let daemons: Vec<[DaemonId; 2]> = (0..9)
        .map(|seed| [0, 1].map(|host: u8| spawn(&mut network, host.into(), 10 + 2 * seed + host)))
        .collect();
    network.run_for(Duration::from_secs(1));
    // Nothing gets through, so that all of them are under way.
    let [source, target] = [0, 2].map(|number| network.members[number].address);
    network.cuts = vec![(source, target), (target, source)];
    let mut tickets = Vec::new();
    for [daemon, _] in &daemons[..8] {
        tickets.push((*daemon, try_migrate(&mut network, 0, *daemon, 2).expect("up to eight")));
    }
    assert_eq!(try_migrate(&mut network, 0, daemons[8][0], 2), Err(MigrateError::TooMany));
    assert_eq!(hosts(&network, daemons[8][0]), [(0, Lifecycle::Running)]);
    network.cuts.clear();
    // From another node, while the target has all it takes.
    let is_full = |network: &Network| {
        let restored = |view: &MigrationView| view.phase > MigrationPhase::Snapshot;
        under_way(network, 0).iter().all(restored)
    };
    network.run_until(LIMIT, is_full).expect("their states are taken");
    for [_, daemon] in &daemons {
        if let Ok(ticket) = try_migrate(&mut network, 1, *daemon, 2) {
            tickets.push((*daemon, ticket));
        }
    }
    let mut moved = 0;
    for (number, (daemon, ticket)) in tickets.into_iter().enumerate() {
        let asked = usize::from(number >= 8);
        let at = match settled(&mut network, asked, ticket) {
            Settlement::Migrated(Ok(_)) => 2,
            Settlement::Migrated(Err(error)) => {
                let is_full = matches!(&error, MigrateError::Failed(why) if why.contains("as many daemons"));
                assert!(is_full, "{error}");
                asked
            }
            other => panic!("{other:?}"),
        };
        moved += usize::from(at == 2);
        network.run_for(Duration::from_secs(1));
        assert_eq!(hosts(&network, daemon), [(at, Lifecycle::Running)]);
    }
    assert!(moved >= 8, "as many as may be at a time: {moved}");
    // With room again the others follow.
    migrate(&mut network, 0, daemons[8][0], 2);
}

/// Sets an alarm for each message, and writes down when it goes off.
#[derive(Default)]
struct Sleeper {
    woken: Vec<u8>,
}

impl MeshDaemon for Sleeper {
    fn name(&self) -> String {
        "sleeper".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        match event {
            DaemonEvent::Message { payload, .. } => {
                let seconds = u64::from(payload[0]);
                outputs.wake(Duration::from_secs(seconds), seconds);
            }
            DaemonEvent::Alarm { token } => self.woken.push(u8::try_from(token).expect("small")),
            _ => {}
        }
        Ok(())
    }

    fn snapshot(&self) -> Option<Vec<u8>> {
        Some(self.woken.clone())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DaemonError> {
        self.woken = state.to_vec();
        Ok(())
    }
}

#[test]
fn alarms_move_with_their_daemon_and_go_off_once_at_their_time() {
    let mut network = mesh(1, LOSSY, 3);
    for number in 0..3 {
        network.act_os(number, |os, _, now| {
            let make = |_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> {
                Ok(Box::new(Sleeper::default()))
            };
            os.register_factory(now, "sleeper", Arc::new(make))
        });
    }
    network.run_for(Duration::from_secs(1));
    let keypair = EntityKeypair::from_seed([7; 32]);
    let daemon = keypair.origin_hash();
    let request =
        SpawnRequest { keypair, kind: "sleeper".to_owned(), args: String::new(), state: None, cause: None };
    let ticket = network.act_os(0, |os, node, now| os.spawn(now, node, request)).expect("it is tried");
    settled(&mut network, 0, ticket);
    network.run_for(Duration::from_secs(1));
    // One goes off before it moves, one there, and one after it has moved on.
    for seconds in [1, 20, 40] {
        let ticket = send(&mut network, 1, daemon, &char::from(seconds).to_string());
        settled(&mut network, 1, ticket);
    }
    let woken = |network: &mut Network, at: usize| {
        let ticket = network.act_os(at, |os, node, now| os.state_of(now, node, daemon)).expect("it runs");
        match settled(network, at, ticket) {
            Settlement::State(Ok(state)) => state.bytes,
            other => panic!("no state: {other:?}"),
        }
    };
    network.run_for(Duration::from_secs(2));
    migrate(&mut network, 2, daemon, 1);
    network.run_for(Duration::from_secs(10));
    assert_eq!(woken(&mut network, 1), [1], "not before its time");
    network.run_for(Duration::from_secs(10));
    assert_eq!(woken(&mut network, 1), [1, 20]);
    migrate(&mut network, 0, daemon, 2);
    network.run_for(Duration::from_secs(20));
    assert_eq!(woken(&mut network, 2), [1, 20, 40]);
    network.run_for(Duration::from_mins(1));
    assert_eq!(woken(&mut network, 2), [1, 20, 40], "once");
}

#[test]
fn what_cannot_move_is_told_why_and_runs_on() {
    let mut network = mesh(1, Faults::NONE, 3);
    // Member 3 makes nothing.
    network.add(config());
    network.equip(3, MeshOsConfig::default(), |_, _| {});
    network.dial_all();
    network.run_for(Duration::from_secs(3));
    let daemon = spawn(&mut network, 0, 7);
    network.run_for(Duration::from_secs(1));
    let here = network.id(0);
    let unknown = DaemonId(1);
    assert_eq!(try_migrate(&mut network, 1, unknown, 0), Err(MigrateError::NotFound(unknown)));
    assert_eq!(try_migrate(&mut network, 0, daemon, 0), Err(MigrateError::SameNode(here)));
    assert_eq!(try_migrate(&mut network, 1, daemon, 0), Err(MigrateError::SameNode(here)));
    let node = network.id(3);
    let unmakeable = MigrateError::KindNotFound { node, kind: "diary".to_owned() };
    assert_eq!(try_migrate(&mut network, 0, daemon, 3), Err(unmakeable.clone()));
    let ticket = try_migrate(&mut network, 1, daemon, 3).expect("only its host knows");
    assert_eq!(settled(&mut network, 1, ticket), Settlement::Migrated(Err(unmakeable)));
    try_migrate(&mut network, 0, daemon, 1).expect("it is tried");
    assert_eq!(try_migrate(&mut network, 0, daemon, 2), Err(MigrateError::AlreadyMoving(daemon)));
    network.run_for(Duration::from_secs(2));
    assert_eq!(hosts(&network, daemon), [(1, Lifecycle::Running)]);

    let keypair = EntityKeypair::from_seed([3; 32]);
    let handed = keypair.origin_hash();
    network
        .act_os(0, |os, node, now| os.register_daemon(now, node, Box::new(Diary::default()), keypair, None))
        .expect("it is tried");
    network.run_for(Duration::from_secs(1));
    assert_eq!(try_migrate(&mut network, 0, handed, 1), Err(MigrateError::NotMovable(handed)));

    for number in [0, 1] {
        network.act_os(number, |os, _, now| Idle::prepare(os, now));
    }
    let keypair = EntityKeypair::from_seed([4; 32]);
    let stateless = keypair.origin_hash();
    let request =
        SpawnRequest { keypair, kind: "idle".to_owned(), args: String::new(), state: None, cause: None };
    let ticket = network.act_os(0, |os, node, now| os.spawn(now, node, request)).expect("it is tried");
    settled(&mut network, 0, ticket);
    network.run_for(Duration::from_secs(1));
    let ticket = try_migrate(&mut network, 0, stateless, 1).expect("it is tried");
    let outcome = settled(&mut network, 0, ticket);
    assert_eq!(outcome, Settlement::Migrated(Err(MigrateError::NoState(stateless))));
    assert_eq!(hosts(&network, stateless), [(0, Lifecycle::Running)]);
}

#[test]
fn one_whose_target_is_cut_off_after_the_cutover_can_be_taken_back_by_force_and_the_targets_copy_goes() {
    let mut network = mesh(3, Faults::NONE, 3);
    let daemon = spawn(&mut network, 0, 7);
    network.run_for(Duration::from_secs(1));
    let ticket = begin_and_cut_off_once_live(&mut network, daemon);
    network.run_for(Duration::from_secs(20));
    let view = under_way(&network, 0).pop().expect("it is under way");
    assert_eq!(view.phase, MigrationPhase::Cutover);
    let picture = network.act_os(0, |os, node, _| os.picture(node));
    let kill = IceProposal::new(IceVerb::KillMigration { migration: view.id }).simulate(&picture);
    let kill = kill.expect("it is possible after the cutover as well");
    assert!(kill.radius().warnings.iter().any(|warning| warning.contains("lost")), "and says what of it");
    let kill = kill.unsigned(network.now_at(0).wall, Nonce([1; 16]));
    let commanded = network.act_os(0, |os, node, now| os.submit(now, node, &kill));
    let Settlement::Commanded(Commanded { decision, .. }) = settled(&mut network, 0, commanded) else {
        panic!("it is a command")
    };
    assert_eq!(decision, Decision::Applied, "nobody waits for the target");
    assert_eq!(settled(&mut network, 0, ticket), Settlement::Migrated(Err(MigrateError::Cancelled)));
    let after = send(&mut network, 2, daemon, "after");
    assert!(matches!(settled(&mut network, 2, after), Settlement::Delivered(Ok(_))));
    network.cuts.clear();
    network.dial_all();
    let is_alone = |network: &Network| hosts(network, daemon) == [(0, Lifecycle::Running)];
    network.run_until(LIMIT, is_alone).expect("the target drops its copy");
    assert_eq!(entries(&mut network, 0, daemon), [b"after"]);
}

#[test]
fn one_whose_target_leaves_before_it_could_say_that_it_has_it_goes_on_at_its_source() {
    let mut network = mesh(4, Faults::NONE, 3);
    let daemon = spawn(&mut network, 0, 7);
    network.run_for(Duration::from_secs(1));
    // All that is heard of the target from then on is its farewell.
    let ticket = begin_and_cut_off_once_live(&mut network, daemon);
    network.run_for(Duration::from_millis(100));
    assert_eq!(under_way(&network, 0).pop().map(|view| view.phase), Some(MigrationPhase::Cutover));
    network.cuts.clear();
    network.act(1, Node::leave);
    let outcome = settled(&mut network, 0, ticket);
    assert!(
        matches!(&outcome, Settlement::Migrated(Err(MigrateError::Failed(why))) if why.contains("left")),
        "{outcome:?}"
    );
    network.crash(1);
    let after = send(&mut network, 2, daemon, "after");
    assert!(matches!(settled(&mut network, 2, after), Settlement::Delivered(Ok(_))));
    assert_eq!(hosts(&network, daemon), [(0, Lifecycle::Running)]);
    assert_eq!(entries(&mut network, 0, daemon), [b"after"]);
}
