//! The link to the server: one WebSocket, kept up for as long as the page is open.
//!
//! [`Feed`] proves that no event was missed, [`backoff`] says when to try again and
//! `gaze` whom to look through; all are pure. [`Connection`] is the part that needs a browser.

pub(crate) mod backoff;
mod connection;
mod feed;
mod gaze;
mod give;
mod look;

pub(crate) use connection::Connection;
pub(crate) use feed::{Begun, Feed, Step};
