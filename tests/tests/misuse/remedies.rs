//! Whoever reads an error learns what can be done about it, or what the bounds are.

use meshground::{DaemonRuntimeError, RecvError};
use meshground_node::{
    DaemonId, DeliverError, GroupError, GroupId, MigrateError, MigrationId, PlacementError, SpawnError,
    StateError,
};

use super::*;

/// Every error has these words; the rest of it says what went wrong.
#[track_caller]
fn say<E: std::error::Error>(all: impl IntoIterator<Item = (E, &'static str)>) {
    for (error, remedy) in all {
        assert!(error.to_string().contains(remedy), "`{error}` does not say `{remedy}`");
    }
}

#[test]
fn errors_of_starting_and_sending_say_what_to_do() {
    let daemon = DaemonId(1);
    say([
        (SpawnError::KindNotFound("ehco".to_owned()), "\"ehco\"; register one, or check the name"),
        (SpawnError::Exists(daemon), "another key, or stop that one"),
        (SpawnError::TooMany, "stop some, or take another node"),
        (SpawnError::TooLong, "shorten them"),
        (SpawnError::Closed("cordoned".to_owned()), "cordoned; take another node"),
        (SpawnError::Failed("no such file".to_owned()), "no such file"),
        (SpawnError::Unreachable(NOBODY), "check its id, or wait"),
    ]);
    say([
        (DeliverError::NotFound(daemon), "check its id"),
        (DeliverError::Crashed, "find out why"),
        (DeliverError::Down, "try again later"),
        (DeliverError::Overloaded, "try again later"),
        (DeliverError::TooLarge(u64::MAX), "at most 1 MiB"),
        (DeliverError::Unknown, "ask before sending it again"),
        (DeliverError::NoMember(9), "counted from 0"),
    ]);
    say([
        (StateError::NotRunning(daemon), "check its id, or ask the node that it runs on"),
        (StateError::None(daemon), "keep snapshots"),
        (StateError::TooLarge { daemon, bytes: usize::MAX }, "at most"),
    ]);
    say([
        (DaemonRuntimeError::NotReady, "start it when all factories are registered"),
        (DaemonRuntimeError::ShuttingDown, "ask another node"),
        (DaemonRuntimeError::FactoryNotFound(String::new()), "register one, or check the name"),
        (DaemonRuntimeError::FactoryAlreadyRegistered(String::new()), "give this one another name"),
        (DaemonRuntimeError::KindName, "1 to 64 bytes"),
        (DaemonRuntimeError::SnapshotIdentityMismatch { expected: daemon, found: daemon }, "the key of"),
        (DaemonRuntimeError::NotFound(daemon), "check its id, or ask the node that it runs on"),
        (DaemonRuntimeError::Spawn(SpawnError::TooMany), "stop some, or take another node"),
    ]);
}

#[test]
fn errors_of_moving_say_what_to_do() {
    let (daemon, elsewhere) = (DaemonId(1), "name another node");
    let kind = "echo".to_owned();
    say([
        (MigrateError::NotFound(daemon), "check its id"),
        (MigrateError::NotMovable(daemon), "start it as one of a kind"),
        (MigrateError::NotRunning(daemon), "wait until it does"),
        (MigrateError::SameNode(NOBODY), elsewhere),
        (MigrateError::Unreachable(NOBODY), "check its id, or wait"),
        (MigrateError::Closed(NOBODY), elsewhere),
        (MigrateError::KindNotFound { node: NOBODY, kind }, "register a factory there, or name another node"),
        (MigrateError::Unsuitable(NOBODY), elsewhere),
        (MigrateError::Occupied(NOBODY), elsewhere),
        (MigrateError::AlreadyMoving(daemon), "wait until it has arrived, or call that off"),
        (MigrateError::TooMany, "wait until one has arrived"),
        (MigrateError::Frozen, "before it thaws"),
        (MigrateError::NoState(daemon), "start another elsewhere instead"),
        (MigrateError::Failed("its target left".to_owned()), "its target left"),
        (MigrateError::TooLate, "move it back"),
        (MigrateError::NotMigrating(MigrationId(1)), "ask the node that the daemon leaves"),
        (MigrateError::StateTooLarge { daemon, bytes: u64::MAX, bound: 4 }, "at most 4"),
    ]);
}

#[test]
fn errors_of_groups_of_placement_and_of_the_cluster_say_what_to_do() {
    say([
        (GroupError::NotFound(GroupId(1)), "check its id"),
        (GroupError::BadCount(0), "1 to 64"),
        (GroupError::TooLong, "shorten them"),
        (GroupError::TooMany, "stop some"),
        (GroupError::SeedTaken(GroupId(1)), "take another, or stop that group first"),
        (GroupError::KindNotFound(String::new()), "register one, or check the name"),
        (GroupError::ParentNotFound(DaemonId(1)), "check its id"),
        (GroupError::Frozen, "before it thaws"),
        (GroupError::Stopped(GroupId(1)), "found another"),
    ]);
    say([
        (PlacementError::NoCandidate, "ask for less, or wait"),
        (PlacementError::PinnedUnavailable(NOBODY), "ask for another"),
    ]);
    say([(ClusterError::Shutdown, "boot another")]);
    say([(RecvError::Lagged { missed: 1 }, "take a new subscription")]);
}
