//! Between callers, handlers and the node.

use std::{
    collections::{BTreeMap, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use meshground_node::{CallError, CallEvent, CallId, CallRecord, Node, ReplyError};
use tokio::{
    sync::{broadcast, oneshot},
    task::AbortHandle,
};

use super::clock::{now, std_instant};
use crate::mesh::call::{
    Caller, Handler, MAX_HANDLERS, Order, Refusal, Request, Responder, Switchboard, Token, Work,
};

/// The task's end of the calls.
#[derive(Debug)]
pub(super) struct Calls {
    switchboard: Arc<Switchboard>,
    observers: broadcast::Sender<Arc<CallRecord>>,
    made: BTreeMap<CallId, (Token, Caller)>,
    tokens: BTreeMap<Token, CallId>,
    served: BTreeMap<CallId, Serving>,
    orders: Vec<Order>,
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
    pub(super) fn new(switchboard: Arc<Switchboard>, observers: broadcast::Sender<Arc<CallRecord>>) -> Self {
        Self {
            switchboard,
            observers,
            made: BTreeMap::new(),
            tokens: BTreeMap::new(),
            served: BTreeMap::new(),
            orders: Vec::new(),
        }
    }

    /// Does what callers and handlers ask for.
    pub(super) fn run(&mut self, node: &mut Node) {
        let mut orders = std::mem::take(&mut self.orders);
        self.switchboard.take_orders(&mut orders);
        for order in orders.drain(..) {
            self.carry_out(node, order);
        }
        self.orders = orders;
    }

    fn carry_out(&mut self, node: &mut Node, order: Order) {
        match order {
            Order::Call { token, peer, method, body, deadline, caller } => {
                match node.call(now(), peer, &method, &body, deadline) {
                    Ok(call) => {
                        self.tokens.insert(token, call);
                        self.made.insert(call, (token, caller));
                    }
                    Err(error) => end(caller, Err(error)),
                }
            }
            Order::Cancel { token } => {
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

    /// A handler is done.
    fn answer(&mut self, node: &mut Node, call: CallId, outcome: Result<Option<Vec<u8>>, CallError>) {
        if self.served.remove(&call).is_none() {
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
                    Some(_) if self.served.len() >= MAX_HANDLERS => {
                        _ = node.end_reply(now(), call, Err(CallError::Overloaded));
                    }
                    Some(handler) => self.begin(node, call, &handler, request),
                }
            }
            CallEvent::Abandoned { call } => {
                if let Some(Serving { task: Some(task), .. }) = self.served.remove(&call) {
                    task.abort();
                }
            }
            CallEvent::ReplyWritable { call } => self.send_items(node, call),
            CallEvent::Item { call, body } => match self.made.get_mut(&call) {
                Some((_, Caller::Unary { item, .. })) => {
                    node.release_items(now(), call, 1, body.len());
                    *item = Some(body);
                }
                // One that nobody waits for any more is about to be called off.
                Some((_, Caller::Streaming(items))) => _ = items.send(Ok(body)),
                None => {}
            },
            CallEvent::Ended { call, outcome } => {
                if let Some((token, caller)) = self.made.remove(&call) {
                    self.tokens.remove(&token);
                    end(caller, outcome);
                }
            }
            CallEvent::Observed(record) if self.observers.receiver_count() > 0 => {
                let _ = self.observers.send(Arc::new(record));
            }
            _ => {}
        }
    }

    /// Has a handler work on a request. One that is done at once answers at once, without a task of its own.
    fn begin(&mut self, node: &mut Node, call: CallId, handler: &Handler, request: Request) {
        self.served.insert(call, Serving::default());
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
        (Caller::Streaming(items), Err(error)) => _ = items.send(Err(error)),
        (Caller::Streaming(_), Ok(())) => {}
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
        for (_, (_, caller)) in std::mem::take(&mut self.made) {
            if let Caller::Streaming(items) = caller {
                let _ = items.send(Err(CallError::Lost));
            }
        }
    }
}
