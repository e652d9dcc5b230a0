//! Whether a peer lives, and how far away it is.
//!
//! Every authentic packet counts as life; a heartbeat only fills silence. A peer's
//! verdict depends on nothing but how long ago it was last heard.

use std::time::Duration;

use meshground_shared::Health;

use crate::{config::LivenessConfig, time::Instant};

/// How often, between two packets of a peer, this node is excused for having stood still.
/// One that always runs late hears its living peers in between; without an end to it, it
/// would hardly ever see that one has died.
const EXCUSES: u32 = 3;

/// Where heartbeats are stretched, the limits are as many intervals: one lost datagram makes nobody Suspect.
const SUSPECT_INTERVALS: u32 = 2;

/// See [`SUSPECT_INTERVALS`].
const UNREACHABLE_INTERVALS: u32 = 3;

/// After how many intervals in which only the other end pinged an end measures the round trip itself.
const UNMEASURED_INTERVALS: u32 = 4;

/// The shortest that jitter makes an interval. At this pace the budget is spent.
fn shortest(interval: Duration) -> Duration {
    (interval / 5).saturating_mul(4)
}

/// How often a node may stretch what is stretched already.
const MOST_WHILE_DIALING: f64 = 4.0;

impl LivenessConfig {
    /// The figures a node with this many peers goes by.
    ///
    /// It takes the mesh for full. As many nodes send each other one datagram an interval, so the interval must not be
    /// shorter, where jitter makes it shortest, than their pairs, counted from both ends, divided by the budget. The
    /// limits follow: Suspect not before two intervals, Unreachable not before three. With the defaults nothing stretches up to 64 nodes.
    #[must_use]
    pub fn for_peers(&self, peers: usize) -> Self {
        self.stretched(self.least_interval(peers))
    }

    /// The figures it goes by as long as it dials many of them: what is stretched already is once more, by as much, but
    /// at most four times. On a busy machine even heartbeats within their budget would take the time that handshakes need.
    pub(crate) fn for_peers_being_dialed(&self, peers: usize) -> Self {
        let least = self.least_interval(peers).max(self.heartbeat);
        let once_more = least.as_secs_f64() / self.heartbeat.as_secs_f64();
        self.stretched(least.mul_f64(once_more.min(MOST_WHILE_DIALING)))
    }

    fn least_interval(&self, peers: usize) -> Duration {
        let ends = u64::try_from(peers.saturating_mul(peers.saturating_add(1))).unwrap_or(u64::MAX);
        let shortest = Duration::from_micros(ends.saturating_mul(1_000_000) / u64::from(self.budget.max(1)));
        shortest.saturating_mul(5) / 4
    }

    fn stretched(&self, least: Duration) -> Self {
        if least <= self.heartbeat {
            return self.clone();
        }
        let unreachable = self.unreachable.max(least.saturating_mul(UNREACHABLE_INTERVALS));
        Self {
            heartbeat: least,
            suspect: self.suspect.max(least.saturating_mul(SUSPECT_INTERVALS)),
            unreachable,
            forget: self.forget.max(unreachable.saturating_mul(2)),
            budget: self.budget,
        }
    }
}

/// What is known of one peer's life.
#[derive(Debug)]
pub(crate) struct Liveness {
    last_heard: Instant,
    /// Pauses excused since then.
    excused: u32,
    last_sent: Instant,
    last_ping: Option<Instant>,
    /// The heartbeat interval, jittered anew after each ping so that peers do not fall
    /// into step, and so that either end gets to measure the round trip.
    interval: Duration,
    /// What that was drawn from: until it has been pinged at a faster pace, a peer is judged by the slower one.
    heartbeat: Duration,
    /// When it is pinged at the latest, if that was slower than the pace has become.
    hastened: Option<Instant>,
    health: Health,
    unreachable_since: Option<Instant>,
    /// When the peer began to say that it has not heard this node for too long.
    complains_since: Option<Instant>,
    deaf: bool,
    rtt: Option<Duration>,
}

/// What a look at the clock brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checkup {
    /// The verdict changed from this one.
    pub(crate) changed_from: Option<Health>,
    /// A ping is due.
    pub(crate) ping: bool,
    /// The peer has been silent for so long that its session is to be dropped.
    pub(crate) forget: bool,
}

impl Liveness {
    /// A peer heard just now.
    pub(crate) fn new(now: Instant, config: &LivenessConfig) -> Self {
        Self {
            last_heard: now,
            excused: 0,
            last_sent: now,
            last_ping: None,
            interval: config.heartbeat,
            heartbeat: config.heartbeat,
            hastened: None,
            health: Health::Healthy,
            unreachable_since: None,
            complains_since: None,
            deaf: false,
            rtt: None,
        }
    }

    /// The verdict.
    pub(crate) fn health(&self) -> Health {
        self.health
    }

    /// The smoothed round-trip time.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    /// Whether the peer is known not to hear this node.
    pub(crate) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// The peer says that it last heard this node `silence` ago. Returns whether it is deaf, if that has changed.
    ///
    /// One such word may be this node's own fault, for it may have stood still; the answer to it tells. So the peer is
    /// deaf if it still says so a heartbeat later.
    pub(crate) fn told_silence(
        &mut self,
        now: Instant,
        silence: Duration,
        config: &LivenessConfig,
    ) -> Option<bool> {
        let (_, unreachable) = self.limits(config);
        let deaf = if silence < unreachable {
            self.complains_since = None;
            false
        } else {
            let since = *self.complains_since.get_or_insert(now);
            self.deaf || now.saturating_since(since) >= config.heartbeat
        };
        (std::mem::replace(&mut self.deaf, deaf) != deaf).then_some(deaf)
    }

    /// Whether the peer is Unreachable, and was so at `then`.
    pub(crate) fn was_unreachable(&self, then: Instant) -> bool {
        self.unreachable_since.is_some_and(|since| since <= then)
    }

    /// How long the peer has been silent.
    pub(crate) fn silence(&self, now: Instant) -> Duration {
        now.saturating_since(self.last_heard)
    }

    /// An authentic packet came in. Returns the verdict before if it was not Healthy,
    /// and how long the silence was.
    pub(crate) fn heard(&mut self, now: Instant) -> Option<(Health, Duration)> {
        let silence = self.silence(now);
        self.last_heard = self.last_heard.max(now);
        self.excused = 0;
        self.unreachable_since = None;
        let before = std::mem::replace(&mut self.health, Health::Healthy);
        (before != Health::Healthy).then_some((before, silence))
    }

    /// A packet goes out.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// A ping goes out. `jitter` lies between 0 and 1.
    pub(crate) fn pinged(&mut self, now: Instant, config: &LivenessConfig, jitter: f64) {
        self.last_ping = Some(now);
        self.last_sent = now;
        if config.heartbeat < self.heartbeat {
            // From here on the faster pace counts, and so does no more silence than was usual at it.
            let unusual = self.silence(now).saturating_sub(config.heartbeat);
            self.last_heard += unusual;
        }
        self.heartbeat = config.heartbeat;
        self.hastened = None;
        let shortest = shortest(config.heartbeat);
        self.interval = shortest + (config.heartbeat / 5).mul_f64(jitter);
    }

    /// The pace has become this one. If it is faster than that of the last ping, the next is not waited for as long as it
    /// would have been, but goes out at some time within an interval: not all peers at once. `jitter` lies between 0 and 1.
    pub(crate) fn hasten(&mut self, now: Instant, config: &LivenessConfig, jitter: f64) {
        if config.heartbeat < self.heartbeat && self.hastened.is_none_or(|due| due < now) {
            self.hastened = Some(now + config.heartbeat.mul_f64(jitter));
        }
    }

    /// The echo of a ping came in: smooths the round trip as RFC 6298, section 2, does.
    pub(crate) fn measured(&mut self, sample: Duration) {
        self.rtt = Some(match self.rtt {
            None => sample,
            // The sample is as long as the peer says: it echoes any stamp it likes.
            Some(smooth) => smooth / 8 * 7 + sample / 8,
        });
    }

    /// This node itself stood still for `pause`: time in which no peer could have been
    /// heard does not count against any, unless it happens again and again.
    pub(crate) fn excuse(&mut self, pause: Duration, now: Instant) {
        if self.excused == EXCUSES {
            return;
        }
        self.excused += 1;
        self.last_heard = (self.last_heard + pause).min(now);
    }

    /// The silences after which the peer is Suspect and Unreachable.
    fn limits(&self, config: &LivenessConfig) -> (Duration, Duration) {
        let LivenessConfig { heartbeat, suspect, unreachable, .. } = *config;
        if self.heartbeat <= heartbeat {
            return (suspect, unreachable);
        }
        (
            suspect.max(self.heartbeat.saturating_mul(SUSPECT_INTERVALS)),
            unreachable.max(self.heartbeat.saturating_mul(UNREACHABLE_INTERVALS)),
        )
    }

    /// Looks at the clock.
    pub(crate) fn check(&mut self, now: Instant, config: &LivenessConfig) -> Checkup {
        let silence = self.silence(now);
        let (suspect, unreachable) = self.limits(config);
        let verdict = match () {
            () if silence >= unreachable => Health::Unreachable,
            () if silence >= suspect => Health::Suspect,
            () => Health::Healthy,
        };
        // Only a packet makes a peer healthy again, and says so when it comes in.
        let verdict = verdict.max(self.health);
        let before = std::mem::replace(&mut self.health, verdict);
        if verdict == Health::Unreachable {
            self.unreachable_since.get_or_insert(now);
        }
        Checkup {
            changed_from: (before != verdict).then_some(before),
            ping: now >= self.ping_due(config),
            forget: silence >= config.forget,
        }
    }

    /// When [`check`](Self::check) next has something to say, if nothing happens until then.
    pub(crate) fn next_check(&self, config: &LivenessConfig) -> Instant {
        let (suspect, unreachable) = self.limits(config);
        let limit = match self.health {
            Health::Healthy => suspect,
            Health::Suspect => unreachable,
            Health::Unreachable => config.forget,
        };
        self.ping_due(config).min(self.last_heard + limit)
    }

    fn ping_due(&self, config: &LivenessConfig) -> Instant {
        let Some(last_ping) = self.last_ping else { return self.last_sent };
        let soon = config.heartbeat / 3;
        match self.health {
            // A ping that stays unanswered is repeated soon: one lost datagram must not
            // cost a third of the time until suspicion.
            Health::Healthy if last_ping > self.last_heard => {
                last_ping + soon.max(self.rtt.unwrap_or_default().saturating_mul(2))
            }
            // Whoever was silent longest pings; the echo is the other's heartbeat. But nobody goes without a measurement
            // for long: who has had none comes first at the next turn, and where data leaves no silence, takes one.
            Health::Healthy => {
                let owed = (self.last_sent + shortest(config.heartbeat))
                    .max(last_ping + config.heartbeat.saturating_mul(UNMEASURED_INTERVALS));
                let most = last_ping + config.heartbeat.saturating_mul(UNMEASURED_INTERVALS + 1);
                let due = (self.last_sent + self.interval).min(owed).min(most);
                // Only as long as the pace is the faster one.
                let hastened = self.hastened.filter(|_| config.heartbeat < self.heartbeat);
                hastened.map_or(due, |hastened| due.min(hastened))
            }
            Health::Suspect => last_ping + soon,
            // It may still hear: rarer than this, it would come to suspect an end that it hears well.
            Health::Unreachable => last_ping + config.heartbeat.saturating_mul(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    /// Runs the detector's own timer until `until`, answering no ping.
    fn silent_until(live: &mut Liveness, from: u64, until: u64) -> Vec<(u64, Health)> {
        let config = LivenessConfig::default();
        let (mut now, mut changes) = (at(from), Vec::new());
        while now < at(until) {
            let checkup = live.check(now, &config);
            if checkup.changed_from.is_some() {
                changes.push((now.as_micros() / 1_000, live.health()));
            }
            if checkup.ping {
                live.pinged(now, &config, 0.5);
            }
            let next = live.next_check(&config);
            assert!(next > now, "the timer must move on, at {now:?} in {live:?}");
            now = next;
        }
        changes
    }

    #[test]
    fn silence_makes_a_peer_suspect_then_unreachable_at_the_stated_times() {
        let mut live = Liveness::new(at(0), &LivenessConfig::default());
        assert_eq!(
            silent_until(&mut live, 0, 10_000),
            [(700, Health::Suspect), (1_250, Health::Unreachable)]
        );
    }

    #[test]
    fn a_packet_makes_it_healthy_at_once_and_says_so_once() {
        let mut live = Liveness::new(at(0), &LivenessConfig::default());
        silent_until(&mut live, 0, 2_000);
        let (before, silence) = live.heard(at(2_000)).unwrap();
        assert_eq!((before, silence), (Health::Unreachable, Duration::from_secs(2)));
        assert_eq!(live.heard(at(2_001)), None);
        assert_eq!(live.health(), Health::Healthy);
    }

    #[test]
    fn a_silent_peer_is_pinged_within_the_heartbeat_and_oftener_when_suspect() {
        let config = LivenessConfig::default();
        let mut live = Liveness::new(at(0), &config);
        assert!(live.check(at(0), &config).ping, "at once, to measure the round trip");
        live.pinged(at(0), &config, 1.0);
        live.heard(at(1));
        assert!(!live.check(at(299), &config).ping);
        assert!(live.check(at(300), &config).ping);
        live.pinged(at(300), &config, 1.0);
        assert!(!live.check(at(399), &config).ping);
        assert!(live.check(at(400), &config).ping, "the one before was not answered");
        live.check(at(700), &config);
        live.pinged(at(700), &config, 1.0);
        assert!(live.check(at(800), &config).ping);
    }

    #[test]
    fn whoever_finds_a_peer_unreachable_still_pings_it_too_often_to_be_suspected_itself() {
        let config = LivenessConfig::default();
        let mut live = Liveness::new(at(0), &config);
        silent_until(&mut live, 0, 1_300);
        assert_eq!(live.health(), Health::Unreachable);
        live.pinged(at(1_300), &config, 1.0);
        let next = live.next_check(&config);
        assert!(live.check(next, &config).ping && next < at(1_300) + config.suspect, "{next:?}");
    }

    #[test]
    fn heartbeats_stay_within_the_budget_and_detection_within_three_of_them() {
        let base = LivenessConfig::default();
        for nodes in [1_u32, 2, 5, 64, 65, 71, 100, 128, 256, 1_024] {
            let config = base.for_peers(nodes as usize - 1);
            let per_second = f64::from(nodes * (nodes - 1)) / shortest(config.heartbeat).as_secs_f64();
            assert!(per_second <= f64::from(base.budget) * 1.001, "{nodes} nodes: {per_second}");
            assert_eq!(config.heartbeat == base.heartbeat, nodes <= 64, "{nodes} nodes");
            let most = Duration::from_millis(1_500).max(config.heartbeat * 3);
            assert!(config.unreachable <= most, "{nodes} nodes: {:?}", config.unreachable);
            assert!(config.heartbeat * 2 <= config.suspect && config.suspect < config.unreachable);
            assert!(config.unreachable < config.forget);
            let dialing = base.for_peers_being_dialed(nodes as usize - 1);
            assert_eq!(dialing.heartbeat == config.heartbeat, nodes <= 64, "{nodes} nodes");
            assert!(dialing.heartbeat <= config.heartbeat * 4);
            assert!(dialing.heartbeat * 3 <= dialing.unreachable.max(base.unreachable));
        }
    }

    #[test]
    fn a_peer_pinged_at_a_slower_pace_is_judged_by_that_until_it_is_pinged_again() {
        let pace = LivenessConfig::default();
        let slow = pace.for_peers(200);
        let mut live = Liveness::new(at(0), &slow);
        live.pinged(at(0), &slow, 1.0);
        live.heard(at(1));
        assert_eq!(live.check(at(1_260), &pace), Checkup { changed_from: None, ping: true, forget: false });
        assert_eq!(live.told_silence(at(1_260), Duration::from_millis(1_300), &pace), None);
        assert_eq!(live.told_silence(at(1_600), Duration::from_millis(1_300), &pace), None, "not deaf");
        live.pinged(at(1_600), &pace, 1.0);
        assert_eq!(live.next_check(&pace), at(1_700), "the ping is repeated");
        assert_eq!(live.check(at(1_999), &pace).changed_from, None, "it has an interval to answer");
        assert_eq!(live.check(at(2_000), &pace).changed_from, Some(Health::Healthy));
        assert_eq!(live.health(), Health::Suspect);
    }

    #[test]
    fn a_peer_that_was_pinged_at_a_slower_pace_is_pinged_again_within_an_interval_of_the_faster_one() {
        let pace = LivenessConfig::default();
        let slow = pace.for_peers(200);
        let mut live = Liveness::new(at(0), &slow);
        live.pinged(at(0), &slow, 1.0);
        live.heard(at(1));
        // What else goes to it is no ping.
        live.sent(at(200));
        assert!(live.next_check(&slow) > at(1_000));
        live.hasten(at(200), &pace, 0.5);
        assert_eq!(live.next_check(&pace), at(350));
        live.sent(at(300));
        live.hasten(at(300), &pace, 1.0);
        assert_eq!(live.next_check(&pace), at(350), "it is not put off");
        assert!(!live.check(at(350), &slow).ping, "the pace is slow again");
        assert!(live.check(at(350), &pace).ping);
        live.pinged(at(350), &pace, 1.0);
        live.heard(at(351));
        assert_eq!(live.next_check(&pace), at(650));
        live.hasten(at(400), &pace, 0.1);
        assert_eq!(live.next_check(&pace), at(650), "it was pinged at this pace");
    }

    #[test]
    fn a_peer_is_deaf_if_it_says_so_again_and_hears_if_it_says_so_once() {
        let config = LivenessConfig::default();
        let mut live = Liveness::new(at(0), &config);
        let (long, short) = (Duration::from_millis(1_250), Duration::from_millis(1_249));
        assert_eq!(live.told_silence(at(0), short, &config), None);
        assert_eq!(live.told_silence(at(10), long, &config), None, "perhaps this node stood still");
        assert_eq!(live.told_silence(at(11), long, &config), None, "and that waited meanwhile");
        assert_eq!(live.told_silence(at(310), long, &config), Some(true));
        assert_eq!(live.told_silence(at(900), long, &config), None);
        assert!(live.is_deaf());
        assert_eq!(live.told_silence(at(901), short, &config), Some(false));
        assert_eq!(live.told_silence(at(902), long, &config), None);
    }

    #[test]
    fn time_in_which_this_node_stood_still_does_not_count() {
        let config = LivenessConfig::default();
        let mut live = Liveness::new(at(0), &config);
        live.excuse(Duration::from_mins(1), at(60_100));
        assert_eq!(live.check(at(60_100), &config).changed_from, None);
        assert_eq!(live.silence(at(60_100)), Duration::from_millis(100));
    }

    #[test]
    fn the_round_trip_is_smoothed_by_an_eighth() {
        let mut live = Liveness::new(at(0), &LivenessConfig::default());
        assert_eq!(live.rtt(), None);
        live.measured(Duration::from_micros(800));
        live.measured(Duration::from_micros(1_600));
        assert_eq!(live.rtt(), Some(Duration::from_micros(900)));
    }

    #[test]
    fn an_absurd_echo_does_not_overflow() {
        let config = LivenessConfig::default();
        let mut live = Liveness::new(at(0), &config);
        for _ in 0..100 {
            live.measured(Duration::from_micros(u64::MAX));
        }
        live.pinged(at(1), &config, 1.0);
        assert_eq!(live.next_check(&config), at(700), "it is judged as before");
    }
}
