//! Locking what a panic cannot spoil.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex, also if somebody panicked who held it. For what is consistent after every statement that can panic, so
/// that one user's panic does not become everybody's.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
