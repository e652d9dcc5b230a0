//! Everything at once, in random order: groups, lone daemons, events, migrations and signed commands, while nodes crash,
//! come back and lose each other. Then calm.

mod blows;
mod checks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meshground_node::{DaemonId, GroupId, Instant, MaintenanceConfig, MeshOs, NodeId, Ticket};
use meshground_shared::{AdminVerb, GroupKind, IceVerb};
use meshground_tests::sim::{Faults, Network, each_seed};

use crate::{BAD, LIMIT, all_acquainted, commanding::obeying, converged};

const MEMBERS: usize = 5;

/// Drains that end while somebody watches.
const MAINTENANCE: MaintenanceConfig =
    MaintenanceConfig { drain: Duration::from_secs(8), ramp: Duration::from_secs(4) };

/// A freeze is this long at most.
const FREEZE_MS: u64 = 8_000;

/// What befalls the system, one after the other.
#[derive(Debug, Clone)]
enum Blow {
    Spawn { at: usize },
    Stop { at: usize, daemon: DaemonId },
    Group { at: usize, kind: GroupKind, count: u32, parent: Option<DaemonId> },
    Scale { at: usize, group: GroupId, count: u32 },
    StopGroup { at: usize, group: GroupId },
    Send { from: usize, to: DaemonId, count: u64 },
    Upset { from: usize, daemon: DaemonId },
    Migrate { at: usize, daemon: DaemonId, to: usize },
    Promote { at: usize, group: GroupId },
    Cancel { at: usize },
    Admin { at: usize, verb: AdminVerb },
    Ice { at: usize, verb: IceVerb },
    Crash(usize),
    Restart(usize),
    StandStill(usize, Duration),
    CutOff { from: usize, to: usize },
    Divide(Vec<usize>),
    Mend,
    Weather(Faults),
}

/// Told if it ends badly.
#[derive(Debug, Default)]
struct Story(Vec<(Instant, Blow)>);

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.0.iter().map(|(at, blow)| format!("{at:?}: {blow:?}\n"));
            eprint!("{}", lines.collect::<String>());
        }
    }
}

/// Something that was asked of a member and has to be settled.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: usize,
    ticket: Ticket,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// The start of a lone daemon.
    Start(DaemonId),
    /// Its end.
    End(DaemonId),
    /// An event with this number, from this life of the member.
    Event { to: DaemonId, life: u64, number: u64 },
    /// A new group.
    Group,
    /// The end of one.
    GroupEnd(GroupId),
    /// Something else.
    Else,
}

struct Upheaval {
    net: Network,
    story: Story,
    /// Nothing happens that may cost a lone daemon its state.
    gentle: bool,
    asked: Vec<Asked>,
    /// For each member, how many events it had told when its present life began.
    born: [usize; MEMBERS],
    /// How often each member has crashed.
    lives: [u64; MEMBERS],
    solos: BTreeSet<DaemonId>,
    groups: BTreeSet<GroupId>,
    /// What was asked to stop.
    stopped: BTreeSet<DaemonId>,
    /// The commands that were submitted by members that have never crashed, and the nodes they were put to.
    commands: BTreeMap<String, (usize, BTreeSet<NodeId>)>,
    count: u64,
}

impl Upheaval {
    fn new(seed: u64) -> Self {
        let faults = Faults { loss: 0.05, corruption: 0.0, ..BAD };
        let mut net = converged(seed, faults, MEMBERS, &obeying(MAINTENANCE));
        net.run_until(LIMIT, all_acquainted).expect("everybody hears what runs where");
        Self {
            net,
            story: Story::default(),
            gentle: seed.is_multiple_of(3),
            asked: Vec::new(),
            born: [0; MEMBERS],
            lives: [0; MEMBERS],
            solos: BTreeSet::new(),
            groups: BTreeSet::new(),
            stopped: BTreeSet::new(),
            commands: BTreeMap::new(),
            count: 0,
        }
    }

    fn run(seed: u64) {
        let mut upheaval = Self::new(seed);
        let blows = 30 + upheaval.net.below(60);
        for _ in 0..blows {
            let Some(blow) = upheaval.random_blow() else { continue };
            upheaval.story.0.push((upheaval.net.now_at(0).instant, blow.clone()));
            upheaval.strike(blow);
            let pause = match upheaval.net.below(4) {
                0 => 0,
                1 => upheaval.net.below(20_000),
                2 => upheaval.net.below(400_000),
                _ => upheaval.net.below(3_000_000),
            };
            upheaval.net.run_for(Duration::from_micros(pause));
        }
        upheaval.calm_down();
        upheaval.all_is_well();
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.net.below(bound as u64)).expect("below a usize")
    }

    fn os(&self, number: usize) -> Option<&MeshOs> {
        self.net.members[number].os.os.as_ref()
    }

    fn is_running(&self, number: usize) -> bool {
        self.net.members[number].node.is_some()
    }

    fn running(&self) -> Vec<usize> {
        (0..MEMBERS).filter(|number| self.is_running(*number)).collect()
    }

    fn any_of<T: Copy>(&mut self, things: &[T]) -> Option<T> {
        let at = self.below(things.len().max(1));
        things.get(at).copied()
    }

    /// Ends all misfortune.
    fn calm_down(&mut self) {
        self.net.faults = Faults { loss: 0.02, duplication: 0.02, corruption: 0.0, ..BAD };
        self.net.cuts.clear();
        for number in 0..MEMBERS {
            self.strike(Blow::Restart(number));
        }
        self.net.dial_all();
        self.net.run_until(LIMIT, Network::is_converged).expect("the mesh converges");
        // Freezes, drains, deadlines and patience are over by then.
        self.net.run_for(Duration::from_secs(30));
    }
}

#[test]
fn whatever_befalls_the_system_it_is_as_it_should_be_once_it_is_left_in_peace() {
    each_seed(100, Upheaval::run);
}
