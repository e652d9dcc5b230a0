//! What was commanded while this node was not there: asked of its neighbours, and what of it still stands.

use meshground_shared::{Health, NodeId};

use super::{
    MeshOs,
    desk::{AUDIT, Asked, answer},
};
use crate::{
    admin::{Standing, StandingState},
    node::Node,
    path::Path,
    rpc::{CallError, CallId},
    time::Now,
};

/// Those that can be asked.
fn neighbours(node: &Node) -> impl Iterator<Item = NodeId> {
    let near = |path: Path| matches!(path, Path::Direct(_));
    let them = node.peers().filter(move |peer| near(peer.path) && peer.health != Health::Unreachable);
    them.map(|peer| peer.id)
}

impl MeshOs {
    /// Asks a few neighbours, if that is due.
    pub(super) fn catch_up(&mut self, now: Now, node: &mut Node) {
        let them = || neighbours(node).collect();
        for (to, question) in self.catching_up.handle_timeout(now, &mut self.admin, them) {
            self.ask(now, node, to, AUDIT, question, Asked::Audit);
        }
    }

    /// Whether this node may not know yet what was commanded before its life: whatever it decided, others might know better.
    pub(super) fn is_behind(&self, now: Now, node: &Node) -> bool {
        self.catching_up.is_behind(now.instant, || neighbours(node).next().is_some())
    }

    /// Another node asks what it does not know.
    pub(super) fn on_audit(&mut self, now: Now, node: &mut Node, call: CallId, question: &[u8]) {
        match self.admin.tell_history(question) {
            // It would be taken for all that there is. Whoever asks does so again.
            Ok(_) if self.is_behind(now, node) => _ = node.end_reply(now, call, Err(CallError::Overloaded)),
            Ok((page, differs)) => {
                answer(now, node, call, &page);
                if differs {
                    self.catching_up.hurry(now.instant);
                }
            }
            Err(_) => _ = node.end_reply(now, call, Err(CallError::Malformed)),
        }
    }

    /// What a neighbour says was commanded.
    pub(super) fn on_audited(
        &mut self,
        now: Now,
        node: &mut Node,
        from: NodeId,
        page: &Result<Vec<u8>, CallError>,
    ) {
        let page = page.as_deref().ok();
        if let Some(question) = self.catching_up.on_page(now, from, page, &mut self.admin) {
            self.ask(now, node, from, AUDIT, question, Asked::Audit);
        }
    }

    /// Something that was commanded without this node holds for it as well.
    pub(super) fn let_stand(&mut self, now: Now, standing: &Standing) {
        let cause = standing.nonce.map(|nonce| nonce.command());
        match standing.what {
            StandingState::Frozen(left) => {
                self.set_freeze(now, Some(left).filter(|left| !left.is_zero()), cause);
            }
            StandingState::Cordoned => self.change_service(now, cause, |service| {
                let notice = service.exit();
                service.cordon();
                notice
            }),
            StandingState::InService => self.change_service(now, cause, |service| {
                let notice = service.exit();
                notice.or_else(|| service.uncordon())
            }),
            StandingState::OutOfService => {
                let config = self.config.maintenance;
                self.change_service(now, cause, |service| service.enter(now.instant, &config));
            }
        }
    }
}
