//! A small WebSocket client for tests: typed calls, and a mirror of the cluster that
//! proves on every event that none was missed.
//!
//! It stands on plain tokio-tungstenite and the types of `meshground-shared`, as any
//! Rust client would. Whatever goes wrong is a panic that says what was waited for.

#![allow(clippy::missing_panics_doc, clippy::missing_errors_doc)]

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    net::SocketAddr,
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use meshground_shared::{
    Event, Snapshot, Telemetry,
    rpc::{
        Delivery, EventsSubscribe, Id, Method, NoParams, Outcome, Push, Request, Response, RpcError,
        SUBPROTOCOL, ServerMessage, SessionHello, SubscribeParams, Subscribed,
    },
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        http::{HeaderValue, StatusCode, header},
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

/// How long anything is waited for. Far beyond what it takes: running out of it is a
/// failure, never a measurement.
pub const DEADLINE: Duration = Duration::from_secs(40);

/// Waits for `work`, but not for ever.
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let done = timeout(DEADLINE, work).await;
    done.unwrap_or_else(|_| panic!("waited {DEADLINE:?} in vain for {what}"))
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    last_id: i64,
    pushed: VecDeque<Push>,
    answers: HashMap<Id, Outcome>,
}

impl Client {
    /// Connects as a program does: with the subprotocol, without an `Origin`.
    pub async fn connect(server: SocketAddr) -> Self {
        Self::connect_with(server, &[(header::SEC_WEBSOCKET_PROTOCOL.as_str(), SUBPROTOCOL)])
            .await
            .expect("the server takes the client")
    }

    /// Connects with these headers and no others, apart from those that make it a
    /// WebSocket; `Host` can be overridden. Gives the status and text of a refusal.
    pub async fn connect_with(
        server: SocketAddr,
        headers: &[(&str, &str)],
    ) -> Result<Self, (StatusCode, String)> {
        let stream = in_time("a TCP connection", TcpStream::connect(server)).await;
        Self::over(stream.expect("the server listens"), server, headers).await
    }

    /// Connects with a receive buffer so small that little is on its way unread.
    pub async fn connect_narrow(server: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let stream = in_time("a TCP connection", socket.connect(server)).await;
        Self::over(stream.expect("the server listens"), server, &[])
            .await
            .expect("the server takes the client")
    }

    async fn over(
        stream: TcpStream,
        server: SocketAddr,
        headers: &[(&str, &str)],
    ) -> Result<Self, (StatusCode, String)> {
        let mut request = format!("ws://{server}/ws").into_client_request().expect("a request");
        for &(name, value) in headers {
            let name: header::HeaderName = name.parse().expect("a header name");
            request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header value"));
        }
        let handshake = in_time("the WebSocket handshake", client_async(request, stream)).await;
        let (socket, response) = match handshake {
            Ok(connected) => connected,
            Err(Error::Http(response)) => {
                let text = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                return Err((response.status(), text.into_owned()));
            }
            Err(error) => panic!("the WebSocket handshake failed: {error}"),
        };
        let offered = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-protocol"));
        let chosen = response.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
        assert_eq!(chosen.is_some(), offered, "the server chose the subprotocol {chosen:?}");
        Ok(Self { socket, last_id: 0, pushed: VecDeque::new(), answers: HashMap::new() })
    }

    /// Sends one frame, whatever it is.
    pub async fn send(&mut self, message: Message) {
        in_time("the frame to be taken", self.socket.send(message)).await.expect("the connection lives");
    }

    /// Sends a text that need not be a request.
    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.send(Message::text(text.into())).await;
    }

    /// Sends a request for `M` and goes on.
    pub async fn start<M: Method>(&mut self, params: &M::Params) -> Id {
        self.last_id += 1;
        let id = Id::Number(self.last_id);
        let request = Request::new::<M>(id.clone(), params).expect("parameters are JSON");
        self.send_text(serde_json::to_string(&request).expect("a request is JSON")).await;
        id
    }

    /// Waits for the answer to a request that was started.
    pub async fn finish<M: Method>(&mut self, id: &Id) -> Result<M::Result, RpcError> {
        let outcome = loop {
            if let Some(outcome) = self.answers.remove(id) {
                break outcome;
            }
            self.read_one().await;
        };
        match outcome {
            Outcome::Result(value) => Ok(serde_json::from_value(value).expect("the result is as promised")),
            Outcome::Error(error) => Err(error),
        }
    }

    /// Calls `M`.
    pub async fn call<M: Method>(&mut self, params: &M::Params) -> Result<M::Result, RpcError> {
        let id = self.start::<M>(params).await;
        self.finish::<M>(&id).await
    }

    /// Proves that the connection lives and answers.
    pub async fn is_alive(&mut self) {
        self.call::<SessionHello>(&NoParams {}).await.expect("a hello is always answered");
    }

    /// Subscribes, and mirrors what is told from then on. What came before the answer
    /// belongs to an earlier subscription and is forgotten.
    pub async fn mirror(&mut self) -> Mirror {
        let subscribed = self.subscribe(&SubscribeParams::default()).await;
        self.pushed.clear();
        Mirror::new(subscribed.snapshot.expect("a new subscription begins with a snapshot"))
    }

    /// Subscribes.
    pub async fn subscribe(&mut self, params: &SubscribeParams) -> Subscribed {
        self.call::<EventsSubscribe>(params).await.expect("subscribing does not fail")
    }

    /// The next thing the server says unasked.
    pub async fn next_push(&mut self) -> Push {
        loop {
            if let Some(push) = self.pushed.pop_front() {
                return push;
            }
            self.read_one().await;
        }
    }

    /// Forgets what the server has said unasked and nobody has looked at.
    pub fn forget_unread(&mut self) {
        self.pushed.clear();
    }

    /// How much the server has said unasked that nobody has looked at.
    pub fn unread(&self) -> usize {
        self.pushed.len()
    }

    /// The next event; nothing else may come before it.
    pub async fn next_event(&mut self) -> Delivery {
        match self.next_push().await {
            Push::Event(delivery) => delivery,
            other => panic!("expected an event, got {other:?}"),
        }
    }

    /// The next gauges; events before them are skipped.
    pub async fn next_telemetry(&mut self) -> Telemetry {
        loop {
            if let Push::Telemetry(telemetry) = self.next_push().await {
                return telemetry;
            }
        }
    }

    /// The next answer, whichever request it belongs to.
    pub async fn next_answer(&mut self) -> Response {
        loop {
            match self.read().await {
                ServerMessage::Response(response) => return response,
                ServerMessage::Notification(notification) => self.pushed.push_back(notification.push),
            }
        }
    }

    /// The error that answers what was just sent, and the id it answers.
    pub async fn next_error(&mut self) -> (Option<Id>, RpcError) {
        let response = self.next_answer().await;
        match response.outcome {
            Outcome::Error(error) => (response.id, error),
            Outcome::Result(result) => panic!("expected an error, got {result}"),
        }
    }

    /// Reads on until the server closes; gives its reason, if it said one.
    pub async fn closed(&mut self) -> Option<CloseFrame> {
        loop {
            match in_time("the connection to end", self.socket.next()).await {
                Some(Ok(Message::Close(frame))) => return frame,
                Some(Ok(_)) => {}
                Some(Err(error)) => panic!("the connection broke instead of closing: {error}"),
                None => return None,
            }
        }
    }

    /// For one that has read nothing: reads what the server has said, answering nothing of it, until that closes; gives its
    /// reason, if it said one. One that answered could be cut off before it has read the reason.
    pub async fn left_unanswered(self) -> Option<CloseCode> {
        let (mut stream, mut said) = (self.socket.into_inner(), Vec::new());
        // Whether it ends with a word or a reset: it ends.
        let _ = in_time("the connection to end", stream.read_to_end(&mut said)).await;
        let mut rest = &said[..];
        while let [kind, len, after @ ..] = rest {
            let (payload, next) = after.split_at_checked((*len).into())?;
            if let (0x88, [high, low, ..]) = (kind, payload) {
                return Some(u16::from_be_bytes([*high, *low]).into());
            }
            rest = next;
        }
        None
    }

    /// Hangs up without a word.
    pub fn vanish(self) {
        drop(self.socket);
    }

    async fn read_one(&mut self) {
        match self.read().await {
            ServerMessage::Response(response) => {
                let id = response.id.clone().unwrap_or_else(|| panic!("an answer to nothing: {response:?}"));
                let twice = self.answers.insert(id, response.outcome);
                assert!(twice.is_none(), "a request was answered twice: {twice:?}");
            }
            ServerMessage::Notification(notification) => self.pushed.push_back(notification.push),
        }
    }

    async fn read(&mut self) -> ServerMessage {
        loop {
            let message = in_time("a message", self.socket.next()).await;
            match message.expect("the connection lives").expect("the connection is sound") {
                Message::Text(text) => {
                    return serde_json::from_str(text.as_str())
                        .unwrap_or_else(|error| panic!("the server sent {text}: {error}"));
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("the server sent {other:?}"),
            }
        }
    }
}

/// A cluster as a subscriber sees it, folded from what it is told.
#[derive(Debug)]
pub struct Mirror {
    /// The fold so far.
    pub snapshot: Snapshot,
    /// Every event since the subscription.
    pub events: Vec<Event>,
}

impl Mirror {
    /// A mirror that begins with this snapshot.
    pub fn new(snapshot: Snapshot) -> Self {
        Self { snapshot, events: Vec::new() }
    }

    /// Folds the next event in. Panics unless it is the very next one.
    pub fn take(&mut self, delivery: Delivery) -> &Event {
        let Delivery { prev, event } = delivery;
        assert_eq!(prev, self.snapshot.seq, "`prev` is the last event told: {event:?}");
        assert_eq!(event.seq, prev + 1, "`seq` is dense: {event:?}");
        self.snapshot.apply(&event);
        self.events.push(event);
        &self.events[self.events.len() - 1]
    }

    /// Follows until an event satisfies `found`, which is returned.
    pub async fn until(&mut self, client: &mut Client, what: &str, found: impl Fn(&Event) -> bool) -> Event {
        in_time(what, async {
            loop {
                let event = self.take(client.next_event().await);
                if found(event) {
                    return event.clone();
                }
            }
        })
        .await
    }

    /// Follows until the fold satisfies `found`.
    pub async fn until_it_shows(
        &mut self,
        client: &mut Client,
        what: &str,
        found: impl Fn(&Snapshot) -> bool,
    ) {
        in_time(what, async {
            while !found(&self.snapshot) {
                self.take(client.next_event().await);
            }
        })
        .await;
    }

    /// Follows up to event `seq`.
    pub async fn up_to(&mut self, client: &mut Client, seq: u64) {
        self.until_it_shows(client, "the events up to a known one", |fold| fold.seq >= seq).await;
        assert_eq!(self.snapshot.seq, seq);
    }
}

/// What a plain HTTP request was answered with.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header lines, in lower case.
    pub headers: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{:?}: {error}", self.body))
    }
}

/// Sends `GET path` over plain TCP with `Host: host` and these header lines.
pub async fn get(server: SocketAddr, path: &str, host: &str, lines: &[&str]) -> Answer {
    let first = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close");
    let lines = [&[first.as_str()], lines, &["\r\n"]].concat();
    let request = lines.join("\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let bytes = in_time("an HTTP answer", exchange).await.expect("the server answers");
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").expect("an HTTP answer has a head");
    let (status, headers) = head.split_once("\r\n").expect("the head has a status line");
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, headers: headers.to_lowercase(), body: body.to_owned() }
}
