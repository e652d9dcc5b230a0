//! Reaching nodes over other nodes: who is linked with whom, and the shortest ways.

mod announcement;
mod links;
mod table;

pub(crate) use announcement::{Announcement, Delay, PATIENCE};
pub(crate) use links::Links;
pub use table::Route;
pub(crate) use table::RouteTable;
