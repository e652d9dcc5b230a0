//! The playground server.
