//! What a stranger's flood does to the round trip of those it floods.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{net::UdpSocket as Socket, time::timeout};

use crate::{
    measure::{self, Error, Figures, QUIET, as_f64},
    ours::Pair,
    suite::{Contender, MESHGROUND, Round, Topic},
    table::{Better, Column, Unit},
};

const SIZE: usize = 64;

/// Peace and flood take turns, each so long.
const TURN: Duration = Duration::from_millis(250);

const TURNS: usize = 8;

/// Datagrams a second, as a label and as a number; 0 for as many as one thread can send.
const FLOODS: [(&str, u64); 3] = [("10 k/s", 10_000), ("100 k/s", 100_000), ("all it can", 0)];

/// How often a second the stranger sends, so many at a time as make up its rate.
const BATCHES: u32 = 1_000;

pub(crate) fn topic() -> Topic {
    let rounds = FLOODS.into_iter().map(|(label, rate)| Round {
        label: label.to_owned(),
        contenders: vec![
            Contender::own(MESHGROUND, format!("flood {rate}")),
            Contender::own("bare UDP, there and back", format!("flood-floor {rate}")),
        ],
    });
    Topic {
        name: "flood",
        title: "Calls under a stranger's flood",
        text: "One caller, 64 bytes there and back as under *Calls*, while a stranger's socket sends the answering node first \
            messages that do not authenticate, garbage, and packets for sessions that it does not have. Flood and peace take \
            turns of 250 ms in one process; *times peace* compares the two. Bare UDP suffers the same flood, looks at nothing but \
            who sent a datagram, and sends none again. The stranger's thread takes a core of the same machine \
            when it sends all it can: the mean holds the times at which the system ran it in a caller's place. What it sends beyond what the node reads overflows the socket's buffer, calls with it.",
        columns: vec![
            Column { heading: "p50", key: "p50", unit: Unit::Time },
            Column { heading: "times peace", key: "p50_ratio", unit: Unit::Ratio },
            Column { heading: "p99", key: "p99", unit: Unit::Time },
            Column { heading: "times peace", key: "p99_ratio", unit: Unit::Ratio },
            Column { heading: "mean", key: "mean", unit: Unit::Time },
            Column { heading: "times peace", key: "mean_ratio", unit: Unit::Ratio },
            Column { heading: "flood", key: "flood", unit: Unit::Rate },
            Column { heading: "lost", key: "lost", unit: Unit::Count },
        ],
        better: Better::Less,
        rounds: rounds.collect(),
    }
}

/// Calls in peace and under a flood of `rate` datagrams a second, in turn.
pub(crate) async fn flood(rate: u64) -> Result<Figures, Error> {
    let pair = Pair::new(SIZE).await?;
    pair.serve_echo();
    let target = pair.address();
    let call = move || {
        let pair = pair.clone();
        async move { pair.call(vec![7; SIZE]).await.unwrap_or(false) }
    };
    in_turn(rate, target, call).await
}

/// The same, of bare datagrams there and back.
pub(crate) async fn floor(rate: u64) -> Result<Figures, Error> {
    let open = || Socket::bind((Ipv4Addr::LOCALHOST, 0));
    let (a, b) = (open().await?, open().await?);
    let (asking, target) = (a.local_addr()?, b.local_addr()?);
    a.connect(target).await?;
    let echo = tokio::spawn(async move {
        let mut buffer = [0; 2 * SIZE];
        while let Ok((length, from)) = b.recv_from(&mut buffer).await {
            if from == asking && b.send_to(&buffer[..length], from).await.is_err() {
                return;
            }
        }
    });
    let (a, calls) = (Arc::new(a), AtomicUsize::new(0));
    let call = move || {
        let (a, number) = (a.clone(), calls.fetch_add(1, Ordering::Relaxed));
        async move {
            let (mut body, mut answer) = ([7; SIZE], [0; SIZE]);
            // So that one which comes too late answers no other.
            body[..8].copy_from_slice(&number.to_le_bytes());
            let answered = async {
                a.send(&body).await?;
                while answer != body {
                    a.recv(&mut answer).await?;
                }
                Ok::<_, std::io::Error>(())
            };
            matches!(timeout(QUIET, answered).await, Ok(Ok(())))
        }
    };
    let figures = in_turn(rate, target, call).await;
    echo.abort();
    figures
}

/// Has `call` made one after the other, in peace and while `target` suffers a flood, in turn. It says whether it was
/// answered, and rightly.
async fn in_turn<F>(rate: u64, target: SocketAddr, call: impl Fn() -> F) -> Result<Figures, Error>
where
    F: Future<Output = bool>,
{
    let (mut peace, mut flooded) = (Calls::default(), Calls::default());
    peace.make(&call).await;
    peace = Calls::default();
    let mut sent = 0;
    for _ in 0..TURNS {
        peace.make(&call).await;
        let stop = Arc::new(AtomicBool::new(false));
        let stranger = thread::spawn({
            let stop = stop.clone();
            move || send_junk(target, rate, &stop)
        });
        flooded.make(&call).await;
        stop.store(true, Ordering::Relaxed);
        let counted = stranger.join();
        sent += counted.map_err(|_| "the stranger panicked")??;
    }
    let taken = TURN * u32::try_from(TURNS)?;
    let quiet = measure::call_figures(peace.times, peace.lost, taken)?;
    let loud = measure::call_figures(flooded.times, flooded.lost, taken)?;
    let of = |figures: &Figures, name| figures.iter().find(|figure| figure.0 == name).map(|figure| figure.1);
    let ratio = |name| Ok::<_, Error>(of(&loud, name).ok_or(name)? / of(&quiet, name).ok_or(name)?);
    let mut figures =
        vec![("p50_ratio", ratio("p50")?), ("p99_ratio", ratio("p99")?), ("mean_ratio", ratio("mean")?)];
    figures.push(("flood", as_f64(sent) / taken.as_secs_f64()));
    figures.extend(loud);
    Ok(figures)
}

#[derive(Default)]
struct Calls {
    times: Vec<Duration>,
    lost: u32,
}

impl Calls {
    /// One after the other, for a turn.
    async fn make<F: Future<Output = bool>>(&mut self, call: &impl Fn() -> F) {
        let start = Instant::now();
        while start.elapsed() < TURN {
            let asked = Instant::now();
            if call().await {
                self.times.push(asked.elapsed());
            } else {
                self.lost += 1;
            }
        }
    }
}

/// Sends until told to stop; how many that were.
fn send_junk(target: SocketAddr, rate: u64, stop: &AtomicBool) -> Result<usize, std::io::Error> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut initiation = [0x5a; 64];
    initiation[..4].copy_from_slice(&[1, 1, 0, 0]);
    let mut packet = [0xa5; 100];
    packet[..4].copy_from_slice(&[4, 0, 0, 0]);
    let junk: [&[u8]; 3] = [&initiation, b"garbage", &packet];
    let batch = usize::try_from(rate / u64::from(BATCHES)).unwrap_or(usize::MAX);
    let (start, mut sent, mut batches) = (Instant::now(), 0, 0);
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..batch.max(1) {
            // What the system has no room for is lost, as on a network.
            sent += usize::from(socket.send_to(junk[sent % 3], target).is_ok());
        }
        if rate > 0 {
            batches += 1;
            let due = start + Duration::from_secs(1) / BATCHES * batches;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    Ok(sent)
}
