//! What this node says itself: signed, and signed anew before its time is over.

use std::{collections::BTreeMap, time::Duration};

use rand_chacha::{ChaCha20Rng, rand_core::RngCore};

use super::{Record, RecordKind, Stamp};
use crate::{
    identity::Identity,
    time::{Instant, Now},
};

/// For how long others hold what this node says if they hear nothing newer. Renewed at a third of it, a record costs
/// every node that holds it a hundredth of a datagram a second.
pub(crate) const TTL: Duration = Duration::from_mins(5);

/// Signs this node's records.
#[derive(Debug)]
pub(crate) struct Publisher {
    identity: Identity,
    incarnation: u64,
    said: BTreeMap<RecordKind, Said>,
}

#[derive(Debug)]
struct Said {
    body: Vec<u8>,
    stamp: Stamp,
    renew: Instant,
}

impl Publisher {
    pub(crate) fn new(identity: Identity, incarnation: u64) -> Self {
        Self { identity, incarnation, said: BTreeMap::new() }
    }

    /// Says `body` from now on, in the place of what was said before.
    pub(crate) fn publish(
        &mut self,
        now: Now,
        kind: RecordKind,
        body: Vec<u8>,
        rng: &mut ChaCha20Rng,
    ) -> Record {
        let stamp = match self.said.get(&kind) {
            Some(said) => Stamp { version: said.stamp.version.saturating_add(1), ..said.stamp },
            None => Stamp { incarnation: self.incarnation, version: 1 },
        };
        let record = Record::sign(&self.identity, kind, stamp, now.wall, TTL, &body);
        // A jitter keeps nodes that began together from renewing together.
        let jitter = f64::from(rng.next_u32()) / f64::from(u32::MAX);
        let renew = now.instant + (TTL / 3).mul_f64(1.0 - 0.2 * jitter);
        self.said.insert(kind, Said { body, stamp, renew });
        record
    }

    /// What is said at present.
    pub(crate) fn said(&self, kind: RecordKind) -> Option<&[u8]> {
        self.said.get(&kind).map(|said| &*said.body)
    }

    /// Says the same again, where it is time to.
    pub(crate) fn renew(&mut self, now: Now, rng: &mut ChaCha20Rng) -> Vec<Record> {
        let due: Vec<_> = self
            .said
            .iter()
            .filter(|(_, said)| said.renew <= now.instant)
            .map(|(kind, said)| (*kind, said.body.clone()))
            .collect();
        due.into_iter().map(|(kind, body)| self.publish(now, kind, body, rng)).collect()
    }

    /// A record of this node's own is about that is newer than what it has said in this life: one of a former life. Says
    /// above that what it has to say now; if that is nothing, takes it back.
    pub(crate) fn surpass(
        &mut self,
        now: Now,
        kind: RecordKind,
        seen: Stamp,
        rng: &mut ChaCha20Rng,
    ) -> Record {
        let nothing = || Said { body: Vec::new(), stamp: Stamp::default(), renew: now.instant };
        let said = self.said.entry(kind).or_insert_with(nothing);
        let body = said.body.clone();
        let first = Stamp { incarnation: self.incarnation, version: 0 };
        said.stamp = said.stamp.max(seen).max(first);
        self.publish(now, kind, body, rng)
    }

    /// When [`renew`](Self::renew) next has something to say.
    pub(crate) fn next_renewal(&self) -> Option<Instant> {
        self.said.values().map(|said| said.renew).min()
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::time::WallTime;

    fn now(seconds: u64) -> Now {
        Now { instant: Instant::from_micros(seconds * 1_000_000), wall: WallTime(seconds * 1_000_000) }
    }

    #[test]
    fn what_is_said_is_said_again_within_a_third_of_its_time_and_newer() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut publisher = Publisher::new(Identity::from_seed([1; 32]), 7);
        assert_eq!(publisher.next_renewal(), None);
        let first = publisher.publish(now(0), RecordKind::Capabilities, b"x".to_vec(), &mut rng);
        assert_eq!(first.stamp, Stamp { incarnation: 7, version: 1 });
        let renewal = publisher.next_renewal().unwrap();
        assert!(renewal >= now(80).instant && renewal <= now(100).instant, "{renewal:?}");
        assert_eq!(publisher.renew(now(79), &mut rng), []);
        let again = publisher.renew(now(100), &mut rng);
        assert_eq!(again.len(), 1);
        assert!(again[0].stamp > first.stamp && again[0].is_signed());
        assert_eq!(again[0].body(), b"x");
    }

    #[test]
    fn what_a_former_life_said_is_surpassed_or_taken_back_whatever_its_clock_showed() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut publisher = Publisher::new(Identity::from_seed([1; 32]), 7);
        publisher.publish(now(0), RecordKind::Links, b"x".to_vec(), &mut rng);
        let former = Stamp { incarnation: 9, version: 40 };
        let above = publisher.surpass(now(1), RecordKind::Links, former, &mut rng);
        assert!(above.stamp > former && above.body() == b"x");
        let former = Stamp { incarnation: 5, version: 40 };
        let back = publisher.surpass(now(1), RecordKind::Capabilities, former, &mut rng);
        assert_eq!((back.stamp, back.body()), (Stamp { incarnation: 7, version: 1 }, &b""[..]));
    }
}
