//! Who can say which daemons are on their way.

use meshground_shared::MigrationView;

use super::DaemonRuntime;

/// Says which migrations are under way. For whoever shows or watches them, without caring whether it is one node or a
/// whole cluster that is looked at.
pub trait MigrationSnapshotSource {
    /// Those that are not over, with how far each is; in no particular order.
    fn migrations(&self) -> Vec<MigrationView>;
}

/// Those that the node is the source of, as of its last snapshot.
impl MigrationSnapshotSource for DaemonRuntime {
    fn migrations(&self) -> Vec<MigrationView> {
        let system = self.system();
        system.migrations.iter().filter(|migration| !migration.phase.is_over()).cloned().collect()
    }
}
