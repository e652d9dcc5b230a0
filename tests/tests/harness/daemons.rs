//! Daemons on real nodes: registered by the harness, fed, crashed, blocked, stopped.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use meshground::{
    DaemonRuntimeError, Mesh, NodeDaemonHandle, RuntimeState,
    meshos::{MeshOsDaemonHandle, random_keypair},
};
use meshground_node::{
    Control, DaemonEnd, DaemonError, DaemonEvent, DaemonId, DeliverError, Filter, Lifecycle, LogLevel,
    MeshDaemon, MeshOsConfig, Outputs, SpawnError,
};

use super::*;

/// Replies with what it is sent, and does on its start and on its end what it is to.
struct Probe {
    on_start: Box<dyn FnMut() -> Result<(), DaemonError> + Send>,
    on_stop: Box<dyn FnMut() + Send>,
}

impl Probe {
    fn new() -> Self {
        Self { on_start: Box::new(|| Ok(())), on_stop: Box::new(|| ()) }
    }

    fn boxed() -> Box<dyn MeshDaemon> {
        Box::new(Self::new())
    }

    /// One that does not start.
    fn broken() -> Box<dyn MeshDaemon> {
        Box::new(Self { on_start: Box::new(|| Err(DaemonError::new("no fuel"))), ..Self::new() })
    }

    /// One whose end takes until it is released.
    fn stubborn() -> (Box<dyn MeshDaemon>, mpsc::Sender<()>) {
        let (release, released) = mpsc::channel();
        let wait = move || _ = released.recv();
        (Box::new(Self { on_stop: Box::new(wait), ..Self::new() }), release)
    }
}

impl MeshDaemon for Probe {
    fn name(&self) -> String {
        "probe".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        match event {
            DaemonEvent::Started(_) => (self.on_start)()?,
            DaemonEvent::Message { payload, .. } => outputs.reply(payload),
            _ => {}
        }
        Ok(())
    }

    fn on_control(&mut self, control: Control, _: &mut Outputs) -> Result<(), DaemonError> {
        if let Control::Shutdown { .. } = control {
            (self.on_stop)();
        }
        Ok(())
    }
}

fn shown(snapshot: &Snapshot, id: DaemonId) -> Option<NodeId> {
    snapshot.nodes.iter().find(|(_, node)| node.daemons.contains_key(&id)).map(|(&node, _)| node)
}

async fn register(node: &ClusterNode, daemon: Box<dyn MeshDaemon>) -> MeshOsDaemonHandle {
    within("a start", node.sdk().register_daemon(daemon, random_keypair())).await.unwrap()
}

async fn spawn(node: &ClusterNode, kind: &str) -> DaemonId {
    within("a start", node.daemon_runtime().spawn(kind, random_keypair(), "")).await.unwrap()
}

async fn ask(node: &ClusterNode, daemon: DaemonId, payload: &str) -> Result<String, DaemonRuntimeError> {
    let delivered = within("a delivery", node.daemon_runtime().deliver(daemon, payload, None)).await?;
    Ok(String::from_utf8(delivered.replies.concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_daemon_starts_on_each_of_three_nodes() {
    let cluster = boot(3).await;
    let made = AtomicUsize::new(0);
    let factory = |_: &ClusterNode| {
        made.fetch_add(1, Ordering::Relaxed);
        Probe::boxed()
    };
    let daemons = within("the starts", cluster.spawn_per_node(factory)).await.unwrap();
    assert_eq!(made.load(Ordering::Relaxed), 3, "the factory runs exactly once per registration");
    assert_eq!(daemons.iter().map(|daemon| daemon.node_index).collect::<Vec<_>>(), [0, 1, 2]);
    let distinct: BTreeSet<DaemonId> = daemons.iter().map(|daemon| daemon.daemon_id).collect();
    assert_eq!(distinct.len(), 3);
    let snapshot = cluster.snapshot();
    for daemon in &daemons {
        let node = cluster.nth(daemon.node_index).unwrap();
        assert_eq!((daemon.node_id, daemon.handle.node()), (node.node_id(), node.node_id()));
        assert_eq!(daemon.handle.id(), daemon.daemon_id);
        let view = &snapshot.nodes[&daemon.node_id].daemons[&daemon.daemon_id];
        assert_eq!((view.lifecycle, &*view.name), (Lifecycle::Running, "probe"), "the log knows at once");
    }
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn daemons_start_where_the_predicate_says_and_nowhere_else() {
    let cluster = boot(4).await;
    let even = |index: usize, node: &ClusterNode| node.index() == index && index.is_multiple_of(2);
    let daemons = within("the starts", cluster.spawn_where(|_| Probe::boxed(), even)).await.unwrap();
    assert_eq!(daemons.iter().map(|daemon| daemon.node_index).collect::<Vec<_>>(), [0, 2]);

    let unwanted = |_: &ClusterNode| -> Box<dyn MeshDaemon> { panic!("nothing is to be made") };
    let none = cluster.spawn_where(unwanted, |_, _| false).await.unwrap();
    assert!(none.is_empty());
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_handle_stays_usable_until_its_daemon_is_shut_down() {
    let cluster = boot(3).await;
    let mut daemons =
        cluster.spawn_where(|_| Probe::boxed(), |index, _| index == 1).await.expect("it starts");
    let NodeDaemonHandle { daemon_id, node_id, handle, .. } = daemons.pop().unwrap();
    let mut events = cluster.events().events;
    handle.publish_log(LogLevel::Warn, "something to say").await.unwrap();
    handle.publish_capabilities(["gpu"]).await.unwrap();
    let said = async {
        loop {
            let event = events.recv().await.unwrap();
            if let EventKind::DaemonLog { daemon, level, text } = &event.kind {
                return (event.node, *daemon, *level, text.clone());
            }
        }
    };
    let said = within("the line", said).await;
    assert_eq!(said, (Some(node_id), daemon_id, LogLevel::Warn, "something to say".to_owned()));
    let sdk = cluster.nth(1).unwrap().sdk();
    let line = async {
        while sdk.runtime().snapshot().log.back().is_none_or(|line| &*line.text != "something to say") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the line in the node's view", line).await;
    let gpus = async |wanted: &[NodeId]| {
        let seer = cluster.nth(2).unwrap();
        let filter = Filter::any().with_tag("gpu");
        while seer.mesh().find(filter.clone()).await.unwrap() != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("the announcement", gpus(&[node_id])).await;

    let end = within("the end", handle.graceful_shutdown(Duration::from_mins(10))).await;
    assert_eq!(end, Ok(DaemonEnd::Stopped), "as soon as it is down, not after its grace");
    assert_eq!(shown(&cluster.snapshot(), daemon_id), None);
    within("its withdrawal", gpus(&[])).await;
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_failed_spawn_leaves_no_daemon_behind() {
    let cluster = boot(4).await;
    let mut events = cluster.events().events;
    let factory = |node: &ClusterNode| if node.index() == 2 { Probe::broken() } else { Probe::boxed() };
    let error = within("the failure", cluster.spawn_per_node(factory)).await.unwrap_err();
    let ClusterError::Spawn { node_index: 2, reason } = &error else { panic!("{error:?}") };
    assert!(reason.contains("no fuel"), "{reason}");
    let empty = |snapshot: &Snapshot| snapshot.nodes.values().all(|node| node.daemons.is_empty());
    until(&cluster, "the rollback", empty).await;
    let events = drain(&mut events);
    let ends = events.iter().filter(|event| matches!(event.kind, EventKind::DaemonGone { .. })).count();
    assert_eq!(ends, 4, "they had been there");
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_waits_for_no_daemon_longer_than_one_grace() {
    let cluster = boot(3).await;
    let releases = Mutex::new(Vec::new());
    let factory = |node: &ClusterNode| {
        if node.index() == 2 {
            return Probe::broken();
        }
        let (daemon, release) = Probe::stubborn();
        releases.lock().unwrap().push(release);
        daemon
    };
    // Its two daemons are not released before it has returned.
    let error = within("the failure", cluster.spawn_per_node(factory)).await.unwrap_err();
    assert!(matches!(error, ClusterError::Spawn { node_index: 2, .. }), "{error:?}");
    drop(releases);
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_dropped_handle_unregisters_its_daemon() {
    let cluster = boot(2).await;
    let node = cluster.nth(1).unwrap();
    let handle = register(&node, Probe::boxed()).await;
    let id = handle.id();
    assert_eq!(shown(&cluster.snapshot(), id), Some(node.node_id()));
    drop(handle);
    until(&cluster, "its end", |snapshot| shown(snapshot, id).is_none()).await;

    let detached = register(&node, Probe::boxed()).await.detach();
    let stopped = node.daemon_runtime().stop(detached, Duration::from_secs(5)).await;
    assert_eq!(stopped, Ok(DaemonEnd::Stopped), "nobody had stopped that one");
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn shutting_down_twice_says_so_and_does_no_harm() {
    let cluster = boot(2).await;
    let node = cluster.nth(0).unwrap();
    let handle = register(&node, Probe::boxed()).await;
    let id = handle.id();
    let sdk = node.sdk();
    within("the end", sdk.shutdown()).await;
    within("once more", sdk.shutdown()).await;
    assert_eq!(shown(&cluster.snapshot(), id), None);
    let late = handle.graceful_shutdown(Duration::from_secs(5)).await;
    assert_eq!(late, Err(DaemonRuntimeError::NotFound(id)));
    let refused = sdk.register_daemon(Probe::boxed(), random_keypair()).await.map(drop);
    assert_eq!(refused, Err(DaemonRuntimeError::ShuttingDown));
    assert_converged(&cluster, 2);

    let other = cluster.nth(1).unwrap();
    let handle = register(&other, Probe::boxed()).await;
    within("shutdown", cluster.shutdown()).await.unwrap();
    within("shutdown", cluster.shutdown()).await.unwrap();
    let late = handle.graceful_shutdown(Duration::from_secs(5)).await;
    assert_eq!(late, Err(DaemonRuntimeError::ShuttingDown));
    assert_eq!(cluster.spawn_per_node(|_| Probe::boxed()).await.map(drop), Err(ClusterError::Shutdown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leave_is_told_when_it_begins_and_is_over_when_daemons_and_sessions_are_gone() {
    let cluster = boot(3).await;
    let node = cluster.nth(1).unwrap();
    let id = node.node_id();
    let (daemon, release) = Probe::stubborn();
    let daemon = register(&node, daemon).await.detach();
    let mut events = cluster.events().events;
    let leaving = cluster.clone();
    let leave = tokio::spawn(async move { leaving.shutdown_node(id).await });
    let stops = |snapshot: &Snapshot| {
        let its = snapshot.nodes.get(&id).filter(|its| its.state == NodeState::Leaving);
        its.and_then(|its| its.daemons.get(&daemon)).is_some_and(|it| it.lifecycle == Lifecycle::Stopping)
    };
    until(&cluster, "its daemon's end to begin", stops).await;
    let snapshot = cluster.snapshot();
    assert!(snapshot.nodes.contains_key(&id), "what runs is shown");
    assert_eq!((snapshot.members().count(), snapshot.is_converged()), (2, true), "it is no member any more");
    assert_eq!(cluster.member_state(id), None);
    drop(release);
    within("the leave", leave).await.unwrap().unwrap();
    assert!(!cluster.snapshot().nodes.contains_key(&id));

    let events = drain(&mut events);
    let first = |what: &str, is_it: &dyn Fn(&EventKind) -> bool| {
        let found = events.iter().find(|event| is_it(&event.kind));
        found.unwrap_or_else(|| panic!("{what} is not told: {events:?}")).seq
    };
    let begun = first("its leave", &|kind| matches!(kind, EventKind::NodeLeaving { .. }));
    let gone = first("its daemon's end", &|kind| matches!(kind, EventKind::DaemonGone { .. }));
    let left =
        first("its goodbye", &|kind| matches!(kind, EventKind::SessionDown { peer, .. } if *peer == id));
    let stopped = first("its end", &|kind| matches!(kind, EventKind::NodeStopped { .. }));
    assert!(begun < gone && gone < left && gone < stopped, "{events:?}");
    assert!(events.iter().all(|event| event.node != Some(id) || event.seq <= stopped), "{events:?}");
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn daemons_are_stopped_before_their_node_leaves() {
    let cluster = boot(3).await;
    let told = Arc::new(AtomicUsize::new(0));
    let factory = |_: &ClusterNode| -> Box<dyn MeshDaemon> {
        let told = Arc::clone(&told);
        let on_stop = Box::new(move || _ = told.fetch_add(1, Ordering::Relaxed));
        Box::new(Probe { on_stop, ..Probe::new() })
    };
    let daemons = within("the starts", cluster.spawn_per_node(factory)).await.unwrap();
    let mut events = cluster.events().events;
    within("a leave", cluster.shutdown_node(daemons[0].node_id)).await.unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 1);
    within("shutdown", cluster.shutdown()).await.unwrap();
    assert_eq!(told.load(Ordering::Relaxed), 3, "each was told and had the time it needs");
    let events = drain(&mut events);
    for daemon in &daemons {
        let gone = EventKind::DaemonGone { daemon: daemon.daemon_id, reason: DaemonEnd::Stopped };
        assert_eq!(events.iter().filter(|event| event.kind == gone).count(), 1);
    }
    assert_eq!(events.last().unwrap().kind, EventKind::ClusterStopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_does_not_end_holds_up_no_shutdown() {
    let cluster = boot(2).await;
    let (daemon, release) = Probe::stubborn();
    let handle = register(&cluster.nth(0).unwrap(), daemon).await;
    let mut events = cluster.events().events;
    within("shutdown", cluster.shutdown()).await.unwrap();
    let killed = EventKind::DaemonGone { daemon: handle.id(), reason: DaemonEnd::Killed };
    assert!(drain(&mut events).iter().any(|event| event.kind == killed));
    drop(release);
}

#[tokio::test]
async fn what_ran_on_a_crashed_node_is_gone_and_does_not_come_back_with_it() {
    let cluster = boot(3).await;
    let node = cluster.nth(1).unwrap();
    let (id, handle) = (node.node_id(), register(&node, Probe::boxed()).await);
    cluster.crash_node(id).await.unwrap();
    assert_eq!(shown(&cluster.snapshot(), handle.id()), None);
    let dead = node.daemon_runtime();
    assert_eq!(dead.state(), RuntimeState::ShuttingDown);
    assert_eq!(dead.daemons().await, Err(DaemonRuntimeError::ShuttingDown));
    let there = within("the starts", cluster.spawn_per_node(|_| Probe::boxed())).await.unwrap();
    let indexes: Vec<usize> = there.iter().map(|daemon| daemon.node_index).collect();
    assert_eq!(indexes, [0, 2], "only on those that run");
    let node = within("restart", cluster.restart_node(id)).await.unwrap();
    assert!(node.daemon_runtime().daemons().await.unwrap().is_empty());
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_daemon_is_reached_from_every_node() {
    let cluster = boot(3).await;
    let echo = spawn(&cluster.nth(0).unwrap(), "echo").await;
    for node in cluster.nodes() {
        assert_eq!(ask(&node, echo, "hello").await, Ok("hello".to_owned()), "from node {}", node.index());
    }
    let nobody = random_keypair().origin_hash();
    let patience = Some(Duration::from_millis(50));
    let outcome = cluster.nth(0).unwrap().daemon_runtime().deliver(nobody, "hello", patience).await;
    assert_eq!(outcome, Err(DaemonRuntimeError::Deliver(DeliverError::NotFound(nobody))));
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_panic_is_that_of_one_daemon_and_its_node_keeps_its_sessions() {
    let cluster = boot(3).await;
    let node = cluster.nth(1).unwrap();
    let (canary, echo) = (spawn(&node, "canary").await, spawn(&node, "echo").await);
    let mut events = cluster.events().events;
    let crashed = Err(DaemonRuntimeError::Deliver(DeliverError::Crashed));
    assert_eq!(ask(&cluster.nth(0).unwrap(), canary, "panic").await, crashed);
    assert_eq!(ask(&cluster.nth(0).unwrap(), echo, "and you?").await, Ok("and you?".to_owned()));
    let restarted = |snapshot: &Snapshot| {
        let view = &snapshot.nodes[&node.node_id()].daemons[&canary];
        view.lifecycle == Lifecycle::Running && view.restarts == 1
    };
    until(&cluster, "its restart", restarted).await;
    assert_eq!(ask(&node, canary, "well?").await, Ok("alive".to_owned()));
    let events = drain(&mut events);
    let of_sessions = |event: &&Arc<Event>| {
        matches!(event.kind, EventKind::SessionDown { .. } | EventKind::SessionUp { .. })
    };
    assert_eq!(events.iter().filter(of_sessions).count(), 0);
    cluster.converged().await.unwrap();
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_daemon_that_blocks_delays_nobody_else() {
    // On one thread, so that a daemon in the node's task would stop all of them.
    let cluster = boot(2).await;
    let node = cluster.nth(1).unwrap();
    let (canary, echo) = (spawn(&node, "canary").await, spawn(&node, "echo").await);
    let mut events = cluster.events().events;
    let blocked = {
        let node = node.clone();
        tokio::spawn(async move { ask(&node, canary, "block 2000").await })
    };
    let mut asked = 0;
    while !blocked.is_finished() {
        assert_eq!(ask(&cluster.nth(0).unwrap(), echo, "hello").await, Ok("hello".to_owned()));
        asked += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(blocked.await.unwrap(), Ok("alive".to_owned()));
    assert!(asked > 1, "others were served meanwhile");
    let missed =
        |event: &&Arc<Event>| matches!(event.kind, EventKind::PeerHealth { to: Health::Unreachable, .. });
    assert_eq!(drain(&mut events).iter().filter(missed).count(), 0, "no heartbeat was missed for 1.5 s");
    cluster.shutdown().await.unwrap();
}

/// Works off nothing before it is let, and hands on what it is told of how much waits.
struct Slow {
    let_go: mpsc::Receiver<()>,
    told: tokio::sync::mpsc::UnboundedSender<Control>,
}

impl MeshDaemon for Slow {
    fn name(&self) -> String {
        "slow".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, _: &mut Outputs) -> Result<(), DaemonError> {
        if let DaemonEvent::Message { .. } = event {
            // Whoever lets it go on does so for good.
            _ = self.let_go.recv();
        }
        Ok(())
    }

    fn on_control(&mut self, control: Control, _: &mut Outputs) -> Result<(), DaemonError> {
        if matches!(control, Control::BackpressureOn { .. } | Control::BackpressureOff) {
            _ = self.told.send(control);
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_to_which_more_is_sent_than_it_works_off_is_told_so_and_when_it_has_caught_up() {
    // Of each sender's no more than 64 wait at a daemon.
    let cluster = boot(12).await;
    let node = cluster.nth(1).unwrap();
    let ((go_on, let_go), (told, mut tells)) = (mpsc::channel(), tokio::sync::mpsc::unbounded_channel());
    let handle = register(&node, Box::new(Slow { let_go, told })).await;
    let id = handle.id();
    let mut sent = tokio::task::JoinSet::new();
    for number in 0..12 * 128 {
        let from = cluster.nth(number % 12).unwrap();
        sent.spawn(async move { ask(&from, id, "").await });
    }
    // One at a time, and far fewer than come: it hears of it with what it is given next.
    let mut first = None;
    for _ in 0..1_000 {
        first = tells.try_recv().ok();
        if first.is_some() {
            break;
        }
        go_on.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(first, Some(Control::BackpressureOn { .. })), "{first:?}");
    drop(go_on);
    assert_eq!(within("the second", tells.recv()).await, Some(Control::BackpressureOff));
    for outcome in within("all to be worked off", sent.join_all()).await {
        assert_eq!(outcome, Ok(String::new()));
    }
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_paused_node_takes_no_results_before_it_goes_on() {
    let cluster = boot(2).await;
    let node = cluster.nth(1).unwrap();
    let echo = spawn(&node, "echo").await;
    cluster.pause_node(node.node_id()).await.unwrap();
    let runtime = node.daemon_runtime();
    let mut reply = std::pin::pin!(runtime.deliver(echo, "hello", None));
    let given_up =
        std::future::poll_fn(|context| Poll::Ready(reply.as_mut().poll(context).is_pending())).await;
    assert!(given_up);
    let elsewhere = within("the starts", cluster.spawn_per_node(|_| Probe::boxed())).await.unwrap();
    assert_eq!(elsewhere.len(), 1, "a node that stands still is passed over");
    cluster.resume_node(node.node_id()).await.unwrap();
    assert_eq!(within("the reply", reply).await.unwrap().replies, [b"hello"]);
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_single_mesh_runs_daemons_when_it_is_built_for_that() {
    let address = "127.0.0.1:0".parse().unwrap();
    let bare = MeshBuilder::new(address, [1; 32]).build().await.unwrap();
    assert!(bare.os().is_none());

    let mesh: Mesh =
        MeshBuilder::new(address, [1; 32]).meshos(MeshOsConfig::default()).build().await.unwrap();
    let runtime = mesh.os().unwrap().daemon_runtime();
    assert_eq!(runtime.state(), RuntimeState::Registering);
    let factory = || Arc::new(|_: &meshground_node::DaemonOrder| Ok(Probe::boxed()));
    runtime.register_factory("probe", factory()).await.unwrap();
    let twice = runtime.register_factory("probe", factory()).await;
    assert_eq!(twice, Err(DaemonRuntimeError::FactoryAlreadyRegistered("probe".to_owned())));
    assert_eq!(runtime.register_factory("", factory()).await, Err(DaemonRuntimeError::KindName));
    let early = runtime.spawn("probe", random_keypair(), "").await;
    assert_eq!(early, Err(DaemonRuntimeError::NotReady));
    runtime.start().unwrap();
    let keys = random_keypair();
    let id = runtime.spawn("probe", keys.clone(), "").await.unwrap();
    let twice = runtime.spawn("probe", keys, "").await;
    assert_eq!(twice, Err(DaemonRuntimeError::Spawn(SpawnError::Exists(id))));
    let unknown = runtime.spawn("prober", random_keypair(), "").await;
    assert_eq!(unknown, Err(DaemonRuntimeError::FactoryNotFound("prober".to_owned())));
    assert_eq!(runtime.daemons().await.unwrap().len(), 1);
    within("the end", mesh.shutdown()).await;
    assert_eq!(runtime.state(), RuntimeState::ShuttingDown);
    assert_eq!(runtime.start(), Err(DaemonRuntimeError::ShuttingDown));
}
