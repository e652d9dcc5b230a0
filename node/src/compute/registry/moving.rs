//! Daemons that move away, from the question for their state on, and those that have come and wait to be released.

use meshground_shared::{DaemonId, Lifecycle};

use super::{super::instance::Planned, Happening, Registry};

impl Registry {
    /// Asks for a daemon's state, as of before the next event: [`Happening::State`] follows. With `moving`, it works off
    /// nothing more until [`stay`](Self::stay), which others see from [`show_moving`](Self::show_moving) on.
    pub(crate) fn take_state(&mut self, id: DaemonId, moving: bool) -> bool {
        let Some(instance) = self.instances.get_mut(&id) else { return false };
        if !matches!(instance.lifecycle, Lifecycle::Running | Lifecycle::Draining) {
            return false;
        }
        if moving {
            (instance.before_moving, instance.lifecycle) = (instance.lifecycle, Lifecycle::Migrating);
            instance.unseen = true;
        }
        // One that is being taken will do: nothing comes between that and a move.
        let is_taken = instance.job.as_ref().is_some_and(|(_, plan)| plan.contains(&Planned::Snapshot));
        instance.snapshot |= !(moving && is_taken);
        self.pump(id);
        true
    }

    /// Others are told that a daemon moves.
    pub(crate) fn show_moving(&mut self, id: DaemonId) {
        if let Some(instance) = self.instances.get_mut(&id)
            && std::mem::take(&mut instance.unseen)
        {
            self.happenings.push_back(Happening::Changed(id));
        }
    }

    /// Takes nothing new for a daemon that moves, and asks nothing of it, until it [stays](Self::stay) or is dropped.
    /// Whether nothing is under way with it.
    pub(crate) fn seal(&mut self, id: DaemonId) -> bool {
        let moving = self.instances.get_mut(&id).filter(|instance| {
            instance.lifecycle == Lifecycle::Migrating && instance.job.is_none() && !instance.snapshot
        });
        moving.map(|instance| instance.sealed = true).is_some()
    }

    /// A daemon that was about to move stays.
    pub(crate) fn stay(&mut self, id: DaemonId) {
        if let Some(instance) = self.instances.get_mut(&id)
            && instance.lifecycle == Lifecycle::Migrating
        {
            instance.lifecycle = instance.before_moving;
            (instance.snapshot, instance.sealed, instance.unseen) = (false, false, false);
            self.happenings.push_back(Happening::Changed(id));
            self.pump(id);
            self.mind_restart(id);
        }
    }

    /// Lets a daemon that was held work off what comes.
    pub(crate) fn release(&mut self, id: DaemonId) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.held = false;
            self.happenings.push_back(Happening::Changed(id));
            self.pump(id);
            self.mind_restart(id);
        }
    }
}
