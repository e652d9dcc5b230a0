//! Making daemons anew by command, and leaving those down that are not to come back by themselves.

use meshground_shared::{DaemonId, Lifecycle};

use super::{super::instance::Planned, Happening, Registry};
use crate::{daemon::DeliverError, time::Instant};

impl Registry {
    /// Has a daemon made anew, as after a crash but at once. Whether it can be: not one that nothing makes anew, that is on
    /// its way here, elsewhere or to its end, or that is just taking over a state, as that would be lost.
    pub(crate) fn restart(&mut self, now: Instant, id: DaemonId) -> bool {
        let Some(instance) = self.instances.get_mut(&id) else { return false };
        if instance.kind.is_none() || !instance.can_restart() {
            return false;
        }
        instance.daemon = None;
        // What its job still says no longer counts, so nobody will know of what is in it.
        for planned in instance.job.take().into_iter().flat_map(|(_, plan)| plan) {
            match planned {
                Planned::Event(Some(receipt)) => {
                    instance.inbox.settle(receipt, Err(DeliverError::Unknown));
                }
                // It is taken of what it is then.
                Planned::Snapshot => instance.snapshot = true,
                _ => {}
            }
        }
        if !std::mem::take(&mut instance.tags).is_empty() {
            self.happenings.push_back(Happening::Announced);
        }
        self.happenings.push_back(Happening::Settled { id });
        instance.restart_at = Some(now);
        instance.lifecycle = Lifecycle::BackingOff;
        instance.alarms.clear();
        self.happenings.push_back(Happening::Changed(id));
        self.handle_timeout(now);
        true
    }

    /// A daemon that crashed is not started again by itself.
    pub(crate) fn leave_down(&mut self, id: DaemonId) {
        if let Some(instance) = self.instances.get_mut(&id)
            && matches!(instance.lifecycle, Lifecycle::BackingOff | Lifecycle::CrashLooping)
        {
            instance.lifecycle = Lifecycle::Failed;
            instance.restart_at = None;
            instance.inbox.fail_all(&DeliverError::Down);
            self.happenings.push_back(Happening::Changed(id));
            self.happenings.push_back(Happening::Settled { id });
        }
    }

    /// Has a daemon made anew as soon as it can be, should that not be now: [`Happening::RestartDue`] follows then. Whether it
    /// has to wait.
    pub(crate) fn restart_later(&mut self, id: DaemonId) -> bool {
        let Some(instance) = self.instances.get_mut(&id) else { return false };
        let waits = !instance.can_restart() && instance.lifecycle != Lifecycle::Stopping;
        instance.restart_wanted |= waits;
        waits
    }

    /// Says so if a daemon is to be made anew and can be by now.
    pub(super) fn mind_restart(&mut self, id: DaemonId) {
        if let Some(instance) = self.instances.get_mut(&id)
            && instance.restart_wanted
            && instance.can_restart()
        {
            instance.restart_wanted = false;
            self.happenings.push_back(Happening::RestartDue(id));
        }
    }
}
