//! The system's side of [`crate::audit`].

use super::{MeshOs, avoid::MAX_AVOIDED, commanding::MAX_HELD, delivering::MAX_OWED};
use crate::{
    audit::Gauge,
    compute::{MAX_DAEMONS, inbox},
};

impl MeshOs {
    /// Tells `each` how much this part of the system holds of what is bounded.
    #[doc(hidden)]
    pub fn gauges(&self, each: &mut dyn FnMut(Gauge)) {
        self.admin.gauges(each);
        each(Gauge::new("hearsay", self.catching_up.held(), 1_024));
        each(Gauge::new("commands that wait", self.postponed.len(), MAX_HELD));
        each(Gauge::new("daemons", self.registry.iter().count(), MAX_DAEMONS));
        each(Gauge::new("avoided nodes", self.oversight.avoided.len(), MAX_AVOIDED));
        each(Gauge::new("answers owed", self.owed.len(), MAX_OWED + MAX_DAEMONS));
        for (_, instance) in self.registry.iter() {
            let (senders, outcomes, replied) = instance.inbox.remembered();
            each(Gauge::new("events that wait", instance.inbox.len(), inbox::MAX_HELD));
            each(Gauge::new("bytes that wait", instance.inbox.bytes(), inbox::MAX_BYTES));
            each(Gauge::new("senders", senders, inbox::MAX_SENDERS));
            each(Gauge::new("outcomes", outcomes, inbox::MAX_OUTCOMES * senders));
            each(Gauge::new("bytes of replies", replied, inbox::MAX_REMEMBERED));
        }
        self.groups.gauges(each);
    }
}
