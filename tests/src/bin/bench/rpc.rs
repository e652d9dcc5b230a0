//! Calls from one node to another, and bare datagrams that are sent back.

use std::{net::Ipv4Addr, time::Instant};

use tokio::{net::UdpSocket, time::timeout};

use crate::{
    measure::{self, CALLING, Error, Figures, QUIET},
    ours::Pair,
    suite::{Contender, MESHGROUND, Round, Topic},
    table::{Better, Column, Unit},
};

const SIZE: usize = 64;

const CALLERS: [usize; 2] = [1, 64];

pub(crate) fn topic() -> Topic {
    let rounds = CALLERS.into_iter().map(|callers| Round {
        label: format!("{callers} in flight"),
        contenders: vec![
            Contender::own(MESHGROUND, format!("rpc {callers}")),
            Contender::own("bare UDP, there and back", format!("ping-pong {callers}")),
            Contender::peers("net-mesh-sdk, nRPC", format!("net-mesh rpc {SIZE} {callers}")),
        ],
    });
    Topic {
        name: "rpc",
        title: "Calls",
        text: "64 bytes to a peer in the same process over loopback, and the same 64 bytes back. Every caller makes its next \
            call when its last is answered; a call without a right answer within 2 s is lost. Bare UDP is two tasks and two \
            sockets under tokio, with nothing else.",
        columns: vec![
            Column { heading: "p50", key: "p50", unit: Unit::Time },
            Column { heading: "p99", key: "p99", unit: Unit::Time },
            Column { heading: "calls", key: "rate", unit: Unit::Rate },
            Column { heading: "lost", key: "lost", unit: Unit::Count },
        ],
        better: Better::Less,
        rounds: rounds.collect(),
    }
}

/// Calls, `callers` of them under way at any time.
pub(crate) async fn calls(callers: usize) -> Result<Figures, Error> {
    let pair = Pair::new(SIZE).await?;
    pair.serve_echo();
    let call = move || {
        let pair = pair.clone();
        async move { pair.call(vec![7; SIZE]).await.unwrap_or(false) }
    };
    measure::calls(callers, call).await
}

/// Datagrams there and back, `callers` of them on the way at any time.
pub(crate) async fn ping_pong(callers: usize) -> Result<Figures, Error> {
    let open = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
    let (a, b) = (open().await?, open().await?);
    a.connect(b.local_addr()?).await?;
    b.connect(a.local_addr()?).await?;
    let echo = tokio::spawn(async move {
        let mut buffer = [0; SIZE];
        while let Ok(length) = b.recv(&mut buffer).await {
            if b.send(&buffer[..length]).await.is_err() {
                return;
            }
        }
    });
    let asking = tokio::spawn(async move {
        let start = Instant::now();
        let mut asked = vec![start; callers];
        let mut times = Vec::new();
        let mut buffer = [0; SIZE];
        for (caller, asked) in asked.iter_mut().enumerate() {
            buffer[..8].copy_from_slice(&caller.to_le_bytes());
            *asked = Instant::now();
            a.send(&buffer).await?;
        }
        while start.elapsed() < CALLING {
            timeout(QUIET, a.recv(&mut buffer)).await.map_err(|_| "a datagram got lost")??;
            let mut caller = [0; 8];
            caller.copy_from_slice(&buffer[..8]);
            let asked = &mut asked[usize::from_le_bytes(caller)];
            times.push(asked.elapsed());
            *asked = Instant::now();
            a.send(&buffer).await?;
        }
        measure::call_figures(times, 0, start.elapsed())
    });
    let figures = asking.await?;
    echo.abort();
    figures
}
