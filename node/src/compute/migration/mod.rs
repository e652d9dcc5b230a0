//! Moving a daemon from one node to another, as each end sees it.
//!
//! The source drives. It takes the daemon's state, has the target fetch it and make the daemon anew out of it without
//! running it, sends after it what came meanwhile, and with the last of that gives the daemon away: the *cutover*. Until
//! then the source can take everything back by itself, and the target may drop what it has at any time. From then on the
//! source runs the daemon no more, and asks until the target says that it runs it, or that it does not and never will. If the
//! target leaves or begins anew, the source goes on: it is the only one left to do so, as a daemon that has arrived moves on
//! only once its source has heard that it arrived.

mod error;
mod incoming;
mod messages;
mod outgoing;
mod packing;

use std::time::Duration;

pub use self::error::MigrateError;
pub(crate) use self::{
    incoming::{Incoming, Want},
    messages::{Advice, Cutover, Offer, Refusal, Replay, Replayed, Stage, Taken, Tell},
    outgoing::{Order, Outgoing, Trouble},
    packing::{MAX_BYTES, Packed, Pieces, Unpacking},
};

/// How many migrations a node takes part in at once, in either part.
pub const MAX_MIGRATIONS: usize = 8;

/// How long one end waits to hear of the other before it gives up what it may give up.
const SILENCE: Duration = Duration::from_secs(10);

/// That it runs the daemon is told to a source of which nothing is heard for so long. For so long too the daemon goes nowhere
/// else: then nobody can give it back but this target.
const LONG: Duration = Duration::from_mins(10);

/// So long after the cutover a source takes the daemon back that a target gives up without having kept account of it: one
/// that leaves, or has begun anew. Half of [`LONG`], so that clocks need not run alike.
const RETURNS: Duration = Duration::from_mins(5);

/// The pause before something that failed is asked again; it doubles up to [`MAX_PAUSE`].
const PAUSE: Duration = Duration::from_millis(50);

/// See [`PAUSE`].
const MAX_PAUSE: Duration = Duration::from_secs(1);
