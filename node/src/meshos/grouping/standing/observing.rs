//! Learning from an incarnation itself that it has the place.

use meshground_shared::{GroupId, GroupKind};

use super::super::super::MeshOs;
use crate::compute::groups::{Incarnation, Slot};

impl MeshOs {
    /// An incarnation of a standby group's daemon is there, or is about to be, and this node listens to none before it from
    /// now on. So it has the place in the ledger too: whoever placed it there may be gone, and nobody else know of it.
    pub(super) fn observe(&mut self, group: GroupId, of: Incarnation) {
        let entry = self.groups.ledger.get_mut(group);
        if let Some(entry) = entry.filter(|entry| entry.spec.kind == GroupKind::Standby)
            && entry.put(0, Slot { generation: of.generation, host: Some(of.node) })
        {
            self.groups.dirty = true;
        }
    }

    /// What comes from an incarnation says that it has begun, also where nobody else has said so yet.
    pub(super) fn has_begun(&mut self, group: GroupId, of: Incarnation) {
        if let Some(entry) = self.groups.ledger.get_mut(group)
            && entry.begun < of.generation
            && of.generation <= entry.slot(0).generation
        {
            entry.begun = of.generation;
            self.groups.dirty = true;
        }
    }
}
