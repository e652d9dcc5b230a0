//! A node's part of the system as a state machine, at both ends of time: what is asked of it about nothing.

use meshground_node::{
    Address, Capabilities, Control, DaemonError, DaemonEvent, DaemonId, DaemonState, DeliverError, Dispatch,
    EntityKeypair, GroupError, GroupId, GroupRequest, LogLevel, MAX_ARGS, MAX_NAME, MAX_PAYLOAD, MeshDaemon,
    MeshOs, MeshOsConfig, MigrateError, MigrationId, NodeEvent, OsEvent, Outputs, PickStrategy, Settlement,
    SpawnError, SpawnRequest, StateError,
    admin::{AdminCommand, Nonce},
};
use meshground_shared::{AdminVerb, DaemonEnd, GroupKind, IceVerb};
use meshground_tests::daemons::Idle;

use super::*;

/// Nothing has this id.
const NOTHING: u64 = u64::MAX;

fn machine(seed: u8, now: Now) -> (Node, MeshOs) {
    let node = Node::new(NodeConfig::new(PSK), Identity::from_seed([seed; 32]), [seed; 32], now).unwrap();
    let os = MeshOs::new(MeshOsConfig::default(), &node, [seed; 32], now);
    (node, os)
}

fn request(seed: u8, kind: &str) -> SpawnRequest {
    let keypair = EntityKeypair::from_seed([seed; 32]);
    SpawnRequest { keypair, kind: kind.to_owned(), args: String::new(), state: None, cause: None }
}

/// Does whatever there is to do, and returns what was settled.
fn settle(node: &mut Node, os: &mut MeshOs, now: Now) -> Vec<Settlement> {
    while let Some(job) = os.poll_job() {
        os.handle_job(now, node, job.run());
    }
    std::iter::from_fn(|| os.poll_event())
        .filter_map(|event| match event {
            OsEvent::Settled { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect()
}

#[test]
fn a_system_knows_nothing_of_nothing_and_refuses_it_by_name_at_any_time() {
    let end = Now { instant: Instant::from_micros(u64::MAX), wall: WallTime(u64::MAX) };
    for now in [Now::default(), end] {
        let (mut node, mut os) = machine(1, now);
        let (daemon, group, migration) = (DaemonId(NOTHING), GroupId(NOTHING), MigrationId(NOTHING));
        assert_eq!(os.node_id(), node.id());
        assert!(os.host_of(daemon).is_none() && os.requirements(daemon).is_none() && os.about("").is_none());
        assert_eq!((os.load_of(NOBODY), os.offering("").count(), os.daemons().count()), (0, 0, 0));
        assert!(!os.announce_for(now, daemon, vec![String::new(); 1_000]));
        assert!(!os.log_for(now, daemon, LogLevel::Error, "x".repeat(1 << 20)));
        assert!(!os.control(now, &mut node, daemon, Control::Shutdown { grace: Duration::MAX }));
        assert!(os.stop(now, &mut node, daemon, Some(Duration::MAX), None).is_none());
        assert_eq!(os.state_of(now, &mut node, daemon), Err(StateError::NotRunning(daemon)));
        let too_large = vec![0; MAX_PAYLOAD + 1];
        let refused = os.deliver(now, &mut node, daemon, too_large, Some(Duration::MAX));
        assert!(matches!(refused, Err(DeliverError::TooLarge(_) | DeliverError::NotFound(_))), "{refused:?}");

        assert!(os.group(group).is_none() && os.lineage(group, u32::MAX).is_none());
        assert!(os.pick_member(group, PickStrategy::Hash(NOTHING)).is_none() && os.groups().next().is_none());
        let unknown = GroupError::NotFound(group);
        assert_eq!(os.scale_group(now, &mut node, group, 1, None).err(), Some(unknown.clone()));
        assert_eq!(os.stop_group(now, &mut node, group, None).err(), Some(unknown.clone()));
        assert_eq!(os.promote(now, &mut node, group, Some(NOBODY), None).err(), Some(unknown));
        let founded = GroupRequest {
            kind: GroupKind::Standby,
            daemon: String::new(),
            args: "x".repeat(MAX_ARGS + 1),
            count: 1,
            name: "x".repeat(MAX_NAME + 1),
            seed: [0; 32],
            parent: None,
            cause: None,
        };
        assert_eq!(os.spawn_group(now, &mut node, founded).err(), Some(GroupError::TooLong));

        let there = node.id();
        let moved = os.migrate(now, &mut node, daemon, there, None);
        assert_eq!(moved.err(), Some(MigrateError::NotFound(daemon)));
        let unknown = Err(MigrateError::NotMigrating(migration));
        assert_eq!(os.cancel_migration(now, &mut node, migration, None), unknown);
        assert_eq!(os.force_cutover(now, &mut node, migration, None), unknown);
        assert_eq!(os.kill_migration(now, &mut node, migration, None), unknown);
        assert_eq!(os.migrations(now.instant).count(), 0);

        for name in [String::new(), "x".repeat(MAX_NAME + 1)] {
            assert!(!os.register_factory(now, &name, Idle::factory()));
        }
        assert_eq!(os.kinds().count(), 0);
        let refused = os.spawn(now, &mut node, request(1, "idle")).err();
        assert_eq!(refused, Some(SpawnError::KindNotFound("idle".to_owned())));

        let verb = AdminVerb::Drain { node: NOBODY };
        let command = AdminCommand::new(verb, now.wall, Nonce([1; 16])).unsigned();
        for _ in 0..2 {
            os.submit(now, &mut node, &command);
        }
        assert!(os.simulate(&mut node, &IceVerb::ForceRestartDaemon { daemon }).is_none());
        assert!(os.picture(&mut node).daemons.is_empty() && os.audit().iter().len() <= 2);
        let gone = NodeEvent::CapabilitiesExpired { node: NOBODY };
        os.handle_event(now, &mut node, gone);
        os.announce(now, &mut node, Capabilities::new());
        os.set_dispatch(Dispatch::Log(meshground_node::LoggingDispatcher::new(0)));
        os.handle_timeout(now, &mut node);
        assert!(os.take_logged().is_empty() && os.logged().is_some());
        os.set_dispatch(Dispatch::Execute);
        assert!(os.take_logged().is_empty() && os.logged().is_none());
        os.refresh(now, &node);
        let snapshot = os.snapshot();
        assert!(!snapshot.sees_healthy(NOBODY) && snapshot.healthy_peers() == 0);
        for _ in 0..2 {
            os.close(now, &mut node);
            node.leave(now);
            settle(&mut node, &mut os, now);
        }
        let late = os.spawn(now, &mut node, request(1, "idle"));
        assert!(late.is_err(), "{late:?}");
    }
}

#[test]
fn work_that_is_done_for_another_system_or_with_a_state_of_another_is_thrown_away() {
    let now = Now::default();
    let ((mut node, mut os), (mut other_node, mut other)) = (machine(1, now), machine(2, now));
    Idle::prepare(&mut os, now);
    os.spawn(now, &mut node, request(7, "idle")).unwrap();
    let again = os.spawn(now, &mut node, request(7, "idle")).err();
    let daemon = EntityKeypair::from_seed([7; 32]).origin_hash();
    assert_eq!(again, Some(SpawnError::Exists(daemon)));
    let long = SpawnRequest { args: "x".repeat(MAX_ARGS + 1), ..request(8, "idle") };
    assert_eq!(os.spawn(now, &mut node, long).err(), Some(SpawnError::TooLong));
    let job = os.poll_job().expect("it is to be made");
    assert_eq!(job.key().daemon, daemon);
    other.handle_job(now, &mut other_node, job.run());
    assert_eq!((other.daemons().count(), settle(&mut other_node, &mut other, now).len()), (0, 0));

    let state = Some(DaemonState { origin: daemon, bytes: vec![0; 9] });
    let of_another = os.spawn(now, &mut node, SpawnRequest { state, ..request(9, "idle") });
    assert!(matches!(of_another, Err(SpawnError::Failed(_))), "{of_another:?}");
    let stopped = os.stop(now, &mut node, daemon, Some(Duration::ZERO), None);
    assert!(stopped.is_some(), "it is here, though it never came back from where it was made");
}

/// Puts out far more than it may, to whom there is nobody.
struct Babbler;

impl MeshDaemon for Babbler {
    fn name(&self) -> String {
        String::new()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        if matches!(event, DaemonEvent::Message { .. }) {
            outputs.send(Address::Daemon(DaemonId(NOTHING)), vec![0; MAX_PAYLOAD + 1]);
            outputs.ask(Address::Member(u32::MAX), [], u64::MAX);
            outputs.ask(Address::Daemon(DaemonId(NOTHING)), [], 0);
            outputs.wake(Duration::MAX, 0);
            outputs.wake(Duration::ZERO, u64::MAX);
            outputs.announce(vec!["x".repeat(1 << 10); 1_000]);
            outputs.log(LogLevel::Error, "ä".repeat(1 << 10));
            for _ in 0..10_000 {
                outputs.reply([]);
            }
            outputs.reply(b"more than there is room for");
        }
        Ok(())
    }
}

#[test]
fn a_daemon_that_puts_out_more_than_it_may_is_heard_as_far_as_that_goes_and_runs_on() {
    let now = Now { instant: Instant::from_micros(u64::MAX - 1), wall: WallTime(u64::MAX) };
    let (mut node, mut os) = machine(1, now);
    let keypair = EntityKeypair::from_seed([7; 32]);
    let daemon = keypair.origin_hash();
    os.register_daemon(now, &mut node, Box::new(Babbler), keypair, None).unwrap();
    settle(&mut node, &mut os, now);
    os.deliver(now, &mut node, daemon, Vec::new(), None).unwrap();
    let settled = settle(&mut node, &mut os, now);
    let replies = settled.into_iter().find_map(|settlement| match settlement {
        Settlement::Delivered(delivered) => Some(delivered.expect("it is worked off").replies),
        _ => None,
    });
    let replies = replies.expect("it has answered");
    assert!(!replies.is_empty() && replies.iter().all(Vec::is_empty), "{} replies", replies.len());
    assert!(replies.len() < 1_024, "{} replies", replies.len());
    os.handle_timeout(now, &mut node);
    settle(&mut node, &mut os, now);
    assert_eq!(os.daemons().count(), 1);
    os.stop(now, &mut node, daemon, Some(Duration::MAX), None).expect("it runs");
    let ended = settle(&mut node, &mut os, now);
    let is_end = |it: &Settlement| matches!(it, Settlement::Stopped(DaemonEnd::Stopped));
    assert!(ended.iter().any(is_end), "{ended:?}");
}
