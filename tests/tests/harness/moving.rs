//! Daemons that move with much to carry.

use meshground::{cluster::GroupConfig, meshos::MigrationSnapshotSource};
use meshground_node::{DaemonError, DaemonEvent, DaemonFactory, DaemonOrder, MAX_STATE, MeshDaemon, Outputs};
use meshground_shared::{LinkFault, MigrationPhase};

use super::*;

/// So long may it take at most, on the slowest machine.
const BOUND: Duration = Duration::from_mins(4);

/// Holds as much as may be moved, and says how much of it is as it was made.
struct Bulky(Vec<u8>);

fn byte(at: usize) -> u8 {
    u8::try_from((at ^ (at >> 9)) % 251).expect("below 251")
}

impl Bulky {
    fn factory() -> Arc<dyn DaemonFactory> {
        Arc::new(|_: &DaemonOrder| -> Result<Box<dyn MeshDaemon>, DaemonError> {
            Ok(Box::new(Self((0..MAX_STATE).map(byte).collect())))
        })
    }
}

impl MeshDaemon for Bulky {
    fn name(&self) -> String {
        "bulky".to_owned()
    }

    fn process(&mut self, event: DaemonEvent, outputs: &mut Outputs) -> Result<(), DaemonError> {
        if let DaemonEvent::Message { payload, .. } = event {
            let sound = self.0.iter().enumerate().filter(|&(at, held)| *held == byte(at)).count();
            outputs.reply(format!("{} {sound}", String::from_utf8_lossy(&payload)));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_move_over_a_link_that_loses_every_twentieth_datagram() {
    let cluster = boot(2).await;
    let config = GroupConfig { count: 1, ..GroupConfig::default() };
    let group = cluster.spawn_replica_group(0, "bulky", Bulky::factory(), config);
    let group = within("a group", group).await.unwrap();
    let member = group.view().unwrap().members[0];
    let source = cluster.nodes().into_iter().find(|node| Some(node.node_id()) == member.node).unwrap();
    let target = cluster.nodes().into_iter().find(|node| Some(node.node_id()) != member.node).unwrap();
    let lossy = LinkFault { loss: 0.05, ..LinkFault::default() };
    cluster.set_link_fault(source.node_id(), target.node_id(), lossy).unwrap();
    cluster.set_link_fault(target.node_id(), source.node_id(), lossy).unwrap();
    let mut events = cluster.events().events;
    let (runtime, begun) = (source.daemon_runtime(), Instant::now());
    let migration = within("the beginning", runtime.begin_migration(member.daemon, target.node_id())).await;
    let migration = migration.unwrap();
    // Both that node and the cluster say that it is on its way; over such a link it is for long.
    let listed = |source: &dyn MigrationSnapshotSource| {
        source.migrations().iter().any(|view| view.id == migration && view.target == target.node_id())
    };
    let known = async {
        while !listed(&runtime) || !listed(&cluster) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("a migration under way", known).await;
    // What comes meanwhile waits, and follows.
    let others = target.daemon_runtime();
    let asked = tokio::spawn(async move { others.deliver(member.daemon, "meanwhile", Some(BOUND)).await });
    let over = async {
        loop {
            if let EventKind::MigrationChanged { migration: view } = &events.recv().await.unwrap().kind
                && view.id == migration
                && view.phase.is_over()
            {
                return view.clone();
            }
        }
    };
    let view = tokio::time::timeout(BOUND, over).await.expect("within the bound");
    println!("64 MiB took {:?} over 5 % loss, {} retries", begun.elapsed(), view.retries);
    assert_eq!((view.phase, view.bytes_done), (MigrationPhase::Complete, view.bytes_total), "{view:?}");
    assert!(view.bytes_total >= MAX_STATE as u64);
    let replies =
        tokio::time::timeout(BOUND, asked).await.expect("within the bound").unwrap().unwrap().replies;
    assert!(!listed(&cluster), "what is over is not under way");
    assert_eq!(replies, [format!("meanwhile {MAX_STATE}").into_bytes()], "every byte is as it was");
    cluster.shutdown().await.unwrap();
}
