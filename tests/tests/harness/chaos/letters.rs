//! What daemons are sent, and what they are to have of it.

use futures_util::future::join_all;
use meshground_shared::GroupKind;

use super::*;

/// So many are under way at once from one correspondent at most.
pub(super) const BURST: usize = 24;

/// Who sends letters, from a node and in one life of it. Each is numbered, whoever it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Correspondent {
    number: usize,
    index: usize,
    sent: u64,
}

impl Correspondent {
    pub(super) fn new(number: usize, index: usize) -> Self {
        Self { number, index, sent: 0 }
    }
}

/// One that was sent.
#[derive(Debug, Clone)]
struct Letter {
    to: DaemonId,
    text: String,
    /// Its place among all that the daemon has worked off, if that has said so.
    place: Option<u64>,
}

/// All that was sent.
#[derive(Debug, Default)]
pub(super) struct Post(Mutex<Vec<Letter>>);

impl Post {
    /// Sends a daemon so many, one right after the other; how many of them it acknowledged.
    pub(super) async fn send(
        &self,
        cluster: &ClusterHarness,
        from: &mut Correspondent,
        to: DaemonId,
        count: usize,
    ) -> usize {
        let runtime = cluster.nth(from.index).expect("it is a member").daemon_runtime();
        let life = runtime.system().epoch;
        let each = (0..count).map(|_| {
            from.sent += 1;
            let text = format!("{} {life} {}", from.number, from.sent);
            let runtime = runtime.clone();
            async move {
                let delivered = runtime.deliver(to, text.as_bytes(), None).await;
                Letter { to, text, place: delivered.ok().map(|it| it.place) }
            }
        });
        // They are handed in in this order.
        let letters = within("answers", join_all(each)).await;
        let acknowledged = letters.iter().filter(|letter| letter.place.is_some()).count();
        self.0.lock().unwrap().extend(letters);
        acknowledged
    }

    fn to(&self, daemon: DaemonId) -> Vec<Letter> {
        self.0.lock().unwrap().iter().filter(|letter| letter.to == daemon).cloned().collect()
    }
}

impl Upheaval {
    /// Writes to everybody in turn.
    pub(super) async fn write_letters(self, mut from: Correspondent, mut dice: Dice) {
        while !self.tally.is_over() {
            if self.cluster.member_state(self.node(from.index).node_id()) != Some(NodeState::Running) {
                dice.pause(10..100).await;
                continue;
            }
            let (what, to) = match dice.below(10) {
                0..4 => ("precious", dice.any_of(&self.cast.precious)),
                4..7 => ("standbys", Some(self.standing())),
                7 => ("strays", {
                    let strays = self.strays.lock().unwrap().clone();
                    dice.any_of(&strays[strays.len().saturating_sub(2)..])
                }),
                8 => ("other groups", dice.any_of(&view(&self.cast.replicas).members).map(|it| it.daemon)),
                _ => ("other groups", dice.any_of(&view(&self.cast.forks).members).map(|it| it.daemon)),
            };
            let count = 1 + dice.below(BURST);
            let acknowledged = match to {
                Some(to) => self.post.send(&self.cluster, &mut from, to, count).await,
                None => 0,
            };
            for number in 0..count {
                let became = if number < acknowledged { "acknowledged" } else { "unanswered" };
                self.tally.add(format!("{became} to {what}"));
            }
            dice.pause(0..60).await;
        }
    }

    /// Whatever runs has nothing that it was not sent, nothing twice and nothing out of order; and what is not to lose anything
    /// has everything that it has acknowledged where it said.
    pub(super) async fn letters_are_in_order(&self) {
        let ancestry = self.entries(self.cast.precious[0]).await;
        let ancestry = &ancestry[..ANCESTRY];
        let forks = view(&self.cast.forks).members;
        assert_eq!(view(&self.cast.forks).kind, GroupKind::Fork);
        for daemon in self.hosts().await.into_keys() {
            let mut entries = &self.entries(daemon).await[..];
            if forks.iter().any(|fork| fork.daemon == daemon) {
                let (begun, after) = entries.split_at_checked(ANCESTRY).expect("it has all of its parent's");
                assert_eq!(begun, ancestry, "{daemon} went on from its parent's state");
                entries = after;
            }
            let letters = self.post.to(daemon);
            let sent: BTreeSet<&str> = letters.iter().map(|letter| letter.text.as_str()).collect();
            let mut found: BTreeMap<(&str, &str), Vec<u64>> = BTreeMap::new();
            for entry in entries {
                assert!(sent.contains(entry.as_str()), "{daemon} has {entry:?}, which nobody sent it");
                let mut parts = entry.split(' ');
                let mut part = || parts.next().expect("three of them");
                let from = (part(), part());
                found.entry(from).or_default().push(part().parse().expect("a number"));
            }
            for (from, numbers) in &found {
                assert!(numbers.is_sorted_by(|a, b| a < b), "{daemon} got from {from:?}: {numbers:?}");
            }
            if !self.cast.precious.contains(&daemon) && daemon != self.standing() {
                continue;
            }
            for letter in &letters {
                let Some(place) = letter.place else { continue };
                let there = usize::try_from(place - 1).ok().and_then(|at| entries.get(at));
                let has = entries.iter().position(|entry| *entry == letter.text);
                assert!(
                    there == Some(&letter.text),
                    "{daemon} acknowledged {letter:?}, has it at {has:?}, and {there:?} there"
                );
            }
        }
    }

    /// What a diary says, wherever it is: groups may still be balanced, and then it is on its way for a moment.
    async fn entries(&self, daemon: DaemonId) -> Vec<String> {
        let begun = Instant::now();
        let state = loop {
            let hosts = self.hosts().await.remove(&daemon).unwrap_or_default();
            let unread = match hosts[..] {
                [index] => {
                    match within("a state", self.node(index).daemon_runtime().snapshot(daemon)).await {
                        Ok(state) => break state,
                        Err(error) => error.to_string(),
                    }
                }
                _ => format!("it runs on {hosts:?}"),
            };
            assert!(begun.elapsed() < PATIENCE, "{daemon} cannot be read: {unread}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let entries = Diary::read(&state.bytes).into_iter();
        entries.map(|entry| String::from_utf8(entry).expect("it was text")).collect()
    }
}
