//! net-mesh-sdk: two of its nodes, and its cluster harness.

pub(crate) mod cluster;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use net_sdk::{
    CapabilitySet, Mesh, MeshBuilder, Reliability, StreamConfig,
    error::SdkError,
    mesh_rpc::{CallOptions, RpcContext, RpcHandler, RpcHandlerError, RpcResponsePayload, RpcStatus},
};
use tokio::{runtime::Handle, task::yield_now, time::sleep};

use crate::measure::{self, Arrivals, Error, Figures, QUIET};

/// Any will do.
const STREAM: u64 = 7;

/// Sixteen times its default, with which it is slower.
const WINDOW: u32 = 1 << 20;

/// After so long a call counts as lost.
const DEADLINE: Duration = Duration::from_secs(2);

/// Two nodes with a session, the first one's half dialled; the second lives on `second` if one is given.
async fn pair(second: Option<&Handle>) -> Result<(Mesh, Mesh), Error> {
    let psk = [0x42; 32];
    let build = || async move { MeshBuilder::new("127.0.0.1:0", &psk)?.build().await };
    let a = build().await?;
    let b = match second {
        Some(runtime) => runtime.spawn(build()).await??,
        None => build().await?,
    };
    let dial = async {
        // As its own harness does: the other end must be accepting already.
        sleep(Duration::from_millis(10)).await;
        a.connect(&b.local_addr().to_string(), b.public_key(), b.node_id()).await
    };
    let (accepted, connected) = tokio::join!(b.accept(a.node_id()), dial);
    accepted?;
    connected?;
    a.start()?;
    if let Some(runtime) = second {
        let _on = runtime.enter();
        b.start()?;
    } else {
        b.start()?;
    }
    Ok((a, b))
}

/// Messages of `size` bytes one way, `a_call` in each call, on a stream that is reliable or not.
pub(crate) async fn messages(size: usize, a_call: usize, reliable: bool) -> Result<Figures, Error> {
    let (a, b) = pair(None).await?;
    let arrivals = Arc::new(Mutex::new(Arrivals::start()));
    let counted = Arc::clone(&arrivals);
    let subscription = b.on_stream_data(STREAM, move |_| {
        counted.lock().unwrap_or_else(PoisonError::into_inner).add(1);
    });
    let _subscription = subscription.ok_or("the stream has a receiver already")?;
    let reliability = if reliable { Reliability::Reliable } else { Reliability::FireAndForget };
    let config = StreamConfig::new().with_reliability(reliability).with_window_bytes(WINDOW);
    let stream = a.open_stream(b.node_id(), STREAM, config)?;
    let payloads = vec![Bytes::from(vec![7; size]); a_call];
    let now = || *arrivals.lock().unwrap_or_else(PoisonError::into_inner);

    let start = Arrivals::start();
    *arrivals.lock().unwrap_or_else(PoisonError::into_inner) = start;
    let mut sent = 0;
    while start.is_flowing() {
        match a.send_on_stream(&stream, &payloads).await {
            Ok(()) => sent += a_call,
            // Its own waiting send sleeps for 5 ms and more at a time.
            Err(SdkError::Backpressure) => yield_now().await,
            Err(error) => return Err(error.into()),
        }
    }
    loop {
        let before = now();
        sleep(QUIET).await;
        if now() == before {
            return before.figures(size, sent);
        }
    }
}

struct Echo;

impl RpcHandler for Echo {
    // What `async_trait` would have made of an `async fn`.
    fn call<'a, 'b>(
        &'a self,
        context: RpcContext,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<RpcResponsePayload, RpcHandlerError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            Ok(RpcResponsePayload { status: RpcStatus::Ok, headers: vec![], body: context.payload.body })
        })
    }
}

/// Calls that are echoed, their `size` bytes as they are.
pub(crate) async fn rpc(size: usize, callers: usize) -> Result<Figures, Error> {
    let (a, b) = pair(None).await?;
    let _service = b.serve_rpc("echo", Arc::new(Echo))?;
    b.announce_capabilities(CapabilitySet::new()).await?;
    let (a, id, payload) = (Arc::new(a), b.node_id(), Bytes::from(vec![7; size]));
    measure::calls(callers, move || {
        let (a, payload) = (Arc::clone(&a), payload.clone());
        async move {
            let options = CallOptions {
                deadline: Some(std::time::Instant::now() + DEADLINE),
                ..CallOptions::default()
            };
            a.call(id, "echo", payload.clone(), options).await.is_ok_and(|reply| reply.body == payload)
        }
    })
    .await
}
