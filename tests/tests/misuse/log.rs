//! The event log: no room, all of it, and who reads too late.

use std::panic::{AssertUnwindSafe, catch_unwind};

use meshground::{RecvError, Subscription};
use meshground_shared::{CommandId, Epoch, EventKind, Topology};

use super::*;

fn write(log: &EventLog, nodes: u32) {
    let kind = EventKind::ClusterBooting { nodes, topology: Topology::Full };
    log.append(Some(NOBODY), Some(CommandId(u64::MAX)), kind);
}

#[tokio::test]
async fn a_log_of_no_room_keeps_one_event_and_whoever_resumes_or_reads_too_late_is_told_so() {
    for (log, kept) in [(EventLog::with_capacity(0), 1), (EventLog::with_capacity(usize::MAX), usize::MAX)] {
        assert_eq!(log.capacity(), kept);
        let Subscription { snapshot, mut events } = log.subscribe();
        assert_eq!((snapshot.seq, events.try_recv()), (0, Ok(None)));
        for nodes in [0, u32::MAX] {
            write(&log, nodes);
        }
        assert!(log.resume(log.epoch(), u64::MAX).is_none(), "that is yet to come");
        assert!(log.resume(Epoch(!log.epoch().0), 0).is_none(), "that is another life");
        assert_eq!(log.resume(log.epoch(), 0).is_some(), kept > 1);
        let panicked = catch_unwind(AssertUnwindSafe(|| log.with_snapshot(|_| panic!("as it was told"))));
        assert!(panicked.is_err());
        assert_eq!(log.with_snapshot(|snapshot| snapshot.seq), 2, "it goes on");
        assert!(log.now_us() < u64::MAX);

        let mut late = log.subscribe().events;
        drop(log);
        if kept == 1 {
            assert_eq!(events.recv().await, Err(RecvError::Lagged { missed: 1 }));
        } else {
            assert_eq!(events.recv().await.map(|event| event.seq), Ok(1));
        }
        assert_eq!(events.recv().await.map(|event| event.seq), Ok(2));
        for events in [&mut events, &mut late] {
            for _ in 0..2 {
                assert_eq!(events.recv().await.err(), Some(RecvError::Closed));
                assert_eq!(events.try_recv().err(), Some(RecvError::Closed));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_a_cluster_that_is_down_end_with_it_and_no_more_come() {
    let cluster = within("boot", ClusterHarness::with_config(1, ClusterConfig::default())).await.unwrap();
    let mut whole = cluster.log().resume(cluster.log().epoch(), 0).expect("all of it is there");
    let mut before = cluster.events().events;
    within("shutdown", cluster.shutdown()).await.unwrap();
    let Subscription { snapshot, mut events } = cluster.events();
    assert_eq!((snapshot.phase, events.try_recv()), (ClusterPhase::Empty, Ok(None)));
    let last = cluster.log().snapshot().seq;
    drop(cluster);
    for events in [&mut whole, &mut before, &mut events] {
        let mut seen = None;
        let end = loop {
            match within("the end", events.recv()).await {
                Ok(event) => seen = Some(event.seq),
                Err(error) => break error,
            }
        };
        assert_eq!(end, RecvError::Closed);
        assert!(seen.is_none_or(|seen| seen == last), "{seen:?} of {last}");
        assert_eq!(within("still the end", events.recv()).await, Err(RecvError::Closed));
    }
}
