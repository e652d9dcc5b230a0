//! Signed commands: what operators tell a whole cluster.
//!
//! An operator signs a command away from the mesh and hands it to any node. That node puts it to every live node; each
//! judges it by its own verifier, and it takes effect on all of them or on none. Commands that break glass (ICE) need
//! several operators and name the blast radius they were shown. Every node writes down what became of every command, and
//! one that was not there learns of it from others.
//! Layouts and timers are in `PROTOCOL.md`, section 10.
//!
//! Everything here is pure: time, the cluster's picture and messages come in, messages and effects go out. Carrying the
//! messages and doing what the effects say is the business of others.

mod audit;
mod catching_up;
pub(crate) mod commit;
mod cooldown;
pub(crate) mod envelope;
pub(crate) mod history;
mod ice;
mod nonces;
mod operator;
mod picture;
mod verifier;

pub use audit::{AuditFilter, AuditTrail};
pub use catching_up::CatchingUp;
pub use commit::{AdminCommit, AdminEffect, MessageError, Question, Standing, StandingState, Ticket};
pub use envelope::{
    AdminCommand, CommandError, IceProposal, MAX_COMMAND, MAX_SIGNATURES, Nonce, SignedCommand, SimulatedIce,
};
pub use ice::{Assessment, RadiusHash, assess, concerned, named_nodes, simulate};
pub use operator::{OperatorError, OperatorId, OperatorKey, Operators};
pub use picture::{ClusterPicture, DaemonPicture, GroupPicture, MigrationPicture, NodePicture};
pub use verifier::{AdminVerifier, DemoOperators, Prepared};
