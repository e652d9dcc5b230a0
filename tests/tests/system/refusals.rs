//! What is refused, by which name, and that everything up to there is taken.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use meshground_node::{
    Address, Capabilities, DaemonError, DaemonEvent, DaemonId, DaemonState, DeliverError, EntityKeypair,
    MAX_ARGS, MAX_DAEMONS, MAX_PAYLOAD, MAX_STATE, MeshDaemon, MigrateError, Outputs, Settlement, SpawnError,
    SpawnRequest,
};
use meshground_shared::{AdminVerb, DaemonEnd};
use meshground_tests::sim::{Faults, Network};

use super::{commanding, entries, mesh, send, settled, spawn, verbs::command};

fn diary(number: u16, args: &str) -> SpawnRequest {
    let mut seed = [77; 32];
    seed[..2].copy_from_slice(&number.to_le_bytes());
    let (kind, args) = ("diary".to_owned(), args.to_owned());
    SpawnRequest { keypair: EntityKeypair::from_seed(seed), kind, args, state: None, cause: None }
}

#[test]
fn a_node_runs_as_many_daemons_as_it_may_and_not_one_more_until_one_is_gone() {
    let mut network = mesh(1, Faults::NONE, 2);
    let start = |network: &mut Network, number| {
        network.act_os(0, |os, node, now| os.spawn(now, node, diary(number, "")))
    };
    let most = u16::try_from(MAX_DAEMONS).expect("few");
    for number in 0..most {
        start(&mut network, number).expect("there is room");
    }
    assert_eq!(start(&mut network, most), Err(SpawnError::TooMany));
    network.run_for(Duration::from_secs(2));
    let os = network.members[0].os.os.as_ref().expect("it runs");
    assert_eq!(os.daemons().filter(|view| view.lifecycle.is_live()).count(), MAX_DAEMONS);
    let seen = network.members[1].os.os.as_ref().expect("it runs").snapshot();
    assert_eq!(seen.peers[&network.id(0)].daemons.len(), MAX_DAEMONS, "and the other knows all of them");
    let one = diary(0, "").keypair.origin_hash();
    let stop = network.act_os(0, |os, node, now| os.stop(now, node, one, None, None)).expect("it is there");
    assert_eq!(settled(&mut network, 0, stop), Settlement::Stopped(DaemonEnd::Stopped));
    start(&mut network, most).expect("there is room again");
}

#[test]
fn arguments_and_payloads_may_be_as_long_as_is_said_and_no_longer() {
    let mut network = mesh(1, Faults::NONE, 2);
    let longer = "x".repeat(MAX_ARGS + 1);
    let refused = network.act_os(0, |os, node, now| os.spawn(now, node, diary(0, &longer)).map(drop));
    assert_eq!(refused, Err(SpawnError::TooLong));
    let fits = network.act_os(0, |os, node, now| os.spawn(now, node, diary(0, &longer[1..])));
    let daemon = diary(0, "").keypair.origin_hash();
    assert_eq!(settled(&mut network, 0, fits.expect("it is tried")), Settlement::Spawned(Ok(daemon)));
    network.run_for(Duration::from_secs(1));

    let deliver = |network: &mut Network, len| {
        network.act_os(1, |os, node, now| os.deliver(now, node, daemon, vec![b'x'; len], None))
    };
    let too_large = u64::try_from(MAX_PAYLOAD + 1).expect("small");
    assert_eq!(deliver(&mut network, MAX_PAYLOAD + 1), Err(DeliverError::TooLarge(too_large)));
    let ticket = deliver(&mut network, MAX_PAYLOAD).expect("it is tried");
    let outcome = settled(&mut network, 1, ticket);
    assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{outcome:?}");
    assert_eq!(entries(&mut network, 0, daemon).len(), 1, "that one alone");
}

#[test]
fn what_waits_for_a_daemon_that_cannot_be_reached_is_bounded_and_all_of_it_arrives_later() {
    let mut network = mesh(1, Faults::NONE, 2);
    let daemon = spawn(&mut network, 1, 7);
    network.run_for(Duration::from_secs(1));
    let [here, there] = [0, 1].map(|number| network.members[number].address);
    network.cuts = vec![(here, there), (there, here)];
    let tickets: Vec<_> =
        (0..6_000).map(|number| send(&mut network, 0, daemon, &number.to_string())).collect();
    network.run_for(Duration::from_millis(1));
    let overloaded = Settlement::Delivered(Err(DeliverError::Overloaded));
    let refused = |network: &Network| {
        let os = &network.members[0].os;
        tickets.iter().filter(|ticket| os.settlement(**ticket) == Some(&overloaded)).count()
    };
    let early = refused(&network);
    assert!((1_000..2_000).contains(&early), "at once, those beyond some 4,096: {early}");
    network.cuts.clear();
    let taken = tickets.len() - early;
    for ticket in &tickets[..taken] {
        let outcome = settled(&mut network, 0, *ticket);
        assert!(matches!(outcome, Settlement::Delivered(Ok(_))), "{outcome:?}");
    }
    assert_eq!(refused(&network), early, "the last ones and no others");
    let expected: Vec<Vec<u8>> = (0..taken).map(|number| number.to_string().into_bytes()).collect();
    assert!(entries(&mut network, 1, daemon) == expected, "in order");
}

#[test]
fn a_state_that_is_taken_over_may_be_as_large_as_one_that_moves_and_no_larger() {
    let mut network = mesh(1, Faults::NONE, 1);
    let origin = diary(0, "").keypair.origin_hash();
    let mut take_over = |bytes: usize| {
        let state = Some(DaemonState { origin, bytes: vec![0; bytes] });
        network
            .act_os(0, |os, node, now| os.spawn(now, node, SpawnRequest { state, ..diary(0, "") }).map(drop))
    };
    assert_eq!(take_over(MAX_STATE + 1), Err(SpawnError::StateTooLarge(MAX_STATE + 1)));
    assert_eq!(take_over(MAX_STATE), Ok(()), "nothing is left of the other");
}

/// What somebody was answered.
type Answers = Arc<Mutex<Vec<Result<Vec<Vec<u8>>, DeliverError>>>>;

/// Asks the member of its group whose number it is sent.
struct Asker(Answers);

impl MeshDaemon for Asker {
    fn name(&self) -> String {
        "asker".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        match event {
            DaemonEvent::Message { payload, .. } => {
                outputs.ask(Address::Member(u32::from(payload[0])), "well?", 1);
                outputs.ask(Address::Daemon(DaemonId(1)), vec![0; MAX_PAYLOAD + 1], 2);
            }
            DaemonEvent::Answer { outcome, .. } => self.0.lock().expect("nobody panicked").push(outcome),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn a_daemon_that_asks_whom_its_group_does_not_have_or_too_much_is_answered_so() {
    let mut network = mesh(1, Faults::NONE, 2);
    let answers = Answers::default();
    let keypair = EntityKeypair::from_seed([5; 32]);
    let (daemon, asker) = (keypair.origin_hash(), Box::new(Asker(Arc::clone(&answers))));
    let ticket = network.act_os(0, |os, node, now| os.register_daemon(now, node, asker, keypair, None));
    settled(&mut network, 0, ticket.expect("there is room"));
    network.run_for(Duration::from_secs(1));
    let sent = send(&mut network, 1, daemon, "\u{7}");
    settled(&mut network, 1, sent);
    network.run_for(Duration::from_secs(1));
    let too_large = u64::try_from(MAX_PAYLOAD + 1).expect("small");
    let answers = answers.lock().expect("nobody panicked");
    assert_eq!(*answers, [Err(DeliverError::NoMember(7)), Err(DeliverError::TooLarge(too_large))]);
}

#[test]
fn no_daemon_moves_to_a_node_that_takes_nothing_new_or_lacks_what_it_requires() {
    let mut network = commanding::mesh(1, Faults::NONE, 3);
    let mut capabilities = Capabilities::new();
    capabilities.add_tag("gpu").expect("short");
    network.act_os(0, |os, node, now| os.announce(now, node, capabilities));
    let ticket = network.act_os(0, |os, node, now| os.spawn(now, node, diary(0, "needs gpu")));
    let needy = diary(0, "").keypair.origin_hash();
    settled(&mut network, 0, ticket.expect("it is tried"));
    let plain = spawn(&mut network, 0, 50);
    let [closed, open] = [1, 2].map(|number| network.id(number));
    command(&mut network, AdminVerb::Cordon { node: closed });
    network.run_for(Duration::from_secs(1));
    for (daemon, to, error) in
        [(plain, closed, MigrateError::Closed(closed)), (needy, open, MigrateError::Unsuitable(open))]
    {
        let here = network.act_os(0, |os, node, now| os.migrate(now, node, daemon, to, None).map(drop));
        assert_eq!(here, Err(error.clone()));
        let asked = network.act_os(2, |os, node, now| os.migrate(now, node, daemon, to, None));
        let outcome = settled(&mut network, 2, asked.expect("only its host knows"));
        assert_eq!(outcome, Settlement::Migrated(Err(error)));
        assert_eq!(commanding::hosts(&network, daemon), [0]);
    }
    let ticket = network.act_os(0, |os, node, now| os.migrate(now, node, plain, open, None));
    let outcome = settled(&mut network, 0, ticket.expect("it is tried"));
    assert!(matches!(outcome, Settlement::Migrated(Ok(_))), "{outcome:?}");
}
