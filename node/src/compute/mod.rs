//! What runs where: the daemons of this node, and what the others say of theirs.

mod delivery;
pub(crate) mod groups;
mod inbox;
mod instance;
mod inventory;
mod registry;

pub use self::registry::{MAX_ARGS, MAX_DAEMONS, SpawnError};
pub(crate) use self::{
    delivery::{Deliveries, Parcel},
    inbox::{SenderKey, Settled},
    instance::{Instance, Luggage, SpawnOrder},
    inventory::{Directory, Inventory, Stated},
    registry::{Happening, Registry},
};
