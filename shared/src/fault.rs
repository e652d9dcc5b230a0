//! What can be made to go wrong on a link.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// The longest that a datagram may be held up, delay and jitter together, in microseconds.
pub const MAX_DELAY_US: u64 = 60_000_000;

/// What happens to the datagrams that one node sends another. One-way: what comes back
/// has faults of its own, or none. Whatever is left out does not happen.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkFault {
    /// Nothing arrives.
    pub cut: bool,
    /// The probability that a datagram is lost, from 0 to 1.
    pub loss: f64,
    /// The probability that it arrives twice, from 0 to 1.
    pub duplication: f64,
    /// The probability that one bit of it is turned over, from 0 to 1.
    pub corruption: f64,
    /// How many microseconds later it arrives.
    pub delay_us: u64,
    /// Up to how many microseconds later still, drawn for each datagram: they overtake
    /// each other then.
    pub jitter_us: u64,
}

/// Why there is no such fault.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum FaultError {
    /// A probability beyond its range, or no number.
    #[error("`{figure}` is a probability, from 0 to 1, not {value}")]
    Probability {
        /// Which.
        figure: &'static str,
        /// What was given.
        value: f64,
    },
    /// Held up for too long.
    #[error("delay and jitter are at most {MAX_DELAY_US} \u{b5}s together")]
    Delay,
}

impl LinkFault {
    /// Nothing arrives.
    pub const CUT: Self =
        Self { cut: true, loss: 0.0, duplication: 0.0, corruption: 0.0, delay_us: 0, jitter_us: 0 };

    /// Whether it does nothing at all.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Checks its figures.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn validate(&self) -> Result<(), FaultError> {
        let probabilities =
            [("loss", self.loss), ("duplication", self.duplication), ("corruption", self.corruption)];
        for (figure, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(FaultError::Probability { figure, value });
            }
        }
        match self.delay_us.checked_add(self.jitter_us) {
            Some(longest) if longest <= MAX_DELAY_US => Ok(()),
            _ => Err(FaultError::Delay),
        }
    }
}

/// A fault and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FaultyLink {
    /// The end whose datagrams suffer.
    pub from: NodeId,
    /// The end they are sent to.
    pub to: NodeId,
    /// What happens to them.
    pub fault: LinkFault,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_out_of_range_are_refused() {
        let fine = LinkFault { loss: 1.0, delay_us: MAX_DELAY_US, ..LinkFault::default() };
        assert_eq!(fine.validate(), Ok(()));
        for loss in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert!(LinkFault { loss, ..fine }.validate().is_err(), "{loss}");
        }
        assert_eq!(LinkFault { jitter_us: 1, ..fine }.validate(), Err(FaultError::Delay));
        assert_eq!(LinkFault { jitter_us: u64::MAX, ..fine }.validate(), Err(FaultError::Delay));
    }

    #[test]
    fn what_is_left_out_does_not_happen() {
        let fault: LinkFault = serde_json::from_str(r#"{"loss": 0.25}"#).unwrap();
        assert_eq!(fault, LinkFault { loss: 0.25, ..LinkFault::default() });
        assert!(serde_json::from_str::<LinkFault>("{}").unwrap().is_none());
        assert!(serde_json::from_str::<LinkFault>(r#"{"los": 0.25}"#).is_err());
        assert!(!LinkFault::CUT.is_none());
    }
}
