//! A minute in which nothing is left alone: sixteen nodes on links that lose every twentieth datagram, up to three of them
//! down at once, daemons that move, groups that are stirred and signed commands all the time. Then what must hold.
//!
//! A minute in every run of the tests; `MESHGROUND_SOAK_SECS=600` says how long otherwise.

mod letters;
mod moves;
mod operators;
mod peace;
mod strikes;
mod tally;
mod trails;

use std::{ops::Range, sync::Mutex};

use meshground::{
    cluster::{Group, GroupConfig},
    meshos::random_keypair,
};
use meshground_node::{DaemonId, MaintenanceConfig, admin::AdminVerifier, admin::Operators};
use meshground_shared::{GroupView, LinkFault};
use meshground_tests::daemons::Diary;
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{RngCore, SeedableRng},
};

use self::{
    letters::{Correspondent, Post},
    operators::Orders,
    tally::Tally,
};
use super::*;

const NODES: usize = 16;

/// These never crash.
const CALM: Range<usize> = 0..4;

/// The standby group runs on these and the calm ones. One of them is down at a time, and only while others hold what the
/// group has acknowledged: what all lose together is lost by promise.
const SOUND: Range<usize> = 4..7;

/// Does not crash either. Whatever runs here is started again and again by command.
const FORGE: usize = 7;

/// Of each of these two ranges one is down at a time, whatever it does.
const WILD: [Range<usize>; 2] = [8..12, 12..16];

/// How many members each group has.
const COUNT: u32 = 4;

/// So many command at a time.
const OPERATORS: usize = 6;

/// What the ancestor has written down when forks are made of it.
const ANCESTRY: usize = 5;

/// Drains that end while somebody watches.
const MAINTENANCE: MaintenanceConfig =
    MaintenanceConfig { drain: Duration::from_secs(8), ramp: Duration::from_secs(4) };

fn soak() -> Duration {
    let seconds = std::env::var("MESHGROUND_SOAK_SECS").ok();
    let seconds = seconds.map(|it| it.parse().expect("MESHGROUND_SOAK_SECS is a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(60))
}

/// Chance, the same in every run. What follows from it is not.
struct Dice(ChaCha20Rng);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(ChaCha20Rng::seed_from_u64(seed))
    }

    /// Something below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.next_u64() % bound as u64).expect("below a usize")
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn within(&mut self, range: &Range<usize>) -> usize {
        range.start + self.below(range.len())
    }

    fn any_of<T: Clone>(&mut self, things: &[T]) -> Option<T> {
        let at = self.below(things.len().max(1));
        things.get(at).cloned()
    }

    /// Lets some time pass, in milliseconds.
    async fn pause(&mut self, millis: Range<usize>) {
        tokio::time::sleep(Duration::from_millis(self.within(&millis) as u64)).await;
    }
}

/// Who is there.
struct Cast {
    /// They move among the calm nodes alone, so that what they have acknowledged they hold. Forks are made of the first.
    precious: Vec<DaemonId>,
    /// They stay at the forge, and count how often they were started again.
    witnesses: Vec<DaemonId>,
    replicas: Group,
    forks: Group,
    standbys: Group,
}

#[derive(Clone)]
struct Upheaval {
    cluster: ClusterHarness,
    cast: Arc<Cast>,
    /// They go everywhere, and may be lost with a node; the latest last.
    strays: Arc<Mutex<Vec<DaemonId>>>,
    tally: Arc<Tally>,
    post: Arc<Post>,
    orders: Arc<Orders>,
}

impl Upheaval {
    async fn begin() -> Self {
        let bad = LinkFault { loss: 0.05, ..LinkFault::default() };
        let all = (0..NODES).flat_map(|a| (0..NODES).map(move |b| (a, b))).filter(|(a, b)| a != b);
        let config = ClusterConfig {
            faults: all.map(|link| (link, bad)).collect(),
            seed: Some(5),
            handshake_timeout: PATIENCE,
            mesh_session_stable_timeout: PATIENCE,
            verifier: Some(AdminVerifier::allow_demo(Operators::demo())),
            maintenance: MAINTENANCE,
            capabilities: Some(Arc::new(|index| {
                let mut its = ClusterConfig::default_capabilities(index);
                for (tag, has_it) in [("calm", CALM.contains(&index)), ("sound", is_sound(index))] {
                    if has_it {
                        its.add_tag(tag).expect("there is room");
                    }
                }
                its
            })),
            ..ClusterConfig::default()
        };
        let cluster = boot_with(NODES, config).await;
        let post = Arc::new(Post::default());
        let cast = Arc::new(assemble(&cluster, &post).await);
        Self { cluster, cast, strays: Arc::default(), tally: Arc::default(), post, orders: Arc::default() }
    }

    /// Whoever is in this place now.
    fn node(&self, index: usize) -> ClusterNode {
        self.cluster.nth(index).expect("it is a member")
    }

    fn calm_node(&self, dice: &mut Dice) -> ClusterNode {
        self.node(dice.within(&CALM))
    }

    fn groups(&self) -> [&Group; 3] {
        [&self.cast.replicas, &self.cast.forks, &self.cast.standbys]
    }

    /// What a standby group is there for.
    fn standing(&self) -> DaemonId {
        view(&self.cast.standbys).members[0].daemon
    }

    /// Everything at once, for as long as it is to last.
    async fn rage(&self) {
        let mut all = Vec::new();
        let mut seed = 0;
        let mut dice = || {
            seed += 1;
            Dice::new(seed)
        };
        for range in [SOUND].into_iter().chain(WILD) {
            all.push(tokio::spawn(self.clone().crash_again_and_again(range, dice())));
        }
        for &daemon in &self.cast.precious {
            all.push(tokio::spawn(self.clone().move_among_the_calm(daemon, dice())));
        }
        for _ in 0..2 {
            all.push(tokio::spawn(self.clone().go_astray(dice())));
        }
        for group in [&self.cast.replicas, &self.cast.forks] {
            all.push(tokio::spawn(self.clone().stir(group.clone(), dice())));
        }
        all.push(tokio::spawn(self.clone().hand_over(dice())));
        for (number, index) in
            [0, 1, FORGE, SOUND.start, WILD[0].start, WILD[1].start].into_iter().enumerate()
        {
            let writes = Correspondent::new(number, index);
            all.push(tokio::spawn(self.clone().write_letters(writes, dice())));
        }
        let always = (0..NODES)
            .filter(|index| is_always_there(*index))
            .map(|index| (self.node(index).node_id(), index))
            .collect();
        all.push(tokio::spawn(Arc::clone(&self.tally).listen(self.cluster.events().events, always)));
        for _ in 0..OPERATORS {
            all.push(tokio::spawn(self.clone().command_again_and_again(dice())));
        }
        tokio::time::sleep(soak()).await;
        self.tally.end();
        for one in all {
            one.await.expect("it ends well");
        }
    }
}

fn is_sound(index: usize) -> bool {
    CALM.contains(&index) || SOUND.contains(&index)
}

/// Whether it is never down.
fn is_always_there(index: usize) -> bool {
    CALM.contains(&index) || index == FORGE
}

fn view(group: &Group) -> GroupView {
    group.view().expect("nobody stops it")
}

/// Starts every daemon and every group.
async fn assemble(cluster: &ClusterHarness, post: &Post) -> Cast {
    let config = |name: &str, args: &str| GroupConfig {
        count: COUNT,
        name: Some(name.to_owned()),
        args: args.to_owned(),
        ..GroupConfig::default()
    };
    // It brings the factory along.
    let replicas = cluster.spawn_replica_group(0, "diary", Diary::factory(), config("replicas", ""));
    let replicas = within("replicas", replicas).await.expect("there is room");
    let spawn = async |index: usize, args: &str| {
        let runtime = cluster.nth(index).expect("it is a member").daemon_runtime();
        within("a start", runtime.spawn("diary", random_keypair(), args))
            .await
            .expect("nothing is in its way")
    };
    let mut precious = Vec::new();
    for index in CALM {
        precious.push(spawn(index, "needs calm").await);
    }
    let mut first = Correspondent::new(99, 0);
    for _ in 0..ANCESTRY {
        post.send(cluster, &mut first, precious[0], 1).await;
    }
    let forks = config("forks", "");
    let forks = cluster.spawn_fork_group(WILD[0].start, "diary", Diary::factory(), precious[0], forks);
    let forks = within("forks", forks).await.expect("there is room");
    let standbys = config("standbys", "needs sound");
    let standbys = cluster.spawn_standby_group(SOUND.start, "diary", Diary::factory(), standbys);
    let standbys = within("standbys", standbys).await.expect("there is room");
    let witnesses = vec![spawn(FORGE, "").await, spawn(FORGE, "").await];
    Cast { precious, witnesses, replicas, forks, standbys }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_minute_of_crashes_moves_and_commands_on_bad_links_all_is_as_it_should_be() {
    let upheaval = Upheaval::begin().await;
    upheaval.rage().await;
    upheaval.tally.print();
    upheaval.cluster.clear_faults().unwrap();
    within("peace", upheaval.cluster.converged()).await.unwrap();
    upheaval.all_is_well().await;
    // What commands have kept from serving serves again, so that nothing excuses a group that lacks a member.
    upheaval.bring_all_back().await;
    upheaval.all_is_well().await;
    upheaval.groups_are_whole();
    upheaval.tally.print();
    upheaval.tally.was_fair(soak());
    within("the end", upheaval.cluster.shutdown()).await.unwrap();
}
