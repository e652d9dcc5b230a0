//! Choosing a member for something to do.

use meshground_shared::{DaemonId, GroupId, NodeId};

use super::rank;

/// Which member of a group gets the next thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PickStrategy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one that says it is least busy.
    LeastLoaded,
    /// Any.
    Random,
    /// For the same key the same one, as long as it is well; if it is not, only what was its goes to others.
    Hash(u64),
}

/// A member that is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) index: u32,
    pub(crate) daemon: DaemonId,
    /// In hundredths.
    pub(crate) saturation: u8,
}

/// Picks one of `members`, which are in the order of their places. `turn` counts the turns, `random` is random.
pub(crate) fn pick(
    group: GroupId,
    members: &[Choice],
    strategy: PickStrategy,
    turn: u64,
    random: u64,
) -> Option<DaemonId> {
    let at = |number: u64| members.get(usize::try_from(number.checked_rem(members.len() as u64)?).ok()?);
    let choice = match strategy {
        PickStrategy::RoundRobin => at(turn),
        PickStrategy::Random => at(random),
        PickStrategy::LeastLoaded => members.iter().min_by_key(|member| (member.saturation, member.index)),
        // Each member has a rank for the key; the highest of those there are has it.
        PickStrategy::Hash(key) => members.iter().max_by_key(|member| rank(group, member.index, NodeId(key))),
    };
    choice.map(|choice| choice.daemon)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(count: u32) -> Vec<Choice> {
        let member = |index| Choice { index, daemon: DaemonId(u64::from(index)), saturation: 50 };
        (0..count).map(member).collect()
    }

    #[test]
    fn turns_go_round_and_the_idlest_is_found() {
        let mut members = members(3);
        let turns: Vec<u64> = (0..6)
            .map(|turn| pick(GroupId(1), &members, PickStrategy::RoundRobin, turn, 0).unwrap().0)
            .collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2]);
        members[1].saturation = 10;
        assert_eq!(pick(GroupId(1), &members, PickStrategy::LeastLoaded, 0, 0), Some(DaemonId(1)));
        assert_eq!(pick(GroupId(1), &[], PickStrategy::Random, 0, 7), None);
    }

    #[test]
    fn a_key_stays_with_its_member_while_that_is_there_and_others_keep_theirs() {
        let all = members(4);
        let without: Vec<Choice> = all.iter().copied().filter(|member| member.index != 2).collect();
        let mut moved = 0;
        for key in 0..400 {
            let before = pick(GroupId(1), &all, PickStrategy::Hash(key), 0, 0).unwrap();
            let after = pick(GroupId(1), &without, PickStrategy::Hash(key), 0, 0).unwrap();
            if before == DaemonId(2) {
                moved += 1;
            } else {
                assert_eq!(before, after);
            }
        }
        assert!((50..150).contains(&moved), "{moved} of 400 were its");
    }
}
