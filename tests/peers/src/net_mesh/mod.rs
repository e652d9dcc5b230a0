//! net-mesh-sdk: two of its nodes, and its cluster harness.

pub(crate) mod cluster;

use std::{
    sync::{Arc, Mutex, Once, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use net_sdk::{
    CapabilitySet, Mesh, MeshBuilder, Reliability, StreamConfig,
    error::SdkError,
    mesh_rpc::{
        CallOptions, RpcContext, RpcError, RpcHandler, RpcHandlerError, RpcResponsePayload, RpcStatus,
    },
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

#[async_trait]
impl RpcHandler for Echo {
    async fn call(&self, context: RpcContext) -> Result<RpcResponsePayload, RpcHandlerError> {
        Ok(RpcResponsePayload { status: RpcStatus::Ok, headers: vec![], body: context.payload.body })
    }
}

/// Calls that are echoed, their `size` bytes as they are.
pub(crate) async fn rpc(size: usize, callers: usize) -> Result<Figures, Error> {
    let (a, b) = pair(None).await?;
    let _service = b.serve_rpc("echo", Arc::new(Echo))?;
    b.announce_capabilities(CapabilitySet::new()).await?;
    let (a, id, payload) = (Arc::new(a), b.node_id(), Bytes::from(vec![7; size]));
    // The first call also opens the way for the answers, which many first calls at once get wrong.
    a.call(id, "echo", payload.clone(), CallOptions::default()).await?;
    let complained = Arc::new(Once::new());
    measure::calls(callers, move || {
        let (a, payload, complained) = (Arc::clone(&a), payload.clone(), Arc::clone(&complained));
        async move {
            let deadline = Instant::now() + DEADLINE;
            let options = CallOptions { deadline: Some(deadline), ..CallOptions::default() };
            loop {
                match a.call(id, "echo", payload.clone(), options.clone()).await {
                    Ok(reply) => return reply.body == payload,
                    // It refuses calls rather than have them wait; its own benchmarks try again as well.
                    Err(RpcError::Transport(_)) if Instant::now() < deadline => yield_now().await,
                    Err(error) => {
                        complained.call_once(|| eprintln!("the first call lost: {error:?}"));
                        return false;
                    }
                }
            }
        }
    })
    .await
}
