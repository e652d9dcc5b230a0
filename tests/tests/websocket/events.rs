//! Snapshots, and the events that lead from one to the next.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fold_of_the_stream_equals_a_later_snapshot() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    assert_eq!(mirror.snapshot.seq, 0);
    assert_eq!(mirror.snapshot.phase, ClusterPhase::Empty);

    let booted = boot(&mut client, 4).await;
    let spawned = client.call::<NodeSpawn>(&NoParams {}).await.unwrap();
    client.call::<NodeShutdown>(&NodeParams { node: booted.nodes[0] }).await.unwrap();
    client.call::<NodeCrash>(&NodeParams { node: booted.nodes[1] }).await.unwrap();
    client
        .call::<NodeRestart>(&RestartParams { node: booted.nodes[1], fresh_identity: false })
        .await
        .unwrap();

    let snapshot = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    mirror.up_to(&mut client, snapshot.seq).await;
    assert_eq!(mirror.snapshot, snapshot);
    let members: BTreeSet<NodeId> = snapshot.nodes.keys().copied().collect();
    assert_eq!(members, BTreeSet::from([booted.nodes[1], booted.nodes[2], booted.nodes[3], spawned.node]));
    assert_eq!(snapshot.nodes[&spawned.node].index, 4);

    let mut late = Client::connect(server.local_addr()).await;
    let late_mirror = late.mirror().await;
    mirror.up_to(&mut client, late_mirror.snapshot.seq).await;
    assert_eq!(late_mirror.snapshot, mirror.snapshot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_client_sees_the_same_events_in_the_same_order() {
    let server = server().await;
    let mut one = Client::connect(server.local_addr()).await;
    let mut other = Client::connect(server.local_addr()).await;
    let (mut first, mut second) = (one.mirror().await, other.mirror().await);

    let booted = boot(&mut one, 3).await;
    let leaver = NodeParams { node: booted.nodes[2] };
    let (spawned, left) =
        tokio::join!(one.call::<NodeSpawn>(&NoParams {}), other.call::<NodeShutdown>(&leaver));
    assert_ne!(spawned.unwrap().command, left.unwrap().command);

    let seq = one.call::<ClusterSnapshot>(&NoParams {}).await.unwrap().seq;
    first.up_to(&mut one, seq).await;
    second.up_to(&mut other, seq).await;
    assert_eq!(first.events, second.events);
    assert_eq!(first.snapshot, second.snapshot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_stands_as_cause_in_the_events_that_followed_from_it() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    let caused_by = |mirror: &Mirror, command: CommandId| -> Vec<Event> {
        mirror.events.iter().filter(|event| event.cause == Some(command)).cloned().collect()
    };

    let booted = boot(&mut client, 3).await;
    mirror
        .until(&mut client, "the boot's end", |event| {
            matches!(event.kind, EventKind::ClusterConverged { .. })
        })
        .await;
    let boot_events = caused_by(&mirror, booted.command);
    assert_eq!(boot_events.len(), mirror.events.len(), "everything so far followed from the boot");
    assert_eq!(boot_events[0].kind, EventKind::ClusterBooting { nodes: 3, topology: Topology::Full });
    let count = |found: fn(&EventKind) -> bool| boot_events.iter().filter(|event| found(&event.kind)).count();
    assert_eq!(count(|kind| matches!(kind, EventKind::NodeStarted { .. })), 3);
    assert_eq!(count(|kind| matches!(kind, EventKind::SessionUp { .. })), 6);
    assert!(mirror.snapshot.is_converged());
    assert_eq!(
        mirror.snapshot.nodes.keys().copied().collect::<BTreeSet<_>>(),
        booted.nodes.iter().copied().collect()
    );

    let spawned = client.call::<NodeSpawn>(&NoParams {}).await.unwrap();
    let start = mirror
        .until(&mut client, "the new node", |event| {
            matches!(event.kind, EventKind::NodeStarted { index: 3, .. })
        })
        .await;
    assert_eq!((start.node, start.cause), (Some(spawned.node), Some(spawned.command)));
    mirror
        .until_it_shows(&mut client, "a mesh of four", |fold| fold.nodes.len() == 4 && fold.is_converged())
        .await;
    assert_eq!(mirror.snapshot.nodes[&spawned.node].address, spawned.address);

    let left = client.call::<NodeShutdown>(&NodeParams { node: spawned.node }).await.unwrap();
    mirror
        .until_it_shows(&mut client, "a mesh of three again", |fold| {
            fold.edges().len() == 3 && fold.half_edges().is_empty()
        })
        .await;
    let farewell = caused_by(&mirror, left.command);
    assert!(
        farewell.iter().any(|event| event.node == Some(spawned.node)
            && event.kind == EventKind::NodeStopped { reason: StopReason::Shutdown }),
        "{farewell:?}"
    );
    let told: BTreeSet<_> = farewell
        .iter()
        .filter(|event| event.kind == EventKind::SessionDown { peer: spawned.node, reason: SessionEnd::Left })
        .filter_map(|event| event.node)
        .collect();
    assert_eq!(told, booted.nodes.iter().copied().collect(), "every peer was told");

    let down = client.call::<ClusterShutdown>(&NoParams {}).await.unwrap();
    let end = mirror.until(&mut client, "the end", |event| event.kind == EventKind::ClusterStopped).await;
    assert_eq!(end.cause, Some(down.command));
    assert!(caused_by(&mirror, down.command).iter().any(|event| event.kind == EventKind::ClusterStopping));
    assert_eq!(mirror.snapshot.phase, ClusterPhase::Empty);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_noticed_by_every_peer_and_undone_by_a_restart() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    let booted = boot(&mut client, 4).await;
    let victim = booted.nodes[2];
    let others: BTreeSet<NodeId> = booted.nodes.iter().copied().filter(|&node| node != victim).collect();
    let key_of = |mirror: &Mirror| mirror.snapshot.nodes[&victim].public_key;

    let crashed = client.call::<NodeCrash>(&NodeParams { node: victim }).await.unwrap();
    let stop = mirror
        .until(&mut client, "the crash", |event| matches!(event.kind, EventKind::NodeStopped { .. }))
        .await;
    assert_eq!((stop.node, stop.cause), (Some(victim), Some(crashed.command)));
    assert_eq!(stop.kind, EventKind::NodeStopped { reason: StopReason::Crash });
    let (key, before) = (key_of(&mirror), mirror.snapshot.nodes[&victim].address);

    let mut gave_up = BTreeSet::new();
    while gave_up != others {
        let event = mirror
            .until(&mut client, "a verdict on the crashed node", |event| {
                matches!(event.kind, EventKind::PeerHealth { peer, to: Health::Unreachable, .. } if peer == victim)
            })
            .await;
        assert_eq!(event.cause, Some(crashed.command), "the silence follows from the crash: {event:?}");
        let EventKind::PeerHealth { from, silence_us, .. } = event.kind else { unreachable!() };
        assert_eq!(from, Health::Suspect);
        assert!(silence_us >= 1_000_000, "{silence_us} us of silence are no reason to give up a peer");
        gave_up.extend(event.node);
    }
    assert_eq!(mirror.snapshot.nodes[&victim].state, NodeState::Crashed);
    assert!(!mirror.snapshot.is_converged());

    let back =
        client.call::<NodeRestart>(&RestartParams { node: victim, fresh_identity: false }).await.unwrap();
    assert_eq!((back.node, back.index), (victim, 2));
    assert_ne!(back.address, before, "a restart takes a new port");
    mirror.until_it_shows(&mut client, "convergence after the restart", Snapshot::is_converged).await;
    assert_eq!(key_of(&mirror), key, "a restart keeps the identity");
    let start = mirror.events.iter().rev().find(|event| matches!(event.kind, EventKind::NodeStarted { .. }));
    assert_eq!(start.and_then(|event| event.cause), Some(back.command));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resuming_brings_what_was_missed_and_nothing_else() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let mut mirror = client.mirror().await;
    boot(&mut client, 3).await;
    mirror.until_it_shows(&mut client, "convergence", |fold| fold.phase == ClusterPhase::Running).await;
    client.vanish();

    let mut client = Client::connect(server.local_addr()).await;
    client.call::<NodeSpawn>(&NoParams {}).await.unwrap();
    let now = client.call::<ClusterSnapshot>(&NoParams {}).await.unwrap();
    let resume = Some(Resume { epoch: mirror.snapshot.epoch, seq: mirror.snapshot.seq });
    let subscribed = client.subscribe(&SubscribeParams { resume, ..SubscribeParams::default() }).await;
    assert_eq!(subscribed.snapshot, None);
    assert_eq!((subscribed.epoch, subscribed.seq), (mirror.snapshot.epoch, mirror.snapshot.seq));
    assert!(subscribed.now_us >= mirror.snapshot.at_us, "the log's clock is not behind its events");
    mirror.up_to(&mut client, now.seq).await;
    assert_eq!(mirror.snapshot, now);
}

#[tokio::test]
async fn resuming_what_is_gone_gives_a_snapshot_instead() {
    let server = started(with_a_short_log()).await;
    let log = server.log();
    for count in 0..5000 {
        log.append(None, None, noise(count));
    }
    let mut client = Client::connect(server.local_addr()).await;
    let epoch = log.epoch();
    for (what, resume) in [
        ("another life", Resume { epoch: Epoch(epoch.0 ^ 1), seq: 5000 }),
        ("too long ago", Resume { epoch, seq: 5000 - 4097 }),
        ("not yet happened", Resume { epoch, seq: 5001 }),
        ("far from happening", Resume { epoch, seq: u64::MAX }),
    ] {
        let params = SubscribeParams { resume: Some(resume), ..SubscribeParams::default() };
        let subscribed = client.subscribe(&params).await;
        assert_eq!(subscribed.seq, 5000, "{what}");
        assert_eq!(subscribed.snapshot.map(|snapshot| snapshot.seq), Some(5000), "{what}");
    }
    let oldest =
        SubscribeParams { resume: Some(Resume { epoch, seq: 5000 - 4096 }), ..SubscribeParams::default() };
    assert_eq!(client.subscribe(&oldest).await.snapshot, None);
    for seq in 905..=5000 {
        let delivery = client.next_event().await;
        assert_eq!((delivery.prev, delivery.event.seq), (seq - 1, seq));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_subscription_replaces_the_first() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let log = Arc::clone(server.log());
    let busy = tokio::spawn(async move {
        loop {
            log.append(None, None, noise(0));
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..200 {
        // Nothing of the one before may follow the answer: the mirror would notice.
        let mut mirror = client.mirror().await;
        for _ in 0..5 {
            match client.next_push().await {
                Push::Event(delivery) => drop(mirror.take(delivery)),
                // On a busy machine the log may run away from it; another time, then.
                Push::Dropped(_) => break,
                Push::Telemetry(unasked) => panic!("{unasked:?}"),
            }
        }
    }
    busy.abort();
    let _ = busy.await;
    let nothing = SubscribeParams { topics: Vec::new(), resume: None };
    assert_eq!(client.subscribe(&nothing).await.seq, server.log().snapshot().seq);
    client.forget_unread();
    server.log().append(None, None, noise(0));
    client.is_alive().await;
    assert_eq!(client.unread(), 0, "who asks for no topic hears nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn telemetry_comes_with_round_trip_times_and_counters_to_those_who_ask() {
    let server = server().await;
    let mut client = Client::connect(server.local_addr()).await;
    let booted = boot(&mut client, 3).await;
    let mut plain = Client::connect(server.local_addr()).await;
    let mut mirror = plain.mirror().await;

    let topics = vec![Topic::Telemetry];
    client.subscribe(&SubscribeParams { topics: topics.clone(), resume: None }).await;
    let mut known = BTreeMap::new();
    let links = booted.nodes.len() * (booted.nodes.len() - 1);
    let mut frames = 0;
    let mut last_at = 0;
    // Until every link has been measured, and changes have been seen to be sent alone.
    let (mut counted, mut risen) = (BTreeMap::new(), false);
    while known.len() < links || counted.len() < links || frames < 3 || !risen {
        let telemetry = client.next_telemetry().await;
        assert!(telemetry.at_us > last_at);
        assert!(!telemetry.links.is_empty() || !telemetry.traffic.is_empty(), "a frame about nothing");
        last_at = telemetry.at_us;
        for sample in telemetry.traffic {
            assert!(booted.nodes.contains(&sample.node) && booted.nodes.contains(&sample.peer));
            assert!(sample.total.datagrams_in > 0 && sample.total.bytes_out > 0, "{sample:?}");
            let before = counted.insert((sample.node, sample.peer), sample.total);
            assert_ne!(before, Some(sample.total), "unchanged counters were sent again");
            risen |= before.is_some_and(|before| before.datagrams_in < sample.total.datagrams_in);
        }
        for link in telemetry.links {
            assert!(booted.nodes.contains(&link.node) && booted.nodes.contains(&link.peer));
            assert!(link.node != link.peer && link.rtt_us > 0, "{link:?}");
            let before = known.insert((link.node, link.peer), link.rtt_us);
            assert_ne!(before, Some(link.rtt_us), "an unchanged value was sent again");
        }
        frames += 1;
    }
    // Another subscriber is told everything anew, whatever the first one knows.
    let mut late = Client::connect(server.local_addr()).await;
    late.subscribe(&SubscribeParams { topics, resume: None }).await;
    let first = late.next_telemetry().await;
    assert_eq!((first.links.len(), first.traffic.len()), (links, links));

    plain.call::<NodeShutdown>(&NodeParams { node: booted.nodes[0] }).await.unwrap();
    mirror.until_it_shows(&mut plain, "the leave", |fold| fold.nodes.len() == 2).await;
    plain.is_alive().await;
    while plain.unread() > 0 {
        // Whatever it is, it is an event: nobody asked for telemetry here.
        mirror.take(plain.next_event().await);
    }
}
