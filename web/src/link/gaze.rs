//! Through whose eyes the page looks, and when it asks what they see.

use meshground_shared::NodeId;

/// Milliseconds from one question to the next.
pub(crate) const EVERY_MS: f64 = 1_000.0;

/// Whom the page looks through, and whom it has asked. One question is under way at a time, however often a person
/// turns to another node and however slow the server is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gaze {
    at: Option<NodeId>,
    asked: Option<NodeId>,
}

impl Gaze {
    /// The person looks through another node's eyes, or through nobody's.
    pub(crate) fn turn(&mut self, at: Option<NodeId>) {
        self.at = at;
    }

    /// Whom to ask about now; nobody while a question is under way, or while `able` is false: the server cannot be
    /// asked, or nobody would see the answer.
    pub(crate) fn next(&mut self, able: bool) -> Option<NodeId> {
        if !able || self.asked.is_some() {
            return None;
        }
        self.asked = self.at;
        self.asked
    }

    /// The question is answered, or lost. Gives whom it was about, if the person still looks through those eyes.
    pub(crate) fn answered(&mut self) -> Option<NodeId> {
        self.asked.take().filter(|asked| self.at == Some(*asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn one_question_is_under_way_at_a_time() {
        let mut gaze = Gaze::default();
        assert_eq!(gaze.next(true), None, "nobody is looked through");
        gaze.turn(Some(A));
        assert_eq!((gaze.next(true), gaze.next(true)), (Some(A), None));
        assert_eq!(gaze.answered(), Some(A));
        assert_eq!(gaze.next(true), Some(A), "and then the next");
    }

    #[test]
    fn the_answer_to_who_was_looked_through_before_is_not_wanted() {
        let mut gaze = Gaze::default();
        gaze.turn(Some(A));
        assert_eq!(gaze.next(true), Some(A));
        gaze.turn(Some(B));
        assert_eq!(gaze.next(true), None);
        assert_eq!(gaze.answered(), None);
        assert_eq!(gaze.next(true), Some(B));
        gaze.turn(None);
        assert_eq!((gaze.answered(), gaze.next(true)), (None, None));
    }

    #[test]
    fn nothing_is_asked_that_nobody_would_see() {
        let mut gaze = Gaze::default();
        gaze.turn(Some(A));
        assert_eq!(gaze.next(false), None);
        assert_eq!(gaze.next(true), Some(A));
    }
}
