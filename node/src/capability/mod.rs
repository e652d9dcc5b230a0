//! What nodes can do: announcements, the index over them, and choosing a node by them.

mod capabilities;
mod filter;
mod index;
mod placement;

pub use capabilities::{Capabilities, CapabilityError};
pub use filter::{Comparison, Filter};
pub use index::CapabilityIndex;
pub use placement::{Placement, PlacementError, PlacementReason, PlacementStrategy, PlacementView, Placer};
