//! One Meshground mesh node as a pure state machine: no sockets, no clock, no tasks.
