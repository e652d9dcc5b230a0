//! How a daemon's generations are counted, so that of two of its incarnations that know nothing of each other both ends
//! know which is to stay.
//!
//! A generation is three counts in one number, which compare in this order: of those who took the daemon over (44 bits), of
//! the sources that took it back by force (10 bits), and of its moves and fresh starts (10 bits). One that moved has asked
//! nobody. A source that takes a daemon back must outdo the moves that the target may make of it unseen. And whoever takes
//! over has asked all who were in sync, so that nothing the others do without asking may outdo that. A count that is full
//! goes over into the one before. Nothing comes after [`LAST`], and what says so is not believed: an honest mesh is
//! never there. A member that claims it, or one just before it, has nobody come after, and so holds up what it claims it for: as it
//! could by ending it.

/// What a source that takes its daemon back adds, once: the first number that the count of moves cannot hold.
const TAKEN_BACK: u64 = 1 << 10;

/// What somebody who takes over adds, once.
const TAKEN_OVER: u64 = 1 << 20;

/// The greatest there is; it counts as one that took over.
pub(crate) const LAST: u64 = 1 << 63;

/// After a move, a hand-over to one that is named, or a fresh start.
pub(crate) fn next(generation: u64) -> u64 {
    generation.saturating_add(1).min(LAST)
}

/// After its source took it back from a target that may have it as `generation`.
pub(crate) fn taken_back(generation: u64) -> u64 {
    generation.saturating_add(TAKEN_BACK).min(LAST)
}

/// After somebody took over, whatever became of it meanwhile where that is not seen.
pub(crate) fn taken_over(generation: u64) -> u64 {
    (generation / TAKEN_OVER + 1).saturating_mul(TAKEN_OVER).min(LAST)
}

/// Whether it began by taking over: it has asked all who were in sync before it.
pub(crate) fn has_taken_over(generation: u64) -> bool {
    generation.is_multiple_of(TAKEN_OVER)
}

/// Whether nobody has taken over between two: then neither has asked more than the other.
pub(crate) fn follow_one_takeover(a: u64, b: u64) -> bool {
    a / TAKEN_OVER == b / TAKEN_OVER
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What may become of a daemon in so many moves that nobody else sees.
    fn moved(generation: u64, times: usize) -> u64 {
        (0..times).fold(generation, |generation, _| next(generation))
    }

    #[test]
    fn a_source_that_takes_its_daemon_back_outdoes_all_moves_from_the_target_on() {
        let at_the_target = next(taken_over(1));
        assert!(taken_back(at_the_target) > moved(at_the_target, 1_000));
        assert!(follow_one_takeover(taken_back(at_the_target), at_the_target), "it has asked nobody");
        assert!(!has_taken_over(taken_back(at_the_target)));
    }

    #[test]
    fn whoever_takes_over_outdoes_all_that_nobody_was_asked_for() {
        let first = taken_over(0);
        assert!(has_taken_over(first) && !has_taken_over(next(first)));
        for unseen in [first, moved(first, 1_000), taken_back(moved(first, 3)), moved(taken_back(first), 9)] {
            assert!(follow_one_takeover(first, unseen));
            assert_eq!(taken_over(unseen), taken_over(first), "whoever does not see that goes as far");
            assert!(unseen < taken_over(first) && !follow_one_takeover(unseen, taken_over(first)));
        }
    }

    #[test]
    fn there_is_a_last_one() {
        for after in [next, taken_back, taken_over] {
            assert_eq!((after(LAST), after(LAST - 1)), (LAST, LAST));
        }
        assert!(has_taken_over(LAST), "whoever is there need not look for a later one");
    }
}
