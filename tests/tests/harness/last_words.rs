//! How daemons end: all at the same time, told how long they have, and before their node goes.

use std::sync::{Condvar, Mutex};

use meshground::meshos::random_keypair;
use meshground_node::{
    Address, Control, DaemonEnd, DaemonError, DaemonEvent, DaemonId, EntityKeypair, MeshDaemon, Outputs,
};

use super::*;

/// Does on its start and its end what it is to, and writes down what it is sent.
#[derive(Default)]
struct Last {
    fails: bool,
    /// When it is told to stop, waits for all others that are to be told.
    meets: Option<Arc<Meeting>>,
    /// Whom it sends its last word.
    says: Option<DaemonId>,
    heard: Option<Arc<Mutex<Vec<Vec<u8>>>>>,
    graces: Option<Arc<Mutex<Vec<Duration>>>>,
}

/// So many who wait for each other.
struct Meeting {
    missing: Mutex<usize>,
    all: Condvar,
}

impl Meeting {
    fn new(of: usize) -> Arc<Self> {
        Arc::new(Self { missing: Mutex::new(of), all: Condvar::new() })
    }

    /// Waits for the others, not for ever.
    fn attend(&self) {
        let mut missing = self.missing.lock().unwrap();
        *missing -= 1;
        self.all.notify_all();
        drop(self.all.wait_timeout_while(missing, PATIENCE, |missing| *missing > 0).unwrap());
    }
}

impl MeshDaemon for Last {
    fn name(&self) -> String {
        "last".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, _: &mut Outputs) -> Result<(), DaemonError> {
        match event {
            DaemonEvent::Started(_) if self.fails => return Err(DaemonError::new("no fuel")),
            DaemonEvent::Message { payload, .. } => {
                if let Some(heard) = &self.heard {
                    heard.lock().unwrap().push(payload);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_control(&mut self, control: Control, outputs: &mut Outputs) -> Result<(), DaemonError> {
        if let Control::Shutdown { grace } = control {
            if let Some(graces) = &self.graces {
                graces.lock().unwrap().push(grace);
            }
            if let Some(meeting) = &self.meets {
                meeting.attend();
            }
            if let Some(whom) = self.says {
                outputs.send(Address::Daemon(whom), "farewell");
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_tells_all_to_stop_before_it_waits_for_any() {
    let cluster = boot(4).await;
    let mut events = cluster.events().events;
    let meeting = Meeting::new(3);
    let factory = |node: &ClusterNode| -> Box<dyn MeshDaemon> {
        if node.index() == 3 {
            return Box::new(Last { fails: true, ..Last::default() });
        }
        Box::new(Last { meets: Some(Arc::clone(&meeting)), ..Last::default() })
    };
    let error = within("the failure", cluster.spawn_per_node(factory)).await.unwrap_err();
    assert!(matches!(error, ClusterError::Spawn { node_index: 3, .. }), "{error:?}");
    // One after the other, each would have been given up when its time was up.
    let mut ends: Vec<DaemonEnd> = Vec::new();
    let all = async {
        while ends.len() < 4 {
            if let EventKind::DaemonGone { reason, .. } = events.recv().await.unwrap().kind {
                ends.push(reason);
            }
        }
    };
    within("their ends", all).await;
    assert!(ends.iter().all(|end| *end == DaemonEnd::Stopped), "{ends:?}");
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemons_last_word_arrives_and_its_end_comes_before_its_nodes_leave() {
    let cluster = boot(3).await;
    let [leaving, staying] = [0, 1].map(|index| cluster.nth(index).unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Last { heard: Some(Arc::clone(&heard)), ..Last::default() };
    let keypair: EntityKeypair = random_keypair();
    let sdk = staying.sdk();
    let listener = within("a start", sdk.register_daemon(Box::new(listener), keypair)).await.unwrap();
    let graces = Arc::new(Mutex::new(Vec::new()));
    let speaker = Last { says: Some(listener.id()), graces: Some(Arc::clone(&graces)), ..Last::default() };
    let sdk = leaving.sdk();
    let speaker = within("a start", sdk.register_daemon(Box::new(speaker), random_keypair())).await;
    let speaker = speaker.unwrap().detach();
    // Its node must have heard where the other is.
    let id = staying.node_id();
    until_seen(&cluster, 0, "where the other is", |view| {
        view.peers[&id].daemons.contains_key(&listener.id())
    })
    .await;
    let mut events = cluster.events().events;
    let left = leaving.node_id();
    within("a leave", cluster.shutdown_node(left)).await.unwrap();
    let arrives = async {
        while heard.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("its last word", arrives).await;
    assert_eq!(*heard.lock().unwrap(), [b"farewell"]);
    let graces = graces.lock().unwrap().clone();
    let grace = meshground_node::MeshOsConfig::default().grace;
    assert!(graces.len() == 1 && graces[0] <= grace && graces[0] > grace / 2, "what it has: {graces:?}");

    let events = drain(&mut events);
    let gone = EventKind::DaemonGone { daemon: speaker, reason: DaemonEnd::Stopped };
    let gone = events.iter().find(|event| event.kind == gone).expect("it was stopped").seq;
    let leaves = events.iter().filter(|event| {
        matches!(&event.kind, EventKind::SessionDown { peer, reason, .. } if *peer == left && *reason == SessionEnd::Left)
    });
    let leaves: Vec<u64> = leaves.map(|event| event.seq).collect();
    assert_eq!(leaves.len(), 2, "each of the others hears that it leaves");
    assert!(leaves.iter().all(|seq| *seq > gone), "{gone}, {leaves:?}");
    cluster.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_is_told_how_long_it_has() {
    let cluster = boot(1).await;
    let graces = Arc::new(Mutex::new(Vec::new()));
    for grace in [Duration::from_mins(7), Duration::from_secs(3)] {
        let daemon = Last { graces: Some(Arc::clone(&graces)), ..Last::default() };
        let sdk = cluster.nth(0).unwrap().sdk();
        let handle =
            within("a start", sdk.register_daemon(Box::new(daemon), random_keypair())).await.unwrap();
        let end = within("the end", handle.graceful_shutdown(grace)).await;
        assert_eq!(end, Ok(DaemonEnd::Stopped));
        assert_eq!(graces.lock().unwrap().pop(), Some(grace));
    }
    cluster.shutdown().await.unwrap();
}

#[tokio::test]
async fn daemons_that_the_harness_registered_go_with_their_handles() {
    let cluster = boot(2).await;
    let daemons = cluster.spawn_per_node(|_| Box::new(Last::default()));
    let daemons = within("the starts", daemons).await.unwrap();
    let count = |snapshot: &Snapshot| snapshot.nodes.values().map(|node| node.daemons.len()).sum::<usize>();
    assert_eq!(count(&cluster.snapshot()), 2);
    drop(daemons);
    until(&cluster, "their ends", |snapshot| count(snapshot) == 0).await;
    cluster.shutdown().await.unwrap();
}
