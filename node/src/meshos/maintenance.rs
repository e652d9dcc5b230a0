//! Taking a node out of service and bringing it back, step by step.

use std::time::Duration;

use meshground_shared::Maintenance;

use crate::time::Instant;

/// How long the steps may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintenanceConfig {
    /// By when everything must have moved away, from the beginning of a drain; 10 minutes by default, and at least 1 ms. Seconds
    /// are sane where somebody watches.
    pub drain: Duration,
    /// For how long a node that is back is given less than its share of work; 5 minutes by default. None at all gives it its share at once.
    pub ramp: Duration,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self { drain: Duration::from_mins(10), ramp: Duration::from_mins(5) }
    }
}

/// Whether a node serves, and what it is waiting for.
///
/// `Active -> EnteringMaintenance -> Maintenance | DrainFailed -> ExitingMaintenance -> Recovery -> Active`. Exiting may
/// begin in each of the first three of those in the middle. A drain alone passes through none of them: it cordons the
/// node and moves everything away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Service {
    state: Maintenance,
    cordoned: bool,
    /// Whether it stays so when the node is back in service.
    stays_cordoned: bool,
    /// By when what runs here must have moved away, if it is to.
    drain_by: Option<Instant>,
    /// When the node has its full share of work again.
    ramped_at: Option<Instant>,
}

/// What is to be told to the daemons here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// They are to move away, by then.
    Leave(Instant),
    /// They may stay.
    Stay,
}

impl Service {
    pub(crate) fn state(&self) -> Maintenance {
        self.state
    }

    /// Whether nothing new is placed here.
    pub(crate) fn is_cordoned(&self) -> bool {
        self.cordoned
    }

    /// Whether what runs here is to move away.
    pub(crate) fn is_draining(&self) -> bool {
        self.drain_by.is_some()
    }

    /// For how long that may go on.
    pub(crate) fn drain_remaining(&self, now: Instant) -> Option<Duration> {
        self.drain_by.map(|by| by.saturating_since(now))
    }

    /// Nothing new comes, and everything moves away.
    pub(crate) fn drain(&mut self, now: Instant, config: &MaintenanceConfig) -> Notice {
        self.cordoned = true;
        Notice::Leave(*self.drain_by.get_or_insert(now + config.drain))
    }

    /// A drain, and then out of service. Does nothing to a node that is on its way there, or there.
    pub(crate) fn enter(&mut self, now: Instant, config: &MaintenanceConfig) -> Option<Notice> {
        match self.state {
            Maintenance::EnteringMaintenance | Maintenance::Maintenance => None,
            _ => {
                self.state = Maintenance::EnteringMaintenance;
                self.ramped_at = None;
                // A drain that failed is given its time anew.
                self.drain_by = None;
                Some(self.drain(now, config))
            }
        }
    }

    /// Back into service. Does nothing to a node that is in service.
    pub(crate) fn exit(&mut self) -> Option<Notice> {
        match self.state {
            Maintenance::EnteringMaintenance | Maintenance::Maintenance | Maintenance::DrainFailed => {
                self.state = Maintenance::ExitingMaintenance;
                self.stays_cordoned = false;
                self.drain_by.take().map(|_| Notice::Stay)
            }
            _ => None,
        }
    }

    /// Nothing new is placed here, nor after the way back into service if the node is on it.
    pub(crate) fn cordon(&mut self) {
        self.cordoned = true;
        self.stays_cordoned = true;
    }

    /// Things may be placed here again, and what was to move away stays. Does nothing to a node that is out of service,
    /// or on its way there.
    pub(crate) fn uncordon(&mut self) -> Option<Notice> {
        if matches!(self.state, Maintenance::Active | Maintenance::Recovery) {
            self.cordoned = false;
            return self.drain_by.take().map(|_| Notice::Stay);
        }
        None
    }

    /// Time has passed, and so many daemons are left here.
    pub(crate) fn step(&mut self, now: Instant, left: usize, config: &MaintenanceConfig) -> Option<Notice> {
        let late = self.drain_by.is_some_and(|by| by <= now);
        match self.state {
            Maintenance::EnteringMaintenance if left == 0 => {
                self.state = Maintenance::Maintenance;
                self.drain_by = None;
            }
            Maintenance::EnteringMaintenance if late => {
                self.state = Maintenance::DrainFailed;
                self.drain_by = None;
                return Some(Notice::Stay);
            }
            Maintenance::ExitingMaintenance => {
                self.state = Maintenance::Recovery;
                // Unless it is to be drained again already, or was cordoned since.
                self.cordoned = self.is_draining() || self.stays_cordoned;
                self.ramped_at = Some(now + config.ramp);
            }
            Maintenance::Recovery if self.ramped_at.is_none_or(|at| at <= now) => {
                self.state = Maintenance::Active;
                self.ramped_at = None;
            }
            // A drain alone, also of a node that is out of service: that has no more to give than what it kept.
            Maintenance::Active
            | Maintenance::Recovery
            | Maintenance::Maintenance
            | Maintenance::DrainFailed
                if late || (left == 0 && self.is_draining()) =>
            {
                self.drain_by = None;
                return (left > 0).then_some(Notice::Stay);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: MaintenanceConfig =
        MaintenanceConfig { drain: Duration::from_secs(10), ramp: Duration::from_secs(5) };

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_drain_has_ten_minutes_and_the_way_back_takes_five() {
        let MaintenanceConfig { drain, ramp } = MaintenanceConfig::default();
        assert_eq!((drain.as_secs(), ramp.as_secs()), (600, 300));
    }

    #[test]
    fn a_node_goes_out_of_service_and_comes_back() {
        let mut service = Service::default();
        assert_eq!(service.enter(at(0), &CONFIG), Some(Notice::Leave(at(10))));
        assert_eq!(service.state(), Maintenance::EnteringMaintenance);
        assert!(service.is_cordoned() && service.is_draining());
        assert_eq!(service.step(at(1), 2, &CONFIG), None);
        assert_eq!(service.state(), Maintenance::EnteringMaintenance);
        service.step(at(2), 0, &CONFIG);
        assert_eq!(service.state(), Maintenance::Maintenance);
        assert_eq!(service.uncordon(), None);
        assert!(service.is_cordoned(), "out of service is out of service");
        service.exit();
        assert_eq!(service.state(), Maintenance::ExitingMaintenance);
        service.step(at(3), 0, &CONFIG);
        assert_eq!((service.state(), service.is_cordoned()), (Maintenance::Recovery, false));
        service.step(at(7), 1, &CONFIG);
        assert_eq!(service.state(), Maintenance::Recovery);
        service.step(at(8), 1, &CONFIG);
        assert_eq!(service.state(), Maintenance::Active);
    }

    #[test]
    fn what_does_not_move_away_in_time_fails_the_drain_and_may_stay() {
        let mut service = Service::default();
        service.enter(at(0), &CONFIG);
        assert_eq!(service.step(at(10), 1, &CONFIG), Some(Notice::Stay));
        assert_eq!(service.state(), Maintenance::DrainFailed);
        assert!(service.is_cordoned() && !service.is_draining());
        assert_eq!(service.enter(at(20), &CONFIG), Some(Notice::Leave(at(30))), "it may be tried again");
        assert_eq!(service.exit(), Some(Notice::Stay));
    }

    #[test]
    fn a_drain_alone_leaves_the_node_cordoned_and_active() {
        let mut service = Service::default();
        service.drain(at(0), &CONFIG);
        assert_eq!(service.step(at(1), 0, &CONFIG), None);
        assert!(service.is_cordoned() && !service.is_draining());
        assert_eq!(service.state(), Maintenance::Active);
        service.drain(at(2), &CONFIG);
        assert_eq!(service.uncordon(), Some(Notice::Stay));
        assert!(!service.is_cordoned());
    }

    #[test]
    fn a_drain_of_a_node_that_is_out_of_service_comes_to_an_end() {
        let mut service = Service::default();
        service.enter(at(0), &CONFIG);
        service.step(at(1), 0, &CONFIG);
        service.drain(at(2), &CONFIG);
        service.step(at(3), 0, &CONFIG);
        assert_eq!((service.state(), service.is_draining()), (Maintenance::Maintenance, false));

        let mut service = Service::default();
        service.enter(at(0), &CONFIG);
        service.step(at(10), 1, &CONFIG);
        service.drain(at(11), &CONFIG);
        assert_eq!(service.step(at(21), 1, &CONFIG), Some(Notice::Stay));
        assert_eq!((service.state(), service.is_draining()), (Maintenance::DrainFailed, false));
    }

    #[test]
    fn a_cordon_on_the_way_back_is_not_forgotten_but_one_from_before_is_over() {
        let mut service = Service::default();
        service.cordon();
        service.enter(at(0), &CONFIG);
        service.exit();
        service.cordon();
        service.step(at(1), 0, &CONFIG);
        assert_eq!((service.state(), service.is_cordoned()), (Maintenance::Recovery, true));
        service.uncordon();
        service.enter(at(2), &CONFIG);
        service.cordon();
        service.exit();
        service.step(at(3), 0, &CONFIG);
        assert_eq!((service.state(), service.is_cordoned()), (Maintenance::Recovery, false));
    }

    #[test]
    fn a_drain_that_is_asked_for_on_the_way_back_is_not_forgotten() {
        let mut service = Service::default();
        service.enter(at(0), &CONFIG);
        service.exit();
        service.drain(at(1), &CONFIG);
        service.step(at(2), 1, &CONFIG);
        assert_eq!(service.state(), Maintenance::Recovery);
        assert!(service.is_cordoned() && service.is_draining());
    }
}
