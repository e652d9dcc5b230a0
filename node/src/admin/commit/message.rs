//! What nodes say to each other about commands.

use std::collections::BTreeSet;

use meshground_shared::{Decision, NodeId, Rejection};
use serde::{Deserialize, Serialize};

use crate::wire;

/// The first byte of every message.
const VERSION: u8 = 1;

/// The most nodes a command is put to.
pub(super) const MAX_MEMBERS: usize = 2_048;

/// The longest message: that many members, a command, and some numbers.
const MAX_MESSAGE: usize = 64 * 1_024;

/// Bytes are not a message about a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message about a command; drop it")]
pub struct MessageError;

/// One attempt to carry out a command. The same command, handed in twice, is two attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Attempt {
    coordinator: u64,
    /// The coordinator's life. An attempt does not outlive it.
    pub(super) incarnation: u64,
    /// Counts the coordinator's attempts in that life.
    pub(super) number: u64,
}

impl Attempt {
    pub(super) fn new(coordinator: Member, number: u64) -> Self {
        Self { coordinator: coordinator.node, incarnation: coordinator.incarnation, number }
    }

    pub(super) fn coordinator(self) -> NodeId {
        NodeId(self.coordinator)
    }

    /// The coordinator in the life that this attempt belongs to.
    pub(super) fn by(self) -> Member {
        Member { node: self.coordinator, incarnation: self.incarnation }
    }
}

/// A node in one of its lives. Its id is a plain number here, as everywhere between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Member {
    node: u64,
    pub(super) incarnation: u64,
}

impl Member {
    pub(super) fn new(node: NodeId, incarnation: u64) -> Self {
        Self { node: node.0, incarnation }
    }

    pub(super) fn node(self) -> NodeId {
        NodeId(self.node)
    }
}

/// A message about one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Coordinator to each member: would you carry this out?
    Prepare { attempt: Attempt, members: Vec<Member>, command: Vec<u8> },
    /// The answer: yes, or why not.
    Vote { attempt: Attempt, objection: Option<Rejection> },
    /// Coordinator to each member: everyone would, so carry it out.
    Commit { attempt: Attempt },
    /// Coordinator to each member: nobody carries it out. With the command, for those who never heard of it.
    Abort { attempt: Attempt, reason: Rejection, members: Vec<Member>, command: Vec<u8> },
    /// The answer to the two above, after it was done.
    Ack { attempt: Attempt },
    /// Coordinator to each member: all have written down that it was rejected.
    Close { attempt: Attempt },
    /// Member to member, or to the coordinator: what became of it? With all of it, for those who never heard of it.
    Ask { attempt: Attempt, members: Vec<Member>, command: Vec<u8> },
    /// The answer, if there is one.
    Tell { attempt: Attempt, standing: Standing },
}

/// What a member knows of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// It is decided.
    Decided(Decision),
    /// It is not decided, and whoever says this takes no word about it any more from those it holds gone, the coordinator
    /// among them.
    Orphaned { gone: BTreeSet<u64>, objection: Option<Rejection> },
}

impl Message {
    pub(crate) fn encode(&self) -> Vec<u8> {
        wire::versioned(VERSION, self)
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(MessageError);
        }
        let Some((&VERSION, rest)) = bytes.split_first() else { return Err(MessageError) };
        let message: Self = wire::decode(rest).map_err(|_| MessageError)?;
        if let Self::Prepare { members, .. } | Self::Abort { members, .. } | Self::Ask { members, .. } =
            &message
        {
            let rises = members.windows(2).all(|pair| pair[0].node < pair[1].node);
            if !rises || members.len() > MAX_MEMBERS {
                return Err(MessageError);
            }
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_message() -> Vec<Message> {
        let members = vec![Member::new(NodeId(1), u64::MAX), Member::new(NodeId(u64::MAX), 2)];
        let attempt = Attempt::new(members[0], 3);
        let reason = Rejection::Overloaded;
        let gone = BTreeSet::from([1, u64::MAX]);
        let command = vec![1, 2, 3];
        vec![
            Message::Prepare { attempt, members: members.clone(), command: command.clone() },
            Message::Vote { attempt, objection: None },
            Message::Vote { attempt, objection: Some(reason) },
            Message::Commit { attempt },
            Message::Abort { attempt, reason, members: members.clone(), command: command.clone() },
            Message::Ack { attempt },
            Message::Close { attempt },
            Message::Ask { attempt, members, command },
            Message::Tell { attempt, standing: Standing::Decided(Decision::Applied) },
            Message::Tell { attempt, standing: Standing::Decided(Decision::Rejected(reason)) },
            Message::Tell { attempt, standing: Standing::Orphaned { gone, objection: Some(reason) } },
        ]
    }

    #[test]
    fn every_message_survives_the_round_trip() {
        for message in every_message() {
            assert_eq!(Message::parse(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn messages_are_laid_out_as_the_protocol_says() {
        let kinds: Vec<u8> = every_message().iter().map(|message| message.encode()[1]).collect();
        assert_eq!(kinds, [0, 1, 1, 2, 3, 4, 5, 6, 7, 7, 7]);
        let attempt = Attempt::new(Member::new(NodeId(7), 8), 9);
        let objects = |reason| Message::Vote { attempt, objection: Some(reason) }.encode();
        assert_eq!(objects(Rejection::NotAuthorized), [VERSION, 1, 7, 8, 9, 1, 0]);
        assert_eq!(objects(Rejection::IceCooldownActive).last(), Some(&6));
        assert_eq!(objects(Rejection::Overloaded).last(), Some(&11));
    }

    #[test]
    fn the_longest_message_fits() {
        let members: Vec<_> =
            (0..MAX_MEMBERS as u64).map(|n| Member::new(NodeId(u64::MAX / 2 + n), u64::MAX)).collect();
        let command = vec![0; crate::admin::MAX_COMMAND];
        let attempt = Attempt::new(members[0], u64::MAX);
        let longest = Message::Ask { attempt, members, command };
        assert_eq!(Message::parse(&longest.encode()), Ok(longest));
    }

    #[test]
    fn members_that_do_not_rise_or_are_too_many_are_refused() {
        let attempt = Attempt::new(Member::new(NodeId(1), 1), 1);
        let message = |members| Message::Prepare { attempt, members, command: vec![] }.encode();
        let twice = vec![Member::new(NodeId(1), 1), Member::new(NodeId(1), 2)];
        assert_eq!(Message::parse(&message(twice)), Err(MessageError));
        let many = (0..=MAX_MEMBERS as u64).map(|n| Member::new(NodeId(n), 0)).collect();
        assert_eq!(Message::parse(&message(many)), Err(MessageError));
    }

    #[test]
    fn what_was_altered_or_cut_short_never_panics_and_another_version_is_refused() {
        for message in every_message() {
            let bytes = message.encode();
            for bit in 0..bytes.len() * 8 {
                let mut altered = bytes.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                let read = Message::parse(&altered);
                assert!(bit >= 8 || read.is_err());
            }
            for len in 0..bytes.len() {
                assert_eq!(Message::parse(&bytes[..len]), Err(MessageError));
            }
        }
        assert_eq!(Message::parse(&vec![VERSION; MAX_MESSAGE + 1]), Err(MessageError));
    }
}
