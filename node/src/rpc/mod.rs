//! Remote procedure calls: one stream each, a request there, one or more items and an end back.

mod wire;

use std::time::Duration;

use meshground_shared::NodeId;

use crate::{stream::StreamId, time::Instant};

pub(crate) use wire::{
    Part, RequestReader, ResponseReader, encode_end, encode_item_start, encode_request_start,
};

/// The longest body of a request or an item, in bytes.
pub const MAX_BODY: usize = 4 << 20;

/// The longest name of a method, in bytes.
pub const MAX_METHOD: usize = 256;

/// The longest explanation of a refusal, in bytes; a longer one is cut.
pub const MAX_REASON: usize = 1_024;

/// The first code that is the application's own to use; those below are the protocol's.
pub const APPLICATION_CODES: u64 = 256;

/// Names a call at either end for as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId {
    /// The other end.
    pub peer: NodeId,
    /// The stream it runs on.
    pub stream: StreamId,
}

/// Something happened to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEvent {
    /// A peer asks something of this node: answer with [`Node::reply`](crate::Node::reply) and
    /// [`Node::end_reply`](crate::Node::end_reply).
    Requested {
        /// Which call.
        call: CallId,
        /// The method's name, at most [`MAX_METHOD`] bytes.
        method: String,
        /// The request's body, at most [`MAX_BODY`] bytes.
        body: Vec<u8>,
        /// When nobody waits for the answer any more.
        deadline: Option<Instant>,
    },
    /// Nobody waits for an answer to this request any more, or nobody can be answered: whatever works on it may stop.
    Abandoned {
        /// Which call.
        call: CallId,
    },
    /// After [`ReplyError::Full`]: there is room for more of this answer.
    ReplyWritable {
        /// Which call.
        call: CallId,
    },
    /// An item of the answer to a call of this node.
    Item {
        /// Which call.
        call: CallId,
        /// What, at most [`MAX_BODY`] bytes.
        body: Vec<u8>,
    },
    /// A call of this node is over: nothing more comes of it.
    Ended {
        /// Which call.
        call: CallId,
        /// How it went.
        outcome: Result<(), CallError>,
    },
    /// For whoever watches: a call in either direction is over.
    Observed(CallRecord),
}

/// A call that is over, as one end saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// Which call.
    pub call: CallId,
    /// Whether this node made it; else it served it.
    pub made_here: bool,
    /// The method's name.
    pub method: String,
    /// How it went.
    pub outcome: Result<(), CallError>,
    /// From the request's beginning (its arrival, where it was served) to the end, in whole microseconds.
    pub took: Duration,
    /// Bytes of the request's body.
    pub request_bytes: u64,
    /// Items of the answer.
    pub items: u64,
    /// Bytes of all their bodies.
    pub response_bytes: u64,
}

/// Why a call came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no confirmed session with the peer.
    #[error("there is no session with node {0}; connect to it first")]
    NoSession(NodeId),
    /// The request's body is longer than [`MAX_BODY`], or the method's name than [`MAX_METHOD`] or empty.
    #[error(
        "a request takes at most 4 MiB, and this one has {0} bytes; its method's name takes 1 to 256 bytes"
    )]
    TooLarge(usize),
    /// As many streams are open as the peer allows.
    #[error("too many calls are under way; wait until one is over")]
    TooMany,
    /// No answer came in time.
    #[error(
        "no answer within {0:?}; whether it was done is not known: wait longer, or ask again if that does no harm"
    )]
    Deadline(Duration),
    /// The caller called it off.
    #[error("the call was called off; call again if an answer is still wanted")]
    Cancelled,
    /// The peer left, was forgotten or started anew before it had answered.
    #[error("the peer is gone, and whether it did anything is not known; connect again and ask anew")]
    Lost,
    /// The peer serves no such method.
    #[error("the peer serves no method of this name; check the name, or have the peer serve it")]
    UnknownMethod,
    /// The peer has too much to do.
    #[error("the peer has too much to do; call again later")]
    Overloaded,
    /// Whatever worked on it at the peer failed.
    #[error("the method failed at the peer; what went wrong is to be found there")]
    Failed,
    /// The peer said no, with a code of the application's from [`APPLICATION_CODES`] up.
    #[error("refused with code {code}: {reason}")]
    Refused {
        /// Which.
        code: u64,
        /// Why, for a person; at most [`MAX_REASON`] bytes.
        reason: String,
    },
    /// The peer's answer could not be read.
    #[error("the answer could not be read; does the peer run the same version?")]
    Malformed,
}

/// Why part of an answer was not taken. Nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The call is over: answered, abandoned or past its deadline.
    #[error("the call is over: nobody waits for more of the answer; send no more")]
    Over,
    /// The item is longer than [`MAX_BODY`].
    #[error("an item of {0} bytes is too large; at most 4 MiB can be sent")]
    TooLarge(usize),
    /// The caller takes the items more slowly than they come; [`CallEvent::ReplyWritable`] follows.
    #[error("the caller has not taken the items before this one yet; wait until there is room")]
    Full,
}

impl CallError {
    /// The code that travels, and the reason with it.
    pub(crate) fn to_wire(&self) -> (u64, &str) {
        match self {
            Self::UnknownMethod => (1, ""),
            Self::Overloaded => (2, ""),
            Self::Deadline(_) => (3, ""),
            Self::Failed => (4, ""),
            Self::TooLarge(_) => (5, ""),
            Self::Malformed => (6, ""),
            Self::Refused { code, reason } => (*code, reason),
            Self::NoSession(_) | Self::TooMany | Self::Cancelled | Self::Lost => (7, ""),
        }
    }

    /// What a code that travelled means for a call with this deadline and so many bytes of a request.
    pub(crate) fn from_wire(
        code: u64,
        reason: String,
        deadline: Option<Duration>,
        request_bytes: u64,
    ) -> Self {
        match code {
            1 => Self::UnknownMethod,
            2 => Self::Overloaded,
            3 => Self::Deadline(deadline.unwrap_or_default()),
            4 => Self::Failed,
            5 => Self::TooLarge(usize::try_from(request_bytes).unwrap_or(usize::MAX)),
            7 => Self::Cancelled,
            APPLICATION_CODES.. => Self::Refused { code, reason },
            _ => Self::Malformed,
        }
    }
}
