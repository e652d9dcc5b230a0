//! One client: a task that reads, a task that writes, and one for each request
//! under way.
//!
//! The reader never waits for a request, so a long one does not hold up the next.
//! It does wait when the client does not read its answers: then the client's own
//! writes come to a stand, and nobody else's.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::{FutureExt, Stream, StreamExt};
use meshground_shared::rpc::{
    ErrorCode, Hello, Id, METHODS, MethodCall, NoParams, RpcError, SUBPROTOCOL, ServerInfo, SubscribeParams,
};
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Error, Message, error::CapacityError, protocol::frame::coding::CloseCode},
};

use super::{
    App,
    dispatch::{self, Incoming},
    outbox::{ClientOutbox, Gone, Held, outbox},
    subscription,
};

/// Requests of one connection that may be under way at a time.
const REQUESTS: usize = 32;
/// A connection is given up after this many silent keepalive periods, and a socket after as many without a byte read.
pub(super) const SILENT_PERIODS: u32 = 3;
/// How long a client that was told why its connection ends has to read it.
const LINGER: Duration = Duration::from_secs(5);

/// What one connection's tasks share.
struct Session {
    app: Arc<App>,
    outbox: ClientOutbox,
    requests: Arc<Semaphore>,
    /// The stream of this connection's subscription, if it has one.
    stream: Mutex<Option<JoinHandle<()>>>,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The client said goodbye, broke off or does not read.
    Gone,
    /// It has given no sign of life.
    Silent,
    /// It sent a message beyond the hard limit.
    TooLarge,
    /// It does not keep to the WebSocket protocol.
    Protocol,
    /// It sent a text that is no UTF-8.
    NoText,
    /// The server goes down.
    Closing,
}

/// Serves one client until it or the server ends the connection.
pub(crate) async fn serve<S>(socket: WebSocketStream<S>, app: &Arc<App>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, mut source) = socket.split();
    let (outbox, queue) = outbox();
    let session = Arc::new(Session {
        app: Arc::clone(app),
        outbox,
        requests: Arc::new(Semaphore::new(REQUESTS)),
        stream: Mutex::new(None),
    });
    let mut writer = tokio::spawn(queue.write_to(sink));
    let mut closing = app.closing.subscribe();
    let end = tokio::select! {
        end = session.read(&mut source) => end,
        _ = closing.wait_for(|closing| *closing) => End::Closing,
        () = session.outbox.closed() => End::Gone,
    };
    let goodbye = async {
        if let Some((code, reason)) = end.frame() {
            session.outbox.close(code, reason).await?;
        }
        Ok::<(), Gone>(())
    };
    let told = timeout(LINGER, goodbye).await;
    if end == End::Gone || !matches!(told, Ok(Ok(()))) {
        writer.abort();
        return;
    }
    if let Ok(Ok(sink)) = timeout(LINGER, &mut writer).await {
        if let Ok(socket) = source.reunite(sink) {
            linger(socket).await;
        }
    } else {
        writer.abort();
    }
}

/// Reads what a client still sends, and throws it away, until it has seen the close
/// frame and hangs up. To close a TCP socket with unread data would reset the
/// connection, and the client might never read why.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    let raw = socket.get_mut();
    let drain = async {
        raw.shutdown().await?;
        let mut waste = vec![0; 16 * 1024];
        while raw.read(&mut waste).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    let _ = timeout(LINGER, drain).await;
}

impl End {
    fn frame(self) -> Option<(CloseCode, &'static str)> {
        match self {
            Self::Gone => None,
            Self::Silent => Some((CloseCode::Policy, "no sign of life")),
            Self::TooLarge => Some((CloseCode::Size, "message too large")),
            Self::Protocol => Some((CloseCode::Protocol, "not the WebSocket protocol")),
            Self::NoText => Some((CloseCode::Invalid, "a text frame must be UTF-8")),
            Self::Closing => Some((CloseCode::Away, "the server goes down")),
        }
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => Self::TooLarge,
            Error::Protocol(_) => Self::Protocol,
            Error::Utf8(_) => Self::NoText,
            _ => Self::Gone,
        }
    }
}

impl Session {
    async fn read<S>(self: &Arc<Self>, source: &mut S) -> End
    where
        S: Stream<Item = Result<Message, Error>> + Unpin,
    {
        let keepalive = self.app.keepalive;
        let mut heard = Instant::now();
        loop {
            let message = match timeout(keepalive, source.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return error.into(),
                Ok(None) => return End::Gone,
                // It answers pings when it has read what comes before them.
                Err(_) if self.outbox.is_writing() => {
                    heard = Instant::now();
                    continue;
                }
                Err(_) if heard.elapsed() >= keepalive.saturating_mul(SILENT_PERIODS) => return End::Silent,
                Err(_) => {
                    self.outbox.ping();
                    continue;
                }
            };
            heard = Instant::now();
            let taken = match message {
                Message::Text(text) => self.take(text.as_str()).await,
                Message::Binary(_) => self.refuse(None, no_binary()).await,
                // Answered by the WebSocket itself.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => Ok(()),
            };
            if taken.is_err() {
                return End::Gone;
            }
        }
    }

    /// Takes one message: starts the request in it, or says what is wrong with it.
    async fn take(self: &Arc<Self>, text: &str) -> Result<(), Gone> {
        let limit = self.app.limits.max_message_bytes;
        if text.len() > limit as usize {
            return self.refuse(dispatch::id_of(text), too_large(text.len(), limit)).await;
        }
        let Incoming { id, call } = match dispatch::parse(text) {
            Ok(incoming) => incoming,
            Err(unreadable) if unreadable.silent => return Ok(()),
            Err(unreadable) => return self.refuse(unreadable.id, *unreadable.error).await,
        };
        match Arc::clone(&self.requests).try_acquire_owned() {
            Ok(place) => {
                tokio::spawn(Arc::clone(self).carry_out(id, call, place));
                Ok(())
            }
            Err(_) if id.is_none() => Ok(()),
            Err(_) => self.refuse(id, too_many_requests()).await,
        }
    }

    async fn refuse(&self, id: Option<Id>, error: RpcError) -> Result<(), Gone> {
        self.outbox.send(dispatch::failure(id, error), Held::new()).await
    }

    /// Carries one request out, whatever becomes of its client meanwhile, and answers.
    async fn carry_out(self: Arc<Self>, id: Option<Id>, call: MethodCall, place: OwnedSemaphorePermit) {
        let work = AssertUnwindSafe(self.answer(id.clone(), call, vec![place])).catch_unwind();
        if let Err(panic) = work.await {
            // The client still gets its one answer. What it says when the client is gone,
            // nobody needs to know.
            let _ = self.refuse_if_asked(id, defect(&*panic)).await;
        }
    }

    async fn refuse_if_asked(&self, id: Option<Id>, error: RpcError) -> Result<(), Gone> {
        if id.is_some() { self.refuse(id, error).await } else { Ok(()) }
    }

    async fn answer(&self, id: Option<Id>, call: MethodCall, mut held: Held) {
        let room = &self.app.room;
        let text = match call {
            MethodCall::EventsSubscribe(params) => {
                // The only way to fail is a client that is gone.
                let _ = self.subscribe(params, id, held).await;
                return;
            }
            MethodCall::SessionHello(NoParams {}) => reply(id, Ok(self.hello())),
            MethodCall::ClusterSnapshot(NoParams {}) => {
                let Ok(bulk) = self.outbox.bulk().await else { return };
                held.push(bulk);
                reply(id, Ok(room.snapshot()))
            }
            MethodCall::ClusterBoot(params) => reply(id, room.boot(params).await),
            MethodCall::ClusterShutdown(NoParams {}) => reply(id, room.shutdown().await),
            MethodCall::NodeSpawn(NoParams {}) => reply(id, room.spawn().await),
            MethodCall::NodeShutdown(params) => reply(id, room.shutdown_node(params.node).await),
            MethodCall::NodeCrash(params) => reply(id, room.crash_node(params.node).await),
            MethodCall::NodeRestart(params) => reply(id, room.restart_node(params).await),
            MethodCall::NodePause(params) => reply(id, room.pause_node(params.node).await),
            MethodCall::NodeResume(params) => reply(id, room.resume_node(params.node).await),
            MethodCall::NodeLook(params) => reply(id, room.node_view(params.node)),
            MethodCall::ClusterTopology(params) => reply(id, room.set_topology(params).await),
            MethodCall::FaultSet(params) => reply(id, room.set_fault(&params)),
            MethodCall::FaultPartition(params) => reply(id, room.partition(&params)),
            MethodCall::FaultClear(params) => reply(id, room.clear_faults(params)),
            MethodCall::FaultList(NoParams {}) => reply(id, room.faults()),
            MethodCall::DaemonKinds(NoParams {}) => reply(id, room.daemon_kinds().await),
            MethodCall::DaemonSpawn(params) => reply(id, room.spawn_daemon(params).await),
            MethodCall::DaemonStop(params) => reply(id, room.stop_daemon(params).await),
            MethodCall::DaemonDeliver(params) => reply(id, room.deliver(params).await),
            MethodCall::GroupSpawn(params) => reply(id, room.spawn_group(params).await),
            MethodCall::GroupScale(params) => reply(id, room.scale_group(params).await),
            MethodCall::GroupPromote(params) => reply(id, room.promote_group(params).await),
            MethodCall::GroupStop(params) => reply(id, room.stop_group(params).await),
            MethodCall::MigrationStart(params) => reply(id, room.migrate(params).await),
            MethodCall::MigrationCancel(params) => reply(id, room.cancel_migration(params).await),
            MethodCall::RpcCall(params) => reply(id, room.call(params).await),
            MethodCall::AdminExecute(params) => reply(id, room.execute(params).await),
            MethodCall::AdminSubmit(params) => reply(id, room.submit(params).await),
            MethodCall::AdminAudit(params) => reply(id, room.audit(params).await),
            MethodCall::IceSimulate(params) => reply(id, room.simulate(params).await),
            MethodCall::IceExecute(params) => reply(id, room.execute_ice(params).await),
        };
        if let Some(text) = text {
            let _ = self.outbox.send(text, held).await;
        }
    }

    fn hello(&self) -> Hello {
        let room = &self.app.room;
        Hello {
            server: ServerInfo {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            protocol: SUBPROTOCOL.to_owned(),
            epoch: room.log().epoch(),
            limits: self.app.limits,
            methods: METHODS.iter().map(|&method| method.to_owned()).collect(),
            detection_ms: u32::try_from(room.detection().as_millis()).unwrap_or(u32::MAX),
        }
    }

    async fn subscribe(&self, params: SubscribeParams, id: Option<Id>, held: Held) -> Result<(), Gone> {
        // Held until the new stream stands, so that two requests at once end in one stream.
        let mut current = self.stream.lock().await;
        if let Some(before) = current.take() {
            before.abort();
            // Not before it has stopped: nothing of the old stream may follow the answer.
            let _ = before.await;
        }
        let stream = subscription::begin(&self.app.room, &self.outbox, params, id, held).await?;
        *current = Some(tokio::spawn(stream));
        Ok(())
    }
}

/// The answer's text, if the client wants one.
fn reply<T: Serialize>(id: Option<Id>, outcome: Result<T, RpcError>) -> Option<String> {
    let id = id?;
    Some(match outcome {
        Ok(result) => dispatch::success(id, &result),
        Err(error) => dispatch::failure(Some(id), error),
    })
}

fn no_binary() -> RpcError {
    RpcError::new(ErrorCode::InvalidRequest, "binary frames are not taken", "Send JSON in text frames.")
}

fn too_large(size: usize, limit: u32) -> RpcError {
    let message = format!("the message has {size} bytes; at most {limit} are read");
    RpcError::new(ErrorCode::MessageTooLarge, message, "Send less at a time.")
}

fn too_many_requests() -> RpcError {
    RpcError::new(
        ErrorCode::LimitExceeded,
        format!("{REQUESTS} requests of this connection are under way already"),
        "Wait for answers, then send again.",
    )
}

fn defect(panic: &(dyn Any + Send)) -> RpcError {
    let what = panic.downcast_ref::<&str>().copied();
    let what =
        what.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
    RpcError::new(
        ErrorCode::Internal,
        format!("the command failed from a defect of the server: {what}"),
        "Please report it. The server goes on.",
    )
}

#[cfg(test)]
mod tests {
    use futures_util::SinkExt;
    use meshground_shared::{
        EventKind, NodeId, PublicKey,
        rpc::{ClusterSnapshot, NoParams, Outcome, Request, Response},
    };
    use tokio::io::{DuplexStream, duplex};
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::server::{ServerConfig, patience::Patient};

    async fn connect(app: &Arc<App>) -> (WebSocketStream<DuplexStream>, JoinHandle<()>) {
        // Next to nothing is on its way unread.
        let (here, there) = duplex(1024);
        let there = Patient::new(there, app.keepalive * SILENT_PERIODS);
        let socket = WebSocketStream::from_raw_socket(there, Role::Server, None).await;
        let app = Arc::clone(app);
        let served = tokio::spawn(async move { serve(socket, &app).await });
        (WebSocketStream::from_raw_socket(here, Role::Client, None).await, served)
    }

    /// An app whose snapshot is larger than all that a connection buffers.
    fn with_a_large_snapshot(keepalive: Duration) -> Arc<App> {
        let app = App::new(ServerConfig { keepalive, ..ServerConfig::default() });
        for index in 0..1_000 {
            let address = "127.0.0.1:9".parse().unwrap();
            let kind = EventKind::NodeStarted { index, address, public_key: PublicKey([1; 32]) };
            app.room.log().append(Some(NodeId(index.into())), None, kind);
        }
        app
    }

    #[tokio::test]
    async fn a_client_that_asks_and_does_not_read_is_refused_more_at_some_point() {
        let asked = i64::try_from(REQUESTS).unwrap() + 10;
        let app = with_a_large_snapshot(Duration::from_mins(1));
        let (mut client, _) = connect(&app).await;
        for id in 0..asked {
            let request = Request::new::<ClusterSnapshot>(Id::Number(id), &NoParams {}).unwrap();
            client.send(Message::text(serde_json::to_string(&request).unwrap())).await.unwrap();
        }
        let (mut done, mut refused) = (0, 0);
        for _ in 0..asked {
            let Message::Text(text) = client.next().await.unwrap().unwrap() else { panic!("no text") };
            match serde_json::from_str::<Response>(text.as_str()).unwrap().outcome {
                Outcome::Result(_) => done += 1,
                Outcome::Error(error) => {
                    assert!(error.is(ErrorCode::LimitExceeded), "{error}");
                    refused += 1;
                }
            }
        }
        // The first answer may be out, and its place free again, before the last request is read.
        assert!((REQUESTS..=REQUESTS + 1).contains(&done), "{done} done, {refused} refused");
    }

    #[tokio::test]
    async fn a_client_that_never_reads_is_given_up() {
        let app = with_a_large_snapshot(Duration::from_millis(50));
        let (mut client, served) = connect(&app).await;
        let request = Request::new::<ClusterSnapshot>(Id::Number(1), &NoParams {}).unwrap();
        client.send(Message::text(serde_json::to_string(&request).unwrap())).await.unwrap();
        timeout(Duration::from_secs(40), served).await.expect("it is given up").unwrap();
        // What is left in the pipe can be read, and then it ends, short of the whole answer.
        let end = loop {
            match client.next().await {
                Some(Ok(Message::Text(text))) => panic!("{} bytes arrived after all", text.len()),
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        assert!(matches!(end, None | Some(Err(_))), "{end:?}");
    }

    #[tokio::test]
    async fn a_client_that_reads_a_large_answer_slowly_but_steadily_gets_all_of_it() {
        let app = with_a_large_snapshot(Duration::from_millis(300));
        let size = serde_json::to_string(&app.room.snapshot()).unwrap().len();
        let (mut client, _served) = connect(&app).await;
        let request = Request::new::<ClusterSnapshot>(Id::Number(1), &NoParams {}).unwrap();
        client.send(Message::text(serde_json::to_string(&request).unwrap())).await.unwrap();
        let (mut got, mut piece) = (0, vec![0; size / 30]);
        // In all for longer than it may read nothing; how it is read makes no difference, so past the WebSocket.
        while got < size {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut read = 0;
            while read < piece.len() {
                match client.get_mut().read(&mut piece[read..]).await.unwrap() {
                    0 => break,
                    len => read += len,
                }
            }
            assert!(read > 0, "cut off after {got} of {size} bytes");
            got += read;
        }
    }

    #[test]
    fn a_defect_is_told_with_its_reason() {
        assert!(defect(&"index out of bounds").message.ends_with("index out of bounds"));
        assert!(defect(&String::from("of no use")).message.ends_with("of no use"));
        assert!(defect(&7).message.ends_with("no reason given"));
    }
}
