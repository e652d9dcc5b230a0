//! The WebSocket: connects, subscribes, gives commands, and comes back when it breaks.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
};

use meshground_shared::{
    CommandId, EventKind, NodeId,
    rpc::{
        DaemonKinds, EventsSubscribe, Id, Method, NoParams, Outcome, Push, Request, RpcError, SUBPROTOCOL,
        ServerMessage, SessionHello, SubscribeParams, Topic,
    },
};
use serde_json::Value;
use wasm_bindgen::JsCast;
use web_sys::{Event, MessageEvent, WebSocket};

use super::{Begun, Feed, Step, backoff, gaze::Gaze};
use crate::{
    dom::{self, Listener, Timer},
    state::{Action, Command, Failure, LinkState, Pending},
    work::{Answer, Work},
};

/// Actions that arrive within this many milliseconds become one render.
const GATHER_MS: f64 = 24.0;
/// The same where a render takes long: a big mesh, a slow machine.
const GATHER_LONGEST_MS: f64 = 250.0;
/// How long to gather a log that is told from its beginning, so that it appears at
/// once instead of flickering by.
const GATHER_REPLAY_MS: f64 = 80.0;
/// An attempt that has not come to anything by then is given up.
const PATIENCE_MS: f64 = 8_000.0;

/// How often to look whether the server has fallen silent.
const WATCH_MS: f64 = 5_000.0;
/// A server that has said nothing for this long is asked whether it is still there.
const SILENCE_MS: f64 = 20_000.0;
/// A server that does not answer that within this time is not.
const GRACE_MS: f64 = 10_000.0;

/// The link to the server. A handle: clones are the same link.
#[derive(Clone)]
pub(crate) struct Connection(Rc<Link>);

pub(super) struct Link {
    url: String,
    report: Box<dyn Fn(Vec<Action>)>,
    gathered: RefCell<Vec<Action>>,
    flush: RefCell<Option<Timer>>,
    /// How long to gather actions for one render.
    gather_ms: Cell<f64>,
    socket: RefCell<Option<Socket>>,
    /// Gives up an attempt, or begins the next one.
    timer: RefCell<Option<Timer>>,
    window: RefCell<Vec<Listener>>,
    calls: RefCell<HashMap<i64, Call>>,
    feed: RefCell<Feed>,
    next: Cell<i64>,
    failures: Cell<u32>,
    /// When the server was last heard, in the page's milliseconds.
    heard_ms: Cell<f64>,
    /// Whether the server knows daemons.
    has_daemons: Cell<bool>,
    /// When it was last asked whether it is still there.
    asked_ms: Cell<f64>,
    watch: RefCell<Option<Timer>>,
    /// Whether what the page shows is current.
    live: Cell<bool>,
    /// Through whose eyes the page looks.
    pub(super) gaze: RefCell<Gaze>,
    pub(super) look_again: RefCell<Option<Timer>>,
    closed: Cell<bool>,
}

struct Socket {
    socket: WebSocket,
    _listeners: Vec<Listener>,
}

/// What an answer is for.
pub(super) enum Call {
    /// Who is there; subscribing comes next.
    Hello,
    /// Whether the server is still there.
    Probe,
    Subscribe,
    /// What factories there are.
    Kinds,
    /// What a node sees.
    Look,
    Command {
        ticket: u64,
        /// What was asked, where the answer says more than the events do.
        work: Option<Work>,
    },
}

impl Connection {
    /// Connects to the server this page came from, and reports what happens, several
    /// actions at a time.
    pub(crate) fn open(report: impl Fn(Vec<Action>) + 'static) -> Self {
        let link = Rc::new(Link {
            url: server_url(),
            report: Box::new(report),
            gathered: RefCell::default(),
            flush: RefCell::default(),
            gather_ms: Cell::new(GATHER_MS),
            socket: RefCell::default(),
            timer: RefCell::default(),
            window: RefCell::default(),
            calls: RefCell::default(),
            feed: RefCell::default(),
            next: Cell::new(1),
            failures: Cell::new(0),
            heard_ms: Cell::new(0.0),
            has_daemons: Cell::new(false),
            asked_ms: Cell::new(0.0),
            watch: RefCell::default(),
            live: Cell::new(false),
            gaze: RefCell::default(),
            look_again: RefCell::default(),
            closed: Cell::new(false),
        });
        // Back on the network: no reason to wait any longer.
        let weak = Rc::downgrade(&link);
        let online = Listener::new(&dom::window(), "online", move |_| retry(&weak));
        let weak = Rc::downgrade(&link);
        let seen_again = Listener::new(&dom::document(), "visibilitychange", move |_| {
            if let Some(link) = weak.upgrade() {
                link.look();
            }
        });
        link.window.borrow_mut().extend([online, seen_again]);
        let weak = Rc::downgrade(&link);
        let watch = Timer::every(WATCH_MS, move || {
            if let Some(link) = weak.upgrade() {
                link.watch();
            }
        });
        *link.watch.borrow_mut() = Some(watch);
        link.connect();
        Self(link)
    }

    /// Tries again at once instead of waiting; does nothing while connected.
    pub(crate) fn retry_now(&self) {
        retry(&Rc::downgrade(&self.0));
    }

    /// Gives a command. Its answer is reported as [`Action::Answered`].
    pub(crate) fn give(&self, command: Command) {
        let link = &self.0;
        let ticket = u64::try_from(link.next.get()).unwrap_or_default();
        link.tell(Action::Sent(Pending { ticket, command: command.clone() }));
        let work = if let Command::Work(work) = &command { Some(work.clone()) } else { None };
        let call = Call::Command { ticket, work };
        link.carry_out(command, call);
    }

    /// Looks through a node's eyes from now on, or through nobody's. What is seen is reported as [`Action::Looked`].
    pub(crate) fn look_through(&self, node: Option<NodeId>) {
        self.0.look_through(node);
    }

    /// Ends the link for good.
    pub(crate) fn close(&self) {
        self.0.closed.set(true);
        self.0.window.borrow_mut().clear();
        self.0.timer.borrow_mut().take();
        self.0.watch.borrow_mut().take();
        self.0.look_again.borrow_mut().take();
        self.0.flush.borrow_mut().take();
        self.0.retire();
    }
}

/// The WebSocket of the server this page came from.
fn server_url() -> String {
    let location = dom::window().location();
    let secure = location.protocol().is_ok_and(|protocol| protocol == "https:");
    let host = location.host().unwrap_or_default();
    format!("{}://{host}/ws", if secure { "wss" } else { "ws" })
}

fn retry(link: &Weak<Link>) {
    if let Some(link) = link.upgrade()
        && link.socket.borrow().is_none()
    {
        link.connect();
    }
}

impl Link {
    fn connect(self: &Rc<Self>) {
        if self.closed.get() {
            return;
        }
        let Ok(socket) = WebSocket::new_with_str(&self.url, SUBPROTOCOL) else {
            self.lost();
            return;
        };
        let on = |kind, react: fn(&Rc<Self>, Event)| {
            let weak = Rc::downgrade(self);
            Listener::new(&socket, kind, move |event| {
                if let Some(link) = weak.upgrade() {
                    react(&link, event);
                }
            })
        };
        let listeners = vec![
            on("open", |link, _| link.opened()),
            on("message", |link, event| {
                if let Some(text) = event.dyn_ref::<MessageEvent>().and_then(|event| event.data().as_string())
                {
                    link.read(&text);
                }
            }),
            on("close", |link, _| link.lost()),
        ];
        *self.socket.borrow_mut() = Some(Socket { socket: socket.clone(), _listeners: listeners });
        let weak = Rc::downgrade(self);
        // A server that takes the connection but never answers would hold the page up for ever.
        let give_up = Timer::after(PATIENCE_MS, move || {
            if let Some(link) = weak.upgrade() {
                link.lost();
            }
        });
        replace_later(&self.timer, give_up);
    }

    /// Asks what factories there are: once it is known that there are any at all, and again for
    /// every cluster.
    fn ask_kinds(self: &Rc<Self>) {
        if self.has_daemons.get() {
            self.call::<DaemonKinds>(&NoParams {}, Call::Kinds);
        }
    }

    /// Whether what the page shows is current.
    pub(super) fn is_live(&self) -> bool {
        self.live.get()
    }

    fn opened(self: &Rc<Self>) {
        self.hello(Call::Hello);
    }

    fn hello(self: &Rc<Self>, call: Call) {
        self.call::<SessionHello>(&NoParams {}, call);
    }

    fn subscribe(self: &Rc<Self>) {
        let resume = self.feed.borrow_mut().subscribing();
        let topics = vec![Topic::Cluster, Topic::Telemetry];
        self.call::<EventsSubscribe>(&SubscribeParams { topics, resume }, Call::Subscribe);
    }

    /// Asks the server; the answer is for `call`.
    pub(super) fn call<M: Method>(self: &Rc<Self>, params: &M::Params, call: Call) {
        let id = self.next.replace(self.next.get() + 1);
        let request =
            Request::new::<M>(Id::Number(id), params).and_then(|request| serde_json::to_string(&request));
        let sent = request.is_ok_and(|text| {
            (self.socket.borrow().as_ref()).is_some_and(|socket| socket.socket.send_with_str(&text).is_ok())
        });
        if sent {
            self.calls.borrow_mut().insert(id, call);
        } else {
            self.fail(call, Failure::Lost);
        }
    }

    /// Finds out that a connection has died without a word, as it does when a laptop
    /// sleeps or changes networks.
    fn watch(self: &Rc<Self>) {
        let aside = |call: &Call| matches!(call, Call::Probe | Call::Look);
        let settled = self.failures.get() == 0 && self.calls.borrow().values().all(aside);
        if self.socket.borrow().is_none() || !settled {
            return;
        }
        let now_ms = dom::now_ms();
        let (heard_ms, asked_ms) = (self.heard_ms.get(), self.asked_ms.get());
        if asked_ms <= heard_ms {
            if now_ms - heard_ms > SILENCE_MS {
                self.asked_ms.set(now_ms);
                self.hello(Call::Probe);
            }
        } else if now_ms - asked_ms > GRACE_MS {
            self.lost();
        }
    }

    fn read(self: &Rc<Self>, text: &str) {
        self.heard_ms.set(dom::now_ms());
        match serde_json::from_str(text) {
            Ok(ServerMessage::Notification(notification)) => self.pushed(notification.push),
            Ok(ServerMessage::Response(response)) => {
                let Some(Id::Number(id)) = response.id else { return };
                let Some(call) = self.calls.borrow_mut().remove(&id) else { return };
                match response.outcome {
                    Outcome::Result(value) => self.succeed(call, value),
                    Outcome::Error(error) => self.fail(call, Failure::Refused(error)),
                }
            }
            Err(error) => self.tell(Action::Warn {
                title: "A message of the server could not be read".to_owned(),
                message: format!("{error}. Reload the page: it may be older than the server."),
            }),
        }
    }

    fn pushed(self: &Rc<Self>, push: Push) {
        match push {
            Push::Event(delivery) => {
                let step = self.feed.borrow_mut().deliver(&delivery);
                match step {
                    Step::Fold => {
                        if matches!(delivery.event.kind, EventKind::ClusterConverged { .. }) {
                            self.ask_kinds();
                        }
                        self.tell(Action::Event { event: delivery.event, now_ms: dom::now_ms() });
                    }
                    Step::Skip => {}
                    Step::Resubscribe => self.subscribe(),
                }
            }
            Push::Telemetry(frame) => self.tell(Action::Telemetry { frame, now_ms: dom::now_ms() }),
            Push::Dropped(dropped) => {
                if self.feed.borrow_mut().dropped(&dropped) {
                    self.tell(Action::Dropped { count: dropped.count, snapshot: dropped.snapshot });
                }
            }
        }
    }

    fn succeed(self: &Rc<Self>, call: Call, value: Value) {
        match call {
            Call::Hello => match read::<SessionHello>(value) {
                Ok(hello) => {
                    self.feed.borrow_mut().greeted(hello.epoch);
                    self.has_daemons.set(hello.methods.iter().any(|method| method == DaemonKinds::NAME));
                    self.tell(Action::Hello(hello));
                    self.subscribe();
                    self.ask_kinds();
                }
                Err(why) => self.fail(Call::Hello, Failure::Unreadable(why)),
            },
            // That it came is all there was to know.
            Call::Probe => {}
            Call::Look => self.looked(Ok(value)),
            Call::Subscribe => match read::<EventsSubscribe>(value) {
                Ok(answer) => {
                    let begun = self.feed.borrow_mut().subscribed(&answer);
                    match begun {
                        Begun::Live => {
                            self.failures.set(0);
                            self.live.set(true);
                            self.timer.borrow_mut().take();
                            if answer.snapshot.is_none() {
                                self.gather_for(GATHER_REPLAY_MS);
                            }
                            self.tell(Action::Subscribed { answer, now_ms: dom::now_ms() });
                            self.tell(Action::Link(LinkState::Live));
                            self.look();
                        }
                        Begun::Recall => {
                            self.tell(Action::Subscribed { answer, now_ms: dom::now_ms() });
                            self.subscribe();
                        }
                        Begun::Refused => self.subscribe(),
                    }
                }
                Err(why) => self.fail(Call::Subscribe, Failure::Unreadable(why)),
            },
            Call::Kinds => {
                if let Ok(kinds) = read::<DaemonKinds>(value) {
                    self.tell(Action::Learned(Answer::Kinds(kinds.kinds)));
                }
            }
            Call::Command { ticket, work } => {
                // Every command's result carries its id; of most nothing else is needed
                // here, as the events say the rest.
                match work.map_or(Ok(None), |work| work.read(value.clone())) {
                    Ok(None) => {}
                    Ok(Some(answer)) => self.tell(Action::Learned(answer)),
                    Err(why) => {
                        self.tell(Action::Answered { ticket, outcome: Err(Failure::Unreadable(why)) });
                        return;
                    }
                }
                let id = value.get("command").cloned().map(serde_json::from_value::<CommandId>);
                let outcome = match id {
                    Some(Err(error)) => Err(Failure::Unreadable(error.to_string())),
                    Some(Ok(id)) => Ok(Some(id)),
                    None => Ok(None),
                };
                self.tell(Action::Answered { ticket, outcome });
            }
        }
    }

    fn fail(self: &Rc<Self>, call: Call, failure: Failure) {
        match (call, failure) {
            (Call::Command { ticket, .. }, failure) => {
                self.tell(Action::Answered { ticket, outcome: Err(failure) });
            }
            (Call::Look, failure) => self.looked(Err(failure)),
            // A server that will not say what factories there are has none to choose from.
            (Call::Kinds, _) | (Call::Hello | Call::Probe | Call::Subscribe, Failure::Lost) => {}
            (Call::Hello | Call::Probe | Call::Subscribe, Failure::Refused(RpcError { message, .. })) => {
                self.refuse(message);
            }
            (Call::Hello | Call::Probe | Call::Subscribe, Failure::Unreadable(why)) => self.refuse(why),
        }
    }

    /// The server does not let this page in: say why, and try again later.
    fn refuse(self: &Rc<Self>, message: String) {
        let title = "The server did not let this page subscribe".to_owned();
        self.tell(Action::Warn { title, message });
        self.lost();
    }

    /// The connection is gone, or never came about: fails what is outstanding and
    /// sets the next attempt.
    fn lost(self: &Rc<Self>) {
        if self.closed.get() {
            return;
        }
        self.live.set(false);
        self.retire();
        let calls = std::mem::take(&mut *self.calls.borrow_mut());
        for (_, call) in calls {
            self.fail(call, Failure::Lost);
        }
        let attempt = self.failures.get() + 1;
        self.failures.set(attempt);
        let wait_ms = backoff::delay_ms(attempt, js_sys::Math::random());
        let due_ms = dom::now_ms() + wait_ms;
        self.tell(Action::Link(if attempt >= backoff::GONE_AFTER {
            LinkState::Gone { attempt, due_ms }
        } else {
            LinkState::Reconnecting { attempt, due_ms }
        }));
        let weak = Rc::downgrade(self);
        let again = Timer::after(wait_ms, move || {
            if let Some(link) = weak.upgrade() {
                link.connect();
            }
        });
        replace_later(&self.timer, again);
    }

    fn retire(&self) {
        let Some(retired) = self.socket.borrow_mut().take() else { return };
        // Refused only for a close code that is none.
        let _ = retired.socket.close();
        dom::drop_later(retired);
    }

    /// Reports an action, together with others that arrive about now.
    pub(super) fn tell(self: &Rc<Self>, action: Action) {
        self.gathered.borrow_mut().push(action);
        if self.flush.borrow().is_some() {
            return;
        }
        self.gather_for(self.gather_ms.get());
    }

    /// Reports what is gathered until `ms` milliseconds from now.
    fn gather_for(self: &Rc<Self>, ms: f64) {
        let weak = Rc::downgrade(self);
        let flush = Timer::after(ms, move || {
            let Some(link) = weak.upgrade() else { return };
            if let Some(done) = link.flush.borrow_mut().take() {
                dom::drop_later(done);
            }
            let actions = std::mem::take(&mut *link.gathered.borrow_mut());
            let began_ms = dom::now_ms();
            (link.report)(actions);
            // The render follows in this turn of the event loop. Rendering twice as
            // rarely as it takes leaves time for the person; nothing is left out.
            dom::next_turn(move || {
                let took_ms = dom::now_ms() - began_ms;
                link.gather_ms.set((2.0 * took_ms).clamp(GATHER_MS, GATHER_LONGEST_MS));
            });
        });
        *self.flush.borrow_mut() = Some(flush);
    }
}

fn read<M: Method>(value: Value) -> Result<M::Result, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// Puts a new timer in place of one whose closure may be the caller.
pub(super) fn replace_later(slot: &RefCell<Option<Timer>>, timer: Timer) {
    if let Some(old) = slot.borrow_mut().replace(timer) {
        dom::drop_later(old);
    }
}
