//! The tokio runtime that everything here runs on.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tokio::runtime::Handle;

/// The runtime this is called within, if it has time enabled.
pub(crate) fn current() -> Option<Handle> {
    let runtime = Handle::try_current().ok()?;
    enabled(|| drop(tokio::time::sleep(Duration::ZERO)))?;
    Some(runtime)
}

/// What `open` makes of something that tokio has to be enabled for, such as I/O; `None` where it is not. Tokio tells of that by
/// a panic only.
pub(crate) fn enabled<T>(open: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(open)).ok()
}
