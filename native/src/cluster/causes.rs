//! Which command an event followed from.
