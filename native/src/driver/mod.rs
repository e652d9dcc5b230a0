//! Runs one sans-IO node over one UDP socket, in one task that owns both.
//!
//! Nothing is shared on the packet path: the task reads the socket, feeds the node, sends what it says and hands out
//! its events. Others talk to it through a bounded queue; messages come and go in whole buffers.

mod arena;
mod asked;
mod calls;
mod clock;
mod egress;
mod farewell;
mod publishing;
mod pump;
mod reach;
mod socket;
mod streams;
mod system;

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant as StdInstant},
};

use meshground_node::{DialError, DialId, JobDone, Node, NodeEvent};
use meshground_shared::NodeId;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout_at},
};

pub(crate) use self::{
    asked::{Act, Command, Leave, Observer, Orders, Until},
    clock::{birth, now},
    reach::Reaching,
    socket::Socket,
    streams::Opening,
    system::{OsAct, System, Tickets},
};
use self::{calls::Calls, clock::std_instant, egress::Egress, pump::Pump, reach::Reach, streams::Streams};
use crate::{
    faults::Shaper,
    mesh::{
        call::Switchboard, inbox::Inboxes, lobby::Lobby, observed::Observed, outbox::Outboxes,
        stream::StreamDesk, view::View, wishes::Deed,
    },
};

/// The most datagrams read at one wake-up, give or take a run or two, so that commands and timers get their turn under
/// a flood.
const RECEIVE_BATCH: usize = 64;

/// How often at one wake-up what has happened is told and what comes of that is done.
const ROUNDS: usize = 8;

/// The most commands carried out at one wake-up.
const COMMAND_BATCH: usize = 64;

/// A timer may wait this long for the socket to be read empty: what lies there may be the very packet whose absence
/// the timer would act upon. Beyond, a flood must not stop the clock.
const TIMER_PATIENCE: Duration = Duration::from_millis(50);

/// How much longer than their grace a leaving node waits for its daemons to be down.
const BEYOND_GRACE: Duration = Duration::from_millis(500);

/// After this many socket errors in a row, the task takes a breath before the next attempt.
const ERRORS_BEFORE_PAUSE: u32 = 32;

/// That breath.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// What a node's task is made of.
pub(crate) struct Parts {
    pub(crate) socket: Socket,
    pub(crate) node: Node,
    /// What runs daemons beside it, and how long they have to stop; if anything does.
    pub(crate) system: Option<(System, Duration)>,
    /// Rings when outboxes, streams or calls have something for the task.
    pub(crate) work: Arc<Notify>,
    pub(crate) outboxes: Arc<Outboxes>,
    pub(crate) inboxes: Arc<Inboxes>,
    pub(crate) lobby: Arc<Lobby>,
    pub(crate) desk: Arc<StreamDesk>,
    pub(crate) switchboard: Arc<Switchboard>,
    pub(crate) observed: Arc<Observed>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) orders: Orders,
    /// Says whether it stands still.
    pub(crate) paused: watch::Sender<bool>,
    pub(crate) view: Arc<View>,
    pub(crate) observer: Option<Box<dyn Observer>>,
    /// Goes when the task is gone.
    pub(crate) closed: watch::Sender<()>,
}

/// The task's state. The order of the fields matters: they are dropped in it, and the last says that all is gone.
pub(crate) struct Driver {
    socket: Socket,
    node: Node,
    /// What runs daemons beside it, if anything.
    system: Option<System>,
    /// When it is to be down, once it has been told to leave.
    stop_by: Option<Instant>,
    grace: Duration,
    egress: Egress,
    /// Rings when pump, streams or calls have something to do.
    work: Arc<Notify>,
    pump: Pump,
    streams: Streams,
    calls: Calls,
    reach: Reach,
    listeners: Listeners,
    commands: mpsc::Receiver<Command>,
    orders: Orders,
    /// Whether it stands still.
    paused: watch::Sender<bool>,
    view: Arc<View>,
    /// Who waits for which dial.
    dials: BTreeMap<DialId, oneshot::Sender<Result<NodeId, DialError>>>,
    /// Who asked for sessions to end, and is told once everybody knows that.
    parted: Vec<oneshot::Sender<()>>,
    /// Who waits for something to be true of the node.
    awaited: Vec<Until>,
    events: Vec<NodeEvent>,
    /// Socket errors since the last success.
    errors: u32,
    observer: Option<Box<dyn Observer>>,
    _closed: watch::Sender<()>,
}

/// Whoever waits for messages, or for peers to come in; told when it goes that nothing more will come.
struct Listeners {
    inboxes: Arc<Inboxes>,
    lobby: Arc<Lobby>,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.inboxes.close();
        self.lobby.close();
    }
}

/// Why the task's loop ended.
enum End {
    Leave,
    Abandoned,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let (system, grace) = parts.system.unzip();
        Self {
            socket: parts.socket,
            node: parts.node,
            system,
            stop_by: None,
            grace: grace.unwrap_or_default().saturating_add(BEYOND_GRACE),
            egress: Egress::default(),
            work: parts.work,
            pump: Pump::new(parts.outboxes),
            streams: Streams::new(parts.desk),
            calls: Calls::new(parts.switchboard, parts.observed),
            reach: Reach::default(),
            listeners: Listeners { inboxes: parts.inboxes, lobby: parts.lobby },
            commands: parts.commands,
            orders: parts.orders,
            paused: parts.paused,
            view: parts.view,
            dials: BTreeMap::new(),
            parted: Vec::new(),
            awaited: Vec::new(),
            events: Vec::new(),
            errors: 0,
            observer: parts.observer,
            _closed: parts.closed,
        }
    }

    /// Runs until told to leave, abandoned or aborted.
    pub(crate) async fn run(mut self) {
        if let End::Abandoned = self.serve().await {
            return;
        }
        if let Some(observer) = &mut self.observer {
            observer.leaving();
        }
        if let End::Leave = self.stop_daemons().await {
            self.say_farewell().await;
        }
    }

    /// Goes on until no daemon is left, so that they can still say their last words to each other and to everyone.
    async fn stop_daemons(&mut self) -> End {
        let Some(system) = &mut self.system else { return End::Leave };
        system.begin_stop(&mut self.node, self.orders.leave.cause());
        // One that stands still hears nothing, and neither do they.
        if *self.paused.borrow() || system.is_idle() {
            return End::Leave;
        }
        let stop_by = Instant::now() + self.grace;
        self.stop_by = Some(stop_by);
        timeout_at(stop_by, self.serve()).await.unwrap_or(End::Leave)
    }

    async fn serve(&mut self) -> End {
        let mut alarm = pin!(sleep_until(StdInstant::now().into()));
        let mut alarm_at = None;
        loop {
            // One that is to leave no longer stands still.
            if self.stop_by.is_none()
                && let Some(end) = self.stand_still().await
            {
                return end;
            }
            let mut more = self.work_off();
            self.tell_awaited();
            if self.stop_by.is_some() && self.system.as_ref().is_none_or(System::is_idle) {
                return End::Leave;
            }

            let held = self.egress.shaper.as_ref().and_then(|shaper| shaper.next_due());
            let waits = self.calls.next_due();
            let system = self.system.as_ref().and_then(System::poll_timeout);
            let due = self.node.poll_timeout().into_iter().chain(held).chain(waits).chain(system).min();
            if due != alarm_at {
                alarm_at = due;
                if let Some(due) = due {
                    alarm.as_mut().reset(std_instant(due).into());
                }
            }
            // Only waits; whatever woke it, everything gets its turn below.
            let (mut first, mut done) = (None, None);
            tokio::select! {
                biased;
                () = self.orders.leave.told(), if self.stop_by.is_none() => return End::Leave,
                // Whether to stand still is looked at above.
                Ok(()) = self.orders.pause.changed() => continue,
                () = std::future::ready(()), if more => {}
                _ = self.socket.ready(self.egress.is_blocked()) => {}
                command = self.commands.recv() => match command {
                    Some(command) => first = Some(command),
                    None => return End::Abandoned,
                },
                () = self.work.notified(), if !self.pump.has_work() => {}
                () = std::future::ready(()), if self.pump.has_work() => {}
                job = System::finished(&mut self.system) => done = Some(job),
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
            self.take_results(done);
            more |= self.pump.has_work();
            if !emptied || more {
                // Nothing above waits while there is more to read or to send: let others run.
                tokio::task::yield_now().await;
            }
            if self.errors > ERRORS_BEFORE_PAUSE {
                self.errors = 0;
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }

    /// While it is to stand still, only waits: nothing is read, sent, timed or carried out. An end may come of it.
    async fn stand_still(&mut self) -> Option<End> {
        if !*self.orders.pause.borrow_and_update() {
            return None;
        }
        self.publish();
        self.paused.send_replace(true);
        if let Some(observer) = &mut self.observer {
            observer.paused();
        }
        tokio::select! {
            biased;
            () = self.orders.leave.told() => return Some(End::Leave),
            resumed = self.orders.pause.wait_for(|pause| !pause) => if resumed.is_err() {
                return Some(End::Abandoned);
            },
        }
        self.paused.send_replace(false);
        if let Some(observer) = &mut self.observer {
            observer.resumed();
        }
        None
    }

    /// Feeds the node what the socket holds, up to a batch, and delivers the messages in it. Whether the socket was read
    /// empty.
    fn receive(&mut self) -> bool {
        let mut datagrams = 0;
        let mut emptied = false;
        while datagrams < RECEIVE_BATCH && !emptied {
            let Self { socket, node, egress, errors, .. } = self;
            let outcome = arena::receive(socket, |from, run, stride| {
                let now = now();
                for datagram in arena::split(run, stride) {
                    node.handle_datagram(now, from, datagram);
                    datagrams += 1;
                }
                *errors = 0;
                // At once, not after the batch: the peer measures the round trip.
                flush(egress, node, socket, errors);
            });
            match outcome {
                Ok(all) => emptied = all,
                Err(error) if error.kind() == ErrorKind::WouldBlock => emptied = true,
                // On loopback an unreachable port's ICMP answer surfaces here, on whichever call comes next. The
                // error belongs to no datagram of ours, and reading it has cleared it.
                Err(_) => {
                    self.errors += 1;
                    datagrams += 1;
                }
            }
        }
        self.listeners.inboxes.deliver(self.node.take_messages());
        emptied
    }

    fn tick(&mut self, emptied: bool) {
        let now = now();
        self.calls.expire(now);
        let patience = if emptied { Duration::ZERO } else { TIMER_PATIENCE };
        if self.node.poll_timeout().is_some_and(|due| now.instant >= due + patience) {
            self.node.handle_timeout(now);
        }
        if let Some(system) = &mut self.system
            && system.poll_timeout().is_some_and(|due| now.instant >= due + patience)
        {
            system.handle_timeout(&mut self.node);
        }
    }

    fn take_results(&mut self, first: Option<JobDone>) {
        if let Some(system) = &mut self.system {
            system.take_results(&mut self.node, first);
        }
    }

    /// Does what is wanted by those who do not wait for it.
    fn fulfil_wishes(&mut self) {
        for deed in self.orders.wishes.take() {
            match deed {
                Deed::Disconnect(peer) => _ = self.node.disconnect(now(), peer),
                Deed::Dial(address, peer) => _ = self.node.connect(now(), address, Some(peer)),
                Deed::Stop(daemon, cause) => {
                    let stop =
                        OsAct(Box::new(move |os, node, _| _ = os.stop(now(), node, daemon, None, cause)));
                    self.carry_out_os(stop);
                }
            }
        }
    }

    fn carry_out_os(&mut self, act: OsAct) {
        if let Some(system) = &mut self.system {
            system.carry_out(&mut self.node, act);
        }
    }

    fn carry_out(&mut self, command: Command) {
        // What was wanted before this was asked comes before it.
        self.fulfil_wishes();
        // A reply nobody waits for any more is no error.
        match command {
            Command::Connect { address, reply } => {
                let dial = self.node.connect(now(), address, None);
                self.dials.insert(dial, reply);
            }
            Command::ConnectRelayed { target, reply } => {
                let dial = self.node.connect_relayed(now(), target);
                self.dials.insert(dial, reply);
            }
            Command::Act(Act(act)) => act(&mut self.node),
            Command::Until(until) => self.awaited.push(until),
            Command::Os(act) => self.carry_out_os(act),
            Command::OpenStream { peer, opening } => {
                self.streams.open(&mut self.node, &mut self.reach, peer, opening);
            }
            Command::Reach { peer, reply } => self.reach.ask(&mut self.node, peer, reply),
            Command::Disconnect { peer, reply } => {
                self.node.disconnect(now(), peer);
                self.parted.push(reply);
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
        if self.orders.faults.has_changed().unwrap_or_default() {
            self.egress
                .shaper
                .get_or_insert_with(|| Box::new(Shaper::new(self.orders.fault_seed)))
                .set(&self.orders.faults.borrow_and_update());
        }
        flush(&mut self.egress, &mut self.node, &self.socket, &mut self.errors);
    }

    /// Does what callers want done, sends what comes of it, and tells what happened, until nothing more comes of that.
    /// Whether there is more, because it went on for long.
    fn work_off(&mut self) -> bool {
        for _ in 0..ROUNDS {
            self.fulfil_wishes();
            self.pump.run(&mut self.node);
            self.streams.run(&mut self.node);
            self.calls.run(&mut self.node, &mut self.reach);
            if let Some(system) = &mut self.system {
                // What this node decided is in the log before others can hear of it and say what they make of that.
                system.let_out(self.observer.as_deref_mut());
            }
            self.flush();
            if !self.publish() {
                return false;
            }
        }
        true
    }
}

/// Sends what the node has to send, and counts the errors since the last success.
fn flush(egress: &mut Egress, node: &mut Node, socket: &Socket, errors: &mut u32) {
    let flushed = egress.flush(node, socket);
    *errors = flushed.errors + if flushed.sent > 0 { 0 } else { *errors };
}
