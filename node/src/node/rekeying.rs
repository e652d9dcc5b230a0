//! Renewing a session's keys while it goes on.
//!
//! A renewal is an ordinary handshake with the peer's address, begun for nobody's dial: data flows on the old keys
//! until the new session comes to stand and takes precedence at both ends. One that fails is tried again, ever more
//! seldom, and costs nothing but its datagrams.

use std::time::Duration;

use meshground_shared::{Health, NodeId, Role};
use rand_chacha::rand_core::RngCore;

use super::{
    Node,
    dialing::{DialRequest, Purpose},
};
use crate::{
    session::Session,
    time::{Instant, Now},
    timers::Timer,
};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The pause after a failed attempt; it doubles with each, up to the greatest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const PAUSE_DOUBLINGS: u32 = 5;

/// No session is renewed younger than this: both ends would take the two for handshakes that crossed, and keep the one
/// whose initiator has the lower id, which may be the old one.
const MIN_AGE: Duration = Duration::from_secs(6);

impl Node {
    /// Sets the time at which the session with `id`, just put to use, is to be renewed by this end.
    pub(super) fn schedule_rekey(&mut self, now: Instant, id: NodeId, role: Role) {
        let interval = self.config.rekey.interval;
        let jitter = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        let wait = match role {
            Role::Initiator => interval.mul_f64(1.0 - jitter / 5.0),
            Role::Responder => interval + interval / 4,
        };
        self.timers.set(Timer::Rekey(id), now + wait);
    }

    /// A packet was sealed for `id`: enough of them bring the renewal forward.
    pub(super) fn count_sealed(&mut self, now: Instant, id: NodeId, session: u32) {
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.session == session) else { return };
        let earliest = peer.session_since + MIN_AGE;
        let Some(session) = self.current_session(id) else { return };
        if session.sealed() == session.renewal_due_after(self.config.rekey.packets) {
            self.timers.set(Timer::Rekey(id), earliest.max(now));
        }
    }

    /// The time for a renewal has come, or for trying again.
    pub(super) fn on_rekey_due(&mut self, now: Now, id: NodeId) {
        let Some(path) = self.current_session(id).map(|session: &Session| session.path) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let pause = FIRST_PAUSE * (1 << peer.renewals_tried.min(PAUSE_DOUBLINGS));
        self.timers.set(Timer::Rekey(id), now.instant + ATTEMPT + pause);
        // Whoever does not answer pings will not answer this.
        if peer.liveness.health() == Health::Unreachable {
            return;
        }
        peer.renewals_tried += 1;
        let request = DialRequest::new(Purpose::Renewal, path, Some(id), now.instant + ATTEMPT);
        self.begin_dial(now, request);
    }
}
