//! Between callers, handlers and the node.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use meshground_node::{CallError, CallEvent, CallId, Instant, Node, NodeId, Now, ReplyError};
use tokio::{sync::oneshot, task::AbortHandle};

use super::{
    clock::{now, std_instant},
    reach::Reach,
};
use crate::mesh::{
    call::{
        Caller, Handler, MAX_HANDLERS, MAX_HANDLERS_IN_ALL, Order, Refusal, Request, Responder, Switchboard,
        Token, Work,
    },
    observed::Observed,
};

/// The task's end of the calls.
#[derive(Debug)]
pub(super) struct Calls {
    switchboard: Arc<Switchboard>,
    observers: Observers,
    /// Calls that wait for a session or until fewer are open: by whom they are for, in order.
    waiting: BTreeMap<(NodeId, Token), Waiting>,
    /// When those are over that have a deadline.
    due: BTreeSet<(Instant, NodeId, Token)>,
    made: BTreeMap<CallId, Made>,
    tokens: BTreeMap<Token, CallId>,
    served: BTreeMap<CallId, Serving>,
    /// How many of these are whose, of those who have any.
    served_for: BTreeMap<NodeId, usize>,
    orders: Vec<Order>,
}

/// Whoever observes the node's calls; told when it goes that no more will come.
#[derive(Debug)]
struct Observers(Arc<Observed>);

impl Drop for Observers {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A call that has not been made yet.
#[derive(Debug)]
struct Waiting {
    method: String,
    body: Vec<u8>,
    /// How long its caller waits, and until when.
    wait: Option<Duration>,
    deadline: Option<Instant>,
    caller: Caller,
}

/// A call under way.
#[derive(Debug)]
struct Made {
    token: Token,
    wait: Option<Duration>,
    caller: Caller,
}

/// Whoever waits for an item to be taken.
type Taken = oneshot::Sender<Result<(), ReplyError>>;

/// A request that is being worked on.
#[derive(Debug, Default)]
struct Serving {
    task: Option<AbortHandle>,
    /// Items the node has no room for yet.
    waiting: VecDeque<(Vec<u8>, Taken)>,
}

impl Calls {
    pub(super) fn new(switchboard: Arc<Switchboard>, observers: Arc<Observed>) -> Self {
        Self {
            switchboard,
            observers: Observers(observers),
            waiting: BTreeMap::new(),
            due: BTreeSet::new(),
            made: BTreeMap::new(),
            tokens: BTreeMap::new(),
            served: BTreeMap::new(),
            served_for: BTreeMap::new(),
            orders: Vec::new(),
        }
    }

    /// Does what callers and handlers ask for.
    pub(super) fn run(&mut self, node: &mut Node, reach: &mut Reach) {
        let mut orders = std::mem::take(&mut self.orders);
        self.switchboard.take_orders(&mut orders);
        for order in orders.drain(..) {
            self.carry_out(node, reach, order);
        }
        self.orders = orders;
    }

    fn carry_out(&mut self, node: &mut Node, reach: &mut Reach, order: Order) {
        match order {
            Order::Call { token, peer, method, body, deadline: wait, caller } => {
                let now = now();
                let deadline = wait.map(|wait| now.instant + wait);
                let call = Waiting { method, body, wait, deadline, caller };
                if self.next_for(peer).is_some() {
                    // Others came first.
                    self.hold(peer, token, call);
                } else {
                    self.make(now, node, reach, peer, token, call);
                }
            }
            Order::Cancel { token, peer } => {
                self.take(peer, token);
                if let Some(call) = self.tokens.get(&token) {
                    node.cancel_call(now(), *call);
                }
            }
            Order::Release { token, bytes } => {
                if let Some(call) = self.tokens.get(&token) {
                    node.release_items(now(), *call, 1, bytes);
                }
            }
            Order::Item { call, body, done } => match self.served.get_mut(&call) {
                Some(serving) => {
                    serving.waiting.push_back((body, done));
                    self.send_items(node, call);
                }
                None => _ = done.send(Err(ReplyError::Over)),
            },
            Order::Answer { call, outcome } => self.answer(node, call, outcome),
        }
    }

    /// Makes a call, or lets it wait. Whether it waits no more.
    fn make(
        &mut self,
        now: Now,
        node: &mut Node,
        reach: &mut Reach,
        peer: NodeId,
        token: Token,
        call: Waiting,
    ) -> bool {
        let left = call.deadline.map(|deadline| deadline.saturating_since(now.instant));
        match node.call(now, peer, &call.method, &call.body, left) {
            Ok(id) => {
                self.tokens.insert(token, id);
                self.made.insert(id, Made { token, wait: call.wait, caller: call.caller });
            }
            Err(CallError::TooMany) => {
                self.hold(peer, token, call);
                return false;
            }
            Err(CallError::NoSession(_)) if reach.begin(node, peer) => {
                self.hold(peer, token, call);
                return false;
            }
            Err(error) => end(call.caller, Err(error)),
        }
        true
    }

    fn hold(&mut self, peer: NodeId, token: Token, call: Waiting) {
        self.due.extend(call.deadline.map(|deadline| (deadline, peer, token)));
        self.waiting.insert((peer, token), call);
    }

    fn take(&mut self, peer: NodeId, token: Token) -> Option<Waiting> {
        let call = self.waiting.remove(&(peer, token))?;
        if let Some(deadline) = call.deadline {
            self.due.remove(&(deadline, peer, token));
        }
        Some(call)
    }

    /// The first call that waits for `peer`.
    fn next_for(&self, peer: NodeId) -> Option<Token> {
        self.waiting.range((peer, 0)..=(peer, Token::MAX)).next().map(|(&(_, token), _)| token)
    }

    /// Something has changed about `peer`: makes the calls that wait for it, as many as go.
    pub(super) fn resume(&mut self, node: &mut Node, reach: &mut Reach, peer: NodeId) {
        let now = now();
        while let Some(token) = self.next_for(peer)
            && let Some(call) = self.take(peer, token)
            && self.make(now, node, reach, peer, token, call)
        {}
    }

    /// No session with `peer` comes about.
    pub(super) fn unreachable(&mut self, peer: NodeId) {
        while let Some(call) = self.next_for(peer).and_then(|token| self.take(peer, token)) {
            end(call.caller, Err(CallError::NoSession(peer)));
        }
    }

    /// When [`expire`](Self::expire) next has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, ..)| *at)
    }

    /// Ends the calls whose deadline has come while they waited.
    pub(super) fn expire(&mut self, now: Now) {
        while let Some(&(at, peer, token)) = self.due.first()
            && at <= now.instant
            && let Some(call) = self.take(peer, token)
        {
            end(call.caller, Err(CallError::Deadline(call.wait.unwrap_or_default())));
        }
    }

    /// Hands the node the items that wait, as far as it takes them.
    fn send_items(&mut self, node: &mut Node, call: CallId) {
        let Some(serving) = self.served.get_mut(&call) else { return };
        while let Some((body, done)) = serving.waiting.pop_front() {
            match node.reply(now(), call, &body) {
                Err(ReplyError::Full) => {
                    serving.waiting.push_front((body, done));
                    return;
                }
                // A handler that waits no more is no error.
                outcome => _ = done.send(outcome),
            }
        }
    }

    /// Whether another request of `peer` may be worked on.
    fn has_place_for(&self, peer: NodeId) -> bool {
        let theirs = self.served_for.get(&peer).copied().unwrap_or(0);
        theirs < MAX_HANDLERS.min(MAX_HANDLERS_IN_ALL.saturating_sub(self.served.len()))
    }

    fn take_served(&mut self, call: CallId) -> Option<Serving> {
        let serving = self.served.remove(&call)?;
        if let Some(count) = self.served_for.get_mut(&call.peer) {
            *count -= 1;
            if *count == 0 {
                self.served_for.remove(&call.peer);
            }
        }
        Some(serving)
    }

    /// A handler is done.
    fn answer(&mut self, node: &mut Node, call: CallId, outcome: Result<Option<Vec<u8>>, CallError>) {
        if self.take_served(call).is_none() {
            return;
        }
        // What these say when the call is over already does not matter.
        let outcome = match outcome {
            Ok(Some(item)) => match node.reply(now(), call, &item) {
                Ok(()) | Err(ReplyError::Over) => Ok(()),
                Err(ReplyError::TooLarge(len)) => Err(CallError::TooLarge(len)),
                // A single item never finds the answer full.
                Err(ReplyError::Full) => Err(CallError::Failed),
            },
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        let _ = node.end_reply(now(), call, outcome);
    }

    /// Something happened to a call.
    pub(super) fn on_event(&mut self, node: &mut Node, event: CallEvent) {
        match event {
            CallEvent::Requested { call, method, body, deadline } => {
                let deadline = deadline.map(|deadline| std_instant(deadline).into());
                let request = Request { from: call.peer, method, body, deadline };
                match self.switchboard.handler(&request.method) {
                    None => _ = node.end_reply(now(), call, Err(CallError::UnknownMethod)),
                    Some(_) if !self.has_place_for(call.peer) => {
                        _ = node.end_reply(now(), call, Err(CallError::Overloaded));
                    }
                    Some(handler) => self.begin(node, call, &handler, request),
                }
            }
            CallEvent::Abandoned { call } => {
                if let Some(Serving { task: Some(task), .. }) = self.take_served(call) {
                    task.abort();
                }
            }
            CallEvent::ReplyWritable { call } => self.send_items(node, call),
            CallEvent::Item { call, body } => match self.made.get_mut(&call) {
                Some(Made { caller: Caller::Unary { item, .. }, .. }) => {
                    node.release_items(now(), call, 1, body.len());
                    *item = Some(body);
                }
                // One that nobody waits for any more is about to be called off.
                Some(Made { caller: Caller::Streaming(items), .. }) => _ = items.send(Ok(Some(body))),
                None => {}
            },
            CallEvent::Ended { call, outcome } => {
                if let Some(Made { token, wait, caller }) = self.made.remove(&call) {
                    self.tokens.remove(&token);
                    // The node knows only what was left of it when the call was made.
                    let whole = |error| match (error, wait) {
                        (CallError::Deadline(_), Some(wait)) => CallError::Deadline(wait),
                        (error, _) => error,
                    };
                    end(caller, outcome.map_err(whole));
                }
            }
            CallEvent::Observed(record) => self.observers.0.tell(record),
            _ => {}
        }
    }

    /// Has a handler work on a request. One that is done at once answers at once, without a task of its own.
    fn begin(&mut self, node: &mut Node, call: CallId, handler: &Handler, request: Request) {
        if self.served.insert(call, Serving::default()).is_none() {
            *self.served_for.entry(call.peer).or_default() += 1;
        }
        let responder = Responder { call, switchboard: Arc::clone(&self.switchboard) };
        let begun = catch_unwind(AssertUnwindSafe(|| {
            let mut work = handler(request, responder);
            // Should it wait, it is polled again in its task, and tells that what it waits for.
            match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(outcome) => Ok(outcome),
                Poll::Pending => Err(work),
            }
        }));
        match begun {
            Ok(Ok(outcome)) => self.answer(node, call, outcome.map_err(Refusal::into_error)),
            Err(_) => self.answer(node, call, Err(CallError::Failed)),
            Ok(Err(work)) => {
                let task = tokio::spawn(go_on(work, call, Arc::clone(&self.switchboard))).abort_handle();
                if let Some(serving) = self.served.get_mut(&call) {
                    serving.task = Some(task);
                }
            }
        }
    }
}

/// Works on a request to its end, and says so however that comes.
async fn go_on(work: Work, call: CallId, switchboard: Arc<Switchboard>) {
    // A panic leaves it unanswered otherwise.
    struct Unanswered {
        call: CallId,
        switchboard: Arc<Switchboard>,
        outcome: Result<Option<Vec<u8>>, CallError>,
    }
    impl Drop for Unanswered {
        fn drop(&mut self) {
            let outcome = std::mem::replace(&mut self.outcome, Err(CallError::Failed));
            self.switchboard.order(Order::Answer { call: self.call, outcome });
        }
    }
    let mut answer = Unanswered { call, switchboard, outcome: Err(CallError::Failed) };
    answer.outcome = work.await.map_err(Refusal::into_error);
}

/// Tells a caller how its call ended.
fn end(caller: Caller, outcome: Result<(), CallError>) {
    match (caller, outcome) {
        (Caller::Unary { reply, item }, outcome) => {
            // An answer without an item is an answer of another kind.
            let _ = reply.send(outcome.and_then(|()| item.ok_or(CallError::Malformed)));
        }
        (Caller::Streaming(items), outcome) => _ = items.send(outcome.map(|()| None)),
    }
}

impl Drop for Calls {
    /// Callers hear nothing more; handlers stop.
    fn drop(&mut self) {
        self.switchboard.close();
        for serving in self.served.values() {
            if let Some(task) = &serving.task {
                task.abort();
            }
        }
    }
}
