//! A cheap, shared handle that compares by identity.

use std::{fmt, ops::Deref, rc::Rc};

/// An `Rc` that is equal only to itself.
///
/// Components re-render when a property changed. Comparing two snapshots of a big
/// mesh field by field would cost more than that saves; the reducer makes a new
/// handle whenever it changes something, so identity is enough.
pub(crate) struct Shared<T>(Rc<T>);

impl<T> Shared<T> {
    /// Wraps a value.
    pub(crate) fn new(value: T) -> Self {
        Self(Rc::new(value))
    }
}

impl<T: Clone> Shared<T> {
    /// The value, for changing; copied first where someone else still looks at it.
    pub(crate) fn make_mut(&mut self) -> &mut T {
        Rc::make_mut(&mut self.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
