//! How daemons and nodes end, and what is asked of those that have.

use meshground::{DaemonRuntimeError, meshos::random_keypair};
use meshground_node::Capabilities;
use meshground_shared::{CommandId, DaemonEnd};
use meshground_tests::daemons::Idle;

use super::*;

#[test]
fn figures_of_a_cluster_of_none_and_of_as_many_as_can_be_counted_are_sound() {
    let config = ClusterConfig::default();
    let [none, most] = [0, usize::MAX].map(|nodes| config.liveness_of(nodes));
    assert_eq!(none.heartbeat, config.liveness_of(1).heartbeat);
    assert!(
        most.heartbeat > none.heartbeat && most.heartbeat < most.suspect && most.suspect < most.unreachable
    );
    assert_ne!(ClusterConfig::default_capabilities(usize::MAX), Capabilities::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_ends_once_however_much_or_little_time_it_is_given_and_one_let_go_of_runs_on() {
    let cluster = within("boot", ClusterHarness::with_config(2, ClusterConfig::default())).await.unwrap();
    let here = cluster.nth(0).unwrap();
    let (sdk, runtime) = (here.sdk().caused_by(CommandId(u64::MAX)), here.daemon_runtime());
    let started = || sdk.register_daemon(Box::new(Idle), random_keypair());
    for grace in [Duration::ZERO, Duration::MAX] {
        let daemon = within("a start", started()).await.unwrap();
        let ended = within("its end", daemon.graceful_shutdown(grace)).await.unwrap();
        assert!(matches!(ended, DaemonEnd::Stopped | DaemonEnd::Killed), "{ended:?}");
    }
    let daemon = within("a start", started()).await.unwrap().detach();
    let delivered = within("a delivery", runtime.deliver(daemon, "still", None)).await;
    assert!(delivered.is_ok(), "it runs on: {delivered:?}");
    within("its end", runtime.stop(daemon, Duration::ZERO)).await.unwrap();
    let again = within("no second end", runtime.stop(daemon, Duration::MAX)).await;
    assert_eq!(again, Err(DaemonRuntimeError::NotFound(daemon)));

    let late = within("a start", started()).await.unwrap();
    let (key, mesh) = (here.public_key(), here.mesh());
    within("shutdown", cluster.shutdown()).await.unwrap();
    let ended = within("no end", late.graceful_shutdown(Duration::MAX)).await;
    assert!(
        matches!(ended, Err(DaemonRuntimeError::ShuttingDown | DaemonRuntimeError::NotFound(_))),
        "{ended:?}"
    );
    within("what is over", mesh.closed()).await;
    within("and stays over", mesh.closed()).await;
    assert_eq!((here.public_key(), mesh.public_key()), (key, key));
}
