//! Everything at once, in random order: nodes crash, come back, leave, dial again and lose
//! each other while they talk and the network and their clocks misbehave. Then calm.

use std::{collections::BTreeMap, time::Duration};

use meshground_node::{Capabilities, DialId, Instant, Node, NodeConfig, NodeEvent, NodeId, StreamId, Suite};

use super::{Faults, Network};

const PSK: [u8; 32] = [42; 32];

/// Nodes' clocks differ by at most this; more than ten seconds and they do not talk.
const MAX_SKEW_US: u64 = 9_000_000;

/// What befalls the network, one after the other.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Crash(usize),
    Restart { number: usize, in_place: bool },
    Leave(usize),
    Dial(usize, usize),
    DialRelayed(usize, usize),
    Announce(usize, u64),
    CutOneWay(usize, usize),
    Mend,
    Skew(usize, u64),
    Weather(Faults),
    StandStill(usize, Duration),
    Send(usize, usize),
    OpenStream(usize, usize),
    Write(usize, usize),
    EndStream(usize, End),
    Call(usize, usize, usize),
}

/// How a stream ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Finish,
    Reset,
    Stop,
}

fn below(net: &mut Network, bound: usize) -> usize {
    usize::try_from(net.below(bound as u64)).expect("below a usize")
}

/// A network that suffers all of it.
#[derive(Debug)]
pub struct Upheaval {
    /// The network.
    pub net: Network,
    /// What has befallen it, for whoever looks into a failure.
    story: Story,
    /// Whether keys are renewed meanwhile, again and again.
    renews: bool,
    /// The dials of each member's present life.
    dials: BTreeMap<usize, Vec<DialId>>,
}

/// Told if it ends badly.
#[derive(Debug, Default)]
struct Story(Vec<(Instant, Blow)>);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(|(at, blow)| eprintln!("{at:?}: {blow:?}"));
        }
    }
}

impl Upheaval {
    /// From beginning to end, with two to five members; with the calm network that is left.
    ///
    /// # Panics
    /// When something does not hold that must.
    pub fn run(seed: u64) -> Self {
        let mut upheaval = Self::new(seed, None);
        if upheaval.net.below(4) > 0 {
            upheaval.everyone_dials();
            upheaval.net.run_for(Duration::from_millis(100));
        }
        let blows = 20 + upheaval.net.below(60);
        upheaval.suffer(blows);
        upheaval.calm_down();
        upheaval.all_is_well();
        upheaval.messages_pass_exactly_once();
        upheaval.all_know_the_same();
        upheaval.net.nothing_hangs();
        upheaval
    }

    /// A network of `members`, or of two to five, that do not know each other yet.
    pub fn new(seed: u64, members: Option<u64>) -> Self {
        let mut net = Network::new(seed, Faults::NONE);
        net.talks = true;
        let renews = seed % 2 == 1;
        let random = 2 + net.below(4);
        for _ in 0..members.unwrap_or(random) {
            // The default budget: dials also end in failure, at every stage.
            let mut config = NodeConfig::new(PSK);
            config.suite = [None, Some(Suite::Aes256Gcm), Some(Suite::ChaCha20Poly1305)][below(&mut net, 3)];
            config.handshake.max_dials = 1 + below(&mut net, 3);
            // What is measured is measured with what nodes do by default.
            if members.is_none() {
                config.max_datagram = [512, 1_452, 9_000][below(&mut net, 3)];
            }
            if below(&mut net, 2) == 0 {
                config.liveness.forget = Duration::from_secs(3);
            }
            if renews {
                config.rekey.interval = Duration::from_secs(15);
            }
            net.add(config);
        }
        Self { net, story: Story::default(), renews, dials: BTreeMap::new() }
    }

    /// So many blows, one after the other.
    pub fn suffer(&mut self, blows: u64) {
        for _ in 0..blows {
            let blow = self.random_blow();
            self.story.0.push((self.net.now_at(0).instant, blow));
            self.strike(blow);
            let pause = match self.net.below(3) {
                0 => self.net.below(3_000),
                1 => self.net.below(6_000_000),
                _ => 0,
            };
            self.net.run_for(Duration::from_micros(pause));
        }
    }

    fn is_running(&self, number: usize) -> bool {
        self.net.members[number].node.is_some()
    }

    fn random_member(&mut self) -> usize {
        let count = self.net.members.len();
        below(&mut self.net, count)
    }

    fn random_blow(&mut self) -> Blow {
        let (a, b) = (self.random_member(), self.random_member());
        let (speaker, listener) = self.random_session().unwrap_or((a, b));
        match self.net.below(32) {
            0 => Blow::Crash(a),
            1..=3 => Blow::Restart { number: a, in_place: self.net.below(2) == 0 },
            4 => Blow::Leave(a),
            5..=8 => Blow::Dial(a, b),
            9..=10 => Blow::CutOneWay(a, b),
            11 => Blow::Mend,
            12 => Blow::Skew(a, self.net.below(MAX_SKEW_US)),
            13 => {
                let mut percent =
                    |most| f64::from(u32::try_from(self.net.below(most)).expect("small")) / 100.0;
                let (loss, duplication, corruption) = (percent(60), percent(30), percent(10));
                let jitter = Duration::from_micros(self.net.below(100_000));
                Blow::Weather(Faults { loss, duplication, corruption, jitter, ..Faults::NONE })
            }
            14 => Blow::StandStill(a, Duration::from_millis(self.net.below(3_000))),
            15 => Blow::DialRelayed(a, b),
            16 => Blow::Announce(a, self.net.below(1_000)),
            17..=20 => Blow::OpenStream(speaker, listener),
            21..=24 => Blow::Write(speaker, below(&mut self.net, 300_000)),
            25..=26 => Blow::EndStream(
                speaker,
                [End::Finish, End::Finish, End::Reset, End::Stop][below(&mut self.net, 4)],
            ),
            27..=29 => Blow::Call(speaker, listener, below(&mut self.net, 100_000)),
            _ => Blow::Send(speaker, listener),
        }
    }

    fn strike(&mut self, blow: Blow) {
        match blow {
            Blow::Crash(number) => self.net.crash(number),
            Blow::Restart { number, in_place } => {
                self.net.crash(number);
                self.dials.remove(&number);
                if in_place {
                    self.net.restart_in_place(number);
                } else {
                    self.net.restart(number);
                }
            }
            Blow::Leave(number) if self.is_running(number) => {
                self.net.act(number, Node::leave);
                self.every_dial_ended_once(number);
                self.net.crash(number);
            }
            Blow::Dial(from, to) if self.is_running(from) => {
                let dial = self.net.dial(from, to);
                self.dials.entry(from).or_default().push(dial);
            }
            Blow::DialRelayed(from, to) if self.is_running(from) => {
                let target = self.net.id(to);
                let dial = self.net.act(from, |node, now| node.connect_relayed(now, target));
                self.dials.entry(from).or_default().push(dial);
            }
            Blow::Announce(number, tag) if self.is_running(number) => {
                let capabilities = Capabilities::new().with_tag(tag.to_string()).expect("a short tag");
                self.net.act(number, |node, now| node.announce(now, capabilities));
            }
            Blow::CutOneWay(from, to) => {
                let cut = (self.net.members[from].address, self.net.members[to].address);
                self.net.cuts.push(cut);
            }
            Blow::Mend => self.net.cuts.clear(),
            Blow::Skew(number, us) => self.net.members[number].skew_us = us,
            Blow::Weather(faults) => self.net.faults = faults,
            Blow::StandStill(number, time) => {
                self.net.freeze(number);
                self.net.run_for(time);
                self.net.thaw(number);
            }
            // Without a session the following are refused, which is fine too.
            Blow::Send(from, to) if self.is_running(from) => _ = self.net.say(from, to),
            Blow::OpenStream(from, to) if self.is_running(from) => _ = self.net.open_stream(from, to),
            Blow::Call(from, to, len) if self.is_running(from) => _ = self.net.ask(from, to, len),
            Blow::Write(number, len) if self.is_running(number) => {
                if let Some((peer, stream)) = self.random_stream(number) {
                    self.net.write_stream(number, peer, stream, len);
                }
            }
            Blow::EndStream(number, end) if self.is_running(number) => {
                if let Some((peer, stream)) = self.random_stream(number) {
                    match end {
                        End::Finish => self.net.finish_stream(number, peer, stream),
                        End::Reset => self.net.reset_stream(number, peer, stream),
                        End::Stop => self.net.stop_stream(number, peer, stream),
                    }
                }
            }
            // Of one that is down.
            _ => {}
        }
    }

    /// Who has a session with whom, one of all such.
    fn random_session(&mut self) -> Option<(usize, usize)> {
        let n = self.net.members.len();
        let pairs: Vec<(usize, usize)> = (0..n)
            .flat_map(|from| (0..n).map(move |to| (from, to)))
            .filter(|&(from, to)| self.net.verdict(from, to).is_some())
            .collect();
        let at = below(&mut self.net, pairs.len().max(1));
        pairs.get(at).copied()
    }

    fn random_stream(&mut self, number: usize) -> Option<(NodeId, StreamId)> {
        let streams = self.net.writable_streams(number);
        let at = below(&mut self.net, streams.len().max(1));
        streams.get(at).copied()
    }

    /// Ends all misfortune, then has every pair dial once more.
    pub fn calm_down(&mut self) {
        self.net.faults = Faults::NONE;
        self.net.cuts.clear();
        for number in 0..self.net.members.len() {
            if !self.is_running(number) {
                self.strike(Blow::Restart { number, in_place: number % 2 == 0 });
            }
        }
        let pause = Duration::from_millis(self.net.below(5_000));
        self.net.run_for(pause);
        self.everyone_dials();
        self.net.run_for(Duration::from_secs(20));
    }

    /// Every pair, each in one direction.
    pub fn everyone_dials(&mut self) {
        for a in 0..self.net.members.len() {
            for b in a + 1..self.net.members.len() {
                let (from, to) = if self.net.below(2) == 0 { (a, b) } else { (b, a) };
                self.strike(Blow::Dial(from, to));
            }
        }
    }

    fn every_dial_ended_once(&self, number: usize) {
        let mut ended: BTreeMap<DialId, u32> = BTreeMap::new();
        for event in self.net.members[number].told() {
            if let NodeEvent::Dialed { dial, .. } | NodeEvent::DialFailed { dial, .. } = event {
                *ended.entry(*dial).or_default() += 1;
            }
        }
        let expected: BTreeMap<DialId, u32> =
            self.dials.get(&number).into_iter().flatten().map(|dial| (*dial, 1)).collect();
        assert_eq!(ended, expected, "how often each dial of member {number} ended");
    }

    fn all_is_well(&mut self) {
        let n = self.net.members.len();
        for a in 0..n {
            self.every_dial_ended_once(a);
            let row: Vec<_> = (0..n).map(|b| self.net.verdict(a, b)).collect();
            assert!(self.net.is_converged(), "verdicts of member {a} and others: {row:?}");
            let shown = format!("{:?}", self.net.members[a].node);
            let peers = n - 1;
            // A session that was renewed just now keeps its slot for a while, and one that is being renewed has two.
            let spare = if self.renews { peers * 2 } else { 0 };
            let fits = |slots| shown.contains(&format!("peers: {peers}, slots: {slots},"));
            assert!((peers..=peers + spare).any(fits), "leftovers: {shown}");
        }
        let sessions = self.net.sessions();
        for pair in sessions.chunks(2) {
            assert_eq!(pair[0], pair[1], "the two ends of a session disagree");
        }
        assert_eq!(sessions.len(), n * (n - 1));
    }

    fn messages_pass_exactly_once(&mut self) {
        self.net.faults.duplication = 1.0;
        let n = self.net.members.len();
        for from in 0..n {
            for to in (0..n).filter(|to| *to != from) {
                let id = self.net.id(to);
                self.net.act(from, |node, now| node.send(now, id, b"at last")).expect("a session");
            }
        }
        let before = self.net.timeouts;
        self.net.run_for(Duration::from_secs(1));
        let calls = self.net.timeouts - before;
        assert!(calls < 20 * (n * n) as u64, "timers went off {calls} times in a second at {n} nodes");
        for to in 0..n {
            let got = self.net.members[to].received().iter().filter(|(_, payload)| payload == b"at last");
            assert_eq!(got.count(), n - 1, "messages at {to}");
        }
    }
}

impl Upheaval {
    /// Everyone is linked with everyone again and holds the same records, those of their present lives.
    fn all_know_the_same(&mut self) {
        let n = self.net.members.len();
        for number in 0..n {
            let node = self.net.members[number].node.as_mut().expect("running");
            let distances: Vec<u16> = node.routes().map(|route| route.distance).collect();
            assert_eq!(distances, vec![1; n - 1], "at {number}");
        }
        let known = |number: usize| -> Vec<(NodeId, Capabilities)> {
            let node = self.net.members[number].node.as_ref().expect("running");
            node.capabilities().iter().map(|(id, it)| (id, it.clone())).collect()
        };
        for number in 0..n {
            assert_eq!(known(number), known(0), "at {number}");
        }
    }
}
