//! What runs where: the daemons of this node, and what the others say of theirs.

mod alarms;
mod delivery;
pub(crate) mod generation;
pub(crate) mod groups;
pub(crate) mod inbox;
mod instance;
mod inventory;
pub(crate) mod migration;
mod registry;

pub(crate) use self::{
    delivery::{Deliveries, Parcel},
    inbox::{Inbox, Queued, Receipt, SenderKey, Settled, can_wait, is_batch},
    instance::{Instance, Luggage, NoState, SpawnOrder},
    inventory::{Directory, Inventory, Known, Moving, Standing, Stated, Version},
    registry::{Happening, Registry, WorkedOff},
};
pub use self::{
    migration::{MAX_MIGRATIONS, MigrateError},
    registry::{MAX_ARGS, MAX_DAEMONS, SpawnError},
};
