//! What the page knows: one value, changed by one reducer.
//!
//! It folds the server's snapshot and events with the same code as the server, and
//! holds no browser object, so that all of it is tested natively.

mod causes;
mod clock;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use meshground_shared::{
    ClusterPhase, CommandId, DaemonId, DaemonSample, Event, EventKind, NodeId, NodeView, Snapshot, Telemetry,
    Traffic,
    rpc::{DaemonSpawn, Hello, Method, NodeLook, RpcError, Subscribed},
};
use yew::Reducible;

pub(crate) use self::clock::LogClock;
pub(crate) use crate::command::Command;
use crate::{
    eyes::{Eyes, Seen},
    names::Names,
    shared_ref::Shared,
    work::{Answer, Answers},
};

/// Events kept for the log panel.
pub(crate) const LOG_CAPACITY: usize = 500;
/// Calls kept for their table: other events do not push them out.
pub(crate) const CALLS_KEPT: usize = 100;
/// What helps where an answer cannot be read.
const RELOAD: &str = "Reload the page: it may be older than the server.";
/// Notices shown at a time; an older one makes room.
const MAX_NOTICES: usize = 3;

/// The link to the server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum LinkState {
    /// The first attempt is under way.
    Connecting,
    /// Subscribed: what the page shows is current.
    Live,
    /// The connection was lost.
    Reconnecting {
        /// Failures in a row.
        attempt: u32,
        /// When the next attempt is due, in the page's milliseconds.
        due_ms: f64,
    },
    /// Several attempts failed. Still trying, less often.
    Gone {
        /// Failures in a row.
        attempt: u32,
        /// When the next attempt is due, in the page's milliseconds.
        due_ms: f64,
    },
}

impl LinkState {
    /// The word tests and styles know it by.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Reconnecting { .. } => "reconnecting",
            Self::Gone { .. } => "gone",
        }
    }
}

/// A command that has not been answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    /// The page's own number for it.
    pub(crate) ticket: u64,
    /// What was asked.
    pub(crate) command: Command,
}

/// Why a command came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server said no, and why.
    Refused(RpcError),
    /// The connection went before the answer came. The server goes on with it.
    Lost,
    /// The answer is not what the contract says.
    Unreadable(String),
}

/// An error on show until it is dismissed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// To dismiss it by.
    pub(crate) id: u64,
    /// What failed, in the words of the control.
    pub(crate) title: String,
    /// Why.
    pub(crate) message: String,
    /// What to do about it; may be empty.
    pub(crate) hint: String,
    /// The error's stable name; may be empty.
    pub(crate) name: String,
}

/// Smoothed round-trip times in microseconds, by `(who measured, to whom)`.
pub(crate) type Rtts = BTreeMap<(NodeId, NodeId), u32>;

/// Counters of sessions, by `(who counted, with whom)`.
pub(crate) type Traffics = BTreeMap<(NodeId, NodeId), Traffic>;

/// The last figures of daemons, by `(where, which)`.
pub(crate) type Loads = BTreeMap<(NodeId, DaemonId), DaemonSample>;

/// Everything the page knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct State {
    /// How the link to the server is.
    pub(crate) link: LinkState,
    /// Who the server is; none before its first answer.
    pub(crate) hello: Option<Shared<Hello>>,
    /// The cluster; none before the first subscription.
    pub(crate) snapshot: Option<Shared<Snapshot>>,
    /// The last events, oldest first.
    pub(crate) log: Shared<VecDeque<Rc<Event>>>,
    /// The last calls between nodes that are over, oldest first.
    pub(crate) calls: Shared<VecDeque<Rc<Event>>>,
    /// What the server answered that no event says.
    pub(crate) answers: Shared<Answers>,
    /// Round-trip times.
    pub(crate) rtts: Shared<Rtts>,
    /// What was sent and received.
    pub(crate) traffic: Shared<Traffics>,
    /// How busy daemons are.
    pub(crate) loads: Shared<Loads>,
    /// What nodes, daemons and groups are called.
    pub(crate) names: Shared<Names>,
    /// What commands events followed from, by id, by name.
    pub(crate) causes: Shared<BTreeMap<CommandId, &'static str>>,
    /// The node being looked at.
    pub(crate) selected: Option<NodeId>,
    /// What that node sees, where the page looks through its eyes.
    pub(crate) eyes: Option<Shared<Eyes>>,
    /// Commands under way.
    pub(crate) pending: Vec<Pending>,
    /// Errors on show.
    pub(crate) notices: Vec<Notice>,
    /// Nodes and microseconds of the last convergence seen.
    pub(crate) converged: Option<(u32, u64)>,
    /// The log's clock.
    pub(crate) clock: LogClock,
    next_notice: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            link: LinkState::Connecting,
            hello: None,
            snapshot: None,
            log: Shared::new(VecDeque::new()),
            calls: Shared::new(VecDeque::new()),
            answers: Shared::new(Answers::default()),
            rtts: Shared::new(Rtts::new()),
            traffic: Shared::new(Traffics::new()),
            loads: Shared::new(Loads::new()),
            names: Shared::new(Names::default()),
            causes: Shared::new(BTreeMap::new()),
            selected: None,
            eyes: None,
            pending: Vec::new(),
            notices: Vec::new(),
            converged: None,
            clock: LogClock::default(),
            next_notice: 0,
        }
    }
}

/// One change.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// The link changed.
    Link(LinkState),
    /// The server said who it is.
    Hello(Hello),
    /// A subscription began, or went on.
    Subscribed {
        /// From where.
        answer: Subscribed,
        /// The page's milliseconds.
        now_ms: f64,
    },
    /// The next event.
    Event {
        /// What happened.
        event: Event,
        /// The page's milliseconds.
        now_ms: f64,
    },
    /// Gauges that changed.
    Telemetry {
        /// The frame.
        frame: Telemetry,
        /// The page's milliseconds.
        now_ms: f64,
    },
    /// The server skipped events for this page; this is where things stand.
    Dropped {
        /// How many are missing from the log.
        count: u64,
        /// Where things stand.
        snapshot: Snapshot,
    },
    /// A person looks at a node, or at none.
    Select(Option<NodeId>),
    /// The server said what a node sees, or that it cannot.
    Looked {
        /// Whose eyes.
        node: NodeId,
        /// What they see.
        outcome: Result<Box<NodeView>, Failure>,
    },
    /// A command was sent.
    Sent(Pending),
    /// A command was answered: with its id, if the answer has one.
    Answered {
        /// Which of the page's commands.
        ticket: u64,
        /// What came of it.
        outcome: Result<Option<CommandId>, Failure>,
    },
    /// The server answered something that no event says.
    Learned(Answer),
    /// Something went wrong that no command stands for.
    Warn {
        /// What.
        title: String,
        /// Why.
        message: String,
    },
    /// A person has read a notice.
    Dismiss(u64),
}

/// Actions that arrived together: one state, one render.
pub(crate) struct Batch(pub(crate) Vec<Action>);

impl Reducible for State {
    type Action = Batch;

    fn reduce(self: Rc<Self>, Batch(actions): Batch) -> Rc<Self> {
        let mut next = (*self).clone();
        drop(self);
        for action in actions {
            next.apply(action);
        }
        Rc::new(next)
    }
}

impl State {
    /// What the cluster is doing; empty before anything is known.
    pub(crate) fn phase(&self) -> ClusterPhase {
        self.snapshot.as_ref().map_or(ClusterPhase::Empty, |snapshot| snapshot.phase)
    }

    /// Whether commands can be given.
    pub(crate) fn is_live(&self) -> bool {
        self.link == LinkState::Live
    }

    /// Whether the server knows daemons and what belongs to them.
    pub(crate) fn has_daemons(&self) -> bool {
        self.has::<DaemonSpawn>()
    }

    /// Whether the server can tell what one node sees.
    pub(crate) fn has_eyes(&self) -> bool {
        self.has::<NodeLook>()
    }

    fn has<M: Method>(&self) -> bool {
        self.hello.iter().flat_map(|hello| &hello.methods).any(|method| method == M::NAME)
    }

    /// What is true of a log with nothing in it.
    pub(crate) fn silence(&self) -> &'static str {
        match &self.snapshot {
            None => "Not connected yet.",
            Some(snapshot) if snapshot.seq == 0 => "Nothing has happened yet.",
            // The server keeps only so many events; it told where things stand instead.
            Some(_) => "Nothing since you connected.",
        }
    }

    /// Folds one action in.
    pub(crate) fn apply(&mut self, action: Action) {
        match action {
            Action::Link(link) => self.link = link,
            Action::Hello(hello) => self.hello = Some(Shared::new(hello)),
            Action::Subscribed { answer, now_ms } => {
                if let Some(snapshot) = answer.snapshot {
                    self.stand(snapshot);
                } else if answer.seq == 0 {
                    // All of the log follows.
                    self.empty_the_log();
                    self.stand(Snapshot::new(answer.epoch));
                }
                self.clock.observe(answer.now_us, now_ms);
            }
            Action::Event { event, now_ms } => self.fold(event, now_ms),
            Action::Telemetry { frame, now_ms } => {
                self.clock.observe(frame.at_us, now_ms);
                let samples = frame.links.iter().map(|link| ((link.node, link.peer), link.rtt_us));
                self.rtts.make_mut().extend(samples);
                if !frame.traffic.is_empty() {
                    let samples = frame.traffic.iter().map(|link| ((link.node, link.peer), link.total));
                    self.traffic.make_mut().extend(samples);
                }
                if !frame.daemons.is_empty() {
                    let samples = frame.daemons.iter().map(|one| ((one.node, one.daemon), *one));
                    self.loads.make_mut().extend(samples);
                }
            }
            Action::Dropped { count, snapshot } => {
                self.stand(snapshot);
                let message = format!("{count} events are missing from the log below. The graph is current.");
                self.notify("This page read too slowly", message, "", "events.dropped");
            }
            Action::Select(node) => {
                if self.selected != node {
                    self.eyes = None;
                }
                self.selected = node;
            }
            Action::Looked { node, outcome } => self.looked(node, outcome),
            Action::Sent(pending) => {
                // Who goes on has seen what went wrong before.
                self.notices.clear();
                self.pending.push(pending);
            }
            Action::Learned(answer) => self.answers.make_mut().learn(answer),
            Action::Answered { ticket, outcome } => self.answered(ticket, outcome),
            Action::Warn { title, message } => self.notify(&title, message, "", ""),
            Action::Dismiss(id) => self.notices.retain(|notice| notice.id != id),
        }
    }

    fn stand(&mut self, snapshot: Snapshot) {
        let same_epoch = self.snapshot.as_ref().is_some_and(|old| old.epoch == snapshot.epoch);
        if !same_epoch {
            self.empty_the_log();
            self.answers.make_mut().forget();
            self.names.make_mut().clear();
            self.causes = Shared::new(BTreeMap::new());
            self.clock = LogClock::default();
            self.converged = None;
            // Another server's refusals say nothing about this one.
            self.notices.clear();
        }
        self.forget_gauges();
        self.names.make_mut().learn_all(&snapshot);
        self.snapshot = Some(Shared::new(snapshot));
        self.let_go_of_the_departed();
    }

    fn forget_gauges(&mut self) {
        self.rtts = Shared::new(Rtts::new());
        self.traffic = Shared::new(Traffics::new());
        self.loads = Shared::new(Loads::new());
    }

    fn empty_the_log(&mut self) {
        self.log = Shared::new(VecDeque::new());
        self.calls = Shared::new(VecDeque::new());
    }

    fn fold(&mut self, event: Event, now_ms: f64) {
        let Some(snapshot) = &mut self.snapshot else { return };
        let recalled = event.seq <= snapshot.seq;
        causes::learn(&event, recalled, &self.names, self.causes.make_mut());
        snapshot.make_mut().apply(&event);
        self.clock.observe(event.at_us, now_ms);
        if self.names.lacks(&event) {
            self.names.make_mut().learn(&event);
        }
        match &event.kind {
            EventKind::ClusterConverged { nodes, took_us } => self.converged = Some((*nodes, *took_us)),
            EventKind::ClusterBooting { .. } | EventKind::ClusterStopped => {
                self.converged = None;
                self.forget_gauges();
            }
            EventKind::NodeStopped { .. } => {
                self.rtts.make_mut().retain(|(node, _), _| Some(*node) != event.node);
                self.traffic.make_mut().retain(|(node, _), _| Some(*node) != event.node);
                self.loads.make_mut().retain(|(node, _), _| Some(*node) != event.node);
            }
            EventKind::DaemonGone { daemon, .. } => {
                if let Some(node) = event.node {
                    self.loads.make_mut().remove(&(node, *daemon));
                }
            }
            EventKind::SessionDown { peer, .. } => {
                if let Some(node) = event.node {
                    self.rtts.make_mut().remove(&(node, *peer));
                    self.traffic.make_mut().remove(&(node, *peer));
                }
            }
            _ => {}
        }
        self.let_go_of_the_departed();
        let event = Rc::new(event);
        if matches!(event.kind, EventKind::CallFinished { .. }) {
            keep(self.calls.make_mut(), Rc::clone(&event), CALLS_KEPT);
        }
        keep(self.log.make_mut(), event, LOG_CAPACITY);
    }

    fn let_go_of_the_departed(&mut self) {
        if let (Some(node), Some(snapshot)) = (self.selected, &self.snapshot)
            && !snapshot.nodes.contains_key(&node)
        {
            self.selected = None;
            self.eyes = None;
        }
    }

    /// What is seen is held against the truth at once: a moment later that may have gone on.
    fn looked(&mut self, node: NodeId, outcome: Result<Box<NodeView>, Failure>) {
        let Some(truth) = self.snapshot.as_ref().filter(|_| self.selected == Some(node)) else { return };
        let seen = match outcome {
            Ok(view) => Ok(Seen::new(*view, truth)),
            Err(Failure::Refused(error)) => Err((error.message, error.data.hint)),
            Err(Failure::Unreadable(why)) => {
                Err((format!("the server's answer could not be read: {why}"), RELOAD.to_owned()))
            }
            // What was seen last stands; the page says that it is not current.
            Err(Failure::Lost) => return,
        };
        self.eyes = Some(Shared::new(Eyes { node, seen }));
    }

    fn answered(&mut self, ticket: u64, outcome: Result<Option<CommandId>, Failure>) {
        let Some(place) = self.pending.iter().position(|pending| pending.ticket == ticket) else { return };
        let command = self.pending.remove(place).command;
        match outcome {
            Ok(Some(id)) => {
                causes::remember(id, command.word(), self.causes.make_mut());
            }
            Ok(None) => {}
            Err(failure) => {
                let title = command.failure(&self.names);
                match failure {
                    Failure::Refused(error) => {
                        self.notify(&title, error.message, &error.data.hint, &error.data.name);
                    }
                    Failure::Lost => self.notify(
                        &title,
                        "The connection was lost before the answer came.".to_owned(),
                        "The server finishes what it has begun; the graph will show it.",
                        "connection_lost",
                    ),
                    Failure::Unreadable(why) => self.notify(
                        &title,
                        format!("The server's answer could not be read: {why}."),
                        RELOAD,
                        "unreadable_answer",
                    ),
                }
            }
        }
    }

    fn notify(&mut self, title: &str, message: String, hint: &str, name: &str) {
        if self.notices.len() == MAX_NOTICES {
            self.notices.remove(0);
        }
        self.next_notice += 1;
        self.notices.push(Notice {
            id: self.next_notice,
            title: title.to_owned(),
            message,
            hint: hint.to_owned(),
            name: name.to_owned(),
        });
    }
}

fn keep(log: &mut VecDeque<Rc<Event>>, event: Rc<Event>, at_most: usize) {
    if log.len() == at_most {
        log.pop_front();
    }
    log.push_back(event);
}
