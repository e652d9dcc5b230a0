//! What people see besides the graph: plain, accessible HTML.

mod audit_table;
mod banner;
mod call_table;
mod controls;
mod daemon_table;
mod desk;
mod event_log;
mod eyes;
mod fleet;
mod group_table;
mod header;
mod icon;
mod inspector;
mod legend;
mod migration_table;
mod node_table;
mod notices;
mod operator_forms;
mod overview;
mod parts;
mod session_table;
mod tick;
mod welcome;

pub(crate) use banner::Banner;
pub(crate) use desk::Desk;
pub(crate) use event_log::EventLog;
pub(crate) use fleet::Fleet;
pub(crate) use header::Header;
pub(crate) use icon::Icon;
pub(crate) use inspector::Inspector;
pub(crate) use legend::Legend;
pub(crate) use notices::Notices;
pub(crate) use overview::Overview;
pub(crate) use welcome::Welcome;
