//! Looking through one node's eyes, about once a second.

use std::rc::Rc;

use meshground_shared::{
    NodeId,
    rpc::{Method, NodeLook, NodeParams},
};
use serde_json::Value;

use super::{
    connection::{Call, Link, replace_later},
    gaze,
};
use crate::{
    dom::{self, Timer},
    state::{Action, Failure},
};

impl Link {
    /// Asks again and again what a node sees, until somebody else's eyes are looked through, or nobody's.
    pub(super) fn look_through(self: &Rc<Self>, node: Option<NodeId>) {
        self.gaze.borrow_mut().turn(node);
        if node.is_none() {
            if let Some(done) = self.look_again.borrow_mut().take() {
                dom::drop_later(done);
            }
            return;
        }
        self.look();
        let weak = Rc::downgrade(self);
        let again = Timer::every(gaze::EVERY_MS, move || {
            if let Some(link) = weak.upgrade() {
                link.look();
            }
        });
        replace_later(&self.look_again, again);
    }

    /// Asks what the node sees, unless that is being asked, or nobody would see the answer.
    pub(super) fn look(self: &Rc<Self>) {
        let able = self.is_live() && !dom::is_hidden();
        let next = self.gaze.borrow_mut().next(able);
        if let Some(node) = next {
            self.call::<NodeLook>(&NodeParams { node }, Call::Look);
        }
    }

    /// The answer came, in whatever form.
    pub(super) fn looked(self: &Rc<Self>, answer: Result<Value, Failure>) {
        let wanted = self.gaze.borrow_mut().answered();
        // Told again once the server is there again.
        if matches!(answer, Err(Failure::Lost)) {
            return;
        }
        let Some(node) = wanted else {
            // The person has turned to somebody else meanwhile.
            self.look();
            return;
        };
        let outcome = answer.and_then(|value| {
            serde_json::from_value::<<NodeLook as Method>::Result>(value)
                .map(Box::new)
                .map_err(|error| Failure::Unreadable(error.to_string()))
        });
        self.tell(Action::Looked { node, outcome });
    }
}
