//! The system's side of [`crate::audit`].

use super::{MeshOs, avoid::MAX_AVOIDED};
use crate::{
    audit::Gauge,
    compute::{MAX_DAEMONS, groups::ledger::MAX_HELD},
};

impl MeshOs {
    /// Tells `each` how much this part of the system holds of what is bounded.
    #[doc(hidden)]
    pub fn gauges(&self, each: &mut dyn FnMut(Gauge)) {
        self.admin.gauges(each);
        each(Gauge::new("hearsay", self.catching_up.held(), 1_024));
        each(Gauge::new("daemons", self.registry.iter().count(), MAX_DAEMONS));
        each(Gauge::new("groups", self.groups().count(), MAX_HELD));
        each(Gauge::new("avoided nodes", self.oversight.avoided.len(), MAX_AVOIDED));
    }
}
