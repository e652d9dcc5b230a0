//! Telling whoever is concerned what happened to the node.

use meshground_node::{NodeEvent, StreamEvent};
use meshground_shared::Role;

use super::Driver;

/// Room for so many events is kept between two wake-ups.
const EVENTS_KEPT: usize = 32;

impl Driver {
    /// Publishes the view if it changed, then hands out the events that changed it. Whether there were any.
    pub(super) fn publish(&mut self) -> bool {
        let mut happened = false;
        while let Some(event) = self.node.poll_event() {
            happened = true;
            self.events.extend(match &mut self.system {
                Some(system) => system.hear(&mut self.node, event),
                None => Some(event),
            });
        }
        if !self.events.is_empty() {
            self.publish_events();
        }
        self.tell_parted();
        if let Some(system) = &mut self.system {
            system.let_out(self.observer.as_deref_mut());
        }
        happened
    }

    fn publish_events(&mut self) {
        self.view.update(self.events.iter().filter_map(|event| match *event {
            NodeEvent::SessionUp { peer, .. }
            | NodeEvent::SessionDown { peer, .. }
            | NodeEvent::Roamed { peer, .. }
            | NodeEvent::Health { peer, .. } => Some((peer, self.node.peer(peer))),
            _ => None,
        }));
        for event in &self.events {
            match event {
                NodeEvent::SessionUp { peer, .. } => self.pump.session_up(*peer),
                NodeEvent::SessionDown { peer, .. } => {
                    self.pump.session_down(*peer);
                    self.streams.session_down(*peer);
                }
                NodeEvent::Writable { peer } => self.pump.writable(*peer),
                _ => {}
            }
        }
        if let Some(observer) = &mut self.observer {
            observer.observe(&self.events);
        }
        for event in self.events.drain(..) {
            let Self { node, reach, streams, calls, dials, listeners, .. } = self;
            match event {
                NodeEvent::Dialed { dial, peer } => {
                    if let Some(reply) = dials.remove(&dial) {
                        let _ = reply.send(Ok(peer));
                    }
                    reach.dial_ended(node, dial);
                }
                NodeEvent::DialFailed { dial, error, .. } => {
                    if let Some(reply) = dials.remove(&dial) {
                        let _ = reply.send(Err(error));
                    }
                    if let Some(peer) = reach.dial_ended(node, dial) {
                        streams.session_down(peer);
                        calls.unreachable(peer);
                    }
                }
                NodeEvent::SessionUp { peer, role, .. } => {
                    reach.session_up(peer);
                    streams.session_up(node, reach, peer);
                    calls.resume(node, reach, peer);
                    if role == Role::Responder {
                        listeners.lobby.arrive(peer);
                    }
                }
                NodeEvent::SessionDown { peer, .. } => {
                    calls.resume(node, reach, peer);
                    listeners.lobby.leave(peer);
                }
                NodeEvent::Stream { peer, event } => {
                    let may_open = event == StreamEvent::MayOpen;
                    streams.on_event(node, reach, peer, event);
                    if may_open {
                        calls.resume(node, reach, peer);
                    }
                }
                NodeEvent::Call(event) => calls.on_event(node, event),
                _ => {}
            }
        }
        self.events.shrink_to(EVENTS_KEPT);
    }

    /// Tells those who wait for something to be true of the node that it is, now that everybody else has been told what made it
    /// so.
    pub(super) fn tell_awaited(&mut self) {
        let node = &mut self.node;
        for until in self.awaited.extract_if(.., |until| until.reply.is_closed() || (until.wanted)(node)) {
            // Nobody may wait any more.
            let _ = until.reply.send(());
        }
    }

    /// Tells those who ended sessions that these are over, now that everybody else has been told.
    fn tell_parted(&mut self) {
        for reply in self.parted.drain(..) {
            // One that nobody waits for any more is no error.
            let _ = reply.send(());
        }
    }
}
