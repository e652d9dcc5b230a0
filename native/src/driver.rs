//! Runs one sans-IO node over one UDP socket, in one task that owns both.
//!
//! Nothing is shared on the packet path: the task reads the socket, feeds the node, sends what it says and hands out
//! its events. Others talk to it through a bounded queue.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant as StdInstant},
};

use meshground_node::{
    DialError, DialId, Instant, Node, NodeEvent, Now, PeerView, RejectReason, SendError, Transmit, WallTime,
};
use meshground_shared::NodeId;
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::{Notify, broadcast, mpsc, oneshot, watch},
    time::sleep_until,
};

use crate::{log::wall_us, mesh::Message};

/// The most datagrams read at one wake-up, so that commands and timers get their turn under a flood.
const RECEIVE_BATCH: usize = 64;

/// The most commands carried out at one wake-up.
const COMMAND_BATCH: usize = 64;

/// A timer may wait this long for the socket to be read empty: what lies there may be the very packet whose absence
/// the timer would act upon. Beyond, a flood must not stop the clock.
const TIMER_PATIENCE: Duration = Duration::from_millis(50);

/// How long a leaving node tries to get its announcements out.
const FAREWELL: Duration = Duration::from_millis(500);

/// After this many socket errors in a row, the task takes a breath before the next attempt.
const ERRORS_BEFORE_PAUSE: u32 = 32;

/// That breath.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// The largest UDP payload there is.
const MAX_UDP_PAYLOAD: usize = 65_507;

/// Is told what happens to a node, in its task, in order. Must be quick. Its drop means that the node is gone: the
/// socket is closed by then.
pub(crate) trait Observer: Send {
    /// The node's published view includes the event already.
    fn observe(&mut self, event: &NodeEvent);
    /// The node is about to announce its leave; what is observed after this is only that.
    fn leaving(&mut self);
}

/// What may be asked of a node's task.
#[derive(Debug)]
pub(crate) enum Command {
    Connect { address: SocketAddr, reply: oneshot::Sender<Result<NodeId, DialError>> },
    DialAll { peers: Vec<(SocketAddr, NodeId)> },
    Send { peer: NodeId, payload: Vec<u8>, reply: oneshot::Sender<Result<(), SendError>> },
    Stats { reply: oneshot::Sender<Vec<PeerView>> },
    Rejected { reason: RejectReason, reply: oneshot::Sender<u64> },
}

/// The task's state. The order of the fields matters: they are dropped in it, and the last says that all is gone.
pub(crate) struct Driver {
    socket: UdpSocket,
    node: Node,
    commands: mpsc::Receiver<Command>,
    leave: Arc<Notify>,
    view: watch::Sender<Arc<[PeerView]>>,
    messages: broadcast::Sender<Message>,
    /// Who waits for which dial.
    dials: BTreeMap<DialId, oneshot::Sender<Result<NodeId, DialError>>>,
    /// The datagram the socket had no room for, in `outgoing`.
    blocked: Option<Transmit>,
    outgoing: Vec<u8>,
    incoming: Box<[u8]>,
    events: Vec<NodeEvent>,
    /// Socket errors since the last success.
    errors: u32,
    observer: Option<Box<dyn Observer>>,
    _closed: watch::Sender<()>,
}

/// Why the task's loop ended.
enum End {
    Leave,
    Abandoned,
}

impl Driver {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        socket: UdpSocket,
        node: Node,
        commands: mpsc::Receiver<Command>,
        leave: Arc<Notify>,
        view: watch::Sender<Arc<[PeerView]>>,
        messages: broadcast::Sender<Message>,
        observer: Option<Box<dyn Observer>>,
        closed: watch::Sender<()>,
    ) -> Self {
        Self {
            socket,
            node,
            commands,
            leave,
            view,
            messages,
            dials: BTreeMap::new(),
            blocked: None,
            outgoing: Vec::new(),
            incoming: vec![0; MAX_UDP_PAYLOAD].into_boxed_slice(),
            events: Vec::new(),
            errors: 0,
            observer,
            _closed: closed,
        }
    }

    /// Runs until told to leave, abandoned or aborted.
    pub(crate) async fn run(mut self) {
        if let End::Leave = self.serve().await {
            self.say_farewell().await;
        }
    }

    async fn serve(&mut self) -> End {
        let mut alarm = pin!(sleep_until(StdInstant::now().into()));
        let mut alarm_at = None;
        loop {
            self.flush();
            self.publish();

            let due = self.node.poll_timeout();
            if due != alarm_at {
                alarm_at = due;
                if let Some(due) = due {
                    alarm.as_mut().reset(std_instant(due).into());
                }
            }
            let interest = if self.blocked.is_some() {
                Interest::READABLE | Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            // Only waits; whatever woke it, everything gets its turn below.
            let mut first = None;
            tokio::select! {
                biased;
                () = self.leave.notified() => return End::Leave,
                _ = self.socket.ready(interest) => {}
                command = self.commands.recv() => match command {
                    Some(command) => first = Some(command),
                    None => return End::Abandoned,
                },
                () = &mut alarm, if due.is_some() => alarm_at = None,
            }

            let emptied = self.receive();
            if let Some(command) = first {
                self.carry_out(command);
            }
            for _ in 0..COMMAND_BATCH {
                let Ok(command) = self.commands.try_recv() else { break };
                self.carry_out(command);
            }
            self.tick(emptied);
            if !emptied {
                // Nothing above waits while there is more to read: let others run.
                tokio::task::yield_now().await;
            }
            if self.errors > ERRORS_BEFORE_PAUSE {
                self.errors = 0;
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }

    /// Feeds the node what the socket holds, up to a batch. Whether the socket was read empty.
    fn receive(&mut self) -> bool {
        for _ in 0..RECEIVE_BATCH {
            match self.socket.try_recv_from(&mut self.incoming) {
                Ok((len, from)) => {
                    self.errors = 0;
                    self.node.handle_datagram(now(), from, &mut self.incoming[..len]);
                    // At once, not after the batch: the peer measures the round trip.
                    self.flush();
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                // On loopback an unreachable port's ICMP answer surfaces here, on whichever call comes next. The
                // error belongs to no datagram of ours, and reading it has cleared it.
                Err(_) => self.errors += 1,
            }
        }
        false
    }

    fn tick(&mut self, emptied: bool) {
        let now = now();
        let Some(due) = self.node.poll_timeout() else { return };
        let patience = if emptied { Duration::ZERO } else { TIMER_PATIENCE };
        if now.instant >= due + patience {
            self.node.handle_timeout(now);
        }
    }

    fn carry_out(&mut self, command: Command) {
        // A reply nobody waits for any more is no error.
        match command {
            Command::Connect { address, reply } => {
                let dial = self.node.connect(now(), address, None);
                self.dials.insert(dial, reply);
            }
            Command::DialAll { peers } => {
                for (address, expected) in peers {
                    self.node.connect(now(), address, Some(expected));
                }
            }
            Command::Send { peer, payload, reply } => {
                let _ = reply.send(self.node.send(now(), peer, &payload));
            }
            Command::Stats { reply } => {
                let _ = reply.send(self.node.peers().collect());
            }
            Command::Rejected { reason, reply } => {
                let _ = reply.send(self.node.rejected(reason));
            }
        }
    }

    /// Sends what the node has to send, in order, until the socket has no room left.
    fn flush(&mut self) {
        loop {
            let transmit = if let Some(transmit) = self.blocked.take() {
                transmit
            } else {
                self.outgoing.clear();
                let Some(transmit) = self.node.poll_transmit(now(), &mut self.outgoing) else { return };
                transmit
            };
            let mut outcome = self.socket.try_send_to(&self.outgoing[..transmit.len], transmit.to);
            if let Err(error) = &outcome
                && matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset)
            {
                // An earlier datagram's ICMP answer took this one's place; it has not been sent yet.
                outcome = self.socket.try_send_to(&self.outgoing[..transmit.len], transmit.to);
            }
            match outcome {
                Ok(_) => self.errors = 0,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = Some(transmit);
                    return;
                }
                // Lost, as any datagram may be; the protocol copes.
                Err(_) => self.errors += 1,
            }
        }
    }

    /// Publishes the view if it changed, then hands out the events that changed it.
    fn publish(&mut self) {
        while let Some(event) = self.node.poll_event() {
            self.events.push(event);
        }
        let structural = |event: &NodeEvent| {
            matches!(
                event,
                NodeEvent::SessionUp { .. }
                    | NodeEvent::SessionDown { .. }
                    | NodeEvent::Roamed { .. }
                    | NodeEvent::Health { .. }
            )
        };
        if self.events.iter().any(structural) {
            self.view.send_replace(self.node.peers().collect());
        }
        for event in self.events.drain(..) {
            if let Some(observer) = &mut self.observer {
                observer.observe(&event);
            }
            match event {
                NodeEvent::Message { peer, payload } => {
                    // Fails when nobody listens, which is what dropping a message is.
                    let _ = self.messages.send(Message { from: peer, payload: payload.into() });
                }
                NodeEvent::Dialed { dial, peer } => {
                    if let Some(reply) = self.dials.remove(&dial) {
                        let _ = reply.send(Ok(peer));
                    }
                }
                NodeEvent::DialFailed { dial, error, .. } => {
                    if let Some(reply) = self.dials.remove(&dial) {
                        let _ = reply.send(Err(error));
                    }
                }
                _ => {}
            }
        }
    }

    async fn say_farewell(&mut self) {
        if let Some(observer) = &mut self.observer {
            observer.leaving();
        }
        self.node.leave(now());
        self.publish();
        let farewell = async {
            loop {
                self.flush();
                if self.blocked.is_none() || self.socket.writable().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

/// When this process first asked for the time; every node's monotonic clock starts here.
static START: LazyLock<StdInstant> = LazyLock::new(StdInstant::now);

/// The present.
pub(crate) fn now() -> Now {
    let micros = u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX);
    Now { instant: Instant::from_micros(micros), wall: WallTime(wall_us()) }
}

/// The present, for a node that is born now: its wall time is later than that of every node born before in this
/// process, even if the clock has been set back. A node's life is known by it, and peers keep to the later of two.
pub(crate) fn birth() -> Now {
    static LATEST: AtomicU64 = AtomicU64::new(0);
    let now = now();
    let later = |latest: u64| now.wall.0.max(latest.saturating_add(1));
    let latest = LATEST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |latest| Some(later(latest)));
    Now { wall: WallTime(later(latest.unwrap_or_default())), ..now }
}

fn std_instant(instant: Instant) -> StdInstant {
    let after = Duration::from_micros(instant.as_micros());
    // Beyond what the clock can name: as good as never.
    START.checked_add(after).unwrap_or_else(|| StdInstant::now() + Duration::from_hours(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_nodes_of_a_process_are_born_at_the_same_time() {
        let births: Vec<u64> = (0..1_000).map(|_| birth().wall.0).collect();
        assert!(births.is_sorted_by(|earlier, later| earlier < later));
    }
}
